"""Streams and CUDA graphs of the stand-in.

While a stream is captured, every call that computes is noted down; launching the graph makes the same calls again and
puts what they give where the first ones had put it. As on a GPU, capturing itself changes nothing: at its end all
arrays from before hold what they held, and new ones NaN (or another number that nobody meant) until the graph is
launched. Copies between host and device, and waiting, are errors meanwhile.
"""

import contextlib
import functools

import numpy

from tests.strict_cupy import counting


class Event:
    def __init__(self, block=False, disable_timing=False, interprocess=False):
        pass

    def record(self, stream=None):
        pass

    def synchronize(self):
        pass


class Stream:
    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        self.ptr = 0 if null else id(self)

    def __enter__(self):
        _streams.append(self)
        return self

    def __exit__(self, *exception):
        assert _streams.pop() is self

    def record(self, event=None):
        return event or Event()

    def wait_event(self, event):
        assert isinstance(event, Event)

    def synchronize(self):
        if _calls is not None:
            raise RuntimeError("cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing")

    def is_capturing(self):
        return _calls is not None

    def begin_capture(self, mode=None):
        global _calls
        assert self is _streams[-1] and self.ptr, "CUDA captures a stream that is not the default one"
        assert _calls is None
        _calls = []

    def end_capture(self):
        global _calls
        calls, _calls = _calls, None
        for memory, content in _before.values():
            memory[...] = content
        for memory in _made.values():
            memory[...] = numpy.nan if memory.dtype.kind == "f" else memory.dtype.type(83)
        _before.clear()
        _made.clear()
        return Graph(calls)


class Graph:
    def __init__(self, calls):
        self._calls = calls

    def launch(self, stream=None):
        for function, args, kwargs, result in self._calls:
            for old, new in zip(_arrays(result), _arrays(function(*args, **kwargs)), strict=True):
                if old is not new and not numpy.may_share_memory(old._host, new._host):
                    old._host[...] = new._host


class MemoryPool:
    """Of memory there is enough; a pool is a word."""

    def malloc(self, size):
        raise NotImplementedError("the stand-in has no memory to point to")


@contextlib.contextmanager
def using_allocator(allocator=None):
    yield


_streams = [Stream(null=True)]
_calls = None  # while a stream is captured: [(function, arguments, named arguments, what it gave)]
_inside = False  # one of them
_before = {}  # id → (memory that they were given, what was in it)
_made = {}  # id → memory that they made


def get_current_stream(device_id=None):
    return _streams[-1]


def noted(function):
    """The same function; its calls are noted while a stream is captured, but not the calls that it makes itself."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        global _inside
        if _calls is None or _inside:
            return function(*args, **kwargs)
        _inside = True
        for memory in map(_memory, _arrays([*args, *kwargs.values()])):
            if id(memory) not in _made:
                _before.setdefault(id(memory), (memory, memory.copy()))
        try:
            result = function(*args, **kwargs)
        finally:
            _inside = False
        for memory in map(_memory, _arrays(result)):
            if id(memory) not in _before:
                _made[id(memory)] = memory
        _calls.append((function, args, kwargs, result))
        return result

    if hasattr(function, "__signature__"):
        call.__signature__ = function.__signature__
    return call


def _arrays(result):
    if isinstance(result, (list, tuple)):
        return [array for part in result for array in _arrays(part)]
    return [result] if hasattr(result, "_host") else []


def _memory(array):
    """The NumPy array whose memory an array of the stand-in is in."""
    memory = array._host
    while isinstance(memory.base, numpy.ndarray):
        memory = memory.base
    return memory


def refuse(what):
    if _calls is not None:
        raise RuntimeError(
            f"cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing: {what}"
        )


counting.refuse = refuse

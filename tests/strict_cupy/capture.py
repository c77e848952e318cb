"""Streams and CUDA graphs of the stand-in.

While a stream is captured, every call that computes is noted down; launching the graph makes the same calls again and
puts what they give where the first ones had put it. As on a GPU, capturing computes nothing that could be used: all new
arrays hold NaN (or another number that nobody meant) until the graph is launched. Copies to and from the host are
errors meanwhile; of a real one to the device CUDA would note down an address that soon holds something else.
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
        for _, _, _, result in calls:
            for array in _arrays(result):
                _spoil(array)
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
        try:
            result = function(*args, **kwargs)
        finally:
            _inside = False
        _calls.append((function, args, kwargs, result))
        return result

    if hasattr(function, "__signature__"):
        call.__signature__ = function.__signature__
    return call


def _arrays(result):
    if isinstance(result, (list, tuple)):
        return [array for part in result for array in _arrays(part)]
    return [result] if hasattr(result, "_host") else []


def _spoil(array):
    array._host[...] = numpy.nan if array.dtype.kind == "f" else array.dtype.type(83)


def refuse(what):
    if _calls is not None:
        raise RuntimeError(
            f"cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing: {what}"
        )


counting.refuse = refuse

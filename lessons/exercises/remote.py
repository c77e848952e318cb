"""An answer in a process that has nothing to lose: the laws are tried here, and only its functions run over there.

What goes between the two processes is JSON: numbers, texts, lists, arrays (their bytes follow), and for all else
(functions, classes, objects of the answer) a number that names it. So an answer may change whatever it finds in its
process, NumPy and this file included: all that comes of it is what its functions return. And it can call, over here,
nothing but functions that a law has given it as arguments.
"""

import ast
import builtins
import contextlib
import importlib
import json
import operator
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import traceback
import types
import warnings

import numpy as np
import numpy.fft
import numpy.linalg
import numpy.polynomial
import numpy.random  # NumPy would load these when they are first used: too late in a process that reads no files

LARGEST = 1 << 28  # bytes of a message
DEEPEST = 50  # lists in lists
KEPT = 20_000  # characters of what an answer prints
SIMPLE = (bool, int, float, str, type(None))
ITERATORS = (types.GeneratorType, map, zip, filter, type(iter([])))
KINDS = "biufc"  # of numbers in arrays
OPERATORS = [
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift", "rshift"),
    *("lt", "le", "gt", "ge", "eq", "ne"),
]


class Gone(Exception):  # noqa: N818
    """The other process has ended, or says what nobody can understand."""


class RemoteError(Exception):
    """What an answer raised, if it is an exception of its own."""


# ---- values as JSON -------------------------------------------------------------------------------------------------


class Values:
    """How one end of the channel writes values and reads those of the other end.

    `held` are the things of this end that the other one knows by number; `proxy` makes something that stands for a
    thing of the other end; `arrays` are those written or read since it was last emptied, in their order; `bytes` are
    what the arrays of one message hold.
    """

    def __init__(self, proxy, may_hold):
        self.proxy, self.may_hold = proxy, may_hold
        self.held, self.numbers, self.arrays, self.bytes = {}, {}, [], []

    def written(self, value, depth=0):
        """The value, made of what JSON knows."""
        if depth > DEEPEST:
            raise TypeError("lists in lists without end")
        if isinstance(value, Remote):
            return {"yours": value._number}
        if type(value) in SIMPLE and not (isinstance(value, int) and abs(value) >> 4096):
            return value
        if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in KINDS:
            if isinstance(value, np.ndarray):
                self.arrays.append(value)
            self.bytes.append(value.tobytes())
            kind = "array" if isinstance(value, np.ndarray) else "number"
            return {kind: [value.dtype.str, list(value.shape), len(self.bytes) - 1, value.flags.writeable]}
        if type(value) is complex:
            return {"complex": [value.real, value.imag]}
        if type(value) is list:
            return [self.written(v, depth + 1) for v in value]
        if type(value) in (tuple, set, frozenset):
            return {type(value).__name__: [self.written(v, depth + 1) for v in value]}
        if type(value) is dict:
            return {"dict": [[self.written(k, depth + 1), self.written(v, depth + 1)] for k, v in value.items()]}
        if isinstance(value, ITERATORS):
            return {"iterator": [self.written(v, depth + 1) for v in value]}
        if type(value) is slice:
            return {"slice": [self.written(v, depth + 1) for v in (value.start, value.stop, value.step)]}
        if type(value) is range:
            return {"range": [value.start, value.stop, value.step]}
        if value is ... or value is NotImplemented:
            return {"constant": str(value)}
        if isinstance(value, np.dtype) and value.kind in KINDS:
            return {"dtype": value.str}
        if isinstance(value, type) and value.__name__ in _types() and _types()[value.__name__] is value:
            return {"type": value.__name__}
        if isinstance(value, np.random.Generator) and type(value.bit_generator) is np.random.PCG64:
            self.arrays.append(value)
            return {"generator": _state(value)}
        if (number := getattr(value, "_theirs", None)) is not None and type(value) is types.FunctionType:
            return {"yours": number}
        if isinstance(value, Kept):
            number = len(self.held) + (1 << 40)  # no id of anything
            self.held[number] = value.value
            return {"mine": [number, "object", type(value.value).__name__]}
        if not self.may_hold(value):
            raise TypeError(f"a {type(value).__name__} cannot be sent")
        number = self.numbers.setdefault(id(value), len(self.numbers) + 1)
        self.held[number] = value
        kind = "class" if isinstance(value, type) else "function" if callable(value) else "object"
        return {"mine": [number, kind, getattr(value, "__name__", type(value).__name__)]}

    def read(self, value, depth=0):
        """The value that the other end has written."""
        if depth > 3 * DEEPEST:
            raise Gone("lists in lists without end")
        if isinstance(value, list):
            return [self.read(v, depth + 1) for v in value]
        if not isinstance(value, dict):
            return value
        ((kind, content),) = value.items()
        if kind in ("array", "number"):
            dtype, shape, place, writeable = content
            if (dtype := np.dtype(str(dtype))).kind not in KINDS:
                raise Gone(f"an array of {dtype}")
            data = self.bytes[place]
            made = np.frombuffer(data, dtype) if data else np.empty(0, dtype)
            made = made.reshape([int(n) for n in shape])
            if kind == "number":
                return made[()]
            self.arrays.append(made := made.copy())
            made.flags.writeable = bool(writeable)
            return made
        if kind == "complex":
            return complex(*content)
        if kind == "iterator":
            return iter([self.read(v, depth + 1) for v in content])
        if kind in ("tuple", "set", "frozenset"):
            return getattr(builtins, kind)(self.read(v, depth + 1) for v in content)
        if kind == "dict":
            return {self.read(k, depth + 1): self.read(v, depth + 1) for k, v in content}
        if kind == "slice":
            return slice(*(self.read(v, depth + 1) for v in content))
        if kind == "range":
            return range(*content)
        if kind == "constant":
            return {"Ellipsis": ..., "NotImplemented": NotImplemented}[content]
        if kind == "dtype":
            return np.dtype(str(content))
        if kind == "type":
            return _types()[content]
        if kind == "generator":
            made = np.random.default_rng(0)
            _set_state(made, content)
            self.arrays.append(made)
            return made
        if kind == "yours":
            return self.held[content]
        if kind == "mine":
            return self.proxy(*content)
        raise Gone(f"it sent {kind!r}")


def _types():
    """The types that go by their names."""
    return {t.__name__: t for t in (bool, int, float, complex, str, list, tuple, dict)} | {
        name: getattr(np, name) for name in ("float16", "float32", "float64", "int32", "int64", "complex128", "bool_")
    }


def _state(generator):
    state = generator.bit_generator.state
    return [str(state["state"]["state"]), str(state["state"]["inc"]), state["has_uint32"], state["uinteger"]]


def _set_state(generator, written):
    state, inc, has, left = written
    inner = {"state": int(state), "inc": int(inc)}
    whole = {"bit_generator": "PCG64", "state": inner, "has_uint32": int(has), "uinteger": int(left)}
    generator.bit_generator.state = whole


class Kept:
    """A value of which only a number is to be sent, so that it stays where it is."""

    def __init__(self, value):
        self.value = value


class Channel:
    """Messages through two file descriptors."""

    def __init__(self, reader, writer):
        self.reader, self.writer = open(reader, "rb"), open(writer, "wb")
        self.waited, self.since = 0.0, None  # how long for the other end, and since when now

    def send(self, message, values=None):
        """Send a message, and the bytes of its arrays."""
        pieces = [json.dumps(message).encode(), *(values.bytes if values else ())]
        self.since = time.monotonic()  # a process that does not read keeps this one waiting, too
        try:
            self.writer.write(struct.pack(f"<Q{len(pieces)}Q", len(pieces), *map(len, pieces)))
            for piece in pieces:
                self.writer.write(piece)
            self.writer.flush()
        except (OSError, ValueError):
            raise Gone("it has ended") from None
        finally:
            self.waited, self.since = self.waited + time.monotonic() - self.since, None
        if values:
            values.bytes = []

    def receive(self, values=None):
        """The next message; the bytes of its arrays go to `values`."""
        self.since = time.monotonic()
        try:
            (count,) = struct.unpack("<Q", self._bytes(8))
            if count > LARGEST >> 6:
                raise Gone("it returned too much")
            sizes = struct.unpack(f"<{count}Q", self._bytes(8 * count))
            if sum(sizes) > LARGEST:
                raise Gone(f"it returned more than {LARGEST >> 20} MB")
            text, *pieces = map(self._bytes, sizes)
            message = json.loads(text)
        except (OSError, ValueError, RecursionError):
            raise Gone("it has ended") from None
        finally:
            self.waited, self.since = self.waited + time.monotonic() - self.since, None
        if not isinstance(message, dict):
            raise Gone("it says what nobody understands")
        if values:
            values.bytes = pieces
        return message

    def _bytes(self, count):
        data = self.reader.read(count)
        if len(data) < count:
            raise Gone("it has ended")
        return data

    def close(self):
        for file in (self.reader, self.writer):
            with contextlib.suppress(OSError):
                file.close()


# ---- this end: the answer as laws see it ----------------------------------------------------------------------------


class Remote:
    """A thing of the answer's process. What is done to it is done there."""

    def __init__(self, client, number, name):
        object.__setattr__(self, "_client", client)
        object.__setattr__(self, "_number", number)
        object.__setattr__(self, "_name", name)

    def _do(self, what, *arguments, **options):
        return self._client.ask(what, self, *arguments, **options)

    def __getattr__(self, name):
        if name.startswith("__") and name not in ("__name__", "__doc__"):
            raise AttributeError(name)  # of copying, pickling, and NumPy's protocols
        if self._number or name not in self._client.functions:
            found = self._do("getattr", name)
            if self._number or not isinstance(found, RemoteFunction):
                return found
            self._client.functions[name] = found  # the module's: asked for once
        return self._client.functions[name]

    def __setattr__(self, name, value):
        self._do("setattr", name, value)

    def __deepcopy__(self, memo):
        return self

    def __repr__(self):
        return f"<{self._name} of the answer>"

    def __array__(self, dtype=None, copy=None):
        return np.array(self._do("array"), dtype)

    __array_ufunc__ = None  # an array leaves operators to this side
    __hash__ = object.__hash__

    def __bool__(self):
        return bool(self._do("bool"))

    def __len__(self):
        return self._do("len")

    def __iter__(self):
        return iter(self._do("list"))

    def __float__(self):
        return float(self._do("float"))

    def __int__(self):
        return int(self._do("int"))

    def __index__(self):
        return int(self._do("index"))

    def __neg__(self):
        return self._do("neg")

    def __abs__(self):
        return self._do("abs")

    def __getitem__(self, key):
        return self._do("getitem", key)

    def __setitem__(self, key, value):
        self._do("setitem", key, value)

    def __contains__(self, value):
        return bool(self._do("contains", value))

    def __enter__(self):
        return self._do("call method", "__enter__")

    def __exit__(self, *_):
        return self._do("call method", "__exit__", None, None, None)


def _operator(name):
    def forward(self, other):
        return self._do(name, other)

    def backward(self, other):
        return self._do(f"r{name}", other)

    setattr(Remote, f"__{name}__", forward)
    if name not in ("lt", "le", "gt", "ge", "eq", "ne"):
        setattr(Remote, f"__r{name}__", backward)


for _name in OPERATORS:
    _operator(_name)


class RemoteFunction(Remote):
    def __call__(self, *arguments, **options):
        return self._do("call", *arguments, **options)


class RemoteClass(RemoteFunction):
    """A class of the answer. To this process it is no type, but it says that it is one, and knows its instances."""

    __class__ = property(lambda self: type)

    def __instancecheck__(self, value):
        return isinstance(value, Remote) and bool(self._do("isinstance", value))

    def __subclasscheck__(self, value):
        return False


class Client:
    """The answer's process as seen from here.

    `kinds` are what may come beside numbers and arrays ("function", "class", "object"), None anything; `takes_changes`
    is whether arrays that the answer changes over there change here as well. `seen` says what came.
    """

    def __init__(self, channel, kinds=None, takes_changes=True):
        self.channel, self.allowed, self.seen, self.takes_changes = channel, kinds, set(), takes_changes
        self.values, self.proxies = Values(self.proxy, callable), {}
        self.functions = {}  # of the answer's module, by name
        self.gone = None  # why nothing can be asked any more
        self.raised = None  # by a function of this side that the answer called

    def proxy(self, number, kind, name):
        if number not in self.proxies:  # one for each thing, so that `is` works
            made = {"object": Remote, "function": RemoteFunction, "class": RemoteClass}[kind]
            name = "".join(c for c in str(name)[:50] if c.isprintable())
            self.proxies[int(number)] = made(self, int(number), name)
        return self.proxies[number]

    def load(self, source, file):
        """The answer's module."""
        self.ask("load", source, file)
        return Remote(self, 0, "module")

    def keep(self, value):
        """A copy of the value that lies over there, where functions that it is given to can keep it."""
        return self.ask("keep", value)

    def ask(self, what, *arguments, **options):
        """Have something done there, and meanwhile call the functions that it asks for; what it returned."""
        if self.gone:
            raise Gone(self.gone)
        self.values.arrays, self.values.bytes, self.raised = [], [], None
        written = {"do": what, "with": self.values.written(arguments), "options": self.values.written(options)}
        given = list(self.values.arrays)
        try:
            self.channel.send(written, self.values)
            while "call" in (message := self.channel.receive(self.values)):
                self.channel.send(self.called(message), self.values)
            for place, content in message.get("changed", {}).items():
                self.seen.add("changes")
                if self.takes_changes:
                    _put(given[int(place)], self.values.read(content))
            if error := message.get("error"):
                raise self.failed(error)
            result = message["result"]
            if isinstance(result, dict) and "mine" in result and what not in ("printed", "keep"):
                self.look_at(result["mine"], of_module=what == "getattr" and arguments[0]._number == 0)
            return self.values.read(result)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) or getattr(error, "of_answer", False) or error is self.raised:
                raise
            self.gone = str(error) if isinstance(error, Gone) else "it says what nobody understands"
            raise Gone(self.gone) from error

    def look_at(self, mine, of_module):
        """Functions, classes and objects may come where the solution returns such, and nowhere else."""
        if not of_module:
            self.seen.add(mine[1])
            if self.allowed is not None and mine[1] not in self.allowed:
                error = TypeError(f"it returned {str(mine[2])[:50]!r}, where a number or an array is expected")
                error.of_answer = True
                raise error

    def called(self, message):
        """Call a function of this side; the message that says what it returned."""
        try:
            function = self.values.held[message["call"]]
            arguments, options = self.values.read(message["with"]), self.values.read(message["options"])
            self.values.bytes = []
            result = function(*arguments, **options)
            return {"result": self.values.written(result)}
        except Gone:
            raise
        except Exception as error:
            self.raised, self.values.bytes = error, []
            return {"error": _about(error)}

    def failed(self, error):
        """What the answer raised, as an exception of Python's own that it is or descends from."""
        name, ancestors, message, line = error
        if self.raised is not None and message == str(self.raised)[:2000]:
            return self.raised
        ours = [getattr(builtins, str(a), None) for a in ancestors]
        ours = [kind for kind in ours if isinstance(kind, type) and issubclass(kind, BaseException)]
        kind = ours[0] if ours and ours[0] not in (Exception, BaseException) else RemoteError
        message = str(message)[:2000]
        try:
            made = kind(message)
        except Exception:
            made = RemoteError(message)
        if isinstance(made, RemoteError):
            made = RemoteError(f"{str(name)[:50]}: {message}")
        made.of_answer, made.line = True, line if isinstance(line, int) else None
        return made


def _put(array, changed):
    if isinstance(array, np.random.Generator):
        if isinstance(changed, np.random.Generator):
            array.bit_generator.state = changed.bit_generator.state
    elif np.shape(changed) == array.shape and array.flags.writeable:
        array[...] = changed


def _about(error, file=None):
    """An exception in words: its name, its ancestors', its message, its line in the answer."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    ancestors = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"]
    return [type(error).__name__, ancestors, str(error)[:2000], lines[-1] if lines else None]


# ---- the other end: the process in which the answer runs ------------------------------------------------------------


class Server:
    """Does what the other side asks for, with the answer."""

    def __init__(self, channel):
        self.channel, self.file = channel, None
        self.values = Values(self.proxy, lambda value: True)
        self.printed = Tail()

    def proxy(self, number, kind, name):
        def theirs(*arguments, **options):
            self.values.bytes = []
            written = self.values.written(arguments), self.values.written(options)
            self.channel.send({"call": number, "with": written[0], "options": written[1]}, self.values)
            while "do" in (message := self.channel.receive(self.values)):
                self.serve(message)
            if error := message.get("error"):
                raise getattr(builtins, error[1][0] if error[1] else "Exception")(error[2])
            return self.values.read(message["result"])

        theirs._theirs = number
        return theirs

    def run(self):
        with contextlib.redirect_stdout(self.printed), np.errstate(all="ignore"):
            while True:
                self.serve(self.channel.receive(self.values))

    def serve(self, message):
        self.values.arrays = []
        try:
            arguments, options = self.values.read(message["with"]), self.values.read(message["options"])
            given, self.values.bytes = list(self.values.arrays), []
            before = [_state(a) if isinstance(a, np.random.Generator) else a.copy() for a in given]
            result = self.values.written(self.do(message["do"], arguments, options))
            reply = {"result": result}
            changed = {place: a for place, a in enumerate(given) if _changed(before[place], a)}
            if changed:
                reply["changed"] = {place: self.values.written(a) for place, a in changed.items()}
        except Gone:
            raise
        except BaseException as error:  # SystemExit, too
            reply, self.values.bytes = {"error": _about(error, self.file)}, []
        self.channel.send(reply, self.values)

    def do(self, what, arguments, options):
        if what == "load":
            return self.load(*arguments)
        if what == "printed":
            return self.printed.text
        if what == "keep":
            return Kept(*arguments)
        thing, *others = arguments
        if what == "call":
            return thing(*others, **options)
        if what == "call method":
            return getattr(thing, others[0])(*others[1:])
        if what == "array":
            return np.asarray(thing, float)
        if what in ("getattr", "setattr", "bool", "len", "list", "float", "int", "isinstance"):
            order = reversed([thing, *others]) if what == "isinstance" else [thing, *others]
            return getattr(builtins, what)(*order)
        if hasattr(operator, f"__{what}__"):
            return getattr(operator, f"__{what}__")(thing, *others)
        return getattr(operator, f"__{what[1:]}__")(*others, thing)  # r…: the other way round

    def load(self, source, file):
        self.file = file
        answer = types.ModuleType("answer")
        answer.__file__ = file
        self.values.held[0] = answer
        exec(compile(source, file, "exec"), answer.__dict__)


class Tail:
    """Standard output for an answer, of which the end is kept."""

    text = ""

    def write(self, text):
        self.text = (self.text + text[-KEPT:])[-KEPT:]
        return len(text)

    def flush(self):
        pass


def _changed(before, after):
    if isinstance(after, np.random.Generator):
        return before != _state(after)
    return before.tobytes() != after.tobytes()


def import_for(source, uses):
    """Import what an answer imports, while files can still be read; what cannot be had, the answer will report."""
    with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        for node in ast.walk(ast.parse(source)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
            for name in names:
                if name.partition(".")[0] in uses:
                    with contextlib.suppress(ImportError):
                        importlib.import_module(name)


# ---- starting it ----------------------------------------------------------------------------------------------------


class Process:
    """A fork of this process, in which `target(channel)` runs, killed once it has been waited for `seconds` in all.

    What is computed on this side meanwhile does not count, so that a busy machine costs nobody a mark.
    """

    def __init__(self, target, seconds):
        self.late, self.over = False, False
        there_reads, here_writes = os.pipe()
        here_reads, there_writes = os.pipe()
        self.pid = fork()
        if not self.pid:
            with contextlib.suppress(BaseException):
                target(Channel(*_alone(there_reads, there_writes)))
            os._exit(1)
        os.close(there_reads)
        os.close(there_writes)
        self.channel = Channel(here_reads, here_writes)
        self._watch(seconds)

    def _watch(self, seconds):
        self.lock, self.done = threading.Lock(), threading.Event()
        threading.Thread(target=self._wait, args=(seconds,), daemon=True).start()

    def _wait(self, seconds):
        while not self.done.wait(0.1):
            since = self.channel.since
            if self.channel.waited + (time.monotonic() - since if since else 0) > seconds:
                with self.lock:
                    if not self.over:
                        self.late = True
                        self._kill()
                return

    def _kill(self):
        _kill(self.pid)

    def end(self, patience=0.0):
        """End it and all that it started; its exit code if it ended by itself within `patience` seconds, or None."""
        self.done.set()
        by_itself, until = None, time.monotonic() + patience
        while not (by_itself := os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)):
            if time.monotonic() >= until:
                break
            time.sleep(0.005)
        with self.lock:
            self._kill()
            _, status = os.waitpid(self.pid, 0)
            self.over = True
        self.channel.close()
        return os.waitstatus_to_exitcode(status) if by_itself else None


class Started(Process):
    """The same where processes cannot be forked well: a new interpreter, which runs this file."""

    def __init__(self, about, seconds):
        self.late, self.over = False, False
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=about.pop("cwd"),
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, map(os.path.abspath, sys.path)))},
        )
        self.pid = self.process.pid
        self.channel = Channel(os.dup(self.process.stdout.fileno()), os.dup(self.process.stdin.fileno()))
        self.process.stdin.close()
        self.process.stdout.close()
        self.channel.send(about)
        self._watch(seconds)

    def end(self, patience=0.0):
        self.done.set()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)
        code = self.process.poll()
        with self.lock:
            self._kill()
            self.process.wait()
            self.over = True
        self.channel.close()
        return code

    def _kill(self):
        self.process.kill()
        if hasattr(os, "killpg"):
            _kill(self.pid)


def serve(channel, source, uses, seconds, memory, enter):
    """What the answer's process does until it is killed."""
    import_for(source, uses)
    enter(seconds, memory)
    Server(channel).run()


def fork():
    """os.fork, without the warning that there are threads: those of BLAS survive it, those of this file wait."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _kill(pid):
    for end in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            end(pid, signal.SIGKILL)


def _alone(reader, writer):
    """In the new process: a group of its own, and no files but the channel."""
    os.setpgid(0, 0)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    low, high = sorted((reader, writer))
    os.closerange(3, low)
    os.closerange(low + 1, high)
    os.closerange(high + 1, os.sysconf("SC_OPEN_MAX"))
    return reader, writer


def main():
    """A new interpreter's part: the channel is standard input and output, the first message says what to do."""
    import sandbox  # beside this file, whose folder comes first in sys.path

    del sys.path[0]
    channel = Channel(os.dup(0), os.dup(1))
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    with contextlib.suppress(Gone):
        serve(channel, **channel.receive(), enter=sandbox.enter)
    os._exit(0)


if __name__ == "__main__":
    main()

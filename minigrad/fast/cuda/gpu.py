"""What kernels need on a GPU: to be compiled and started, products by cuBLAS, time. Nothing here runs on the CPU."""

import contextlib
import ctypes
import functools
import struct
import sys
import threading
import weakref

import numpy

from minigrad import backend


def runs_kernels(array):
    """Whether compiled kernels can work on `array`: whether it is an array of a library that makes them."""
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(array, cupy.ndarray) and hasattr(cupy, "RawKernel")


def address(array):
    """Where in memory the array begins, its own memory or the GPU's."""
    return array.ctypes.data if isinstance(array, numpy.ndarray) else array.data.ptr


@functools.cache
def raw_kernel(name, source):
    """The function `name` of some CUDA source as a kernel: call it with (grid, block, arguments). Compiled when used.

    Arguments are arrays (their addresses arrive), Python's ints and floats (as 64 bits each), and bytearrays (their
    contents arrive: a struct by value).
    """
    return _Launcher(name, source)


class _Launcher(threading.local):
    """A kernel and, for each thread, the buffer from which CUDA reads its arguments.

    `cupy.RawKernel` compiles it, but its own call takes about a microsecond for each number among the arguments.
    """

    def __init__(self, name, source):
        self.name, self.source, self.formats = name, source, {}

    def _prepare(self, types):
        """How to write arguments of these types into memory, 8 bytes for each, and pointers to each of them."""
        form = "".join(_CODES.get(t, "Q") for t in types)
        buffer = ctypes.create_string_buffer(8 * len(types))
        first = ctypes.addressof(buffer)
        pointers = (ctypes.c_void_p * len(types))(*(first + 8 * i for i in range(len(types))))
        is_array = [t not in _CODES for t in types]
        structs = [i for i, t in enumerate(types) if t is bytearray]
        prepared = (
            struct.Struct("<" + form).pack_into,
            buffer,
            ctypes.addressof(pointers),
            pointers,
            is_array,
            structs,
        )
        self.formats[types] = prepared
        return prepared

    def __call__(self, grid, block, args):
        types = tuple(map(type, args))
        prepared = self.formats.get(types)
        if prepared is None:
            import cupy
            from cupy_backends.cuda.api import driver

            if not self.formats:
                self.function, self.start = cupy.RawKernel(self.source, self.name).kernel, driver.launchKernel
                self.stream = cupy.cuda.get_current_stream
            prepared = self._prepare(types)
        pack, buffer, address, pointers, is_array, structs = prepared
        for i in structs:
            content = (ctypes.c_char * len(args[i])).from_buffer(args[i])
            pointers[i] = ctypes.addressof(content)
            args = (*args[:i], 0, *args[i + 1 :])
        pack(buffer, 0, *[a.data.ptr if array else a for a, array in zip(args, is_array, strict=True)])
        rows = grid[1] if len(grid) > 1 else 1
        self.start(self.function.ptr, grid[0], rows, 1, block[0], 1, 1, 0, self.stream().ptr, address, 0)


_CODES = {float: "d", int: "q", bytearray: "Q"}  # struct's, of 8 bytes each; of all other types the address arrives


def stream():
    """The address of the CUDA stream that everything is put into."""
    import cupy

    return cupy.cuda.get_current_stream().ptr


def seconds(function, repetitions=3):
    """How long the GPU takes for what the function starts: the shortest of a few times, after a first one."""
    import cupy

    function()
    times = []
    for _ in range(repetitions):
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        function()
        end.record()
        end.synchronize()
        times.append(cupy.cuda.get_elapsed_time(start, end) / 1000)
    return min(times)


def matrix_product(a, b, out, fast):
    """a @ b into `out`, all without gaps, `out` in C order; `fast` allows float32 on a GPU to become TF32."""
    if a.shape[1]:
        _gemm(a, b, out, fast)
    else:
        out[...] = 0


def _gemm(a, b, out, fast):
    """`matrix_product` by cuBLAS, which is the only one that takes the precision with each call.

    cuBLAS thinks in columns: a matrix in C order is to it the transposed one, so it gets outᵀ = bᵀ aᵀ.
    """
    from cupy.cuda import cublas, device

    recording = _state.recording
    handle, gemm = (device.get_cublas_handle(), cublas.gemmEx) if recording is None else recording.cublas
    wide = a.dtype.itemsize == 8
    kind = 1 if wide else 0  # CUDA_R_64F, CUDA_R_32F
    single = cublas.CUBLAS_COMPUTE_32F_FAST_TF32 if fast else cublas.CUBLAS_COMPUTE_32F
    compute = cublas.CUBLAS_COMPUTE_64F if wide else single
    (m, k), n = a.shape, b.shape[1]
    a_in_order, b_in_order = a.flags.c_contiguous, b.flags.c_contiguous
    one, zero = _NUMBERS[wide]
    gemm(
        handle,
        0 if b_in_order else 1,
        0 if a_in_order else 1,
        n,
        m,
        k,
        one,
        b.data.ptr,
        kind,
        n if b_in_order else k,
        a.data.ptr,
        kind,
        k if a_in_order else m,
        zero,
        out.data.ptr,
        kind,
        n,
        compute,
        cublas.CUBLAS_GEMM_DEFAULT,
    )


_ONE_AND_ZERO = [numpy.array([1, 0], dtype) for dtype in (numpy.float32, numpy.float64)]
_NUMBERS = [(pair.ctypes.data, pair.ctypes.data + pair.itemsize) for pair in _ONE_AND_ZERO]


class RecordingState(threading.local):
    """What each thread is recording, if anything."""

    recording = None


_state = RecordingState()


def is_recording():
    """Whether what this thread asks of the GPU becomes part of a CUDA graph."""
    return _state.recording is not None


def from_host(make):
    """The NumPy array that `make()` gives, on the GPU; a CUDA graph that is replayed calls `make` anew."""
    return _state.recording.from_host(make) if is_recording() else backend.to_device(make(), "cuda")


class Recording:
    """A CUDA graph: what a function asks of the GPU, noted down once, and started as a whole from then on.

    The function is to be run twice: by `rehearse`, which computes as usual, so that every kernel gets compiled and all
    memory found; then by `record`, which computes nothing. Each `replay` does what the second run asked for, at the
    same places: with whatever its inputs' memory then holds. The memory for all that the function makes is the
    recording's own.
    """

    def __init__(self):
        import cupy

        self._memory, self._stream = cupy.cuda.MemoryPool(), cupy.cuda.Stream(non_blocking=True)
        self._graph, self._places, self._from_host = None, [], []

    def rehearse(self, function):
        """What the function returns, computed."""
        self._places.clear()
        with self._at_work():
            return function()

    def record(self, function):
        """What the function returns: arrays that `replay` will fill. RuntimeError if it waits for the GPU."""
        with self._at_work():
            self._from_host.clear()
            self._stream.begin_capture()
            try:
                result = function()
            except BaseException as error:
                with contextlib.suppress(Exception):  # it has been broken off, and says so once more
                    self._stream.end_capture()
                if isinstance(error, (NotImplementedError, RuntimeError)):  # CuPy's and CUDA's
                    raise RuntimeError(f"what the function asks of the GPU cannot be recorded: {error}") from error
                raise
            self._graph = self._stream.end_capture()
        return result

    def new_numbers(self):
        """(array of the graph, what it should hold at the next replay), for all that comes from the host."""
        return [(array, backend.to_device(make(), "cuda")) for array, make in self._from_host]

    def replay(self):
        """Start the graph; it runs while Python goes on."""
        self._graph.launch()

    @contextlib.contextmanager
    def _at_work(self):
        """Within this arrays are made in the recording's memory, and the GPU is asked for work in its stream."""
        import cupy

        outside = cupy.cuda.get_current_stream()
        self._stream.wait_event(outside.record())
        before, _state.recording = _state.recording, self
        try:
            with cupy.cuda.using_allocator(self._memory.malloc), self._stream:
                yield
        finally:
            _state.recording = before
        outside.wait_event(self._stream.record())

    def from_host(self, make):
        """See the function of this name."""
        import cupy

        if not self._stream.is_capturing():
            self._places.append(cupy.asarray(make()))
            return self._places[-1]
        # An array of the rehearsal. The memory of a new one might have been another's earlier in the function, and then
        # the graph would write into it after the numbers have been put there.
        if len(self._from_host) == len(self._places):
            raise RuntimeError("it draws more random numbers than the time before")
        array = self._places[len(self._from_host)]
        self._from_host.append((array, make))
        return array

    @functools.cached_property
    def cublas(self):
        """(handle, function gemmEx) of cuBLAS itself: CuPy refuses to call it while a graph is recorded."""
        import cupy
        from cupy.cuda import cublas

        major = cupy.cuda.runtime.runtimeGetVersion() // 1000
        library = ctypes.CDLL(f"cublas64_{major}.dll" if sys.platform == "win32" else f"libcublas.so.{major}")
        handle = cublas.create()
        weakref.finalize(self, cublas.destroy, handle)
        self._workspace = cupy.empty(2**25, numpy.uint8)  # NVIDIA's advice for Hopper; it may not look for its own
        pointer = ctypes.c_void_p
        _raising(library.cublasSetStream_v2)(pointer(handle), pointer(self._stream.ptr))
        _raising(library.cublasSetWorkspace_v2)(
            pointer(handle), pointer(self._workspace.data.ptr), ctypes.c_size_t(self._workspace.nbytes)
        )
        gemm = library.cublasGemmEx
        number = ctypes.c_int
        gemm.argtypes = [
            pointer,
            *[number] * 5,
            pointer,
            pointer,
            number,
            number,
            pointer,
            number,
            number,
            pointer,
            pointer,
            number,
            number,
            number,
            number,
        ]
        return handle, _raising(gemm)


def _raising(function):
    """A function of cuBLAS that raises instead of returning a status."""

    def call(*args):
        status = function(*args)
        if status:
            raise RuntimeError(f"cuBLAS: {function.__name__} failed with status {status}")

    return call

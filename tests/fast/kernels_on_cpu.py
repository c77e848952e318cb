"""The GPU's kernels run on the CPU: their sources are C++, and a few definitions stand for what CUDA adds to it.

    with installed(folder):
        leaky_relu(numpy_array, 0.1)  # now computed by the kernel

Within this, NumPy's arrays count as arrays that kernels take. A block's threads take turns where the kernel makes
them wait for each other, and are a loop elsewhere; blocks run one after the other. So a race goes unseen, and so does
everything about the memory of a GPU; indices, limits, orders and formulas do not.
"""

import contextlib
import ctypes
import shutil
import subprocess
from unittest import mock

import numpy as np

from minigrad.fast.cuda import gpu, kernel
from minigrad.fast.cuda.kernel import KERNELS
from minigrad.fast.replace import install

COMPILER = shutil.which("g++") or shutil.which("clang++")
HEAD = r"""
#include <math.h>
#include <stdint.h>
#include <ucontext.h>
#include <functional>
#include <utility>
#include <vector>
#define __device__
#define __global__
#define __shared__ static
#define __umul64hi(a, b) (uint64_t)((unsigned __int128)(a) * (b) >> 64)
#define __syncthreads() swapcontext(&threads_of_block[threadIdx.x].context, &scheduler)
struct Index { unsigned int x, y; };
static Index threadIdx, blockIdx, blockDim, gridDim;

struct Thread { ucontext_t context; std::vector<char> stack; bool done; };
static ucontext_t scheduler;
static std::vector<Thread> threads_of_block(1024);
static std::function<void()> body;

static void run_thread() {
    body();
    threads_of_block[threadIdx.x].done = true;
    swapcontext(&threads_of_block[threadIdx.x].context, &scheduler);
}

// The threads of a block take turns: each runs until it waits for the others, or to its end.
static void run_block(unsigned int threads) {
    for (unsigned int t = 0; t < threads; t++) {
        Thread& thread = threads_of_block[t];
        thread.stack.resize(1 << 16);
        thread.done = false;
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = thread.stack.data();
        thread.context.uc_stack.ss_size = thread.stack.size();
        makecontext(&thread.context, run_thread, 0);
    }
    for (bool waiting = true; waiting;) {
        waiting = false;
        for (threadIdx.x = 0; threadIdx.x < threads; threadIdx.x++)
            if (!threads_of_block[threadIdx.x].done) {
                swapcontext(&scheduler, &threads_of_block[threadIdx.x].context);
                waiting = true;
            }
    }
}

template <typename... A, size_t... I>
static void call(void (*kernel)(A...), void** args, std::index_sequence<I...>) { kernel(*(A*)args[I]...); }

template <typename... A>
static void launch(void (*kernel)(A...), int waits, int columns, int rows, int threads, void** args) {
    blockDim = {(unsigned)threads, 1};
    gridDim = {(unsigned)columns, (unsigned)rows};
    auto indices = std::index_sequence_for<A...>();
    body = [&] { call(kernel, args, indices); };
    for (int y = 0; y < rows; y++) for (int x = 0; x < columns; x++) {
        blockIdx = {(unsigned)x, (unsigned)y};
        if (waits) run_block(threads);
        else for (threadIdx.x = 0; threadIdx.x < (unsigned)threads; threadIdx.x++) call(kernel, args, indices);
    }
}
"""
RUN = """
extern "C" void run_{name}_{char}(int waits, int columns, int rows, int threads, void** args) {{
    launch({space}::{name}, waits, columns, rows, threads, args);
}}
"""


class Library:
    """All kernels, or those of some names, in one library, and others compiled when they are asked for."""

    def __init__(self, folder, names=None):
        self.folder, self.functions, self.count = folder, {}, 0
        wanted = [k for k in KERNELS if names is None or k.name in names]
        self._compile([(k.name, k.source(np.dtype(char))) for k in wanted for char in "fd"])

    def _compile(self, named):
        spaces, text = {}, [HEAD]
        for _, source in named:
            if source not in spaces:
                spaces[source] = f"space{len(spaces)}"
                text.append(f"namespace {spaces[source]} {{\n{source}\n}}\n")
        for name, source in named:
            text.append(RUN.format(name=name, char=self._char(source), space=spaces[source]))
        path = self.folder / f"kernels{self.count}.cpp"
        self.count += 1
        path.write_text("".join(text).replace('extern "C" __global__', "__global__"))
        subprocess.run(
            [
                COMPILER,
                "-std=c++17",
                "-O1",
                "-w",
                "-shared",
                "-fPIC",
                "-ffp-contract=off",
                "-o",
                path.with_suffix(".so"),
                path,
            ],
            check=True,
        )
        library = ctypes.CDLL(path.with_suffix(".so"))
        for name, source in named:
            self.functions[name, source] = getattr(library, f"run_{name}_{self._char(source)}")

    @staticmethod
    def _char(source):
        return "f" if source.startswith("typedef float") else "d"

    def raw_kernel(self, name, source):
        """In the place of `gpu.raw_kernel`."""
        if (name, source) not in self.functions:
            self._compile([(name, source)])
        function = self.functions[name, source]

        def kernel(grid, block, args):
            held = [_as_c(arg) for arg in args]
            pointers = (ctypes.c_void_p * len(held))(*(ctypes.addressof(h) for h in held))
            columns, rows = (*grid, 1)[:2]
            assert columns > 0 and rows > 0, "CUDA refuses to start no blocks"
            function("__syncthreads" in source, columns, rows, block[0], pointers)

        return kernel


def _as_c(arg):
    """An argument as the kernel gets it: a pointer, a struct, a long long, or a double."""
    if isinstance(arg, bytearray):
        return (ctypes.c_char * len(arg)).from_buffer(arg)
    if isinstance(arg, np.ndarray):
        return ctypes.c_void_p(arg.ctypes.data)
    return ctypes.c_double(arg) if isinstance(arg, float) else ctypes.c_longlong(arg)


@contextlib.contextmanager
def installed(library, threads=kernel.THREADS):
    """Within this the kernels compute on NumPy's arrays, with so many threads in a block."""
    install("cuda")
    for k in KERNELS:
        k._compiled.clear()
    with (
        mock.patch.object(kernel, "THREADS", threads),
        mock.patch.object(gpu, "runs_kernels", lambda array: isinstance(array, np.ndarray)),
        mock.patch.object(gpu, "raw_kernel", library.raw_kernel),
        mock.patch.object(gpu, "matrix_product", lambda a, b, out, fast: np.dot(a, b, out=out)),
    ):
        yield
    for k in KERNELS:
        k._compiled.clear()

"""Many arrays copied in one launch, where starting a copy for each would take longer than the copies themselves."""

import struct

import numpy

from minigrad import backend
from minigrad.fast.cuda import gpu
from minigrad.fast.cuda.kernel import Kernel, has_no_gaps, pieces

COPIES = 160  # in a launch: the table of them is an argument, and those have 4 KiB in all
_ENTRY = struct.Struct("<3q")  # of the table

_COPY = Kernel(
    "copy_all",
    r"""
struct Copy { char* to; const char* from; long long size; };
struct Copies { Copy of[160]; };

extern "C" __global__ void copy_all(const Copies copies, const int* owner, const int* first) {
    const Copy copy = copies.of[owner[blockIdx.x]];
    const bool aligned = ((unsigned long long)copy.to | (unsigned long long)copy.from) % 16 == 0;
    long long start = first[blockIdx.x] * 4096LL, end = start + 4096 < copy.size ? start + 4096 : copy.size;
    for (long long i = start + threadIdx.x * 16; i < end; i += blockDim.x * 16) {
        if (aligned && i + 16 <= end) *(Pack<W>*)(copy.to + i) = *(const Pack<W>*)(copy.from + i);
        else for (long long j = i; j < i + 16 && j < end; j++) copy.to[j] = copy.from[j];
    }
}
""",
)


def copy_all(pairs):
    """`target[...] = source` for all pairs of arrays (target, source) on the GPU; no target may be another's source."""
    table, sizes = [], []
    for target, source in pairs:
        if not gpu.runs_kernels(target) or not _alike(target, source):
            target[...] = source
        elif target.size:
            table.append(_ENTRY.pack(gpu.address(target), gpu.address(source), target.nbytes))
            sizes.append(target.nbytes)
    for start in range(0, len(table), COPIES):
        owner, first = pieces(backend.array_module(pairs[0][0]), tuple(sizes[start : start + COPIES]))
        entries = bytearray(b"".join(table[start : start + COPIES]).ljust(COPIES * _ENTRY.size, b"\0"))
        _COPY(numpy.dtype(numpy.float32), len(owner), entries, owner, first)  # bytes are copied, whatever they mean


def _alike(target, source):
    """Whether the bytes of one, in their order in memory, are those that the other should have."""
    same = target.dtype == source.dtype and target.shape == source.shape and target.strides == source.strides
    return same and has_no_gaps(target)

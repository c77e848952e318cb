"""The numbers of a NumPy generator, made on the GPU: bit for bit those that the host would have drawn.

`numpy.random.default_rng()` is PCG64 (O'Neill 2014): a state of 128 bits that steps as

    s ← a·s + c   (mod 2¹²⁸),

and after each step gives 64 bits: its two halves xored, rotated by its highest six bits. A step done k times is again
of the form A·s + C, and squaring finds A and C in log₂ k rounds. So each thread can begin at a place of its own, the
host's generator can be put where it would stand afterwards, and nobody has to draw the numbers one after the other.

A float32 takes 32 bits: the lower half of an output first, then the upper half, which the generator keeps in its state
(`has_uint32`, `uinteger`) until it is asked for. Of these 32, the upper 24 divided by 2²⁴ are the number in [0, 1).

`uniform_reference` is what the kernel does, in NumPy's integers. Tests compare both with NumPy's generator, the kernel
also where there is no GPU: its source is C++ as well.
"""

import functools
import math
import struct

import numpy

from minigrad import backend
from minigrad.fast.cuda import gpu, kernel
from minigrad.fast.cuda.kernel import Kernel, blocks_for
from minigrad.fast.replace import faster
from minigrad.nn.functional import draw_mask, draw_normal, drawn

MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645
MASK = 2**128 - 1
BLOCKS = 1024  # at most

_DRAW = Kernel(
    "draw",
    r"""
typedef unsigned int uint32;
typedef unsigned long long uint64;

struct uint128 { uint64 high, low; };
// Where the generator is: the map for one step and that for as many as there are threads; how many halves of an output
// it has kept, 0 or 1, and that half.
struct Place { uint128 state, increment, stride_multiplier, stride_increment; uint64 first, kept; };

__device__ uint128 multiply_add(uint128 a, uint128 b, uint128 c) {  // a·b + c mod 2^128
    uint128 r;
    r.low = a.low * b.low;
    r.high = __umul64hi(a.low, b.low) + a.high * b.low + a.low * b.high + c.high;
    r.low += c.low;
    r.high += r.low < c.low;
    return r;
}

// 24 bits as a number in [0, 1), or an entry of a dropout mask: 0 where the number is below p, else `scale`.
__device__ T entry_of(uint32 bits, bool mask, float p, T scale) {
    float u = (bits >> 8) * (1.0f / 16777216.0f);
    return mask ? (u < p ? (T)0 : scale) : (T)u;
}

// Output number `pair` of the generator gives the entries 2·pair + first and the one after it; before `first` = 1 comes
// the half that the generator had kept. The place is that at an address, or if there is none, the one passed.
extern "C" __global__ void draw(T* out, long long count, const Place* given, const Place passed, long long mask,
                                double p_, double scale_) {
    const Place place = given ? *given : passed;
    const float p = p_;
    const T scale = scale_;
    const uint128 zero = {0, 0};
    const int first = place.first;
    long long thread = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    long long threads = gridDim.x * (long long)blockDim.x;
    uint128 state = place.state, increment = place.increment;
    uint128 multiplier = {0x2360ED051FC65DA4ULL, 0x4385DF649FCCF645ULL};
    for (long long steps = thread + 1; steps; steps >>= 1) {  // to this thread's first output
        if (steps & 1) state = multiply_add(multiplier, state, increment);
        increment = multiply_add(multiplier, increment, increment);
        multiplier = multiply_add(multiplier, multiplier, zero);
    }
    for (long long pair = thread; 2 * pair + first < count; pair += threads) {
        int rotation = state.high >> 58;
        uint64 bits = state.high ^ state.low;
        bits = bits >> rotation | bits << (-rotation & 63);
        for (int half = 0; half < 2; half++) {
            long long entry = 2 * pair + first + half;
            if (entry < count) out[entry] = entry_of(bits >> 32 * half, mask, p, scale);
        }
        state = multiply_add(place.stride_multiplier, state, place.stride_increment);
    }
    if (first && thread == 0) out[0] = entry_of(place.kept, mask, p, scale);
}
""",
)
_PLACE = struct.Struct("<10Q")
_BOX_MULLER = Kernel(
    "box_muller",
    r"""
extern "C" __global__ void box_muller(const float* uniform, T* out, long long count, double sigma) {
    long long i = 2 * (blockIdx.x * (long long)blockDim.x + threadIdx.x);
    if (i >= count) return;
    T radius = sqrt(-2 * log(1 - (T)uniform[i])) * (T)sigma, angle = uniform[i + 1] * (T)6.283185307179586;
    out[i] = radius * cos(angle);
    if (i + 1 < count) out[i + 1] = radius * sin(angle);
}
""",
)


@functools.lru_cache(maxsize=64)
def jump(increment, steps):
    """(A, C) with which `steps` steps of the generator are the one map s ← A·s + C (mod 2¹²⁸)."""
    multiplier, total_multiplier, total_increment = MULTIPLIER, 1, 0
    while steps:
        if steps & 1:
            total_multiplier = total_multiplier * multiplier & MASK
            total_increment = (total_increment * multiplier + increment) & MASK
        increment = (multiplier + 1) * increment & MASK
        multiplier = multiplier * multiplier & MASK
        steps >>= 1
    return total_multiplier, total_increment


def output(state):
    """The 64 bits that the generator gives in this state (XSL-RR)."""
    bits, rotation = (state >> 64 ^ state) & (2**64 - 1), state >> 122
    return (bits >> rotation | bits << (-rotation & 63)) & (2**64 - 1)


def advanced(state, count):
    """The generator's state, a dict as NumPy has it, after `count` numbers in float32."""
    drawn = count - min(count, state["has_uint32"])  # what has to come from new outputs
    if drawn == 0:
        return state | {"has_uint32": state["has_uint32"] - count}
    increment = state["state"]["inc"]
    multiplier, offset = jump(increment, -(-drawn // 2))
    last = (multiplier * state["state"]["state"] + offset) & MASK
    inner = {"state": last, "inc": increment}
    return state | {"state": inner, "has_uint32": drawn % 2, "uinteger": output(last) >> 32}


def supported(rng):
    """Whether the numbers of this generator can be made on a GPU: whether it is PCG64."""
    return type(rng.bit_generator) is numpy.random.PCG64


def drawn_on_gpu(rng, shape, dtype, mask=False, p=0.0, scale=0.0):
    """`rng.random(shape, dtype=float32)` or a dropout mask, made by the kernel; the generator moves on as if it had."""
    count, dtype = math.prod(shape), numpy.dtype(dtype)
    out = backend.module_for("cuda").empty(shape, dtype)
    if count:
        blocks = min(blocks_for(count, 2), BLOCKS)

        def place():
            """Where the generator is, as the kernel's struct; it moves on."""
            state = rng.bit_generator.state
            increment = state["state"]["inc"]
            numbers = (state["state"]["state"], increment, *jump(increment, blocks * kernel.THREADS))
            words = [word for n in numbers for word in (n >> 64, n & (2**64 - 1))]
            rng.bit_generator.state = advanced(state, count)
            return _PLACE.pack(*words, state["has_uint32"], state["uinteger"])

        if gpu.is_recording():  # the numbers are to be others each time
            words = functools.partial(_as_words, place)
            given, passed = gpu.from_host(words), bytes(_PLACE.size)
        else:
            given, passed = 0, place()
        _DRAW(dtype, blocks, out, count, given, bytearray(passed), int(mask), float(p), float(scale))
    return out


def _as_words(place):
    return numpy.frombuffer(place(), numpy.uint64)


def mask_on_gpu(rng, shape, dtype, p):
    """`draw_mask`, bit for bit."""
    return drawn_on_gpu(rng, shape, dtype, True, p, 1 / (1 - p))


def normal_on_gpu(rng, shape, dtype, sigma):
    """`draw_normal` to the last bits: logarithm, sine and cosine are the GPU's."""
    count = math.prod(shape)
    uniform = drawn_on_gpu(rng, (count + count % 2,), numpy.float32)
    out = backend.module_for("cuda").empty(shape, dtype)
    if count:
        _BOX_MULLER(numpy.dtype(dtype), blocks_for(count, 2), uniform, out, count, float(sigma))
    return out


# ---- in the place of the plain forms --------------------------------------------------------------------------------


def _on_gpu(draw, draw_on_gpu):
    """A wrapper: for arrays on a GPU the numbers are made there, or by the host anew for each replay of a graph."""

    def wrap(plain):
        def run(xp, x, parameter, rng):
            if gpu.runs_kernels(x) and supported(rng) and x.dtype.itemsize >= 4:
                return drawn(draw_on_gpu, xp, x, parameter, rng)
            if gpu.is_recording() and xp is not numpy:
                return drawn(lambda *args: gpu.from_host(functools.partial(draw, *args)), xp, x, parameter, rng)
            return plain(xp, x, parameter, rng)

        return run

    return wrap


faster("dropout_mask", "cuda", _on_gpu(draw_mask, mask_on_gpu))
faster("normal_like", "cuda", _on_gpu(draw_normal, normal_on_gpu))


# ---- what the kernel does, in NumPy ---------------------------------------------------------------------------------


def uniform_reference(state, count, threads=64):
    """The first `count` float32 numbers of a PCG64 in `state`: thread by thread, as the kernel computes them."""
    first, increment = state["has_uint32"], state["state"]["inc"]
    halves = numpy.empty(first + 2 * max(0, -(-(count - first) // 2)), numpy.uint32)
    halves[:first] = state["uinteger"]
    pairs = halves[first:].reshape(-1, 2)
    numbers = numpy.arange(threads, dtype=numpy.uint64) + numpy.uint64(1)  # steps to each thread's first output
    s = _words(state["state"]["state"])
    multiplier, offset = _words(MULTIPLIER), _words(increment)
    zero = numpy.zeros(2, numpy.uint64)
    while numbers.any():
        moved = _multiply_add(multiplier, s, offset)
        s = numpy.where((numbers & numpy.uint64(1)).astype(bool), moved, _as_columns(s))
        offset, multiplier = _multiply_add(multiplier, offset, offset), _multiply_add(multiplier, multiplier, zero)
        numbers >>= numpy.uint64(1)
    stride_multiplier, stride_offset = map(_words, jump(increment, threads))
    for start in range(0, len(pairs), threads):
        rows = pairs[start : start + threads]
        rotation = s[0] >> numpy.uint64(58)
        bits = s[0] ^ s[1]
        bits = bits >> rotation | bits << (-rotation & numpy.uint64(63))
        rows[:, 0], rows[:, 1] = bits[: len(rows)], bits[: len(rows)] >> numpy.uint64(32)
        s = _multiply_add(stride_multiplier, s, stride_offset)
    return (halves[:count] >> numpy.uint32(8)).astype(numpy.float32) * numpy.float32(2.0**-24)


def _words(number):
    """A number of 128 bits as its high and its low word."""
    return numpy.array([number >> 64, number & (2**64 - 1)], numpy.uint64)


def _as_columns(words):
    return words if words.ndim == 2 else words[:, None]


def _multiply_add(a, b, c):
    """a·b + c mod 2¹²⁸ on words (2, …): the product of two low words by schoolbook, from halves of 32 bits."""
    a, b, c = map(_as_columns, (a, b, c))
    half, lower = numpy.uint64(32), numpy.uint64(2**32 - 1)
    (a1, a0), (b1, b0) = ((w[1] >> half, w[1] & lower) for w in (a, b))
    middle = a1 * b0 + (a0 * b0 >> half)
    other = a0 * b1 + (middle & lower)
    high = a1 * b1 + (middle >> half) + (other >> half) + a[0] * b[1] + a[1] * b[0] + c[0]
    low = a[1] * b[1] + c[1]
    return numpy.stack(numpy.broadcast_arrays(high + (low < c[1]), low))

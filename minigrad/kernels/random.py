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

Normal numbers take one or more outputs each, so nobody knows where the thousandth begins before the others are there.
They are drawn on the host, but ahead: `standard_normal` begins in a thread to draw what it is going to be asked for.
"""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy

from minigrad import backend
from minigrad.backend import gpu

MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645
MASK = 2**128 - 1
THREADS, BLOCKS = 256, 1024  # at most

SOURCE = r"""
typedef unsigned int uint32;
typedef unsigned long long uint64;

struct uint128 { uint64 high, low; };

__device__ uint128 multiply_add(uint128 a, uint128 b, uint128 c) {  // a·b + c mod 2^128
    uint128 r;
    r.low = a.low * b.low;
    r.high = __umul64hi(a.low, b.low) + a.high * b.low + a.low * b.high + c.high;
    r.low += c.low;
    r.high += r.low < c.low;
    return r;
}

// Output number `pair` of the generator gives the entries 2·pair + first and the one after it; before `first` = 1 comes
// the half that the generator had kept. Entry i becomes u itself, or a dropout mask's: 0 where u < p, else `scale`.
template <typename T, bool mask>
__device__ void fill(T* out, long long count, int first, uint32 kept, uint128 state, uint128 increment,
                     uint128 stride_multiplier, uint128 stride_increment, float p, T scale) {
    long long thread = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    long long threads = gridDim.x * (long long)blockDim.x;
    const uint128 zero = {0, 0};
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
            if (entry < count) {
                float u = ((uint32)(bits >> 32 * half) >> 8) * (1.0f / 16777216.0f);
                out[entry] = mask ? (u < p ? (T)0 : scale) : (T)u;
            }
        }
        state = multiply_add(stride_multiplier, state, stride_increment);
    }
    if (first && thread == 0 && count > 0) {
        float u = (kept >> 8) * (1.0f / 16777216.0f);
        out[0] = mask ? (u < p ? (T)0 : scale) : (T)u;
    }
}

#define KERNEL(NAME, T, MASK)                                                                                      \
    extern "C" __global__ void NAME(T* out, long long count, int first, uint32 kept,                               \
                                    uint64 state_high, uint64 state_low, uint64 inc_high, uint64 inc_low,          \
                                    uint64 multiplier_high, uint64 multiplier_low,                                 \
                                    uint64 stride_high, uint64 stride_low, float p, T scale) {                     \
        uint128 state = {state_high, state_low}, increment = {inc_high, inc_low};                                  \
        uint128 multiplier = {multiplier_high, multiplier_low}, stride = {stride_high, stride_low};                \
        fill<T, MASK>(out, count, first, kept, state, increment, multiplier, stride, p, scale);                    \
    }

KERNEL(uniform_float32, float, false)
KERNEL(mask_float32, float, true)
KERNEL(mask_float64, double, true)
"""


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


def _launch(name, rng, shape, dtype, p=0.0, scale=0.0):
    """Run a kernel for as many numbers as `shape` holds, and move the generator past them."""
    state, count = rng.bit_generator.state, math.prod(shape)
    out = backend.module_for("cuda").empty(shape, dtype)
    if count:
        first = state["has_uint32"]
        threads = -(-(count - first) // 2) or 1
        blocks = min(-(-threads // THREADS), BLOCKS)
        increment = state["state"]["inc"]
        numbers = (state["state"]["state"], increment, *jump(increment, blocks * THREADS))
        words = [numpy.uint64(word) for n in numbers for word in (n >> 64, n & (2**64 - 1))]
        scalars = (numpy.int64(count), numpy.int32(first), numpy.uint32(state["uinteger"]))
        end = (numpy.float32(p), numpy.dtype(dtype).type(scale))
        gpu.raw_kernel(name, SOURCE)((blocks,), (THREADS,), (out, *scalars, *words, *end))
        rng.bit_generator.state = advanced(state, count)
    return out


def uniform(rng, shape):
    """`rng.random(shape, dtype=float32)`, made on the GPU; the generator moves on as if it had drawn."""
    return _launch("uniform_float32", rng, shape, numpy.float32)


def dropout_mask(rng, shape, p, dtype):
    """`(rng.random(shape, dtype=float32) >= p) / (1 - p)` in float32 or float64, made on the GPU in one go."""
    dtype = numpy.dtype(dtype)
    return _launch(f"mask_{dtype.name}", rng, shape, dtype, p, 1 / (1 - p))


# ---- normal numbers, ahead of time ----------------------------------------------------------------------------------

_following = {}  # (stream, shape) → _Ahead
_worker = None


class _Ahead:
    """What is known of one use of a generator: normal numbers of one shape, again and again, and others in between."""

    between = expected = drawing = None  # how many 32-bit numbers; the state to begin with; the result to be


def standard_normal(rng, shape):
    """`rng.standard_normal(shape, dtype=float32)`, from the second or third time on drawn while others were at work.

    In training, a step asks for as many numbers in the same order as the one before. So the state in which the
    generator will be at the next call is that of now, a known number of draws later. Where it turns out to be in
    another one, what was drawn ahead is thrown away: the numbers are those of the generator in any case.
    """
    state = rng.bit_generator.state
    key = state["state"]["inc"], shape
    if key not in _following and len(_following) >= 8:
        _following.clear()
    ahead = _following.setdefault(key, _Ahead())
    if ahead.drawing and state == ahead.expected:
        numbers, after = ahead.drawing.result()
        rng.bit_generator.state = after
    else:
        if ahead.expected:
            ahead.between = _draws_between(ahead.after, state)
        numbers = rng.standard_normal(shape, dtype=numpy.float32)
        after = rng.bit_generator.state
    ahead.after, ahead.drawing = after, None
    ahead.expected = advanced(after, ahead.between or 0)
    if ahead.between is not None:
        ahead.drawing = _pool().submit(_draw, ahead.expected, shape)
    return numbers


def _draw(state, shape):
    """(normal numbers from a generator in this state, its state afterwards)."""
    generator = numpy.random.PCG64(0)
    generator.state = state
    return numpy.random.Generator(generator).standard_normal(shape, dtype=numpy.float32), generator.state


def _pool():
    global _worker
    if _worker is None:
        _worker = ThreadPoolExecutor(1, thread_name_prefix="random numbers")
    return _worker


def _draws_between(before, after):
    """How many 32-bit numbers lead from one state of a generator to another; None if too many for a training step."""
    steps = distance(before["state"]["inc"], before["state"]["state"], after["state"]["state"])
    draws = before["has_uint32"] + 2 * steps - after["has_uint32"]
    return draws if 0 <= draws < 2**40 else None


def distance(increment, before, after):
    """The number of steps from one state to another, bit by bit: the lowest k bits of a state repeat after 2ᵏ steps."""
    multiplier, bit, steps = MULTIPLIER, 1, 0
    while before != after:
        if (before ^ after) & bit:
            before = (multiplier * before + increment) & MASK
            steps |= bit
        increment = (multiplier + 1) * increment & MASK
        multiplier = multiplier * multiplier & MASK
        bit <<= 1
    return steps


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

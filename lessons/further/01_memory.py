r"""What a tape keeps, and how to make it keep less
==============================================

Training a network takes many times the memory of using it. The reason is the tape: until the backward pass has come by,
it keeps what the rules will need, for every layer and every example of the minibatch. Open this chapter when training
runs out of memory, or when you have to say beforehand whether it will. It predicts the bytes from the rules, checks
them against what Python really holds, and then trades them for time.

Afterwards you can

- predict the memory of a training step from depth, width and number of examples;
- say how the wording of one backward rule can double that memory;
- reduce it from $m$ layers to about $2\sqrt m$, for one more forward pass.

Read first: lesson 01 (tensors and the tape), parts 5 and 6.

Claims checked, and where they are made:

- the tape keeps one array of activations a layer, and the bytes that it states are the bytes that are allocated ("A
  formula for the bytes");
- tanh differentiated through its input keeps twice as much ("The wording of a rule");
- checkpoints in $p$ pieces need $p + m/p$ arrays at most, and two forward passes ("Forget, and compute again").

Time: quick about 3 s, full about 10 s.
"""

# %%
# The network is a stack of $m$ hidden layers of tanh units, all of one width, between two inputs and one output. It is
# a function of points, two numbers each.

import gc
import itertools
import math
import tracemalloc

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl

import minigrad as mg
from lessons import COLOURS, Lesson
from minigrad.op import op

lesson = Lesson(__file__)
BLUE, ORANGE, BLACK, *_ = COLOURS.values()
threadpoolctl.threadpool_limits(1)


def weights_of(m, width, rng):
    """The weights of m hidden layers and of the output, in float32."""
    sizes = [2, *[width] * m, 1]
    arrays = [rng.normal(size=shape) / math.sqrt(shape[0]) for shape in itertools.pairwise(sizes)]
    return [mg.tensor(array, dtype=np.float32, requires_grad=True) for array in arrays]


def outputs(x, weights, nonlinearity=mg.tanh):
    for W in weights[:-1]:
        x = nonlinearity(x @ W)
    return x @ weights[-1]


def points(count):
    return mg.tensor(lesson.rng(1).normal(size=(count, 2)), dtype=np.float32)


# %%
# A formula for the bytes
# -----------------------
#
# Two hidden layers first, with 100 points and 16 units:

rng = lesson.rng(0)
x, weights = points(100), weights_of(2, 16, rng)
value = outputs(x, weights).mean()
print(mg.draw.text(value, {"x": x, "W1": weights[0], "W2": weights[1], "W3": weights[2]}))

# %%
# Each ``matmul`` keeps its left operand for the gradient of the weights, and its right one for the gradient of what
# came in. Nobody asks for a gradient of the points, so the first keeps no weights. ``tanh`` keeps its output, which the
# next ``matmul`` keeps anyway. For $N$ points, $m$ hidden layers and the width $n$ that makes
#
# $$\underbrace{2N}_{\text{points}} + \underbrace{m\,N\,n}_{\text{hidden layers}}
#   + \underbrace{(m - 1)\,n^2 + n}_{\text{weights}}$$
#
# numbers of four bytes. Does the tape's account agree, for other depths and other $N$? And is that what Python really
# allocates? ``tracemalloc`` counts every byte that is allocated and not yet freed, NumPy's included. Inputs and weights
# are made inside the function, so that nothing but the tape keeps them alive.


def only_the_result(m, width, count, rng):
    return outputs(points(count), weights_of(m, width, rng)).mean()


def bytes_held(make):
    """Bytes that a result keeps alive, and the result."""
    gc.collect()
    tracemalloc.start()
    result = make()
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held, result


WIDTH = 64
shapes = [(m, count) for m in (1, 2, 4, 8) for count in (1024, 4096)]
stated, held, formula = [], [], []
for m, count in shapes:
    measured, result = bytes_held(lambda m=m, count=count: only_the_result(m, WIDTH, count, rng))
    held.append(measured)
    stated.append(mg.draw.bytes_kept(result))
    formula.append(4 * (2 * count + m * count * WIDTH + (m - 1) * WIDTH**2 + WIDTH))
    print(f"m = {m}, N = {count}: formula {formula[-1]:9,}, the tape says {stated[-1]:9,}, held {measured:9,} bytes")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* The tape's own count must agree exactly. What is held includes the nodes, two for each layer, and the
# weights of the first layer, 512 bytes. A node with its tensor and tuples takes about a kilobyte; a layer of 1024
# points keeps 262. We allow 2 per cent.

lesson.claim("bytes kept: points, one activation a layer, weights; by the tape's account", stated, predicted=formula,
             rtol=0.0)
lesson.claim("memory held by the tape, as allocated", held, predicted=formula, rtol=0.02)

# %%
# The middle term is by far the largest: it grows with the depth *and* with the number of examples, so the size of the
# minibatch is the first thing to reduce. Using a network without training it needs none of this:

with mg.no_grad():
    without, _ = bytes_held(lambda: only_the_result(8, WIDTH, 4096, rng))
print(f"m = 8, N = 4096: {held[-1]:,} bytes for training, {without:,} under no_grad")

# %%
# The wording of a rule
# ---------------------
#
# The library's rule for tanh is ``g * (1 - y * y)``. One could as well write ``g * (1 - tanh(x) ** 2)``. The number is
# the same, but a rule keeps what it names. Nothing else needs the input of tanh, and so each layer is now in memory
# twice: once as the input of tanh, once as the input of the next ``matmul``.

tanh_by_input = op("tanh_by_input", "Hyperbolic tangent, differentiated through its input.",
                   lambda xp, x: xp.tanh(x), lambda g, _y, x: g * (1 - mg.tanh(x) ** 2))  # fmt: skip
x, weights = points(1024), weights_of(8, WIDTH, rng)
by_output, by_input = (outputs(x, weights, nonlinearity).mean() for nonlinearity in (mg.tanh, tanh_by_input))
more = mg.draw.bytes_kept(by_input) - mg.draw.bytes_kept(by_output)
pairs = zip(mg.grad(by_output, weights), mg.grad(by_input, weights), strict=True)
difference = max(np.abs(a.data - b.data).max() / np.abs(a.data).max() for a, b in pairs)
print(f"{more:,} bytes more; gradients differ by {difference:.1e} of the largest entry")
lesson.claim("tanh differentiated through its input keeps so many bytes more, m = 8, N = 1024", more,
             predicted=4 * 8 * 1024 * WIDTH, rtol=0.0)

# %%
# The gradients are the same. If you write an op, state its derivative in terms of whatever will be in memory anyway.
# ReLU is the best known case: where its output is positive, so is its input.
#
# Forget, and compute again
# -------------------------
#
# What has been forgotten can be computed again. Cut the $m$ layers into $p$ pieces, and keep only what goes into each
# piece: $p$ arrays. When the backward pass reaches a piece, run the piece once more with a tape: $m/p$ arrays, until
# the pass is through with it. At the peak,
#
# $$p + \frac mp \;\ge\; 2\sqrt m$$
#
# arrays are in memory, fewest for $p = \sqrt m$. The price is one more forward pass. ``mg.checkpoint(piece, x)`` does
# this. One case: 64 layers in 8 pieces.

M, COUNT, NARROW = (144, 8192, 16) if lesson.full else (64, 4096, 16)
ONE = 4 * COUNT * NARROW  # bytes of one activation
rng = lesson.rng(2)
layers = [mg.tensor(rng.normal(size=(NARROW, NARROW)) / 4, dtype=np.float32, requires_grad=True) for _ in range(M)]
first = mg.tensor(rng.normal(size=(COUNT, NARROW)), dtype=np.float32)
calls = 0


def piece(x, *weights):
    global calls
    for W in weights:
        x, calls = mg.tanh(x @ W), calls + 1
    return x


def in_pieces(p):
    x = first
    for own in np.split(np.arange(M), p):
        x = mg.checkpoint(piece, x, *[layers[i] for i in own])
    return x.mean()


# %%


def peak_of_training(make):
    """The most memory in use during forward and backward pass, in activations, and the gradients of the layers."""
    global calls
    calls = 0
    gc.collect()
    tracemalloc.start()
    gradients = mg.grad(make(), layers)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / ONE, gradients


plain_peak, plain_gradients = peak_of_training(lambda: piece(first, *layers).mean())
plain_calls = calls
peak, gradients = peak_of_training(lambda: in_pieces(8))
same = all(np.array_equal(a.data, b.data) for a, b in zip(gradients, plain_gradients, strict=True))
print(f"without checkpoints: {plain_peak:.1f} activations at most, {plain_calls} layers computed")
print(f"in 8 pieces: {peak:.1f} activations at most, {calls} layers computed; the same gradients: {same}")

# %%
# Now for every $p$ that divides $m$:

divisors = np.array([p for p in range(1, M + 1) if M % p == 0])
peaks, computed = [], []
for p in divisors:
    peak, _ = peak_of_training(lambda p=p: in_pieces(p))
    peaks.append(peak)
    computed.append(calls)
    print(f"p = {p:3}: {peak:6.1f} activations, p + m/p = {p + M / p:6.1f}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* The formula leaves out the work itself: while the rule of tanh runs, the incoming gradient, $y^2$,
# $1 - y^2$ and the product are in memory, four more arrays. Whether one of them is freed a moment earlier or later
# makes a difference of one array; the gradients of the weights are 0.25 of one. So we predict $p + m/p + 4$, give or
# take one.

lesson.claim("most activations in memory with checkpoints: p + m/p, and 4 for the rule at work, all p", peaks,
             predicted=divisors + M / divisors + 4, rtol=0.0, atol=1.0)
lesson.claim("layers computed with checkpoints, over layers: twice, all p", np.divide(computed, plain_calls),
             predicted=2, rtol=0.0)

# %% Drawing tags=["hide-input"]

figure, ax = plt.subplots()
fine = np.geomspace(1, M, 200)
ax.loglog(fine, fine + M / fine + 4, color=BLUE, label="$p + m/p + 4$")
ax.loglog(divisors, peaks, "o", color=ORANGE, label="measured")
ax.axhline(plain_peak, color=BLACK, linestyle="--", linewidth=1, label="without checkpoints")
ax.set(xlabel="pieces $p$", ylabel="activations in memory at most", title=f"One training step through $m = {M}$ layers")
ax.set_xticks(divisors, map(str, divisors))
ticks = [15, 20, 30, 40, 60, 80] if M == 64 else [20, 30, 40, 60, 80, 120, 160]
ax.set_yticks(ticks, map(str, ticks))
ax.minorticks_off()
ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0.88))
lesson.figure(figure, "checkpoints", alt="Peak memory of a training step, in activations, against the number of "
              "pieces, on log axes. Dots lie on a U-shaped curve with its minimum in the middle, at the square root of "
              "the number of layers, far below the dashed line of training without checkpoints; its ends lie a little "
              "above that line.")

# %%
# At both ends nothing is gained: with $p = 1$ the whole tape comes back in the backward pass; with $p = m$ every
# activation is an input that is kept. In the middle, 64 layers take the memory of about 20. And as a gradient costs
# about four forward passes (lesson 01 measured it), one more makes training about a quarter longer.
#
# If that is still too much, put checkpoints into the pieces, and so on: with $\log_2 m$ levels the memory grows as
# $\log m$, and so does the number of forward passes (Griewank & Walther 2000, *Algorithm 799*; Chen et al. 2016,
# arXiv:1604.06174, for networks).
#
# Questions
# ---------
#
# 1. Give the network biases, ``x @ W + b``. What do they add to the bytes kept? Answer first, from the rule of ``add``
#    (lesson 01, part 6), then measure.
# 2. Plot the bytes kept against depth, and against the number of points, with biases and with five hidden layers of
#    width 16. Look for straight lines, and say what their slopes are before you measure them.
# 3. Make the layers residual, ``x = x + tanh(x @ W)`` from the second on. How many arrays does a layer keep now, and
#    who keeps them?

lesson.finish()

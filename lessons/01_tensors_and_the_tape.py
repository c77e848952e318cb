r"""Tensors and the tape
====================

A network has millions of weights, and to train it you must know, at every step, how its error depends on each of them.
Trying them one by one would take millions of runs. There is a method that takes the time of a few. It fits on a page,
and everything else in a deep-learning library rests on it. Here you write that page yourself, first for single numbers.
You train a network with it, and only then open the library: it must give the same numbers.

Afterwards you can

- say what the two orders of the chain rule cost, and which one to use for which program;
- write a tape and a backward pass, and say why gradients are added up and in which order;
- derive the backward rule of an array operation without forming a Jacobian;
- read off which arrays a tape keeps in memory, and say why;
- combine the two orders to multiply by a matrix of second derivatives that nobody could store.

Read first: nothing, if you know Python, NumPy, the chain rule and the matrix product. Beside it, open
``minigrad/tensors.py``, ``op.py``, ``ops/elementwise.py`` and ``graph.py``: part 5 is a tour of them.

Claims checked, and where they are made:

- both orders of the chain rule give one gradient, at very different cost (parts 1 and 3);
- your tape, forward mode and the library agree to rounding, in first and second derivatives (parts 3, 5 and 7);
- the rules for arrays, and the gradient of a whole network, agree with differences (parts 4 and 8);
- the tape keeps the bytes that its rules name (part 6);
- a gradient costs a few evaluations, predicts what a step does, and teaches a network its task (part 8).

Three further chapters, each to be read on its own after this lesson:

- ``further/01_order.py``: you write a backward pass without a list, or differentiate loops and branches;
- ``further/01_memory.py``: training runs out of memory;
- ``further/01_higher_derivatives.py``: you need third derivatives, or a whole Hessian.

Time: quick about 4 s, full about 8 s.
"""

# %%
# Everything here runs on one CPU core, whatever ``--device`` says: the arrays are too small for more.

import inspect
import math
import time

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl

import minigrad as mg
from lessons import COLOURS, Lesson
from minigrad.op import REGISTRY

lesson = Lesson(__file__)
BLUE, ORANGE, BLACK, *_ = COLOURS.values()
threadpoolctl.threadpool_limits(1)

# %%
# 1. The chain rule has two ends
# ------------------------------
#
# A program is a chain of small steps. Take one that maps $n$ numbers to $n$ numbers $m$ times and then adds them up,
# with factors $c$, to a single number:
#
# $$x_k = \tanh(A_k x_{k-1}), \quad k = 1 \dots m, \qquad f(x_0) = c^\top x_m .$$
#
# The derivative of each step is a matrix, its *Jacobian* $J_k = \partial x_k / \partial x_{k-1}$. Here
# $J_k = \mathrm{diag}(1 - x_k^2)\, A_k$, because $\tanh' = 1 - \tanh^2$. The chain rule says that the derivative of
# the whole is the product
#
# $$\frac{\partial f}{\partial x_0} = c^\top J_m J_{m-1} \cdots J_1 .$$
#
# A matrix product may be bracketed in any way. From the left, every intermediate result is a row of $n$ numbers, and
# a row times an $n \times n$ matrix takes $n^2$ multiplications. From the right, every intermediate result is an
# $n \times n$ matrix, and each product takes $n^3$.


def from_the_left(c, jacobians):
    row, count = c, 0
    for J in reversed(jacobians):  # the last step first
        row, count = row @ J, count + J.size
    return row, count


def from_the_right(c, jacobians):
    matrix, count = jacobians[0], 0
    for J in jacobians[1:]:  # the first step first
        matrix, count = J @ matrix, count + J.size * matrix.shape[1]
    return c @ matrix, count + matrix.size


def chain(n, steps, rng):
    """The row c and the Jacobians of a chain of random steps, at a random point."""
    x, jacobians = rng.normal(size=n), []
    for _ in range(steps):
        A = rng.normal(size=(n, n)) / math.sqrt(n)
        x = np.tanh(A @ x)
        jacobians.append((1 - x**2)[:, None] * A)
    return rng.normal(size=n), jacobians


c, jacobians = chain(64, 8, lesson.rng(1, 64))
(left, left_count), (right, right_count) = from_the_left(c, jacobians), from_the_right(c, jacobians)
print(f"64 inputs, 8 steps: {left_count:,} multiplications from the left, {right_count:,} from the right")
print(f"first entries: {left[:3]} and {right[:3]}")

# %%
# The same for several $n$, with the time that each order takes: the shortest of several runs, the least disturbed one.


def shortest_time(function, *args, repeats=5):
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function(*args)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


sizes = [32, 64, 128, 256, 512] + ([1024] if lesson.full else [])
STEPS = 8
times, largest_difference = {"left": [], "right": []}, 0.0
for n in sizes:
    c, jacobians = chain(n, STEPS, lesson.rng(1, n))
    left, right = from_the_left(c, jacobians)[0], from_the_right(c, jacobians)[0]
    largest_difference = max(largest_difference, np.abs(left - right).max() / np.abs(left).max())
    times["left"].append(1e3 * shortest_time(from_the_left, c, jacobians, repeats=20))
    times["right"].append(1e3 * shortest_time(from_the_right, c, jacobians))
    print(f"n = {n:4}: {times['left'][-1]:8.3f} ms from the left, {times['right'][-1]:8.3f} ms from the right")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* Each entry passes through $m$ sums of $n$ products, and each operation rounds by at most
# $\varepsilon = 2.2\cdot10^{-16}$: for $n = 512$, about $mn\,\varepsilon \approx 10^{-12}$ at the very worst. The
# counts differ by a factor of $7n/8$; for the times, five is a modest bound that a busy machine does not fail.

lesson.claim(
    "both orders of the chain rule give the same gradient (relative difference)", largest_difference, below=1e-12
)
lesson.claim(f"for {sizes[-1]} inputs, multiplying from the left is faster (time right / time left)",
             times["right"][-1] / times["left"][-1], above=5)

# %% Drawing tags=["hide-input"]

figure, ax = plt.subplots()
n = np.array(sizes, float)
for side, power, colour, words in [("right", 3, ORANGE, "from the right: $(m-1)\\,n^3 + n^2$"),
                                   ("left", 2, BLUE, "from the left: $m\\,n^2$")]:
    ax.loglog(n, times[side][-1] * (n / n[-1]) ** power, color=colour, label=f"growth as $n^{power}$")
    ax.loglog(n, times[side], "o", color=colour, label=words)
ax.set(xlabel="inputs $n$", ylabel="time (ms)", xticks=sizes, title=f"One gradient through $m={STEPS}$ steps")
ax.set_xticks(sizes, map(str, sizes))
ax.minorticks_off()
ax.legend()
lesson.figure(figure, "two_orders", alt="Log-log plot of the time for one gradient against the number of inputs. From "
              "the right it grows about as the cube, from the left about as the square; for several hundred inputs "
              "they are a factor of about a hundred apart.")

# %%
# Each line goes through the last dot, with the slope that the counts predict. The times differ by less than the counts:
# a row times a matrix waits for memory, while a matrix product reuses what it has loaded. The lower dots may lie below
# their line while the matrices fit into a cache, and above it for the smallest $n$, where calling a function from
# Python takes most of the time.
#
# So: *with one output and many inputs, begin at the output.* Training a network is exactly this case. This order is
# called *reverse mode*; on a network, *backpropagation*.
#
# It has a price. The last step's Jacobian is needed first, so the program must have run to its end, and must have
# recorded what the Jacobians need. That record is the tape. The other order, *forward mode*, needs no record: the first
# step's Jacobian can be used as soon as the first step has been computed.

# %%
# 2. Two modes for single numbers
# -------------------------------
#
# In a program of single numbers each step has one or two inputs, and its Jacobian is one or two numbers, the *slopes*:
# 1 and 1 for $a + b$, but $b$ and $a$ for $ab$. Both modes need the same slopes and differ in *when* they use them.
# So we write the arithmetic once; each mode will be a subclass, which decides what to do with the slopes.


class Number:
    """Arithmetic that states, with each result, the steps to it: pairs (input, slope with respect to it)."""

    def __add__(self, other):
        if isinstance(other, type(self)):  # two steps lead to the result, which is of the same subclass
            return type(self)(self.value + other.value, (self, 1.0), (other, 1.0))
        return type(self)(self.value + other, (self, 1.0))  # a constant is no step

    def __mul__(self, other):
        if isinstance(other, type(self)):
            return type(self)(self.value * other.value, (self, other.value), (other, self.value))
        return type(self)(self.value * other, (self, other))

    __radd__, __rmul__ = __add__, __mul__  # for 2 + x and 2 * x, where the constant comes first


def tanh(x):
    if not isinstance(x, Number):
        return math.tanh(x)
    y = tanh(x.value)
    return type(x)(y, (x, 1.0 + -1.0 * (y * y)))


# %%
# *Forward mode* uses the slopes at once. Each number carries a *tangent* beside its value: its derivative along the
# direction in which the inputs move. Such a pair is called a *dual number*. Its tangent follows from those of the
# inputs, by the chain rule of several variables: add up slope times tangent.


class Dual(Number):
    products = 0  # how many times a slope has been multiplied, for part 3

    def __init__(self, value, *steps, tangent=0.0):
        self.value, self.tangent = value, tangent
        for source, slope in steps:
            self.tangent += slope * source.tangent
        Dual.products += len(steps)


# %%
# Take $f(x, y) = xy + \tanh x$ at $(2, 3)$, where $\partial f/\partial x = y + 1 - \tanh^2 x$ and
# $\partial f/\partial y = x$. A run gives the derivative in *one* direction, so a gradient takes one run per input.


def f(x, y):
    return x * y + tanh(x)


along_x, along_y = f(Dual(2.0, tangent=1.0), Dual(3.0)), f(Dual(2.0), Dual(3.0, tangent=1.0))
print(f"forward mode: f = {along_x.value:.4f}, df/dx = {along_x.tangent:.4f}, df/dy = {along_y.tangent:.4f}")
print(f"by hand:      df/dx = {3 + 1 - math.tanh(2) ** 2:.4f}, df/dy = 2")

# %%
# *Reverse mode* keeps the slopes for later. All numbers go on a list in the order in which they were made: the *tape*.
# The *backward pass* starts with 1, the derivative of the result with respect to itself. From the youngest entry to
# the oldest, each entry hands each of its inputs a share: gradient times slope.

tape = []


class Taped(Number):
    products = 0

    def __init__(self, value, *steps):
        self.value, self.steps = value, steps
        self.gradient = 0.0  # to be: the derivative of the result with respect to this number
        tape.append(self)


def go_back(result):
    for number in tape:
        number.gradient = 0.0
    result.gradient = 1.0
    for number in reversed(tape):
        for source, slope in number.steps:
            source.gradient += slope * number.gradient
        Taped.products += len(number.steps)


x, y = Taped(2.0), Taped(3.0)
go_back(f(x, y))
print("entry  value     gradient  made from")
for i, number in enumerate(tape):
    sources = ", ".join(f"entry {tape.index(source)} with slope {slope:.4f}" for source, slope in number.steps)
    print(f"{i:5}  {number.value:8.4f}  {number.gradient:8.4f}  {sources or 'an input'}")

# %%
# One run forward and one back, and both derivatives are there. Two details matter:
#
# - *The sum.* $x$ is used twice, so it reaches $f$ along two paths, and the paths add up. With ``=`` in place of ``+=``
#   only the last share to arrive would be left.
# - *The order.* A number may hand on its gradient only when all of it has arrived: after everything that was made from
#   it. Youngest first is such an order, since a number is always younger than what it was made from. If you simply
#   follow the inputs instead, the result is wrong, or the time doubles with each number that is used twice;
#   ``further/01_order.py`` shows both.
#
# These few lines can train a network. It has two layers and tells apart two classes of points in the plane: two
# interlocking half-circles, with noise.


def two_moons(count, rng):
    """`count` points in the plane, (count, 2), and their labels ±1, (count, 1), half of each."""
    angle = rng.uniform(0, np.pi, count)
    labels = np.where(np.arange(count) % 2 == 0, 1.0, -1.0)[:, None]
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    lower = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], axis=1)
    points = np.where(labels > 0, upper, lower) + NOISE * rng.normal(size=(count, 2))
    return points - np.array([0.5, 0.25]), labels


NOISE, HIDDEN = 0.15, 8
points, labels = two_moons(100, lesson.rng(6, 0))
rng = lesson.rng(6, 1)
start = [rng.normal(size=(2, HIDDEN)), np.zeros(HIDDEN), rng.normal(size=(HIDDEN, 1)) / math.sqrt(HIDDEN), np.zeros(1)]
WEIGHTS = sum(array.size for array in start)

# %%
# From a point $x$ the network computes a number $t$, positive for one class and negative for the other:
#
# $$t = \tanh(x W_1 + b_1)\, W_2 + b_2 .$$
#
# Read $1/(1 + e^{-t})$ as the probability that the network assigns to the label $+1$; $t = 0$ stands for even chances.
# Then a label $y = \pm1$ has the probability $1/(1 + e^{-yt})$. The *loss* is minus the logarithm of this probability,
# averaged over the $N$ points:
#
# $$L = \frac1N \sum_{i=1}^N \operatorname{softplus}(-y_i t_i), \qquad \operatorname{softplus}(t) = \log(1 + e^t) .$$
#
# The slope of softplus is $1/(1 + e^{-t}) = \tfrac12 + \tfrac12\tanh\tfrac t2$. The four arrays ``W1, b1, W2, b2`` are
# cut into a list of single numbers, the weights.


def softplus(x):
    if not isinstance(x, Number):
        return math.log1p(math.exp(x))
    return type(x)(softplus(x.value), (x, 0.5 + 0.5 * tanh(0.5 * x.value)))


def scalar_loss(weights):
    """The loss of the network with these weights, W1, b1, W2 and b2 in one list of Numbers."""
    from_x1, from_x2, b1, W2 = (weights[i * HIDDEN : (i + 1) * HIDDEN] for i in range(4))
    total = 0.0
    for (x1, x2), y in zip(points.tolist(), labels[:, 0].tolist(), strict=True):
        t = weights[-1]
        for i in range(HIDDEN):
            t = t + tanh(from_x1[i] * x1 + from_x2[i] * x2 + b1[i]) * W2[i]
        total = total + softplus(-y * t)
    return total * (1 / len(points))


# %%
# *Gradient descent* subtracts from each weight its gradient times $\eta$, the *learning rate*, again and again.

RATE, OWN_STEPS = 2.0, 60
own_losses, values = [], np.concatenate([array.ravel() for array in start]).tolist()
own_time = math.inf
for _ in lesson.progress(range(OWN_STEPS), "training with single numbers"):
    started = time.perf_counter()
    tape.clear()
    weights = [Taped(value) for value in values]
    result = scalar_loss(weights)
    go_back(result)
    own_losses.append(result.value)
    values = [w.value - RATE * w.gradient for w in weights]
    own_time = min(own_time, time.perf_counter() - started)
print(f"{OWN_STEPS} steps, loss {own_losses[0]:.4f} → {own_losses[-1]:.4f}; "
      f"{1e3 * own_time:.1f} ms a step at best, {len(tape):,} entries on the tape")

# %%
# 3. Which mode costs what
# ------------------------
#
# In a pass, both modes use each slope once: forward mode multiplies it by a tangent, reverse mode by a gradient. A
# forward pass handles one input, a backward pass one output. So for a program with $E$ slopes,
#
# $$\text{forward mode: } E \times \text{inputs}, \qquad \text{reverse mode: } E \times \text{outputs}$$
#
# products. We count them for the first step of the training above. Each point passes through 8 hidden units with 11
# slopes each, and adds 4 slopes of its own: $E = N(11\cdot8 + 4)$.

flat = np.concatenate([array.ravel() for array in start]).tolist()
tape.clear()
Taped.products = Dual.products = 0
weights = [Taped(value) for value in flat]
go_back(scalar_loss(weights))
own_gradient = np.array([w.gradient for w in weights])
by_forward_mode = np.array([
    scalar_loss([Dual(value, tangent=float(i == j)) for j, value in enumerate(flat)]).tangent for i in range(WEIGHTS)
])
print(f"{WEIGHTS} weights, one loss: {Dual.products:,} products forward, {Taped.products:,} in reverse")
counts = {"forward, network": Dual.products, "reverse, network": Taped.products}

# %%
# Now the opposite: one input and many outputs. The chain of part 1 begins with 12 numbers that all follow one knob,
# $x_0 = 0.5\,a$ with fixed $a$, where 0.5 is the input; its 12 results are the outputs. Forward mode now needs one
# run, and reverse mode a pass for each output.

KNOB_STEPS, OUTPUTS = 3, 12
matrices = lesson.rng(3).normal(size=(KNOB_STEPS, OUTPUTS, OUTPUTS)) / math.sqrt(OUTPUTS)


def from_one_knob(knob):
    x = [knob * a for a in matrices[0, 0].tolist()]
    for A in matrices.tolist():
        x = [tanh(sum(entry * number for entry, number in zip(row, x, strict=True))) for row in A]
    return x


tape.clear()
Taped.products = Dual.products = 0
tangents = np.array([x.tangent for x in from_one_knob(Dual(0.5, tangent=1.0))])
knob = Taped(0.5)
gradients = []
for output in from_one_knob(knob):
    go_back(output)
    gradients.append(knob.gradient)
print(f"one knob, {OUTPUTS} outputs: {Dual.products:,} products forward, {Taped.products:,} in reverse")
counts |= {"forward, knob": Dual.products, "reverse, knob": Taped.products}

# %% Tolerance tags=["hide-input"]
# *Tolerance.* A count must agree with its formula exactly. A unit of the chain has 12 products, 12 additions
# (Python's ``sum`` begins with 0, so one of them has a single input: 23 slopes) and a tanh. Derivatives add up a few
# hundred products, each rounded by $\varepsilon$: $10^{-13}$ of the largest entry.

network_slopes = len(points) * (11 * HIDDEN + 4)
knob_slopes = OUTPUTS + KNOB_STEPS * OUTPUTS * (3 * OUTPUTS)
lesson.claim("products of a slope: slopes × inputs forward, slopes × outputs in reverse, network and knob",
             list(counts.values()),
             predicted=[network_slopes * WEIGHTS, network_slopes, knob_slopes, knob_slopes * OUTPUTS], rtol=0.0)
lesson.claim("forward and reverse mode give the same derivatives of the network (relative to the largest)",
             np.abs(by_forward_mode - own_gradient).max() / np.abs(own_gradient).max(), below=1e-13)
lesson.claim("forward and reverse mode give the same derivatives by one knob (relative to the largest)",
             np.abs(tangents - gradients).max() / np.abs(tangents).max(), below=1e-13)

# %%
# In short: few inputs, forward; few outputs, reverse. (A pass may skip entries that do not lead to its output. In the
# chain that saves only part of the last step.) A loss is one output, however many weights there are, so from here on we
# use reverse mode. Forward mode comes back in part 7, where the two work together.

# %%
# 4. From numbers to arrays
# -------------------------
#
# The tape had nearly six thousand entries for a network of 33 weights. It is better to record whole array operations.
# Then the slopes become Jacobians, which are too large to form: for a product of a $64\times256$ matrix with a
# $256\times256$ matrix, the Jacobian with respect to the first has $(64\cdot256)^2$ entries, 2.1 GB in float64.
#
# Nor do they have to be formed. All that the backward pass needs of a Jacobian is its product with a gradient. So each
# operation supplies a function for just that, its *vector-Jacobian product*: from $g$, the gradient with respect to the
# output $y$, of the shape of $y$, it computes $g^\top \partial y/\partial x$, of the shape of $x$.
#
# An elementwise operation has a diagonal Jacobian, so the product is elementwise, too:


def tanh_rule(g, y):
    return g * (1 - y**2)


# %%
# Broadcasting uses one value many times: in ``x * s`` with ``x`` of shape $(5, 3)$ and ``s`` of shape $(3,)$, each
# entry of ``s`` is used in five rows. A value used many times gets the sum of its shares, as in part 2. So the rule for
# a repetition is a sum over the axes along which the value was repeated.


def unbroadcast(g, shape):
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))  # axes that broadcasting put in front
    return g.sum(axis=tuple(i for i, size in enumerate(shape) if size == 1), keepdims=True)  # axes stretched from 1


def multiply_rules(g, a, b):
    return unbroadcast(g * b, a.shape), unbroadcast(g * a, b.shape)


# %%
# A matrix product $Y = AB$ has the entries $Y_{ij} = \sum_k A_{ik} B_{kj}$. With the gradient $g_{ij}$ of $Y_{ij}$, the
# gradient $\bar A_{ik}$ of $A_{ik}$ is the sum over everything in which it was used, again a matrix product:
#
# $$\bar A_{ik} = \sum_j g_{ij} B_{kj} = (g B^\top)_{ik}, \qquad
# \bar B_{kj} = \sum_i A_{ik} g_{ij} = (A^\top g)_{kj} .$$
#
# The shapes leave hardly any other choice, which helps you remember the rule.


def matmul_rules(g, a, b):
    return g @ b.T, a.T @ g


# %%
# Believe none of this without a check. For any $g$, the product $g^\top J$ is the gradient of the single
# number $f = \sum g \cdot y$, and a gradient can be measured by moving one entry at a time by $\pm h$ ($e_i$ has a 1 in
# place $i$ and 0 elsewhere):
#
# $$\frac{\partial f}{\partial x_i} = \frac{f(x + h e_i) - f(x - h e_i)}{2h} + O(h^2) .$$

H = np.finfo(float).eps ** (1 / 3)


def differences(f, array, h=H):
    """The gradient of `f`, which turns an array into a number, by central differences with step `h`."""
    gradient = np.empty_like(array)
    for i in np.ndindex(array.shape):
        above, below = array.copy(), array.copy()
        above[i] += h
        below[i] -= h
        gradient[i] = (f(above) - f(below)) / (2 * h)
    return gradient


rng = lesson.rng(4)
x, scale, w = rng.normal(size=(5, 3)), rng.normal(size=3), rng.normal(size=(3, 4))
g, g4 = rng.normal(size=(5, 3)), rng.normal(size=(5, 4))
by_x, by_scale = multiply_rules(g, x, scale)
by_a, by_w = matmul_rules(g4, x, w)
checks = {
    "tanh(x)": tanh_rule(g, np.tanh(x)) - differences(lambda x: (g * np.tanh(x)).sum(), x),
    "x * s, for x": by_x - differences(lambda x: (g * (x * scale)).sum(), x),
    "x * s, for s": by_scale - differences(lambda s: (g * (x * s)).sum(), scale),
    "x @ w, for x": by_a - differences(lambda x: (g4 * (x @ w)).sum(), x),
    "x @ w, for w": by_w - differences(lambda w: (g4 * (x @ w)).sum(), w),
}
for name, difference in checks.items():
    print(f"{name:14} largest difference {np.abs(difference).max():.1e}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* Cutting off the series costs about $h^2/6$ times the third derivative; rounding $f$, here of size 10,
# costs about $10\,\varepsilon/h$. The two balance near $h = \sqrt[3]{\varepsilon} = 6\cdot10^{-6}$, where they leave
# about $10^{-10}$ to $10^{-9}$. We allow $10^{-8}$; a wrong factor or sign would show near 1.

lesson.claim("vector-Jacobian products of tanh, broadcasting and matmul agree with differences (largest difference)",
             max(np.abs(difference).max() for difference in checks.values()), below=1e-8)

# %%
# 5. The library's engine
# -----------------------
#
# ``minigrad`` consists of these ideas: a record of what ran, one vector-Jacobian product for each operand, and a
# backward pass from the youngest to the oldest. The rules are in ``minigrad/ops/``, beside the functions. Here are
# some, from the source. A rule gets the gradient ``g`` of the output, the output ``y``, and the operands. Part 6
# explains the names that begin with an underscore.

for name in ["tanh", "multiply", "matmul"]:
    for position, rule in enumerate(REGISTRY[name].rules):
        print(f"{name}, operand {position}:", inspect.getsource(rule).strip())

# %%
# They are the rules of part 4. (The engine's ``unbroadcast`` takes the operand itself, for its shape. Where NumPy is
# too slow, ``minigrad/fast/`` has faster code that computes the same; with ``MINIGRAD_PLAIN=1`` in the environment
# everything runs without it.)
#
# A ``Tensor`` is an array and, if its derivatives are wanted, a ``Node``: the entry on the tape, with the op, its
# arguments, and the nodes that it was made from (``minigrad/tensors.py``). There is no list. Each node points to its
# parents, so Python frees a record by itself once nothing refers to it. A counter now provides the order that the list
# gave us: each node gets an ``age`` when it is made, and ``graph.py`` sorts by it (``_reachable``), then goes through
# the nodes and asks each op for its gradients (``backward_pass``).

x = mg.tensor([1.0, 2.0, 3.0], requires_grad=True)
y = mg.sin(x) * x
node = y._node
print(f"y was made by {node.op.name!r}; x was made by {x._node.op}: it is a leaf")
print("ages: x", x._node.age, "< sin", node.parents[0].age, "< y", node.age)

# %%
# ``backward`` starts from a single number and leaves the gradients at the leaves, in ``.grad``. It *adds* to what is
# there, so that a batch can be processed in parts; clear ``.grad`` between two steps. ``backward`` also frees what the
# tape kept, so a second pass through the same record is an error.

for run in (1, 2):
    value = (x * x).sum()
    value.backward()
    print(f"after run {run}: x.grad =", x.grad.data)
try:
    value.backward()
except RuntimeError as error:
    print("RuntimeError:", error)

# %%
# Not everything should be recorded. Within ``no_grad`` nothing is; ``detach`` returns the same numbers as a tensor
# without a history, which the backward pass treats as a constant.

x.grad = None
with mg.no_grad():
    print("within no_grad:", (x * x).requires_grad)
(x * (x * x).detach()).sum().backward()
print("derivative of x · constant:", x.grad.data, "- not of x³:", 3 * x.data**2)

# %%
# Now the network of part 2, with the same points and the same first weights. The step assigns a *new* array to
# ``p.data`` and leaves the old one as it was, for a record may still refer to it.


def network(x, W1, b1, W2, b2):
    return mg.tanh(x @ W1 + b1) @ W2 + b2


def loss(x, y, parameters):
    return mg.softplus(-(y * network(x, *parameters))).mean()


def train(parameters, steps):
    """Gradient descent in place; returns the loss before each step."""
    losses = []
    for _ in range(steps):
        value = loss(x, y, parameters)
        value.backward()
        for p in parameters:
            p.data = p.data - RATE * p.grad.data
            p.grad = None
        losses.append(value.item())
    return losses


x, y = mg.tensor(points), mg.tensor(labels)
parameters = [mg.tensor(array, requires_grad=True) for array in start]
gradient = np.concatenate([part.data.ravel() for part in mg.grad(loss(x, y, parameters), parameters)])
losses = train(parameters, OWN_STEPS)
library_time = shortest_time(train, [mg.tensor(array, requires_grad=True) for array in start], 1, repeats=100)
print(f"{'step':>5} {'your tape':>20} {'minigrad':>20}")
for t in (0, 1, 2, 10, OWN_STEPS - 1):
    print(f"{t:5} {own_losses[t]:20.16f} {losses[t]:20.16f}")
print(f"{1e3 * library_time:.2f} ms a step at best: {own_time / library_time:.0f} times as fast")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* The gradients differ by rounding alone, as in part 3. In training, the error of one step is passed on to
# the next. Along a direction in which the loss curves downwards with a second derivative of $-h$, it grows by a factor
# of $1 + \eta h$ in each step. With $h = 0.05$ that is a factor of 300 in 60 steps, and with $h = 0.1$ of 60,000, which
# turns $10^{-15}$ into $10^{-10}$; that is what we allow. A slope that is wrong in the tenth digit would show.

lesson.claim("your tape and the library: the same gradient (relative to its largest entry)",
             np.abs(own_gradient - gradient).max() / np.abs(gradient).max(), below=1e-13)
lesson.claim(f"your tape and the library: the same loss in {OWN_STEPS} steps of training", own_losses, predicted=losses,
             rtol=1e-10)

# %%
# The numbers agree nearly to the last digit. The library is faster because its tape has nine operations on whole arrays
# where yours has nearly six thousand on single numbers; calling either kind from Python takes about as long.

# %%
# 6. What the tape keeps
# ----------------------
#
# This is the tape of the loss. Each line is a node, oldest first; ``backward`` goes from the bottom to the top.

value = loss(x, y, parameters)
names = {"points": x, "labels": y, "loss": value} | dict(zip(["W1", "b1", "W2", "b2"], parameters, strict=True))
print(mg.draw.text(value, names))

# %%
# Look at the last column, where ``y`` is the result of the op. A rule needs numbers from the forward pass, and they
# must stay in memory until it has run. The rules themselves say which: *a parameter whose name begins with an
# underscore is needed for its shape at most* (``op.py``). Compare the rules printed in part 5:
#
# - ``tanh`` is ``g * (1 - y * y)``, with parameters ``g, y, _x``. It keeps its result and not its input.
# - ``matmul`` needs each operand for the gradient of the other. The one in the second layer keeps both; its left
#   operand is what ``tanh`` keeps already (one array, counted once: "as in"). The one in the first layer keeps only the
#   points: nobody asks for their gradient, so the rule that would need ``W1`` never runs.
# - ``add`` passes ``g`` on. It keeps nothing, however large its operands are.
#
# So the hidden layer is in memory once, with $8N$ numbers, beside $N$ points of 2 numbers, ``W2``, and for each point
# its label and the input of softplus. If the rule of ``tanh`` used its input, as in $1 - \tanh^2 x$, the hidden layer
# would be there twice. In a deep network nearly all memory is of this kind (``further/01_memory.py``).

kept, hidden_layer = mg.draw.bytes_kept(value), x.dtype.itemsize * HIDDEN * len(points)
by_the_rules = hidden_layer + x.dtype.itemsize * (2 * len(points) + HIDDEN + 2 * len(points))
print(f"{kept:,} bytes are kept, {hidden_layer:,} of them ({hidden_layer / kept:.0%}) for the hidden layer")
lesson.claim("bytes that the tape keeps: points, hidden layer, W2, labels and inputs of softplus", kept,
             predicted=by_the_rules, rtol=0.0)

# %% Drawing tags=["hide-input"]

lesson.figure(mg.draw.figure(value, names), "tape", alt="The tape as a graph of boxes with arrows from top to bottom: "
              "points and W1 enter a matrix product, b1 is added, tanh follows, then W2, b2, the labels, softplus and "
              "the mean. Each box states its shape and the arrays that it keeps.")

# %%
# 7. Derivatives of derivatives
# -----------------------------
#
# The gradient says which way is down; the second derivatives say for how far. They form the *Hessian* $H$, with
# $33^2$ entries here, and $10^{12}$ for a million weights. One seldom needs all of it. For a direction $v$, the product
# $Hv$ says how the gradient changes when the weights move along $v$.
#
# Forward mode answers how something changes along a direction, and reverse mode computes the gradient. So run reverse
# mode *on dual numbers*. This needs no new code: a ``Taped`` number accepts any kind of value, and if its values are
# dual numbers, so are its slopes and gradients. The tangent of each gradient is an entry of $Hv$. This is *forward over
# reverse*. We take the gradient itself as the direction.

tape.clear()
direction = gradient
weights = [Taped(Dual(value, tangent=along)) for value, along in zip(flat, direction.tolist(), strict=True)]
go_back(scalar_loss(weights))
own_product = np.array([w.gradient.tangent for w in weights])
print("first entries of Hv:", own_product[:4])

# %%
# The library does it differently. Its backward pass is a computation like any other: it multiplies, adds, calls
# functions. Run on tensors instead of arrays, it is itself recorded. That is what ``create_graph=True`` does;
# ``mg.grad`` returns gradients instead of leaving them in ``.grad``. The rule of ``sin`` is ``g * cos(x)``; it puts a
# cosine on the tape, whose rule is ``-g * sin(x)``, and so forth. (The sum is there because a backward pass starts from
# a single number.) The chapter ``further/01_higher_derivatives.py`` goes on from here.

u = mg.tensor(np.linspace(0, 1, 5), requires_grad=True)
derivative = mg.sin(u)
for name, expected in [("cos u", np.cos), ("-sin u", lambda u: -np.sin(u)), ("-cos u", lambda u: -np.cos(u))]:
    derivative = mg.grad(derivative.sum(), u, create_graph=True)
    print(f"{name:7} largest error {np.abs(derivative.data - expected(u.data)).max():.1e}")

# %%
# Five functions of ``minigrad/transforms.py`` are built on this. ``mg.vjp`` is reverse mode. ``mg.jvp`` is $Jv$, the
# forward mode of part 2, without a second table of rules: $u^\top J v$ is linear in $u$, and its gradient with respect
# to $u$ is $Jv$, so applying reverse mode twice is enough. ``mg.hvp`` is the gradient of $\nabla L^\top v$, which is
# $Hv$. ``mg.jacobian`` and ``mg.hessian`` assemble whole matrices.


def loss_of(*parameters):
    return loss(x, y, parameters)


def cut(vector):
    """A vector of all weights as arrays of the shapes of W1, b1, W2 and b2."""
    ends = np.cumsum([array.size for array in start])[:-1]
    return [piece.reshape(array.shape) for piece, array in zip(np.split(vector, ends), start, strict=True)]


Hv = np.concatenate([part.data.ravel() for part in mg.hvp(loss_of, start, cut(direction))])
along = scalar_loss([Dual(value, tangent=d) for value, d in zip(flat, direction.tolist(), strict=True)]).tangent
print("first entries of Hv:", Hv[:4])
print(f"slope of the loss along v: mg.jvp {mg.jvp(loss_of, start, cut(direction))[1].item():.12f}, "
      f"dual numbers {along:.12f}, ∇L·v {gradient @ direction:.12f}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* Rounding, as in part 3; second derivatives add up a few times as many terms, and some of them cancel.

lesson.claim("Hv: your tape on dual numbers and mg.hvp (relative to the largest entry)",
             np.abs(own_product - Hv).max() / np.abs(Hv).max(), below=1e-12)
lesson.claim("∇L·v: mg.jvp, dual numbers and the product with the gradient",
             [mg.jvp(loss_of, start, cut(direction))[1].item(), along], predicted=gradient @ direction, rtol=1e-13)

# %%
# 8. What a gradient is good for
# ------------------------------
#
# First check it: the gradient of the whole loss against central differences, in float64. (In float32, where
# $\varepsilon = 1.2\cdot10^{-7}$, even the best step leaves only four or five digits of the difference.)
# ``mg.testing.check_grads`` does the same for any function.


def loss_at(vector):
    with mg.no_grad():
        return loss(x, y, [mg.tensor(array) for array in cut(vector)]).item()


measured = differences(loss_at, np.array(flat))
for name, a, b in zip(["W1", "b1", "W2", "b2"], cut(gradient), cut(measured), strict=True):
    print(f"{name}: gradient up to {np.abs(a).max():.3f}, differs by {np.abs(a - b).max():.1e}")
lesson.claim("the gradient of a two-layer network agrees with differences (largest difference)",
             np.abs(gradient - measured).max(), below=1e-8)

# %%
# Then the promise of the first lines: a gradient is cheap. Differences need two evaluations of the loss for each
# weight. The engine evaluates the loss once, and then runs one or two rules for each op, each at about the cost of the
# op. With the bookkeeping that should be well below ten evaluations.


def evaluation():
    with mg.no_grad():
        loss(x, y, parameters)


def evaluation_and_gradient():
    mg.grad(loss(x, y, parameters), parameters)


price = shortest_time(evaluation_and_gradient, repeats=100) / shortest_time(evaluation, repeats=100)
print(f"a gradient of {WEIGHTS} entries takes as long as {price:.1f} evaluations; differences need {2 * WEIGHTS}")
lesson.claim("the price of a gradient, in evaluations of the loss", price, below=10)

# %%
# Next, what a step does. To second order, a step $-\eta\,\nabla L$ changes the loss by
#
# $$-\eta\,\|\nabla L\|^2 + \tfrac12\,\eta^2\, \nabla L^\top H\, \nabla L .$$
#
# The gradient predicts how much the step gains; $Hv$ of part 7, where $v$ was the gradient, predicts the shortfall.

slope, curvature = gradient @ gradient, gradient @ Hv
rates = np.array([1e-4, 1e-3, 1e-2])
falls = np.array([loss_at(np.array(flat)) - loss_at(np.array(flat) - rate * gradient) for rate in rates])
print("     η  the loss falls by        η‖∇L‖²  too much by   ½η²∇LᵀH∇L")
for rate, fall in zip(rates, falls, strict=True):
    print(f"{rate:6}{fall:19.6e}{rate * slope:14.6e}{rate * slope - fall:13.4e}{rate**2 * curvature / 2:12.4e}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* The second term is smaller than the first by $\eta/2$ times the curvature along the gradient,
# $\nabla L^\top H\,\nabla L/\|\nabla L\|^2$, which for inputs and units of size 1 is near 1: below 1 % for
# $\eta \le 0.01$; we allow 2 %. The remainder is of third order, smaller again by $\eta$ times a number of order
# 1 to 10, so at most 10 % for the largest $\eta$. Rounding of the loss by a few $\varepsilon$ is $10^{-5}$ of the
# smallest second term.

lesson.claim("a small step lowers the loss by η‖∇L‖², η from 0.0001 to 0.01", falls, predicted=rates * slope, rtol=0.02)
lesson.claim("what it misses is ½η²∇LᵀH∇L, η from 0.0001 to 0.01", rates * slope - falls,
             predicted=rates**2 * curvature / 2, rtol=0.1)

# %%
# Finally, train on: 940 steps after the first 60. New points from the same half-moons tell whether the network has
# learned the shape or the sample. We compare it with the straight line that fits the labels best (least squares).

new_points, new_labels = two_moons(2000, lesson.rng(9))


def outputs(points):
    with mg.no_grad():
        return network(mg.tensor(points), *parameters).data


def with_one(points):
    return np.column_stack([points, np.ones(len(points))])


line, *_ = np.linalg.lstsq(with_one(points), labels)
by_line = (np.sign(with_one(new_points) @ line) == new_labels).mean()
early = np.mean(np.sign(outputs(new_points)) == new_labels)
losses += train(parameters, 2940 if lesson.full else 940)
late = np.mean(np.sign(outputs(new_points)) == new_labels)
print(f"loss {losses[0]:.3f} → {losses[OWN_STEPS - 1]:.3f} (your tape) → {losses[-1]:.4f}")
print(f"right on new points: {early:.1%} after {OWN_STEPS} steps, {late:.1%} in the end; straight line {by_line:.1%}")

# %% Drawing tags=["hide-input"]

figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.8), width_ratios=[1.35, 1])
a, b = np.meshgrid(np.linspace(-2.1, 2.1, 160), np.linspace(-1.6, 1.6, 120))
t = outputs(np.stack([a.ravel(), b.ravel()], axis=1)).reshape(a.shape)
for sign, colour, marker in [(1, BLUE, "o"), (-1, ORANGE, "s")]:
    left.contourf(a, b, sign * t, levels=[0, 1e9], colors=[colour], alpha=0.12)
    left.plot(*points[labels[:, 0] == sign].T, marker, color=colour, markersize=3.5, label=f"label ${sign:+d}$")
left.contour(a, b, t, levels=[0], colors=BLACK, linewidths=1.6)
left.contour(a, b, t, levels=[-math.log(9), math.log(9)], colors=BLACK, linewidths=0.9, linestyles="dashed")
left.plot([], [], color=BLACK, label="$t=0$: even chances")
left.plot([], [], "--", color=BLACK, linewidth=0.9, label="9 to 1")
left.set(xlabel="$x_1$", ylabel="$x_2$", title="Points and decision boundary", aspect="equal")
left.grid(False)
left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
right.loglog(np.arange(1, len(losses) + 1), losses, color=BLUE, label="minigrad")
right.loglog(np.arange(1, OWN_STEPS + 1)[::4], own_losses[::4], "o", color=ORANGE, ms=4, label="your tape")
right.set(xlabel="step", ylabel="loss", title="Gradient descent")
ticks = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1]
ticks = [tick for tick in ticks if min(losses) / 2 < tick < 2 * max(losses)]
right.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
right.tick_params(which="minor", left=False, labelleft=False)
right.legend()
lesson.figure(figure, "two_moons", note=f"synthetic: two half-moons, {len(points)} points, noise {NOISE}", alt="Left: "
              "two interlocking half-circles of points, and the S-shaped boundary between them that the "
              "network has learned. Right: its loss against the step, on log axes, falling; dots of the tape for "
              "single numbers lie on the library's line for the first sixty steps.")

# %%
# The half-moons overlap a little, so no boundary gets all points right. A straight line stays below 90 %. More than
# 95 % needs the hidden layer, and gradients that point the right way for a thousand steps.

lesson.claim("the trained network is right on new points (share)", late, above=0.95)

# %%
# Questions
# ---------
#
# 1. *An hourglass.* A program maps $n$ inputs to one number in its middle, and this number to $n$ outputs. Its Jacobian
#    has $n^2$ entries. Where would you begin multiplying the Jacobians of its steps, and what does it cost from each
#    end? Check with ``Dual`` and ``Taped``.
# 2. Add ``maximum(a, b)`` to the numbers of part 2. Which slopes does it have where $a = b$? Compare with central
#    differences there, and with what ``minigrad`` does (``ops/elementwise.py``).
# 3. Write an op of your own with ``minigrad.op.op``: tanh, but with the rule ``g * (1 - tanh(x) ** 2)`` and the
#    parameters ``g, _y, x``. Use it in the network of part 5. The gradient stays the same. Look at "as in" in the
#    table, and at the bytes kept.
# 4. Replace ``tanh`` by ``relu``, $\max(x, 0)$, in the network and compute the second derivative of $t$ with respect to
#    $x$. Look for its value, and explain it from the shape of the function.

lesson.finish()

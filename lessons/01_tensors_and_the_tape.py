r"""Tensors and the tape
====================

How a program that computes one number can say, for a few times the price of computing it, how that number depends
on every one of its inputs. This is reverse-mode differentiation. Here it is built from nothing, first for
single numbers, then for arrays, until it is the engine on which the other lessons run.

Afterwards you will be able to explain

- why the chain rule is multiplied out from the output's side, and what the other order costs;
- what a tape is, why gradients are added up, and why the order of the backward pass matters;
- why no Jacobian is ever formed, and what the backward rules of broadcasting and of a matrix product are;
- which arrays a tape keeps in memory, and for which of its rules;
- how the derivative of a derivative comes out of the same rules;
- how to check a gradient that you do not trust.

Read first: nothing but Python and NumPy. Know the chain rule and the matrix product. Beside it, open
``minigrad/tensors.py``, ``op.py``, ``ops/elementwise.py`` and ``graph.py``: part 5 is a tour of them.

Claims checked: both orders of the chain rule give one gradient, at very different cost; a tape differentiates
through a loop; a recursion without memory needs time exponential in depth, and visiting in the order of arrival is
wrong; vector-Jacobian products of three operations, four derivatives of a bell curve and the gradient of a network
agree with what they should be; the memory that a tape says it keeps is the memory that it keeps; a whole gradient
costs a few evaluations of the loss; a step against the gradient lowers the loss by the predicted amount, and many of
them teach a network to tell two half-moons apart.

Time: quick about 3 s, full about 8 s.
"""

# %%
# This lesson computes on one core of the CPU, whatever ``--device`` says: its arrays are too small to be spread out,
# and times are easier to compare.

import gc
import inspect
import math
import time
import tracemalloc

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
# A program is a chain of small steps. Take one that maps $n$ numbers to $n$ numbers $L$ times and then adds them up
# with weights $c$ to a single number:
#
# $$x_k = \tanh(A_k x_{k-1}), \quad k = 1 \dots L, \qquad f(x_0) = c^\top x_L .$$
#
# The derivative of each step is a matrix, its *Jacobian* $J_k = \partial x_k / \partial x_{k-1}$. Here
# $J_k = \mathrm{diag}(1 - x_k^2)\, A_k$, because $\tanh' = 1 - \tanh^2$. The chain rule says that the derivative of
# the whole is the product
#
# $$\frac{\partial f}{\partial x_0} = c^\top J_L J_{L-1} \cdots J_1 .$$
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
    """The last row c and the Jacobians of a chain of random steps, at a random point."""
    x, jacobians = rng.normal(size=n), []
    for _ in range(steps):
        A = rng.normal(size=(n, n)) / math.sqrt(n)
        x = np.tanh(A @ x)
        jacobians.append((1 - x**2)[:, None] * A)
    return rng.normal(size=n), jacobians


# %%
# Both are run on the same chains. The time is the shortest of several runs: whatever else the machine does can only
# lengthen a run.


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
print(f"{'n':>6} {'multiplications left':>22} {'right':>16} {'ms left':>10} {'ms right':>10}")
for n in sizes:
    c, jacobians = chain(n, STEPS, lesson.rng(1, n))
    (left, left_count), (right, right_count) = from_the_left(c, jacobians), from_the_right(c, jacobians)
    largest_difference = max(largest_difference, np.abs(left - right).max() / np.abs(left).max())
    times["left"].append(1e3 * shortest_time(from_the_left, c, jacobians, repeats=20))
    times["right"].append(1e3 * shortest_time(from_the_right, c, jacobians))
    print(f"{n:6} {left_count:22,} {right_count:16,} {times['left'][-1]:10.3f} {times['right'][-1]:10.3f}")

# %%
# The counts differ by a factor of nearly $n$. The times differ by less, because a row times a matrix waits for
# memory (each entry of $J$ is used once), while a matrix product reuses what it has loaded. The lines show the growth
# that the counts predict, through the last measurement. For small $n$ the dots lie above the lower line, because there
# the time is that of calling a function from Python, whatever its work.

figure, ax = plt.subplots()
n = np.array(sizes, float)
for side, power, colour, words in [("right", 3, ORANGE, "from the right: $(L-1)\\,n^3 + n^2$"),
                                   ("left", 2, BLUE, "from the left: $L\\,n^2$")]:
    ax.loglog(n, times[side][-1] * (n / n[-1]) ** power, color=colour, label=f"growth as $n^{power}$")
    ax.loglog(n, times[side], "o", color=colour, label=words)
ax.set(xlabel="inputs $n$", ylabel="time (ms)", xticks=sizes, title=f"One gradient through $L={STEPS}$ steps")
ax.set_xticks(sizes, map(str, sizes))
ax.minorticks_off()
ax.legend()
lesson.figure(figure, "two_orders")

# %%
# The two results must agree up to rounding. Each entry passes through $L$ sums of $n$ products, and each operation
# rounds by at most $\varepsilon = 2.2\cdot10^{-16}$: for $n = 512$, about $L n \varepsilon \approx 10^{-12}$ at the
# very worst. That the left order is at least five times as fast is a modest bound, so that a busy machine does not
# fail it.

lesson.claim(
    "both orders of the chain rule give the same gradient (relative difference)", largest_difference, below=1e-12
)
lesson.claim(f"for {sizes[-1]} inputs, multiplying from the left is faster (time right / time left)",
             times["right"][-1] / times["left"][-1], above=5)

# %%
# So: *one output and many inputs, begin at the output.* Training a network is exactly this case: one loss, and
# thousands or millions of weights. Going from the output back is called *reverse mode*; on a network,
# *backpropagation*.
#
# There is a price. The Jacobian $J_k$ depends on $x_k$, and the last step's is needed first. The program must have
# run to its end, and must have noted on the way what the Jacobians need. That note is the tape.

# %%
# 2. A tape for single numbers
# ----------------------------
#
# Below is a number that notes, whenever it is computed, what it was computed from, and the derivative of that one
# step with respect to each of its inputs. A step has one or two inputs, so these derivatives are one or two numbers,
# the *slopes*. All numbers go on a list in the order in which they were made.

tape = []


class Number:
    def __init__(self, value, *steps):
        self.value = value
        self.steps = steps  # pairs (input, slope of this number with respect to that input)
        self.gradient = 0.0  # to be: the derivative of the final result with respect to this number
        tape.append(self)

    def __add__(self, other):
        return Number(self.value + other.value, (self, 1.0), (other, 1.0))

    def __mul__(self, other):
        return Number(self.value * other.value, (self, other.value), (other, self.value))

    def __truediv__(self, other):
        return Number(self.value / other.value, (self, 1 / other.value), (other, -self.value / other.value**2))


def sine(x):
    return Number(math.sin(x.value), (x, math.cos(x.value)))


def cosine(x):
    return Number(math.cos(x.value), (x, -math.sin(x.value)))


def go_back(result):
    result.gradient = 1.0
    for number in reversed(tape):
        for source, slope in number.steps:
            source.gradient += number.gradient * slope


# %%
# ``go_back`` is the product from the left: it starts with 1, the derivative of the result with respect to itself,
# and hands to each input its share, gradient times slope. Try it on $f(x, y) = xy + \sin x$ at $(2, 3)$, where
# $\partial f/\partial x = y + \cos x$ and $\partial f/\partial y = x$.

x, y = Number(2.0), Number(3.0)
f = x * y + sine(x)
go_back(f)
print("entry  value     gradient  made from")
for i, number in enumerate(tape):
    sources = ", ".join(f"entry {tape.index(source)} with slope {slope:.4f}" for source, slope in number.steps)
    print(f"{i:5}  {number.value:8.4f}  {number.gradient:8.4f}  {sources or 'an input'}")
print(f"expected: df/dx = {3 + math.cos(2):.4f}, df/dy = 2")

# %%
# The ``+=`` matters. The value $x$ is used twice, so it reaches $f$ along two paths, and the chain rule of several
# variables adds the paths up. Overwriting instead of adding loses all but one. For $x\cdot x + x$ at 3 the derivative
# is $2x + 1 = 7$:


def go_back_overwriting(result):
    result.gradient = 1.0
    for number in reversed(tape):
        for source, slope in number.steps:
            source.gradient = number.gradient * slope


for way_back in (go_back, go_back_overwriting):
    tape.clear()
    x = Number(3.0)
    way_back(x * x + x)
    print(f"{way_back.__name__:20} d(x*x + x)/dx at 3 = {x.gradient}")

# %%
# A tape does not care how the steps came about. A loop leaves one group of entries for each pass, a branch leaves
# those of the side that was taken: it is the *run* that is differentiated, not the text of the program. Newton's
# method for $\sqrt a$ repeats $y \leftarrow (y + a/y)/2$ until $y$ no longer moves. Through this loop the tape must
# find $\mathrm d\sqrt a/\mathrm da = 1/(2\sqrt a)$.

tape.clear()
a, two, y = Number(2.0), Number(2.0), Number(1.0)
moved = 1.0
while moved > 1e-15:
    before, y = y, (y + a / y) / two
    moved = abs(y.value - before.value)
go_back(y)
print(f"{len(tape)} entries; y = {y.value:.15f}, dy/da = {a.gradient:.15f}, 1/(2 sqrt 2) = {1 / math.sqrt(8):.15f}")

# %%
# Some twenty operations, each rounding by $\varepsilon$, and a value of order one: the error should stay below
# $10^{-14}$.

lesson.claim("the tape differentiates Newton's loop for the square root of 2 (error)",
             abs(a.gradient - 1 / math.sqrt(8)), below=1e-14)

# %%
# 3. Why the order of the backward pass matters
# ----------------------------------------------
#
# The list gave ``go_back`` an order for free: from the youngest entry to the oldest. It seems natural to do without
# it, and to walk from the result along its inputs, their inputs, and so on. There are two ways to do so, and both fail.
#
# The first is recursion: each number hands on a share as soon as it gets it. The result is right, but a value that is
# used twice is entered twice, and so is everything before it. In a row of $n$ diamonds,
# $y \leftarrow \sin y + \cos y$, the number of visits doubles with each: $v(n) = 2 v(n-1) + 3$ with $v(0) = 1$, which
# is $4\cdot 2^n - 3$.


def diamonds(y, n):
    for _ in range(n):
        y = sine(y) + cosine(y)
    return y


def recursion(number, share):
    """Hand `share` on to all that `number` was made from; return how many numbers were visited, repeats included."""
    number.gradient += share
    return 1 + sum(recursion(source, share * slope) for source, slope in number.steps)


DEPTHS = range(1, 19 if lesson.full else 16)
visits, entries = [], []
for n in DEPTHS:
    tape.clear()
    x = Number(0.5)
    y = diamonds(x, n)
    visits.append(recursion(y, 1.0))
    by_recursion = x.gradient
    for number in tape:
        number.gradient = 0.0
    go_back(y)
    entries.append(len(tape))
print(f"{n} diamonds: {visits[-1]:,} visits or {entries[-1]}; derivatives {by_recursion:.12e} and {x.gradient:.12e}")

# %%

figure, ax = plt.subplots()
n = np.array(DEPTHS)
ax.semilogy(n, 4.0 * 2**n - 3, color=ORANGE, label="$4\\cdot 2^n - 3$")
ax.semilogy(n, visits, "o", color=ORANGE, label="recursion: every path")
ax.semilogy(n, 3 * n + 1, color=BLUE, label="$3n + 1$")
ax.semilogy(n, entries, "o", color=BLUE, label="tape: every number once")
ax.set(xlabel="diamonds in a row, $n$", ylabel="numbers visited", title="The same derivative, two ways back", xticks=n)
ax.legend()
lesson.figure(figure, "diamonds")

# %%
# A count that has a formula must agree with it exactly.

deepest = int(n[-1])
lesson.claim(f"recursion through {deepest} diamonds makes 4·2^{deepest} - 3 visits", visits[-1],
             near=4 * 2**deepest - 3, within=0)

# %%
# The second way visits each number once, in the order in which it is first reached. It is fast, and wrong: a number
# may hand on its gradient before all of it has arrived. Take $a = x^2$ and $f = a \sin a$. From $f$ one reaches $a$ at
# once, and $a$ hands on what it has, although the share that comes through $\sin a$ is still on its way.


def in_order_of_arrival(result):
    result.gradient = 1.0
    waiting, seen = [result], {result}
    while waiting:
        number = waiting.pop(0)
        for source, slope in number.steps:
            source.gradient += number.gradient * slope
            if source not in seen:
                seen.add(source)
                waiting.append(source)


found = {}
for way_back in (go_back, in_order_of_arrival):
    tape.clear()
    x = Number(1.0)
    a = x * x
    way_back(a * sine(a))
    found[way_back.__name__] = x.gradient
    print(f"{way_back.__name__:20} df/dx at 1 = {x.gradient:.6f}")

# %%
# By hand, $\mathrm df/\mathrm dx = 2x(\sin a + a\cos a)$. What came too late is the second term, $2\cos 1$ at $x=1$.
# So the error is known in advance, up to rounding.

lesson.claim("visiting in the order of arrival loses exactly the late share, 2 cos 1",
             found["go_back"] - found["in_order_of_arrival"], near=2 * math.cos(1), within=1e-14)

# %%
# The rule that is both fast and right: *visit each number once, after everything that was made from it.* That is a
# topological order of the graph. Since a number is always younger than what it was made from, sorting by age, the
# youngest first, is such an order.

# %%
# 4. From numbers to arrays
# -------------------------
#
# A tape of single numbers would need an entry for every multiplication in a matrix product. It is better to note
# whole array operations. Then the slopes become Jacobians, and those must not be formed: for a product of a
# $64\times256$ with a $256\times256$ matrix, the Jacobian with respect to the first has $(64\cdot256)^2$ entries,
# 2.1 GB.
#
# They need not be formed either. The backward pass only ever multiplies a gradient from the left. So each operation
# supplies a function for just that, its *vector-Jacobian product*: from $g$, the gradient of the output $y$ and of
# its shape, it computes $g^\top \partial y/\partial x$, of the shape of $x$.
#
# An elementwise operation has a diagonal Jacobian. Its product is elementwise, too:


def tanh_rule(g, y):
    return g * (1 - y**2)


# %%
# Broadcasting uses one value many times: in ``x * s`` with ``x`` of shape $(5, 3)$ and ``s`` of shape $(3,)$, each
# entry of ``s`` is used in five rows. What is used many times gets the sum of its shares, as in part 2. So *going
# back through a repetition is adding up*, over the axes along which something was repeated.


def unbroadcast(g, shape):
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))  # axes that broadcasting put in front
    return g.sum(axis=tuple(i for i, size in enumerate(shape) if size == 1), keepdims=True)  # axes stretched from 1


def multiply_rules(g, a, b):
    return unbroadcast(g * b, a.shape), unbroadcast(g * a, b.shape)


# %%
# A matrix product $Y = AB$ has the entries $Y_{ij} = \sum_k A_{ik} B_{kj}$. With the gradient $G_{ij}$ of $Y_{ij}$, the
# share of $A_{ik}$ is the sum over everything in which it was used, and that is again a matrix product:
#
# $$\bar A_{ik} = \sum_j G_{ij} B_{kj} = (G B^\top)_{ik}, \qquad
# \bar B_{kj} = \sum_i A_{ik} G_{ij} = (A^\top G)_{kj} .$$
#
# The shapes leave hardly another choice, which is a good way to remember it.


def matmul_rules(g, a, b):
    return g @ b.T, a.T @ g


# %%
# None of this should be believed without a check. For any $g$, the product $g^\top J$ is the gradient of the single
# number $\sum g \cdot y$, and a gradient can be measured by moving one entry at a time by $\pm h$:
#
# $$\frac{\partial \ell}{\partial x_i} = \frac{\ell(x + h e_i) - \ell(x - h e_i)}{2h} + O(h^2) .$$


H = np.finfo(float).eps ** (1 / 3)


def differences(number, array, h=H):
    """The gradient of `number(array)` by central differences with step `h`."""
    gradient = np.empty_like(array)
    for i in np.ndindex(array.shape):
        above, below = array.copy(), array.copy()
        above[i] += h
        below[i] -= h
        gradient[i] = (number(above) - number(below)) / (2 * h)
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

# %%
# How close should they be? Cutting off the series costs about $h^2/6$ times the third derivative; rounding $\ell$,
# here of size 10, costs about $10\,\varepsilon/h$. The two balance near $h = \sqrt[3]{\varepsilon} = 6\cdot10^{-6}$,
# where they leave about $10^{-10}$ to $10^{-9}$. A wrong factor or sign would show at the size of the gradient
# itself, near 1. So $10^{-8}$ separates the two cases by a wide margin.

lesson.claim("vector-Jacobian products of tanh, broadcasting and matmul agree with differences (largest difference)",
             max(np.abs(difference).max() for difference in checks.values()), below=1e-8)

# %%
# 5. The project's engine
# -----------------------
#
# ``minigrad`` is these three ideas: a record of what ran, one vector-Jacobian product for each operand, and a backward
# pass from the youngest to the oldest. The rules stand in ``minigrad/ops/``, beside the functions. Here are some, as
# they are in the source. A rule gets the gradient ``g`` of the output, the output ``y``, and the operands.

for name in ["tanh", "multiply", "matmul"]:
    for position, rule in enumerate(REGISTRY[name].rules):
        print(f"{name}, operand {position}:", inspect.getsource(rule).strip())

# %%
# They are the rules of part 4; ``tanh`` stands there with its function. (The engine's ``unbroadcast`` takes the operand
# itself, for its shape.) Names that begin with an underscore come up in part 6. That is all there is to an op. Where
# speed needs more than NumPy's functions, ``minigrad/fast/`` puts other code in their place; it computes the same, and
# with ``MINIGRAD_PLAIN=1`` in the environment everything runs without it.
#
# A ``Tensor`` is an array and, if its derivatives are wanted, a ``Node``: the entry on the tape, with the op, its
# arguments, and the nodes that it was made from (``minigrad/tensors.py``). There is no list. Each node points to its
# parents, so Python frees a record by itself as soon as nobody can go back through it. What the list gave us, the
# order, is now a counter: each node gets an ``age`` when it is made, and ``graph.py`` sorts by it (``_reachable``),
# then goes through the nodes, youngest first, and asks each op for its gradients (``backward_pass``).

x = mg.tensor([1.0, 2.0, 3.0], requires_grad=True)
y = mg.sin(x) * x
print("y.data:", y.data)
node = y._node
print(f"y was made by {node.op.name!r}, x by {x._node.op}: a leaf is made by nobody")
print("ages: x", x._node.age, "< sin", node.parents[0].age, "< y", node.age)

# %%
# A rule is written with operators and functions that work on plain arrays as well as on tensors. In an ordinary
# backward pass it is called with plain arrays, and nothing is recorded. The same line called with tensors is recorded,
# which part 7 will need.

rule = REGISTRY["tanh"].rules[0]
g, y_array = np.ones(2), np.array([0.0, 0.5])
print("on arrays: ", rule(g, y_array, None), type(rule(g, y_array, None)).__name__)
print("on tensors:", rule(mg.tensor(g), mg.tensor(y_array), None))

# %%
# ``backward`` goes back from a single number and leaves the gradients at the leaves, in ``.grad``. It *adds* to what
# is there, so that a batch can be processed in parts. Hence it must be cleared between two steps of training.

for run in (1, 2):
    (x * x).sum().backward()
    print(f"after run {run}: x.grad =", x.grad.data)
x.grad = None

# %%
# Not everything should be recorded. Within ``no_grad`` nothing is; ``detach`` gives the same numbers as a tensor
# without a past, which the backward pass treats as a constant.

with mg.no_grad():
    print("within no_grad:", (x * x).requires_grad)
(x * (x * x).detach()).sum().backward()
print("derivative of x · constant:", x.grad.data, "- not of x³:", 3 * x.data**2)
x.grad = None

# %%
# Going back frees what the tape kept, at once: it is usually the largest part of a program's memory. A second time
# through the same record is an error that says what to do.

y = mg.exp(x).sum()
y.backward()
try:
    y.backward()
except RuntimeError as error:
    print("RuntimeError:", error)

# %%
# Does the engine visit each node once? Through 60 diamonds lead $2^{60}$ paths; one visit each at a nanosecond would
# take 36 years. The derivative by hand is the product of $\cos y_k - \sin y_k$ along the row. Each factor rounds by a
# few $\varepsilon$, so 60 of them stay below $10^{-13}$, relative to the result. The factors are differences, but none
# is smaller than 0.1, so that little cancels.

x = mg.tensor(np.array(0.5), requires_grad=True)
y, by_hand = x, 1.0
for _ in range(60):
    by_hand *= math.cos(y.item()) - math.sin(y.item())
    y = mg.sin(y) + mg.cos(y)
start = time.perf_counter()
y.backward()
print(f"back through 60 diamonds in {1e3 * (time.perf_counter() - start):.1f} ms: {x.grad.item():.12e}, {by_hand:.12e}")
lesson.claim("the engine differentiates along 2^60 paths (relative error)",
             abs(x.grad.item() / by_hand - 1), below=1e-13)

# %%
# 6. A real tape
# --------------
#
# A network of two layers tells two classes of points in the plane apart. From points $x$ it computes a number
# $z$, positive for one class and negative for the other:
#
# $$h = \tanh(x W_1 + b_1), \qquad z = h W_2 + b_2 .$$
#
# Read $1/(1 + e^{-z})$ as the probability that the network gives to the label $+1$: $z = 0$ stands for even chances,
# $z = \log 9$ for 9 to 1. Then a label $s = \pm1$ has the probability $1/(1 + e^{-sz})$, and the loss is minus the
# logarithm of that, on average: $\frac1N \sum_i \log(1 + e^{-s_i z_i})$. The function $\log(1 + e^t)$ is called
# *softplus*.


def network(x, W1, b1, W2, b2):
    return mg.tanh(x @ W1 + b1) @ W2 + b2


def loss(x, s, parameters):
    return mg.softplus(-(s * network(x, *parameters))).mean()


def random_parameters(hidden, rng, dtype):
    arrays = [
        rng.normal(size=(2, hidden)),
        np.zeros(hidden),
        rng.normal(size=(hidden, 1)) / math.sqrt(hidden),
        np.zeros(1),
    ]
    return [mg.tensor(array, dtype=dtype, requires_grad=True) for array in arrays]


# %%
# The points are two half-circles that reach into each other, with noise. Half of the points belong to each class.


def two_moons(count, noise, rng):
    """`count` points in the plane, (count, 2), and their labels ±1, (count, 1)."""
    angle = rng.uniform(0, np.pi, count)
    s = np.where(np.arange(count) % 2 == 0, 1.0, -1.0)
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    lower = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], axis=1)
    points = np.where(s[:, None] > 0, upper, lower) + noise * rng.normal(size=(count, 2))
    return points - np.array([0.5, 0.25]), s[:, None]


NOISE, HIDDEN = 0.15, 16
points, labels = two_moons(200, NOISE, lesson.rng(6, 0))
x, s = mg.tensor(points, dtype=np.float32), mg.tensor(labels, dtype=np.float32)
parameters = random_parameters(HIDDEN, lesson.rng(6, 1), np.float32)
value = loss(x, s, parameters)

names = {"x": x, "s": s, "loss": value} | dict(zip(["W1", "b1", "W2", "b2"], parameters, strict=True))
print(mg.draw.text(value, names))

# %%
# Each line is a node, the oldest first; ``backward`` goes through them from the bottom to the top. The figure shows
# the same.

lesson.figure(mg.draw.figure(value, names), "tape")

# %%
# Now for the last column. A rule needs numbers from the forward pass, and until the rule has run they must stay in
# memory. Which ones, the rules themselves say: *a parameter whose name begins with an underscore is needed for its
# shape at most* (``op.py``). Look at the rules printed in part 5 again:
#
# - ``tanh`` is ``g * (1 - y * y)``, with parameters ``g, y, _x``. It keeps its result and not its input.
# - ``matmul`` needs each operand for the gradient of the other. The second layer's keeps both; its left operand is what
#   ``tanh`` keeps already (one array, counted once: "as in"). The first layer's keeps only ``x``: nobody asks for a
#   gradient of the points, so the rule that would need ``W1`` never runs.
# - ``add`` passes ``g`` on. It keeps nothing, however large its operands are.
#
# So the hidden layer, $N \times 16$ numbers, is in memory once. If ``tanh`` were differentiated through its input, as
# $1 - \tanh^2 x$, it would be there twice. In a deep network nearly all of the memory is of this kind, in proportion
# to batch size and depth. The weights, by comparison, are small, and would be in memory anyway.

kept = mg.draw.bytes_kept(value)
hidden_layer = len(points) * HIDDEN * 4
print(f"{kept:,} bytes are kept, {hidden_layer:,} of them ({hidden_layer / kept:.0%}) for the hidden layer")

# %%
# Is this what Python really holds? ``tracemalloc`` counts every byte that is allocated and not yet freed, NumPy's
# included. Inputs and weights are made inside the function, so that nothing but the record keeps them alive. With
# arrays this large, the nodes themselves (some ten objects of about a kilobyte) weigh less than 5 %.


def only_the_loss(count, hidden):
    rng = lesson.rng(6, 2)
    points, labels = (mg.tensor(array, dtype=np.float32) for array in two_moons(count, NOISE, rng))
    return loss(points, labels, random_parameters(hidden, rng, np.float32))


gc.collect()
tracemalloc.start()
held = only_the_loss(4096, 64)
gc.collect()
measured, _ = tracemalloc.get_traced_memory()
tracemalloc.stop()
print(f"tracemalloc: {measured:,} bytes; the tape says {mg.draw.bytes_kept(held):,}")
lesson.claim("memory held by the tape, measured over stated", measured / mg.draw.bytes_kept(held), near=1, within=0.05)

# %%
# 7. The derivative of the derivative
# -----------------------------------
#
# The backward pass is a computation like any other: it multiplies, adds, and calls functions. If it runs on tensors
# instead of arrays, it is recorded, and one can go back through it in turn. This is ``create_graph=True``. ``mg.grad``
# returns gradients instead of leaving them in ``.grad``.

x = mg.tensor(np.linspace(0, 1, 5), requires_grad=True)
y = mg.sin(x)
for name, expected in [("cos x", np.cos), ("-sin x", lambda x: -np.sin(x)), ("-cos x", lambda x: -np.cos(x))]:
    y = mg.grad(y.sum(), x, create_graph=True)
    print(f"{name:7} largest error {np.abs(y.data - expected(x.data)).max():.1e}")
    print(mg.draw.text(y, {"x": x}), "\n")

# %%
# The sum over the entries is there because one goes back from a single number. Since entry $i$ of $y$ depends on
# entry $i$ of $x$ only, the gradient of the sum is the derivative at each of the points. (The first
# table has a constant of 5 entries that takes 8 bytes: the derivative of the sum is a 1 for each entry, and that is
# one number repeated without a copy. The last line of each table, ``astype`` to the dtype that the numbers have
# already, copies them: a gradient that is handed out gets memory of its own.)
#
# No rule for second derivatives was written. The rule of ``sin`` is ``g * cos(x)``; run on tensors, it puts a
# ``cos`` on the tape, whose rule is ``-g * sin(x)``.
#
# A harder case is the bell curve $f(x) = e^{-x^2/2}$. Its derivatives are known:
# $f^{(k)}(x) = (-1)^k \mathrm{He}_k(x)\, f(x)$ with Hermite's polynomials $\mathrm{He}_1 = x$,
# $\mathrm{He}_2 = x^2 - 1$, $\mathrm{He}_3 = x^3 - 3x$, $\mathrm{He}_4 = x^4 - 6x^2 + 3$.

grid = np.linspace(-4, 4, 401)
bell = np.exp(-(grid**2) / 2)
exact = [bell, -grid * bell, (grid**2 - 1) * bell, -(grid**3 - 3 * grid) * bell, (grid**4 - 6 * grid**2 + 3) * bell]

x = mg.tensor(grid, requires_grad=True)
computed = [mg.exp(-x * x / 2)]
for _ in range(4):
    computed.append(mg.grad(computed[-1].sum(), x, create_graph=True))
for order, derivative in enumerate(computed):
    print(f"derivative {order}: {len(mg.draw.entries(derivative)):4} nodes on its tape")

# %%

figure, axes = plt.subplots(5, 1, figsize=(7, 7.4), sharex=True)
for order, (ax, by_engine, by_hand) in enumerate(zip(axes, computed, exact, strict=True)):
    ax.plot(grid, by_hand, color=BLACK, linewidth=1.2, label="by hand")
    ax.plot(grid[::10], by_engine.data[::10], "o", color=ORANGE, markersize=4, label="by the engine")
    ax.set_ylabel("$f" + ["", "'", "''", "'''", "^{(4)}"][order] + "(x)$")
axes[0].set_title("$f(x) = e^{-x^2/2}$ and its first four derivatives")
axes[0].legend(loc="upper right")
axes[-1].set_xlabel("$x$")
figure.align_ylabels(axes)
lesson.figure(figure, "four_derivatives")

# %%
# The values are of size 3 at most, and sums of terms such as $x^4 f$ and $6x^2 f$, of size up to 5. A few hundred
# roundings of $5\,\varepsilon$ each stay below $10^{-12}$.

lesson.claim("four derivatives of a bell curve by the engine (largest error)",
             max(np.abs(a.data - b).max() for a, b in zip(computed, exact, strict=True)), below=1e-12)

# %%
# The tape grows with each order, since each backward pass adds its own steps. First derivatives are cheap, second ones
# affordable; high orders of large programs are better not computed like this.

# %%
# 8. Check, then train
# --------------------
#
# First the check: the gradient of the whole network's loss, all of its entries, against central differences. Do this
# in float64. In float32, where $\varepsilon = 1.2\cdot10^{-7}$, the best step leaves only four or five digits of the
# difference, and one could not tell a small error of a rule from rounding. ``mg.testing.check_grads`` does the same
# for any function.

parameters = random_parameters(HIDDEN, lesson.rng(8), np.float64)
x, s = mg.tensor(points), mg.tensor(labels)
gradients = mg.grad(loss(x, s, parameters), parameters)
worst = 0.0
for position, (name, gradient) in enumerate(zip(["W1", "b1", "W2", "b2"], gradients, strict=True)):

    def loss_with(array, position=position):
        changed = list(parameters)
        changed[position] = mg.tensor(array)
        return loss(x, s, changed).item()

    measured = differences(loss_with, parameters[position].data)
    difference = np.abs(gradient.data - measured).max()
    worst = max(worst, difference)
    print(f"{name}: gradient up to {np.abs(gradient.data).max():.3f}, differs by {difference:.1e}")

# %%
# The loss is of size 1, so by the argument of part 4 the differences should be off by about $10^{-10}$.

lesson.claim("the gradient of a two-layer network agrees with differences (largest difference)", worst, below=1e-8)

# %%
# Now the promise of part 1, that beginning at the output is cheap. Differences need two evaluations of the loss for
# each of the weights. The engine runs the loss once, and then one rule or two for each op, of about the same cost as
# the op itself. That, with what it takes to keep the record, should be well below ten evaluations.


def evaluation():
    with mg.no_grad():
        loss(x, s, parameters)


def evaluation_and_gradient():
    mg.grad(loss(x, s, parameters), parameters)


weights = sum(p.size for p in parameters)
price = shortest_time(evaluation_and_gradient, repeats=100) / shortest_time(evaluation, repeats=100)
print(f"a gradient of {weights} entries takes as long as {price:.1f} evaluations; differences need {2 * weights}")
lesson.claim("the price of a gradient, in evaluations of the loss", price, below=10)

# %%
# What is a gradient good for? To first order, a small step $-\eta \nabla \ell$, where $\eta$ is the learning rate,
# changes the loss by $-\eta \lVert\nabla \ell\rVert^2$: the gradient predicts its own success. The second-order term is
# smaller by a factor of about $\eta$ times the curvature, here $10^{-4}$ times something of order 1 to 10.

eta = 1e-4
with mg.no_grad():
    moved = [p - eta * gradient for p, gradient in zip(parameters, gradients, strict=True)]
    fall = loss(x, s, parameters).item() - loss(x, s, moved).item()
predicted = eta * sum((gradient.data**2).sum() for gradient in gradients)
print(f"predicted fall {predicted:.6e}, measured {fall:.6e}")
lesson.claim("a small step lowers the loss by η‖∇ℓ‖² (measured over predicted)", fall / predicted, near=1, within=0.01)

# %%
# Gradient descent repeats such steps, with a larger $\eta$. Written out, it has four parts: forward, back, step,
# clear. The step assigns a *new* array to ``p.data`` and leaves the old one as it was, for a record may still refer
# to it.

RATE, EPOCHS = 1.0, 3000 if lesson.full else 1000
losses = []
for _ in lesson.progress(range(EPOCHS), "training"):
    value = loss(x, s, parameters)
    value.backward()
    for p in parameters:
        p.data = p.data - RATE * p.grad.data
        p.grad = None
    losses.append(value.item())

# %%
# New points from the same half-moons tell whether the network has learnt the shape or the sample. For comparison,
# the straight line that fits the labels best in the sense of least squares.

new_points, new_labels = two_moons(2000, NOISE, lesson.rng(9))


def accuracy(points, labels):
    with mg.no_grad():
        return float((np.sign(network(mg.tensor(points), *parameters).data) == labels).mean())


def with_one(points):
    return np.column_stack([points, np.ones(len(points))])


line, *_ = np.linalg.lstsq(with_one(points), labels)
by_line = (np.sign(with_one(new_points) @ line) == new_labels).mean()
print(
    f"loss {losses[0]:.3f} → {losses[-1]:.4f}; right on {accuracy(points, labels):.1%} of the points it was trained on"
)
print(f"right on new points: the network {accuracy(new_points, new_labels):.1%}, the straight line {by_line:.1%}")

# %%

figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3.6), width_ratios=[1.35, 1])
a, b = np.meshgrid(np.linspace(-2.1, 2.1, 160), np.linspace(-1.6, 1.6, 120))
with mg.no_grad():
    z = network(mg.tensor(np.stack([a.ravel(), b.ravel()], axis=1)), *parameters).data.reshape(a.shape)
for sign, colour, marker in [(1, BLUE, "o"), (-1, ORANGE, "s")]:
    left.contourf(a, b, sign * z, levels=[0, 1e9], colors=[colour], alpha=0.12)
    left.plot(*points[labels[:, 0] == sign].T, marker, color=colour, markersize=3.5, label=f"label ${sign:+d}$")
left.contour(a, b, z, levels=[0], colors=BLACK, linewidths=1.6)
left.contour(a, b, z, levels=[-math.log(9), math.log(9)], colors=BLACK, linewidths=0.9, linestyles="dashed")
left.plot([], [], color=BLACK, label="$z=0$: even chances")
left.plot([], [], "--", color=BLACK, linewidth=0.9, label="9 to 1")
left.set(xlabel="$x_1$", ylabel="$x_2$", title="Points and decision boundary", aspect="equal")
left.grid(False)
left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
right.loglog(np.arange(1, EPOCHS + 1), losses, color=BLUE)
right.set(xlabel="step", ylabel="loss", title="Gradient descent")
right.set_yticks([0.02, 0.05, 0.1, 0.2, 0.5, 1], ["0.02", "0.05", "0.1", "0.2", "0.5", "1"])
right.tick_params(which="minor", left=False, labelleft=False)
lesson.figure(figure, "two_moons", note=f"synthetic: two half-moons, {len(points)} points, noise {NOISE}")

# %%
# The half-moons overlap a little at this noise, so no boundary gets all points right. A straight line stays below
# 90 %. More than 95 % needs the hidden layer, and gradients that point the right way for a thousand steps.

lesson.claim("the trained network is right on new points (share)", accuracy(new_points, new_labels), above=0.95)

# %%
# Exercises
# ---------
#
# 1. Turn the chain of part 1 around: one input, $n$ outputs. Which order is cheap now? Look for what is the row there
#    and is a column here. (``mg.jvp`` computes it.)
# 2. Add ``maximum(a, b)`` to the numbers of part 2. Which slopes does it have where $a = b$? Compare with central
#    differences there, and with what ``minigrad`` does (``ops/elementwise.py``).
# 3. Make an op of your own with ``minigrad.op.op``: tanh, but with the rule ``g * (1 - tanh(x) ** 2)`` and the
#    parameters ``g, _y, x``. Use it in the network of part 6. The gradient stays the same. Look at "as in" in the
#    table, and at the bytes kept.
# 4. Give the network five hidden layers and draw its tape. Plot the bytes kept against depth and against the number
#    of points. Look for straight lines, and say what their slopes are before you measure them.
# 5. Replace ``tanh`` by ``relu``, $\max(x, 0)$, in the network and compute the second derivative of $z$ with respect to
#    $x$. Look for its value, and explain it from the shape of the function.

lesson.finish()

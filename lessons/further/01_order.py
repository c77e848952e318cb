r"""Loops, branches, and the order of the backward pass
===================================================

The tape of lesson 01 is a list, and its backward pass goes through the list from the end. That looks like a detail. It
seems just as natural to do without a list, and to walk from the result back to what it was made from. Many a first
attempt at an autograd library does so, passes its tests, and then takes a minute for a network of 24 layers, or returns
gradients that are nearly right. This chapter shows what goes wrong, and by how much. Open it when you write a backward
pass of your own, when you read ``minigrad/graph.py`` and ask why it sorts by age, or when you want to differentiate a
program with loops and branches in it.

Afterwards you can

- say what is differentiated when a program loops until it has converged;
- recognize the two usual wrong orders by their symptoms;
- name two right ones, and say what each needs to know.

Read first: lesson 01 (tensors and the tape), part 2.

Claims checked, and where they are made:

- a tape differentiates through a loop; the error of the derivative follows from that of the value ("Loops and
  branches");
- recursion visits 4·2^n - 3 numbers where there are 3n + 1 ("Too slow");
- visiting in the order of arrival loses exactly the shares that come late ("Too early");
- counting gives the same as age, and the engine takes 2^60 paths in its stride ("Two orders that work").

Time: quick about 1 s, full about 2 s.
"""

# %%
# The tape is that of lesson 01, with a few more operations.

import math
import time

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

import minigrad as mg
from lessons import COLOURS, Lesson

lesson = Lesson(__file__)
BLUE, ORANGE, *_ = COLOURS.values()
tape = []


class Number:
    def __init__(self, value, *steps):
        self.value = value
        self.steps = steps  # pairs (input, slope of this number with respect to that input)
        self.gradient = 0.0  # to be: the derivative of the result with respect to this number
        tape.append(self)

    def __add__(self, other):
        return Number(self.value + other.value, (self, 1.0), (other, 1.0))

    def __mul__(self, other):
        return Number(self.value * other.value, (self, other.value), (other, self.value))

    def __truediv__(self, other):
        return Number(self.value / other.value, (self, 1 / other.value), (other, -self.value / other.value**2))


# %%


def sine(x):
    return Number(math.sin(x.value), (x, math.cos(x.value)))


def cosine(x):
    return Number(math.cos(x.value), (x, -math.sin(x.value)))


def go_back(result):
    for number in tape:
        number.gradient = 0.0
    result.gradient = 1.0
    for number in reversed(tape):
        for source, slope in number.steps:
            source.gradient += number.gradient * slope


# %%
# Loops and branches
# ------------------
#
# A tape does not care how the steps came about. A loop leaves one group of entries for each pass, a branch leaves
# those of the side that was taken: what is differentiated is the *run*, not the text of the program. Newton's method
# for $\sqrt a$ repeats $y \leftarrow (y + a/y)/2$ until $y$ no longer moves. Through this loop the tape must find
# $\mathrm d\sqrt a/\mathrm da = 1/(2\sqrt a)$. Here is what it finds after each pass.

tape.clear()
a, two, y = Number(2.0), Number(2.0), Number(1.0)
errors = []
while not errors or abs(errors[-1][0]) > 1e-15:
    y = (y + a / y) / two
    go_back(y)
    errors.append((y.value - math.sqrt(2), a.gradient - 1 / math.sqrt(8)))
    print(f"pass {len(errors)}: error of y {errors[-1][0]:8.1e}, of dy/da {errors[-1][1]:8.1e}")
print(f"{len(tape)} entries on the tape")

# %%
# The derivative converges, too, though a little later. Let $e$ be the error of $y$. Newton's method turns it into
# $e^2/(2y)$. Differentiate that with respect to $a$, and the error $e'$ of the derivative becomes
#
# $$\frac{e\,e'}{y} - \frac{e^2}{2y^2}\,\frac{\mathrm dy}{\mathrm da} .$$
#
# The first term is the larger one. It makes $e'/e$ twice as large in each pass. A loop that stops as soon as its value
# is good enough may return a derivative that is not; a pass or two more will fix that. (And a loop that starts at the
# solution and makes no pass at all returns the right value with the derivative of a constant, 0.)

# %% Tolerance tags=["hide-input"]
# *Tolerance.* Some twenty operations, each rounding by $\varepsilon = 2.2 \cdot 10^{-16}$ at most, and a value of order
# one: $10^{-14}$. The law of the errors is exact; in the fourth pass a rounding of $10^{-15}$ is compared with
# $2 \cdot 10^{-11}$, so we allow $10^{-4}$.

lesson.claim("the tape differentiates Newton's loop for the square root of 2 (error)", abs(errors[-1][1]), below=1e-14)
e, slope_error = np.array(errors[:3]).T
before = math.sqrt(2) + e
lesson.claim("error of the derivative after the next pass of Newton's loop, passes 2 to 4", [d for _, d in errors[1:4]],
             predicted=e * slope_error / before - e**2 / (2 * before**2) * (1 / math.sqrt(8) + slope_error), rtol=1e-4)

# %%
# Adding up
# ---------
#
# A number that is used twice reaches the result along two paths, and the chain rule for several variables adds up the
# paths. Overwriting instead of adding loses all but one. For $x\cdot x + x$ at 3 the derivative is $2x + 1 = 7$:


def go_back_overwriting(result):
    result.gradient = 1.0
    for number in reversed(tape):
        for source, slope in number.steps:
            source.gradient = number.gradient * slope


for backward_pass in (go_back, go_back_overwriting):
    tape.clear()
    x = Number(3.0)
    backward_pass(x * x + x)
    print(f"{backward_pass.__name__:20} d(x*x + x)/dx at 3 = {x.gradient}")

# %%
# Too slow: recursion
# -------------------
#
# Now do without the list, and walk from the result along its inputs, their inputs, and so on. The first way is
# recursion: each number hands on a share as soon as it gets it. The result is right, but a value that is used twice is
# entered twice, and so is everything before it. In a row of $n$ diamonds, $y \leftarrow \sin y + \cos y$, the number of
# visits doubles with each: $v(n) = 2 v(n-1) + 3$ with $v(0) = 1$, which is $4\cdot 2^n - 3$.


def diamonds(y, n):
    for _ in range(n):
        y = sine(y) + cosine(y)
    return y


def recursion(number, share):
    """Hand `share` on to all that `number` was made from; return how many numbers were visited, repeats included."""
    number.gradient += share
    return 1 + sum(recursion(source, share * slope) for source, slope in number.steps)


DEPTHS = np.arange(1, 19 if lesson.full else 16)
visits, entries = [], []
for n in DEPTHS:
    tape.clear()
    x = Number(0.5)
    y = diamonds(x, n)
    visits.append(recursion(y, 1.0))
    by_recursion = x.gradient
    go_back(y)
    entries.append(len(tape))
print(f"{n} diamonds: {visits[-1]:,} visits or {entries[-1]}; derivatives {by_recursion:.12e} and {x.gradient:.12e}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* A count that has a formula must agree with it exactly.

lesson.claim("recursion through n diamonds visits 4·2^n - 3 numbers, all n", visits, predicted=4.0 * 2**DEPTHS - 3,
             rtol=0.0)
lesson.claim("the tape of n diamonds has 3n + 1 entries, all n", entries, predicted=3 * DEPTHS + 1, rtol=0.0)

# %% Drawing tags=["hide-input"]

figure, ax = plt.subplots()
ax.semilogy(DEPTHS, 4.0 * 2**DEPTHS - 3, color=ORANGE, label="$4\\cdot 2^n - 3$")
ax.semilogy(DEPTHS, visits, "o", color=ORANGE, label="recursion: every path")
ax.semilogy(DEPTHS, 3 * DEPTHS + 1, color=BLUE, label="$3n + 1$")
ax.semilogy(DEPTHS, entries, "o", color=BLUE, label="tape: every number once")
ax.set(xlabel="diamonds in a row, $n$", ylabel="numbers visited", title="One derivative, two backward passes")
ax.xaxis.set_major_locator(MaxNLocator(integer=True))
ax.legend()
lesson.figure(figure, "diamonds", alt="The numbers visited in a backward pass against the number of diamonds, on a "
              "logarithmic axis. With recursion they lie on a straight line, doubling with each diamond, up to more "
              "than a hundred thousand; with a tape they stay below a hundred.")

# %%
# A residual network has a diamond in every block, $x + f(x)$, and a recurrent network one in every time step. So the
# mistake does not show in a test of three layers, but makes deep networks impossible.
#
# Too early: the order of arrival
# -------------------------------
#
# The second way visits each number once, in the order in which it is first reached. It is fast, and wrong: a number
# may hand on its gradient before all of it has arrived. Take $a = x^2$ and $f = a \sin a$. From $f$ one reaches $a$ at
# once, and $a$ hands on what it has, although the share that comes through $\sin a$ is still on its way.


def in_order_of_arrival(result):
    for number in tape:
        number.gradient = 0.0
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
for backward_pass in (go_back, in_order_of_arrival):
    tape.clear()
    x = Number(1.0)
    a = x * x
    backward_pass(a * sine(a))
    found[backward_pass.__name__] = x.gradient
    print(f"{backward_pass.__name__:20} df/dx at 1 = {x.gradient:.6f}")

# %%
# By hand, $\mathrm df/\mathrm dx = 2x(\sin a + a\cos a)$. What came too late is the second term, $2\cos 1$ at $x=1$.
# So the error is known in advance, up to rounding.

lesson.claim("visiting in the order of arrival loses exactly the late share, 2 cos 1",
             found["go_back"] - found["in_order_of_arrival"], predicted=2 * math.cos(1), rtol=1e-14)

# %%
# Two orders that work
# --------------------
#
# This rule is both fast and right: *visit each number once, after everything that was made from it.* That is a
# topological order of the graph, and there are two usual ways to get one.
#
# - *By age.* A number is always younger than what it was made from, so "youngest first" is such an order. It needs a
#   list of all numbers, or an age in each and a sort. This is what ``graph.py`` does.
# - *By counting.* First count, for each number, how many steps lead out of it towards the result. Then a number is
#   visited when all of them have been used. It needs a first walk to count, and no ages. PyTorch's engine counts.


def by_counting(result):
    """As `go_back`; returns how many numbers were visited."""
    for number in tape:
        number.gradient = 0.0
    uses, seen = {}, [result]
    for number in seen:  # grows while it is gone through: everything that leads to the result, once
        for source, _ in number.steps:
            if source not in uses:
                seen.append(source)
            uses[source] = uses.get(source, 0) + 1
    result.gradient, ready, visited = 1.0, [result], 0
    while ready:
        number, visited = ready.pop(), visited + 1
        for source, slope in number.steps:
            source.gradient += number.gradient * slope
            uses[source] -= 1
            if uses[source] == 0:
                ready.append(source)
    return visited


tape.clear()
x = Number(0.5)
y = diamonds(x, 60)
visited = by_counting(y)
counted = x.gradient
go_back(y)
print(f"60 diamonds: {visited} visits; by counting {counted:.15e}, by age {x.gradient:.15e}")

# %%
# Through 60 diamonds lead $2^{60}$ paths. One visit each at a nanosecond would take 36 years. The engine of
# ``minigrad``:

leaf = mg.tensor(np.array(0.5), requires_grad=True)
y, by_hand = leaf, 1.0
for _ in range(60):
    by_hand *= math.cos(y.item()) - math.sin(y.item())
    y = mg.sin(y) + mg.cos(y)
start = time.perf_counter()
y.backward()
print(f"minigrad: {1e3 * (time.perf_counter() - start):.1f} ms, {leaf.grad.item():.15e}; by hand {by_hand:.15e}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* The derivative by hand is the product of $\cos y_k - \sin y_k$ along the row. Each factor rounds by a
# few $\varepsilon$, so 60 of them stay below $10^{-13}$, relative to the result. The factors are differences, but none
# is smaller than 0.1, so that little cancels.

lesson.claim("60 diamonds: visits when counting, 3n + 1", visited, predicted=3 * 60 + 1, rtol=0.0)
lesson.claim("derivative along 2^60 paths: by counting, by age, by the engine", [counted, x.gradient, leaf.grad.item()],
             predicted=by_hand, rtol=1e-13)

# %%
# Questions
# ---------
#
# 1. Start Newton's loop at ``y = Number(math.sqrt(2.0))`` and stop it before the first pass if $y^2 = a$ to rounding.
#    What is $\mathrm dy/\mathrm da$? How many passes must it make from there to find the right derivative?
# 2. Rewrite the recursion of "Too slow" so that it remembers which numbers it has entered, and returns at once from
#    those. Which of the two faults does it then have?

lesson.finish()

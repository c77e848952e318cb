r"""Checking gradients
==================

A backward rule with a mistake in it raises no error. The program runs, the loss falls a little less than it should,
and nobody knows why. So every rule has to be checked, and a check has to be checked too: what would it have
missed?

Afterwards you will be able to explain

- why a difference quotient has a best step, where it lies in float32 and in float64, and how many digits are left;
- the complex step, which has no such limit, and the functions on which it fails without a word;
- the dot-product test, which checks a gradient of any size for the price of a few evaluations, and its blind spots;
- how property tests look for the shapes and values at which a rule fails;
- which mistakes each of these checks finds, and what no gradient check can find;
- what differences say at kinks and ties, and why one keeps away from them.

Read first: lesson 01 (the backward rules of part 4 and the engine of part 5). Beside it, open
``minigrad/testing/gradient_check.py`` and ``minigrad/testing/diagnosis.py``.

Claims checked: the error of difference quotients stays below what theory allows, with its smallest value where theory
puts it, in both precisions; an absolute tolerance misses a small wrong sign; the complex step is exact to rounding at a
step of 1e-200, and wrong on the absolute value; the dot-product test finds one wrong entry among 65,536 but, with
``mg.jvp``, not a wrong sign; of eleven
planted mistakes a check of one sampled entry misses most, property tests miss one, and no check raises a false alarm;
at kinks and ties differences are what a formula says, not a derivative; ``check_grads`` passes weight normalization and
names the causes of planted mistakes.

Time: quick about 8 s, full about 15 s.
"""

# %%
# This lesson computes on one core of the CPU, whatever ``--device`` says.

import itertools
import math
import random
import time

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl

import minigrad as mg
import wn
from lessons import COLOURS, Lesson
from minigrad.op import REGISTRY, op
from minigrad.ops.shape import scatter, unbroadcast

lesson = Lesson(__file__)
BLUE, ORANGE, BLACK, GREEN, *_ = COLOURS.values()
threadpoolctl.threadpool_limits(1)

# %%
# 1. A quotient with two errors
# -----------------------------
#
# Lesson 01 compared gradients with central differences. How well can they be known in this way? There are two
# simple quotients, the *forward* and the *central* one:
#
# $$D_+ = \frac{f(x+h) - f(x)}{h}, \qquad D_0 = \frac{f(x+h) - f(x-h)}{2h} .$$
#
# Each has two errors. *Truncation*: insert Taylor's series $f(x \pm h) = f \pm h f' + \frac{h^2}2 f'' \pm \frac{h^3}6
# f''' + \dots$, and what is left besides $f'$ is
#
# $$D_+ - f' \approx \frac h2 f'', \qquad D_0 - f' \approx \frac{h^2}6 f''' .$$
#
# In the central quotient the terms with $f''$ cancel. *Rounding*: a computed value of $f$ is off by up to about
# $\varepsilon |f|/2$, where $\varepsilon$ is $2.2\cdot10^{-16}$ in float64 and $1.2\cdot10^{-7}$ in float32. The
# difference of two values keeps their absolute errors and is then divided by $h$, which makes up to
# $\varepsilon |f|/h$. A small step has a small truncation error and a large rounding error.
#
# The sum of both is smallest where its derivative for $h$ is zero, that is at
#
# $$h_+ = \sqrt{2\varepsilon \left|\frac{f}{f''}\right|} \sim \sqrt\varepsilon, \qquad
# h_0 = \sqrt[3]{3\varepsilon\left|\frac{f}{f'''}\right|} \sim \sqrt[3]\varepsilon ,$$
#
# and what is left there is of the order of $\sqrt\varepsilon$ and $\varepsilon^{2/3}$. In float64 these are 8 digits
# and 10 to 11; in float32, 3 and 4 to 5.
#
# The test is $f = \sqrt x$, because a computed square root is the correctly rounded one, so that nothing but
# $\varepsilon$ matters. Its derivatives are $f' = \frac12 x^{-1/2}$, $f'' = -\frac14 x^{-3/2}$ and
# $f''' = \frac38 x^{-5/2}$. The steps are powers of two and the points have few binary digits, so $x \pm h$ is not
# rounded.

points = 1 + lesson.rng(1).integers(0, 2**19, 4000 if lesson.full else 400) / 2**20  # between 1 and 1.5


def forward_difference(f, x, h):
    return (f(x + h) - f(x)) / h


def central_difference(f, x, h):
    return (f(x + h) - f(x - h)) / (2 * h)


def theory(kind, eps, x, h):
    """The largest error to be expected: truncation plus rounding."""
    rounding = eps * np.sqrt(x) / h
    if kind == "forward":
        return h / 2 * x**-1.5 / 4 + rounding
    return h**2 / 6 * x**-2.5 * 3 / 8 + rounding


curves, worst_ratio = {}, 0.0
exact = 0.5 / np.sqrt(points)
for dtype, digits in [(np.float32, 23), (np.float64, 52)]:
    eps = float(np.finfo(dtype).eps)
    steps = 2.0 ** -np.arange(2, digits + 1)
    for kind, difference in [("forward", forward_difference), ("central", central_difference)]:
        errors = []
        for h in steps:
            error = np.abs(difference(np.sqrt, points.astype(dtype), dtype(h)) - exact)
            errors.append((error / exact).max())
            if h <= 1 / 16:  # for larger steps Taylor's next terms matter
                worst_ratio = max(worst_ratio, (error / theory(kind, eps, points, h)).max())
        curves[dtype, kind] = steps, np.array(errors)

# %%

figure, panels = plt.subplots(1, 2, figsize=(8.4, 4.2), sharey=True, width_ratios=[1, 1.7])
for ax, (dtype, name) in zip(panels, [(np.float32, "float32"), (np.float64, "float64")], strict=True):
    eps = float(np.finfo(dtype).eps)
    for kind, colour, power, truncation in [("forward", ORANGE, 1 / 2, lambda h: h / 4),
                                            ("central", BLUE, 1 / 3, lambda h: h**2 / 8)]:
        steps, errors = curves[dtype, kind]
        words = {"forward": r"$\frac{h}{2} f''$", "central": r"$\frac{h^2}{6} f'''$"}[kind]
        ax.loglog(steps, truncation(steps), color=colour, linewidth=1, label=f"{kind}, truncation: {words}")
        ax.loglog(steps, errors, "o", color=colour, markersize=3.5, label=f"{kind}, measured")
        ax.axvline(eps**power, color=colour, linestyle=":", linewidth=1.2)
        root = r"$\sqrt{\varepsilon}$" if power == 1 / 2 else r"$\sqrt[3]{\varepsilon}$"
        ax.annotate(root, (eps**power, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", color=colour)
    ax.loglog(steps, 3 * eps / steps, color=BLACK, linewidth=1, label=r"rounding: $\varepsilon |f| / h$")
    ax.set(xlabel="step $h$", ylim=(1e-12, 3))
    ax.set_title(name, pad=22)
panels[0].set_ylabel("largest relative error of $f'$")
panels[1].set_yticks([1e-12, 1e-9, 1e-6, 1e-3, 1])
handles, words = panels[1].get_legend_handles_labels()
figure.legend(handles, words, loc="outside lower center", ncols=3, fontsize=9)
lesson.figure(figure, "step_and_error")

# %%
# The lines are the theory for the worst of the points: relative to $f'$, truncation is $h^2/8x^2$ (largest at
# $x = 1$) and rounding $2\varepsilon x/h$ (at $x = 1.5$). To the right of the minimum the dots lie on the line. To
# the left they scatter below it: rounding errors are at most that large, and mostly smaller. (The central quotient's
# are at most half of it, because it divides by $2h$.)

print(f"{'':18} {'best step':>10} {'theory':>10} {'error there':>12}")
best = {}
for (dtype, kind), (steps, errors) in curves.items():
    eps = float(np.finfo(dtype).eps)
    x = 1.25
    predicted = math.sqrt(8 * eps) * x if kind == "forward" else 2 * x * eps ** (1 / 3)
    best[dtype, kind] = steps[errors.argmin()], errors.min()
    print(f"{dtype.__name__:9}{kind:9} {steps[errors.argmin()]:10.1e} {predicted:10.1e} {errors.min():12.1e}")

# %%
# The first claim is that theory is an upper bound. Taylor's next term adds at most 0.2 % to truncation for
# $h \leq 1/16$. The best step of the central quotient should be $2x\sqrt[3]\varepsilon$. A curve is flat near its
# minimum, and the largest rounding error of a sample is a matter of luck, so it may be a factor of 4 to either side.
# The error left there, relative to $f'$, is at most $\frac32\varepsilon^{2/3}$ ($5.5\cdot10^{-11}$ in float64,
# $3.6\cdot10^{-5}$ in float32), and 15 % more if the minimum lies midway between two powers of two.

lesson.claim("the error of both quotients stays below truncation plus rounding (largest ratio)",
             worst_ratio, below=1.01)
lesson.claim("the best step of central differences in float64, over the cube root of epsilon",
             best[np.float64, "central"][0] / np.finfo(float).eps ** (1 / 3), above=0.5, below=12)
lesson.claim("central differences at the best step: error over 1.5 ε^(2/3), larger of both precisions",
             max(best[dtype, "central"][1] / (1.5 * float(np.finfo(dtype).eps) ** (2 / 3))
                 for dtype in (np.float32, np.float64)), above=0.1, below=1.15)

# %%
# So gradients are checked in float64. In float32 four digits are left at best, for a function as tame as this one. In
# float16, with $\varepsilon = 10^{-3}$, it would be one or two.
#
# ``mg.testing.check_grads`` takes $h = \sqrt[3]\varepsilon \max(1, |x|)$ and allows a difference of $10^{-6}$ times the
# derivative itself. For a function of moderate size the errors of rounding and truncation are ten thousand times
# smaller than that, and a wrong factor or sign is a million times larger. Where an entry differs by more, it estimates
# both errors for that entry, and takes a smaller step if one is needed. $D_0(2h) - D_0(h)$ is three times the
# truncation, and $f(x+d) - 2f(x) + f(x-d)$ for a tiny $d$ is rounding and nothing else. These are allowed on top.
#
# Why not an absolute tolerance of $10^{-6}$? It sees nothing below itself. Here is $f = 10^{-7} x$ with its sign
# flipped:

flipped = op("flipped", "", lambda xp, x: 1e-7 * x, lambda g, _y, _x: -1e-7 * g)
del REGISTRY["flipped"]
seen = []
for absolute in (1e-6, None):
    try:
        mg.testing.check_grads(flipped, [points[:3]], atol=absolute)
        seen.append(False)
    except AssertionError as error:
        print(f"atol={absolute}: {error}")
        seen.append(True)
lesson.claim("a flipped sign of size 1e-7 is seen with an absolute tolerance of 1e-6", seen[0], near=0, within=0)
lesson.claim("and without one", seen[1], near=1, within=0)

# %%
# 2. The complex step
# -------------------
#
# The trouble is the subtraction. It can be avoided. For a function that has a Taylor series,
#
# $$f(x + ih) = f(x) + i h f'(x) - \frac{h^2}2 f''(x) - \frac{i h^3}6 f'''(x) + \dots, \qquad
# f'(x) = \frac{\operatorname{Im} f(x+ih)}h + O(h^2) .$$
#
# The imaginary part holds $h f'$ alone. Nothing is subtracted, so nothing cancels, and $h$ may be so small that $h^2$
# is nothing at all.


def complex_step(f, x, h=1e-200):
    return f(x + 1j * h).imag / h


# %%
# A function that is not quite trivial, $f = e^x / (\sin^3 x + \cos^3 x)$, whose derivative one can still write down:


def f(x):
    s, c = np.sin(x), np.cos(x)
    return np.exp(x) / (s * s * s + c * c * c)


def f_slope(x):
    s, c = np.sin(x), np.cos(x)
    q, q_slope = s**3 + c**3, 3 * s * c * (s - c)
    return np.exp(x) * (q - q_slope) / q**2


x = lesson.rng(2).uniform(1.2, 1.6)
steps = 10.0 ** -np.arange(0, 306, 2)
floor = 1e-17  # a logarithmic axis has no place for 0
by_complex = [max(abs(complex_step(f, x, h) / f_slope(x) - 1), floor) for h in steps]
near = steps >= 1e-18
by_difference = [abs(central_difference(f, x, h) / f_slope(x) - 1) for h in steps[near]]

figure, ax = plt.subplots(figsize=(7, 3.8))
ax.loglog(steps[near], by_difference, "s-", color=BLUE, markersize=4, linewidth=1, label="central difference")
ax.loglog(steps, by_complex, "o", color=GREEN, markersize=3.5, label="complex step")
ax.axhline(np.finfo(float).eps, color=BLACK, linewidth=1)
ax.text(1e-303, 1e-15, r"$\varepsilon$", color=BLACK, va="bottom")
ax.set(xlabel="step $h$", ylabel="relative error of $f'$", ylim=(floor / 3, 1e3),
       xticks=[1, 1e-50, 1e-100, 1e-150, 1e-200, 1e-250, 1e-300],
       title=r"$f = e^x / (\sin^3 x + \cos^3 x)$: no subtraction, no limit to the step")
ax.minorticks_off()
ax.legend(loc="upper center")
lesson.figure(figure, "complex_step")

# %%
# From $h = 10^{-9}$ on the error is a few roundings, whatever the step. (An error of zero is drawn at the lower
# edge.) The function has about ten operations, and its denominator loses no digits here. So the result should be
# within $10^{-14}$.

lesson.claim("the complex step at h = 1e-200 (relative error)",
             abs(complex_step(f, x, 1e-200) / f_slope(x) - 1), below=1e-14)

# %%
# The functions of ``minigrad`` take plain arrays, too, complex ones among them, and so the forward functions can be
# used as they are to check the backward rules. But the series holds only where the *program* is a smooth function of
# a complex number. The absolute value is not: for $a + ib$ it is $\sqrt{a^2 + b^2}$. Comparisons, and with them
# branches and maxima, have no meaning for complex numbers. (NumPy compares real parts first, which is what one wants
# here as long as they differ.) And some functions do not take complex numbers at all.
#
# ``mg.jacobian`` makes the whole Jacobian by backward, with one pass for each entry of the output.

z = lesson.rng(2, 1).uniform(0.3, 1.5, 4) * np.array([1, -1, 1, -1])
candidates = {
    "tanh": mg.tanh, "sigmoid": mg.sigmoid, "softmax": mg.softmax, "logsumexp": mg.logsumexp, "norm": mg.norm,
    "x / norm": lambda x: x / mg.norm(x), "relu": mg.relu, "max": mg.max,
    "maximum(x, 0.1)": lambda x: mg.maximum(x, 0.1), "abs": mg.abs, "softplus": mg.softplus, "erf": mg.erf,
}


def jacobian_by_complex_step(f, x):
    """The columns Im f(x + ih eₖ) / h, as an array of shape (*f(x).shape, len(x))."""
    return np.stack([complex_step(lambda t, e=e: f(x + t * e), 0.0) for e in np.eye(len(x))], axis=-1)


disagreement = {}
print(f"{'function':16} complex step against backward, largest difference")
for name, function in candidates.items():
    try:
        difference = jacobian_by_complex_step(function, z) - mg.jacobian(function, z).data
        disagreement[name] = np.abs(difference).max()
        print(f"{name:16} {disagreement[name]:.1e}{'   WRONG' if disagreement[name] > 1e-12 else ''}")
    except TypeError as error:
        print(f"{name:16} TypeError: {error}")

# %%
# ``relu`` and ``max`` are right, since the entries differ in their real parts. ``abs`` is wrong: the imaginary part
# is lost, and the derivative comes out as 0. ``softplus`` is the case to remember. As a function, $\log(1 + e^x)$ is
# perfectly smooth. The library computes it as $\max(x, 0) + \log(1 + e^{-|x|})$, which cannot overflow, and *that*
# formula contains an absolute value. The complex step sees the program, not the function. It fails without a word,
# and here the backward rule is right and the check wrong.

lesson.claim("the complex step says that the derivative of |x| is",
             np.abs(jacobian_by_complex_step(mg.abs, z)).max(), near=0, within=0)

# %%
# 3. The dot-product test
# -----------------------
#
# Differences and complex steps need one or two evaluations for each entry. A weight matrix of $256 \times 256$ has
# 65,536 of them. Is there a test that looks at all entries at once?
#
# The Jacobian $J$ is a linear map. Backward multiplies it from the left, $u \mapsto J^\top u$. Moving the input along
# a direction $v$ multiplies it from the right, $v \mapsto J v$. Whatever $u$ and $v$ are,
#
# $$\langle u, J v\rangle = \langle J^\top u, v\rangle ,$$
#
# for both are $u^\top J v$. So take random $u$ and $v$ and compute both sides, one by backward and the other in some
# way that does not use the backward rules: by one central difference along $v$. That is two evaluations and one pass
# back, for any number of entries.


def by_differences(f, x, v):
    """J v by a central difference; v is a vector of length 1."""
    h = np.finfo(float).eps ** (1 / 3)
    return (f(x + h * v) - f(x - h * v)) / (2 * h)


def random_direction(shape, rng):
    """Signs, divided by their norm: no entry is small, so that none is overlooked."""
    return rng.choice([-1.0, 1.0], shape) / math.sqrt(math.prod(shape))


def residual(f, x, rng, jvp):
    """How far the two sides differ, relative to the lengths of u (1) and Jv."""
    value, pull_back = mg.vjp(f, x)
    u, v = random_direction(value.shape, rng), random_direction(x.shape, rng)
    pushed = jvp(f, x, v)
    return abs((u * pushed).sum() - (pull_back(u).data * v).sum()) / np.linalg.norm(pushed)


def by_engine(f, x, v):
    return mg.jvp(f, [x], [v])[1].data


# %%
# ``mg.vjp(f, x)`` returns the value and a function $u \mapsto J^\top u$; ``mg.jvp`` returns the value and $Jv$. Below,
# the left-hand side is computed in two ways: by a difference, and by ``mg.jvp``.
#
# The patient is a layer $W \mapsto \tanh(AW)$, once with its right rule and once with mistakes: the sign, or *one* of
# the 65,536 entries, which comes out twice as large.
#
# The planted rules use ``op``, which enters an op into the list that the test suite walks; the mistakes leave it at
# once.


def planted(forward, *rules):
    function = op("planted", "An op made for this lesson.", forward, *rules)
    del REGISTRY["planted"]
    return function


N = 256
A = lesson.rng(3).normal(size=(64, N)) / math.sqrt(N)
W = lesson.rng(3, 1).normal(size=(N, N))
doubled = np.ones((N, N))
doubled[tuple(lesson.rng(3, 2).integers(0, N, 2))] = 2


def layer_rule(change):
    return lambda g, y, _w: change(A.T @ (g * (1 - y * y)))


layers = {
    "right": planted(lambda xp, w: xp.tanh(A @ w), layer_rule(lambda g: g)),
    "one entry of 65,536 doubled": planted(lambda xp, w: xp.tanh(A @ w), layer_rule(lambda g: g * doubled)),
    "sign flipped": planted(lambda xp, w: xp.tanh(A @ w), layer_rule(lambda g: -g)),
}
TRIALS = 100 if lesson.full else 25
residuals = {}
for name, layer in layers.items():
    for jvp in (by_differences, by_engine):
        residuals[name, jvp] = [residual(layer, W, lesson.rng(3, 3, i), jvp) for i in range(TRIALS)]
        print(f"{name:28} {jvp.__name__:15} {min(residuals[name, jvp]):.0e} to {max(residuals[name, jvp]):.0e}")
start = time.perf_counter()
by_differences(layers["right"], W, W / np.linalg.norm(W))
pair = time.perf_counter() - start
print(f"one pair of evaluations: {1e3 * pair:.1f} ms; a pair for each entry: {W.size * pair:.0f} s")

# %%

figure, ax = plt.subplots(figsize=(7.6, 3.6))
for row, (name, jvp) in enumerate(reversed(residuals)):
    values = np.maximum(residuals[name, jvp], 1e-18)
    heights = row + 0.25 * lesson.rng(3, 4).uniform(-1, 1, TRIALS)
    ax.semilogx(values, heights, "o", color=BLUE if jvp is by_differences else ORANGE, markersize=3.5, alpha=0.7)
sides = {by_differences: "difference along $v$", by_engine: "mg.jvp"}
ax.set_yticks(range(len(residuals)), [f"{name}: {sides[jvp]}" for name, jvp in reversed(residuals)])
ax.axvline(1e-8, color=BLACK, linewidth=1, linestyle="--")
ax.annotate("alarm to the right of this", (1e-8, 1), (4, 2), xycoords=("data", "axes fraction"),
            textcoords="offset points", va="bottom", fontsize=9)
ax.set(xlabel=r"$|\langle u, Jv\rangle - \langle J^\top u, v\rangle|\ /\ \Vert Jv\Vert$", ylim=(-0.6, 5.6),
       xlim=(3e-19, 3), xticks=10.0 ** np.arange(-18, 1, 3))
ax.minorticks_off()
lesson.figure(figure, "dot_product")

# %%
# Blue, the difference along $v$, does its work: the right rule leaves about $10^{-10}$, by the argument of part 1, so
# that an alarm at $10^{-8}$ is on the safe side. One wrong entry changes the right-hand side by that entry's share
# $\bar W_k v_k$, with $v_k = \pm 1/256$, and that is a hundred thousand times as much. It depends on $u$, and may by
# chance be small; two or three trials make that unlikely. Looking at one entry chosen at random would find it once in
# 65,536 times. (The flipped sign stays far below 1, since $u$ and $Jv$ are nearly orthogonal: both sides are small
# numbers, of opposite signs.)
#
# Orange is a surprise: with ``mg.jvp`` on the left, a flipped sign passes. ``minigrad`` has no rules of its own for
# $J v$. It derives them: $u \mapsto J^\top u$ is linear in $u$, and differentiating it for $u$ gives $v \mapsto J v$
# (``transforms.py``). If the rule is wrong, $\tilde J^\top u$ instead of $J^\top u$, then out comes $\tilde J v$, and
# $\langle u, \tilde J v\rangle = \langle\tilde J^\top u, v\rangle$ holds perfectly. *A test whose two sides come from
# one source tests nothing but their bookkeeping*: here, that the rule is linear in $u$ and can be differentiated.
# Where the two directions have rules of their own, as in PyTorch's forward mode, it is a real test of one against the
# other.
#
# Both kinds are blind for a wrong *function* with a rule that fits it.

alarms = {name: np.array(residuals[name, by_differences]) > 1e-8 for name in layers}
lesson.claim("the dot-product test passes the right rule and finds one doubled entry of 65,536 (share of trials)",
             (~alarms["right"] & alarms["one entry of 65,536 doubled"]).mean(), above=0.9)
lesson.claim("dot-product test with mg.jvp does not see a flipped sign (largest residual)",
             max(residuals["sign flipped", by_engine]), below=1e-12)

# %%
# 4. Eleven mistakes
# ------------------
#
# Now for a comparison. Each of these ops is made twice, right and with one mistake of a kind that has been found in
# real libraries. All are small: the function, and a rule for each operand, as in lesson 01. Each comes with one
# example, as somebody might pick it who writes a quick test. (``scatter(g, index, shape)`` makes zeros of that shape
# and adds ``g`` at the index: the derivative of picking.)

rng = lesson.rng(4)


def number(x):
    """An array or tensor as a constant: nothing is recorded."""
    return x.detach() if isinstance(x, mg.Tensor) else x


def last_uses(index):
    """1 where an index is used for the last time, else 0: what is left by `=` where `+=` is needed."""
    return np.array([float(k not in index[i + 1 :]) for i, k in enumerate(index)])


def end_share(g, count):
    """The gradient of x[1:] - x[:-1]."""
    return mg.pad(g, ((1, 0),)) - mg.pad(g, ((0, 1),))


square, product = lambda xp, x: x * x, lambda xp, a, b: a * b
neighbours = lambda xp, x: x[1:] - x[:-1]
larger, picked = lambda xp, a, b: xp.maximum(a, b), lambda xp, x, index: x[index]
by_first, by_second = lambda g, _y, _a, b: unbroadcast(g * b, _a), lambda g, _y, a, _b: unbroadcast(g * a, _b)
square_rule = lambda g, _y, x: g * 2 * x
vector, matrix = rng.uniform(0.5, 2, 4), rng.uniform(0.5, 2, (3, 3))

# name: (NumPy's function, the right op, the wrong op, the operands of the example, what else the op takes)
MISTAKES = {
    "sign flipped": (
        np.cos,
        planted(lambda xp, x: xp.cos(x), lambda g, _y, x: -g * mg.sin(x)),
        planted(lambda xp, x: xp.cos(x), lambda g, _y, x: g * mg.sin(x)),
        [vector],
        [],
    ),
    "factor 2 forgotten": (
        np.square, planted(square, square_rule), planted(square, lambda g, _y, x: g * x), [vector], [],
    ),
    "factor off by 0.5 %": (
        np.square, planted(square, square_rule), planted(square, lambda g, _y, x: g * 2.01 * x), [vector], [],
    ),
    "incoming gradient forgotten": (
        np.square, planted(square, square_rule), planted(square, lambda g, _y, x: 2 * x), [vector], [],
    ),
    "transposition forgotten": (
        np.matmul,
        planted(lambda xp, a, b: a @ b, lambda g, _y, _a, b: g @ b.T, lambda g, _y, a, _b: a.T @ g),
        planted(lambda xp, a, b: a @ b, lambda g, _y, _a, b: g @ b, lambda g, _y, a, _b: a.T @ g),
        [matrix, matrix + 1],
        [],
    ),
    "unbroadcast forgotten": (
        np.multiply,
        planted(product, by_first, by_second),
        planted(product, lambda g, _y, _a, b: g * b, lambda g, _y, a, _b: g * a),
        [matrix, matrix.T],
        [],
    ),
    "last entry dropped": (
        np.diff,
        planted(neighbours, lambda g, _y, _x: end_share(g, _x.shape[0])),
        planted(neighbours, lambda g, _y, _x: end_share(g, _x.shape[0]) * (np.arange(_x.shape[0]) < _x.shape[0] - 1)),
        [rng.normal(size=50)],
        [],
    ),
    "overwritten, not added": (
        lambda x, index: x[index],
        planted(picked, lambda g, _y, _x, index: scatter(g, index, _x.shape)),
        planted(picked, lambda g, _y, _x, index: scatter(g * last_uses(index), index, _x.shape)),
        [vector],
        [[2, 0, 1]],
    ),
    "tie counted twice": (
        np.maximum,
        mg.maximum,
        planted(larger, lambda g, _y, a, b: mg.where(a >= b, g, 0), lambda g, _y, a, b: mg.where(b >= a, g, 0)),
        [vector, vector[::-1] + 0.1],
        [],
    ),
    "wrong at second order only": (
        np.square, planted(square, square_rule), planted(square, lambda g, _y, x: g * 2 * number(x)), [vector], [],
    ),
    "function wrong, rule alike": (
        np.square,
        planted(square, square_rule),
        planted(lambda xp, x: 1.1 * x * x, lambda g, _y, x: g * 2.2 * x),
        [vector],
        [],
    ),
}

# %%
# The checks are functions that raise an ``AssertionError`` where they find something. First the weak one, as it
# stands in many a test suite: add the outputs up, look at one entry, and be content with two digits.


def one_sampled_entry(f, args, rng):
    tensors = [mg.tensor(a, requires_grad=True) for a in args]
    gradients = mg.grad(f(*tensors).sum(), tensors)
    position = rng.integers(len(args))
    entry = tuple(rng.integers(args[position].shape))

    def value(move):
        moved = [a.copy() for a in args]
        moved[position][entry] += move
        return f(*moved).sum()

    measured = central_difference(value, 0.0, 1e-5)
    assert abs(gradients[position].data[entry] - measured) <= 1e-2 * max(1, abs(measured))


# %%
# The others: all entries by central differences, first gradients only; all entries by the complex step; the two
# dot-product tests; second order, which is the same comparison of the gradients' gradients; and finally the values of
# the function themselves. All of them start backward from random numbers $u$, not from ones. A rule that forgets the
# incoming gradient, or puts the outputs in the wrong order, shows only then.


def central_differences(f, args, rng):
    mg.testing.check_grads(f, args, order=1)


def complex_steps(f, args, rng):
    value, pull_back = mg.vjp(f, *args)
    u = rng.uniform(0.5, 1.5, value.shape) * rng.choice([-1.0, 1.0], value.shape)
    pulled = pull_back(u)
    for position, gradient in enumerate(pulled if isinstance(pulled, tuple) else [pulled]):
        for entry in np.ndindex(args[position].shape):

            def scalar(t, position=position, entry=entry):
                moved = [a.astype(complex) if i == position else a for i, a in enumerate(args)]
                moved[position][entry] += t
                return (u * f(*moved)).sum()

            assert abs(complex_step(scalar, 0.0) - gradient.data[entry]) <= 1e-10


def dot_product(f, args, rng, push):
    value, pull_back = mg.vjp(f, *args)
    u, v = rng.normal(size=value.shape), [rng.normal(size=a.shape) for a in args]
    pulled = pull_back(u)
    right = sum((p.data * t).sum() for p, t in zip(pulled if isinstance(pulled, tuple) else [pulled], v, strict=True))
    assert abs((u * push(f, args, v)).sum() - right) <= 1e-6


def dot_product_with_differences(f, args, rng):
    def push(f, args, v):
        def moved(t):
            return f(*(a + t * d for a, d in zip(args, v, strict=True)))

        return central_difference(moved, 0.0, np.finfo(float).eps ** (1 / 3))

    dot_product(f, args, rng, push)


def dot_product_with_jvp(f, args, rng):
    dot_product(f, args, rng, lambda f, args, v: mg.jvp(f, args, v)[1].data)


def second_order(f, args, rng):
    mg.testing.check_grads(f, args, order=2)


def finds(check, *arguments):
    """Whether a check raises an alarm. Complaints about shapes, by the engine or by NumPy in a rule, count, too."""
    try:
        check(*arguments)
    except (AssertionError, RuntimeError, ValueError):
        return True
    return False


CHECKS = {
    "dot product, mg.jvp": dot_product_with_jvp, "dot product, difference": dot_product_with_differences,
    "central differences": central_differences, "complex step": complex_steps, "second order": second_order,
}


def taking(function, more):
    """The op as a function of its operands alone."""
    return lambda *args: function(*args, *more)


found, false_alarms = {}, 0
for row, (name, (reference, right, wrong, args, more)) in enumerate(MISTAKES.items()):
    right, wrong, reference = (taking(function, more) for function in (right, wrong, reference))
    draws = [lesson.rng(4, row, i) for i in range(100)]
    found[name, "one sampled entry, 1e-2"] = np.mean([finds(one_sampled_entry, wrong, args, draw) for draw in draws])
    false_alarms += sum(finds(one_sampled_entry, right, args, draw) for draw in draws)
    for column, (check_name, check) in enumerate(CHECKS.items()):
        found[name, check_name] = finds(check, wrong, args, lesson.rng(5, row, column))
        false_alarms += finds(check, right, args, lesson.rng(5, row, column))
    found[name, "values against NumPy"] = not np.allclose(wrong(*args), reference(*args), rtol=1e-12)
    false_alarms += not np.allclose(right(*args), reference(*args), rtol=1e-12)

# %%
# 5. Let the machine pick the example
# -----------------------------------
#
# Three of the mistakes cannot be found with these examples by any check of gradients: two arrays of one shape never
# need ``unbroadcast``; three different indices never need ``+=``; random numbers never tie. The example is to blame.
# Whoever forgets a case in the rule also forgets it in the test.
#
# A *property test* states a law for all arguments, and a program looks for arguments that break it. For Python that
# program is ``hypothesis``. It needs to know how to draw arguments, a *strategy*, and prefers what tends to break
# programs: zeros, empty arrays, equal entries, axes of size 1. ``mg.testing`` has strategies for this: ``shapes()``,
# ``broadcastable_shapes(n)``, and ``arrays(...)``, which can keep away from kinks and ties.

try:
    import hypothesis
    from hypothesis import strategies as st
except ImportError:
    hypothesis = None
    print("hypothesis is not installed, so this part is left out: pip install hypothesis")


EXAMPLES = 200 if lesson.full else 50


def counterexample(law, strategy):
    """The smallest arguments that hypothesis finds for which the law is broken, or None."""
    settings = hypothesis.settings(max_examples=EXAMPLES, deadline=None, database=None,
                                   suppress_health_check=list(hypothesis.HealthCheck))
    try:
        return hypothesis.find(strategy, lambda drawn: finds(law, *drawn), settings=settings,
                               random=random.Random(lesson.seed))
    except hypothesis.errors.NoSuchExample:
        return None


# %%
# The law is nearly always the same: gradients agree with differences, to second order. For ``maximum`` another one is
# needed, for differences mean nothing at a tie (part 6). Since $\max(a + t, b + t) = \max(a, b) + t$, the two
# gradients must add up to $g$, tie or not. It needs no differences at all. Laws of this kind are exact, and often the
# best tests there are.


def agrees_with_differences(f):
    return lambda args, more: mg.testing.check_grads(lambda *a: f(*a, *more), args)


def shares_add_up(f):
    def law(args, more):
        tensors = [mg.tensor(a, requires_grad=True) for a in args]
        first, second = mg.grad(f(*tensors).sum(), tensors)
        assert ((first + second).data == 1).all()

    return law


if hypothesis:
    arrays, plain = mg.testing.arrays, st.just(())
    small = mg.testing.shapes(max_dims=2)
    one = st.tuples(st.tuples(arrays(small)), plain)
    pairs = mg.testing.broadcastable_shapes(2, max_dims=2).flatmap(lambda s: st.tuples(arrays(s[0]), arrays(s[1])))
    sizes = st.tuples(*[st.integers(1, 3)] * 3)
    STRATEGIES = dict.fromkeys(MISTAKES, one) | {
        "transposition forgotten": st.tuples(
            sizes.flatmap(lambda s: st.tuples(arrays(s[:2]), arrays(s[1:]))), plain),
        "unbroadcast forgotten": st.tuples(pairs, plain),
        "last entry dropped": st.tuples(st.tuples(arrays(st.integers(2, 6))), plain),
        "overwritten, not added": st.tuples(
            st.tuples(arrays((3,))), st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=4))),
        "tie counted twice": st.tuples(small.flatmap(lambda s: st.tuples(arrays(s), arrays(s))), plain),
    }
    smallest = {}
    for name, (_, right, wrong, *_) in MISTAKES.items():
        law = shares_add_up if name == "tie counted twice" else agrees_with_differences
        smallest[name] = counterexample(law(wrong), STRATEGIES[name])
        found[name, "hypothesis"] = smallest[name] is not None
        false_alarms += counterexample(law(right), STRATEGIES[name]) is not None

# %%
# What it finds it makes smaller, entry by entry and axis by axis, as long as the law stays broken. These are the
# smallest counterexamples for the three mistakes.

if hypothesis:
    for name in ("unbroadcast forgotten", "overwritten, not added", "tie counted twice"):
        args, more = smallest[name]
        words = [f"{a.tolist()} of shape {a.shape}" for a in args] + [f"index {index}" for index in more]
        print(f"{name}: " + "; ".join(words))

# %%
# Shapes that differ, an index used twice, two equal entries. The whole table:

columns = ["one sampled entry, 1e-2", *CHECKS, *(["hypothesis"] if hypothesis else []), "values against NumPy"]
table = np.array([[float(found[name, column]) for column in columns] for name in MISTAKES])
figure, ax = plt.subplots(figsize=(7.8, 5))
ax.set_xlim(-0.5, len(columns) - 0.5)
ax.set_ylim(len(MISTAKES) - 0.5, -0.5)
for i, j in itertools.product(range(len(MISTAKES)), range(len(columns))):
    share = table[i, j]
    ax.add_patch(plt.Rectangle((j - 0.47, i - 0.44), 0.94, 0.88, color="0.93"))
    ax.add_patch(plt.Rectangle((j - 0.47, i - 0.44), 0.94, 0.88, color=BLUE, alpha=share, linewidth=0))
    ax.text(j, i, {0: "–", 1: "found"}.get(share, f"{share:.0%}"), ha="center", va="center", fontsize=9,
            color="white" if share > 0.6 else "0.2")
ax.set_xticks(range(len(columns)), [column.replace(" ", "\n") for column in columns], fontsize=9)
ax.set_yticks(range(len(MISTAKES)), list(MISTAKES))
ax.tick_params(length=0, top=False, labeltop=True, labelbottom=False, bottom=False)
ax.spines[:].set_visible(False)
ax.grid(False)
lesson.figure(figure, "mistakes_and_checks")
for column, hits in zip(columns, table.sum(axis=0), strict=True):
    print(f"{column:26} finds {hits:4.3g} of {len(MISTAKES)}")

# %%
# Read it by columns. One sampled entry finds what is grossly wrong everywhere. It cannot find a factor near 1, and
# adding the outputs up starts backward from $g = 1$, so that a rule that forgets $g$ passes. Other mistakes it finds
# if it happens to look in the right place: the column shows the share of 100 runs. The dot product with ``mg.jvp``
# finds the one rule that is not linear in $g$, and no other. Central differences, the complex step and the dot product
# with a difference find the same: what is wrong *at the example*. Only second order finds a rule that is right in its
# value and wrong as a function. Only search finds what the example does not contain.
#
# And by rows: *function wrong, rule alike* passes every check of gradients, as it must, for it is the right
# gradient of the wrong function. Only a comparison of values with another source can find it.
#
# A check must also be silent where nothing is wrong. So all have been run on the right ops, too.

lesson.claim("planted mistakes, of 11, that one sampled entry finds (mean of 100 draws)", table[:, 0].sum(), below=4)
if hypothesis:
    gradient_mistakes = [found[name, "hypothesis"] for name in MISTAKES if name != "function wrong, rule alike"]
    lesson.claim("mistakes in gradients, of 10, that property tests miss",
                 len(gradient_mistakes) - sum(gradient_mistakes), near=0, within=0)
lesson.claim("false alarms of all checks on the right ops", false_alarms, near=0, within=0)

# %%
# 6. Kinks and ties
# -----------------
#
# At 0, ``relu``, which is $\max(x, 0)$, has the slope 0 on one side and 1 on the other. Neither is *the* derivative;
# the library takes 0. The central quotient takes the mean of both sides. For $|x| < h$ the step reaches across the
# kink, and the quotient is
#
# $$\frac{\operatorname{relu}(x + h) - \operatorname{relu}(x - h)}{2h} = \frac{x + h}{2h} = \frac12 + \frac{x}{2h} .$$

h = np.finfo(float).eps ** (1 / 3)
ratio = np.linspace(-2, 2, 81)
measured = central_difference(mg.relu, ratio * h, h)
expected = np.clip(0.5 + ratio / 2, 0, 1)
backward = np.diagonal(mg.jacobian(mg.relu, ratio * h).data)

figure, ax = plt.subplots(figsize=(7, 3.6))
ax.axvspan(-1, 1, color="0.94", label="the step reaches across the kink")
ax.plot(ratio, expected, color=BLUE, linewidth=1, label=r"$\frac{1}{2} + x/2h$, between 0 and 1")
ax.plot(ratio[::2], measured[::2], "o", color=BLUE, markersize=4, label="central difference")
ax.step(ratio, backward, where="pre", color=ORANGE, label="backward")
ax.set(xlabel="$x / h$", ylabel="derivative of relu", title=f"What a difference says near a kink ($h$ = {h:.1e})")
figure.legend(loc="outside lower center", ncols=2, fontsize=9)
lesson.figure(figure, "kink")
lesson.claim("near a kink the central quotient of relu is 1/2 + x/2h (largest difference)",
             np.abs(measured - expected).max(), below=1e-9)

# %%
# Inside $|x| < h$ it agrees with neither side, and outside with the right one, exactly. That is the reason for the
# rule *keep away from kinks by more than the step*. (The argument for the bound: the numerator is a few roundings of
# numbers of size $h$ and is divided by $2h$, so $10^{-15}$ would do.)
#
# Sometimes the difference agrees by accident: for $|x|$ at 0 the mean of $-1$ and $1$ is 0, which is what the library
# says. At a tie of several entries it does not:

for count in (1, 2, 3, 4):
    x = np.ones(count)
    quotients = [central_difference(lambda t, e=e: mg.max(x + t * e), 0.0, h) for e in np.eye(count)]
    gradient = mg.vjp(mg.max, x)[1](1.0).data
    print(f"max of {count} equal entries: differences {np.round(quotients, 6)}, backward {np.round(gradient, 6)}")
    if count == 3:
        lesson.claim("differences at a tie of three add up to", sum(quotients), near=1.5, within=1e-9)

# %%
# Moving one of $k \geq 2$ equal entries up moves the maximum, moving it down does not: the differences are $\frac12$
# each, and they add up to $k/2$. But moving *all* entries by $t$ moves the maximum by $t$, so a gradient's entries
# should add up to 1. The library's do, it splits evenly. Here the differences are wrong, and it takes a law to see
# it.
#
# ``check_grads`` looks at the two one-sided slopes before it blames a rule. (It multiplies each output by a random
# weight before it adds them up, like ``complex_steps`` in part 4. That is why it does not say 0 and 1.)

try:
    mg.testing.check_grads(mg.max, [np.ones(3)])
except AssertionError as error:
    print(error)

# %%
# 7. check_grads, and what it says
# --------------------------------
#
# The next lesson is about weight normalization: a weight vector $w$ is written as $w = g\, v / \lVert v\rVert$, a
# length times a direction, and there is one pair $(g, v)$ for each row of a layer's weight matrix. Its backward rule
# is not obvious, for each entry of $v$ moves the norm, and with it the whole row. Here it is only a patient: a layer
# with inputs, and all of its four arguments.

rng = lesson.rng(7)
x, v, g, b = rng.normal(size=(5, 3)), rng.normal(size=(4, 3)), rng.uniform(0.5, 2, 4), rng.normal(size=4)


def normalized_layer(x, v, g, b):
    return mg.tanh(x @ wn.weight_norm(v, g).T + b)


alarm = finds(mg.testing.check_grads, normalized_layer, [x, v, g, b])
print("check_grads of a weight-normalized layer, to second order:", "alarm" if alarm else "nothing to complain about")
lesson.claim("alarms about a weight-normalized layer, first and second order", alarm, near=0, within=0)

# %%
# Now mistakes in the rule for $v$. The right one is
# $\nabla_v = \frac{g}{\lVert v\rVert}\left(\nabla_w - \frac{\nabla_w \cdot v}{\lVert v\rVert^2} v\right)$; lesson 03
# derives it. Below, $g = 1$ for every row. The mistakes are changes of what it returns. After the numbers,
# ``check_grads`` compares them: if the wrong entries are all off by one factor, or are the right ones transposed, or
# one of a few other things, it says so.


def weight_norm_with(change):
    def rule(grad_w, _w, v):
        lengths = mg.norm(v, 1, keepdims=True)
        right = (grad_w - v * mg.sum(grad_w * v, 1, keepdims=True) / lengths**2) / lengths
        return change(right, grad_w, lengths)

    return planted(lambda xp, v: v / xp.sqrt((v * v).sum(1, keepdims=True)), rule)


square_v, last_row_0 = rng.normal(size=(3, 3)), np.array([[1.0], [1.0], [0.0]])
CAUSES = {
    "sign": (lambda right, grad_w, lengths: -right, "the sign is flipped"),
    "factor": (lambda right, grad_w, lengths: right * 0.5, "half the difference quotient"),
    "transposed": (lambda right, grad_w, lengths: right.T, "a transposition"),
    "not wired": (lambda right, grad_w, lengths: right * 0, "not wired"),
    "row dropped": (lambda right, grad_w, lengths: right * last_row_0, "shares of the gradient are dropped"),
    "projection forgotten": (lambda right, grad_w, lengths: grad_w / lengths, None),
}
named = 0
for name, (change, words) in CAUSES.items():
    try:
        mg.testing.check_grads(weight_norm_with(change), [square_v])
    except AssertionError as error:
        print(f"{name}:\n  " + str(error).replace("\n", "\n  ") + "\n")
        named += (words in str(error)) if words else ("Likely cause" not in str(error))

# %%
# The last one, where the norm has been taken for a constant, fits none of the patterns. Then no cause is named: a
# wrong hint is worse than none. It violates a law, though. The function does not change when $v$ is made longer, so
# its gradient has no component along $v$. The right rule gives $v \cdot \nabla_v = 0$ up to rounding, without any
# step size; lesson 03 makes much of this.

lesson.claim("causes named rightly, or rightly not named, of 6", named, near=len(CAUSES), within=0)

# %%
# For an op of your own: ``docs/property_test_template.py`` is a test file to copy, with these laws and strategies.
#
# What to do, then:
#
# - float64, step $\sqrt[3]\varepsilon$, every entry, a random gradient to start from, a tolerance for each
#   entry: $10^{-6}$ of its derivative and its own estimated error ($10^{-11}$ besides from the second order on);
# - second order as well, if anybody may ask for it;
# - drawn shapes and values, not only examples; away from kinks by more than the step;
# - at kinks and ties, laws in the place of differences;
# - values of the function against another source;
# - and for each check a planted mistake that it must find.
#
# Exercises
# ---------
#
# 1. The quotient $(-f(x+2h) + 8f(x+h) - 8f(x-h) + f(x-2h)) / 12h$ has a truncation error of $h^4 f^{(5)}/30$. Where
#    is its best step, and how many digits are left in float32 and float64? Answer on paper, then add it to the
#    figure of part 1.
# 2. Plant one more mistake: a rule that is right for $x > 0$ only. Which columns of the table find it, and on what
#    does it depend?
# 3. Write ``softplus`` so that the complex step is right for it. Does it still not overflow at $x = 1000$?
# 4. In part 3, take $v$ from a normal distribution instead of random signs. How does the smallest residual of the one
#    wrong entry change with the number of trials, and why?
# 5. Second-order checks with central differences take $O(n)$ gradients. Find a dot-product test for the Hessian, from
#    its symmetry, $\langle u, Hv\rangle = \langle v, Hu\rangle$, with ``mg.hvp``. Which of the eleven mistakes does it
#    find?

lesson.finish()

r"""Checking gradients: what a check can see, and what it lets pass
===============================================================

A backward rule with a mistake in it raises no error. The program runs, the loss falls a little more slowly than it
should, and nobody knows why. So every rule is compared with something that needs no rule: with differences of the
function itself. But a comparison needs a step and a tolerance, and somebody has to choose the example. A careless
choice lets a flipped sign pass. Here you build a check, plant mistakes, and see which of them it finds.

Afterwards you can

- choose the step of a difference quotient, and say how many digits it leaves in float32 and in float64;
- explain which mistakes an absolute tolerance hides, and give every entry a tolerance of its own;
- check anybody's gradient, in NumPy code too, with ``mg.testing.check_grads``;
- say what differences mean at a kink or a tie;
- name the mistakes that ordinary examples cannot show, and let a property test look for them.

Read first: lesson 01, parts 4 and 5 (backward rules, and the engine). Beside it, open
``minigrad/testing/gradient_check.py``; the lesson builds a simpler version of it.

Claims checked, and where they are made:

- the errors of the forward and the central quotient at every step, and what is left at the best one (part 1);
- two common tolerances miss a wrong sign and a missing entry; adding estimated errors to the tolerance repairs that
  without false alarms (part 2);
- what differences are at kinks and ties (part 3);
- of eleven planted mistakes, which check finds which (parts 4 and 5).

Three further chapters, each to be read on its own after this lesson:

- ``further/02_complex_step.py``: you want a derivative to all 16 digits;
- ``further/02_dot_product.py``: your gradient has too many entries to check one by one;
- ``further/02_likely_causes.py``: ``check_grads`` has raised, and you want to know what its hint is worth.

Time: quick about 7 s, full about 14 s.
"""

# %%
# This lesson runs on one CPU core, whatever ``--device`` says.

import itertools
import random
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl

import minigrad as mg
from lessons import COLOURS, Lesson
from minigrad.op import REGISTRY, op
from minigrad.ops.shape import scatter, unbroadcast

lesson = Lesson(__file__)
BLUE, ORANGE, BLACK, *_ = COLOURS.values()
threadpoolctl.threadpool_limits(1)

# %%
# 1. A quotient with two errors
# -----------------------------
#
# Lesson 01 compared gradients with central differences. How accurate are they? There are two simple quotients, the
# *forward* and the *central* one:
#
# $$D_+ = \frac{f(x+h) - f(x)}{h}, \qquad D_0 = \frac{f(x+h) - f(x-h)}{2h} .$$
#
# Each has two errors. *Truncation*: insert Taylor's series $f(x \pm h) = f \pm h f' + \frac{h^2}2 f'' \pm \frac{h^3}6
# f''' + \dots$; what remains besides $f'$ is
#
# $$D_+ - f' \approx \frac h2 f'', \qquad D_0 - f' \approx \frac{h^2}6 f''' .$$
#
# In the central quotient the terms with $f''$ cancel. *Rounding*: a computed value of $f$ is off by about
# $\varepsilon |f|$, where the machine epsilon $\varepsilon$ is $2.2\cdot10^{-16}$ in float64 and $1.2\cdot10^{-7}$ in
# float32. The difference of two such values keeps their errors and is then divided by $h$. So a smaller step has a
# smaller truncation error and a larger rounding error.
#
# We take $f = \sqrt x$, since a computed square root is the exact one, rounded once. First one point, $x = 1.25$, in
# float64:


def forward_difference(f, x, h):
    return (f(x + h) - f(x)) / h


def central_difference(f, x, h):
    return (f(x + h) - f(x - h)) / (2 * h)


slope = 0.5 / np.sqrt(1.25)
print("     h    relative error: forward    central")
for h in (1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 1e-12, 1e-14):
    errors = [abs(quotient(np.sqrt, 1.25, h) / slope - 1) for quotient in (forward_difference, central_difference)]
    print(f"{h:6.0e} {errors[0]:24.1e} {errors[1]:10.1e}")

# %%
# Read down a column: the error falls with the step, reaches its lowest point, and rises again. A step a hundred times
# smaller makes truncation a hundred times (forward) or ten thousand times (central) smaller, and rounding a hundred
# times larger.
#
# Where is the lowest point? Let truncation be of the size of $h^p$, with $p = 1$ or 2, and rounding of the size of
# $\varepsilon/h$. They are equal at
#
# $$h \sim \varepsilon^{1/(p+1)}, \qquad\text{and the error there is}\qquad \varepsilon^{p/(p+1)} :$$
#
# $\sqrt\varepsilon$ for both with the forward quotient; $\sqrt[3]\varepsilon$ and $\varepsilon^{2/3}$ with the central
# one. In float64 that leaves 8 digits (forward) or 10 to 11 (central); in float32, 3 to 4 or about 5.
#
# To check more than exponents, we need the rounding error itself. Between 1 and 2 the numbers of a format are
# $\varepsilon$ apart, so a correctly rounded value is off by an amount between $-\varepsilon/2$ and $\varepsilon/2$.
# If it is spread evenly, its root mean square (RMS) is $\varepsilon/\sqrt{12}$, and that of the difference of two
# is $\varepsilon/\sqrt6$. Hence the RMS rounding error is $\varepsilon/(\sqrt6\,h)$ for $D_+$ and half of that for
# $D_0$. With $f'' = -\frac14 x^{-3/2}$ and $f''' = \frac38 x^{-5/2}$, the theory has no free parameter left.

points = 1 + lesson.rng(1).integers(0, 2**19, 4000 if lesson.full else 400) / 2**20  # between 1 and 1.5


def theory(kind, eps, x, h):
    """The RMS over the points of both errors together, relative to f'."""
    if kind == "forward":
        truncation, rounding = h / 2 * x**-1.5 / 4, eps / np.sqrt(6) / h
    else:
        truncation, rounding = h**2 / 6 * x**-2.5 * 3 / 8, eps / np.sqrt(6) / (2 * h)
    return np.sqrt(np.mean((truncation**2 + rounding**2) * 4 * x))


# %%
# Now 400 points, all steps, both quotients, both precisions. The steps are powers of two and the points have few
# binary digits, so $x \pm h$ is not rounded. The smallest step is 64 times the distance between neighbouring numbers:
# below that, the rounding errors of the two values in a quotient are no longer independent.

quotients = {"forward": forward_difference, "central": central_difference}
measured, predicted, all_steps = {}, {}, {}
for dtype, digits in ((np.float32, 23), (np.float64, 52)):
    all_steps[dtype] = 2.0 ** -np.arange(4, digits - 5)
    eps, exact = float(np.finfo(dtype).eps), 0.5 / np.sqrt(points)
    for kind, quotient in quotients.items():
        errors = [quotient(np.sqrt, points.astype(dtype), dtype(h)) / exact - 1 for h in all_steps[dtype]]
        measured[kind, dtype] = np.sqrt(np.mean(np.square(errors), axis=1))
        predicted[kind, dtype] = np.array([theory(kind, eps, points, h) for h in all_steps[dtype]])
        best = measured[kind, dtype].argmin()
        step, error = all_steps[dtype][best], measured[kind, dtype][best]
        print(f"{dtype.__name__} {kind}: best step {step:.1e}, error {error:.1e}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* The difference of two evenly spread errors has a fourth moment of 2.4 times the square of its second. So
# the mean square of 400 of them scatters by $\sqrt{1.4/400} = 6$ %, its root by 3 %; we allow four times that. Taylor's
# next term adds at most 3 % to truncation at $h = 1/16$. Together: 15 %. *The exponents:* where a minimum lies between
# two powers of two, the smallest error is up to 15 % too large, and it scatters as above. A factor of 1.3 in the ratio
# of two errors, while $\varepsilon$ changes by $2^{29}$, changes an exponent by $\log_2 1.3/29 = 0.013$: 3 % of 1/2.
# We allow 5 %.

lesson.claim("RMS error of D₊ and D₀, float32 and float64, all steps: truncation and rounding together",
             np.concatenate(list(measured.values())), predicted=np.concatenate(list(predicted.values())), rtol=0.15)
ratio = {kind: measured[kind, np.float32].min() / measured[kind, np.float64].min() for kind in quotients}
lesson.claim("The smallest error as a power of ε: 1/2 for D₊, 2/3 for D₀",
             [np.log2(ratio[kind]) / 29 for kind in quotients], predicted=[1 / 2, 2 / 3], rtol=0.05)

# %% Drawing tags=["hide-input"]

figure, panels = plt.subplots(1, 2, figsize=(8.4, 4.2), sharey=True, width_ratios=[1, 1.7])
for ax, dtype in zip(panels, (np.float32, np.float64), strict=True):
    eps, steps = float(np.finfo(dtype).eps), all_steps[dtype]
    for kind, colour, power in (("forward", ORANGE, 1 / 2), ("central", BLUE, 1 / 3)):
        ax.loglog(steps, predicted[kind, dtype], color=colour, linewidth=1, label=f"{kind}, theory")
        ax.loglog(steps, measured[kind, dtype], "o", color=colour, markersize=3.5, label=f"{kind}, measured")
        ax.axvline(eps**power, color=colour, linestyle=":", linewidth=1.2)
        root = r"$\sqrt{\varepsilon}$" if power == 1 / 2 else r"$\sqrt[3]{\varepsilon}$"
        ax.annotate(root, (eps**power, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", color=colour)
    ax.set(xlabel="step $h$", ylim=(1e-11, 1))
    ax.set_title(dtype.__name__, pad=22)
    ax.minorticks_off()
panels[0].set_ylabel("RMS relative error of $f'$")
panels[1].set_yticks([1e-9, 1e-6, 1e-3, 1])
figure.legend(*panels[1].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
lesson.figure(figure, "step_and_error", alt="Relative error of two difference quotients against the step, both axes "
              "logarithmic, for float32 and float64. Measured dots lie on V-shaped predicted lines: rounding falls as "
              "1/h on the left, truncation rises as h (forward) or h squared (central) on the right, and the lowest "
              "points lie near the square and the cube root of epsilon.")

# %%
# The dots lie on the lines. On the left the central quotient is better only by a factor of two, because it divides by
# $2h$; on the right it wins by orders of magnitude. So check gradients in float64, by central differences, with a step
# of about $\sqrt[3]\varepsilon = 6\cdot10^{-6}$. In float32 five digits are left at best, and only for a function as
# tame as this one; in float16, by the same rule, about two.
#
# 2. Which tolerance?
# -------------------
#
# A check compares a claimed gradient with $D_0$, entry by entry. How much may they differ? Many test suites allow
# $10^{-6}$. That is an absolute tolerance, which misses every mistake smaller than itself. Others allow $10^{-6}$ of
# the largest entry, which misses mistakes in small entries next to a large one. Let us also try a tolerance that
# follows each entry, $10^{-6}\,|D_0|$, and one that adds the errors of part 1.
#
# Both errors can be estimated without knowing $f$. For *truncation*, take the quotient again with twice the step. If
# it is off by $h^2f'''/6$ at $h$ and by four times that at $2h$, then
#
# $$D_0(2h) - D_0(h) \approx 3 \cdot \frac{h^2}6 f''' .$$
#
# For *rounding*, move the argument by a tiny $d$ to either side: $f(x+d) - 2f(x) + f(x-d) \approx d^2f''$. If $d^2$ is
# far below $\varepsilon$, this would be practically zero without rounding, so the result is rounding alone.

STEP = np.finfo(float).eps ** (1 / 3)
x = lesson.rng(2).uniform(0.5, 1.0, 3)
wave = lambda x: np.sum(np.sin(1000 * x))  # an f that varies quickly, for later


def differences(f, x, h=STEP):
    """The central difference of the number f(x) for each entry of x."""
    slopes = np.zeros_like(x)
    for entry in np.ndindex(x.shape):
        move = np.zeros_like(x)
        move[entry] = h
        slopes[entry] = (f(x + move) - f(x - move)) / (2 * h)
    return slopes


def rounding(f, x):
    """How far rounding moves f(x): six tiny steps (4e-9 of x at most) to either side; at least ε|f|."""
    moves = 2**24 * np.finfo(float).eps * x * lesson.rng(2).uniform(-1, 1, (6, *x.shape))
    return max(np.finfo(float).eps * abs(f(x)), *(abs(f(x + d) - 2 * f(x) + f(x - d)) for d in moves))


# %% Tolerance tags=["hide-input"]
# Do the estimates measure what they should? For $\sin 1000x$ we know $f''' = -10^9\cos 1000x$; the next term of the
# series is $(1000h)^2/4 = 10^{-5}$ of this one, so 0.1 % is ample. The second difference of $\sqrt x$ contains three
# rounding errors with the weights 1, -2 and 1: a variance of $(1 + 4 + 1)\,\varepsilon^2/12$, an RMS of
# $\varepsilon/\sqrt2$. It scatters as the errors of part 1 do.

lesson.claim("D₀(2h) - D₀(h) is 3 times the truncation h²f‴/6: for sin 1000x",
             differences(wave, x, 2 * STEP) - differences(wave, x),
             predicted=-3 * STEP**2 / 6 * 1e9 * np.cos(1000 * x), rtol=1e-3)
tiny = 2.0**-28
left_over = np.sqrt(points + tiny) - 2 * np.sqrt(points) + np.sqrt(points - tiny)
lesson.claim("f(x+d) - 2f(x) + f(x-d) for a tiny d is rounding alone: RMS of √x, over ε",
             np.sqrt(np.mean(left_over**2)) / np.finfo(float).eps, predicted=np.sqrt(1 / 2), rtol=0.12)

# %%
# Five cases: two wrong gradients, then three right ones that are hard to confirm. The first of these has derivatives
# that are tiny beside $f$, the second varies quickly, and in the third large terms cancel inside $f$.

cases = {  # f, the gradient that is claimed for it, where, whether it is right
    "wrong: sign flipped, size 1e-7": (
        lambda x: 1e-7 * np.sum(np.cos(x)), lambda x: 1e-7 * np.sin(x), x, False),
    "wrong: small entry dropped": (
        lambda x: np.sin(x[0]) + 1e-7 * np.sin(x[1]), lambda x: np.cos(x) * [1, 0, 0], x, False),
    "right: near a maximum": (lambda x: np.sum(np.cos(x)), lambda x: -np.sin(x), 1e-6 * x, True),
    "right: sin 1000x": (wave, lambda x: 1000 * np.cos(1000 * x), x, True),
    "right: terms cancel": (lambda x: np.sum(((x + 5e7) - 5e7) ** 2), lambda x: 2 * x, x, True),
}


def tolerances(f, x):
    """Each kind of tolerance, for each entry."""
    slopes = differences(f, x)
    truncation = abs(differences(f, x, 2 * STEP) - slopes)
    return {
        "absolute": np.full(x.shape, 1e-6),
        "of the largest": np.full(x.shape, 1e-6 * abs(slopes).max()),
        "of each entry": 1e-6 * abs(slopes),
        "with its errors": 1e-6 * abs(slopes) + truncation + 10 * rounding(f, x) / STEP,
    }


# %%
# And the verdicts. (The factor of 10 before the rounding error is a margin: six samples may all be small by chance.)
# The last column is ``mg.testing.check_grads``. With ``grad=`` it checks a gradient that somebody claims for any NumPy
# function, with tolerances of the last kind.


def finds(check, *args, **options):
    """Whether a check complains. Complaints about shapes, by the engine or by NumPy in a rule, also count."""
    try:
        check(*args, **options)
        return False
    except (AssertionError, RuntimeError, ValueError):
        return True


alarms = {}
print(f"{'':31} absolute   of the largest   of each entry   with its errors   check_grads")
for name, (f, claimed, where, _) in cases.items():
    off = abs(claimed(where) - differences(f, where))
    alarms[name] = [bool((off > allowed).any()) for allowed in tolerances(f, where).values()]
    alarms[name].append(finds(mg.testing.check_grads, f, [where], grad=claimed))
    print(f"{name:31}" + "".join(f"{'alarm' if found else '–':>{width}}"
                                 for found, width in zip(alarms[name], (9, 17, 16, 18, 14), strict=True)))

# %% Tolerance tags=["hide-input"]
# A verdict is wrong if a wrong gradient passes or a right one does not. These are counts; no tolerance is needed.

wrong_verdicts = np.sum([np.array(alarms[name]) == right for name, (*_, right) in cases.items()], axis=0)
f, flipped, *_ = cases["wrong: sign flipped, size 1e-7"]
with_atol = finds(mg.testing.check_grads, f, [x], grad=flipped, atol=1e-6)
lesson.claim("Absolute tolerance 1e-6: a flipped sign of size 1e-7 passes, here and by check_grads(atol=1e-6) (alarms)",
             alarms["wrong: sign flipped, size 1e-7"][0] + with_atol, near=0, within=0)
lesson.claim("Tolerance of 1e-6 of the largest entry: a small entry dropped beside it passes (alarms)",
             alarms["wrong: small entry dropped"][1], near=0, within=0)
lesson.claim("Each entry's own tolerance, without its errors: right gradients that raise an alarm, of 3",
             wrong_verdicts[2], near=3, within=0)
lesson.claim("Each entry's own tolerance, with its errors: wrong verdicts, here and by check_grads, of 10",
             wrong_verdicts[3:].sum(), near=0, within=0)

# %%
# The absolute tolerance lets both mistakes pass, and rejects two right gradients: where derivatives are of size 1000,
# or where terms cancel, $10^{-6}$ is too strict. That is the usual reason for raising it to $10^{-4}$, and then it sees
# even less. The tolerance of the largest entry misses one mistake, and rejects all three right gradients. If each entry
# is compared with its own size, nothing hides behind something larger, but all three right gradients raise false
# alarms. With the estimated errors they pass, and both mistakes are still found. (``check_grads`` takes an ``atol=`` if
# you insist. With $10^{-6}$ it lets the flipped sign pass, too.)
#
# This is what ``check_grads`` does, with refinements: it estimates the errors only where an entry differs by more than
# $10^{-6}$, scales the step with the entry, takes smaller steps where truncation is large, and counts the rounding only
# of those outputs that depend on the entry.
#
# Somebody else's code
# --------------------
#
# So you can check code that has never heard of ``minigrad``. Here is a softmax regression in plain NumPy, with
# weights $w$, of the kind found in many notebooks: eight examples, three classes.

rng = lesson.rng(3)
inputs, labels, weights = rng.normal(size=(8, 4)), rng.integers(0, 3, 8), rng.normal(size=(4, 3))


def probabilities(w):
    e = np.exp(inputs @ w)
    return e / e.sum(axis=1, keepdims=True)


def cross_entropy(w):
    return -np.mean(np.log(probabilities(w)[np.arange(8), labels]))


def gradient_from_a_notebook(w):
    p = probabilities(w)
    p[np.arange(8), labels] -= 1
    return inputs.T @ p


# %%

try:
    mg.testing.check_grads(cross_entropy, [weights], grad=gradient_from_a_notebook)
except AssertionError as error:
    print(error)
repaired = lambda w: gradient_from_a_notebook(w) / 8
lesson.claim("NumPy code under check_grads(..., grad=): the forgotten mean is found",
             finds(mg.testing.check_grads, cross_entropy, [weights], grad=gradient_from_a_notebook), near=1, within=0)
lesson.claim("NumPy code under check_grads(..., grad=): alarms after the repair",
             finds(mg.testing.check_grads, cross_entropy, [weights], grad=repaired), near=0, within=0)

# %%
# The loss is a mean over eight examples, but the gradient was that of a sum. With a learning rate eight times smaller,
# nobody would have noticed.
#
# 3. Kinks and ties
# -----------------
#
# A difference speaks for a derivative only where there is one. At 0, ``relu``, which is $\max(x, 0)$, has the slope 0
# on one side and 1 on the other. The library takes 0. The central quotient takes the mean of both sides, and for
# $|x| < h$ its step reaches across the kink:
#
# $$\frac{\operatorname{relu}(x + h) - \operatorname{relu}(x - h)}{2h} = \frac{x + h}{2h} = \frac12 + \frac{x}{2h} .$$
#
# Several equal entries of a maximum, a *tie*, are a kink, too. Moving one of $k \geq 2$ up moves the maximum, moving it
# down does not, so each difference is $\frac12$, and their sum is $k/2$. But moving *all* entries by $t$ moves the
# maximum by $t$: the entries of a gradient should add up to 1.

near_zero = np.linspace(-2, 2, 81)  # x / h
at_kink = central_difference(mg.relu, near_zero * STEP, STEP)
expected = np.clip(0.5 + near_zero / 2, 0, 1)
sums = []
for count in (2, 3, 4):
    quotients_at_tie = differences(lambda t: mg.max(t), np.ones(count))
    backward = mg.vjp(mg.max, np.ones(count))[1](1.0).data
    sums.append((quotients_at_tie.sum(), backward.sum()))
    print(f"max of {count} equal entries: differences {quotients_at_tie.round(6)}, backward {backward.round(6)}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* Numerators are a few roundings of numbers of size $h$ (relu) or 1 (max), divided by $2h$: $10^{-15}$ and
# $10^{-10}$. We allow $10^{-9}$.

lesson.claim("Near a kink the central quotient of relu is 1/2 + x/2h, within the step", at_kink, predicted=expected,
             rtol=0.0, atol=1e-9)
lesson.claim("At a tie of k entries: the differences add up to k/2 and the gradient to 1, k = 2, 3, 4", sums,
             predicted=[(k / 2, 1) for k in (2, 3, 4)], rtol=1e-9)

# %% Drawing tags=["hide-input"]

figure, ax = plt.subplots(figsize=(7, 3.6))
slopes = np.diagonal(mg.jacobian(mg.relu, near_zero * STEP).data)
ax.axvspan(-1, 1, color="0.94", label="the step reaches across the kink")
ax.plot(near_zero, expected, color=BLUE, linewidth=1, label=r"$\frac{1}{2} + x/2h$, between 0 and 1")
ax.plot(near_zero[::2], at_kink[::2], "o", color=BLUE, markersize=4, label="central difference")
for side in (near_zero <= 0, near_zero > 0):
    ax.plot(near_zero[side], slopes[side], color=ORANGE, label="backward" if side[0] else None)
ax.set(xlabel="$x / h$", ylabel="derivative of relu", title=f"What a difference says near a kink ($h$ = {STEP:.1e})")
figure.legend(loc="outside lower center", ncols=2, fontsize=9)
lesson.figure(figure, "kink", alt="The derivative of relu near 0, in units of the step. Backward jumps from 0 to 1 at "
              "0; the central difference rises along a straight line from 0 at minus one step to 1 at plus one step, "
              "and agrees with backward only outside.")

# %%
# Within a step of the kink the difference agrees with neither side; farther away it is exact. So *keep away from kinks
# by more than the step*, and test the kink itself with a law, such as the sum of 1: no differences needed. When
# ``check_grads`` disagrees with a rule, it looks at both one-sided slopes before it blames the rule. (It multiplies
# each output by a random number, so here these slopes are not 0 and 1.)

try:
    mg.testing.check_grads(mg.max, [np.ones(3)])
except AssertionError as error:
    print(error)

# %%
# 4. Eleven mistakes
# ------------------
#
# The step is right, the tolerance is right. Which mistakes still escape? We write each op twice, once correctly and
# once with a mistake of a kind that has been found in real libraries. Each has a function, a rule for each operand, as
# in lesson 01, and an example such as one would pick for a quick test. (``op`` enters an op into the list that the test
# suite walks; we remove the planted ones at once.)

MISTAKES, rng = {}, lesson.rng(4)
vector, matrix = rng.uniform(0.5, 2, 4), rng.uniform(0.5, 2, (3, 3))


def planted(forward, *rules):
    function = op("planted", "An op made for this lesson.", forward, *rules)
    del REGISTRY["planted"]
    return function


def mistake(name, reference, right, wrong, args, *more):
    """Record a right and a wrong op, NumPy's function, the operands of an example, and what else the op takes."""
    MISTAKES[name] = SimpleNamespace(reference=reference, right=right, wrong=wrong, args=args, more=more)


# %%
# First, simple rules that are wrong for every example: a sign, two factors, and one that ignores the incoming gradient
# ``g``. Then a rule whose value is right, but which turns its operand into a constant, so that the derivative of the
# gradient is wrong. And a wrong function with the rule that fits it.


def constant(x):
    return x.detach() if isinstance(x, mg.Tensor) else x


square = lambda xp, x: x * x
cosine = lambda xp, x: xp.cos(x)
right_square = planted(square, lambda g, _y, x: g * 2 * x)
mistake("sign flipped", np.cos, planted(cosine, lambda g, _y, x: -g * mg.sin(x)),
        planted(cosine, lambda g, _y, x: g * mg.sin(x)), [vector])
mistake("factor 2 forgotten", np.square, right_square, planted(square, lambda g, _y, x: g * x), [vector])
mistake("factor off by 0.5 %", np.square, right_square, planted(square, lambda g, _y, x: g * 2.01 * x), [vector])
mistake("incoming gradient forgotten", np.square, right_square, planted(square, lambda g, _y, x: 2 * x), [vector])
mistake("wrong at second order only", np.square, right_square,
        planted(square, lambda g, _y, x: g * 2 * constant(x)), [vector])
mistake("function wrong, rule alike", np.square, right_square,
        planted(lambda xp, x: 1.1 * x * x, lambda g, _y, x: g * 2.2 * x), [vector])

# %%
# Then mistakes with shapes: a missing transposition, a gradient that is not summed over the axes along which its
# operand was broadcast (``unbroadcast``), and a last entry that gets no share.


def shares(g, count):
    """The gradient of x[1:] - x[:-1]."""
    return mg.pad(g, ((1, 0),)) - mg.pad(g, ((0, 1),))


matmul, product, neighbours = lambda xp, a, b: a @ b, lambda xp, a, b: a * b, lambda xp, x: x[1:] - x[:-1]
for_b = lambda g, _y, a, _b: a.T @ g
mistake("transposition forgotten", np.matmul, planted(matmul, lambda g, _y, _a, b: g @ b.T, for_b),
        planted(matmul, lambda g, _y, _a, b: g @ b, for_b), [matrix, matrix + 1])
mistake("unbroadcast forgotten", np.multiply,
        planted(product, lambda g, _y, _a, b: unbroadcast(g * b, _a), lambda g, _y, a, _b: unbroadcast(g * a, _b)),
        planted(product, lambda g, _y, _a, b: g * b, lambda g, _y, a, _b: g * a), [matrix, matrix.T])
mistake("last entry dropped", np.diff, planted(neighbours, lambda g, _y, _x: shares(g, _x.shape[0])),
        planted(neighbours, lambda g, _y, _x: shares(g, _x.shape[0]) * (np.arange(_x.shape[0]) < _x.shape[0] - 1)),
        [rng.normal(size=50)])

# %%
# And two that need a special example: an index that is used twice, where gradients must be added (``=`` in place of
# ``+=`` keeps only the last one), and a tie. (``scatter(g, index, shape)`` makes zeros of that shape and adds ``g`` at
# the index: the backward rule of picking.)


def last_uses(index):
    """1 where an index is used for the last time, else 0: what `=` keeps where `+=` is needed."""
    return np.array([float(k not in index[i + 1 :]) for i, k in enumerate(index)])


larger, picked = lambda xp, a, b: xp.maximum(a, b), lambda xp, x, index: x[index]
mistake("overwritten, not added", lambda x, index: x[index],
        planted(picked, lambda g, _y, _x, index: scatter(g, index, _x.shape)),
        planted(picked, lambda g, _y, _x, index: scatter(g * last_uses(index), index, _x.shape)), [vector], [2, 0, 1])
mistake("tie counted twice", np.maximum, mg.maximum,
        planted(larger, lambda g, _y, a, b: mg.where(a >= b, g, 0), lambda g, _y, a, b: mg.where(b >= a, g, 0)),
        [vector, vector[::-1] + 0.1])

# %%
# The checks, from weak to strong. The weak one is found in many test suites: add up the outputs, look at a single
# entry, and be content with two digits. Then every entry, by ``check_grads``, which starts backward from random
# numbers; then second order, the same comparison for the gradients of the gradients; and the function's values.


def one_entry(f, args, position, entry):
    tensors = [mg.tensor(a, requires_grad=True) for a in args]
    gradient = mg.grad(f(*tensors).sum(), tensors)[position].data[entry]

    def value(move):
        moved = [a.copy() for a in args]
        moved[position][entry] += move
        return f(*moved).sum()

    measured = central_difference(value, 0.0, 1e-5)
    assert abs(gradient - measured) <= 1e-2 * max(1, abs(measured))


def every_entry(f, args, reference):
    mg.testing.check_grads(f, args, order=1)


def second_order(f, args, reference):
    mg.testing.check_grads(f, args)


def values(f, args, reference):
    np.testing.assert_allclose(f(*args), reference(*args), rtol=1e-12)


# %%
# Each check is run on each mistake, and also on each right op, where it must stay silent.

CHECKS = {"every entry": every_entry, "second order": second_order, "values against NumPy": values}
found, false_alarms = {}, 0
for name, m in MISTAKES.items():
    wrong, right, reference = (lambda *a, f=f, m=m: f(*a, *m.more) for f in (m.wrong, m.right, m.reference))
    for column, check in CHECKS.items():
        found[name, column] = finds(check, wrong, m.args, reference)
        false_alarms += finds(check, right, m.args, reference)
    entries = [(position, entry) for position, a in enumerate(m.args) for entry in np.ndindex(a.shape)]
    found[name, "one entry, 1e-2"] = np.mean([finds(one_entry, wrong, m.args, *entry) for entry in entries])
    false_alarms += sum(finds(one_entry, right, m.args, *entry) for entry in entries)

# %%
# 5. Let the machine pick the example
# -----------------------------------
#
# With these examples, no check of gradients can find three of the mistakes: two arrays of one shape never need
# ``unbroadcast``; three different indices never need ``+=``; random numbers never tie. The example is to blame.
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


def counterexample(law, strategy):
    """The smallest arguments that hypothesis finds for which the law is broken, or None."""
    settings = hypothesis.settings(max_examples=200 if lesson.full else 50, deadline=None, database=None,
                                   suppress_health_check=list(hypothesis.HealthCheck))
    try:
        return hypothesis.find(strategy, lambda drawn: finds(law, *drawn), settings=settings,
                               random=random.Random(lesson.seed))
    except hypothesis.errors.NoSuchExample:
        return None


# %%
# The law is nearly always the same: gradients agree with differences, to second order. For ``maximum`` it is the law of
# part 3: since $\max(a + t, b + t) = \max(a, b) + t$, its two gradients add up to the incoming gradient, tie or not.


def agrees_with_differences(f):
    return lambda args, more: mg.testing.check_grads(lambda *a: f(*a, *more), args)


def shares_add_up(f):
    def law(args, more):
        tensors = [mg.tensor(a, requires_grad=True) for a in args]
        first, second = mg.grad(f(*tensors).sum(), tensors)
        assert ((first + second).data == 1).all()

    return law


# %%
# The strategies draw the operands, and whatever else the op takes: one array of any small shape; two that broadcast;
# two whose matrix product exists; two of one shape; an array with a list of indices.

STRATEGIES = {}
if hypothesis:
    arrays, nothing = mg.testing.arrays, st.just(())
    small = mg.testing.shapes(max_dims=1)
    sizes = st.tuples(*[st.integers(1, 2)] * 3)
    pairs = mg.testing.broadcastable_shapes(2, max_dims=2, max_side=2).flatmap(lambda s: st.tuples(*map(arrays, s)))
    STRATEGIES = dict.fromkeys(MISTAKES, st.tuples(st.tuples(arrays(small)), nothing)) | {
        "transposition forgotten": st.tuples(
            sizes.flatmap(lambda s: st.tuples(arrays(s[:2]), arrays(s[1:]))), nothing),
        "unbroadcast forgotten": st.tuples(pairs, nothing),
        "last entry dropped": st.tuples(st.tuples(arrays(st.integers(2, 4))), nothing),
        "overwritten, not added": st.tuples(
            st.tuples(arrays((3,))), st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=3))),
        "tie counted twice": st.tuples(small.flatmap(lambda s: st.tuples(arrays(s), arrays(s))), nothing),
    }

smallest, first_with = {}, {m.right: name for name, m in reversed(MISTAKES.items())}  # each right op once
for name, strategy in STRATEGIES.items():
    law = shares_add_up if name == "tie counted twice" else agrees_with_differences
    smallest[name] = counterexample(law(MISTAKES[name].wrong), strategy)
    found[name, "property test"] = smallest[name] is not None
    if name in first_with.values():
        false_alarms += counterexample(law(MISTAKES[name].right), strategy) is not None

# %%
# ``hypothesis`` then shrinks whatever it finds, entry by entry and axis by axis, for as long as the law stays broken.
# These are the smallest counterexamples for the three mistakes.

for name in ("unbroadcast forgotten", "overwritten, not added", "tie counted twice") if hypothesis else ():
    args, more = smallest[name]
    words = [f"{a.tolist()} of shape {a.shape}" for a in args] + [f"index {index}" for index in more]
    print(f"{name}: " + "; ".join(words))

# %%
# Shapes that differ, an index used twice, two equal entries. The whole table:

columns = ["one entry, 1e-2", "every entry", "second order", *(["property test"] if hypothesis else []),
           "values against NumPy"]
table = np.array([[float(found[name, column]) for column in columns] for name in MISTAKES])
for column, hits in zip(columns, table.sum(axis=0), strict=True):
    print(f"{column:21} finds {hits:4.2g} of {len(MISTAKES)}")

# %% Drawing tags=["hide-input"]

figure, ax = plt.subplots(figsize=(6.8, 5))
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
lesson.figure(figure, "mistakes_and_checks", alt="A table of eleven planted mistakes and the checks that find them. "
              "One entry finds two always and two sometimes; every entry finds six; second order finds one more; "
              "property tests find all ten mistakes in gradients; only values against NumPy find the wrong function.")

# %%
# Read it by columns. A single entry finds what is grossly wrong everywhere, and other mistakes if it happens to look in
# the right place: the percentage is the share of such entries. It cannot find a factor near 1; and adding up the
# outputs starts backward from $g = 1$, so a rule that forgets $g$ passes. Comparing every entry finds what is wrong *at
# the example*. Only second order finds a rule that is right in its value and wrong as a function. Only a search finds
# what the example does not contain.
#
# And by rows: *function wrong, rule alike* passes every check of gradients, as it must, for the rule gives the right
# gradient of the wrong function. Only a comparison of values with another source can find it.

lesson.claim("One entry finds 'last entry dropped' in 1 of 50 places", found["last entry dropped", "one entry, 1e-2"],
             predicted=1 / 50, rtol=1e-9)
lesson.claim("Planted mistakes, of 11, that one entry finds (sum of the shares)", table[:, 0].sum(), below=4)
lesson.claim("Mistakes in gradients, of 10, that comparing every entry to second order misses, with these examples",
             10 - table[:, columns.index("second order")].sum(), near=3, within=0)
if hypothesis:
    lesson.claim("Mistakes in gradients, of 10, that property tests miss",
                 10 - table[:, columns.index("property test")].sum(), near=0, within=0)
lesson.claim("False alarms of all checks on the right ops", false_alarms, near=0, within=0)

# %%
# For an op of your own, ``docs/property_test_template.py`` is a test file to copy, with these laws and strategies.
#
# What to do, then:
#
# - float64, central differences, a step of $\sqrt[3]\varepsilon$, every entry, backward from random numbers;
# - a tolerance for each entry: $10^{-6}$ of its derivative, and its own estimated errors;
# - second order as well, if anybody may ask for it;
# - drawn shapes and values, not only examples; away from kinks by more than the step;
# - at kinks and ties, laws in place of differences;
# - values of the function against another source;
# - and for each check a planted mistake that it must find.
#
# Questions
# ---------
#
# 1. The quotient $(-f(x+2h) + 8f(x+h) - 8f(x-h) + f(x-2h)) / 12h$ has a truncation error of $h^4 f^{(5)}/30$. Where
#    is its best step, and how many digits are left in float32 and float64? Answer on paper, then add it to the
#    figure of part 1.
# 2. Plant one more mistake: a rule that is right only for $x > 0$. Which columns of the table find it, and what does
#    that depend on?
# 3. Flip the sign of the gradient of $f = 10^6 + 10^{-7}\sum\cos x$. Does the last tolerance of part 2 find it? Does
#    ``check_grads``? Why can no difference with a step below $10^{-3}$ find it, and what would you do?
# 4. Take a gradient from your own code, or somebody else's, and check it with ``check_grads(..., grad=)``. Then break
#    it in three ways, and read what the message says.

lesson.finish()

r"""The complex step: a derivative to all sixteen digits
====================================================

Central differences leave ten digits of a derivative at best, because they subtract two numbers that are nearly equal.
Evaluate the function at a complex number instead, and there is nothing to subtract: the step may be 1e-200, and all
sixteen digits are right. It takes one line of code. It also fails silently on functions that look harmless, so read on
before you use it.

Afterwards you can

- compute derivatives of NumPy code to the last digit, and say where the error of the complex step comes from;
- tell from the source of a function whether the complex step is right for it.

Read first: lesson 02 (checking gradients), parts 1 and 2.

Claims checked, and where they are made:

- the error is h²f‴/6 down to rounding, and then rounding alone, at any step (part 1);
- it agrees with backward on smooth programs, and is 0 on the absolute value (part 2);
- it finds mistakes in rules as differences do, and smaller ones (part 3).

Time: quick about 2 s, full about 2 s.
"""

# %%
# Everything here runs on one core of the CPU.

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl

import minigrad as mg
from lessons import COLOURS, Lesson
from minigrad.op import REGISTRY, op

lesson = Lesson(__file__)
BLUE, ORANGE, BLACK, GREEN, *_ = COLOURS.values()
threadpoolctl.threadpool_limits(1)

# %%
# 1. Nothing to subtract
# ----------------------
#
# For a function that has a Taylor series,
#
# $$f(x + ih) = f(x) + i h f'(x) - \frac{h^2}2 f''(x) - \frac{i h^3}6 f'''(x) + \dots, \qquad
# f'(x) = \frac{\operatorname{Im} f(x+ih)}h + \frac{h^2}6 f''' - \dots$$
#
# The imaginary part holds $h f'$ alone. Nothing is subtracted, so nothing cancels, and $h$ may be so small that $h^2$
# vanishes. We try it on $f = e^x/(\sin^3 x + \cos^3 x)$, whose derivative can still be written down:


def complex_step(f, x, h=1e-200):
    return f(x + 1j * h).imag / h


def f(x):
    s, c = np.sin(x), np.cos(x)
    return np.exp(x) / (s**3 + c**3)


def f_slope(x):
    s, c = np.sin(x), np.cos(x)
    return np.exp(x) * (s**3 + c**3 - 3 * s * c * (s - c)) / (s**3 + c**3) ** 2


x = lesson.rng(1).uniform(1.2, 1.6)
for h in (1e-2, 1e-4, 1e-8, 1e-100, 1e-300):
    print(f"h = {h:6.0e}: relative error {abs(complex_step(f, x, h) / f_slope(x) - 1):.1e}")

# %%
# At $10^{-2}$ and $10^{-4}$ there is a truncation error, of the size of the central quotient's and with the opposite
# sign. To predict it we need $f'''$. The second difference of the exact $f'$ supplies it and
# is good to four digits at least.


def f_third(x, h=1e-3):
    return (f_slope(x + h) - 2 * f_slope(x) + f_slope(x - h)) / h**2


steps = 10.0 ** -np.arange(0, 306, 2)
by_complex = np.array([complex_step(f, x, h) / f_slope(x) - 1 for h in steps])
near = steps >= 1e-18
by_difference = np.array([(f(x + h) - f(x - h)) / (2 * h) / f_slope(x) - 1 for h in steps[near]])
large = np.array([1e-3, 1e-4, 1e-5])
truncation = np.array([complex_step(f, x, h) / f_slope(x) - 1 for h in large])

# %% Tolerance tags=["hide-input"]
# *Tolerance.* The next term of the series is about $h^2 f^{(5)}/20f'''$ of this one; the derivatives of $f$ grow by a
# factor of ten or so with each order at most, so that this is below 1 % for $h \leq 10^{-3}$. At $h = 10^{-5}$, where
# truncation is $10^{-10}$, rounding is $10^{-15}$. *Small steps:* $f$ has about ten operations, and its denominator
# loses no digits between 1.2 and 1.6, so the error should stay below $10^{-14}$.

lesson.claim("The complex step is off by -h²f‴/6: h = 1e-3, 1e-4, 1e-5, relative to f'", truncation,
             predicted=-(large**2) / 6 * f_third(x) / f_slope(x), rtol=0.01)
lesson.claim("From h = 1e-10 to 1e-304: largest relative error of the complex step",
             abs(by_complex[steps < 1e-9]).max(), below=1e-14)

# %% Drawing tags=["hide-input"]

figure, ax = plt.subplots(figsize=(7, 3.8))
floor = 1e-17  # a logarithmic axis has no place for 0
ax.loglog(steps[near], abs(by_difference), "s-", color=BLUE, markersize=4, linewidth=1, label="central difference")
ax.loglog(steps, np.maximum(abs(by_complex), floor), "o", color=GREEN, markersize=3.5, label="complex step")
ax.axhline(np.finfo(float).eps, color=BLACK, linewidth=1)
ax.text(1e-303, 1e-15, r"$\varepsilon$", color=BLACK, va="bottom")
ax.set(xlabel="step $h$", ylabel="relative error of $f'$", ylim=(floor / 3, 1e3),
       xticks=[1, 1e-50, 1e-100, 1e-150, 1e-200, 1e-250, 1e-300],
       title=r"$f = e^x / (\sin^3 x + \cos^3 x)$: no subtraction, no limit to the step")
ax.minorticks_off()
ax.legend(loc="upper center")
lesson.figure(figure, "complex_step", alt="Relative error of a derivative against the step, from 1 down to 1e-304, "
              "both axes logarithmic. The central difference is best near 1e-6 and useless at 1e-16; the complex step "
              "falls to the machine epsilon at 1e-8 and stays there for all smaller steps.")

# %%
# (An error of zero is drawn at the lower edge.) From $h = 10^{-8}$ on the error is a few roundings, whatever the
# step.
#
# 2. The program, not the function
# --------------------------------
#
# The functions of ``minigrad`` take plain arrays, too, complex ones among them, so the forward functions can be used as
# they are to check the backward rules. But the series holds only where the *program* is a smooth function of
# a complex number. The absolute value is not: for $a + ib$ it is $\sqrt{a^2 + b^2}$. Comparisons, and with them
# branches and maxima, have no meaning for complex numbers. (NumPy compares real parts first, which is right here as
# long as they differ.) And some functions do not take complex numbers at all.
#
# ``mg.jacobian`` computes the whole Jacobian by backward. The candidates include two programs for one function,
# $\log(1 + e^x)$: ``mg.softplus``, and a common formula that cannot overflow.

z = lesson.rng(2).uniform(0.3, 1.5, 4) * np.array([1, -1, 1, -1])
smooth = {"tanh": mg.tanh, "sigmoid": mg.sigmoid, "softmax": mg.softmax, "logsumexp": mg.logsumexp, "norm": mg.norm,
          "x / norm": lambda x: x / mg.norm(x)}
with_kinks = {"relu": mg.relu, "max": mg.max, "maximum(x, 0.1)": lambda x: mg.maximum(x, 0.1), "abs": mg.abs}
others = {"softplus": mg.softplus, "erf": mg.erf,
          "max(x, 0) + log(1 + e^-|x|)": lambda x: mg.maximum(x, 0) + mg.log(1 + mg.exp(-mg.abs(x)))}


def jacobian_by_complex_step(f, x):
    """The columns Im f(x + ih eₖ) / h, as an array of shape (*f(x).shape, len(x))."""
    return np.stack([complex_step(lambda t, e=e: f(x + t * e), 0.0) for e in np.eye(len(x))], axis=-1)


off = {}
print(f"{'program':27} complex step against backward, largest difference")
for name, function in (smooth | with_kinks | others).items():
    try:
        off[name] = np.abs(jacobian_by_complex_step(function, z) - mg.jacobian(function, z).data).max()
        print(f"{name:27} {off[name]:.1e}{'   WRONG' if off[name] > 1e-12 else ''}")
    except TypeError as error:
        print(f"{name:27} TypeError: {error}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* A few roundings of numbers of size 1. The formula for softplus loses the derivative of $|x|$: it returns
# 1 in place of $1 - 1/(1 + e^{x})$ for positive $x$, and 0 for negative; both are wrong by the logistic function of
# $-|x|$.

lesson.claim("Complex step = backward for six smooth programs (largest difference)", max(off[name] for name in smooth),
             below=1e-14)
lesson.claim("The complex step says that the derivative of |x| is",
             np.abs(jacobian_by_complex_step(mg.abs, z)).max(), near=0, within=0)
lesson.claim("max(x, 0) + log(1 + e^-|x|): the complex step is wrong by 1/(1 + e^|x|)",
             off["max(x, 0) + log(1 + e^-|x|)"], predicted=(1 / (1 + np.exp(abs(z)))).max(), rtol=1e-12)

# %%
# ``relu`` and ``max`` are right, since the entries differ in their real parts. ``abs`` is wrong: the imaginary part
# is lost, and the derivative comes out as 0. The last line is the case to remember. As a function, $\log(1 + e^x)$ is
# perfectly smooth. But the formula contains an absolute value, whose two kinks cancel, and the complex step sees the
# program. It fails silently, and here the backward rule is right and the check wrong. (``mg.softplus`` is computed
# without an absolute value.)
#
# 3. Small mistakes
# -----------------
#
# Started from a random gradient $u$, the complex step checks a rule entry by entry, as differences do. It finds the
# same mistakes: those that are there *at the example*. Where it applies, it sees smaller ones. Take the rule of $x^2$,
# with a factor that is off by less and less.


def worst(f, x, u):
    """The largest error of backward, relative to the complex step."""
    backward = mg.vjp(f, x)[1](u).data
    exact = np.array([complex_step(lambda t, e=e: (u * f(x + t * e)).sum(), 0.0) for e in np.eye(len(x))])
    return abs(backward / exact - 1).max()


def square_with(factor):
    function = op("planted", "x², with a wrong rule.", lambda xp, x: x * x, lambda g, _y, x: g * factor * x)
    del REGISTRY["planted"]
    return function


def alarm(f, x):
    try:
        mg.testing.check_grads(f, [x], order=1)
        return "–"
    except AssertionError:
        return "alarm"


u, offs = lesson.rng(3).choice([-1.0, 1.0], 4), np.array([1e-2, 1e-5, 1e-8, 1e-11])
squares = [square_with(2 * (1 + wrong)) for wrong in offs]
errors = [worst(square, z, u) for square in squares]
for wrong, error, square in zip(offs, errors, squares, strict=True):
    print(f"factor wrong by {wrong:.0e}: complex step {error:.3e}, check_grads {alarm(square, z)}")
lesson.claim("A rule wrong by 1e-2 to 1e-11: the relative error that the complex step finds", errors, predicted=offs,
             rtol=1e-3)

# %%
# ``check_grads`` stops at its tolerance of $10^{-6}$. Does that matter? Mistakes in rules are factors and signs, hardly
# ever the ninth digit. The complex step is for functions that you want to differentiate, not only to check.
#
# Questions
# ---------
#
# 1. Write ``softplus`` so that the complex step is right for it. Does it still not overflow at $x = 1000$?
# 2. How large may $h$ be if the truncation error of $\tanh$ at 1 is to stay below $\varepsilon$? Check it.

lesson.finish()

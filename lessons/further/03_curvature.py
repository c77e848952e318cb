r"""Curvature: the length of v as a knob on the condition number
=============================================================

The paper's introduction says that curvature "is not invariant to reparameterization", and section 2 that this
reparameterization "improves the conditioning of the optimization problem". Open this chapter when you think in Hessians
and want to know by how much, or when you have to choose ‖v‖ at the start: there is a best one, and it is
not the one that training finds.

Afterwards you can

- write down the Hessian in (v, g) at a minimum, and its condition number, for any direction of the valley;
- choose ‖v‖ so that the condition number is least, and say when nothing can be gained;
- explain why a choice that is right close to the minimum is of little use far from it.

Read first: lesson 03 (weight normalization). You need eigenvalues of symmetric matrices.

Claims checked:

- the curvature depends on the parameterization (section 1);
- the conditioning improves (section 2): only if ‖v‖ differs from g, and only as far as the valley's direction allows.

Time: quick about 5 s, full about 5 s.
"""

# %%
# The Hessian in (v, g)
# ---------------------
#
# Lesson 03 had two weights, $w = g\,v/\|v\|$ with a direction $v$ and a length $g$, and the quadratic loss
#
# $$L(w) = \tfrac12 (w - w^*)^{\mathsf T} H\,(w - w^*)$$
#
# with eigenvalues 1 and 0.1. How fast gradient descent can be depends on their ratio, the *condition number*
# $\kappa = h_{\max}/h_{\min}$: the best constant learning rate, $\eta = 2/(h_{\max} + h_{\min})$, multiplies the error
# by $(\kappa - 1)/(\kappa + 1)$ in each step.
#
# With $u = v/\|v\|$, a small change of the parameters changes the weights by $dw = u\,dg + (g/\|v\|)\,M_w\,dv$, where
# $M_w$ removes the part along $w$. Call the direction across $w$ $u_\perp$. At the minimum the gradient is zero, so the
# Hessian in the new coordinates is $H$ between two Jacobians, with no further term. Its entries are
#
# $$H_{uu} \text{ for } g, \qquad \frac{g^2}{\|v\|^2}\,H_{\perp\perp} \text{ for } v \text{ across } u, \qquad
#   \frac{g}{\|v\|}\,H_{u\perp} \text{ between them}, \qquad 0 \text{ for } v \text{ along } u,$$
#
# with $H_{uu} = u^{\mathsf T} H u$ and so on. The last one belongs to the length of $v$, on which the loss does not
# depend and along which gradient descent does not step. What is left is a 2 × 2 matrix with one knob in it: $g/\|v\|$.

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
from lessons import COLOURS, Lesson

lesson = Lesson(__file__)
WEIGHT_NORM, THEORY = COLOURS["weight norm"], "0.3"
LENGTH = 2.0  # the length of w*


def unit_vector(degrees):
    """(cos, sin) of an angle in degrees."""
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])


def valley(degrees):
    """A symmetric matrix with eigenvalue 0.1 in the direction given, and 1 at a right angle to it."""
    a, b = unit_vector(degrees), unit_vector(degrees + 90)
    return 0.1 * np.outer(a, a) + np.outer(b, b)


w_star = LENGTH * unit_vector(30)


def by_autograd(H, length):
    """The eigenvalues of the Hessian of the loss in (v, g) at the minimum, for one ‖v‖, in ascending order."""

    def loss(p):
        d = p[2] * p[:2] / mg.norm(p[:2]) - w_star
        return (d * (H @ d)).sum() / 2

    return np.linalg.eigvalsh(mg.hessian(loss, np.append(length * unit_vector(30), LENGTH)).numpy())


def by_formula(H, length):
    """The same from the entries above."""
    u, across = unit_vector(30), unit_vector(120)
    ratio = LENGTH / length
    entries = [[u @ H @ u, ratio * u @ H @ across], [ratio * u @ H @ across, ratio**2 * across @ H @ across]]
    return np.append(0.0, np.linalg.eigvalsh(entries))


# %%
# First the valley of lesson 03, which runs along $w^*$. There $H_{u\perp} = 0$, and the eigenvalues are the entries.

steep_across = valley(30)
print("   ‖v‖    eigenvalues in (v, g)          condition number")
for length in (1.0, 2.0, 2 * np.sqrt(10), 20.0):
    h = by_autograd(steep_across, length)
    print(f"{length:6.2f}   {abs(h[0]):.0f}, {h[1]:.4f}, {h[2]:.4f}   {h[2] / h[1]:20.1f}")

# %%
# So $\|v\|$ is a knob on the condition number. At $\|v\| = g$ nothing is gained. Here a longer $v$ *improves* the
# condition number, down to a perfect 1 at $\|v\| = g\sqrt{10}$; with the steep side along $w^*$ a longer $v$ makes it
# worse. Now we try ten directions of the valley and five $\|v\|$.

angles, lengths = np.arange(0, 100, 10), (0.5, 1.0, 2.0, 6.0, 20.0)
computed, formula = ([[f(valley(30 + angle), length) for length in lengths] for angle in angles]
                     for f in (by_autograd, by_formula))

# %% Tolerance tags=["hide-input"]
# *Tolerance.* Eigenvalues of a 3 × 3 matrix with entries up to $g^2/\|v\|^2 = 16$: each is exact to a few
# $16 \cdot 10^{-16}$. We allow $10^{-12}$.

lesson.claim("Hessian in (v, g) at the minimum: eigenvalues, ten directions of the valley, five ‖v‖",
             computed, predicted=formula, rtol=0.0, atol=1e-12)
lesson.claim("At ‖v‖ = g the eigenvalues are 0.1 and 1, those of H, whatever the direction of the valley",
             np.array(computed)[:, 2, 1:], predicted=[0.1, 1.0], rtol=1e-12)

# %%
# The best length of v
# --------------------
#
# Which $g/\|v\|$ minimizes the condition number of this matrix? Turning the knob multiplies the entry for $v$ by
# $g^2/\|v\|^2$ and the two others by $g/\|v\|$ each. Divide the matrix by $g/\|v\|$, which changes no condition number:
# the entries off the diagonal are then fixed, and so is the product of those on it, $H_{uu}\,H_{\perp\perp}$. Hence the
# determinant, the product of the eigenvalues, is fixed. Their ratio is least when their sum is least. That sum is the
# sum of the diagonal, which is least when its two entries are equal:
#
# $$\frac{\|v\|^2}{g^2} = \frac{H_{\perp\perp}}{H_{uu}}, \qquad
#   \kappa_{\text{best}} = \frac{\sqrt{H_{uu}\,H_{\perp\perp}} + |H_{u\perp}|}
#                               {\sqrt{H_{uu}\,H_{\perp\perp}} - |H_{u\perp}|}.$$
#
# If the valley runs along or across $w^*$, $H_{u\perp} = 0$ and the knob removes ill-conditioning altogether. At 45°
# the two curvatures are already equal, and the knob can do nothing: length and direction are the wrong pair of
# coordinates. We let the computer search for the best length among 2000.


def search(H):
    """The ‖v‖/g with the least condition number, and that number, on a fine grid."""
    ratios = np.geomspace(0.1, 10, 2001)
    h = np.array([by_formula(H, LENGTH * ratio)[1:] for ratio in ratios])
    condition = h[:, 1] / h[:, 0]
    return ratios[np.argmin(condition)], condition.min()


fine = np.arange(0, 91, 7.5)
u, across = unit_vector(30), unit_vector(120)
found = np.array([search(valley(30 + angle)) for angle in fine])
entries = np.array([[u @ H @ u, across @ H @ across, u @ H @ across] for H in map(valley, 30 + fine)])
diagonal, coupling = np.sqrt(entries[:, 0] * entries[:, 1]), np.abs(entries[:, 2])
best_ratio, best_condition = np.sqrt(entries[:, 1] / entries[:, 0]), (diagonal + coupling) / (diagonal - coupling)
print("angle between valley and w*   best ‖v‖/g   condition number there   (10 at ‖v‖ = g)")
for angle, (ratio, condition) in list(zip(fine, found, strict=True))[::2]:
    print(f"{angle:17.0f}° {ratio:21.2f} {condition:18.2f}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* The grid has 1000 lengths per decade, a step of 0.23 %; half of it is 0.12 %. The condition number is
# quadratic around its least value, except at $H_{u\perp} = 0$, where an error of $\|v\|/g$ counts twice: 0.24 %. We
# allow 0.3 %.

lesson.claim("The best ‖v‖/g is √(H_⊥⊥/H_uu)", found[:, 0], predicted=best_ratio, rtol=0.003)
lesson.claim("The least condition number is (√(H_uu H_⊥⊥) + |H_u⊥|)/(√(H_uu H_⊥⊥) - |H_u⊥|)", found[:, 1],
             predicted=best_condition, rtol=0.003)

# %% Drawing tags=["hide-input"]

figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 4.0))
ratios = np.geomspace(0.1, 10, 200)
for angle, shade in zip((0, 20, 45, 90), plt.colormaps["viridis"](np.linspace(0, 0.85, 4)), strict=True):
    h = np.array([by_formula(valley(30 + angle), LENGTH * ratio)[1:] for ratio in ratios])
    left.loglog(ratios, h[:, 1] / h[:, 0], "-", color=shade, label=f"{angle}°")
left.axvline(1, color=THEORY, lw=1, ls=":")
left.set(xlabel="‖v‖/g", ylabel="condition number in (v, g)", title="One knob", ylim=(0.8, 1500))
left.set_xticks([0.1, 1, 10], ["0.1", "1", "10"])
left.set_yticks([1, 10, 100, 1000], ["1", "10", "100", "1000"])
left.minorticks_off()
left.legend(title="angle of the valley to w*", loc="upper center", ncol=2, frameon=True)
smooth = np.linspace(0, 90, 200)
parts = np.array([[u @ H @ u, across @ H @ across, u @ H @ across] for H in map(valley, 30 + smooth)])
mean, off = np.sqrt(parts[:, 0] * parts[:, 1]), np.abs(parts[:, 2])
right.plot(smooth, (mean + off) / (mean - off), "-", color=THEORY, label="formula")
right.plot(fine, found[:, 1], "o", color=WEIGHT_NORM, label="least, by search")
right.axhline(10, color=THEORY, lw=1, ls=":")
right.annotate("‖v‖ = g", (1, 10), (0, 4), textcoords="offset points", color=THEORY)
right.set(xlabel="angle of the valley to w* (degrees)", ylabel="least condition number", ylim=(0, 11.5))
right.set_title("At the best ‖v‖")
right.set_xticks([0, 15, 30, 45, 60, 75, 90])
right.legend(loc="lower center")
lesson.figure(figure, "condition", alt="Left: the condition number against ‖v‖/g on log-log axes for four directions "
              "of the valley; all curves meet at 10 where ‖v‖ = g; that for 0 degrees falls to 1 at 3.2, that for 90 "
              "degrees at 0.32, that for 45 degrees is least at 1. Right: the least condition number rises from 1 at 0 "
              "degrees to 10 at 45 and falls to 1 again at 90; dots found by search lie on the formula.")

# %%
# Near the minimum, and far from it
# ---------------------------------
#
# Is this of any use? Close to $w^*$, yes: $\|v\|$ hardly changes there, and gradient descent with
# $\eta = 2/(h_{\max} + h_{\min})$ should multiply the error by $(\kappa - 1)/(\kappa + 1)$ in each step. We start a
# millionth off, in length and direction, and measure the factor of the distance over 8 steps.


def descend(H, v, g, eta, steps):
    """The distance from w* after each step of gradient descent on v and g."""
    distances = []
    for _ in range(steps + 1):
        norm = np.sqrt(v @ v)
        w = g * v / norm
        distances.append(np.linalg.norm(w - w_star))
        grad_w = H @ (w - w_star)
        grad_g = grad_w @ v / norm
        v, g = v - eta * g / norm * (grad_w - grad_g * v / norm), g - eta * grad_g
    return np.array(distances)


speeds, predicted_speeds = [], []
print("‖v‖/g   condition number   factor per step")
for ratio in (0.5, 1.0, 1.5, 2.0, 2.5):
    h = by_formula(steep_across, LENGTH * ratio)[1:]
    near = unit_vector(30 + np.degrees(1e-6))
    distances = descend(steep_across, LENGTH * ratio * near, LENGTH * (1 + 1e-6), 2 / h.sum(), 8)
    speeds.append((distances[8] / distances[0]) ** (1 / 8))
    kappa = h[1] / h[0]
    predicted_speeds.append((kappa - 1) / (kappa + 1))
    print(f"{ratio:5.1f} {kappa:15.2f} {speeds[-1]:19.4f}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* What is neglected is a millionth of the error, in each of 8 steps. At $\kappa = 1.6$ the error falls by
# $0.23^8 = 10^{-5}$, to $10^{-11}$, where rounding ($10^{-16}$) is $10^{-5}$ of it, and the eighth root divides that by
# 8. We allow $10^{-4}$.

lesson.claim("Close to w*, best η: the error is multiplied by (κ - 1)/(κ + 1) per step, five ‖v‖/g", speeds,
             predicted=predicted_speeds, rtol=1e-4)

# %%
# From far away it is another matter. We take 24 starts, in random directions within 90° of $w^*$ and already with the
# right length; five $\|v\|$; and for each the best of 15 rates. We count the steps until the distance is a thousandth
# of the first.

starts = [unit_vector(30 + angle) for angle in lesson.rng(1).uniform(-90, 90, 24)]
rates, most = np.geomspace(0.3, 30, 15), 120


def steps_needed(ratio, eta):
    """For each start the steps until the distance stays below a thousandth of the first, `most` at most."""
    with np.errstate(all="ignore"):  # some of these runs are meant to diverge
        runs = np.array([descend(steep_across, LENGTH * ratio * start, LENGTH, eta, most) for start in starts])
    high = ~(runs < 1e-3 * runs[:, :1])
    return most - np.argmax(high[:, ::-1], axis=1) + 1


from_afar = {}
for ratio in (0.32, 1.0, 1.8, np.sqrt(10), 5.6):
    counts = np.array([steps_needed(ratio, eta) for eta in rates])
    best = np.argmin(counts.mean(axis=1))
    from_afar[ratio] = counts[best].mean()
    print(f"‖v‖/g = {ratio:4.2f}: {from_afar[ratio]:5.1f} ± {counts[best].std():4.1f} steps at η = {rates[best]:.1f}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* The counts scatter by 40 of 50 steps at most, the mean of 24 by 8 steps, or 16 %, and a ratio of two
# means by 20 %. "Worse" means a ratio above 1 in spite of that.

others = min(steps for ratio, steps in from_afar.items() if ratio < 3)
lesson.claim("From afar the best ‖v‖ of the Hessian is worse than a shorter one: mean steps / fewest of the others",
             from_afar[np.sqrt(10)] / others, above=1)

# %%
# The Hessian's best length, where a single step would do close to $w^*$, is worse from afar than $\|v\| = g$. The
# reason is that a step at a right angle lengthens $v$, and nothing makes it shorter again. The direction has up to 90°
# to go, not a millionth; on the way $v$ grows, and a $v$ that had the best length for the minimum at the start is too
# long when it gets there. A very short $v$ is no remedy: its first step lengthens it, by chance too little or too much,
# which is why the counts scatter so much.
#
# So "improves the conditioning" holds in one direction of the valley, at one length of $v$, close to the minimum. In
# general the reparameterization *changes* the condition number, and leaves it alone where training begins, at
# $\|v\| = g$. ``further/04_spectra.py`` asks the same question of whole networks.
#
# Questions
# ---------
#
# 1. *One rate for all.* Repeat the count from afar with $\eta = 1$ for all $\|v\|/g$ from 0.1 to 10 and 3000 steps.
#    How does the number of steps grow with a large $\|v\|/g$, and why not in the same way with a small one?
# 2. *Three weights.* In three dimensions $v$ has two directions across $w$. For which $H$ can $\|v\|$ bring the
#    condition number to 1, and what is the best it can do otherwise, if $w^*$ is an eigenvector?

lesson.finish()

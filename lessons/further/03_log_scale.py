r"""The log-scale: g = eˢ
=====================

Nothing keeps the length g positive. With $g = e^s$ it cannot change its sign, and multiplying it by two is the same
step wherever it starts, which sounds like what a scale should do. Section 2 offers this variant, and reports that it
was no advantage: the final results were alike, and "optimization was slightly slower". Open this chapter when you
consider it all the same, or when you ask why a parameterization that only renames a number should be slower.

Afterwards you can

- say at which learning rate the length learns with $s$ instead of $g$, and when that is too much;
- tell how much of "slightly slower" is a law and how much a choice of units;
- name the one advantage that the log-scale does have.

Read first: lesson 03 (weight normalization).

Claims checked:

- ∇_s L = g ∇_g L (below equation 2), so the length learns at the rate η g²;
- $g = e^s$ is no advantage, and slightly slower (section 2): slower for g < 1, faster for g > 1.

Time: quick about 10 s, full about 2 min.
"""

# %%
# The rate of the length
# ----------------------
#
# Weight normalization is $w = g\,v/\|v\|$, with a direction $v$ and a length $g$. With $g = e^s$ the chain rule gives
# $\nabla_s L = g\,\nabla_g L$ for any loss $L$. A step $\Delta s = -\eta\,\nabla_s L$ at the learning rate $\eta$
# changes the length, to first order, by
#
# $$\Delta g = g\,\Delta s = -\eta\,g^2\,\nabla_g L\,.$$
#
# So with $s$ the length learns at the rate $\eta\,g^2$ in place of $\eta$. We check both with one tanh neuron and half
# its mean squared error, at lengths from 0.1 to 10.

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl

import minigrad as mg
from lessons import COLOURS, Lesson

lesson = Lesson(__file__)
threadpoolctl.threadpool_limits(1)  # a single thread multiplies matrices this small fastest
LINEAR, LOG_SCALE = COLOURS["weight norm"], COLOURS["weight norm, log-scale"]

rng, TINY = lesson.rng(1), 1e-6
x, y, v = rng.normal(size=(64, 20)), rng.normal(size=64), rng.normal(size=20)


def loss_of(g):
    """Half the mean squared error of a tanh neuron with direction v and length g."""
    return mg.square(mg.tanh(x @ (g * v / mg.norm(v))) - y).mean() / 2


lengths, gradients, moved = np.array([0.1, 0.3, 1.0, 3.0, 10.0]), [], []
print("    g        ∇_g L        ∇_s L     Δg/(-η ∇_g L) with s")
for length in lengths:
    g, s = (mg.tensor(value, dtype=np.float64, requires_grad=True) for value in (length, np.log(length)))
    by_g = mg.grad(loss_of(g), g).item()
    by_s = mg.grad(loss_of(mg.exp(s)), s).item()
    gradients.append((by_g, by_s))
    moved.append((np.exp(np.log(length) - TINY * by_s) - length) / (-TINY * by_g))
    print(f"{length:5} {by_g:+12.6f} {by_s:+12.6f} {moved[-1]:18.4f}")

# %% Tolerance tags=["hide-input"]
# *Tolerances.* The chain rule: rounding, some $10^{-16}$, of sums over 64 examples; at a length where $\nabla_g L$
# happens to cancel, more; we allow $10^{-10}$. The rate: the next order is $\eta g \nabla_g L/2$ of the first, below
# $10^{-5}$ for $\eta = 10^{-6}$; and $\Delta g$ is a difference of two numbers of size $g$, with an error of
# $2 \cdot 10^{-16} g$, against $\eta g^2 \nabla_g L$, where $g\,\nabla_g L$ is above $10^{-4}$: $2 \cdot 10^{-6}$. We
# allow $10^{-4}$.

by_g, by_s = np.array(gradients).T
lesson.claim("∇_s L = g ∇_g L, g from 0.1 to 10", by_s, predicted=lengths * by_g, rtol=1e-10)
lesson.claim("With s the length learns at the rate η g²: Δg/(-η ∇_g L), g from 0.1 to 10", moved,
             predicted=lengths**2, rtol=1e-4)

# %%
# So a neuron that has grown long, $g > 1$, turns $\eta$ into a larger rate for its length, and a short one into a
# smaller one. Lesson 03 found the limit $\eta < 2/h$ for the length, where $h$ is the second derivative of the loss
# with respect to $g$. With $s$ it becomes $\eta < 2/(h g^2)$.
#
# The range of learning rates
# ---------------------------
#
# Does that narrow the range of usable rates? We train with minibatches, as in ``further/03_learning_rates.py``: *one
# neuron* is logistic regression with noisy labels (its loss in *nats*), *small network* has 32 ReLU units and learns
# noisy targets of a random tanh network by squared error. Each is drawn many times and trained at each rate of a grid.

problems, steps, per_decade = (24, 1000, 8) if lesson.full else (12, 300, 4)
etas = 10 ** (np.arange(-2 * per_decade, 2 * per_decade + 1) / per_decade)
TASKS, KINDS = ("one neuron", "small network"), ("g", "e^s")


def draw_problem(task, rng):
    """2048 examples with 20 inputs, their targets, and the first weights of every layer."""
    x = rng.normal(size=(2048, 20))
    if task == "one neuron":
        t = 3 * x @ rng.normal(size=(20, 1)) / np.sqrt(20)
        y, sizes = rng.uniform(size=t.shape) < 1 / (1 + np.exp(-t)), [20, 1]
    else:
        t = np.tanh(2 * x @ rng.normal(size=(20, 8)) / np.sqrt(20)) @ rng.normal(size=(8, 1))
        y, sizes = (t - t.mean()) / t.std() + 0.5 * rng.normal(size=t.shape), [20, 32, 1]
    return x, y, [rng.normal(size=(b, a)) / np.sqrt(a) for a, b in pairwise(sizes)]


def weights(kind, v, scale):
    """w of shape (…, outputs, inputs) from v and its scale, g or s: equation 2 along the last axis."""
    return (mg.exp(scale) if kind == "e^s" else scale) * v / mg.norm(v, axis=-1, keepdims=True)


# %% tags=["hide-input"]
# The loop is that of ``further/03_learning_rates.py``: the first two axes of every array count the problem and the
# rate, and the gradient of the sum of all losses gives each run its own.


def final_losses(task, kind):
    """The loss on all examples after training, of shape (problems, rates); inf where it has diverged."""
    drawn = [draw_problem(task, lesson.rng(4, i)) for i in range(problems)]
    x, y = (np.stack([d[i] for d in drawn])[:, None].astype(np.float32) for i in (0, 1))
    rate, layers = etas.astype(np.float32)[:, None, None], []
    for first in zip(*[d[2] for d in drawn], strict=True):
        v = np.repeat(np.stack(first)[:, None].astype(np.float32), len(etas), axis=1)
        length = np.linalg.norm(v, axis=-1, keepdims=True)
        arrays = [v, np.log(length) if kind == "e^s" else length, np.zeros_like(v[..., None, :, 0])]
        layers.append([mg.tensor(a, requires_grad=True) for a in arrays])

    def losses(x, y):
        for i, (v, scale, b) in enumerate(layers):
            x = (mg.relu(x) if i else x) @ weights(kind, v, scale).swapaxes(-1, -2) + b
        each = mg.softplus(x) - y * x if task == "one neuron" else mg.square(x - y) / 2
        return each.mean(axis=(-2, -1))

    trained, order = [p for layer in layers for p in layer], lesson.rng(5)
    with np.errstate(over="ignore", invalid="ignore"):  # some of these runs are meant to diverge
        for _ in lesson.progress(range(steps), f"{task}, {kind}"):
            batch = order.integers(0, x.shape[2], 32)
            total = losses(x[:, :, batch], y[:, :, batch]).sum()
            for p, gradient in zip(trained, mg.grad(total, trained), strict=True):
                p.data = p.data - rate * gradient.data
        with mg.no_grad():
            final = losses(mg.tensor(x), y).numpy()
    return np.where(np.isfinite(final), final, np.inf)


final = {(task, kind): final_losses(task, kind) for task in TASKS for kind in KINDS}

# %%
# A rate is usable if the final loss is at most 1.25 times the best that $g$ reached with any of them.


def usable_decades(task, kind):
    """The width of the usable range of learning rates, in decades, for each problem."""
    best = final[task, "g"].min(axis=1, keepdims=True)
    return np.sum(final[task, kind] <= 1.25 * best, axis=1) / per_decade


best, change = {}, {}
print(f"mean ± standard deviation over {problems} problems, {steps} steps, each at its best rate")
for task in TASKS:
    change[task] = usable_decades(task, "e^s") - usable_decades(task, "g")
    best[task] = final[task, "e^s"].min(axis=1) / final[task, "g"].min(axis=1)
    print(f"{task:14}: usable range {usable_decades(task, 'g').mean():.2f} decades with g, "
          f"{usable_decades(task, 'e^s').mean():.2f} with e^s (change {change[task].mean():+.2f} ± "
          f"{change[task].std():.2f}); best loss with e^s / with g {best[task].mean():.3f} ± {best[task].std():.3f}")

# %% Tolerance tags=["hide-input"]
# *Tolerances.* The neuron's true weights have a length near 3, so $g^2$ grows to 5 or 10 and the range should lose
# about that factor at its upper end, 0.7 decades, less what the direction's own limit allows: more than one rate of
# the grid, 0.25. "No advantage" leaves 5 % for the minibatches of the last steps.

lesson.claim("One neuron: the log-scale narrows the usable range of η, mean change in decades",
             change["one neuron"].mean(), below=-0.25)
for task in ("one neuron", "small network"):
    lesson.claim(f"{task.capitalize()}: best final loss with g = e^s / with g, mean: no advantage beyond 5 %",
                 best[task].mean(), above=0.95)

# %%
# So the paper's finding holds here: no advantage at the best learning rate, and for the neuron, whose length ends well
# above 1, a part of the range is lost. (In the small network most lengths stay near 1, and there is little to see.)
#
# Slower, in which units?
# -----------------------
#
# "Slightly slower" should not be a law: the rate $\eta\,g^2$ is larger or smaller than $\eta$ according to whether $g$
# is above or below 1. And $g$ depends on the units of the inputs. Multiply every input by a factor $a$ and divide $g$
# by $a$: that is the same function and the same direction, in other units. With $s$ this shifts $s$ by a constant,
# which changes no gradient: training must be *identical*. With $g$, the second derivative for $g$ changes by $a^2$. We
# train one neuron, with all 2048 examples in each step, and $a$ = 1/2, 1 and 4.

SCALES, STEPS, ETA = (0.5, 1.0, 4.0), 800, 0.3
drawn = [draw_problem("one neuron", lesson.rng(4, i)) for i in range(problems)]
xs, ys = np.stack([d[0] for d in drawn]), np.stack([d[1] for d in drawn])
starts = np.stack([d[2][0] for d in drawn])


def loss_curves(a, kind):
    """The loss before each step, of shape (steps, problems), with inputs times a and g divided by a."""
    length = np.linalg.norm(starts, axis=-1, keepdims=True) / a
    v = mg.tensor(starts, requires_grad=True)
    scale = mg.tensor(np.log(length) if kind == "e^s" else length, requires_grad=True)
    curves = []
    for _ in range(STEPS):
        t = (a * xs) @ weights(kind, v, scale).swapaxes(-1, -2)
        losses = (mg.softplus(t) - ys * t).mean(axis=(1, 2))
        curves.append(losses.numpy())
        for p, gradient in zip((v, scale), mg.grad(losses.sum(), [v, scale]), strict=True):
            p.data = p.data - ETA * gradient.data
    return np.array(curves)


curves = {(a, kind): loss_curves(a, kind) for a in SCALES for kind in KINDS}
lowest = np.min([c.min(axis=0) for c in curves.values()], axis=0)


def steps_needed(curve, share=0.01):
    """For each problem, the steps until this share of the way from the first loss to the lowest of all runs is left."""
    reached = curve <= lowest + share * (curve[0] - lowest)
    return np.where(reached.any(axis=0), reached.argmax(axis=0), len(curve))  # or all of them, if they do not suffice


ratio = {a: steps_needed(curves[a, "e^s"]) / steps_needed(curves[a, "g"]) for a in SCALES}
for a in SCALES:
    first = np.mean(np.linalg.norm(starts, axis=-1)) / a
    with_s, with_g = (np.median(steps_needed(curves[a, kind])) for kind in ("e^s", "g"))
    print(f"inputs times {a:3}: g starts near {first:.2f}; steps with e^s {with_s:.0f}, with g {with_g:.0f} (medians); "
          f"ratio {ratio[a].mean():.2f} ± {ratio[a].std():.2f}")

# %%
# How much slower is $g$ with small inputs? Towards the end only the length is still moving. Its error shrinks by
# $1 - \eta h$ a step, and $h$ is proportional to $a^2$: half the inputs, four times the steps. We count those from 3 %
# of the way left to 1 %.


def last_stretch(a):
    """The steps in which what is left of the way falls from 3 % to 1 %, for each problem, with g."""
    return steps_needed(curves[a, "g"], 0.01) - steps_needed(curves[a, "g"], 0.03)


slower = last_stretch(0.5) / last_stretch(1.0)
print(f"with g, steps at a = 1/2 / steps at a = 1: {slower.mean():.2f} ± {slower.std():.2f}")

# %% Tolerance tags=["hide-input"]
# *Tolerances.* Shifting $s$ changes roundings only, some $10^{-16}$ in each of 800 steps of a training that converges:
# $10^{-12}$ at most, and we allow $10^{-10}$. The factor of 4: a stretch of 20 steps or more is counted to one step, 5
# %, and what is left of the direction's error may shorten it by as much; we allow 10 % for the mean. The last two
# claims ask for the side of 1 that theory predicts, and leave the standard deviation of a single problem as a margin.

lesson.claim("With g = e^s the units of the inputs do not matter: losses of all steps, a = 1/2 and 4, over those of 1",
             [curves[a, "e^s"] / curves[1.0, "e^s"] for a in (0.5, 4.0)], predicted=1, rtol=1e-10)
lesson.claim("With g, inputs half as large take four times the steps: ratio, mean over the problems", slower.mean(),
             predicted=4, rtol=0.1)
lesson.claim("Small inputs (times 1/2, g above 1): the log-scale is faster, steps with e^s / steps with g, mean",
             ratio[0.5].mean(), below=0.5)
lesson.claim("Large inputs (times 4, g below 1): the log-scale is slower, steps with e^s / steps with g, mean",
             ratio[4.0].mean(), above=1.3)

# %% Drawing tags=["hide-input"]

figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 4.1))
reference = final["one neuron", "g"].min(axis=1, keepdims=True)
for row, (kind, colour, marker, label) in enumerate((("g", LINEAR, "o", "g"), ("e^s", LOG_SCALE, "D", "g = eˢ"))):
    low, middle, high = np.quantile(final["one neuron", kind] / reference, [0.25, 0.5, 0.75], axis=0, method="nearest")
    shown = middle < 2
    left.plot(etas[shown], middle[shown], "-", marker=marker, color=colour, ms=4.5, label=label)
    left.fill_between(etas, low, np.minimum(high, 3), where=shown, color=colour, alpha=0.2, lw=0)
    left.plot(etas[~shown], np.full(np.sum(~shown), 0.97 - 0.045 * row), "x", color=colour, ms=5,
              transform=left.get_xaxis_transform())
left.axhline(1.25, color="0.3", lw=1, ls="--")
left.annotate("usable below", (0.2, 1.265), color="0.3", fontsize=8.5)
left.set(xscale="log", xlabel="learning rate η", ylabel="final loss / best with g", ylim=(0.85, 2.2))
left.set_title("One neuron, minibatches of 32")
left.set_xticks([0.01, 0.1, 1, 10, 100], ["0.01", "0.1", "1", "10", "100"])
left.minorticks_off()
left.legend(title="×: above 2, or diverged", loc="upper center", bbox_to_anchor=(0.42, 0.92))
for a, line in zip(SCALES, (":", "-", "--"), strict=True):
    name = "1/2" if a == 0.5 else f"{a:g}"
    right.plot(np.median(curves[a, "g"] - lowest, axis=1)[:400], line, color=LINEAR, label=f"g, inputs × {name}")
right.plot(np.median(curves[1.0, "e^s"] - lowest, axis=1)[:400], "-", color=LOG_SCALE, lw=2.4,
           label="g = eˢ, inputs × any")
right.set(yscale="log", xlabel="step", ylabel="loss above the lowest seen (nats)", ylim=(1e-7, 3))
right.set_title("Units of the inputs, η = 0.3")
right.legend(fontsize=8.5, loc="upper right")
lesson.figure(figure, "log_scale", note=f"synthetic problems: median (left: and middle half) of {problems}",
              alt="Left: final loss against learning rate for one neuron. With g it stays usable up to about 20, with "
              "g = eˢ only up to about 6. Right: loss above the lowest against the step. With g the three units of the "
              "inputs give three curves, the slowest for small inputs; with g = eˢ they give a single one.")

# %%
# So $g = e^s$ is no advantage at the best learning rate, and it loses part of the range of learning rates, because a
# neuron that has grown long turns $\eta$ into $\eta\,g^2$. But "slower" is a matter of units: slower for $g < 1$,
# faster for $g > 1$. What the log-scale does offer is independence of those units. The paper fixes the units in another
# way, by setting $g$ from data (equation 6, lesson 07).
#
# Questions
# ---------
#
# 1. *In the plane.* Take ``path`` from lesson 03 and let $g = e^s$ learn. Close to $w^*$, by which factor does a step
#    multiply the error of the length, and what is the largest $\eta$ in the first valley, at $g = 2$?
# 2. *A rate that cancels.* Which learning rate for $s$ gives, to first order, the same step as $g$ takes? What does it
#    do where $g$ is close to 0?

lesson.finish()

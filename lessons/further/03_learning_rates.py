r"""How wide is the range of learning rates?
========================================

"Neural networks with weight normalization therefore work well with a much wider range of learning rates than when using
the normal parameterization" (section 2.1). If that is so, it saves you a search. Open this chapter when you want to
know how much wider the range is, with minibatches and noisy targets instead of a plane and a quadratic loss, and which
of your parameters will diverge first.

Afterwards you can

- measure ranges of learning rates so that they can be compared, each method at each rate of a grid;
- say which part of a network is protected by the growth of ‖v‖, and which is not;
- name a bound on η that no normalization of weights can lift.

Read first: lesson 03 (weight normalization).

Claims checked:

- the growth of ‖v‖ makes training robust to the learning rate (section 2.1): true of the direction, not of g and b.

Time: quick about 5 s, full about 2 min.
"""

# %%
# Two problems, three ways
# ------------------------
#
# Each problem is drawn many times:
#
# - *one neuron*: logistic regression, 20 inputs, noisy labels from a random true weight vector; the loss is minus the
#   natural logarithm of the probability that the neuron gives to the label (in *nats*);
# - *a small network*: 20 inputs, 32 ReLU units, one output, squared error, targets from a random tanh network plus
#   noise.
#
# The noise gives the loss a floor that every good run comes close to, as real data do. Both are trained by plain SGD
# with minibatches of 32, in three ways: the normal parameterization; weight normalization, $w = g\,v/\|v\|$ with a
# direction $v$ and a length $g$, and one learning rate $\eta$ for all parameters; and weight normalization with $\eta$
# for $v$ only, while $g$ and $b$ learn at a fixed 0.1.

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl

import minigrad as mg
from lessons import COLOURS, Lesson

lesson = Lesson(__file__)
threadpoolctl.threadpool_limits(1)  # a single thread multiplies matrices this small fastest
problems, steps, per_decade = (24, 1000, 8) if lesson.full else (12, 300, 4)
etas = 10 ** (np.arange(-2 * per_decade, 2 * per_decade + 1) / per_decade)
OTHER_RATE = 0.1  # of g and b, where η is for v only


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


# %%
# The loop is the ordinary one, but many runs go side by side: the first two axes of every array count the problem and
# the learning rate, and ``rate`` has an entry for each learning rate. The gradient of the *sum* of their losses gives
# each run its own gradient.


def first_parameters(kind, w):
    """The parameters of one layer: w and b, or v, g and b, for every problem (axis 0) and rate (axis 1)."""
    w = np.repeat(w[:, None].astype(np.float32), len(etas), axis=1)
    bias = np.zeros_like(w[..., None, :, 0])
    arrays = [w, bias] if kind == "normal" else [w, np.linalg.norm(w, axis=-1, keepdims=True), bias]
    return [mg.tensor(a, requires_grad=True) for a in arrays]


def losses_of(layers, x, y, task):
    """The loss of every run."""
    for i, (v, *g, b) in enumerate(layers):
        w = g[0] * v / mg.norm(v, axis=-1, keepdims=True) if g else v
        x = (mg.relu(x) if i else x) @ w.swapaxes(-1, -2) + b
    each = mg.softplus(x) - y * x if task == "one neuron" else mg.square(x - y) / 2
    return each.mean(axis=(-2, -1))

# %%


def final_losses(task, kind):
    """The loss on all examples after training, of shape (problems, rates); inf where it has diverged."""
    drawn = [draw_problem(task, lesson.rng(4, i)) for i in range(problems)]
    x, y = (np.stack([d[i] for d in drawn])[:, None].astype(np.float32) for i in (0, 1))
    rate = etas.astype(np.float32)[:, None, None]
    layers = [first_parameters(kind, np.stack(w)) for w in zip(*[d[2] for d in drawn], strict=True)]
    trained = [(p, OTHER_RATE if kind == "v only" and i else rate) for layer in layers for i, p in enumerate(layer)]
    order = lesson.rng(5)
    with np.errstate(over="ignore", invalid="ignore"):  # some of these runs are meant to diverge
        for _ in lesson.progress(range(steps), f"{task}, {kind}"):
            batch = order.integers(0, x.shape[2], 32)
            total = losses_of(layers, x[:, :, batch], y[:, :, batch], task).sum()
            for (p, r), gradient in zip(trained, mg.grad(total, [p for p, _ in trained]), strict=True):
                p.data = p.data - r * gradient.data
        with mg.no_grad():
            final = losses_of(layers, mg.tensor(x), y, task).numpy()
    return np.where(np.isfinite(final), final, np.inf)


TASKS, KINDS = ("one neuron", "small network"), ("normal", "weight norm", "v only")
final = {(task, kind): final_losses(task, kind) for task in TASKS for kind in KINDS}

# %%
# How wide is the range?
# ----------------------
#
# For each problem, count the learning rates whose final loss is at most 1.25 times the best that the *normal*
# parameterization reached with any of them, and express the count in decades (factors of ten). The mark is the same
# for all three ways, and each way is tried at every rate, its best included.

best_normal = {task: final[task, "normal"].min(axis=1, keepdims=True) for task in TASKS}


def usable_decades(task, kind):
    """The width of the usable range of learning rates, in decades, for each problem."""
    return np.sum(final[task, kind] <= 1.25 * best_normal[task], axis=1) / per_decade


def gain(task, kind):
    """Decades of usable learning rates beyond those of the normal parameterization, for each problem."""
    return usable_decades(task, kind) - usable_decades(task, "normal")


print(f"mean ± standard deviation over {problems} problems, {steps} steps")
print("                             usable range (decades)   gain           best loss / that of normal   finite runs")
for (task, kind), losses in final.items():
    width, more = usable_decades(task, kind), gain(task, kind)
    best = losses.min(axis=1) / best_normal[task][:, 0]
    print(f"{task:14} {kind:12} {width.mean():12.2f} ± {width.std():.2f} {more.mean():12.2f} ± {more.std():.2f} "
          f"{best.mean():18.3f} ± {best.std():.3f} {100 * np.isfinite(losses).mean():16.0f} %")

# %% Tolerance tags=["hide-input"]
# *Tolerances.* The grid has four rates per decade (eight in a full run), so one range is known to 1/4 of a decade, and
# the mean gain of 12 problems to less than 0.1. "Wider" must mean two rates of the grid; "less than a decade" separates
# the second claim from the third. A bias with second derivative 1 diverges at every $\eta$ above 2, in every run: above
# 2 no run with one $\eta$ may stay finite.

lesson.claim("One neuron: weight norm widens the usable range of η, mean gain in decades",
             gain("one neuron", "weight norm").mean(), above=0.5)
lesson.claim("Small network, one η for all parameters: the range gains less than a decade, mean gain in decades",
             gain("small network", "weight norm").mean(), above=0.1, below=0.75)
lesson.claim("Small network, η for v only: the range gains much more, mean gain in decades",
             gain("small network", "v only").mean(), above=1.5)
above_2 = etas > 2
for kind in ("normal", "weight norm"):
    lesson.claim(f"Small network, η above 2, {kind}, one η for all: share of runs that stay finite",
                 np.isfinite(final["small network", kind][:, above_2]).mean(), near=0, within=0)
lesson.claim("Small network, η above 2 for v only: share of runs that stay finite",
             np.isfinite(final["small network", "v only"][:, above_2]).mean(), near=1, within=0)

# %% Drawing tags=["hide-input"]

STYLES = {"normal": (COLOURS["normal"], "-", "s", "normal"),
          "weight norm": (COLOURS["weight norm"], "-", "o", "weight norm"),
          "v only": (COLOURS["weight norm"], ":", "^", "weight norm, η for v only")}
figure, panels = plt.subplots(1, 2, figsize=(8.6, 4.2), sharey=True)
for axes, task in zip(panels, TASKS, strict=True):
    for row, (kind, (colour, line, marker, label)) in enumerate(STYLES.items()):
        relative = final[task, kind] / best_normal[task]
        low, middle, high = np.quantile(relative, [0.25, 0.5, 0.75], axis=0, method="nearest")
        shown = middle < 2
        face = "white" if line == ":" else None
        axes.plot(etas[shown], middle[shown], line, color=colour, marker=marker, ms=4.5, mfc=face, label=label)
        axes.fill_between(etas, low, np.minimum(high, 3), where=shown, color=colour, alpha=0.15, lw=0)
        axes.plot(etas[~shown], np.full(np.sum(~shown), 0.97 - 0.045 * row), "x", color=colour, ms=5,
                  transform=axes.get_xaxis_transform())
    axes.axhline(1.25, color="0.3", lw=1, ls="--")
    axes.set(xscale="log", xlabel="learning rate η", ylim=(0.85, 2.2), title=task.capitalize())
    axes.set_xticks([0.01, 0.1, 1, 10, 100], ["0.01", "0.1", "1", "10", "100"])
    axes.minorticks_off()
panels[0].set_ylabel("final loss / best of normal")
panels[1].annotate("usable below", (100, 1.265), color="0.3", fontsize=8.5, ha="right")
panels[0].legend(fontsize=8.5, loc="upper left")
panels[1].annotate("×: more than twice the best loss,\nor diverged", (0.03, 0.9), xycoords="axes fraction",
                   fontsize=8.5, color="0.35", va="top")
lesson.figure(figure, "learning_rates", note=f"synthetic problems: median and middle half of {problems}; {steps} steps",
              alt="Final loss, relative to the best of the normal parameterization, against the learning rate from "
              "0.01 to 100. For one neuron normal stays below the mark of 1.25 up to about 2 and weight norm up to "
              "about 15; for the small network both leave the figure near 1. With η for v only the curve is level up "
              "to 100 in both.")

# %%
# What was measured:
#
# - For *one neuron* the range widens by the better part of a decade, on the side of large $\eta$, as the paper says.
#   The best loss is the same to a few per cent.
# - For the *small network* with one $\eta$ for everything, the range widens by a factor of two or so: a gain, but
#   hardly "a much wider range". The paper's experiments use deep networks and Adam; this is neither, so it is no
#   refutation.
# - The dotted curve says why. Where $\eta$ acts on $v$ alone, the curve is flat over three decades and no run diverges:
#   the mechanism of section 2.1 works, for the direction. At large $\eta$, $g$ and $b$ blow up: no norm grows that
#   would slow *them* down. The output's $b$ is the clearest case. The second derivative of the squared error with
#   respect to it is 1, whatever the rest of the network does, so every $\eta$ above $2/1$ must diverge, and does. (Most
#   runs are lost earlier, near 1 and 1.8: $g$, or $w$, has larger second derivatives in some units.) The argument in
#   section 2.1 is about $v$, and does not cover the other parameters.
# - The noise matters. Without noise, and with so few examples that the network can fit them exactly, the loss has no
#   floor. With 512 examples, and otherwise the full run's 24 problems and 1000 steps, the normal parameterization at
#   its best $\eta$ then ended at a loss about 1.4 times lower than weight normalization at its best (question 2).
#
# Questions
# ---------
#
# 1. *Two rates.* In the small network, give $g$ and $b$ the rate $\min(\eta, \eta_0)$. How large can $\eta_0$ be before
#    the flat curve breaks off? Is it the second derivative for $g$ that decides?
# 2. *No floor.* Remove the noise from the small network's targets and keep 512 examples. What happens to the usable
#    range as defined here when you train for 300, 1000, 3000 steps, and why? Find a definition that says something
#    useful there.

lesson.finish()

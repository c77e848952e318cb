r"""Does weight normalization replace a schedule?
=============================================

The effective learning rate of a normalized weight falls by itself, as $1/\sqrt t$, which is a classical schedule. So
may you save yourself the trouble of lowering $\eta$? And does training longer make the choice of $\eta$ matter less and
less? You would like both to be true; one is.

Afterwards you can

- say what a schedule does to a direction: its shape matters, its scale cancels;
- explain why a rate that falls to zero still helps, with weight normalization as without;
- predict how the range of usable learning rates grows with the number of steps.

Read first: lesson 06 (the effective learning rate).

Claims checked, and where they are made:

- under a schedule the angle is $\eta_t/\sqrt{2\sum\eta_s^2}$, whatever the scale of $\eta$ (derived here);
- a falling learning rate lowers the best test loss, with all three ways of training from lesson 06;
- four times as many steps widen the range of "η for v only" by more decades than that of the normal parameterization.

Time: quick about 15 s, full about 3 min.
"""

# %% tags=["hide-input"]
# Problems, networks and loop are like those of the grid of lesson 06: noisy labels of a random teacher, two hidden
# layers of ReLU units, all networks side by side. The first two axes of every array count the problem and the learning
# rate. New is ``schedule``, by which all rates are multiplied, and a look at the test loss after a quarter of the
# steps.

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl

import minigrad as mg
import wn
from lessons import COLOURS, Lesson

lesson = Lesson(__file__)
threadpoolctl.threadpool_limits(1)  # a single thread multiplies matrices this small fastest
PROBLEMS, STEPS, HIDDEN, EXAMPLES = (8, 960, 48, 16_384) if lesson.full else (5, 320, 32, 4_096)
INPUTS, CLASSES, TESTED, BATCH, PER_DECADE = 16, 4, 2_048, 64, 3
GUESSING = np.log(CLASSES)
RATES = 10 ** (np.arange(-3 * PER_DECADE, 5 * PER_DECADE + 1) / PER_DECADE)
CASES = {"normal": (False, False), "weight norm": (True, False), "η for v only": (True, True)}  # normalized, two rates
STYLES = {"normal": (COLOURS["normal"], "s"), "weight norm": (COLOURS["weight norm"], "o"),
          "η for v only": (COLOURS["weight norm"], "^")}


def problem(number):
    """Inputs and labels, of which the last TESTED are for testing; the labels' entropy."""
    rng = lesson.rng(0, number)
    x = rng.normal(size=(EXAMPLES + TESTED, INPUTS))
    t = np.tanh(2 * x @ rng.normal(size=(INPUTS, 16)) / np.sqrt(INPUTS)) @ rng.normal(size=(16, CLASSES))
    p = np.exp(2.8 * (t - t.mean(axis=0)) / t.std(axis=0))
    p = p / p.sum(axis=1, keepdims=True)
    labels = (rng.uniform(size=(len(p), 1)) > p.cumsum(axis=1)[:, :-1]).sum(axis=1)
    return x.astype(np.float32), labels, -np.sum(p * np.log(p), axis=1).mean()


drawn = [problem(number) for number in range(PROBLEMS)]
inputs = np.stack([x for x, _, _ in drawn])[:, None]
one_hot = np.eye(CLASSES, dtype=np.float32)[np.stack([y for _, y, _ in drawn])][:, None]
entropy = np.array([e for _, _, e in drawn])
mark = entropy + 0.4 * (GUESSING - entropy)  # a rate whose test loss is below it is usable


def first_parameters():
    """[v, g, b] of each layer: (problems, rates, units, inputs), (problems, rates, units, 1), (…, …, 1, units)."""
    layers, generators = [], [lesson.rng(1, number) for number in range(PROBLEMS)]
    for fan_in, units in pairwise((INPUTS, HIDDEN, HIDDEN, CLASSES)):
        v = np.stack([rng.normal(size=(units, fan_in)) for rng in generators])[:, None] * np.sqrt(2 / fan_in)
        first = v, np.linalg.norm(v, axis=-1, keepdims=True), np.zeros((PROBLEMS, 1, 1, units))
        layers.append([mg.tensor(np.repeat(p.astype(np.float32), len(RATES), axis=1), requires_grad=True)
                       for p in first])
    return layers


def losses_of(layers, rows, normalized):
    """The mean loss of each network on these examples, (problems, rates)."""
    x = inputs[:, :, rows]
    for i, (v, g, b) in enumerate(layers):
        w = wn.weight_norm(v, g, axis=(0, 1, 2)) if normalized else v
        x = (mg.relu(x) if i else mg.tensor(x)) @ w.swapaxes(-1, -2) + b
    return (mg.logsumexp(x, axis=-1) - (x * one_hot[:, :, rows]).sum(axis=-1)).mean(axis=-1)


def sweep(case, schedule):
    """The test loss after a quarter of the steps and at the end, (2, problems, rates); inf after divergence."""
    normalized, separate = CASES[case]
    layers, rng, tested = first_parameters(), lesson.rng(2), []
    directions = mg.optim.SGD([v for v, _, _ in layers], 0.0)
    rest = mg.optim.SGD([p for _, g, b in layers for p in (g, b)], 0.0)
    rate = np.float32(RATES)[:, None, None]
    with np.errstate(all="ignore"):  # some of these runs are meant to diverge
        for t in lesson.progress(range(STEPS), case):
            factor = np.float32(schedule(t, STEPS))
            directions.lr, rest.lr = factor * rate, factor * (np.float32(0.1) if separate else rate)
            directions.zero_grad()
            rest.zero_grad()
            losses_of(layers, rng.integers(0, EXAMPLES, BATCH), normalized).sum().backward()
            directions.step()
            rest.step()
            if t + 1 in (STEPS // 4, STEPS):
                with mg.no_grad():
                    tested.append(losses_of(layers, slice(EXAMPLES, None), normalized).numpy())
    return np.where(np.isfinite(tested), tested, np.inf)


# %%
# The shape of a schedule
# -----------------------
#
# Let $\eta_t$ change from step to step, and let noise keep $G$, the gradient's norm at length 1, constant. Pythagoras,
# squared and without the small term (lesson 05): $\|v_{t+1}\|^4 = \|v_t\|^4 + 2\eta_t^2G^2$. Once the start is
# forgotten,
#
# $$c_t = \frac{\eta_t\,G}{\|v_t\|^2} \approx \frac{\eta_t}{\sqrt{2\sum_{s<t}\eta_s^2}}.$$
#
# Multiply the whole schedule by 10, and nothing changes: the scale has cancelled. The shape has not. A constant rate
# gives the clock $1/\sqrt{2t}$. A rate that falls to zero takes the angle to zero with it. A rate that is divided by 10
# divides the angle by 10 at once, since ‖v‖ does not react. First we run the recursion, for three shapes and three
# scales.


def constant(t, steps):
    """No schedule."""
    return 1.0


def falling(t, steps):
    """Linearly to zero."""
    return 1 - t / steps


def dropping(t, steps):
    """Divided by 10 after 60 % of the steps."""
    return 1.0 if t < 0.6 * steps else 0.1


length, looks, scales = 10_000, np.array([1000, 3000, 6500, 9900]), np.array([0.3, 1.0, 3.0])
angles, by_law = {}, {}
for shape in (constant, falling, dropping):
    rate = np.array([shape(t, length) for t in range(length)])
    squared, c = np.ones(len(scales)), []  # ‖v‖², G = 1
    for factor in rate:
        c.append(scales * factor / squared)
        squared = squared + (scales * factor) ** 2 / squared
    angles[shape.__name__] = np.array(c)[looks]
    by_law[shape.__name__] = (rate / np.sqrt(2 * np.maximum(np.cumsum(rate**2) - rate**2, 1)))[looks]
    for t, row in zip(looks, angles[shape.__name__], strict=True):
        print(f"{shape.__name__:9} after {t} steps: c = " + ", ".join(f"{c:.5f}" for c in row))

# %% Tolerance tags=["hide-input"]
# *Tolerance.* The law neglects $(c_1 + 1/c_1)^2$, 13 for $c_1 = 0.3$ or 3, against twice the sum of squares, which is
# at least 1800 at the first look: 0.7 %, half of that in $c$. The term left out adds less, about $\tfrac12\ln t = 3.5$.
# We allow 0.6 %.

lesson.claim("Schedules, constant G: c_t = η_t/√(2Ση_s²) whatever the scale of η; 3 shapes, 3 scales, 4 times",
             np.stack(list(angles.values())), predicted=np.stack(list(by_law.values()))[..., None], rtol=0.006)

# %%
# Does a falling rate help?
# -------------------------
#
# At the end of training with a constant rate, the directions still turn by $1/\sqrt{2t}$ per step, and most of that is
# noise. A rate that falls to zero ends without noise. It also acts on $g$ and $b$, whose effective rate does not fall
# by itself at all. So the growth of ‖v‖ should not replace a schedule. We let all rates fall linearly to zero, and
# compare the best test loss, for each problem at that one of the same 25 rates which is best for the other problems.

steady = {case: sweep(case, constant) for case in CASES}
fallen = {case: sweep(case, falling) for case in CASES}


def decades(losses):
    """The width of the usable range for each problem."""
    return (losses <= mark[:, None]).sum(axis=1) / PER_DECADE


def at_best_rate(losses):
    """Each problem's loss at the rate that is best for the other problems on average."""
    chosen = [np.delete(losses, i, axis=0).mean(axis=0).argmin() for i in range(len(losses))]
    return losses[np.arange(len(losses)), chosen]


def summary(values):
    """Mean and standard deviation over the problems."""
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


helped = {case: at_best_rate(steady[case][1]) - at_best_rate(fallen[case][1]) for case in CASES}
print(f"{PROBLEMS} problems     best test loss, constant   falling by     usable decades: constant   falling")
for case in CASES:
    print(f"{case:16} {summary(at_best_rate(steady[case][1])):>22} {summary(helped[case]):>16} "
          f"{summary(decades(steady[case][1])):>20} {summary(decades(fallen[case][1])):>17}")

# %% Tolerance tags=["hide-input"]
# *Bounds.* How much it helps depends on the problem and the number of steps; the argument gives the sign. The gain is
# counted within each problem, so that the large differences between problems drop out.

for case in CASES:
    lesson.claim(f"SGD, {case}: a rate that falls to zero lowers the best test loss; nats, mean over problems",
                 helped[case].mean(), above=0)

# %%
# It helps all three, by a few hundredths of a nat. At the lower end of the range it costs a little, because the rate is
# only half as large on average. At the upper end of the normal parameterization it pays: a rate that is too large at
# first falls to one that is not.
#
# Does training longer help?
# --------------------------
#
# For the directions the usable range should grow at both ends, like the window of the clock. At the lower end the
# number of steps times $\eta$ has to be large enough. At the upper end recovery, which takes a number of steps
# proportional to $\eta$, has to fit into the training. Four times as many steps add $\log_{10}4 = 0.6$ decades at each
# end. For the normal parameterization the curvature limits the upper end, however long it trains, and it gains only at
# the lower end.

longer = {case: decades(steady[case][1]) - decades(steady[case][0]) for case in CASES}
for case in CASES:
    print(f"{case:16} usable decades gained from step {STEPS // 4} to step {STEPS}: {summary(longer[case])}")
more = longer["η for v only"] - longer["normal"]
print(f"η for v only gains {summary(more)} decades more than normal")

# %% Tolerance tags=["hide-input"]
# *Bound.* We expect 0.6 decades. But where the curve is steep a range has sharp ends, and after a quarter of the steps
# even the bottom of the normal parameterization's curve is close to the mark, so that a little more training counts for
# more there. A range comes in thirds of a decade. We ask for half of the difference.

lesson.claim("SGD, four times as many steps: decades that the range gains, η for v only minus normal, mean",
             more.mean(), above=0.3)

# %% Drawing tags=["hide-input"]

figure, axes = plt.subplots(1, 3, figsize=(9.6, 4.3), sharey=True)
for ax, case in zip(axes, CASES, strict=True):
    colour, marker = STYLES[case]
    kinds = ((steady[case][0], "0.55", ":", f"constant, after {STEPS // 4} steps"),
             (steady[case][1], colour, "-", "constant"), (fallen[case][1], colour, "--", "falling to zero"))
    for losses, shade, line, label in kinds:
        ax.plot(RATES, np.minimum(np.median(losses, axis=0), 1e6), line, color=shade, marker=marker, ms=3.5,
                mfc=shade if line == "-" else "white", label=label)
    for level in (GUESSING, np.median(mark)):
        ax.axhline(level, color="0.5", lw=0.9, ls="-" if level == GUESSING else "--", zorder=1)
    ax.set(xscale="log", ylim=(0.7, 1.6), xlabel="learning rate η", title=case, xticks=10.0 ** np.arange(-3, 6, 2))
where = {"textcoords": "offset points", "fontsize": 8.5, "color": "0.3", "ha": "right"}
axes[0].annotate("guessing", (1e5, GUESSING), (0, -10), **where)
axes[0].annotate("usable below", (1e5, np.median(mark)), (0, 3), **where)
axes[0].set_ylabel("test loss (nats)")
figure.legend(*axes[2].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
lesson.figure(figure, "schedules", note=f"synthetic problems: median of {PROBLEMS}; {STEPS} steps", alt="Test loss "
              "against the learning rate in three panels: normal, weight norm, and the rate for v only. In each the "
              "curve of a falling rate has a slightly lower bottom than that of a constant one; after a quarter of the "
              "steps all are higher, and the plain of the third panel is much narrower.")

# %%
# So keep the schedule, but do not count on its scale: the directions forget it.
#
# Questions
# ---------
#
# 1. *A schedule that the clock does not forget.* Take $\eta_t = \eta_0/\sqrt t$ in the law. How does the sum grow, and
#    after how many steps is $c_1 = 0.1$ within 10 % of $c_1 = 1$? Compare with a constant rate.
# 2. *A schedule that undoes the clock.* For which $\eta_t$ does $c_t$ stay constant? Relate it to weight decay
#    (``further/05_weight_decay.py``).

lesson.finish()

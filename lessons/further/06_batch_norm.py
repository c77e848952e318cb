r"""Batch normalization's learning rates, and units that die
========================================================

"It has been observed that neural networks with batch normalization also have this property" of working with a much
wider range of learning rates, says section 2.1, "which can also be explained by this analysis". If you use batch
normalization, you want to know whether it is the growth of the norm that protects your training, and what else does.
One answer is in the loss, which stays finite at any learning rate. Another is in the units: at large rates a third of
those in a weight-normalized layer can die, and none with batch normalization.

Afterwards you can

- apply the laws of lesson 06 to a network with batch normalization, and say to which of its parameters;
- explain why such a network does not diverge, and what its loss does instead;
- say what kills a ReLU unit at a large learning rate, and why centring prevents it.

Read first: lesson 06 (the effective learning rate) and lesson 08 (batch normalization).

Claims checked, and where they are made:

- "batch normalization also has this property, explained by this analysis" (section 2.1): true of the directions, with
  the same condition as for weight normalization;
- with one η for all, far too large, the loss stays finite and is proportional to η (derived here);
- dead units: many with weight normalization, none with batch normalization.

Time: quick about 20 s, full about 4 min.
"""

# %% tags=["hide-input"]
# Problems, networks and loop are like those of the grid of lesson 06: noisy labels of a random teacher, two hidden
# layers of ReLU units, all networks side by side, of which the first two axes of every array count the problem and the
# learning rate. New is batch normalization in every layer, the output included, as in the paper's section 5.1. At the
# start its learned scale $g$ is 1. For the test, the statistics are those of 2048 training examples.

from itertools import pairwise
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl

import minigrad as mg
import wn
from lessons import COLOURS, Lesson

lesson = Lesson(__file__)
threadpoolctl.threadpool_limits(1)  # a single thread multiplies matrices this small fastest
PROBLEMS, STEPS, HIDDEN, EXAMPLES = (8, 960, 48, 16_384) if lesson.full else (5, 320, 32, 4_096)
INPUTS, CLASSES, TESTED, BATCH, PER_DECADE, EPS = 16, 4, 2_048, 64, 2, 1e-5  # EPS is added to the variance
GUESSING = np.log(CLASSES)
RULES = {"SGD": (mg.optim.SGD, 0.1, (-3, 5)), "Adam": (mg.optim.Adam, 0.003, (-4, 2))}  # g's and b's rate; decades
RATES = {rule: 10 ** (np.arange(a * PER_DECADE, b * PER_DECADE + 1) / PER_DECADE)
         for rule, (_, _, (a, b)) in RULES.items()}
WN_V, BN_W = "weight norm, η for v only", "batch norm, η for w only"
CASES = {"normal": ("normal", False), WN_V: ("weight norm", True), "batch norm": ("batch norm", False),
         BN_W: ("batch norm", True)}
STYLES = {"normal": (COLOURS["normal"], "-", "s"), WN_V: (COLOURS["weight norm"], ":", "^"),
          "batch norm": (COLOURS["batch norm"], "-", "D"), BN_W: (COLOURS["batch norm"], ":", "v")}
LATE = np.unique(np.linspace(0.67 * STEPS, STEPS - 1, 20).astype(int))  # steps at which angles are looked at


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


def first_parameters(kind, rates):
    """[w or v, g, b] of each layer, with the axes (problems, rates, …)."""
    layers, generators = [], [lesson.rng(1, number) for number in range(PROBLEMS)]
    for fan_in, units in pairwise((INPUTS, HIDDEN, HIDDEN, CLASSES)):
        w = np.stack([rng.normal(size=(units, fan_in)) for rng in generators])[:, None] * np.sqrt(2 / fan_in)
        g = np.linalg.norm(w, axis=-1, keepdims=True) if kind != "batch norm" else np.ones((PROBLEMS, 1, 1, units))
        first = w, g, np.zeros((PROBLEMS, 1, 1, units))
        layers.append([mg.tensor(np.repeat(p.astype(np.float32), rates, axis=1), requires_grad=True) for p in first])
    return layers


def losses_of(kind, layers, rows, counted):
    """The loss of each example, (problems, rates, examples); batch statistics are those of the first `counted` rows."""
    x = inputs[:, :, rows]
    for i, (w, g, b) in enumerate(layers):
        w = wn.weight_norm(w, g, axis=(0, 1, 2)) if kind == "weight norm" else w
        x = (mg.relu(x) if i else mg.tensor(x)) @ w.swapaxes(-1, -2)
        if kind == "batch norm":
            known = x[..., :counted, :]
            mean = known.mean(axis=-2, keepdims=True)
            x = (x - mean) * (g / mg.sqrt(mg.square(known - mean).mean(axis=-2, keepdims=True) + EPS))
        x = x + b
    return mg.logsumexp(x, axis=-1) - (x * one_hot[:, :, rows]).sum(axis=-1)


def sweep(case, rule="SGD", falling=False):
    """Train with each rate: train and test loss at the end, (problems, rates); c of the first two layers.

    c is ‖Δw‖/‖w‖ at the steps LATE, (layers) list of (steps, problems, rates, units), and `first` that of step 1.
    """
    (kind, separate), (make, ordinary, _) = CASES[case], RULES[rule]
    layers, rng = first_parameters(kind, len(RATES[rule])), lesson.rng(2)
    directions, rest = make([w for w, _, _ in layers], 0.0), make([p for _, g, b in layers for p in (g, b)], 0.0)
    rate, c, seen = np.float32(RATES[rule])[:, None, None], [[], []], np.r_[:TESTED, EXAMPLES : EXAMPLES + TESTED]
    with np.errstate(all="ignore"):  # some of these runs are meant to diverge
        for t in lesson.progress(range(STEPS), f"{rule}, {case}"):
            factor = np.float32(1 - t / STEPS if falling else 1)
            directions.lr, rest.lr = factor * rate, factor * (np.float32(ordinary) if separate else rate)
            directions.zero_grad()
            rest.zero_grad()
            losses_of(kind, layers, rng.integers(0, EXAMPLES, BATCH), BATCH).mean(axis=-1).sum().backward()
            before = [layers[i][0].data for i in (0, 1)] if t == 0 or t in LATE else []
            directions.step()
            rest.step()
            for i, w in enumerate(before):
                c[i].append(np.linalg.norm(layers[i][0].data - w, axis=-1) / np.linalg.norm(w, axis=-1))
        with mg.no_grad():
            losses = losses_of(kind, layers, seen, TESTED).numpy()
    train, test = (np.where(np.isfinite(x.mean(axis=-1)), x.mean(axis=-1), np.inf)
                   for x in (losses[..., :TESTED], losses[..., TESTED:]))
    return SimpleNamespace(train=train, test=test, first=[rows[0] for rows in c], c=[np.array(rows[1:]) for rows in c])


def summary(values):
    """Mean and standard deviation over the problems."""
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"


# %%
# The same analysis
# -----------------
#
# Batch normalization subtracts from $t = w \cdot x$ its mean over the minibatch, divides by its standard deviation,
# multiplies by a learned $g$ and adds a learned $b$ (equation 5's form, lesson 08). So the loss does not depend on the
# length of $w$, except for the small ``eps`` that is added to the variance. Everything that lesson 06 says about $v$
# then holds for $w$: the rate of the direction is $\eta/\|w\|^2$. We stretch the $w$ of one layer by a factor $a$, make
# one small step with the library's ``BatchNorm``, and look at the angle.

stretches = np.logspace(-1, 1, 9)


def turning_angle(stretch):
    """Mean of ‖Δw‖/‖w‖ over the units of one layer in one step, after every w was stretched."""
    rng = lesson.rng(3)
    layer = mg.nn.Linear(20, 16, rng=rng, bias=False)
    layer.weight.data = np.float32(stretch) * layer.weight.data
    net = mg.nn.Sequential(layer, mg.nn.BatchNorm(16), mg.nn.ReLU(), mg.nn.Linear(16, 3, rng=rng))
    optimizer = mg.optim.SGD(net.parameters(), lr=0.001)
    tracker = wn.NormTracker(net, optimizer)
    x, y = rng.normal(size=(256, 20)).astype(np.float32), rng.integers(0, 3, size=256)
    mg.nn.functional.cross_entropy(net(mg.tensor(x)), y).backward()
    optimizer.step()
    tracker.record()
    return tracker.history(tracker.layers[0], "relative_step")[-1].mean()


exponent = np.polyfit(np.log(stretches), np.log([turning_angle(stretch) for stretch in stretches]), 1)[0]

# %% Tolerance tags=["hide-input"]
# *Tolerance.* ``eps`` is $10^{-5}$; at $a = 0.1$ the variance of $t$ is about 0.003, so the step is off by 0.3 %. That
# is 0.001 in an exponent over two decades. Rounding adds as much. We allow 0.02.

lesson.claim("Batch norm, SGD: the angle per step as a power of ‖w‖, exponent", exponent, near=-2, within=0.02)

# %%
# Now training, as in lesson 06: one $\eta$ for all parameters, or $\eta$ for $w$ only, while $g$ and $b$ keep an
# ordinary rate (0.1 for SGD, 0.003 for Adam). First the angles of the first layer late in training. With constant
# gradients they are $1/\sqrt{(c_1 + 1/c_1)^2 + 2(t - 2)}$ at step $t$, if $c_1$ is that of the first step.

sgd = {case: sweep(case) for case in CASES}


def rms(values, axis=None):
    """Root mean square."""
    return np.sqrt(np.mean(np.square(values), axis=axis))


def at(value):
    """The index of a learning rate of the SGD grid."""
    return int(np.abs(np.log(RATES["SGD"] / value)).argmin())


with np.errstate(divide="ignore"):  # a unit without a gradient, c₁ = 0, does not turn
    first = sgd[BN_W].first[0]
    formula = 1 / np.sqrt((first + 1 / first) ** 2 + 2 * (LATE[:, None, None, None] - 1))
measured, formula = rms(sgd[BN_W].c[0], axis=(0, 1, 3)), rms(formula, axis=(0, 1, 3))
for eta in 10.0 ** np.arange(-2, 5):
    print(f"batch norm, η = {eta:7g} for w: angle of the first layer late {measured[at(eta)]:.4f}, formula "
          f"{formula[at(eta)]:.4f}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* As in lesson 06: the loss falls to about half, so let $G$ change by a factor of 2.

middle, band = slice(at(1), at(100) + 1), slice(at(0.1), at(1000) + 1)
lesson.claim("Batch norm, η from 1 to 100 for w only: late angles of the first layer, largest / smallest (first: 100)",
             measured[middle].max() / measured[middle].min(), below=2)
lesson.claim("Batch norm, η from 0.1 to 1000 for w only: largest factor between that angle and the formula",
             np.exp(np.abs(np.log(measured / formula))[band].max()), below=2)

# %%
# It is the same clock. So the analysis does explain the property, for $w$. And the range? (As in lesson 06, each
# problem's best loss is that at the rate which is best for the other problems.)

adam = {case: sweep(case, "Adam") for case in CASES if case != WN_V}
fallen = sweep("batch norm", falling=True)


def decades(losses):
    """The width of the usable range for each problem."""
    return (losses <= mark[:, None]).sum(axis=1) / PER_DECADE


def at_best_rate(losses):
    """Each problem's loss at the rate that is best for the other problems on average."""
    chosen = [np.delete(losses, i, axis=0).mean(axis=0).argmin() for i in range(len(losses))]
    return losses[np.arange(len(losses)), chosen]


print(f"{PROBLEMS} problems, {STEPS} steps                 usable decades         gain   best test loss")
gains = {}
for rule, results in (("SGD", sgd), ("Adam", adam)):
    for case, result in results.items():
        gains[rule, case] = decades(result.test) - decades(results["normal"].test)
        print(f"{rule:5} {case:28} {summary(decades(result.test)):>18} {summary(gains[rule, case]):>14} "
              f"{summary(at_best_rate(result.test)):>14}")
better = at_best_rate(sgd["normal"].test) - at_best_rate(sgd["batch norm"].test)
lower = at_best_rate(sgd["batch norm"].test) - at_best_rate(fallen.test)
print(f"SGD, best test loss: batch norm is lower than normal by {summary(better)} nats, "
      f"and with a rate that falls to zero by another {summary(lower)}")

# %% Tolerance tags=["hide-input"]
# *Bounds.* As in lesson 06: a range comes in steps of half a decade here, and a mean over five problems scatters by
# 0.1 to 0.2. For one $\eta$ we claim a gain below 2 decades, for $w$ only one above 2. Of the best losses we claim the
# sign.

for rule in RULES:
    lesson.claim(f"{rule}, batch norm, one η for all: the usable range gains, mean gain in decades",
                 gains[rule, "batch norm"].mean(), above=0, below=2)
    lesson.claim(f"{rule}, batch norm, η for w only: the usable range gains much, mean gain in decades",
                 gains[rule, BN_W].mean(), above=2)
lesson.claim("SGD, batch norm, one η for all: lower best test loss; normal minus it, nats, mean", better.mean(),
             above=0)
lesson.claim("SGD, batch norm: a rate that falls to zero lowers the best test loss; nats, mean", lower.mean(), above=0)

# %% Drawing tags=["hide-input"]

figure, axes = plt.subplots(1, 2, figsize=(9.2, 4.6), sharey=True)
for ax, (rule, results) in zip(axes, (("SGD", sgd), ("Adam", adam)), strict=True):
    for case, result in results.items():
        colour, line, marker = STYLES[case]
        median = np.minimum(np.median(result.test, axis=0), 1e6)
        ax.plot(RATES[rule], median, line, color=colour, marker=marker, ms=4.5, mfc="white" if line == ":" else colour,
                label=case)
    for level in (GUESSING, np.median(mark)):
        ax.axhline(level, color="0.5", lw=0.9, ls="-" if level == GUESSING else "--", zorder=1)
    ax.set(xscale="log", ylim=(0.7, 1.75), xlabel="learning rate η", title=rule)
axes[0].annotate("guessing", (RATES["SGD"][-1], GUESSING), (0, 3), textcoords="offset points", fontsize=8.5, ha="right")
axes[0].annotate("usable below", (300, np.median(mark)), (0, 3), textcoords="offset points", fontsize=8.5, ha="center")
axes[0].set_ylabel("test loss after training (nats)")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
lesson.figure(figure, "range", note=f"synthetic problems: median of {PROBLEMS}; {STEPS} steps", alt="Test loss against "
              "the learning rate, for SGD and Adam. Batch normalization with one rate for all has a wider valley than "
              "the normal parameterization; with the rate for w only its valley is a plain of about five decades, "
              "wider still than that of weight normalization with the rate for v only.")

# %%
# The paper's sentence holds for batch normalization as it does for weight normalization: $w$ obeys the clock, $g$ and
# $b$ do not. With one $\eta$ for all, the range gains a decade or so. (Ioffe & Szegedy 2015, arXiv:1502.03167, to whom
# the paper refers, trained with rates 5 and 30 times larger than without: 0.7 and 1.5 decades.)
#
# A loss proportional to the learning rate
# ----------------------------------------
#
# What happens at $\eta = 100$ for all? With weight normalization the lengths multiply each other, and the loss is NaN
# within six steps (lesson 06). With batch normalization, the scales $g$ of the hidden layers are divided out by the
# next layer. Only those of the output count, and the gradient of the cross-entropy for them is bounded: the normalized
# pre-activations have variance 1, and $|\partial L/\partial t| \leq 1$. So they jump to the size of $\eta$ and no
# further. The logits are of that size, and so is the loss: finite, but no better than guessing.

large = slice(at(100), None)
finite = np.isfinite(sgd["batch norm"].train[:, large]).mean()
typical = np.exp(np.mean(np.log(sgd["batch norm"].train[:, large]), axis=0))
exponent = np.polyfit(np.log(RATES["SGD"][large]), np.log(typical), 1)[0]
for eta, loss in zip(RATES["SGD"][large], typical, strict=True):
    print(f"batch norm, η = {eta:8.0f} for all: loss at the end {loss:10.3g}, over η {loss / eta:.3f}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* The loss of a network whose output scale jumps about varies by a factor of two or so between problems and
# rates; the geometric mean of five is known to $\ln 2/\sqrt5 = 0.3$. With 7 rates over three decades, the slope's
# standard error is 0.3 divided by the root of $\sum(\ln\eta - \overline{\ln\eta})^2 = 37$, which is 0.05. We allow
# four.

lesson.claim("Batch norm, one η for all, η from 100 to 100,000: share of networks whose loss is finite", finite, near=1,
             within=0)
for case in ("batch norm", BN_W):
    lesson.claim(f"SGD, η = 100, {case}: share of networks that end better than guessing",
                 np.mean(sgd[case].train[:, at(100)] < GUESSING), near=float(case == BN_W), within=0)
lesson.claim("Batch norm, one η for all, η from 100 to 100,000: final loss as a power of η, exponent", exponent, near=1,
             within=0.2)

# %%
# Dead units
# ----------
#
# In the figure, weight normalization with $\eta$ for $v$ only is a little worse at large rates than batch
# normalization with $\eta$ for $w$ only. One huge step can turn a ReLU unit of the second layer so that its
# pre-activation is negative for every input: those inputs are positive, so a vector with enough negative weights is
# enough. Such a unit has no gradient and never moves again. Batch normalization centres the pre-activation, so that
# each unit is positive for some examples of every minibatch. The first layer's inputs have both signs, so its units
# have no such direction. We count the units that do not turn at any of 20 steps late in training.


def still(case, layer):
    """Share of the units of a layer that do not turn any more, η from 1 to 100."""
    return np.mean(sgd[case].c[layer][:, :, middle].max(axis=0) == 0)


for case in (WN_V, BN_W):
    print(f"{case}: units that do not turn: first layer {still(case, 0):.3f}, second layer {still(case, 1):.3f}")

# %% Tolerance tags=["hide-input"]
# *Bounds.* How many die depends on the first minibatch; the argument says that it is many in one case and none in the
# other. For many we ask for a tenth.

lesson.claim("Second layer, weight norm, η from 1 to 100 for v only: share of dead units", still(WN_V, 1), above=0.1)
lesson.claim("Second layer, batch norm, η from 1 to 100 for w only: share of dead units", still(BN_W, 1), below=0.01)
lesson.claim("First layer, weight norm, η from 1 to 100 for v only: share of dead units", still(WN_V, 0), below=0.01)

# %%
# A unit that has died is lost without any sign in the loss; ``relative_step`` of ``wn.NormTracker`` shows it as an
# exact zero. Warming up (a small $\eta$ in the first steps) avoids the huge step, and a leaky ReLU the place without a
# gradient.
#
# Questions
# ---------
#
# 1. *Leaky units.* Replace ReLU by ``mg.leaky_relu`` with the slope 0.1 in ``losses_of``. How many units are still at
#    the end, and does weight normalization catch up with batch normalization at large $\eta$?
# 2. *How large may the other rate be?* Replace the 0.1 of SGD in ``RULES`` by values from 0.01 to 10. Where does the
#    flat curve of "η for w only" break off, and where does that of "η for v only"?

lesson.finish()

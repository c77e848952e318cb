r"""The size of the minibatch
=========================

A large model leaves memory for a minibatch of two. Online learning has one example at a time. What happens to each
normalization then? Weight normalization is unaffected; the two others estimate something from the minibatch, and with
few examples they estimate badly. This chapter trains all of them with minibatches of 1 to 128 examples. Open it if you
must train with few examples at a time, or if you wonder which statistics to use at test time.

Afterwards you can

- say from which size on batch normalization, and its mean-only form, are worth having;
- choose between running averages and the test minibatch's own statistics.

Read first: lesson 08.

Claims checked, and where the paper makes them:

- ‖v‖, the length of v, is known exactly where the mean and variance of a small minibatch are noisy: weight
  normalization is a "less noisy
  approximation to batch normalization" (section 2.2);
- with one example, mean-only batch normalization learns nothing (equation 8).

Time: quick about 25 s, full about 3 min.
"""

# %%
# The problem
# -----------
#
# There are 20 correlated inputs with means that are not 0, and ten classes, drawn from the softmax of a random tanh
# network. Classes overlap, as they do in real data, and new examples can be drawn without end. A network of two hidden
# layers of 32 ReLU units learns them, with plain SGD.

import math
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl

import minigrad as mg
import wn
from lessons import COLOURS, Lesson
from minigrad import nn
from minigrad.nn import functional as F

lesson = Lesson(__file__)
threadpoolctl.threadpool_limits(1)  # matrices this small are multiplied fastest by a single thread
inputs, units, classes = 20, 32, 10
SIZES = [inputs, units, units, classes]
PROBLEMS, STEPS = (12, 1000) if lesson.full else (5, 400)


def problem(generator):
    """A function that draws n examples, (inputs, labels), with a generator of its own."""
    axes, _ = np.linalg.qr(generator.normal(size=(inputs, inputs)))
    scales = np.sqrt(1 / np.arange(1, inputs + 1))
    root, mean = axes * scales * np.sqrt(inputs / (scales**2).sum()), 0.5 * generator.normal(size=inputs)
    first = 2 * generator.normal(size=(inputs, 24)) / np.sqrt(inputs)
    second = 3 * generator.normal(size=(24, classes)) / np.sqrt(24)

    def draw(n, source):
        z = source.normal(size=(n, inputs))
        logits = np.tanh(z @ first) @ second
        return (z @ root.T + mean).astype(np.float32), (logits + source.gumbel(size=logits.shape)).argmax(axis=1)

    return draw


# %%
# One run first
# -------------
#
# We begin with one network with weight normalization, one rate, minibatches of 8, and the library's modules. Equations
# 5 and 6 on 500 examples give the start.

draws = [problem(lesson.rng(1, i)) for i in range(PROBLEMS)]
source = lesson.rng(2)
net = nn.Sequential(wn.WeightNorm(nn.Linear(inputs, units, rng=source)), nn.ReLU(),
                    wn.WeightNorm(nn.Linear(units, units, rng=source)), nn.ReLU(),
                    wn.WeightNorm(nn.Linear(units, classes, rng=source)))
wn.data_dependent_init(net, draws[0](500, source)[0])
optimizer = mg.optim.SGD(net.parameters(), lr=0.3)
test_x, test_y = draws[0](2048, source)
for step in range(STEPS + 1):
    if step in (0, 10, 100, STEPS):
        with mg.no_grad():
            print(f"after {step:4} steps: test loss {F.cross_entropy(net(mg.tensor(test_x)), test_y).item():.3f} nats")
    x, y = draws[0](8, source)
    optimizer.zero_grad()
    F.cross_entropy(net(mg.tensor(x)), y).backward()
    optimizer.step()
print(f"guessing: {math.log(classes):.3f}")

# %%
# Many runs side by side
# ----------------------
#
# Now we train four kinds, with several sizes, several problems, and several learning rates, of which the best counts.
# All take the same number of *steps*, so runs with large minibatches see more examples; the comparison is between the
# kinds at one size. Only the hidden layers are normalized over the minibatch. All kinds start as the same function, and
# with $\|v\| = g$, so that weight normalization takes the same first step as the normal parameterization (lesson 03).
#
# To be quick, the runs of one kind and size are computed together: the first two axes of every array count the problem
# and the learning rate. The rest is the same network, written out.

KINDS = ("normal", "weight norm", "WN + mean-only BN", "batch norm")


def start(kind, xs, sources):
    """The parameters of every layer at the common starting point, with a leading axis for the problems.

    Per layer: w or v; then g, if the kind has one; then b.
    """
    layers, h = [], xs
    for i, (a, b) in enumerate(pairwise(SIZES)):
        w = np.stack([source.normal(size=(b, a)) for source in sources]) / math.sqrt(a)
        t = h @ w.swapaxes(1, 2)
        mean, deviation = t.mean(axis=1), t.std(axis=1)
        h = np.maximum((t - mean[:, None]) / deviation[:, None], 0)
        w = w / deviation[..., None]
        hidden = i < len(SIZES) - 2
        bias = np.zeros_like(mean) if hidden and kind in ("WN + mean-only BN", "batch norm") else -mean / deviation
        g = {"normal": [], "batch norm": [np.ones_like(mean)] if hidden else []}.get(kind, [np.linalg.norm(w, axis=2)])
        layers.append([w, *g, bias])
    return layers


# %%


def forward(kind, layers, x, given=None):
    """Logits for x (…, B, inputs), and the (mean, variance) used in each hidden layer: those given, or x's own."""
    used = []
    for i, parameters in enumerate(layers):
        w, bias = parameters[0], mg.expand_dims(parameters[-1], -2)
        if kind in ("weight norm", "WN + mean-only BN"):
            w = mg.expand_dims(parameters[1], -1) * w / mg.norm(w, axis=-1, keepdims=True)
        t = x @ w.swapaxes(-1, -2)
        if i < len(layers) - 1 and kind in ("WN + mean-only BN", "batch norm"):
            mean, variance = given[i] if given else (t.mean(axis=-2, keepdims=True), None)
            t = t - mean
            if kind == "batch norm":
                variance = variance if given else mg.square(t).mean(axis=-2, keepdims=True)
                t = t * mg.expand_dims(parameters[1], -2) / mg.sqrt(variance + 1e-5)
            used.append((mean, variance))
        x = mg.relu(t + bias) if i < len(layers) - 1 else t + bias
    return x, used


def nats(logits, targets):
    """Cross-entropy of each run, averaged over its examples."""
    right = (logits * np.eye(classes, dtype=np.float32)[targets]).sum(axis=-1)
    return (mg.logsumexp(logits, axis=-1) - right).mean(axis=-1)


def new_examples(n, sources):
    """n examples of every problem, with an axis of length 1 for the learning rates."""
    found = [draw(n, source) for draw, source in zip(draws, sources, strict=True)]
    return tuple(np.stack(part)[:, None] for part in zip(*found, strict=True))


# %%


class Runs:
    """Networks of one kind, for every problem and every learning rate, trained side by side."""

    def __init__(self, kind, rates):
        self.kind, self.rates, self.running = kind, np.array(rates, np.float32), None
        sources = [lesson.rng(3, i) for i in range(PROBLEMS)]
        layers = start(kind, new_examples(500, sources)[0][:, 0], sources)
        stacked = [[np.repeat(p[:, None], len(rates), axis=1).astype(np.float32) for p in layer] for layer in layers]
        self.layers = [[mg.tensor(p, requires_grad=True) for p in layer] for layer in stacked]
        self.parameters = [p for layer in self.layers for p in layer]

    def step(self, x, targets):
        """One step of SGD; the statistics go into the running averages."""
        logits, used = forward(self.kind, self.layers, x)
        gradients = mg.grad(nats(logits, targets).sum(), self.parameters)
        for p, gradient in zip(self.parameters, gradients, strict=True):
            p.data = p.data - self.rates.reshape(1, -1, *[1] * (p.ndim - 2)) * gradient.data
        B = x.shape[-2]
        new = [[m.data, v.data * (B / max(B - 1, 1)) if v is not None else np.zeros_like(m.data)] for m, v in used]
        old = self.running or [[np.zeros_like(m), np.ones_like(v)] for m, v in new]
        pairs = [zip(was, now, strict=True) for was, now in zip(old, new, strict=True)]
        self.running = [[0.9 * a + 0.1 * b for a, b in pair] for pair in pairs]  # momentum 0.1, as in the library

    def test(self, x, targets, running=True):
        """The loss of every run, with running averages or the statistics of these very examples."""
        with mg.no_grad():
            return nats(forward(self.kind, self.layers, x, self.running if running else None)[0], targets).numpy()


# %%
# With one example, mean-only batch normalization leaves the hidden layers without any gradient. The library's layer
# refuses that; the code above does not, so that we can watch. Full batch normalization would divide 0 by 0, and is left
# out. Normalized networks are tested in three ways: with running averages, with each test minibatch's own statistics,
# and with those of all 2048 test examples.

rates = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0]
batch_sizes = [1, 2, 4, 8, 16, 32, 64, 128, 256] if lesson.full else [1, 2, 4, 8, 32, 128]
test_x, test_y = new_examples(2048, [lesson.rng(4, i) for i in range(PROBLEMS)])
results, at_one = {}, []  # (kind, B) → test loss, (problems, rates), for each way to evaluate


def evaluate(runs, B):
    """The test losses of all runs for each way to evaluate."""
    losses = {"running": runs.test(test_x, test_y)}
    if runs.running and B > 1:
        losses["all"] = runs.test(test_x, test_y, running=False)
        cut = min(2048 // B, 32)
        own = [runs.test(test_x[:, :, j * B : (j + 1) * B], test_y[:, :, j * B : (j + 1) * B], running=False)
               for j in range(cut)]
        losses["own"] = np.mean(own, axis=0)
    return {name: np.where(np.isfinite(loss), loss, np.inf) for name, loss in losses.items()}


with np.errstate(over="ignore", invalid="ignore"):  # some of these runs diverge
    for kind in KINDS:
        for B in lesson.progress(batch_sizes[kind == "batch norm" :], kind):
            runs, sources = Runs(kind, rates), [lesson.rng(5, i, B) for i in range(PROBLEMS)]
            before = [p.data for p in runs.parameters]
            for _ in range(STEPS):
                runs.step(*new_examples(B, sources))
            results[kind, B] = evaluate(runs, B)
            if B == 1 and kind == "WN + mean-only BN":
                at_one = [np.abs(p.data - b).max() for p, b in zip(runs.parameters, before, strict=True)]

# %%


def best(kind, B, how="running"):
    """The test loss of each problem at the learning rate that is best for this kind and size in the median."""
    losses = results[kind, B][how]
    return losses[:, np.median(losses, axis=0).argmin()]


print(f"test loss (nats), mean over {PROBLEMS} problems, best learning rate; guessing: {math.log(classes):.3f}")
print("   B" + "".join(f"{kind:>20}" for kind in KINDS))
for B in batch_sizes:
    row = [f"{best(kind, B).mean():20.3f}" if (kind, B) in results else f"{'-':>20}" for kind in KINDS]
    print(f"{B:4}" + "".join(row))
print("best rates:", {kind: [rates[np.median(results[kind, B]["running"], axis=0).argmin()] for B in batch_sizes
                           if (kind, B) in results] for kind in KINDS})
print("WN + mean-only BN, B = 1: largest change of v, g, b, layer by layer:", [f"{c:.2g}" for c in at_one])
print("ways to evaluate: running averages / the test minibatch's own statistics / those of 2048 examples")
for kind in KINDS[2:]:
    for B in batch_sizes[1:]:
        print(f"{kind:18} B = {B:3}: " + " / ".join(f"{best(kind, B, how).mean():.3f}" for how in
                                                    ("running", "own", "all")))

# %% tags=["hide-input"]
# *Tolerances.* All kinds learn the same problems from the same starting functions. A difference of means is claimed
# where it is positive; its standard error is printed beside it. "Equal" is within 0.03 nats.


def behind(kind, other, B, how="running"):
    """How much more test loss one kind has than another on each problem."""
    return best(kind, B, how) - best(other, B)


def claim_behind(text, *which, **options):
    difference = behind(*which, **options)
    print(f"difference {difference.mean():+.3f}, standard error {difference.std(ddof=1) / math.sqrt(PROBLEMS):.3f}")
    lesson.claim(f"{text}: mean difference of test losses", difference.mean(), above=0)


top = batch_sizes[-1]
lesson.claim("B = 1, WN + mean-only BN: largest change of any parameter but the last bias, after all steps",
             max(at_one[:-1]), near=0, within=0)
lesson.claim("B = 1, weight norm: learns, mean test loss − that of guessing",
             best("weight norm", 1).mean() - math.log(classes), below=0)
claim_behind("B = 2: batch norm is behind weight norm", "batch norm", "weight norm", 2)
for B in (2, 4):
    claim_behind(f"B = {B}: batch norm is behind WN + mean-only BN", "batch norm", "WN + mean-only BN", B)
claim_behind(f"B = {top}: weight norm alone is behind WN + mean-only BN", "weight norm", "WN + mean-only BN", top)
lesson.claim(f"B = {top}: batch norm and WN + mean-only BN, mean difference of test losses",
             behind("batch norm", "WN + mean-only BN", top).mean(), near=0, within=0.03)
for kind in KINDS[2:]:
    claim_behind(f"B = 8, {kind}: the test minibatch's own statistics are worse than running averages", kind, kind, 8,
                 how="own")

# %% tags=["hide-input"]

figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 4.2), width_ratios=(1.15, 1), sharey=True)
for kind in KINDS:
    Bs = [B for B in batch_sizes if (kind, B) in results and best(kind, B).mean() < 2.6]
    middle = np.array([best(kind, B).mean() for B in Bs])
    left.plot(Bs, middle, "o-", color=COLOURS[kind], ms=4.5, label=kind)
    if kind != "weight norm":
        error = [2 * behind(kind, "weight norm", B).std(ddof=1) / math.sqrt(PROBLEMS) for B in Bs]
        left.fill_between(Bs, middle - error, middle + error, color=COLOURS[kind], alpha=0.18, lw=0)
left.axhline(math.log(classes), ls="--", color="0.5", lw=1)
left.text(batch_sizes[-1], math.log(classes) + 0.015, "guessing", color="0.4", fontsize=9, ha="right")
left.set(xscale="log", xlabel="size B of the minibatch", ylabel="test loss (nats)", ylim=(None, 2.42),
         title="Best learning rate, running averages")
left.legend(loc="lower left", fontsize=9)
for kind in KINDS[2:]:
    for how, line, marker, label in (("running", "-", "o", "running averages"),
                                     ("own", ":", "s", "the minibatch's own"),
                                     ("all", "--", "x", "those of 2048 examples")):
        values = [best(kind, B, how).mean() for B in batch_sizes[1:]]
        right.plot(batch_sizes[1:], values, line, marker=marker, color=COLOURS[kind], ms=4.5,
                   label=label if kind == "batch norm" else None)
right.set(xscale="log", xlabel="size B of the minibatch", title="With which statistics at test time?")
right.legend(fontsize=9)
for axis, ticks in ((left, batch_sizes), (right, batch_sizes[1:])):
    axis.set_xticks(ticks, [str(B) for B in ticks])
    axis.minorticks_off()
lesson.figure(figure, "batch_size", note=f"synthetic problems: mean of {PROBLEMS}, {STEPS} steps; band: 2 standard "
              "errors of the difference to weight norm", alt="Test loss against the size of the minibatch. Left: for "
              "two examples batch norm hardly beats guessing while the others learn; from 32 examples on it is level "
              "with mean-only batch norm, and both are slightly ahead of weight norm. Right: for small sizes the "
              "statistics of the test minibatch itself are clearly worse than running averages.")

# %%
# (All best rates lie inside the grid, except for mean-only batch normalization with $B = 1$, for which no rate is of
# use.)
#
# - *One example.* Weight normalization and the normal parameterization learn. With mean-only batch normalization
#   nothing but the last bias ever changes. Its test loss, 2.9, is off the figure, above that of guessing: at test time
#   the running average replaces the mean, and the output is that of a random network that training never saw.
# - *Two to four.* With $B = 2$ full batch normalization hardly beats guessing. It passes on which of two numbers is the
#   larger, and nothing else. Mean-only batch normalization also keeps by how much, and stays close to weight
#   normalization, which does not depend on $B$ except through the gradient noise that all four share. Here "less noisy
#   approximation to batch normalization" (section 2.2) is plain to see.
# - *Large.* Subtracting the mean helps on this problem, whose inputs have means that are not 0. Once its noise is small
#   enough, mean-only batch normalization is ahead of weight normalization alone, by one or two hundredths of a nat in
#   the end. In this shallow network the division by $\sigma$ adds little to that.
# - *At test time*, running averages are better than the statistics of the test minibatch itself, which are noisy, and
#   about as good as those of 2048 examples. (For $B = 2$ they average over some 40 examples only: with momentum 0.1,
#   over $2/0.1 - 1 = 19$ minibatches.)
#
# Questions
# ---------
#
# 1. *A longer memory.* Change the momentum of the running averages to 0.01. For which $B$ does the test loss change,
#    and when would you not do that?
# 2. *How large?* By the law of ``08_depth_and_minibatches.py``, from which $B$ on does batch normalization move a
#    pre-activation of the first layer by less than a tenth of its standard deviation? Compare with the figure.

lesson.finish()

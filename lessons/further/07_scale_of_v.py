r"""The scale of v: the same function, other steps
==============================================

The paper draws $v$ from a normal distribution with standard deviation 0.05, and equations 5 and 6 make the scale of
$v$ irrelevant to what the network computes. It is not irrelevant to what the network learns. Open this chapter if
you use weight normalization and wonder why your learning rate depends on how you drew $v$.

Afterwards you can

- predict the first step of weight normalization, relative to the normal parameterization, from $g$ and $\|v\|$;
- explain why the 0.05 is a choice of learning rate, and get rid of it.

Read first: lesson 07 as far as "Does it help?"; of lesson 03, "What follows from equation 3".

Time: quick about 8 s, full about 30 s.
"""

# %%

import copy
from itertools import pairwise
from math import log, pi

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl

import minigrad as mg
import wn
from lessons import COLOURS, Lesson
from minigrad import nn

lesson = Lesson(__file__)
threadpoolctl.threadpool_limits(1)  # matrices this small are multiplied fastest by a single thread
NORMAL, WEIGHT_NORM = COLOURS["normal"], COLOURS["weight norm"]

# %%
# The first step
# --------------
#
# After equations 5 and 6 a network with weight normalization and one without are the same function. Then they diverge.
# Lesson 03 found for one step of gradient descent on a loss $L$ with learning rate $\eta$ on $v$ and $g$, to first
# order,
#
# $$\Delta w = -\eta\left(u u^{\mathsf T} + \frac{g^2}{\|v\|^2}\,M_w\right)\nabla_w L, \qquad u = \frac{v}{\|v\|}.$$
#
# Across $w$, weight normalization starts with a learning rate $(g/\|v\|)^2$ times as large. Equation 6 fixes $g$.
# Nothing fixes $\|v\|$: the scale $s$ of $v$ no longer matters to the function, and has become part of the learning
# rate. If the $n$ entries of $v$ come from $N(0, s^2)$, then $\|v\|^2 \approx n s^2$. After another layer
# $g^2 \approx 1/\operatorname{Var}\phi(z)$ with $z$ standard normal (lesson 07), so
#
# $$\frac{g^2}{\|v\|^2} \approx \frac{1}{n\,s^2\,\operatorname{Var}\phi(z)} .$$
#
# With the paper's $s = 0.05$ and 100 ReLU units, that is 11.7.

n, examples, s = 100, 500, 0.05


class Stack(nn.Module):
    """Four ReLU layers of n units."""

    def __init__(self, rng):
        super().__init__()
        self.layers = [nn.Linear(n, n, rng=rng) for _ in range(4)]
        for layer in self.layers:
            layer.weight.data, layer.bias.data = rng.normal(0, s, (n, n)), np.zeros(n)

    def forward(self, x):
        for i, layer in enumerate(self.layers):
            x = layer(mg.relu(x) if i else x)
        return x


def first_step(model, x, target):
    """What one step of gradient descent adds to the weights of each layer."""
    before = [layer.weight.numpy().copy() for layer in model.layers]
    mg.square(model(mg.tensor(x)) - target).sum().backward()
    mg.optim.SGD(model.parameters(), lr=1e-9).step()
    return [layer.weight.numpy() - w for layer, w in zip(model.layers, before, strict=True)]


# %%

x, target = lesson.rng(300).normal(size=(examples, n)), lesson.rng(301).normal(size=(examples, n))
ratios, expected, by_layer = [], [], []
for i in range(4):
    ordinary = Stack(lesson.rng(302, i))
    normalized = wn.apply_weight_norm(copy.deepcopy(ordinary))
    for model in (ordinary, normalized):
        wn.data_dependent_init(model, x)
    u = [layer.weight_v.numpy() / np.linalg.norm(layer.weight_v.numpy(), axis=1, keepdims=True)
         for layer in normalized.layers]
    expected.append([(layer.weight_g.numpy().ravel() / np.linalg.norm(layer.weight_v.numpy(), axis=1)) ** 2
                     for layer in normalized.layers])
    across = [[np.linalg.norm(move - (move * d).sum(axis=1, keepdims=True) * d, axis=1)
               for move, d in zip(first_step(model, x, target), u, strict=True)] for model in (normalized, ordinary)]
    ratios.append(np.array(across[0]) / np.array(across[1]))
by_layer = np.mean(ratios, axis=(0, 2))
print("first step across w, weight norm / normal, by layer:", np.round(by_layer, 2))

# %% tags=["hide-input"]
# *Tolerances.* The formula for one step leaves out terms of relative size $\eta\,(g/\|v\|)^2\,\|\nabla_w L\|/g$, below
# $10^{-4}$ for $\eta = 10^{-9}$ (the loss is a sum of 50,000 squares, and its gradients are large accordingly). The
# estimate holds on average over units: $1/\|v\|^2$ and $1/\sigma^2$ are each larger than the inverse of a mean by about
# $2/n = 2$ %, and by up to that again in deeper layers; 1200 units of four networks scatter by 20 % at most, so their
# mean by 1 %, and by 2 % since units of a network are alike. We allow 10 %.

var_relu = 1 / 2 - 1 / (2 * pi)
lesson.claim("First step across w, weight norm / normal = (g/‖v‖)² for each unit", np.array(ratios),
             predicted=np.array(expected), rtol=1e-4)
lesson.claim("The same in hidden layers: 1/(n s² Var φ) = 11.7 on average", by_layer[1:].mean(),
             predicted=1 / (n * s**2 * var_relu), rtol=0.1)

# %%
# Ten scales
# ----------
#
# What does this do to training? Batch normalization, says section 3, "makes the optimization robust against parameter
# initializations for which these scales vary across layers". We try ten scales $s$ of $v$, from 0.003 to 1.6, with the
# task of lesson 07, a network of 8 layers and the learning rate 0.03. The scales are powers of two times 0.05.
# Multiplying a float by a power of two does not round. So wherever $s$ truly does not matter, runs must agree to the
# last bit.

problems, steps = (5, 400) if lesson.full else (2, 200)
hidden, inputs, classes, minibatch, count, eta = 40, 32, 10, 40, 8, 0.03
scales = 0.05 * 2.0 ** np.arange(-4, 6)
shapes = [(b, a) for a, b in pairwise([inputs] + [hidden] * (count - 1) + [classes])]
CASES = ("normal", "normal, equations 5 and 6", "weight norm, equations 5 and 6")


def start(case, scale, x, rng):
    """[w, b] of each layer, or [v, b, g] with weight normalization, for v of this scale."""
    layers = []
    for shape in shapes:
        v = rng.normal(0, scale, shape)
        lengths = np.linalg.norm(v, axis=1, keepdims=True)
        t = x @ (v / lengths).T
        mean, deviation = t.mean(axis=0), t.std(axis=0)
        x = mg.relu((t - mean) / deviation)
        if case == "normal":
            layers.append([v, np.zeros((1, len(v)))])
        elif case.startswith("normal"):
            layers.append([v / lengths / deviation[:, None], (-mean / deviation)[None]])
        else:
            layers.append([v, (-mean / deviation)[None], 1 / deviation[:, None]])
    return layers


# %% tags=["hide-input"]
# The training loop of lesson 07, with networks side by side: here one for each scale, all at one learning rate.


def losses_of(layers, x, y):
    """The cross-entropy of each network, of shape (networks,)."""
    for i, (v, b, *g) in enumerate(layers):
        w = g[0] * v / mg.norm(v, axis=-1, keepdims=True) if g else v
        x = (mg.relu(x) if i else x) @ w.swapaxes(-1, -2) + b
    right = np.eye(classes, dtype=np.float32)[y]
    return -(mg.log_softmax(x, axis=-1) * right).sum(axis=-1).mean(axis=-1)


def train(starts, x, y, rng):
    """The mean loss of each network over the last 20 steps; infinite if the run has diverged."""
    layers = [[mg.tensor(np.stack(p).astype(np.float32), requires_grad=True) for p in zip(*same, strict=True)]
              for same in zip(*starts, strict=True)]
    flat, curve = [p for layer in layers for p in layer], []
    with np.errstate(all="ignore"):  # some of these runs are meant to diverge
        for _ in range(steps):
            i = rng.integers(0, len(x), minibatch)
            losses = losses_of(layers, mg.tensor(np.repeat(x[None, i], len(starts), axis=0)), y[i])
            curve.append(losses.numpy())
            for p, gradient in zip(flat, mg.grad(losses.sum(), flat), strict=True):
                p.data = p.data - np.float32(eta) * gradient.data
    return np.where(np.isfinite(curve).all(axis=0), np.mean(curve[-20:], axis=0), np.inf)


# %%

final = {case: [] for case in CASES}
for problem in range(problems):
    rng = lesson.rng(303, problem)
    centres = rng.normal(size=(3 * classes, inputs))
    cluster = rng.integers(0, len(centres), 2048)
    points = (centres[cluster] + 0.5 * rng.normal(size=(2048, inputs))).astype(np.float32)
    for case in CASES:
        starts = [start(case, scale, points[:500], lesson.rng(304, problem)) for scale in scales]
        final[case].append(train(starts, points, cluster % classes, lesson.rng(305, problem)))
print("final loss by scale of v, first problem")
print("s                              ", "".join(f"{scale:8.3f}" for scale in scales))
for case, values in final.items():
    print(f"{case:31}", "".join(f"{value:8.3f}" for value in values[0]))

# %% tags=["hide-input"]
# *Bounds.* 0 is exact. Without equations 5 and 6 the signal changes per layer by $s\sqrt{n/2}$, $n = 40$: over 8 layers
# by a factor of 5 or less only for $s$ between 0.18 and 0.28, and the scales are a factor of 2 apart. We allow three.
# With weight normalization the effective rates across $w$ differ by $4^9$ from one end to the other; that the worst
# loss is ten times the best is a cautious reading of that.

lesson.claim("Normal parameterization after equations 5 and 6: the scale of v does not matter, largest difference",
             np.ptp(final["normal, equations 5 and 6"], axis=1).max(), near=0, within=0)
lesson.claim("Normal parameterization without: number of the ten scales with a final loss below 0.5, at most",
             (np.array(final["normal"]) < 0.5).sum(axis=1).max(), below=4)
split = np.array(final["weight norm, equations 5 and 6"])
lesson.claim("Weight normalization after equations 5 and 6: the scale of v does matter, largest loss / smallest",
             (split.max(axis=1) / split.min(axis=1)).min(), above=10)

# %% tags=["hide-input"]

figure, axes = plt.subplots(figsize=(7.2, 4.4))
looks = ((NORMAL, ":", "v"), (NORMAL, "-", "o"), (WEIGHT_NORM, "-", "o"))
for (case, values), (colour, line, marker) in zip(final.items(), looks, strict=True):
    shown = np.isfinite(values[0])
    face = "white" if line != "-" else colour
    axes.plot(scales[shown], values[0][shown], line, color=colour, marker=marker, ms=5, mfc=face, label=case)
    axes.plot(scales[~shown], np.full((~shown).sum(), 0.97), "x", color=colour, transform=axes.get_xaxis_transform())
axes.axhline(log(classes), color="0.6", lw=1)
axes.annotate("guessing", (1, log(classes)), (3, 0), xycoords=axes.get_yaxis_transform(), textcoords="offset points",
              fontsize=9, color="0.4", va="center", annotation_clip=False)
axes.set(xscale="log", yscale="log", xlabel="scale s of v (×: diverged)", ylabel="final loss (nats)", ylim=(1e-4, 10),
         title=f"{count} layers, η = {eta}")
figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
lesson.figure(
    figure, "scale_of_v", note=f"synthetic clusters; {steps} steps of SGD; first problem",
    alt="Final loss against the scale of v, both logarithmic. Without equations 5 and 6 only scales near 0.2 learn. "
    "With them the normal parameterization is a flat line at about 0.02. Weight normalization is a valley: "
    "guessing-level loss at 0.003, below 0.01 near 0.1, and rising again to the right.",
)

# %%
# Three curves, three answers. Without equations 5 and 6 only scales near He's 0.22 learn. With them and the normal
# parameterization, $s$ does not matter at all: it is divided out. With weight normalization it is divided out of the
# *function* but stays in the *training*. A small $s$ is a large effective learning rate, a large $s$ a small one. So
# the paper's 0.05 goes together with the learning rates that the paper tried. To the right of the valley training is
# only slow. To the left it is unstable at first, and $\|v\|$ has to grow (lesson 05) before anything is learned.
#
# To be free of $s$, set $\|v\|$ too, for example to $g$. Then the first step is that of the normal parameterization.
#
# Question
# --------
#
# 1. *Free of s.* After equations 5 and 6, multiply each $v$ by $g/\|v\|$. Add the curve to the figure. Is it flat, and
#    where does it lie relative to the blue one?

lesson.finish()

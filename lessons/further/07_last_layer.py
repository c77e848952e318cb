r"""The last layer: logits of variance one
======================================

Equation 6 gives *every* pre-activation variance 1, the logits included, whether or not the features below are already
informative. So training starts above the loss of guessing, and if the last layer sees an average over many places, as
in most image networks, its length $g$ comes out large and the loss may jump. Open this chapter if you have seen either,
or before question 5 of lesson 09.

Afterwards you can

- predict the first loss of an initialized classifier;
- predict the $g$ of a layer that follows an average over $P$ places;
- say at which learning rates such a $g$ helps, and at which it hurts.

Read first: lesson 07 as far as "Does it help?"

Time: quick about 10 s, full about 1 min.
"""

# %%

from math import exp, log, pi, sqrt

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl

import minigrad as mg
from lessons import COLOURS, Lesson

lesson = Lesson(__file__)
threadpoolctl.threadpool_limits(1)  # matrices this small are multiplied fastest by a single thread
WEIGHT_NORM = COLOURS["weight norm"]

# %%
# The loss begins above guessing
# ------------------------------
#
# A classifier with $K$ classes turns its logits $t_1, \dots, t_K$ into the cross-entropy loss
# $L = \ln\sum_k e^{t_k} - t_y$ for the right class $y$. Guessing costs $\ln K$. Suppose that the logits are independent
# standard normal numbers $z_k$ that do not depend on the class. Then $\mathbb{E}\,z_y = 0$, and with
# $S = \sum_k e^{z_k}$ the expected loss is $\mathbb{E}\ln S$. Since $\mathbb{E}\,e^z = \sqrt e$ and
# $\operatorname{Var} e^z = e(e - 1)$, a second-order expansion of the logarithm around $\mathbb{E}\,S = K\sqrt e$ gives
#
# $$\mathbb{E}\,L \approx \ln K + \frac12 - \frac{\operatorname{Var} S}{2\,(\mathbb{E}\,S)^2}
#   = \ln K + \frac12 - \frac{e - 1}{2K} .$$
#
# Half a nat too much, for many classes. The exact number is an integral: from
# $\ln S = \int_0^\infty (e^{-r} - e^{-rS})\,\frac{dr}{r}$ (Frullani) and because $\mathbb{E}\,e^{-rS}$ is the
# $K$-th power of the same for one logit.


def expected_loss(K):
    """E ln Σ exp(z_k) for K independent standard normal z_k."""
    log_r, z = np.linspace(-40, 8, 4001), np.linspace(-9, 9, 1001)
    density = np.exp(-(z**2) / 2) / np.exp(-(z**2) / 2).sum()
    r = np.exp(log_r)
    one = np.exp(-r[:, None] * np.exp(z)) @ density
    return (np.exp(-r) - one**K).sum() * (log_r[1] - log_r[0])


def second_order(K):
    """The same by the expansion."""
    return log(K) + 1 / 2 - (exp(1) - 1) / (2 * K)


drawn = {}
for K in (2, 10, 100):
    drawn[K] = np.log(np.exp(lesson.rng(500, K).normal(size=(100_000, K))).sum(axis=1)).mean()
    print(f"K = {K:3}: guessing {log(K):.3f}; drawn {drawn[K]:.3f}, exact {expected_loss(K):.3f}, "
          f"second order {second_order(K):.3f}")

# %% tags=["hide-input"]
# *Tolerance.* One $\ln S$ scatters by 0.7 at most; the mean of 100,000 by 0.0025. Third-order terms are of size
# $1/K^2$ times some number near 1: 0.3 % at $K = 10$. (At $K = 2$ the expansion is useless.) We allow 1 %.

lesson.claim("Loss of K standard normal logits that know nothing, by the integral: K = 2, 10, 100",
             list(drawn.values()), predicted=[expected_loss(K) for K in drawn], rtol=0.01)
lesson.claim("The same, ln K + 1/2 - (e - 1)/2K: K = 10 and 100", [drawn[10], drawn[100]],
             predicted=[second_order(10), second_order(100)], rtol=0.01)

# %%
# Where the inputs hardly vary, g is large
# ----------------------------------------
#
# The last layer of many image networks, lesson 09's among them, sees the mean of each feature over $P$ places. If
# places were independent, that mean would have the variance $\operatorname{Var}\phi(z)/P$, where $z$ is standard
# normal, and equation 6 would set
#
# $$g = \sqrt{\frac{P}{\operatorname{Var}\phi(z)}} .$$
#
# Here is a small model: each example consists of $P$ patches of 16 numbers. The same two layers of 64 ReLUs look at
# every patch; then come the mean over patches, and 10 logits. A patch is noise, and a quarter of all patches also
# contain plus or minus the pattern of the class. At the start the pooled features say next to nothing about the class.

classes, patch, features, minibatch = 10, 16, 64, 40


def draw_patches(P, count, rng):
    """(count, P, patch) examples and their classes."""
    patterns = rng.normal(size=(classes, patch))
    patterns /= np.linalg.norm(patterns, axis=1, keepdims=True)
    labels = rng.integers(0, classes, count)
    sign = rng.choice([-1, 0, 0, 0, 0, 0, 0, 1], size=(count, P, 1))
    return (rng.normal(size=(count, P, patch)) + 3 * sign * patterns[labels][:, None]).astype(np.float32), labels


def start(x, rng):
    """[v, b, g] of each layer, by equations 5 and 6 with statistics over examples and places; and the logits."""
    found = []
    for shape in ((features, patch), (features, features), (classes, features)):
        v, last = rng.normal(0, 0.05, shape), shape[0] == classes
        x = x.mean(axis=1) if last else x
        t = x @ (v / np.linalg.norm(v, axis=1, keepdims=True)).T
        axes = 0 if last else (0, 1)
        mean, deviation = t.mean(axis=axes), t.std(axis=axes)
        found.append([v, (-mean / deviation)[None], (1 / deviation)[:, None]])
        x = (t - mean) / deviation if last else mg.relu((t - mean) / deviation)
    return found, x


# %%

PLACES, networks = (1, 2, 4, 8, 16, 32, 64), 24 if lesson.full else 8
var_relu = 1 / 2 - 1 / (2 * pi)
g_by_places, first_losses = {}, []
for P in PLACES:
    gs = []
    for i in range(networks):
        noise = lesson.rng(501, P, i).normal(size=(500, P, patch))  # patches without a pattern are independent
        layers, logits = start(noise, lesson.rng(502, P, i))
        gs.append(layers[-1][2].mean())
        labels = lesson.rng(503, P, i).integers(0, classes, 500)
        first_losses.append(mg.nn.functional.cross_entropy(logits, labels))
    g_by_places[P] = np.mean(gs)
    print(f"P = {P:2}: g of the last layer {g_by_places[P]:5.2f}, predicted {sqrt(P / var_relu):5.2f}")
print(f"first loss {np.mean(first_losses):.3f}, predicted {expected_loss(classes):.3f}; guessing {log(classes):.3f}")

# %% tags=["hide-input"]
# *Tolerances.* The variance of $u \cdot x$ for a random unit vector $u$ scatters by some $\sqrt{2/64} = 18$ % around
# the mean variance of 64 independent features, and by 25 % as they are correlated. $g$ scatters by half as much, and
# its mean over 80 units by 1.4 %. The inverse of a root adds a bias of about $\frac38 \cdot 0.25^2 = 2$ %. Four
# scatters and twice the bias are 10 %. The loss of an example scatters by 1.1, the mean of 500 by 0.05, and the mean
# over 56 networks by 0.007. Correlations between logits, of size $1/\sqrt{64}$ or more, take away up to half their
# variance. We allow 0.05, or 2 %; guessing is 16 % away.

lesson.claim("Last layer after a mean over P = 1 to 64 places: g = √(P/Var φ)", list(g_by_places.values()),
             predicted=[sqrt(P / var_relu) for P in PLACES], rtol=0.1)
lesson.claim("Logits of variance 1 that know nothing: loss at the start", np.mean(first_losses),
             predicted=expected_loss(classes), rtol=0.02)

# %%
# In lesson 09 there are $6 \times 6 = 36$ places and leaky ReLUs, which would make $g = \sqrt{36/0.376} = 9.8$. The
# lesson finds 5 to 7: neighbouring places are alike, and 36 of them count as 9 to 18.
#
# Now train
# ---------
#
# We train with 16 places and plain SGD, eight learning rates $\eta$ side by side. The last layer starts once as
# equation 6 leaves it, and once with $g = 1$ and $b = 0$.

# %% tags=["hide-input"]
# The training loop of lesson 07, with the model above.


def logits_of(layers, x):
    """The forward pass of the small model, for all networks side by side; x is (networks, examples, P, patch)."""
    count, examples, P, _ = x.shape
    for i, (v, b, g) in enumerate(layers):
        w = g * v / mg.norm(v, axis=-1, keepdims=True)
        x = x.reshape((count, examples * P, -1)) if i < 2 else x.reshape((count, examples, P, features)).mean(axis=2)
        x = x @ w.swapaxes(-1, -2) + b
        x = mg.relu(x) if i < 2 else x
    return x


def train(layers, etas, x, y, rng, steps):
    """The loss at each step, of shape (steps, rates), and the layers afterwards."""
    layers = [[mg.tensor(np.repeat(p[None], len(etas), axis=0).astype(np.float32), requires_grad=True) for p in layer]
              for layer in layers]
    flat, curve, rates = [p for layer in layers for p in layer], [], etas.astype(np.float32)[:, None, None]
    with np.errstate(all="ignore"):  # some of these runs are meant to diverge
        for _ in range(steps):
            i = rng.integers(0, len(x), minibatch)
            logits = logits_of(layers, mg.tensor(np.repeat(x[None, i], len(etas), axis=0)))
            right = np.eye(classes, dtype=np.float32)[y[i]]
            losses = -(mg.log_softmax(logits, axis=-1) * right).sum(axis=-1).mean(axis=-1)
            curve.append(losses.numpy())
            for p, gradient in zip(flat, mg.grad(losses.sum(), flat), strict=True):
                p.data = p.data - rates * gradient.data
    return np.array(curve), layers


# %%

P, etas = 16, 10 ** np.arange(-3.5, 0.1, 0.5)
problems, steps = (5, 400) if lesson.full else (2, 200)
curves, common = {"equation 6": [], "g = 1, b = 0": []}, []
for problem in range(problems):
    points, labels = draw_patches(P, 1000, lesson.rng(504, problem))
    for name in curves:
        layers, _ = start(points[:500].astype(np.float64), lesson.rng(505, problem))
        if name != "equation 6":
            layers[-1][1:] = np.zeros((1, classes)), np.ones((classes, 1))
        curves[name].append(train(layers, etas, points, labels, lesson.rng(506, problem), steps)[0])
        if name == "equation 6":
            _, trained = train(layers, np.array([1e-2]), points, labels, lesson.rng(506, problem), 5)
            logits = logits_of(trained, mg.tensor(points[None])).numpy()[0]
            logits -= logits.mean(axis=1, keepdims=True)  # a number added to all logits of an example has no effect
            common.append((logits.mean(axis=0) ** 2).sum() / (logits**2).mean(axis=0).sum())

peak = {name: np.mean([curve[:20].max(axis=0) for curve in each], axis=0) for name, each in curves.items()}
ends = {name: np.mean([curve[-20:].mean(axis=0) for curve in each], axis=0) for name, each in curves.items()}
print("log10 η                         ", "".join(f"{value:8.1f}" for value in np.log10(etas)))
for name in curves:
    print(f"{name:12} highest of 20 steps", "".join(f"{value:8.2f}" for value in peak[name]))
    print(f"{'':12} after {steps} steps    ", "".join(f"{value:8.2f}" for value in ends[name]))
print("η = 0.01, after five steps: share of the logits that is common to all examples", np.round(common, 2))

# %% tags=["hide-input"]
# *Bounds.* $g$ is $\sqrt{16/0.34} = 6.9$ with equation 6, so each step changes logits about 7 times as much through the
# features, and their gradients are 7 times larger too: the learning rate at which the loss jumps should be lower by a
# factor of 7 to 47, 0.8 to 1.7 decades. On a grid of half decades we claim that the best rate moves by at least one
# grid step. A jump is a loss of twice that of guessing; 1.2 times is none (the loss begins at 1.19 times).

which = {value: i for i, value in enumerate(np.round(np.log10(etas), 1))}
shift = np.log10(etas[np.nanargmin(ends["g = 1, b = 0"])] / etas[np.nanargmin(ends["equation 6"])])
lesson.claim("Last layer as in equation 6, η = 10^-1.5: highest loss in the first 20 steps / ln 10",
             peak["equation 6"][which[-1.5]] / log(10), above=2)
lesson.claim("Last layer with g = 1, η = 10^-1.5: highest loss in the first 20 steps / ln 10",
             peak["g = 1, b = 0"][which[-1.5]] / log(10), below=1.2)
lesson.claim("η = 0.01, after five steps: mean square of the logits that is common to all examples, smallest share",
             min(common), above=0.5)
lesson.claim("With g = 1 the best learning rate is larger, by how many decades", shift, above=0.4)
lesson.claim("η = 10^-2.5: the last layer as in equation 6 learns faster, difference of final losses",
             (ends["g = 1, b = 0"] - ends["equation 6"])[which[-2.5]], above=0.2)
lesson.claim("η = 10^-0.5: the last layer as in equation 6 learns more slowly, difference of final losses",
             (ends["equation 6"] - ends["g = 1, b = 0"])[which[-0.5]], above=0)

# %% tags=["hide-input"]

figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 4.4), width_ratios=[1, 1.3])
places = np.array(PLACES)
left.plot(places, np.sqrt(places / var_relu), "-", color="0.6", label="$\\sqrt{P/\\mathrm{Var}\\,\\phi}$")
left.plot(places, list(g_by_places.values()), "o", color=WEIGHT_NORM, label="measured")
left.set(xscale="log", yscale="log", xlabel="places P that are averaged", ylabel="g of the last layer",
         title="Small variance in, large g out", xticks=places, xticklabels=places, yticks=[2, 5, 10],
         yticklabels=[2, 5, 10])
left.minorticks_off()
left.legend()
for name, line, face in (("equation 6", "-", WEIGHT_NORM), ("g = 1, b = 0", "--", "white")):
    right.plot(etas, ends[name], line, marker="o", color=WEIGHT_NORM, mfc=face, label=f"{name}: after {steps} steps")
    right.plot(etas, peak[name], line, marker="^", color="0.45", mfc="0.45" if line == "-" else "white",
               label=f"{name}: highest of 20 steps")
right.axhline(log(classes), color="0.6", lw=1)
right.annotate("guessing", (1, log(classes)), (3, 0), xycoords=right.get_yaxis_transform(), textcoords="offset points",
               fontsize=8, color="0.4", va="center", annotation_clip=False)
right.set(xscale="log", yscale="log", xlabel="learning rate η", ylabel="loss (nats)", title="Training, P = 16",
          yticks=[1, 2, 5, 10, 20, 50], yticklabels=[1, 2, 5, 10, 20, 50])
right.minorticks_off()
figure.legend(*right.get_legend_handles_labels(), fontsize=9, loc="outside lower center", ncols=2)
lesson.figure(
    figure, "last_layer", note=f"synthetic patches; right: mean of {problems} problems",
    alt="Left: g of the last layer against the number of places averaged, both logarithmic; dots on the line "
    "√(P/Var φ), from 1.7 at one place to 13.7 at 64. Right: losses against the learning rate. With equation 6 the "
    "highest loss of the first 20 steps rises steeply above 0.003, to more than 50; with g = 1 it stays at guessing up "
    "to 0.1. The final loss has its minimum at 0.01 with equation 6, and between 0.1 and 0.3 with g = 1.",
)

# %%
# The mechanism is this: every change of the features' *mean*, which all examples share, moves all logits by $g$ times
# that change. The differences between examples, which are to carry the class, are $\sqrt P$ times smaller than the
# features' own variation. The first steps change the mean far more than the differences. After five steps the larger
# part of the logits is common to all examples, and predicts the same class for all. Through $g$, the gradients of all
# lower layers are larger by the same factor.
#
# Hence one learning rate does two different things. With a small one, the large $g$ is a help. With a large one it
# makes the loss jump to several times that of guessing. With $g = 1$ the best rate is larger. Which of the two is
# better *at a given rate* depends on the rate: lesson 09 fixes the rate beforehand, and its question 5 asks what
# $g = 1$ changes. Subtracting the minibatch's mean (lesson 08) removes the cause.
#
# Question
# --------
#
# 1. *Remove the cause.* Subtract from the pooled features their mean over the minibatch before the last layer, in
#    ``start`` and in ``logits_of``. Does the loss still jump at $\eta = 10^{-1.5}$ with the large $g$?

lesson.finish()

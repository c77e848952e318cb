r"""The other factor: scaling by g/‖v‖
==================================

Equation 4 has two factors. Lesson 04 is about the projection; this chapter is about the number in front of it. The
paper says that both "help to bring the covariance matrix of the gradient closer to identity". A number cannot change
the shape of one neuron's noise. It can change the balance *between* neurons. Open this chapter if you want to know
whether it does, and by how much.

Afterwards you can explain

- why a weight vector with noisy gradients gets a small factor $g/\|v\|$, and after how many steps;
- why, on a logarithmic scale, this halves the scatter of the noise between neurons, whatever that scatter was;
- why nothing of the kind happens while the learning rate $\eta$ is small.

Read first: lessons 04 and 05 (the growth of $\|v\|$).

Claims checked: scaling by $g/\|v\|$ brings the covariance of the gradient closer to the identity (section 2.1). True
between neurons, once $\|v\|$ has grown.

Time: quick about 10 s, full about 1 min.
"""

# %%
# One weight vector with noise
# ----------------------------
#
# Start from the simplest case: the gradient of the loss $L$ is pure noise of a steady size. Write $\|\nabla_v L\| =
# G/\|v\|$, where $G$ does not depend on $\|v\|$: stretching $v$ shrinks its gradient (lesson 03). Each step is at a
# right angle to $v$, so by Pythagoras $\|v\|^2$ grows by $\eta^2\|\nabla_v L\|^2 = \eta^2 G^2/\|v\|^2$. That adds
# $2\eta^2 G^2$ to $\|v\|^4$, up to a smaller term, and after $T$ steps
#
# $$\|v_T\|^4 \approx \|v_0\|^4 + 2\,\eta^2 G^2\, T$$
#
# (Arora, Li and Lyu 2018, arXiv:1812.03981; lesson 05 derives it). Let 200 weight vectors have very different $G$. (All
# on the CPU, whatever ``--device`` says.)

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl

import minigrad as mg
import wn
from lessons import COLOURS, Lesson
from minigrad import nn, optim
from minigrad.nn import functional as F
from wn.covariance import gradient_covariance, preconditioned_covariance

lesson = Lesson(__file__)
threadpoolctl.threadpool_limits(1)  # matrices this small are multiplied fastest by a single thread
WEIGHT_NORM = COLOURS["weight norm"]

noise_rng, eta, vectors, n = lesson.rng(40), 0.1, 200, 32
G = np.exp(noise_rng.normal(size=vectors))  # from about 0.1 to 10
v = noise_rng.normal(size=(vectors, n))
v /= np.linalg.norm(v, axis=1, keepdims=True)
lengths = {0: np.ones(vectors)}
for T in range(1, 20_001):
    xi = noise_rng.normal(size=(vectors, n)) / np.sqrt(n - 1)
    u = v / np.linalg.norm(v, axis=1, keepdims=True)
    gradient = (G / np.linalg.norm(v, axis=1))[:, None] * (xi - (xi * u).sum(axis=1, keepdims=True) * u)
    v = v - eta * gradient
    if T in (20, 200, 2000, 20_000):
        lengths[T] = np.linalg.norm(v, axis=1)

# %% tags=["hide-input"]
# *Tolerance.* $\|\xi_\perp\|^2$ has mean 1 and standard deviation $\sqrt{2/31} = 0.25$ at each step, and $T$ steps add
# up; after 20 steps $\|v\|^4 - \|v_0\|^4$ is uncertain by 6 %, its mean over 200 vectors by 0.4 %. The smaller term
# adds $\eta^4 G^4/\|v\|^4$ to $\|v\|^4$ at each step: for the largest $G$, near 15, the first step is far from small,
# later ones are not. We leave out vectors with $\eta G > 0.3$ and allow 5 %.

steady = eta * G < 0.3
for T in (20, 200, 2000, 20_000):
    lesson.claim(f"Pure noise: ‖v‖⁴ - ‖v₀‖⁴ = 2η²G²T after {T} steps, mean over vectors of the two sides' ratio",
                 np.mean((lengths[T][steady] ** 4 - 1) / (2 * eta**2 * G[steady] ** 2 * T)), predicted=1, rtol=0.05)

# %%
# Halving the scatter
# -------------------
#
# As long as $\|v_0\|^4$ dominates, all factors $g/\|v\|$ are alike. Once the growth has outweighed the start,
# $\|v\|^2 \propto G$. The noise of $v$'s gradient is then $\operatorname{tr} D = G^2/\|v\|^2 \propto G$ (for $g = 1$;
# $D$ is its covariance, the trace the sum of the variances). So neurons whose noise differed as $G^2$ now differ as
# $G$: on a logarithmic scale the slope of $\operatorname{tr} D$ against $\operatorname{tr} M_w C M_w = G^2$ falls from
# 1 to 1/2, and *the scatter between neurons is halved*, whatever it was.


def slope(x, y):
    """The slope of a straight line through log y against log x."""
    return np.polyfit(np.log(x), np.log(y), 1)[0]


for T, length in lengths.items():
    print(f"after {T:6} steps: slope {slope(G**2, G**2 / length**2):.3f}, "
          f"scatter of log tr D / of log G²: {np.std(np.log(G**2 / length**2)) / np.std(np.log(G**2)):.3f}")
law = np.sqrt(1 + 2 * eta**2 * G**2 * 200)  # of ‖v‖²
lesson.claim("Pure noise: slope of log tr D against log tr MCM: 1 at first, then that of the law, then 1/2",
             [slope(G**2, G**2 / lengths[T] ** 2) for T in (0, 200, 20_000)],
             predicted=[1, slope(G**2, G**2 / law), 0.5], rtol=0.05)

# %% tags=["hide-input"]
# *Tolerance.* $\log\|v\|^2$ of one vector is uncertain by 1 % after 200 steps, and the slope is a fit to 200 vectors
# whose $\log G^2$ scatters by 2. After 20,000 steps the vectors with $G < 0.1$ have $2\eta^2 G^2 T < 4$ and have not
# quite arrived. They pull the slope up by less than 0.02. We allow 5 %.

# %%
# Neurons of a network
# --------------------
#
# In a network $G$ is not steady: gradients shrink as the loss falls, and they are not pure noise. We take dense ReLU
# networks that learn ten classes with one label in ten wrong, by SGD with $\eta = 0.5$ and $\eta = 0.03$. All start
# from $\|v\| = g$, with all factors 1.


def dense_task(mean, rng, examples=2000, inputs=32):
    """Inputs of variance 1 around `mean`, and classes."""
    x = rng.normal(size=(examples, inputs))
    teacher = np.tanh(2 * x @ rng.normal(size=(inputs, 20)) / np.sqrt(inputs)) @ rng.normal(size=(20, 10))
    y = np.where(rng.uniform(size=examples) < 0.1, rng.integers(0, 10, examples), teacher.argmax(axis=1))
    return (x + mean).astype(np.float32), y


def dense_network(rng, sizes=(32, 32, 32, 10)):
    """Linear layers with weight normalization and ReLU between them; weights of variance 2/n."""
    layers = []
    for n, units in pairwise(sizes):
        layers += [nn.Linear(n, units, rng=rng), nn.ReLU()]
        layers[-2].weight.data = rng.normal(0, np.sqrt(2 / n), (units, n)).astype(np.float32)
        layers[-2].bias.data = np.zeros(units, np.float32)
    return wn.apply_weight_norm(nn.Sequential(*layers[:-1]))


# %%
# The gradient of a dense layer's weights for one example is the outer product of $\delta$, the derivative of the loss
# by its pre-activations, and the layer's input. For each neuron we need the sum of its variances, before and after the
# projection, and after the scaling.


def noise_of_neurons(model, x, y):
    """For each layer, a row (tr C, tr M C M, tr D) for each neuron that has any gradients."""
    found, t, seen = [], mg.tensor(x), []
    for layer in model:
        inputs, t = t, layer(t)
        if isinstance(layer, nn.Linear):
            t.retain_grad()
            seen.append((layer, inputs.numpy(), t))
    (F.cross_entropy(t, y) * len(x)).backward()  # the mean becomes a sum, in which each example has its own δ
    for layer, inputs, t in seen:
        rows = []
        for delta, v, g in zip(t.grad.numpy().T, layer.weight_v.numpy(), layer.weight_g.numpy().ravel(), strict=True):
            C = gradient_covariance((delta[:, None] * inputs).astype(float))
            if np.trace(C) > 1e-10:  # not so for a ReLU that is never active
                v = v.astype(float)
                traces = [np.trace(preconditioned_covariance(C, v, scale)) for scale in (np.linalg.norm(v), float(g))]
                rows.append([np.trace(C), *traces])
        found.append(np.array(rows))
    model.zero_grad()
    return found


# %%

steps, nets = (6000, 3) if lesson.full else (1500, 1)
SETTINGS = {"mean 0, η = 0.5": (0.0, 0.5), "mean 1, η = 0.5": (1.0, 0.5), "mean 0, η = 0.03": (0.0, 0.03)}
noise = {}
for name, (mean, rate) in SETTINGS.items():
    for net in range(nets):
        x, y = dense_task(mean, lesson.rng(5, net))
        model = dense_network(lesson.rng(6, net))
        optimizer, order = optim.SGD(model.parameters(), rate), lesson.rng(4, net)
        for _ in lesson.progress(range(steps), name):
            rows = order.integers(0, len(x), 32)
            optimizer.zero_grad()
            F.cross_entropy(model(mg.tensor(x[rows])), y[rows]).backward()
            optimizer.step()
        noise.setdefault(name, []).extend(noise_of_neurons(model, x[:1000], y[:1000]))

# %%
# The scatter is the standard deviation of $\log\operatorname{tr}$ within each layer, averaged over layers.

scatter = {}
for name, layers in noise.items():
    scatter[name] = np.mean([np.log(rows).std(axis=0) for rows in layers], axis=0)
    slopes = [slope(rows[:, 1], rows[:, 2]) for rows in layers]
    print(f"{name:18}: scatter of log tr C {scatter[name][0]:.2f}, of M C M {scatter[name][1]:.2f}, "
          f"of D {scatter[name][2]:.2f}; slope of D against M C M by layer: "
          + ", ".join(f"{value:.2f}" for value in slopes))

# %% tags=["hide-input"]
# *Bounds.* A projection removes one of 32 directions, some 3 % of the variance, more or less of it from one neuron to
# the next: the scatter of its logarithm changes by a few hundredths. For the scaling, theory gives a factor of 1/2 for
# pure, steady noise. The noise in networks is neither pure nor steady, so we ask only that the scatter falls by a tenth
# or more for $\eta = 0.5$, and that it does not for $\eta = 0.03$.

fast, other, slow = SETTINGS
lesson.claim("Projecting alone leaves the scatter between neurons as it was, η = 0.5: of M C M / of C",
             scatter[fast][1] / scatter[fast][0], near=1, within=0.05)
lesson.claim("Scaling evens out the noise between neurons (sec. 2.1), η = 0.5: scatter of D / of M C M, the larger of "
             "both means", max(scatter[name][2] / scatter[name][1] for name in (fast, other)), below=0.9)
lesson.claim("With η = 0.03, ‖v‖ has hardly grown and there is no such effect: scatter of D / of M C M",
             scatter[slow][2] / scatter[slow][1], above=0.9)

# %% tags=["hide-input"]

figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 4.3))
for (T, length), colour in zip([(T, lengths[T]) for T in (0, 200, 20_000)], ("0.65", "#F1B98C", WEIGHT_NORM),
                               strict=True):
    left.loglog(G**2, G**2 / length**2, "o", color=colour, ms=3.5, mew=0, label=f"{T:,} steps")
ends = np.array([G.min() ** 2, G.max() ** 2])
left.loglog(ends, ends, "-", color="0.3", lw=1)
left.loglog(ends, np.sqrt(ends / (2 * eta**2 * 20_000)), "--", color="0.3", lw=1)
left.set(xlabel="noise before scaling, $G^2$", ylabel="after scaling, tr $D$", title="Pure noise, 200 weight vectors")
left.legend(loc="upper left", title="solid: slope 1; dashed: 1/2", alignment="left")
for name, marker, face, label in ((slow, "s", "white", "η = 0.03"), (fast, "o", WEIGHT_NORM, "η = 0.5")):
    relative = np.concatenate([rows[:, 1:] / np.exp(np.log(rows[:, 1:]).mean(axis=0)) for rows in noise[name]])
    right.loglog(*relative.T, marker, color=WEIGHT_NORM, mfc=face, ms=4, mew=0.8, label=label)
ends = np.array([0.05, 15])
right.loglog(ends, ends, "-", color="0.3", lw=1)
right.loglog(ends, np.sqrt(ends), "--", color="0.3", lw=1)
right.set(xlabel="noise of a neuron, tr $M_w C M_w$", ylabel="tr $D$", title="Dense networks, inputs of mean 0")
right.legend(loc="upper left")
lesson.figure(figure, "scaling", note="right: relative to the geometric mean of a layer",
              alt="Two panels, both axes logarithmic: the noise of a weight vector's gradient after scaling against "
                  "that before. Left, pure noise: the points lie on a line of slope 1 at first, and on one of slope "
                  "1/2 after 20,000 steps. Right, neurons of dense networks: slope 1 for a small learning rate, "
                  "flatter for a large one.")

# %%
# What we found
# -------------
#
# (Numbers of the quick run, seed 0.) "Both effects help to bring the covariance matrix of the gradient closer to
# identity": the projection acts within a neuron, the scaling between neurons. With pure noise it halves the scatter, as
# computed. In networks with a learning rate large enough to make $\|v\|$ grow it does part of that: the scatter falls
# to 0.71 of what it was, and to 0.68 for inputs of mean 1. With a small learning rate it does not (1.11): the scatter
# may even rise, because $g$ changes too.
#
# Questions
# ---------
#
# 1. *When?* By the law, after how many steps has the factor $g/\|v\|$ of a weight vector with $\eta = 0.1$ and $G = 1$
#    fallen to half of its first value? And with $\eta = 0.01$?
# 2. *A longer start.* Let all vectors start with $\|v_0\| = 3$. After how many steps does the slope reach the value
#    that it has here after 200? Predict, then run.

lesson.finish()

r"""Norm growth: the learning rate that a normalized weight makes for itself
=========================================================================

Train a network with a learning rate a hundred times too large, and you expect it to diverge. Give the same rate to the
directions of a weight-normalized network, and it trains as well as with a good one. After a thousand steps you could
not tell from the size of its steps which rate you chose. Nobody programmed that: it follows from a right angle. It also
means that a network with normalized weights follows a learning-rate schedule that you did not write down. If you tune
such a network, you should know which.

Afterwards you can

- predict how much a step lengthens $v$, and how long $v$ will be after a thousand steps;
- say what makes it grow: the noise of the minibatches, which depends on their size;
- explain why learning rates a thousand times apart end at one effective rate, and where that stops;
- say which of this survives momentum, Adam and weight decay.

Read first: lesson 03 (weight normalization); section 2.1 of Salimans & Kingma (2016), arXiv:1602.07868, from "Due to
projecting away from w" to "a much wider range of learning rates".

Claims checked, and where they are made:

- a step lengthens v by √(1 + c²), so v never gets shorter (section 2.1);
- noisy gradients make ‖v‖ grow quickly (section 2.1);
- too large a learning rate corrects itself, and the effective rate then stabilizes (section 2.1): the first holds; the
  second only where there is no noise, and with noise the rate falls as t^(-1/2) (derived here);
- momentum and Adam keep all this "qualitatively" (section 2.1).

Three further chapters take up what this lesson leaves out. Each can be read on its own afterwards:

- ``further/05_small_steps.py``: you log ‖v‖ in float32 and see no growth, or ask what a constant ‖v‖ does;
- ``further/05_momentum_and_adam.py``: you train with momentum or Adam and want numbers;
- ``further/05_weight_decay.py``: you decay v, or a unit has died under decay.

Time: quick about 15 s, full about 2 min.
"""

# %%
# The network
# -----------
#
# The network has one hidden layer of ReLU units and one output, wrapped by ``wn.apply_weight_norm``, with every
# $g = 1$. It learns to answer yes or no: does a random *teacher* network, whose weights it never sees, have an output
# above its median for this input? A share of the answers, ``flipped``, is wrong on purpose. These errors cannot be
# learned (short of learning every example by heart), so the gradients of single examples never agree with each other.
# The loss is the logistic loss of lesson 01.

import copy
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl

import minigrad as mg
import wn
from lessons import COLOURS, Lesson
from minigrad.nn import functional as F

lesson = Lesson(__file__)
threadpoolctl.threadpool_limits(1)  # a single thread multiplies matrices this small fastest
INPUTS, HIDDEN, EXAMPLES, LONGER = (50, 128, 4096, 4) if lesson.full else (20, 32, 1024, 1)

# %%


def problem(flipped, examples=EXAMPLES):
    """Inputs (examples, inputs) and answers (examples, 1), of which this share has been flipped."""
    rng = lesson.rng(0)
    x = rng.normal(size=(examples, INPUTS))
    t = np.tanh(2 * x @ rng.normal(size=(INPUTS, 8)) / np.sqrt(INPUTS)) @ rng.normal(size=(8, 1))
    return x, np.where(rng.uniform(size=t.shape) < flipped, t <= np.median(t), t > np.median(t)).astype(float)


def network():
    """The network in float64; the same numbers each time."""
    rng = lesson.rng(1)
    net = mg.nn.Sequential(mg.nn.Linear(INPUTS, HIDDEN, rng=rng), mg.nn.ReLU(), mg.nn.Linear(HIDDEN, 1, rng=rng))
    for p in wn.apply_weight_norm(net).parameters():
        p.data = p.data.astype(float)
    for layer in (net[0], net[2]):
        layer.weight_g.data = np.ones_like(layer.weight_g.data)
    return net


noisy, clean = problem(0.2), problem(0.0, examples=256)
WEIGHT_NORM, THEORY = COLOURS["weight norm"], "0.3"  # measured; computed

# %%
# The loop is the usual one, except that only $v$ learns. Lesson 03 found that $g$ and $b$ have no growing norm to
# protect them from a large rate, so here they stay fixed, and any rate is safe to try. The tracker records three
# quantities at every step for each *unit*, that is, for each weight vector of the network.


def train(rule, rate, data, steps, batch=None, net=None, stream=0, **options):
    """Train the v of `net` on minibatches of this many examples (None: on all at once).

    Returns norm, ‖v‖ of shape (steps + 1, units), and three with a row for each step: grad_norm, the ‖∇_v L‖ that the
    step used; c, the relative step ‖Δv‖/‖v‖; loss. Runs with the same `stream` see the same minibatches.
    """
    x, y = data
    net = net or network()
    optimizer = rule([net[0].weight_v, net[2].weight_v], lr=rate, **options)
    tracker, rng, losses = wn.NormTracker(net, optimizer), lesson.rng(2, stream), []
    for _ in range(steps):
        chosen = slice(None) if batch is None else rng.integers(0, len(x), batch)
        net.zero_grad()
        loss = F.binary_cross_entropy_with_logits(net(mg.tensor(x[chosen])), y[chosen])
        loss.backward()
        optimizer.step()
        tracker.record()
        losses.append(loss.item())
    norm, grad_norm, c = (
        np.concatenate([tracker.history(layer, quantity) for layer in tracker.layers], axis=1)
        for quantity in ("norm", "grad_norm", "relative_step")
    )
    return SimpleNamespace(norm=norm, grad_norm=grad_norm[1:], c=c[1:], loss=np.array(losses))


# %%
# A step at a right angle
# -----------------------
#
# Lesson 03 ended with a triangle. Nothing that the network computes depends on $\|v\|$, so the loss is constant along
# $v$, and the gradient $\nabla_v L$ is at a right angle to $v$ (equation 4). So $v$ and the step $-\eta\,\nabla_v L$
# are the legs of a right triangle, the new $v'$ is its hypotenuse, and
#
# $$\|v'\|^2 = \|v\|^2 + \eta^2\,\|\nabla_v L\|^2, \qquad\text{that is}\qquad
#   \|v'\| = \sqrt{1 + c^2}\;\|v\| \quad\text{with}\quad c = \frac{\eta\,\|\nabla_v L\|}{\|v\|}.$$
#
# The *relative step* $c$ is the length of the step relative to that of $v$. It is also (the tangent of) the angle by
# which $v$ turns. Here are the first steps of one unit, at the rate $\eta = 10$.

run = train(mg.optim.SGD, 10.0, noisy, steps=600, batch=16)
print("step       c   √(1 + c²)   ‖v'‖/‖v‖      ‖v‖ after it")
for t in (0, 1, 2, 3, 10, 100, 599):
    c, before, after = run.c[t, 0], run.norm[t, 0], run.norm[t + 1, 0]
    print(f"{t + 1:4} {c:9.5f} {np.sqrt(1 + c**2):10.6f} {after / before:10.6f} {after:12.3f}")

# %%
# Nothing can make $v$ shorter. A large step lengthens it a lot, which makes $c$ smaller: the norm is in the
# denominator, and the gradient shrinks as the norm grows. To see how long $v$ becomes, add up the squares over all
# steps:
#
# $$\|v_t\|^2 = \|v_0\|^2 + \eta^2 \sum_{s<t} \|\nabla_v L_s\|^2 .$$
#
# This formula uses nothing but the right angle, so it holds for any loss, any minibatch, any learning rate. We try
# three rates, and all units.

runs = {rate: train(mg.optim.SGD, rate, noisy, steps=600, batch=16) for rate in (0.1, 1.0, 10.0)}
for rate, run in runs.items():
    growth = run.norm[-1] / run.norm[0]
    print(f"η = {rate:4}: after 600 steps ‖v‖/‖v₀‖ is {growth.min():.2f} (least) to {growth.max():.2f} (most); "
          f"c has fallen from {np.median(run.c[:20]):.4f} to {np.median(run.c[-20:]):.4f} (median)")

# %% tags=["hide-input"]
# *Tolerance.* A step rounds each entry of $v$ by half an $\varepsilon = 2.2 \cdot 10^{-16}$ at most, relative to its
# size, and so $\|v\|^2$ by at most $\varepsilon$. The computed gradient has a component along $v$ of a few
# $\varepsilon$ of its length, which adds a few $c\,\varepsilon$. We allow $4\,\varepsilon$ a step.

epsilon = float(np.finfo(float).eps)
growth_of_a_step = np.stack([run.norm[1:] / run.norm[:-1] for run in runs.values()])
relative_step = np.stack([rate * run.grad_norm / run.norm[:-1] for rate, run in runs.items()])
squares = np.stack([rate**2 * np.sum(run.grad_norm**2, axis=0) for rate, run in runs.items()])
gained = np.stack([run.norm[-1] ** 2 - run.norm[0] ** 2 for run in runs.values()])
final = np.stack([run.norm[-1] ** 2 for run in runs.values()])
lesson.claim("‖v'‖ = √(1 + c²) ‖v‖ in each step (section 2.1): ‖v'‖/‖v‖, all units, η = 0.1, 1 and 10",
             growth_of_a_step, predicted=np.sqrt(1 + relative_step**2), rtol=4 * epsilon)
lesson.claim("‖v_t‖² - ‖v₀‖² = η² Σ‖∇_v L‖² (section 2.1), relative to ‖v_t‖², all units, η = 0.1, 1 and 10",
             gained / final, predicted=squares / final, rtol=0.0, atol=4 * epsilon * 600)
lesson.claim("‖v‖ grows monotonically without momentum (section 2.1), but for rounding: smallest growth in a step",
             growth_of_a_step.min() - 1, above=-4 * epsilon)

# %% tags=["hide-input"]
# In the plane a right angle leaves only two ways to go. Here $v$ always turns left, with $\|\nabla_v L\| = 1/\|v\|$,
# which is how gradients shrink as $v$ grows.

figure, axes = plt.subplots(figsize=(4.6, 4.3))
arrow = {"arrowstyle": "->", "color": WEIGHT_NORM, "lw": 1.4, "shrinkA": 0, "shrinkB": 0}
v = np.array([1.0, 0.0])
for _ in range(24):
    stepped = v + np.array([-v[1], v[0]]) / (v @ v)
    axes.plot([0, v[0]], [0, v[1]], "-", color="0.8", lw=0.8)
    axes.annotate("", stepped, v, arrowprops=arrow)
    v = stepped
turn = np.linspace(0, 2 * np.pi, 200)
axes.plot(np.cos(turn), np.sin(turn), "--", color=THEORY, lw=1)
axes.annotate("$v_0$", (1, 0), (5, -12), textcoords="offset points")
axes.plot(0, 0, "o", color="0.3", ms=4)
axes.set(aspect="equal", xlim=(-2.7, 2.7), ylim=(-2.8, 2.2), xticks=range(-2, 3), yticks=range(-2, 3))
axes.set_title("24 steps, each at a right angle to v")
lesson.figure(figure, "spiral", alt="Twenty-four arrows in a plane, head to tail, each at a right angle to the "
              "gray line from the origin to its tail. They wind almost once round a dashed circle, ever further out, "
              "and get shorter on the way.")

# %%
# Noise drives the growth
# -----------------------
#
# So the squares of the gradients decide. What makes them large? The paper says: "If our gradients are noisy, c will be
# high and the norm of v will quickly increase." To put a number on it, split the gradient of a minibatch in two. Draw
# $B$ examples independently. The gradient of the minibatch is the mean of $B$ gradients, each of which has the full
# gradient $\bar\nabla$ as its expectation. Let $D$ be their covariance matrix, as in the paper. The square of a random
# number has the expected value (expectation)² + variance, and the mean of $B$ numbers has $1/B$ of the variance of one.
# Summed over all entries (the sum of all variances is the *trace* of $D$):
#
# $$\mathbb{E}\,\|\nabla_v L\|^2 = \|\bar\nabla\|^2 + \frac{\operatorname{tr} D}{B}.$$
#
# Training makes the first part small: that is its purpose. The second part stays as long as the examples disagree. We
# train for 300 steps, then take the gradient of each example, one by one, and compare the two parts.


def full_and_noise(net, data):
    """‖∇̄‖² and tr D, summed over all units."""
    gradients = []
    for x, y in zip(*data, strict=True):
        loss = F.binary_cross_entropy_with_logits(net(mg.tensor(x[None])), y[None])
        gradients.append(np.concatenate([g.numpy().ravel() for g in mg.grad(loss, [net[0].weight_v, net[2].weight_v])]))
    mean = np.mean(gradients, axis=0)
    return mean @ mean, np.mean(np.sum(np.square(gradients), axis=1)) - mean @ mean


for flipped in (0.0, 0.2):
    data, trained = problem(flipped), network()
    train(mg.optim.SGD, 1.0, data, 300, batch=16, net=trained)
    full, noise = full_and_noise(trained, data)
    print(f"{100 * flipped:2.0f} % flipped: ‖∇̄‖² = {full:.5f}, tr D = {noise:.4f}; "
          f"noise is the larger part for B < {noise / full:.0f}")

# %%
# With any common batch size, noise causes nearly all of the growth. Wrong answers add to the noise, but they are not
# required: examples disagree anyway. Does $\|v\|$ grow as predicted? We go on with the second network, with several
# $B$, and with a rate so small that the network does not change meanwhile.

TINY, batch_sizes, growth = 1e-4, np.array([1, 4, 16, 64, 256, 1024]), []
for batch, steps in zip(batch_sizes, (3000, 1000, 500, 500, 200, 200), strict=True):
    run = train(mg.optim.SGD, TINY, noisy, steps, int(batch), net=copy.deepcopy(trained), stream=1)
    growth.append(np.sum(run.norm[-1] ** 2 - run.norm[0] ** 2) / (TINY**2 * steps))
predicted_growth = full + noise / batch_sizes
for row in zip(batch_sizes, growth, predicted_growth, strict=True):
    print("B = {:4}: ‖v‖² grows by {:.5f} η² a step; ‖∇̄‖² + tr D/B = {:.5f}".format(*row))

# %% tags=["hide-input"]
# *Tolerance.* The squared gradient of one example has a standard deviation of 1.3 to 1.5 times its mean (a few examples
# have large gradients, most have small ones), so the mean of 3000 of them scatters by 2.7 %. The means for the other
# $B$ scatter by 2.5 % at most. We allow four standard deviations and a little, 12 %; for the ratio, where the errors of
# two means add, as much.

lesson.claim("Growth of ‖v‖² a step = η²(‖∇̄‖² + tr D/B), six B from 1 to 1024", growth, predicted=predicted_growth,
             rtol=0.12)
lesson.claim("Noisy gradients make ‖v‖ grow quickly (section 2.1): growth with B = 1 / growth with B = 1024",
             growth[0] / growth[-1], predicted=predicted_growth[0] / predicted_growth[-1], rtol=0.12)

# %% tags=["hide-input"]

figure, axes = plt.subplots(figsize=(5.6, 3.8))
fine = np.logspace(0, 3.1, 100)
axes.loglog(fine, full + noise / fine, "-", color=THEORY, label="$\\|\\bar\\nabla\\|^2 + \\mathrm{tr}\\,D/B$")
axes.axhline(full, color=THEORY, lw=1, ls=":", label="$\\|\\bar\\nabla\\|^2$ alone")
axes.loglog(batch_sizes, growth, "o", color=WEIGHT_NORM, label="measured")
axes.set(xlabel="batch size B", ylabel="growth of $\\|v\\|^2$ per step, over $\\eta^2$")
axes.set_title("Noise drives the growth")
axes.legend()
lesson.figure(figure, "noise", note="synthetic problem, 20 % of the answers flipped", alt="Growth of the squared "
              "norm per step against batch size, both axes logarithmic. Six measured dots lie on the predicted line, "
              "which falls as 1/B and bends towards a dotted level, the full gradient alone, near B = 1000.")

# %%
# The effective learning rate
# ---------------------------
#
# Lesson 03 showed that the direction $v/\|v\|$ learns at the rate $\eta_{\text{eff}} = \eta/\|v\|^2$, the *effective*
# learning rate. The norm grows, so this rate falls. How fast?
#
# The gradient itself is proportional to $1/\|v\|$ (equation 3). Write $\|\nabla_v L\| = G/\|v\|$, so that $G$ is the
# size that the gradient would have at $\|v\| = 1$, and suppose that noise keeps $G$ constant. The theorem of Pythagoras
# gives the next line (*Pythagoras* in later lessons), and its square the law:
#
# $$\|v'\|^2 = \|v\|^2 + \frac{\eta^2 G^2}{\|v\|^2} \quad\Longrightarrow\quad
#   \|v'\|^4 = \|v\|^4 + 2\,\eta^2 G^2 + \frac{\eta^4 G^4}{\|v\|^4}.$$
#
# The last term is $c^2/2$ times the one before it, so drop it once $c$ is small. Now $\|v\|^4$ grows by the *same*
# amount in every step:
#
# $$\|v_t\|^4 \approx \|v_0\|^4 + 2\,\eta^2 G^2 t, \qquad
#   \eta_{\text{eff}} = \frac{\eta}{\|v_t\|^2} \;\longrightarrow\; \frac{\eta}{\sqrt{2\,\eta^2 G^2\,t}}
#   = \frac{1}{G\sqrt{2t}}.$$
#
# The learning rate has cancelled. Whatever rate you chose, the weight makes its own, and it falls as $t^{-1/2}$.
#
# First one vector: random gradients in 50 dimensions, made orthogonal to $v$ and scaled so that $G = 1$; $\|v_0\| = 1$
# and $\eta = 1$.


def tangent_gradient(v, z):
    """The part of the normal numbers z that is orthogonal to v, scaled to a mean squared length of 1/‖v‖²: G = 1."""
    squared = np.sum(v * v, axis=-1, keepdims=True)
    z = z - np.sum(z * v, axis=-1, keepdims=True) / squared * v
    return z / np.sqrt((v.shape[-1] - 1) * squared)


walk_rng, dimensions, marks = lesson.rng(3), 50, (10, 100, 1000, 10_000)
v = walk_rng.normal(size=dimensions)
v = v / np.linalg.norm(v)
print("     t      ‖v‖⁴   1 + 2η²G²t     η_eff   1/(G√(2t))")
for t in range(1, 10_001):
    v = v - 1.0 * tangent_gradient(v, walk_rng.normal(size=dimensions))
    if t in marks:
        squared = v @ v
        print(f"{t:6} {squared**2:9.1f} {1 + 2 * t:12.1f} {1 / squared:9.5f} {1 / np.sqrt(2 * t):12.5f}")

# %%
# How large or small may $\eta$ be? The growth $2\eta^2G^2t$ must outweigh the value from which it started. For a small
# $\eta$ that is $\|v_0\|^4$. For a large one it is $\|v_1\|^4$: if $\eta G \gg \|v_0\|^2$, the first step alone throws
# $v$ out to $\|v_1\| \approx \eta G/\|v_0\|$, and the law counts from there. Both conditions together: after $t$ steps
# $\eta$ does not matter if
#
# $$\frac{1}{\sqrt{2t}} \;\ll\; \frac{\eta\,G}{\|v_0\|^2} \;\ll\; \sqrt{2t}\,,$$
#
# a window with a factor of $2t$ between its ends. Left of it, $v$ has hardly grown, and $\eta_{\text{eff}}$ is still
# $\eta/\|v_0\|^2$. Right of it, $v$ has become so long in its first step that it hardly turns any more. Now 13 rates
# from 0.001 to 1000, side by side, with 16 vectors each.

rates = np.logspace(-3, 3, 13)
v = walk_rng.normal(size=(16, dimensions))
v = np.repeat((v / np.linalg.norm(v, axis=-1, keepdims=True))[None], len(rates), axis=0)
walk = {}
for t in lesson.progress(range(1, marks[-1] + 1), "tangent noise"):
    v = v - rates[:, None, None] * tangent_gradient(v, walk_rng.normal(size=v.shape))
    if t == 1 or t in marks:
        walk[t] = np.mean(np.sum(v * v, axis=-1) ** 2, axis=1)  # ‖v‖⁴, mean over the vectors


def fourth_power(first, rate, t):
    """‖v_t‖⁴ by the law, with G = 1, from ‖v₁‖⁴ on."""
    return first + 2 * rate**2 * (t - 1)


effective_rate = {t: rates / np.sqrt(walk[t]) for t in marks}
law = {t: rates / np.sqrt(fourth_power(walk[1], rates, t)) for t in marks}
inside = (rates > 0.05) & (rates < 20)
print("η_eff after 10,000 steps:", *(f"{rate:.3g} ({eta:.3g})" for rate, eta in
                                    zip(effective_rate[10_000], rates, strict=True)))

# %% tags=["hide-input"]
# *Tolerance.* The law counts from the measured $\|v_1\|$, so the random length of the first step does no harm. The
# term that it drops is at most $\sum_s 1/(2s + 2) \approx \tfrac12\ln t$ against $2t$: after 100 steps 1.1 % of
# $\|v\|^4$, half of that in $\eta_{\text{eff}}$. The squared gradients of 16 vectors in 49 free dimensions, summed over
# 100 steps, scatter by $\sqrt{2/(49 \cdot 16 \cdot 100)} = 0.5$ %, again half of that in $\eta_{\text{eff}}$. With four
# standard deviations: 1.6 %. Well inside the window, at a factor of 14 from its ends, the start is left with 1/200 of
# $\|v\|^4$, and the scatter after 10,000 steps is ten times smaller: 0.4 % in $\eta_{\text{eff}}$; we allow 0.6 %.

lesson.claim("Tangent noise, η from 0.001 to 1000: η_eff by the law of ‖v‖⁴, t = 100, 1000 and 10,000",
             [effective_rate[t] for t in marks[1:]], predicted=[law[t] for t in marks[1:]], rtol=0.016)
lesson.claim("Tangent noise, well inside the window: η_eff = 1/(G√(2t)) whatever η is, t = 10,000",
             effective_rate[10_000][inside], predicted=1 / np.sqrt(2 * 10_000), rtol=0.006)

# %%
# Now the network
# ---------------
#
# In a network $G = \|v\|\,\|\nabla_v L\|$ differs from unit to unit and changes while the network learns. The argument
# still holds: with $G_s$ for the $G$ of step $s$, the growth $2\eta^2G^2t$ becomes $2\eta^2\sum_s G_s^2$, and once it
# outweighs the start, $\eta_{\text{eff}} = 1/\sqrt{2\sum_s G_s^2}$, which contains neither $\eta$ nor $\|v_0\|$. One
# network, $\eta = 10$, label noise, minibatches of 16; the median over the units:

steps = 2000 * LONGER


def without_rate(run):
    """1/√(2 Σ G²) after each step, for each unit: the effective rate, from gradients alone."""
    G = run.grad_norm * run.norm[:-1]
    return 1 / np.sqrt(2 * np.cumsum(G**2, axis=0))


run = train(mg.optim.SGD, 10.0, noisy, steps, batch=16)
print("     t      η/‖v‖²   1/√(2ΣG²)")
for t in (1, 10, 100, 1000, steps):
    print(f"{t:6} {np.median(10 / run.norm[t] ** 2):11.4f} {np.median(without_rate(run)[t - 1]):11.4f}")

# %%
# After ten steps nothing is left of the rate that was set; the effective rate started at 30. Now rates from 0.1 to 100,
# all else equal; and, for comparison, two runs without noise: no answer flipped, and all examples in every step.

runs = {rate: train(mg.optim.SGD, rate, noisy, steps, batch=16) for rate in (0.1, 1.0, 10.0, 100.0)}
quiet = {rate: train(mg.optim.SGD, rate, clean, steps) for rate in (1.0, 10.0)}


def effective(run, rate):
    """η/‖v‖² at each step, geometric mean over the units."""
    return np.exp(np.mean(np.log(rate / run.norm**2), axis=1))


def late_slope(curve):
    """d log η_eff / d log t over the last tenfold of the run."""
    late = np.unique(np.geomspace(len(curve) // 10, len(curve) - 1, 50).astype(int))
    return np.polyfit(np.log(late), np.log(curve[late]), 1)[0]


print("                 η   first η_eff   last η_eff   late slope   loss of the last 500 steps")
for name, group in (("with noise", runs), ("without", quiet)):
    for rate, run in group.items():
        curve = effective(run, rate)
        print(f"{name:10} {rate:8} {curve[0]:12.3f} {curve[-1]:12.4f} {late_slope(curve):12.2f} "
              f"{run.loss[-500:].mean():15.4f}")

# %% tags=["hide-input"]
# *Tolerances.* The sum leaves out the start, $\|v_0\|^4 \approx 0.1$; at $\eta = 1$ that is one per cent of the
# $\|v\|^4$ at the end, half of that in $\eta_{\text{eff}}$. If $G$ were half as large it would be 2 %; at $\eta = 10$
# the dropped $c^4$ counts instead, for less. We allow 3 %. *The ends:* at the edges of the window
# $\eta_{\text{eff}}$ is lower by $\sqrt2$, and $G$ need not be the same in all runs; we allow 2.5, where the rates
# differ by 1000. *The slopes:* $-1/2$ is for constant $G$. Between the second and the last tenth of the run $t$ grows
# by a factor of six; should $G$ fall by a factor of 1.25 meanwhile, the slope is higher by $\ln 1.25/\ln 6 = 0.12$.
# Without noise $2\eta^2\sum G^2$ comes to 0.013, against $\|v_0\|^4 = 0.1$, which makes a slope of -0.02; we allow a
# $G$ twice as large.

ratios = [np.median(rate / runs[rate].norm[-1] ** 2 / without_rate(runs[rate])[-1]) for rate in (1.0, 10.0)]
lesson.claim("Network, label noise, η = 1 and 10: η_eff / (1/√(2ΣG²)), median over the units", ratios, predicted=1,
             rtol=0.03)
ends = np.array([effective(run, rate)[-1] for rate, run in runs.items()])
lesson.claim("Network, label noise: rates from 0.1 to 100 end with effective rates of one size, largest / smallest",
             ends.max() / ends.min(), below=2.5)
lesson.claim("Network, label noise, η = 10: the effective rate does not stabilize, late slope d log η_eff/d log t",
             late_slope(effective(runs[10.0], 10.0)), below=-0.35)
lesson.claim("Network without noise, η = 1: the effective rate stabilizes (section 2.1), late slope",
             late_slope(effective(quiet[1.0], 1.0)), above=-0.1)

# %% tags=["hide-input"]

figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 4.2))
fine = np.logspace(-3, 3, 300)
for t, shade in zip(marks, plt.colormaps["viridis"](np.linspace(0, 0.85, len(marks))), strict=True):
    left.loglog(fine, fine / np.sqrt(fourth_power((1 + fine**2) ** 2, fine, t)), "-", color=THEORY, lw=1.2, zorder=0)
    left.loglog(rates, effective_rate[t], "o", ms=4, color=shade)
    left.annotate(f"t = {t:,}", (1, 1 / np.sqrt(2 * t)), (0, 5), textcoords="offset points", color=shade, ha="center")
left.set(xlabel="learning rate $\\eta$  (with $G = \\|v_0\\| = 1$)", ylim=(6e-4, 0.45),
         ylabel="effective rate $\\eta/\\|v\\|^2$ after t steps", title="Random gradients; lines: the law")
for (rate, run), shade in zip(runs.items(), plt.colormaps["viridis"](np.linspace(0, 0.85, len(runs))), strict=True):
    right.loglog(np.arange(1, steps + 1), effective(run, rate)[1:], "-", color=shade, label=f"η = {rate:g}")
for rate, run in quiet.items():
    right.loglog(np.arange(1, steps + 1), effective(run, rate)[1:], ":", color="0.45")
    place = (steps / 30, effective(run, rate)[steps // 30])
    right.annotate(f"no noise, η = {rate:g}", place, (0, 5), textcoords="offset points", color="0.35")
guide = np.array([steps / 20, steps])
right.loglog(guide, 0.45 * ends[1] * np.sqrt(steps / guide), "--", color=THEORY, lw=1)
right.annotate("$t^{-1/2}$", (guide[0], 0.45 * ends[1] * np.sqrt(20)), (-28, -8), textcoords="offset points")
right.set(xlabel="step t", ylabel="effective rate, mean over units", ylim=(0.012, 60))
right.set_title("The network, in training")
right.legend(loc="lower left")
lesson.figure(figure, "effective_rate", note="left: random tangent gradients; right: synthetic problem", alt="Two "
              "log-log plots. Left: the effective rate against the learning rate after 10, 100, 1000 and 10,000 steps; "
              "dots lie on the law, with a plateau that widens and sinks as t grows. Right: the effective rate of "
              "the network against the step: the curves of four learning rates from 0.1 to 100 run into one that falls "
              "about as t to the power -1/2, while those of two runs without noise stay nearly level.")

# %%
# On the left, the plateau is the window: it widens as $t$ grows, and sinks as $t^{-1/2}$. (At $t = 10$ its top is a
# little below the line: the term that we dropped still counts.) On the right, the network does the same. After one
# step the curve of $\eta = 100$ is *below* those of 1 and 10: it began at the upper end of the window, and waits until
# they have come down to it. At the lower end, $\eta = 0.1$ waits likewise. In the end, the effective rates of learning
# rates a thousand times apart are within a factor of 1.5 of each other, and their losses within two per cent. (The
# curves are steeper than the dashed line because $G$ still rises.)
#
# So the paper is right that too large a rate corrects itself: "the norm of the unnormalized weights grows quickly
# until an appropriate effective learning rate is reached". It goes on: "Once the norm of the weights has grown large
# with respect to the norm of the updates, the effective learning rate stabilizes." That depends on the gradients.
# Without noise they become small, their squares even more so, and the dotted line for $\eta = 1$ is level. (The other
# one is not: at $\eta = 10$ the descent is unstable at first.) With noise the rate keeps falling. If you train with
# weight normalization at a constant rate, you have a schedule all the same: $1/\sqrt t$, which happens to be a classic.
#
# *Whose law is it?* Arora, Li & Lyu (2018, arXiv:1812.03981) start from the same right triangle (their lemma 2.4) and
# prove that, for smooth losses, gradient descent converges with any fixed rate for such weights: the smallest gradient
# seen in $T$ steps falls as $T^{-1/2}$ with full gradients, and as $T^{-1/4}$, up to logarithms, with stochastic ones.
# Their $T^{-1/2}$ is the size of a gradient. The $t^{-1/2}$ of the effective rate is a different statement, which is
# derived above for noise of constant $G$.
#
# Momentum and Adam
# -----------------
#
# "This property does not strictly hold for optimizers that use separate learning rates for individual parameters, like
# Adam, or when using momentum. However, qualitatively we still find the same effect to hold" (section 2.1). The step is
# no longer at a right angle to $v$:
#
# - *Momentum* $\mu$ adds up past gradients, $p_t = \mu\,p_{t-1} + \nabla_t$, and steps by $-\eta\,p_t$. Each of those
#   gradients was at a right angle to $v$ as it was *then*. Since $v$ has turned further, the old steps now point
#   slightly outward, like a stone that leaves a sling. So $v$ grows by *more* than $\sqrt{1 + c^2}$, never by less:
#   $\|v_{t+1}\|^2 = \|v_t\|^2 + \eta^2\|p_t\|^2 + 2\eta^2\sum_{k<t}\mu^{t-k}\|p_k\|^2$.
# - *Adam* divides each entry of the gradient by its own typical size. Take $v = (2, 1)$ and the gradient $(1, -2)$,
#   at a right angle to it. Once the sizes are divided out, the step is $-\eta\,(1, -1)$, and $v$ gets *shorter*. With
#   the opposite gradient it would get longer. If the sign is random, these effects cancel in a long sum, and only
#   growth is left; if the gradients keep their sign, they do not cancel.
#
# The same network once more, now with $c = \|\Delta v\|/\|v\|$ for whatever step the optimizer takes. *Excess* is
# the growth of a step beyond $\sqrt{1 + c^2}$. (With $\mu = 0.9$ each gradient counts ten times, hence the smaller
# $\eta$.)

optimizers = {
    "SGD": train(mg.optim.SGD, 1.0, noisy, 600, batch=16),
    "momentum 0.9": train(mg.optim.SGD, 0.1, noisy, 600, batch=16, momentum=0.9),
    "Adam": train(mg.optim.Adam, 0.003, noisy, 600, batch=16),
    "Adam, no noise": train(mg.optim.Adam, 0.003, clean, 600),
}
print("                 excess: least, median   steps that shorten v   ‖v‖/‖v₀‖ in the end: least, median")
for name, run in optimizers.items():
    ratio, growth = run.norm[1:] / run.norm[:-1], run.norm[-1] / run.norm[0]
    run.excess, run.shorter = ratio / np.sqrt(1 + run.c**2) - 1, np.mean(ratio < 1 - 1e-12)
    print(f"{name:15} {run.excess.min():14.0e} {np.median(run.excess):9.0e} {100 * run.shorter:20.1f} % "
          f"{growth.min():27.2f} {np.median(growth):7.2f}")

# %% tags=["hide-input"]
# *Tolerance.* Momentum: rounding alone, as above. Adam: "not strictly" means that some steps shorten $v$;
# "qualitatively", that they are few and that no $v$ ends shorter than it began. A step counts as shortening $v$ if it
# does so by more than $10^{-12}$.

shrunk, adam = optimizers["Adam"].shorter, optimizers["Adam"].norm
lesson.claim("Momentum: each step lengthens v by √(1 + c²) at least, but for rounding: smallest excess",
             optimizers["momentum 0.9"].excess.min(), above=-4 * epsilon)
lesson.claim("Adam with noise: monotone growth does not strictly hold (section 2.1), share of steps that shorten a v",
             shrunk, above=0, below=0.1)
lesson.claim("Adam with noise: qualitatively it does (section 2.1), smallest final ‖v‖/‖v₀‖ of all units",
             (adam[-1] / adam[0]).min(), above=1)

# %%
# With noise the paper's "qualitatively" is right. Without noise, nearly half of Adam's steps shorten a $v$, and little
# growth is left. ``further/05_momentum_and_adam.py`` derives how much $v$ grows under each optimizer.
#
# *Weight decay* is another matter. It subtracts $\eta\lambda v$ in each step, along $v$, so it can and does shorten
# $v$. Growth and decay then find a balance: $\|v\|^2$ gains $\eta^2G^2/\|v\|^2 = c^2\|v\|^2$ in a step and loses
# $2\eta\lambda\|v\|^2$. Where the two are equal, $c = \sqrt{2\eta\lambda}$. Every unit then turns by the same angle in
# each step, whatever its $G$, and the effective rate does stabilize. ``further/05_weight_decay.py`` measures this, and
# what happens when the gradients vanish and decay continues alone.
#
# What the paper says, and what we found
# --------------------------------------
#
# Quotations from section 2.1, numbers from ``--quick --seed 0``.
#
# - "The norm of v grows monotonically [...] without momentum": exact, to $10^{-15}$, for each unit, minibatch and rate.
# - "If our gradients are noisy, c will be high": yes. $\|v\|^2$ grows by
#   $\eta^2(\|\bar\nabla\|^2 + \operatorname{tr} D/B)$ a step: 425 times faster with single examples than with 1024.
# - "Grows quickly until an appropriate effective learning rate is reached": yes. After 2000 steps, rates from 0.1 to
#   100 have become effective rates from 0.19 to 0.28. The rate that was set does not enter $1/\sqrt{2\sum G^2}$.
# - "The effective learning rate stabilizes": without noise, yes. With noise it falls, with a slope of -0.6 at
#   $\eta = 10$, where constant $G$ would give -0.5.
# - "Does not strictly hold [...] when using momentum": monotone growth does hold; it is the right angle that is lost.
#   "Like Adam": 2 to 4 per cent of the steps shorten $v$; each $v$ grows all the same, provided that there is noise.
#
# The networks here are small, and $g$ and $b$ were held fixed. The laws do not depend on that; the measured $G$ does.
# Lesson 06 trains all parameters and asks what the falling rate is worth.
#
# Questions
# ---------
#
# 1. *Into the window.* A unit has $\|v_0\|^2 = 0.34$ and $G = 0.055$. After about how many steps can you no longer
#    tell $\eta = 1$ from $\eta = 100$ by the effective rate? Compare with the figure.
# 2. *Batch size in the long run.* The noise is $\operatorname{tr} D/B$. How should $\|v_t\|$ depend on $B$ after many
#    steps? Train with $\eta = 1$ and $B$ from 1 to 256 for 1000 steps and fit the exponent of $B$ in
#    $\|v_t\|^4 - \|v_0\|^4$.
# 3. *Schedules.* Let $\eta_t$ change from step to step. Derive $\|v_t\|^4 \approx \|v_0\|^4 + 2G^2\sum\eta_s^2$. What
#    does the effective rate do for $\eta_t = \eta_0/\sqrt t$, and for $\eta_t = \eta_0\,r^t$ with $r > 1$? Check both
#    with ``tangent_gradient``.
# 4. *A norm without a weight.* WNGrad (Wu et al. 2018, arXiv:1803.02865) takes $x_{j+1} = x_j - \nabla f(x_j)/b_j$ and
#    $b_{j+1} = b_j + \|\nabla f(x_{j+1})\|^2/b_j$. Put $b = \|v\|^2/\eta$ into Pythagoras's equation and compare. How
#    does $1/b_j$ fall with persistent noise?

lesson.finish()

r"""The gap between the two: minibatches and depth
==============================================

Lesson 08 found batch normalization and weight normalization equal for one layer with whitened inputs, and apart in
deeper ones. This chapter measures how far apart, for every size of the minibatch and every layer, and predicts it where
that can be done. Open it if you want to replace one by the other without changing what the network computes, and ask
how large a minibatch that takes.

Afterwards you can

- predict the gap in the first layer from the size of the minibatch alone;
- predict what equation 6 adds to it, which is estimated from a minibatch too;
- say why no minibatch is large enough for the layers above, unless equation 6 was used, and how soon training undoes
  its effect.

Read first: lesson 08 as far as "Equation 6, and what training does to it".

Claims checked, and where they are made:

- the statistics of a small minibatch are noisy, ‖v‖ is not (section 2.2): the law of the gap (derived here);
- "exact equivalence does not usually hold for deeper architectures" (section 2.2).

Time: quick about 8 s, full about 1 min.
"""

# %%
# One unit, one minibatch
# -----------------------
#
# A minibatch drawn from whitened data is not itself whitened. Let $z = v \cdot x/\|v\|$ be a pre-activation that has
# mean 0 and variance 1 over the population. Weight normalization (with the scale $g = 1$ and $b = 0$) leaves $z$ as it
# is; batch normalization turns it into $(z - \mu[z])/\sigma[z]$, with the minibatch's own mean and standard deviation.
# Over the minibatch the mean square of their difference, the *gap*, is
#
# $$\text{gap}^2 = \frac1B \sum_i \left(z_i - \frac{z_i - \mu[z]}{\sigma[z]}\right)^2
#   = \mu[z]^2 + (\sigma[z] - 1)^2 ,$$
#
# because $z_i = \mu[z] + (z_i - \mu[z])$ splits the sum into two orthogonal parts. Its expectation is known exactly if
# $z$ is normal. Then $\mathbb{E}\,\mu[z]^2 = 1/B$, and $B\,\sigma^2[z]$ has the chi-squared distribution with $B - 1$
# degrees of freedom, so $\mathbb{E}\,\sigma^2[z] = (B - 1)/B$. The two add up to
#
# $$\mathbb{E}\,\text{gap}^2 = 2\,(1 - \mathbb{E}\,\sigma[z]), \qquad
#   \mathbb{E}\,\sigma[z] = \sqrt{\frac2B}\;\frac{\Gamma(B/2)}{\Gamma((B - 1)/2)} \approx 1 - \frac{3}{4B}.$$
#
# So the gap is about $\sqrt{3/(2B)}$: two thirds of its square come from the mean, one third from the deviation.

import math

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl

import minigrad as mg
import wn
from lessons import Lesson
from minigrad import nn
from minigrad.nn import functional as F

lesson = Lesson(__file__)
threadpoolctl.threadpool_limits(1)  # matrices this small are multiplied fastest by a single thread


def mean_deviation(B):
    """E σ[z]: the mean standard deviation of B standard normal numbers (with 1/B, not 1/(B - 1))."""
    return math.sqrt(2 / B) * math.exp(math.lgamma(B / 2) - math.lgamma((B - 1) / 2))


z = lesson.rng(1).normal(size=(10_000, 16))
gap_squared = np.mean((z - (z - z.mean(axis=1, keepdims=True)) / z.std(axis=1, keepdims=True)) ** 2, axis=1)
print(f"B = 16, the first minibatches: gap {np.round(np.sqrt(gap_squared[:6]), 3)}; rms of 10,000: "
      f"{math.sqrt(gap_squared.mean()):.4f}, √(2(1 - E σ)) = {math.sqrt(2 * (1 - mean_deviation(16))):.4f}, "
      f"√(3/2B) = {math.sqrt(3 / 32):.4f}")

# %%
# Five layers, every size
# -----------------------
#
# Now five layers of 64 ReLU units on 64 independent normal inputs, so that layer 1 is the case above. Weight
# normalization runs through the network: $t = u \cdot h$ with $u = v/\|v\|$. In every layer, what would batch
# normalization make of that layer's $t$ on the same minibatch? By the formula, all that is needed are the minibatch's
# mean and deviation of each unit.
#
# We do this with and without equation 6. With it, $t$ is replaced by $(t - \mu_0)/\sigma_0$, where $\mu_0$ and
# $\sigma_0$ are the statistics of 500 other examples, frozen.

width, depth, first_batch = 64, 5, 500
sizes = np.array([2, 4, 8, 16, 32, 64, 128, 256, 512, 1024])
directions = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in lesson.rng(2).normal(size=(depth, width, width))]


def statistics(x, frozen=None):
    """Mean and standard deviation of t in every layer, (depth, 2, batches, width), for x (batches, B, width)."""
    found = []
    for layer, u in enumerate(directions):
        t = x @ u.T
        if frozen is not None:
            t = (t - frozen[layer, 0]) / frozen[layer, 1]
        found.append([t.mean(axis=1), t.std(axis=1)])
        x = np.maximum(t, 0)
    return np.array(found)


def initialization(x):
    """μ₀ and σ₀ of every layer, front to back (equations 5 and 6), of shape (depth, 2, width)."""
    frozen = np.tile(np.array([0.0, 1.0])[None, :, None], (depth, 1, width))
    for layer in range(depth):
        frozen[layer] = statistics(x[None], frozen)[layer, :, 0]
    return frozen


def gap(found):
    """The rms over units and minibatches, for every layer."""
    return np.sqrt((found[:, 0] ** 2 + (found[:, 1] - 1) ** 2).mean(axis=(1, 2)))


# %%


def repeats(B):
    """How many minibatches of size B to average over."""
    return max(16, (200_000 if lesson.full else 30_000) // int(B))


rng = lesson.rng(3)
frozen = initialization(rng.normal(size=(first_batch, width)))
without, with_ = [], []
for B in sizes:
    sample = rng.normal(size=(repeats(B), B, width))
    without.append(gap(statistics(sample)))
    with_.append(gap(statistics(sample, frozen)))
without, with_ = np.array(without), np.array(with_)  # (sizes, depth)
theory = np.array([math.sqrt(2 * (1 - mean_deviation(B))) for B in sizes])
print("gap in layers 1 to 5, without equation 6         with equation 6")
for B, a, b in zip(sizes, without, with_, strict=True):
    print(f"B = {B:4}  ", "".join(f"{d:7.3f}" for d in a), "   ", "".join(f"{d:7.3f}" for d in b))
slopes = np.polyfit(np.log(sizes[5:]), np.log(without[5:]), 1)[0]
print("slopes of log gap over log B, B from 64 to 1024:", np.round(slopes, 3))

# %% tags=["hide-input"]
# *Tolerances.* The square of one gap is $1/B$ times about a chi-squared variable, with a coefficient of variation below
# 1.5. It is averaged over the minibatches and over 64 nearly independent units; with $R$ minibatches the gap is off by
# about $0.75/\sqrt{64 R}$, relative. The largest $B$ has the fewest minibatches; four times the error there is 7 %.
# "Does not fall": a slope above -0.05, a tenth of that of layer 1.

allowed = 4 * 0.75 / math.sqrt(width * repeats(sizes[-1]))
lesson.claim("Layer 1, normal inputs: gap = √(2(1 - E σ)), B from 2 to 1024", without[:, 0], predicted=theory,
             rtol=allowed)
lesson.claim("Layer 1: the gap falls as 1/√B, slope for B from 64 to 1024", slopes[0], predicted=-0.5, rtol=0.1)
lesson.claim("Layers 2 to 5 without equation 6: the gap does not fall with B, steepest slope", slopes[1:].min(),
             above=-0.05)
lesson.claim("Layers 2 to 5 without equation 6, B = 1024: smallest gap", without[-1, 1:].min(), above=0.3)
lesson.claim("Layers 2 to 5 with equation 6, B = 1024: largest gap", with_[-1, 1:].max(), below=0.2)

# %%
# Without equation 6 the two differ, from the second layer on, by as much as the pre-activations' own size, and no
# minibatch is large enough to help. With equation 6 the gap falls in every layer, but not to 0: it levels off. Equation
# 6 took $\mu_0$ and $\sigma_0$ from 500 examples, and these have a sampling error of their own. In layer 1 the two
# errors are independent, so their squares add up:
#
# $$\text{gap}^2 \approx 2\,(1 - \mathbb{E}\,\sigma_B) + 2\,(1 - \mathbb{E}\,\sigma_{500})
#   \approx \frac32\left(\frac1B + \frac1{500}\right).$$
#
# One initialization is one draw of the second part. To see the law we repeat it, for layer 1 alone, 100 times.

two_samples = np.sqrt(theory**2 + 2 * (1 - mean_deviation(first_batch)))
initializations, large = 100, sizes[5:]


def gap_after_equation_6(B):
    """The rms gap in layer 1 between batch norm on B examples and equation 6 on 500, over many initializations."""
    total = 0.0
    for _ in range(initializations):
        t0, t = (rng.normal(size=(number, width)) @ directions[0].T for number in (first_batch, B))
        t = (t - t0.mean(axis=0)) / t0.std(axis=0)
        total += np.mean(t.mean(axis=0) ** 2 + (t.std(axis=0) - 1) ** 2)
    return math.sqrt(total / initializations)


after_equation_6 = np.array([gap_after_equation_6(B) for B in large])
for B, found, law, alone in zip(large, after_equation_6, two_samples[5:], theory[5:], strict=True):
    print(f"B = {B:4}: gap {found:.4f}; law of two samples {law:.4f}; of the minibatch alone {alone:.4f}")

# %% tags=["hide-input"]
# *Tolerance.* As above, with 100 initializations and as many minibatches: $4 \cdot 0.75/\sqrt{64 \cdot 100} = 3.75$ %,
# and terms of the order of $1/B$, 1.6 % at most. Dropping half of the second part would make the gap smaller by 18 % at
# $B = 1024$.

lesson.claim("Layer 1 with equation 6: gap² = gap² of B + gap² of 500, B from 64 to 1024", after_equation_6,
             predicted=two_samples[5:], rtol=0.055)

# %%
# How long does it last?
# ----------------------
#
# So it is the initialization that makes weight normalization an approximation to batch normalization in a deep network,
# and only as long as the statistics stay as they were. We train such a network with weight normalization and equation
# 6, and follow the gap between $t = u \cdot h$ and what batch normalization would make of it, in units of its first
# statistics: the mean over units of $((\mu[t] - \mu_0)/\sigma_0)^2 + (\sigma[t]/\sigma_0 - 1)^2$, over all 2000
# examples. (Lesson 08 takes the two parts separately.)

rng = lesson.rng(4)
inputs = rng.normal(size=(2000, width))
hidden = np.tanh(2 * inputs @ rng.normal(size=(width, 16)) / np.sqrt(width))
targets = (hidden @ rng.normal(size=(16, 10))).argmax(axis=1)
inputs = inputs.astype(np.float32)
deep = nn.Sequential(*[part for _ in range(depth) for part in (nn.Linear(width, width, rng=rng), nn.ReLU())],
                     nn.Linear(width, 10, rng=rng))
wn.data_dependent_init(wn.apply_weight_norm(deep), inputs)


def in_every_layer(model):
    """Mean and deviation of u·h in each hidden layer over all examples: (depth, 2, width)."""
    h, found = inputs, []
    with mg.no_grad():
        for layer in list(model)[0 : 2 * depth : 2]:
            out = layer(mg.tensor(h)).numpy()
            t = (out - layer.bias.numpy()) / layer.weight_g.numpy().ravel()
            found.append([t.mean(axis=0), t.std(axis=0)])
            h = np.maximum(out, 0)
    return np.array(found, np.float64)


# %%

optimizer = mg.optim.SGD(deep.parameters(), lr=0.01, momentum=0.9)
steps = 1000 if lesson.full else 200
start, gaps, seen = in_every_layer(deep), [], []
for step in lesson.progress(range(steps + 1), "five layers"):
    if step % (steps // 20) == 0:
        now = in_every_layer(deep)
        squared = ((now[:, 0] - start[:, 0]) / start[:, 1]) ** 2 + (now[:, 1] / start[:, 1] - 1) ** 2
        gaps.append(np.sqrt(squared.mean(axis=1)))
        seen.append(step)
    rows = rng.integers(0, len(inputs), 100)
    optimizer.zero_grad()
    F.cross_entropy(deep(mg.tensor(inputs[rows])), targets[rows]).backward()
    optimizer.step()
gaps = np.array(gaps)
for step, row in zip(seen[::4], gaps[::4], strict=True):
    print(f"after {step:4} steps: gap in layers 1 to 5", np.round(row, 3))
lesson.claim("Trained: in layers 2 to 5 the statistics have left their beginning, smallest gap", gaps[-1, 1:].min(),
             above=0.1)

# %% tags=["hide-input"]

figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 4.2), width_ratios=(1.25, 1))
shade = plt.colormaps["viridis"](np.linspace(0, 0.85, depth))
left.loglog(sizes, theory, "-", color="0.3", lw=1.2, zorder=0, label="layer 1, theory")
left.loglog(sizes, two_samples, ":", color="0.3", lw=1.2, zorder=0, label="layer 1 with equation 6, theory")
for i in range(depth):
    left.loglog(sizes, without[:, i], "o", color=shade[i], ms=5)
    left.loglog(sizes, with_[:, i], "x", color=shade[i], ms=5)
    right.plot(seen, gaps[:, i], color=shade[i], label=f"layer {i + 1}")
left.plot([], [], "o", color="0.3", label="without equation 6")
left.plot([], [], "x", color="0.3", label="with equation 6")
left.legend(loc="lower left", fontsize=9)
left.set(xlabel="size B of the minibatch", ylabel="gap: rms of (BN − WN), units of σ", ylim=(0.01, 3),
         title="At the start")
left.set_xticks(sizes, [str(B) for B in sizes])
left.set_yticks([0.01, 0.03, 0.1, 0.3, 1, 3], ["0.01", "0.03", "0.1", "0.3", "1", "3"])
left.minorticks_off()
right.set(xlabel="training step", ylabel="gap, all examples", title="During training, with equation 6")
right.set_ylim(-0.05, 1.45 * gaps.max())
right.legend(fontsize=9, ncols=2, loc="upper left")
lesson.figure(figure, "gap", note="random numbers; 5 ReLU layers of 64 units", alt="Left: the gap against the size of "
              "the minibatch, both logarithmic. Layer 1 falls along a line of slope -1/2; without equation 6 layers 2 "
              "to 5 stay between 0.5 and 1; with equation 6 all layers fall and level off near 0.07. Right: during "
              "training the gaps of layers 2 to 5 grow to between 0.5 and 1.3, half of it in the first ten or twenty "
              "steps; that of layer 1 stays near 0.")

# %%
# At the start the gap is as predicted. The crosses of layer 1 lie on or near the dotted line, which is the average over
# initializations; this network is a single draw. In training, half of the distance is covered in the first ten or
# twenty steps. Equation 6 is a good place to start from, but no substitute for batch normalization after that.
#
# Questions
# ---------
#
# 1. *The other size.* How many examples should equation 6 be given, if training uses $B = 100$ and its error should add
#    no more than 10 per cent to the gap?
# 2. *Heavier tails.* Let $z$ have the excess kurtosis $\gamma_2$. Show that
#    $\text{gap}^2 \approx (1 + (2 + \gamma_2)/4)/B$, and check it with a Laplace distribution ($\gamma_2 = 3$).

lesson.finish()

r"""Writing equation 6 yourself
===========================

Equation 6 is two assignments, and published code gets them wrong in ways that a simple test does not see. Open this
chapter if you write your own initialization, or want to know what to test in someone else's.

Afterwards you can

- initialize a layer of weight normalization, $w = g\,v/\|v\|$, that already has some length $g$ and bias $b$,
  and do it twice without harm;
- name two mistakes, what exactly each leaves behind, and the test that finds it.

Read first: lesson 07 as far as "The library", which shows a third mistake: all statistics from one pass.

Time: quick about 2 s, full about 2 s.
"""

# %%

from math import sqrt

import numpy as np

import minigrad as mg
import wn
from lessons import Lesson
from minigrad import nn

lesson = Lesson(__file__)
n, examples = 100, 500

# %%
# A bias that is there already
# ----------------------------
#
# Equation 6 assumes that the layer has $g = 1$ and $b = 0$. Suppose it has other values, and let $t$ be its whole
# output, $t = g\,(v \cdot x)/\|v\| + b$. We want $(t - \mu[t])/\sigma[t]$, where $\mu[t]$ is the mean over the
# minibatch and $\sigma[t]$ the standard deviation. Dividing $g$ by $\sigma[t]$ divides the first term. The bias must
# supply the rest:
#
# $$g \leftarrow \frac{g}{\sigma[t]}, \qquad b \leftarrow \frac{b - \mu[t]}{\sigma[t]} .$$
#
# For $g = 1$ and $b = 0$ this is equation 6. A layer that has been initialized has $\mu[t] = 0$ and $\sigma[t] = 1$,
# so it stays as it is: the rule can be repeated. Tempting, and wrong, is $b \leftarrow b - \mu[t]/\sigma[t]$, which
# adds equation 6's bias to the old one. It leaves the mean $b\,(1 - 1/\sigma[t])$. That is 0 when $b = 0$, so testing a
# fresh layer does not show it.

rng = lesson.rng(400)
x = 3 * rng.normal(size=(examples, n))
W, b = rng.normal(size=(n, n)) / sqrt(n), rng.normal(size=n)
t = x @ W.T + b
mean, deviation = t.mean(axis=0), t.std(axis=0)
right = x @ (W / deviation[:, None]).T + (b - mean) / deviation
wrong = x @ (W / deviation[:, None]).T + b - mean / deviation
print(f"largest mean: {np.abs(right.mean(axis=0)).max():.0e}, with the mistake {np.abs(wrong.mean(axis=0)).max():.2f}")

# %% tags=["hide-input"]
# *Tolerance.* Sums of 500 numbers of size 10, in float64: some $10^{-14}$.

lesson.claim("b ← (b - μ[t])/σ[t] leaves the mean 0, whatever b was: largest mean", np.abs(right.mean(axis=0)).max(),
             below=1e-12)
lesson.claim("Mistake: b ← b - μ[t]/σ[t] leaves the mean b(1 - 1/σ[t])", wrong.mean(axis=0),
             predicted=b * (1 - 1 / deviation), rtol=1e-9, atol=1e-12)

# %%
# Statistics of the wrong vector
# ------------------------------
#
# Equation 5 measures $t = v \cdot x/\|v\|$. If you measure $v \cdot x$ instead, but use the layer with
# $w = g\,v/\|v\|$, its deviation comes out as $1/\|v\|$. A test in which $\|v\|$ happens to be 1 does not show it. With
# the paper's $v \sim N(0, 0.05^2)$ and 400 inputs $\|v\|$ is 1.

V = rng.normal(0, 0.05, (n, n))
lengths = np.linalg.norm(V, axis=1)
g = 1 / (x @ V.T).std(axis=0)
left = (x @ (V / lengths[:, None] * g[:, None]).T).std(axis=0)
print(f"100 inputs: ‖v‖ is {lengths.mean():.2f} on average, and the deviation comes out as {left.mean():.2f}")
lesson.claim("Mistake: statistics of v·x instead of v·x/‖v‖ leave the deviation 1/‖v‖", left, predicted=1 / lengths,
             rtol=1e-9)

# %%
# Twice is the same as once
# -------------------------
#
# This suggests a test that finds both mistakes: initialize a deep network whose $g$ and $b$ are random, and compare it
# with the same network initialized from other $g$ and $b$, or initialized twice. Here is the library's version on 20
# layers:


class Stack(nn.Module):
    """20 ReLU layers of n units."""

    def __init__(self, rng):
        super().__init__()
        self.layers = [nn.Linear(n, n, rng=rng) for _ in range(20)]
        for layer in self.layers:
            layer.weight.data = rng.normal(0, 10 ** rng.uniform(-3, 3), (n, n))
            layer.bias.data = rng.normal(size=n)

    def forward(self, x):
        for layer in self.layers:
            x = mg.relu(layer(x))
        return x


model = wn.apply_weight_norm(Stack(lesson.rng(401)))
once = wn.data_dependent_init(model, x).state_dict()
twice = wn.data_dependent_init(model, x).state_dict()
for layer in model.layers:
    layer.weight_g.data = layer.weight_g.data * rng.uniform(0.1, 10, layer.weight_g.shape)
    layer.bias.data = rng.normal(size=n)
again = wn.data_dependent_init(model, x).state_dict()

# %% tags=["hide-input"]
# *Tolerance.* Each call rounds anew, and 20 ReLU layers amplify a difference by at most $1.21^{20} = 45$ (lesson 07,
# "Backwards"). $10^{-10}$ leaves room.

lesson.claim("Twice is the same as once, from any g and b: largest change of a parameter",
             max(np.abs(other[k] - once[k]).max() for other in (twice, again) for k in once), below=1e-10)

# %%
# Question
# --------
#
# 1. *A constant feature.* Give the network an input that is 0 in every example, and a unit whose $v$ looks at nothing
#    else. What does ``wn.data_dependent_init`` say, and what would your own code do? What should it do?

lesson.finish()

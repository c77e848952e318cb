r"""Correlated inputs, and the length of the gradient
=================================================

Lesson 08 shows that batch normalization is weight normalization if the inputs are whitened. Real inputs are not. On
them, batch normalization computes what weight normalization would compute on whitened inputs, without anyone having
whitened them. Open this chapter if your inputs are correlated and you want to know what that is worth; or if you have
read that batch normalization works because it "smooths the loss", and want to see the equation behind that phrase.

Afterwards you can

- write batch normalization on any inputs as weight normalization on whitened ones;
- draw its gradient: an oblique projection, still at a right angle to v;
- say by how much batch normalization shortens a gradient, and when it lengthens it.

Read first: lesson 08 as far as "Whitened inputs: the same thing twice".

Claims checked, and where they are made:

- on correlated inputs the function is that of weight normalization on whitened inputs (derived here);
- batch normalization shortens gradients (Santurkar et al. 2018, arXiv:1805.11604): their bound, here as an equation.

Time: quick about 2 s, full about 2 s.
"""

# %%
# The function: whitening without a covariance matrix
# ---------------------------------------------------
#
# Let the inputs of one layer have the mean $m$ and the covariance $S$. Then $\mu[t] = v \cdot m$ and
# $\sigma^2[t] = v^{\mathsf T} S\,v$ ($\mu[t]$ and $\sigma[t]$ are mean and standard deviation over the minibatch). So
# batch normalization measures the length of $v$ with $S$, and weight normalization with $I$. With the whitened input
# $\tilde x = S^{-1/2}(x - m)$ and $\tilde v = S^{1/2} v$,
#
# $$\hat t = \frac{v \cdot (x - m)}{\sqrt{v^{\mathsf T} S\,v}} = \frac{\tilde v \cdot \tilde x}{\|\tilde v\|}:$$
#
# the function of batch normalization is that of weight normalization on whitened inputs. It whitens without forming
# $S$. We take 512 examples with 20 correlated inputs, and ten units with softmax and cross-entropy.

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

inputs, classes, examples = 20, 10, 512
rng = lesson.rng(1)
x = rng.exponential(size=(examples, inputs)) @ rng.normal(size=(inputs, inputs)) / np.sqrt(inputs)
x += rng.normal(size=inputs)
labels = rng.integers(0, classes, examples)
m, S = x.mean(axis=0), np.cov(x.T, bias=True)
values, vectors = np.linalg.eigh(S)
root, inverse_root = vectors * np.sqrt(values) @ vectors.T, vectors / np.sqrt(values) @ vectors.T

# %%


def one_layer(kind, v):
    """Ten units with directions v, g = 1 and b = 0, in float64."""
    layer = nn.Linear(inputs, classes, bias=False)
    layer.weight.data = v
    if kind == "batch norm":
        norm = nn.BatchNorm(classes, eps=0)
        norm.weight.data, norm.bias.data = np.ones(classes), np.zeros(classes)
        return nn.Sequential(layer, norm)
    wn.WeightNorm(layer)
    layer.weight_g.data = np.ones_like(layer.weight_g.data)
    return layer


V = rng.normal(size=(classes, inputs))
on_raw, on_white = one_layer("batch norm", V), one_layer("weight norm", V @ root)
outputs = on_raw(mg.tensor(x)).numpy(), on_white(mg.tensor((x - m) @ inverse_root)).numpy()
units = rng.normal(size=(10_000, inputs))
units /= np.linalg.norm(units, axis=1, keepdims=True)
of_random = np.sqrt(np.einsum("ni,ij,nj->n", units, S, units))
print(f"deviation of v·x/‖v‖: from {np.sqrt(values[0]):.3f} to {np.sqrt(values[-1]):.3f} in the extreme directions, "
      f"{of_random.min():.2f} to {of_random.max():.2f} in 10,000 random ones; with batch norm always 1")

# %% tags=["hide-input"]
# *Tolerance.* Roundings of $10^{-16}$, times the condition number of $S^{1/2}$ (some 100), in sums of 512: $10^{-11}$;
# we allow $10^{-10}$.

lesson.claim("Correlated inputs: BN in v = WN in S^½ v on whitened inputs", outputs[0], predicted=outputs[1], rtol=0.0,
             atol=1e-10)

# %%
# The gradient: an oblique projection
# -----------------------------------
#
# But batch normalization takes its steps in $v$, not in $\tilde v$. By lesson 08, $\nabla_t L$ is $\delta$ without its
# parts along $\mathbf 1$ and along $\hat t$, times $g/\sigma$, where $\delta$ is the derivative of the loss with
# respect to $\tilde t$. Multiply by $X^{\mathsf T}$, with $X_c = X - \mathbf 1 m^{\mathsf T}$ for the centred inputs:
#
# $$\nabla_v L = \frac{g}{\sigma}\left(I - \frac{S\,v v^{\mathsf T}}{v^{\mathsf T} S\,v}\right) X_c^{\mathsf T}\delta.$$
#
# It is still at a right angle to $v$, as it must be where the length of $v$ has no effect. But it is an oblique
# projection: what it removes is along $Sv$, whereas weight normalization removes the part along $v$.

gradient = mg.grad(F.cross_entropy(on_raw(mg.tensor(x)), labels), on_raw[0].weight).numpy()
logits = mg.tensor(on_raw(mg.tensor(x)).numpy(), requires_grad=True)
delta = mg.grad(F.cross_entropy(logits, labels), logits).numpy()  # g = 1
for_w = (x - m).T @ delta  # (inputs, classes)


def oblique(v, a):
    """The projection of a along Sv, divided by σ."""
    return (a - S @ v * (v @ a) / (v @ S @ v)) / np.sqrt(v @ S @ v)


def cosine(a, b):
    return (a * b).sum(axis=-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


by_hand = np.stack([oblique(v, a) for v, a in zip(V, for_w.T, strict=True)])
removed = for_w.T / np.sqrt(np.einsum("ci,ij,cj->c", V, S, V))[:, None] - gradient
print("cosine of v with ∇_v L and with what was removed, unit 0:",
      f"{cosine(V, gradient)[0]:+.1e}, {cosine(V, removed)[0]:+.3f}")

# %% tags=["hide-input"]
# *Tolerance.* As above; the entries are of size 0.01, and $10^{-12}$ is $10^{-10}$ of that.

lesson.claim("Correlated inputs: ∇_v of BN is the oblique projection", gradient, predicted=by_hand, rtol=0.0,
             atol=1e-12)
lesson.claim("Correlated inputs: ∇_v of BN is at a right angle to v, largest cosine", np.abs(cosine(V, gradient)).max(),
             below=1e-10)
lesson.claim("Correlated inputs: what BN removes is along Sv, smallest |cosine|", np.abs(cosine(V @ S, removed)).min(),
             above=1 - 1e-10)

# %%
# A smoother loss?
# ----------------
#
# Santurkar et al. (2018, arXiv:1805.11604) explain the success of batch normalization by shorter gradients. Their
# theorem 4.1 bounds, for one unit and a minibatch of $B$ examples,
#
# $$\|\nabla_t L\|^2 \le \frac{g^2}{\sigma^2}\left(\|\delta\|^2 - \frac{(\mathbf 1 \cdot \delta)^2}{B}
#   - \frac{(\hat t \cdot \delta)^2}{B}\right).$$
#
# They compare the gradients of two networks. If $\delta$ is the gradient at the layer's own output, Pythagoras makes
# it an *equation*: a projection removes two parts at right angles, and nothing else. Mean-only batch normalization
# removes only the first part. Weight normalization has the same form in the space of weights, by equation 4:
# $\|\nabla_v L\|^2 = (g^2/\|v\|^2)\,(\|\nabla_w L\|^2 - (\nabla_w L \cdot u)^2)$ with $u = v/\|v\|$.
#
# We take four units and 50 examples, with $\delta$ that do not cancel over the minibatch:

t = mg.tensor(3 + 2 * rng.normal(size=(50, 4)), requires_grad=True)
delta = rng.normal(size=(50, 4)) + rng.normal(size=(50, 4)) ** 2
squares = (mg.grad(nn.BatchNorm(4, eps=0)(t), t, delta).numpy() ** 2).sum(axis=0)
hat = (t.numpy() - t.numpy().mean(axis=0)) / t.numpy().std(axis=0)
whole, along_one, along_hat = (delta**2).sum(axis=0), delta.sum(axis=0) ** 2 / 50, (hat * delta).sum(axis=0) ** 2 / 50
law = (whole - along_one - along_hat) / t.numpy().var(axis=0)
print("unit   ‖δ‖²   along 1   along t̂   left over   × g²/σ² = ‖∇_t L‖²")
for c in range(4):
    left_over = whole[c] - along_one[c] - along_hat[c]
    print(f"{c:4} {whole[c]:7.1f} {along_one[c]:8.1f} {along_hat[c]:9.1f} {left_over:10.1f} {squares[c]:16.1f}")

# %%
# The factor in front decides: $g/\sigma$ here, $g/\|v\|$ there. The gradient is shorter where $\sigma > g$. Where a
# layer's pre-activations are small, batch normalization *lengthens* the gradient: multiply $t$ by a factor $a$, and the
# gradient's length is divided by $a$.

factors = np.array([0.1, 0.3, 1.0, 3.0])
lengths = []
for factor in factors:
    scaled = mg.tensor(factor * t.numpy(), requires_grad=True)
    lengths.append(np.linalg.norm(mg.grad(nn.BatchNorm(4, eps=0)(scaled), scaled, delta).numpy(), axis=0))
lengths = np.array(lengths) / np.sqrt(whole)
for factor, row in zip(factors, lengths, strict=True):
    print(f"t times {factor:3}: ‖∇_t L‖/‖δ‖ = {np.round(row, 3)}")

# %% tags=["hide-input"]
# *Tolerance.* Sums of 50 numbers of like sign: a relative $10^{-14}$; we allow $10^{-12}$.

lesson.claim("‖∇_t L‖² = (g²/σ²)(‖δ‖² - mean part - part along t̂) (Santurkar 2018, with =)", squares, predicted=law,
             rtol=1e-12)
lesson.claim("t times a: the gradient of batch normalization is 1/a as long", lengths / lengths[2],
             predicted=1 / factors[:, None], rtol=1e-12)
lesson.claim("t times 0.1: the gradient of batch normalization is longer than δ, smallest ratio", lengths[0].min(),
             above=1)

# %% tags=["hide-input"]

figure, axis = plt.subplots(figsize=(5.6, 3.8))
fine = np.geomspace(0.08, 4, 50)
sigma = t.numpy().std(axis=0)
left_over = np.sqrt((whole - along_one - along_hat) / whole)
for c, shade in enumerate(plt.colormaps["viridis"](np.linspace(0, 0.85, 4))):
    axis.loglog(fine * sigma[c], left_over[c] / (fine * sigma[c]), "-", color="0.4", lw=1, zorder=0)
    axis.loglog(factors * sigma[c], lengths[:, c], "o", color=shade, label=f"unit {c}")
axis.axhline(1, color=COLOURS["batch norm"], lw=1, ls=":")
axis.set(xlabel="deviation σ[t] of the unit (g = 1)", ylabel="$\\|\\nabla_t L\\|\\;/\\;\\|\\delta\\|$",
         title="Shorter only where σ is large")
axis.set_xticks([0.2, 0.5, 1, 2, 5], ["0.2", "0.5", "1", "2", "5"])
axis.set_yticks([0.1, 0.2, 0.5, 1, 2, 5], ["0.1", "0.2", "0.5", "1", "2", "5"])
axis.minorticks_off()
axis.legend()
lesson.figure(figure, "length", note="random numbers; lines: the law", alt="The length of batch norm's gradient, "
              "relative to that of δ, against the unit's deviation, both logarithmic. The dots of four units lie on "
              "falling lines of slope -1 and cross 1 near a deviation of 0.8: below it the gradient is lengthened.")

# %%
# So "batch normalization shortens gradients" is half a law. The projection does shorten them. The factor $g/\sigma$ may
# go either way; in a network that is initialized with $\sigma = 1$ (equation 6) it does nothing at first.
#
# Questions
# ---------
#
# 1. *In which metric?* With batch normalization, take one gradient step in $v$ with the learning rate $\eta$, and
#    express it in $\tilde v$. Which matrix multiplies the gradient that weight normalization on whitened inputs would
#    use?
# 2. *Mean-only.* Write down the equation for $\|\nabla_t L\|^2$ of mean-only batch normalization, and check it.

lesson.finish()

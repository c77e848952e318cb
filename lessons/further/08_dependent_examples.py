r"""Examples that depend on each other
==================================

With batch normalization, the output for one example depends on the others that happen to be in the minibatch. That is
how a model can give two answers for the same picture, how information leaks between examples that should not know of
each other, and why training fails silently when the minibatch shrinks to one. Weight normalization has none of this.
Open this chapter if predictions change with the company that an example keeps, or if your minibatches may be tiny.

Afterwards you can

- write down the influence of one example on another, for each of the normalizations;
- say what a bias before mean-only batch normalization does, and what a shift of all inputs does;
- explain what is left with a minibatch of two, and why a minibatch of one must be refused.

Read first: lesson 08, "Mean-only batch normalization".

Claims checked, and where they are made:

- weight normalization makes no example depend on another (abstract);
- mean-only batch normalization: equations 7 and 8 (section 4), and what follows from them.

Time: quick about 2 s, full about 2 s.
"""

# %%
# Who influences whom
# -------------------
#
# Take a minibatch of six examples, and the Jacobian $\partial \tilde t_i/\partial x_j$ of the outputs of one layer with
# respect to its inputs. It has a block for each pair of examples. For weight normalization the blocks with $i \ne j$
# must be exactly 0. For mean-only batch normalization, $\tilde t = t - \mu[t] + b$ with $t = w \cdot x$ (equation 7;
# $\mu[t]$ is the mean over the minibatch), so
#
# $$\frac{\partial\tilde t_i}{\partial x_j} = \Bigl(1 - \frac1B\Bigr)\,w \;\text{ for } i = j, \qquad
#   -\frac1B\,w \;\text{ for } i \ne j.$$
#
# For full batch normalization, with $w = v$, scale $g = 1$, and $\hat t$ for the normalized pre-activation, the
# gradient of lesson 08 says that the factor is $(1 - 1/B - \hat t_i^2/B)/\sigma$ for $i = j$, and
# $-(1 + \hat t_i\,\hat t_j)/(B\sigma)$ for $i \ne j$, where $\sigma$ is the standard deviation over the minibatch.

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl

import minigrad as mg
import wn
from lessons import Lesson
from minigrad import nn

lesson = Lesson(__file__)
threadpoolctl.threadpool_limits(1)  # matrices this small are multiplied fastest by a single thread

KINDS = {"normal": (False, None), "weight norm": (True, None), "mean-only BN": (False, wn.MeanOnlyBatchNorm),
         "WN + mean-only BN": (True, wn.MeanOnlyBatchNorm), "batch norm": (False, nn.BatchNorm)}
B, inputs, units = 6, 4, 3
rng = lesson.rng(1)
six = rng.normal(size=(B, inputs))


def one_layer(kind, inputs, units):
    """A dense layer of this kind, in float64, and the module that computes its weights."""
    normalize, after = KINDS[kind]
    dense = nn.Linear(inputs, units, bias=after is None, rng=lesson.rng(2))
    parts = [wn.WeightNorm(dense) if normalize else dense]
    if after:
        parts.append(after(units, eps=0) if after is nn.BatchNorm else after(units))
    model = nn.Sequential(*parts)
    for parameter in model.parameters():
        parameter.data = parameter.data.astype(float)
    return model, dense


# %%

factors = {}
for kind in KINDS:
    model, dense = one_layer(kind, inputs, units)
    jacobian = mg.jacobian(model, six).numpy()  # (B, units, B, inputs)
    w = dense.weight.numpy()
    # Each block is a number times w: this is the number, (units, B, B).
    factors[kind] = np.einsum("icjk,ck->cij", jacobian, w) / (w**2).sum(axis=1)[:, None, None]
    assert np.allclose(jacobian, np.einsum("cij,ck->icjk", factors[kind], w))
    between = factors[kind][:, ~np.eye(B, dtype=bool)]
    print(f"{kind:18} ∂t̃_i/∂x_j as a multiple of w, i ≠ j: from {between.min():+.4f} to {between.max():+.4f}")

t = six @ one_layer("batch norm", inputs, units)[1].weight.numpy().T
hat, sigma = (t - t.mean(axis=0)) / t.std(axis=0), t.std(axis=0)
law = (np.eye(B) - 1 / B - hat.T[:, :, None] * hat.T[:, None, :] / B) / sigma[:, None, None]

# %% tags=["hide-input"]
# *Tolerance.* Float64, sums of six and four numbers: $10^{-14}$; we allow $10^{-12}$.

lesson.claim("Weight norm: influence of one example on another (abstract), exactly",
             np.abs(factors["weight norm"][:, ~np.eye(B, dtype=bool)]).max(), near=0, within=0)
lesson.claim("WN + mean-only BN: ∂t̃_i/∂x_j = (1 if i = j, else 0, less 1/B) w", factors["WN + mean-only BN"],
             predicted=np.eye(B) - 1 / B, rtol=1e-12)
lesson.claim("Batch norm: ∂t̃_i/∂x_j, with the term in t̂_i t̂_j", factors["batch norm"], predicted=law, rtol=0.0,
             atol=1e-12)

# %% tags=["hide-input"]

figure, axes = plt.subplots(1, 3, figsize=(8.4, 3.1), sharey=True)
for axis, kind in zip(axes, ("weight norm", "WN + mean-only BN", "batch norm"), strict=True):
    shown = factors[kind][0] / np.abs(factors[kind][0]).max()
    image = axis.imshow(shown, cmap="PuOr", vmin=-1, vmax=1)
    axis.set(xticks=range(B), yticks=range(B), xlabel="input of example j")
    axis.set_title(kind, fontsize=10)
    axis.grid(False)
axes[0].set_ylabel("output of example i")
figure.colorbar(image, ax=axes, shrink=0.8, label="influence (largest: 1)")
lesson.figure(figure, "influence", alt="Three matrices of six by six: the influence of example j's input on example "
              "i's output. With weight norm only the diagonal is filled; with mean-only batch norm all other entries "
              "have the same small negative value; with batch norm they differ in size and in sign.")

# %%
# Mean-only batch normalization makes every example depend on every other equally, and by a fraction $1/B$ that is known
# beforehand. Batch normalization's influences depend on which examples are there: two examples with large $\hat t$ of
# opposite sign pull each other up.
#
# What follows from equation 7
# ----------------------------
#
# Equation 8 gives the gradient, with $\delta$ for the derivative of the loss with respect to $\tilde t$:
# $\nabla_t L = \delta - \mu[\delta]$. Two consequences:
#
# - a bias in the layer *before* gets the gradient $\sum_i (\delta_i - \mu[\delta]) = 0$ and has no effect: $b$ has to
#   be added after the mean is subtracted;
# - adding a constant vector to every input adds the same number to every $t_i$, and changes nothing.
#
# We also check equation 8 at one place by a method that uses no rule of differentiation: central differences.

batch = 2 + rng.normal(size=(40, 20))
dense = nn.Linear(20, 8, rng=lesson.rng(3))
model = nn.Sequential(wn.WeightNorm(dense), wn.MeanOnlyBatchNorm(8))
for parameter in model.parameters():
    parameter.data = parameter.data.astype(float)
target = mg.tensor(rng.normal(size=(40, 8)))


def loss_after(t_tilde):
    """Some loss of the layer's output."""
    return mg.square(mg.tanh(t_tilde) - target).sum() / 2


t = mg.tensor(dense(mg.tensor(batch)).numpy())
t_tilde = mg.tensor(model[1](t).numpy(), requires_grad=True)
delta = mg.grad(loss_after(t_tilde), t_tilde).numpy()
step, entry = 6e-6, np.zeros_like(delta)
entry[3, 5] = step
with mg.no_grad():
    difference = loss_after(model[1](t + entry)).item() - loss_after(model[1](t - entry)).item()
written_out = wn.mean_only_gradients(delta)[0]
of_bias = mg.grad(loss_after(model(mg.tensor(batch))), dense.bias).numpy()
moved = np.abs(model(mg.tensor(batch + 5)).numpy() - model(mg.tensor(batch)).numpy()).max()
print(f"∇_t L at one place: equation 8 {written_out[3, 5]:+.8f}, differences {difference / (2 * step):+.8f}, "
      f"δ itself {delta[3, 5]:+.8f}")

# %% tags=["hide-input"]
# *Tolerances.* Central differences with $h = 6 \cdot 10^{-6}$: $h^2$, and the rounding of a loss of some hundreds,
# $10^{-14}/h$, come to a few $10^{-9}$; we allow $2 \cdot 10^{-8}$. The others are sums of 40 numbers of size 1.

lesson.claim("Equation 8 = central differences at one place", difference / (2 * step), predicted=written_out[3, 5],
             rtol=0.0, atol=2e-8)
lesson.claim("A bias before mean-only batch normalization gets no gradient: largest entry", np.abs(of_bias).max(),
             below=1e-12)
lesson.claim("Adding 5 to every input changes nothing in training: largest difference", moved, below=1e-12)

# %%
# Two examples, and one
# ---------------------
#
# With $B = 2$, batch normalization returns $\hat t = \pm 1$: which of the two numbers is the larger, and nothing else.
# Mean-only batch normalization returns plus and minus half of their difference, so it also keeps by how much. With
# $B = 1$, $\tilde t = b$ whatever $t$ is, and the gradient $\delta - \mu[\delta]$ is 0: nothing comes through, forward
# or backward. (In a convolution the mean also runs over the places of the image, so one picture can do.) A network
# would learn nothing without complaining, so the library complains.

two = mg.tensor(rng.normal(size=(2, units)))
full, mean_only = nn.BatchNorm(units, eps=0)(two).numpy(), wn.MeanOnlyBatchNorm(units)(two).numpy()
print("two examples:\n", np.round(two.numpy(), 3), "\nbatch norm:\n", full, "\nmean-only:\n", np.round(mean_only, 3))
alone = wn.mean_only_gradients(np.array([[0.3, -1.2, 4.0]]))[0]
refused = 0
for after in (wn.MeanOnlyBatchNorm(units), nn.BatchNorm(units)):
    try:
        after(mg.tensor(np.ones((1, units), np.float32)))
    except ValueError as error:
        refused += 1
        print("ValueError:", error)
lesson.claim("Two examples: batch norm returns ±1", full, predicted=np.sign(two.numpy() - two.numpy()[::-1]), rtol=1e-6)
lesson.claim("One example: the gradient that mean-only BN lets through, largest entry", np.abs(alone).max(), near=0,
             within=0)
lesson.claim("One example in training: mean-only and full batch normalization refuse, times out of 2", refused, near=2,
             within=0)

# %%
# Questions
# ---------
#
# 1. *Sums.* Show that each row of batch normalization's matrix of influences sums to 0, and so does each row multiplied
#    by $\hat t$. What do these two sums say about shifting and scaling all inputs?
# 2. *At test time.* Call ``eval()`` on the models of the first part and compute the Jacobians again. Which influences
#    are left?

lesson.finish()

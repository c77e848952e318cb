r"""What it costs: memory and passes
================================

"Convolutional neural networks usually have much fewer weights than pre-activations, so normalizing the weights is often
much cheaper computationally" (section 2.2). And mean-only batch normalization is "comparatively cheap" (section 4).
Both statements can be checked by counting. Open this chapter if you have to choose a normalization for a network that
barely fits into memory, or if you want to know for which layers the paper's statement is wrong.

Afterwards you can

- count weights and pre-activations of a layer, and say from which minibatch size on normalizing the weights is cheaper;
- say what each normalization keeps for the backward pass, and how that grows with the minibatch.

Read first: lesson 08, "Mean-only batch normalization"; lesson 01 on the tape.

Claims checked, and where the paper makes them:

- a convolutional network has fewer weights than pre-activations (section 2.2): yes per minibatch, not per picture;
- mean-only batch normalization costs less than full batch normalization (section 4);
- whether weight normalization does depends on the minibatch.

Time: quick about 1 s, full about 1 s.
"""

# %%
# Weights and pre-activations
# ---------------------------
#
# Normalizing a weight costs a few operations per weight, once a step; normalizing a pre-activation costs a few
# operations per pre-activation. So we count both for the paper's CIFAR-10 network (its table 1) and its minibatch of
# 100. A convolution has (inputs · outputs · kernel²) weights and (outputs · side²) pre-activations for each picture.

import numpy as np

import minigrad as mg
import wn
from lessons import Lesson
from minigrad import nn

lesson = Lesson(__file__)

# inputs, outputs, side of the kernel, side of the picture that comes out
CIFAR = [(3, 96, 3, 32), (96, 96, 3, 32), (96, 96, 3, 32), (96, 192, 3, 16), (192, 192, 3, 16), (192, 192, 3, 16),
         (192, 192, 3, 6), (192, 192, 1, 6), (192, 192, 1, 6), (192, 10, 1, 1)]
weights = np.array([a * b * kernel**2 for a, b, kernel, side in CIFAR])
per_picture = np.array([b * side**2 for a, b, kernel, side in CIFAR])
print("layer              weights   pre-activations of 100   ratio")
for (a, b, kernel, side), w, p in zip(CIFAR, weights, per_picture, strict=True):
    print(f"{a:3} → {b:3}, {kernel}×{kernel}, {side:2}² {w:9,} {100 * p:16,} {100 * p / w:16.1f}")
whole = 100 * per_picture.sum() / weights.sum()
print(f"all {weights.sum():20,} {100 * per_picture.sum():16,} {whole:16.1f}; for one picture {whole / 100:.2f}")
lesson.claim("CIFAR-10 network, minibatch of 100: pre-activations per weight (section 2.2: fewer weights)", whole,
             above=10)
lesson.claim("CIFAR-10 network, one picture: pre-activations per weight", whole / 100, below=1)
lesson.claim("CIFAR-10 network, minibatch of 100: the last layer alone has more weights than pre-activations, ratio",
             100 * per_picture[-1] / weights[-1], below=1)

# %%
# The statement holds for the paper's network and minibatch, by a factor of 33. It holds because of the minibatch: for a
# single picture there are three weights for each pre-activation. And nearly all of the 33 comes from the early layers
# with their large pictures; in the 3 × 3 layer with 6 × 6 places it is 2. A dense layer with $n$ inputs has $B/n$
# pre-activations per weight for a minibatch of $B$ examples: normalizing its weights is cheaper only if $B > n$.
#
# What the tape keeps
# -------------------
#
# Memory first. What does the tape of one dense layer keep for the backward pass, with 500 inputs and 100 units, in
# float32? We count, with ``mg.draw`` of lesson 01, for two sizes of the minibatch.

KINDS = {"normal": (False, None), "weight norm": (True, None), "mean-only BN": (False, wn.MeanOnlyBatchNorm),
         "WN + mean-only BN": (True, wn.MeanOnlyBatchNorm), "batch norm": (False, nn.BatchNorm)}


def bytes_kept(kind, B):
    """Bytes that the layer's tape keeps, and its number of nodes."""
    normalize, after = KINDS[kind]
    layer = nn.Linear(500, 100, bias=after is None, rng=lesson.rng(1))
    parts = [wn.WeightNorm(layer) if normalize else layer, *([after(100)] if after else [])]
    output = nn.Sequential(*parts)(mg.tensor(np.ones((B, 500), np.float32), requires_grad=True))
    return mg.draw.bytes_kept(output), sum(not entry.is_leaf for entry in mg.draw.entries(output))


extra = {}
print("kept beyond the normal layer, in bytes; t itself has 400 B bytes, the weights 200,000")
for kind in KINDS:
    extra[kind] = np.array([bytes_kept(kind, B)[0] - bytes_kept("normal", B)[0] for B in (100, 1000)])
    print(f"{kind:18} B = 100: {extra[kind][0]:9,}   B = 1000: {extra[kind][1]:9,}   {bytes_kept(kind, 100)[1]} nodes")
per_example = {kind: (large - small) / 900 for kind, (small, large) in extra.items()}

# %% tags=["hide-input"]
# *Tolerance.* Bytes are counted exactly. Batch normalization keeps an array of the size of $t$, 400 bytes an example,
# and numbers for each unit, which do not grow.

lesson.claim("Weight norm: bytes kept for each further example", per_example["weight norm"], near=0, within=0)
lesson.claim("Weight norm + mean-only BN: bytes kept for each further example", per_example["WN + mean-only BN"],
             near=0, within=0)
lesson.claim("Batch norm: bytes kept for each further example, t's own 400", per_example["batch norm"], predicted=400,
             rtol=0.01)
lesson.claim("Weight norm: bytes kept in all, those of w and of one length for each unit", extra["weight norm"],
             predicted=200_000, rtol=0.01)

# %%
# Subtraction is linear, so its backward rule needs no numbers from the forward pass: mean-only batch normalization
# keeps nothing that grows with the minibatch. Batch normalization's rule needs $\hat t$ and $\sigma[t]$, the normalized
# pre-activations and their standard deviation; this library keeps $t$, and the mean and variance of each unit, and
# computes $\hat t$ again. Weight normalization keeps $w$ beside $v$. So weight and batch normalization keep equally
# much where the layer has as many inputs as the minibatch has examples. (In a convolution, the places of the picture
# multiply $B$.)
#
# This is the same rule as for the operations, so we let it predict where weight normalization is the cheaper one. (The
# few numbers for each unit, 3 beside $B$, are left out: 1.5 per cent at $B = 200$.)

ratio = {B: (bytes_kept("weight norm", B)[0] - bytes_kept("normal", B)[0])
         / (bytes_kept("batch norm", B)[0] - bytes_kept("normal", B)[0]) for B in (200, 500, 1000, 2000)}
print("B, and bytes kept by weight norm / by batch norm:", {B: round(r, 2) for B, r in ratio.items()})
lesson.claim("Dense layer with n = 500 inputs: bytes kept beyond the normal layer, weight norm / batch norm = n/B",
             list(ratio.values()), predicted=500 / np.array(list(ratio)), rtol=0.03)

# %%
# Counting passes over the array $t$ gives the same picture. Forward, mean-only needs one pass to add up and one to
# subtract; batch norm needs the mean, the variance, then subtracts, divides and scales. Backward, mean-only needs the
# same two again; batch norm needs two sums, $\mu[\delta]$ and $\mu[\delta\,\hat t]$ with $\delta$ for the incoming
# gradient, then three terms to combine. "Comparatively cheap" is right.
#
# Questions
# ---------
#
# 1. *Your network.* Count weights and pre-activations of a network that you use. From which minibatch size on does
#    section 2.2 hold for it as a whole, and which layers are the exceptions?
# 2. *An LSTM.* It uses the same weights in each of $T$ time steps. How does that change the comparison?

lesson.finish()

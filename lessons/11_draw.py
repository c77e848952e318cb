r"""DRAW: a picture in many strokes
==============================

Weight normalization has one great advantage that the lessons so far could not show: it does not care where its weights
are used. Batch normalization needs a batch of pre-activations and their statistics. In a recurrent network, which uses
the same weights again and again, these are other ones at each step. So section 5.3 turns to a recurrent network: DRAW,
which paints a picture stroke by stroke, looks at what it has painted, and goes on. This lesson builds it from nothing,
windows included, and finds out what becomes of the laws of lessons 03 to 07 when a weight is used $T$ times.

Afterwards you can

- write the bound of an autoencoder with $T$ stochastic steps, and say what each step contributes;
- say what the gates of an LSTM do to gradients, and what a peephole is;
- read and write pictures through a window that moves, and say what a network learns through;
- apply weight normalization to a recurrent network at the price of one computation of the weights, not $T$;
- say why data-dependent initialization does not fit a recurrent network;
- predict the bytes that $T$ steps keep on the tape, and reduce them.

Read first: lesson 10 (the bound), lesson 05 (the growth of ‖v‖); section 5.3 of Salimans & Kingma (2016). DRAW is Gregor
et al.'s (2015, arXiv:1502.04623), the LSTM Hochreiter & Schmidhuber's (1997).

Claims checked:

- each step's divergence is known without drawing; a cell's memory is passed on by its forget gate;
- the gradient for a weight is the sum over its uses; computed once for all steps, it is the same;
- windows: what their weights add up to, how much they blur, and that writing is the transpose of reading;
- ‖v‖ grows as in lesson 05, gate by gate; with either parameterization Adam turns all vectors alike at first;
- statistics of the first step do not hold for the others;
- the bytes on the tape, with all steps and with checkpoints.

Time: quick about 60 s, full about two weeks on two CPU cores (a GPU is meant for it).
"""

# %%

import copy
import time
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

import minigrad as mg
import wn
from lessons import COLOURS, Lesson, positive
from lessons.autoencoder import binarized
from lessons.recurrent_autoencoder import ARMS, CLIP, GUARD, REFERENCE, DrawTraining, Size, Window, initialized
from minigrad import data, nn, optim
from minigrad.data import DataError
from minigrad.nn.densities import normal_log_density

RUNS = ("one stroke", *ARMS, "windows")


def own_flags(parser):
    """For runs in pieces."""
    parser.add_argument("--only", nargs="+", choices=RUNS, metavar="NAME",
                        help=f"train these and stop; of {', '.join(map(repr, RUNS))}")
    parser.add_argument("--minutes", type=positive, help="stop after the last epoch that ends within so many minutes")


lesson = Lesson(__file__, own_flags)


@dataclass(frozen=True)
class Experiment:
    """Everything that differs between a quick and a full run."""

    size: Size
    window: int  # the side of the windows, in the run that has them
    train: int  # pictures
    test: int
    batch: int
    epochs: int


QUICK = Experiment(Size(side=14, steps=8, units=48, latents=8), 5, 1500, 500, 50, 15)
FULL = Experiment(REFERENCE, 5, 60_000, 10_000, 100, 100)
experiment = FULL if lesson.full else QUICK
side, T = experiment.size.side, experiment.size.steps

# %%
# The pictures are those of lesson 10: MNIST where it can be found, otherwise synthetic digits; binarized, and in the
# quick run shrunk to 14 × 14.

try:
    digits = data.load_mnist() if lesson.data != "synthetic" else None
except DataError:
    digits = None
digits = digits or data.synthetic_digits(experiment.train, experiment.test, lesson.seed, side)


def prepared(images, count, stream):
    """The first pictures of a set, shrunk to the network's size by averaging, as 0 and 1."""
    images, by = images[:count], images.shape[-1] // side
    shrunk = images.reshape(len(images), 1, side, by, side, by).mean(axis=(3, 5))
    return binarized(shrunk, lesson.rng(0, stream) if lesson.full else None)


pictures, test = prepared(digits.train_images, experiment.train, 0), prepared(digits.test_images, experiment.test, 1)
note = f"{digits.description}, binarized, {side} × {side}"
print(f"{note}: {len(pictures):,} training and {len(test):,} test pictures")
few = binarized(data.synthetic_digits(500, 0, lesson.seed, QUICK.size.side).train_images)
print(f"before the training, theory is checked on {len(few)} synthetic digits, {QUICK.size.side} × {QUICK.size.side}")

# %%
# From one go to T strokes
# ------------------------
#
# The autoencoder of lesson 10 draws latent variables $z$ once and decodes them in one go: the decoder has to place every
# pixel at once, and nothing tells it how the first half turned out. DRAW has a *canvas*, one number for each pixel, 0 at
# the beginning. At each of $T$ steps
#
# 1. the *encoder* sees the picture $x$, and what the canvas lacks of it, $x$ minus the canvas's probabilities; it
#    chooses mean $\bar z_t$ and standard deviation $\sigma_t$ of that step's latent variables;
# 2. these are drawn, $z_t = \bar z_t + \sigma_t\,\xi_t$ with standard normal noise $\xi_t$;
# 3. the *decoder* sees $z_t$, and adds a stroke to the canvas.
#
# Both are recurrent: they keep a state from step to step, and use the same weights at every step. After $T$ steps the
# canvas holds the logits of the pixels. To make a picture of its own, the model draws each $z_t$ from a standard normal
# distribution $p$, and the encoder is not needed.
#
# The bound is lesson 10's, with the $z_t$ of all steps taken together as $z$. Its second part falls apart into a sum:
#
# $$\log p(x) \;\ge\; \mathbb{E}\Bigl[\log p(x \mid \text{canvas}_T) - \sum_{t=1}^T
#   \mathrm{KL}\bigl(q(z_t \mid x, z_1, \dots, z_{t-1}) \,\|\, p(z_t)\bigr)\Bigr].$$
#
# Given the steps before, $q(z_t)$ and $p(z_t)$ are both normal with independent entries. So each divergence is known
# without drawing $z_t$ (exercise 10.1), $\sum \tfrac12(\bar z_t^2 + \sigma_t^2 - 1) - \log\sigma_t$, and there is only
# the noise left that comes from the steps before. We let a network with large random weights paint one picture 4,000
# times, and compare the formula with the average of $\log q(z_t) - \log p(z_t)$ over the draws.

DRAWS = 4000


def with_large_weights(arm, size, rng, scale=0.2):
    """A network in float64 all of whose parameters are drawn from N(0, scale²)."""
    model = initialized(arm, size, rng)
    for parameter in model.parameters():
        parameter.data = scale * rng.normal(size=parameter.shape)
    return model


model = with_large_weights("normal", QUICK.size, lesson.rng(1))
heads = []
model.posterior.register_forward_hook(lambda layer, inputs, output: heads.append(output.numpy()))
noise = lesson.rng(2).normal(size=(QUICK.size.steps, DRAWS, QUICK.size.latents))
with mg.no_grad():
    _, divergences = model.terms(mg.tensor(np.repeat(few[:1], DRAWS, axis=0).astype(float)), mg.tensor(noise))
mean, log_scale = np.split(np.array(heads), 2, axis=2)
z = mean + np.exp(log_scale) * noise
drawn = (normal_log_density(z, mean, log_scale) - normal_log_density(z, 0.0, 0.0)).sum(axis=2).T
divergences = divergences.numpy()
print("nats of each step, by the formula:", divergences.mean(axis=0).round(2))
print("averaged over draws:              ", drawn.mean(axis=0).round(2))
print(f"standard deviations of one draw: {divergences.std(axis=0).mean():.2f} and {drawn.std(axis=0).mean():.2f} nats")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* The mean of the differences is off by one standard error on average, and by more than five in one of two
# million cases.

error = (drawn - divergences).std(axis=0).max() / np.sqrt(DRAWS)
lesson.claim("the divergence of each step, in closed form: mean of log q(z_t) - log p(z_t) over draws",
             drawn.mean(axis=0), predicted=divergences.mean(axis=0), rtol=0.0, atol=5 * float(error))

# %%
# The first step's divergence has no noise at all, for nothing has been drawn before it. In training the formula saves
# noise that the gradient would have to average out.
#
# A cell that remembers
# ---------------------
#
# "LSTM units consist of a memory cell with additive dynamics, combined with input, forget, and output gates that
# determine which information flows in and out of the memory." In formulas, with the output $h$ and the memory $c$ of the
# step before, and the logistic function $1/(1 + e^{-x})$:
#
# $$i, f, o = \text{logistic}(Wx + Uh + b + \text{peephole}), \quad \text{new} = \tanh(Wx + Uh + b), \quad
#   c \leftarrow f c + i\,\text{new}, \quad h = o \tanh c.$$
#
# Each of the four has rows of its own in $W$, $U$ and $b$. A *peephole* lets a gate see the memory of its own unit, one
# number times $c$; the output gate decides last, and sees the new $c$. ``nn.LSTMCell`` has them if you ask for
# them. Here is one step by hand.


def logistic(x):
    return 1 / (1 + np.exp(-x))


def by_hand(cell, x, h, c):
    """The next h and c, from a cell's parameters and plain arrays."""
    W, U, b, peepholes = (p.numpy() for p in (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.weight_peephole))
    i, f, new, o = np.split(x @ W.T + h @ U.T + b, 4, axis=1)
    c = logistic(f + peepholes[1] * c) * c + logistic(i + peepholes[0] * c) * np.tanh(new)
    return logistic(o + peepholes[2] * c) * np.tanh(c), c


cell, rng = model.encoder, lesson.rng(3)
x, h, c = (rng.normal(size=(6, n)) for n in (cell.input_size, cell.hidden_size, cell.hidden_size))
found = cell(mg.tensor(x), (h, c))
lesson.claim("a step of nn.LSTMCell with peepholes is what stands in the formulas: largest difference of h and c",
             max(np.abs(a.numpy() - b).max() for a, b in zip(found, by_hand(cell, x, h, c), strict=True)), below=1e-12)

# %%
# What is the memory for? In a plain recurrent network the state goes through a matrix and a tanh at every step, and so
# does the gradient on its way back. Here $c$ has a way of its own, on which nothing happens but a product with $f$. Cut
# all other ways, with $U = 0$ and without peepholes, and the derivative of the last memory by the first is the product
# of the forget gates.

cell = nn.LSTMCell(5, 3, rng=lesson.rng(4))
for parameter in cell.parameters():
    parameter.data = parameter.data.astype(float)
cell.weight_hh.data = np.zeros((12, 3))
xs = lesson.rng(5).normal(size=(T, 1, 5))


def last_memory(c):
    h = np.zeros((1, 3))
    for x in xs:
        h, c = cell(x, (h, c))
    return c


derivative = np.diag(mg.jacobian(last_memory, rng.normal(size=(1, 3))).numpy().reshape(3, 3))
forget = slice(3, 6)  # the rows of f
f = logistic(xs @ cell.weight_ih.numpy()[forget].T + (cell.bias_ih.numpy() + cell.bias_hh.numpy())[forget])
lesson.claim("the last memory's derivative by the first is the product of the forget gates, three units", derivative,
             predicted=np.prod(f, axis=0)[0], rtol=1e-10)
print(f"forget gates around {f.mean():.2f}: after {T} steps {derivative.round(4)} is left")

# %%
# With gates around one half little is left after eight steps. A network that has to remember learns an $f$ close to 1;
# that is what "additive dynamics" means.
#
# One weight, T times
# -------------------
#
# A weight that is used at $T$ steps gets $T$ gradients, and the tape adds them up. To see it, give each step a copy of
# the cell of its own.


def sum_of_squares(cells):
    h, c = np.zeros((1, 3)), np.zeros((1, 3))
    total = 0.0
    for x, cell in zip(xs, cells, strict=True):
        h, c = cell(x, (h, c))
        total = total + mg.square(h).sum()
    return total


cell.weight_hh.data = lesson.rng(6).normal(size=(12, 3))
copies = [copy.deepcopy(cell) for _ in xs]
shared = mg.grad(sum_of_squares([cell] * T), cell.weight_hh).numpy()
apart = [g.numpy() for g in mg.grad(sum_of_squares(copies), [one.weight_hh for one in copies])]
lesson.claim("the gradient for a weight is the sum of the gradients of its T uses", shared, predicted=sum(apart),
             rtol=1e-10, atol=1e-14)

# %%
# With weight normalization, $w = g\,v/\|v\|$ is a result, not a parameter. Computed anew at each use, it costs $T$ times
# as much, in time and on the tape. But it is the same $w$ each time: within ``computed_once()`` a module keeps it until
# the block ends.

wn.apply_weight_norm(cell)
anew = sum_of_squares([cell] * T)
with cell.computed_once():
    once = sum_of_squares([cell] * T)
computed = [sum(entry.title == "weight_norm" for entry in mg.draw.entries(loss)) for loss in (anew, once)]
gradients = [np.concatenate([g.numpy().ravel() for g in mg.grad(loss, cell.parameters())]) for loss in (anew, once)]
print(f"weights computed {computed[0]} and {computed[1]} times: two matrices, {T} steps")
lesson.claim("w computed once for all steps: largest difference of a gradient, relative to the largest gradient",
             np.abs(gradients[0] - gradients[1]).max() / np.abs(gradients[0]).max(), below=1e-12)
lesson.claim("computations of w on the tape, anew at each use over once", computed[0] / computed[1], predicted=T, rtol=0.0)

# %%
# A window
# --------
#
# The paper's DRAW sees all of $x$ at each step, and paints on all of the canvas. DRAW is known for something else: a
# window that it moves, small, and sharp or blurred. All of it has to be differentiable, so no pixel is ever cut out.
# Instead, $N \times N$ Gaussian filters lie on a grid. Five numbers, a linear map of the decoder's $h$, say where: the
# center (down and across), the distance between neighbours, the filters' standard deviation $\sigma$, and a strength.
# Filter $i$ along an axis, centered at $m_i$, weighs pixel $a$ with
#
# $$F_{ia} = \frac{e^{-(a - m_i)^2/2\sigma^2}}{S_i + 10^{-4}}, \qquad S_i = \sum_a e^{-(a - m_i)^2/2\sigma^2},
#   \qquad \text{read}(x) = \text{strength} \cdot F_{\text{down}}\, x\, F_{\text{across}}^\top.$$
#
# The $10^{-4}$ is a guard: a filter that lies outside of the picture sees nothing, instead of dividing 0 by 0. Here are
# 200 random windows.

rng = lesson.rng(7)
numbers = rng.normal(size=(200, 5)) * [1, 1, 0.5, 1, 0.3]  # center down and across, and three logarithms
window = Window(numbers, 5, side)
y, _, log_distance, log_variance, _ = numbers.T[:, :, None]
centers = (y + 1) / 2 * (side + 1) - 1 + (np.arange(5) - 2) * np.exp(log_distance) * (side - 1) / 4
squares = (np.arange(side) - centers[:, :, None]) ** 2
S = np.exp(-squares / 2 / np.exp(log_variance)[:, :, None]).sum(axis=2)
lesson.claim("the weights of a filter add up to S/(S + 0.0001), inside and outside of the picture: 1000 filters",
             window.down.numpy().sum(axis=2), predicted=S / (S + GUARD), rtol=1e-10, atol=1e-15)
print(f"the sums lie between {window.down.numpy().sum(axis=2).min():.1g} and {(S / (S + GUARD)).max():.6f}")

# %%
# With as many filters as pixels, one apart, the window covers the picture. If the filters are much narrower than a
# pixel, it then reads what is there, but for the guard, twice. If they are wider, it blurs: a wave of period $P$ comes
# out weaker by the factor $e^{-2\pi^2\sigma^2/P^2}$, the Gaussian's Fourier transform.

narrow = Window(np.array([[0, 0, 0, 2 * np.log(0.1), 0]]), side, side)
lesson.claim("a window that covers the picture, with σ of a tenth of a pixel, reads it as it is, over 1.0001²",
             narrow.read(mg.tensor(test[:1, 0].astype(float))).numpy(), predicted=test[:1, 0] / (1 + GUARD) ** 2,
             rtol=1e-10, atol=1e-15)
LARGE, SIGMA, periods = 64, 1.5, np.array([5.0, 8.0, 16.0])
blurring = Window(np.array([[0, 0, 0, 2 * np.log(SIGMA), 0]] * 3), LARGE, LARGE)
waves = np.cos(2 * np.pi * (np.arange(LARGE) - 31) / periods[:, None])
read = blurring.read(mg.tensor(np.repeat(waves[:, None], LARGE, axis=1))).numpy()
print("waves that come out at", (read[:, 31, 31] / waves[:, 31]).round(4), "of their height, periods", periods)

# %% Tolerance tags=["hide-input"]
# *Tolerance.* The guard takes $2 \cdot 10^{-4}/S$ with $S = \sigma\sqrt{2\pi} = 3.8$, and a sum over pixels differs
# from the integral by less: 0.1 % for both.

lesson.claim("a wave of period P comes out weaker by exp(-2π²σ²/P²), three periods", read[:, 31, 31],
             predicted=np.exp(-2 * np.pi**2 * SIGMA**2 / periods**2), rtol=1e-3)

# %%
# To write is the way back, $\text{write}(w) = F_{\text{down}}^\top\, w\, F_{\text{across}}/\text{strength}$: the
# *transpose* of reading, except that it divides by the strength where reading multiplies. And the gradient for the five
# numbers, by which the network learns where to look, agrees with differences.

image, patch = rng.normal(size=(200, side, side)), rng.normal(size=(200, 5, 5))
reading = (window.read(mg.tensor(image)).numpy() * patch).sum(axis=(1, 2))
writing = (window.write(mg.tensor(patch)).numpy() * image).sum(axis=(1, 2))
lesson.claim("⟨read(x), w⟩ = strength² ⟨x, write(w)⟩, 200 windows", reading,
             predicted=np.exp(2 * numbers[:, 4]) * writing, rtol=1e-9, atol=1e-9)


def seen(numbers):
    """What each window reads, times the patch, all added up, for each window."""
    return (Window(numbers, 5, side).read(mg.tensor(image)) * patch).sum(axis=(1, 2))


five = mg.tensor(numbers, requires_grad=True)
gradient = mg.grad(seen(five).sum(), five).numpy()
step = 1e-5
differences = np.stack([(seen(numbers + e).numpy() - seen(numbers - e).numpy()) / (2 * step)
                        for e in step * np.eye(5)], axis=1)

# %% Tolerance tags=["hide-input"]
# *Tolerance.* Central differences with a step of $10^{-5}$ are off by $10^{-10}$ times third derivatives, which reach
# thousands where filters are narrow, and by rounding, $10^{-16}/10^{-5}$.

lesson.claim("the gradient for the five numbers of a window is that of central differences", gradient,
             predicted=differences, rtol=1e-5, atol=1e-5)

# %%
# Weight normalization, gate by gate
# ----------------------------------
#
# "Fortunately, weight normalization can be applied trivially to the weight vectors of each LSTM unit." Each row of $W$
# and of $U$ is such a vector, and so are those of the linear maps. Peepholes are single numbers and stay as they are.
# The loss does not change when a $v$ is stretched, however often its $w$ is used. So its gradient, a sum over $T$ steps,
# is still at a right angle to $v$, and under plain gradient descent lesson 05 holds as it stands, vector by vector:
#
# $$\|v\|^2 = \|v_0\|^2 + \sum \eta^2 \|\nabla_v L\|^2 .$$

model = with_large_weights("weight norm", QUICK.size, lesson.rng(8))
eta, units = 0.002, QUICK.size.units
tracker = wn.NormTracker(model, optimizer := optim.SGD(model.parameters(), lr=eta))
model.rng = lesson.rng(9)
for _ in range(10):
    optimizer.zero_grad()
    (-model(mg.tensor(few[:50].astype(float))).mean()).backward()
    optimizer.step()
    tracker.record()
growth, law = [], []
for layer in tracker.layers:
    squares = tracker.history(layer, "norm") ** 2
    growth.append(squares[-1] - squares[0])
    law.append((eta**2 * tracker.history(layer, "grad_norm")[1:] ** 2).sum(axis=0))
    if "weight_" in layer:
        by_gate = (squares[-1] / squares[0] - 1).reshape(4, units).mean(axis=1)
        said = ", ".join(f"{gate} {rate:.1e}" for gate, rate in zip(("i", "f", "new", "o"), by_gate, strict=True))
        print(f"{layer:18} ‖v‖² grew, and η/‖v‖² fell, by the factor 1 + {said}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* Rounding in float64 of $\|v\|^2$, about 10, of which growth is a small part: $10^{-15}$, against
# growths from $10^{-9}$ on.

lesson.claim("SGD: ‖v‖² grows by Σ η²‖∇_v L‖², for all gates and maps, whose weights are used T times",
             np.concatenate(growth), predicted=np.concatenate(law), rtol=1e-4, atol=1e-12)

# %%
# The gates do not grow alike: the new content's vectors get the largest gradients, for it goes into the memory
# directly, while the gates only multiply. So the effective rate falls faster there.
#
# The paper trains with Adam, from weights drawn from $N(0, 0.01^2)$, at the rate 0.001. Adam's first step moves each
# weight by $\eta$, whatever its gradient. A vector of $n$ weights has the length $0.01\sqrt n$, moves by $\eta\sqrt n$,
# and so *turns by $\eta/0.01$*, whatever its gate and however many weights it has: 0.1 here, six degrees. With either
# parameterization. The lengths are another matter: with weight normalization $\|w\| = g$ is one number, which also moves
# by $\eta$. Relative to $g = 0.01\sqrt n$ that is less by the factor $\sqrt n$.

eta = 0.001
turns, stretched, expected = [], [], []
for arm in ARMS:
    model = initialized(arm, QUICK.size, lesson.rng(10))
    named = {name: p for name, p in model.named_parameters() if p.ndim == 2 and name != "initial" and "peep" not in name}
    before = {name: p.numpy().copy() for name, p in named.items()}
    optimizer = optim.Adam(model.parameters(), lr=eta)
    (-model(mg.tensor(few)).mean()).backward()
    optimizer.step()
    for name, p in named.items():
        moved = np.linalg.norm(p.numpy() - before[name], axis=1) / np.linalg.norm(before[name], axis=1)
        if name.endswith("_g"):
            stretched.append(np.median(moved))
            expected.append(np.median(eta / before[name]))
        else:
            turns.extend(np.median(moved.reshape(4 if "coder" in name else 1, -1), axis=1))  # each gate by itself
print(f"first step: turns by {min(turns):.3f} to {max(turns):.3f}; g changes by {min(stretched):.4f} to "
      f"{max(stretched):.4f} of itself")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* Adam adds $10^{-8}$ to $|\nabla|$, and at the start the gradients of the encoder are not much larger; and
# a pixel that is 0 in every picture has weights that do not move. That makes the turns of the encoder up to a fifth
# smaller.

lesson.claim("Adam's first step turns the vectors of every gate and every map by η/0.01, in both arms: medians", turns,
             predicted=eta / 0.01, rtol=0.25)
lesson.claim("with weight normalization it changes their lengths by η/g: medians", stretched, predicted=expected,
             rtol=0.25)

# %%
# In later steps the two part. Without normalization, weights whose gradients keep their sign grow by $\eta$ at each
# step, so a $w$ can reach the length 1 within some 100 steps of $0.01$ a weight; with it, $g$ has to come there by
# itself, and meanwhile $v$ grows by all its turns, which turn it less and less. What of this matters, the training
# will show.
#
# Why it starts where it starts
# -----------------------------
#
# Section 3 chooses $g$ and $b$ from a batch, so that pre-activations have mean 0 and variance 1, and adds: "The downside
# of this initialization method is that it can only be applied in similar cases as where batch normalization is
# applicable. For models with recursion, such as RNNs and LSTMs, we will have to resort to standard initialization
# methods." We try it anyway. A layer is used $T$ times, so there are $T$ batches of pre-activations. Which of them?
# The first, say: one layer after the other, we send 500 pictures through, and divide by the standard deviations of step
# 1.


def pre_activations(model, name):
    """What a layer's weights make of its inputs, (T, pictures, units), and for a cell the recurrent part U h by itself."""
    found = []

    def look(layer, inputs, output):
        if name.endswith("coder"):
            recurrent = inputs[1][0] @ layer.weight_hh.T
            found.append(((inputs[0] @ layer.weight_ih.T + layer.bias_ih + recurrent).numpy(), recurrent.numpy()))
        else:
            found.append((output.numpy(), output.numpy()))

    remove = getattr(model, name).register_forward_hook(look)
    with mg.no_grad():
        model(mg.tensor(few), noise)
    remove()
    return [np.array(part, dtype=float) for part in zip(*found, strict=True)]


def initialize_at_step_1(model):
    """Equations 5 and 6 for the first step, front to back; both matrices of a cell are divided alike."""
    for name in LAYERS:
        t, _ = pre_activations(model, name)
        m, sigma = t[0].mean(axis=0), t[0].std(axis=0)
        for key, parameter in getattr(model, name).named_parameters():
            if key.endswith("_g"):
                parameter.data = (parameter.numpy() / sigma[:, None]).astype(np.float32)
            if key in ("bias", "bias_ih"):
                parameter.data = ((parameter.numpy() - m) / sigma).astype(np.float32)


LAYERS = ("encoder", "posterior", "decoder", "brush")
noise = mg.tensor(lesson.rng(11).standard_normal((QUICK.size.steps, len(few), QUICK.size.latents), dtype=np.float32))
model = initialized("weight norm", QUICK.size, lesson.rng(12))
recurrent = max(pre_activations(model, name)[1][0].std(axis=0).max() for name in ("encoder", "decoder"))
with mg.no_grad():
    before = model(mg.tensor(few), noise).numpy().mean()
    initialize_at_step_1(model)
    after = model(mg.tensor(few), noise).numpy().mean()
print("standard deviations of pre-activations over the batch at steps 1, 2, ..., medians over units")
deviations = {name: pre_activations(model, name)[0].std(axis=1) for name in LAYERS}
for name, of_steps in deviations.items():
    print(f"{name:9}", np.median(of_steps, axis=1).round(2))
print(f"the bound at the start: {before:.1f} nats, and initialized so {after:.3g}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* Rounding in float32, of a cell's two products and of the layers before: a few hundred times
# $\varepsilon = 1.2 \cdot 10^{-7}$.

lesson.claim("step 1 of the initialized network: every pre-activation has variance 1, in all layers",
             np.concatenate([d[0] for d in deviations.values()]), predicted=1.0, rtol=1e-3)
lesson.claim("before that step U h is the same for each picture, so it has no scale to go by: largest deviation",
             recurrent, below=1e-7)
lesson.claim("step T: the encoder's pre-activations have spread, median standard deviation",
             np.median(deviations["encoder"][-1]), above=1.25)
lesson.claim("the bound at the start is lower than without this initialization, by nats", before - after, above=100)

# %%
# At step 1, all is well. But $U h$ is the same for every picture then, for nothing has happened yet; so nothing can be
# said about the scale of $U$. From step 2 on it contributes, the memories fill, and the deviations are those of another
# network at every step. Batch normalization would have the same problem in every batch: $T$ sets of statistics, or one
# that fits none of the steps. And it would be wrong to make all variances 1: the heads choose $\log\sigma_t$, and the
# divergence has $\sigma_t^2$ in it. Hence standard initialization, small weights, with which DRAW begins as a network
# that paints nothing and says nothing.
#
# Training
# --------
#
# Both parameterizations start as the same function. The optimizer is Adam, and all gradients together are shortened to
# the norm 10 if they are longer. We train four networks: *one stroke*, lesson 10 in these terms, with $T = 1$ and as
# many latent variables as the others have in all their steps; DRAW in the *normal* parameterization and with *weight
# norm*; and, with weight norm, DRAW that reads and paints through *windows* of 5 × 5. Each at its rate of a small grid
# (see exercise 4), once: this shows that they learn, and what; not which is better.

RATES = {"one stroke": 0.01, "normal": 0.01, "weight norm": 0.01, "windows": 0.01}
one = experiment.size


def size_of(run):
    if run == "one stroke":
        return Size(side, 1, one.units, T * one.latents)
    return Size(side, T, one.units, one.latents, *[experiment.window * (run == "windows")] * 2)


def train(run):
    """One run to its end, or for --minutes; it goes on from its checkpoint, if there is one."""
    rate, e = 0.001 if lesson.full else RATES[run], experiment
    arm = "normal" if run in ("one stroke", "normal") else "weight norm"
    training = DrawTraining(arm, size_of(run), rate, lesson.rng(13), pictures, test, e.batch, CLIP, lesson.device)
    checkpoint = lesson.checkpoint(run, {"experiment": str(e), "data": note, "rate": rate})
    if saved := checkpoint.load():
        training.load(saved)
    for epoch in lesson.progress(range(len(training.curves["train"]), e.epochs), run):
        started = time.perf_counter()
        training.epoch()
        stop = lesson.time_is_up(needed=1.2 * (time.perf_counter() - started)) and epoch + 1 < e.epochs
        if stop or epoch + 1 == e.epochs or checkpoint.due(60):
            checkpoint.save(training.state())
        if stop:
            lesson.stop(f"stopped after epoch {epoch + 1} of {e.epochs} of {run}; the same command goes on from there")
    return training


trained = {run: train(run) for run in lesson.flags.only or RUNS}
if lesson.flags.only:
    lesson.stop(f"trained: {', '.join(lesson.flags.only)}")

# %%

by_step = {run: np.array(training.curves["divergence"]) for run, training in trained.items()}
bounds = {run: np.subtract(training.curves["likelihood"], by_step[run].sum(axis=1)) for run, training in trained.items()}
for run, bound in bounds.items():
    curves = trained[run].curves
    print(f"{run:11}: test bound {bound[-1]:.2f} nats, of which divergence {by_step[run][-1].sum():.2f}; clipped in "
          f"{100 * curves['long'][0]:.0f} % of the first epoch's steps, {100 * curves['long'][-1]:.0f} % of the last's")

# %% Drawing tags=["hide-input"]

RUN_COLOURS = dict(zip(RUNS, (COLOURS["batch norm"], COLOURS["normal"], COLOURS["weight norm"],
                              COLOURS["mean-only BN"]), strict=True))
figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.6))
for run, bound in bounds.items():
    axes[0].plot(range(1, len(bound) + 1), bound, "o-", ms=3, color=RUN_COLOURS[run], label=run)
    if len(by_step[run][-1]) > 1:
        axes[1].plot(range(1, T + 1), by_step[run][-1], "o-", ms=3, color=RUN_COLOURS[run])
axes[0].set(xlabel="epoch", ylabel="nats a picture", title="test bound on log p(x)",
            ylim=(min(b[len(b) // 5] for b in bounds.values()), None))
axes[1].set(xlabel="step t", title="divergence of each step, at the end", ylim=(0, None))
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
lesson.figure(figure, "bound_and_steps", note=note, alt="Left: the test bound in nats against the epoch for four "
              "networks, one seed each: one stroke, DRAW in the normal parameterization, with weight norm, and with "
              "windows; all rise. Right: the nats that each step's latent variables hold at the end.")

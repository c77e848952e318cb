r"""DRAW: a picture in many strokes
==============================

Weight normalization has an advantage that the lessons so far could not show: it does not depend on where a weight is
used. Batch normalization needs the statistics of a batch of pre-activations, and in a recurrent network, which uses the
same weights at every step, these differ from step to step. So section 5.3 turns to a recurrent network: DRAW, which
paints a picture stroke by stroke and looks at what it has painted before it goes on. This lesson builds it from
scratch, windows included, and measures what becomes of the laws of lessons 03 to 07 when a weight is used $T$ times.

Afterwards you can

- write the bound of an autoencoder with $T$ stochastic steps, and say what each step contributes;
- say what the gates of an LSTM do to gradients, and what a peephole is;
- read and write pictures through a window that a network can learn to move;
- apply weight normalization to a recurrent network at the price of one computation of the weights, not $T$;
- say why data-dependent initialization does not fit a recurrent network;
- predict the bytes that $T$ steps keep on the tape, and reduce them with checkpoints.

Read first: lesson 10 (the bound), lesson 05 (the growth of ‖v‖); section 5.3 of Salimans & Kingma (2016). DRAW is
Gregor et al.'s (2015, arXiv:1502.04623), the LSTM Hochreiter & Schmidhuber's (1997).

Claims checked:

- each step's divergence is known without drawing; a cell's memory is passed on by its forget gate;
- the gradient for a weight is the sum over its uses, also when $w$ is computed once for all of them;
- the bytes on the tape, with all steps and with checkpoints; second derivatives through checkpoints;
- windows: what their weights add up to, how much they blur, and that writing is the transpose of reading;
- ‖v‖ grows as in lesson 05, gate by gate; Adam's first step turns a vector by an angle that its length decides;
- the statistics of the first step do not hold for the others.

Time: quick about 50 s, full about 26 hours of one CPU core, in pieces with ``--only`` and ``--minutes``.
"""

# %%

import copy
import time
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl
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
if not lesson.full:
    threadpoolctl.threadpool_limits(1)  # a single thread multiplies matrices this small fastest

# %%


@dataclass(frozen=True)
class Experiment:
    """Everything that differs between a quick and a full run."""

    size: Size
    window: int  # the side of the windows, in the run that has them
    train: int  # pictures
    test: int
    batch: int
    epochs: int


QUICK = Experiment(Size(side=14, steps=6, units=48, latents=8), 7, 1500, 500, 25, 7)
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
# The autoencoder of lesson 10 draws latent variables $z$ once and decodes them in one go: the decoder has to place
# every pixel at once, and cannot look at one half of the picture before it makes the other. DRAW has a *canvas*, one
# number for each pixel, all 0 at the beginning. At each of $T$ steps
#
# 1. the *encoder* sees the picture $x$, what the canvas lacks of it ($x$ minus the canvas's probabilities), and the
#    decoder's output from the step before; it chooses the mean $\bar z_t$ and the standard deviation $\sigma_t$ of that
#    step's latent variables;
# 2. these are drawn, $z_t = \bar z_t + \sigma_t\,\xi_t$ with standard normal noise $\xi_t$;
# 3. the *decoder* sees $z_t$, and adds a stroke to the canvas.
#
# Both are recurrent: they keep a state from step to step, and use the same weights at every step. After $T$ steps the
# canvas holds the logits of the pixels. To make a picture of its own, the model draws each $z_t$ from a standard normal
# distribution $p$; this does not need the encoder.
#
# The bound is lesson 10's, with the $z_t$ of all steps taken together as $z$. Its second part becomes a sum over steps:
#
# $$\log p(x) \;\ge\; \mathbb{E}\Bigl[\log p(x \mid \text{canvas}_T) - \sum_{t=1}^T
#   \mathrm{KL}\bigl(q(z_t \mid x, z_1, \dots, z_{t-1}) \,\|\, p(z_t)\bigr)\Bigr].$$
#
# Given the steps before, $q(z_t)$ and $p(z_t)$ are both normal with independent entries. So each divergence is known
# without drawing $z_t$ (exercise 10.1), $\sum \tfrac12(\bar z_t^2 + \sigma_t^2 - 1) - \log\sigma_t$. The only noise
# left in it comes from the steps before. We let a network with large random weights paint one picture 4,000 times, and
# compare the formula with the average of $\log q(z_t) - \log p(z_t)$ over the draws.

DRAWS = 4000


def with_large_weights(rng, size=QUICK.size):
    """A network in float64 all of whose parameters are drawn from N(0, 0.2²)."""
    model = initialized("normal", size, rng)
    for parameter in model.parameters():
        parameter.data = 0.2 * rng.normal(size=parameter.shape)
    return model


model = with_large_weights(lesson.rng(1))
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
# The first step's divergence has no noise at all, because nothing has been drawn before it. In training, the formula
# spares the gradient noise that minibatches would otherwise have to average out.
#
# A cell that remembers
# ---------------------
#
# Both networks are LSTMs. In the paper's words, "LSTM units consist of a memory cell with additive dynamics, combined
# with input, forget, and output gates that determine which information flows in and out of the memory." In formulas,
# with the input $x$, the previous step's output $h$ and memory $c$, and the logistic function $1/(1 + e^{-x})$:
#
# $$i, f, o = \text{logistic}(Wx + Uh + b + \text{peephole}), \quad \text{new} = \tanh(Wx + Uh + b), \quad
#   c \leftarrow f c + i\,\text{new}, \quad h = o \tanh c.$$
#
# Each of the four has its own rows in $W$, $U$ and $b$. A *peephole* lets a gate see the memory of its own unit: it
# adds one learned number times $c$. The output gate decides last, and sees the new $c$. ``nn.LSTMCell`` has peepholes
# if you ask for them. Here is one step by hand.


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
# does the gradient on its way back. Here $c$ has a path of its own, along which it is only multiplied by $f$. Cut all
# other paths, with $U = 0$ and no peepholes, and the derivative of the last memory with respect to the first is the
# product of the forget gates.

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
# With gates around one half, little is left even after so few steps. A network that has to remember learns an $f$ close
# to 1. Then the memory stays, and new content is added to it: "additive dynamics".
#
# One weight, T times
# -------------------
#
# A weight that is used at $T$ steps gets $T$ gradients, and the tape adds them up. To see this, give each step its own
# copy of the cell.


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
# With weight normalization, $w = g\,v/\|v\|$ is computed from the parameters $v$ and $g$. If that happens at each use,
# it costs $T$ times as much, in time and on the tape. But $w$ is the same each time: within ``computed_once()`` a
# module keeps it until the block ends.

wn.apply_weight_norm(cell)
anew = sum_of_squares([cell] * T)
with cell.computed_once():
    once = sum_of_squares([cell] * T)
computed = [sum(entry.title == "weight_norm" for entry in mg.draw.entries(loss)) for loss in (anew, once)]
gradients = [np.concatenate([g.numpy().ravel() for g in mg.grad(loss, cell.parameters())]) for loss in (anew, once)]
print(f"weights computed {computed[0]} and {computed[1]} times: two matrices, {T} steps")
lesson.claim("w computed once for all steps: largest difference of a gradient, relative to the largest gradient",
             np.abs(gradients[0] - gradients[1]).max() / np.abs(gradients[0]).max(), below=1e-12)

# %%
# The length of the tape
# ----------------------
#
# The tape of a recurrent network grows with every step. With $P$ pixels, $h$ units and $d$ latent variables, a step
# keeps for each picture: the encoder's input, $2P + h$ numbers, and the canvas's probabilities, $P$; for each of the
# two cells, $h$ and $c$ of the step before and the four gates twice, before and after the output's peephole, $10h$; and
# five times $d$ for the latent variables. That makes $3P + 21h + 5d$ numbers of four bytes, times $T$.
#
# ``mg.checkpoint`` forgets them. Cut $T$ steps into pieces of $k$: the tape keeps only the state before each piece and
# after it, $P + 4h$ numbers, with the piece's noise and divergences $2(P + 4h) + kd + k$. In the backward pass each
# piece is computed once more, one at a time, which takes the room of $k$ steps.

B, P, h, d = 20, QUICK.size.side**2, QUICK.size.units, QUICK.size.latents
model = initialized("normal", QUICK.size, lesson.rng(15))


def kept(steps, piece=None):
    """Bytes on the tape of so many steps."""
    noise = lesson.rng(16).standard_normal((steps, B, d), dtype=np.float32)
    return mg.draw.bytes_kept(model(mg.tensor(few[:B]), mg.tensor(noise), piece).mean())


lengths, pieces = np.array([1, 2, 4, 8, 16, 32]), np.array([1, 2, 4, 8, 16])
whole = np.array([kept(steps) for steps in lengths])
per_step = 4 * B * (3 * P + 21 * h + 5 * d)
in_pieces = np.array([kept(32, k) - kept(16, k) for k in pieces])  # what 32/k - 16/k pieces add
per_piece = 4 * B * (2 * (P + 4 * h) + pieces * (d + 1))
lesson.claim("each step keeps 3P + 21h + 5d numbers a picture: bytes that more steps add, from 1 to 32",
             np.diff(whole), predicted=per_step * np.diff(lengths), rtol=0.0)
lesson.claim("each piece of k steps keeps 2(P + 4h) + k(d + 1) numbers: bytes that 16 more steps add, k from 1 to 16",
             in_pieces, predicted=per_piece * 16 / pieces, rtol=0.0)
room = per_piece * 32 / pieces + per_step * pieces
print(f"32 steps keep {whole[-1]:,} bytes; in pieces of k, with one piece at work:")
for k, sum_of_both in zip(pieces, room, strict=True):
    print(f"k = {k:2}: {int(sum_of_both):9,}")

# %%
# The bytes for the state before each piece fall as $1/k$, and those for a piece at work grow as $k$; with 32 steps,
# pieces of four are best. (The chapter ``further/01_memory.py`` measures such a sum while a backward pass runs.) At the
# paper's sizes a step of 100 pictures keeps 3.3 megabytes, and ten steps 33: too little to justify painting each
# picture twice. With a thousand steps it would be different.
#
# The gradient is the same in pieces. So are second derivatives: under ``create_graph=True`` the tape records the
# gradients of a piece as one more checkpointed function. We take a small network and a random direction $u$ in the
# space of all its parameters. Differentiating twice, in pieces of two steps, we get $Hu$, the Hessian's product with
# $u$. The whole tape gives the difference of two gradients, with the parameters moved a little along $u$ and against
# it.

small = Size(side=3, steps=4, units=3, latents=2)
model, rng = with_large_weights(lesson.rng(17), small), lesson.rng(18)
x, noise = mg.tensor(rng.integers(0, 2, (2, 1, 3, 3)).astype(float)), mg.tensor(rng.normal(size=(4, 2, 2)))
parameters = model.parameters()
at, u = [p.numpy() for p in parameters], [rng.normal(size=p.shape) for p in parameters]


def flat(arrays):
    return np.concatenate([a.numpy().ravel() for a in arrays])


def gradient_at(step):
    """The gradient of the bound from the whole tape, at the parameters moved by a step along u."""
    for parameter, here, direction in zip(parameters, at, u, strict=True):
        parameter.data = here + step * direction
    return flat(mg.grad(model(x, noise).sum(), parameters))


first = mg.grad(model(x, noise, 2).sum(), parameters, create_graph=True)
along = sum((g * direction).sum() for g, direction in zip(first, u, strict=True))
second = flat(mg.grad(along, parameters))
STEP = 1e-5
differences = (gradient_at(STEP) - gradient_at(-STEP)) / STEP / 2

# %% Tolerance tags=["hide-input"]
# *Tolerance.* Differences with a step of $10^{-5}$ are off by $10^{-10}$ times third derivatives along $u$, and by
# rounding, $10^{-16}/10^{-5}$.

lesson.claim("H u of the bound, the pieces differentiated twice, is the difference of gradients of the whole tape: "
             "largest deviation, relative to the largest entry",
             np.abs(second - differences).max() / np.abs(differences).max(), below=1e-6)

# %%
#
# A window
# --------
#
# So far the encoder sees all of $x$ at each step, and the decoder paints on all of the canvas; this is also the default
# of the implementation that the paper started from. DRAW is known for something else: a small window that it moves,
# sharp or blurred. A network can learn to move it only if what it sees depends smoothly on the window's place, so the
# window does not cut out pixels. Instead, Gaussian filters lie on a square grid. Five numbers, a linear map of the
# decoder's $h$, determine them: the centre (down and across), the distance between neighbours, the filters' standard
# deviation $\sigma$, and a strength. The first two run from -1, one pixel before the picture, to 1, one pixel beyond
# it. The others are logarithms; at 0 the filters span the picture from its first pixel to its last, $\sigma$ is one
# pixel, and the strength is 1. So a window whose numbers are close to 0 sees the whole picture. Along each axis, filter
# $i$, centred at $m_i$, gives pixel $a$ the weight
#
# $$F_{ia} = \frac{e^{-(a - m_i)^2/2\sigma^2}}{S_i + 10^{-4}}, \qquad S_i = \sum_a e^{-(a - m_i)^2/2\sigma^2},
#   \qquad \text{read}(x) = \text{strength} \cdot F_{\text{down}}\, x\, F_{\text{across}}^\top.$$
#
# The $10^{-4}$ is a guard: a filter that lies outside the picture sees nothing, instead of dividing 0 by 0. Here are
# 200 random windows.

rng = lesson.rng(7)
numbers = rng.normal(size=(200, 5)) * [1, 1, 0.5, 1, 0.3]  # centre down and across, and three logarithms
window = Window(numbers, 5, side)
y, _, log_distance, log_variance, _ = numbers.T[:, :, None]
centers = (y + 1) / 2 * (side + 1) - 1 + (np.arange(5) - 2) * np.exp(log_distance) * (side - 1) / 4
squares = (np.arange(side) - centers[:, :, None]) ** 2
S = np.exp(-squares / 2 / np.exp(log_variance)[:, :, None]).sum(axis=2)
lesson.claim("the weights of a filter add up to S/(S + 0.0001), inside and outside of the picture: 1000 filters",
             window.down.numpy().sum(axis=2), predicted=S / (S + GUARD), rtol=1e-10, atol=1e-15)
print(f"the sums lie between {window.down.numpy().sum(axis=2).min():.1g} and {(S / (S + GUARD)).max():.6f}")

# %%
# With as many filters as pixels, one pixel apart, the window covers the picture. If the filters are much narrower than
# a pixel, it reads the picture exactly, except for the guard, which enters twice. If they are wider, it blurs: a wave
# of period $P$ comes out weaker by the factor $e^{-2\pi^2\sigma^2/P^2}$, the Gaussian's Fourier transform.

x = test[:1, 0].astype(float)
narrow = Window(np.array([[0, 0, 0, 2 * np.log(0.1), 0]]), side, side)
lesson.claim("a window that covers the picture, with σ of a tenth of a pixel, reads it as it is, over 1.0001²",
             narrow.read(mg.tensor(x)).numpy(), predicted=x / (1 + GUARD) ** 2,
             rtol=1e-10, atol=1e-15)
LARGE, SIGMA, periods = 64, 1.5, np.array([5.0, 8.0, 16.0])
blurring = Window(np.array([[0, 0, 0, 2 * np.log(SIGMA), 0]] * 3), LARGE, LARGE)
waves = np.cos(2 * np.pi * (np.arange(LARGE) - 31) / periods[:, None])
read = blurring.read(mg.tensor(np.repeat(waves[:, None], LARGE, axis=1))).numpy()
print("waves that come out at", (read[:, 31, 31] / waves[:, 31]).round(4), "of their height, periods", periods)

# %% Tolerance tags=["hide-input"]
# *Tolerance.* The guard takes away $2 \cdot 10^{-4}/S$ with $S = \sigma\sqrt{2\pi} = 3.8$, and the sum over pixels
# differs from the integral by less: 0.1 % for both.

lesson.claim("a wave of period P comes out weaker by exp(-2π²σ²/P²), three periods", read[:, 31, 31],
             predicted=np.exp(-2 * np.pi**2 * SIGMA**2 / periods**2), rtol=1e-3)

# %%
# Writing is the way back, $\text{write}(w) = F_{\text{down}}^\top\, w\, F_{\text{across}}/\text{strength}$: the
# *transpose* of reading, except that it divides by the strength where reading multiplies. And the gradient for the five
# numbers, by which the network learns where to look, agrees with central differences.

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
# *Tolerance.* Central differences with this step are off by $10^{-10}$ times third derivatives, which reach thousands
# where filters are narrow, and by rounding, $10^{-16}/10^{-5}$.

lesson.claim("the gradient for the five numbers of a window is that of central differences", gradient,
             predicted=differences, rtol=1e-5, atol=1e-5)

# %%
# Weight normalization, gate by gate
# ----------------------------------
#
# "Fortunately, weight normalization can be applied trivially to the weight vectors of each LSTM unit." Each row of $W$
# and of $U$ is such a vector, and so are those of the linear maps. Peepholes are single numbers and stay as they are.
# The loss does not change when a $v$ is stretched, however often its $w$ is used. So the gradient for $v$, a sum over
# $T$ steps, is still at a right angle to $v$. Under plain gradient descent with learning rate $\eta$, lesson 05 holds
# as it stands, vector by vector:
#
# $$\|v\|^2 = \|v_0\|^2 + \sum \eta^2 \|\nabla_v L\|^2 .$$

model = wn.apply_weight_norm(with_large_weights(lesson.rng(8)))
eta, units = 0.01, QUICK.size.units
tracker = wn.NormTracker(model, optimizer := optim.SGD(model.parameters(), lr=eta))
model.rng = lesson.rng(9)
for _ in range(10):
    optimizer.zero_grad()
    (-model(mg.tensor(few[:50].astype(float))).mean()).backward()
    pairs = [(p.numpy(), p.grad.numpy()) for name, p in model.named_parameters() if name.endswith("_v")]
    cosines = [(v * g).sum(axis=1) / np.linalg.norm(v, axis=1) / np.linalg.norm(g, axis=1) for v, g in pairs]
    optimizer.step()
    tracker.record()
growth, law = [], []
print("‖v‖² grew, and η/‖v‖² fell, by the factor 1 +")
for layer in tracker.layers:
    squares = tracker.history(layer, "norm") ** 2
    growth.append(squares[-1] - squares[0])
    law.append((eta**2 * tracker.history(layer, "grad_norm")[1:] ** 2).sum(axis=0))
    if "weight_" in layer:
        by_gate = (squares[-1] / squares[0] - 1).reshape(4, units).mean(axis=1)
        said = ", ".join(f"{gate} {rate:.1e}" for gate, rate in zip(("i", "f", "new", "o"), by_gate, strict=True))
        print(f"{layer:18} {said}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* Rounding in float64: of $\|v\|^2$, which is about 10, $10^{-15}$ a step, against growths of $10^{-7}$ or
# more; and of a gradient's part along $v$, which is left over from a sum of some thousand terms that cancel.

lesson.claim("∇_v L is at a right angle to v, in every vector of both LSTMs and all maps: largest |cosine|",
             max(np.abs(c).max() for c in cosines), below=1e-9)
lesson.claim("SGD: ‖v‖² grows by Σ η²‖∇_v L‖², for all gates and maps, whose weights are used T times",
             np.concatenate(growth), predicted=np.concatenate(law), rtol=1e-4, atol=1e-12)

# %%
# The gates do not grow alike. The new content goes into the memory directly and gets the largest gradients, while the
# gates only multiply: in all four matrices the vectors of *new* grow most, and their effective rate falls fastest.
#
# Where does g begin?
# -------------------
#
# The paper changes one thing: "we apply weight normalization to all weight vectors", with the initialization "tuned for
# use with the normal parameterization", weights from $N(0, 0.01^2)$. We take these weights as $v$. The paper does not
# say where $g$ begins. If the function is to stay the same, $g = \|v\| = 0.01\sqrt n$ for $n$ weights. But section 3
# has $g = 1$ before data come in, and then every $w$ begins much longer. So there are two starts; we call the second
# *length 1*. With two parameterizations, that makes four arms.
#
# The optimizer is Adam, at a rate $\eta$ of 0.001. Its first step moves each weight by $\eta$, whatever its gradient,
# and so a vector of $n$ weights by $\eta\sqrt n$. The gradients' signs decide between up and down, and have little to
# do with the signs of the weights: the step is almost at a right angle to the vector, and turns it by
# $\eta\sqrt n/\|v\|$ (with $\|w\|$ where there is no $v$). We measure the angles.

def angles(before, after):
    """The angle between each row of one matrix and that of another, in radians."""
    a, b = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in (before.astype(float), after.astype(float)))
    return 2 * np.arcsin(np.linalg.norm(a - b, axis=1) / 2)


eta, matrices = 0.001, ("weight", "weight_ih", "weight_hh", "weight_v", "weight_ih_v", "weight_hh_v")
turns, predicted, stretched, expected = [], [], [], []
for arm in ARMS:
    model = initialized(arm, QUICK.size, lesson.rng(10))
    optimizer = optim.Adam(model.parameters(), lr=eta)
    before = {name: p.numpy().copy() for name, p in model.named_parameters()}
    (-model(mg.tensor(few)).mean()).backward()
    optimizer.step()
    found = []
    for name, p in model.named_parameters():
        length = np.linalg.norm(before[name], axis=1) if p.ndim == 2 else None
        if name.rpartition(".")[2] in matrices:
            gates = 4 if "coder" in name else 1  # each gate by itself
            for k in range(gates):
                rows = np.split(np.arange(len(length)), gates)[k]
                found.append((np.median(angles(before[name][rows], p.numpy()[rows])),
                              np.median(eta * np.sqrt(p.shape[1]) / length[rows])))
        elif name.endswith("_g"):
            stretched.append(np.median(np.abs(p.numpy() - before[name]) / before[name]))
            expected.append(np.median(eta / before[name]))
    turns += [turn for turn, _ in found]
    predicted += [turn for _, turn in found]
    print(f"{arm:21}: vectors turn by {min(turns[-len(found):]):.3f} to {max(turns[-len(found):]):.3f}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* Adam adds $10^{-8}$ to $|\nabla|$, and at the start some gradients of the encoder are not much larger;
# and a pixel that is the same in every picture may have weights that do not move. That makes the encoder's turns up to
# a fifth smaller. Of the square of a step in a random direction, $1/n$ lies along the vector. With eight weights, the
# fewest here, that makes the turn 6 % smaller.

lesson.claim("Adam's first step turns the vectors of each gate and each map by η√n/‖v‖, in all arms: medians", turns,
             predicted=predicted, rtol=0.25)
lesson.claim("with weight normalization it changes their lengths by η/g: medians", stretched, predicted=expected,
             rtol=0.25)

# %%
# With $v$ from $N(0, 0.01^2)$ each vector turns by 0.1, six degrees, whatever its gate, its $n$ and its $g$. Without
# weight normalization the turn is the same from the first start, and much smaller from the second. Lengths are another
# matter. Without normalization, weights whose gradients keep their sign grow by $\eta$ each, so $\|w\|$ grows by
# $\eta\sqrt n$ a step. With it, $\|w\| = g$ is one number, and grows by about $\eta$. Where all weights begin too
# small, weight normalization takes up to $\sqrt n$ times as long to make them larger.
#
# Why the start is not chosen from data
# -------------------------------------
#
# Section 3 chooses $g$ and $b$ from a batch, so that pre-activations have mean 0 and variance 1, and adds: "The
# downside of this initialization method is that it can only be applied in similar cases as where batch normalization is
# applicable. For models with recursion, such as RNNs and LSTMs, we will have to resort to standard initialization
# methods." We try it anyway. A layer is used $T$ times, so there are $T$ batches of pre-activations. Which of them
# should we use? Say, the first: one layer after the other, we send 500 pictures through, and divide by the standard
# deviations of step 1.

LAYERS = ("encoder", "posterior", "decoder", "brush")
noise = mg.tensor(lesson.rng(11).standard_normal((QUICK.size.steps, len(few), QUICK.size.latents), dtype=np.float32))


def pre_activations(model, name):
    """A layer's weights times its inputs, (T, pictures, units), and for a cell the part U h by itself."""
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


# %%

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
print(f"U h at step 1: standard deviation {recurrent:.1g}")
print(f"the bound at the start: {before:.1f} nats, and initialized so {after:.3g}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* Rounding in float32, in a cell's two products and in the layers before: a few hundred times
# $\varepsilon = 1.2 \cdot 10^{-7}$.

lesson.claim("step 1 of the initialized network: every pre-activation has variance 1, in all layers",
             np.concatenate([d[0] for d in deviations.values()]), predicted=1.0, rtol=1e-3)
lesson.claim("step T: the encoder's pre-activations have spread, median standard deviation",
             np.median(deviations["encoder"][-1]), above=1.25)
lesson.claim("the bound at the start is lower than without this initialization, by nats", before - after, above=100)

# %%
# At step 1 all variances are 1. But at that step $U h$ is still the same for every picture, so step 1 says nothing
# about the scale of $U$. From step 2 on $U h$ contributes, the memories fill, and the deviations change from step to
# step. Batch normalization would have the same problem in every batch: $T$ sets of statistics, or one that fits none of
# the steps. And not every layer should have variance 1: one of them chooses $\log\sigma_t$, and the divergence contains
# $\sigma_t^2$; hence the low bound. So we use the standard start, small weights. A network that begins with them paints
# next to nothing, and its latent variables hold almost no nats.
#
# Training
# --------
#
# The gradient of all parameters together is clipped to norm 10, as in the implementation that the paper started from.
# We train the four arms; *one stroke*, lesson 10 in these terms, with $T = 1$ and as many latent variables as the
# others have in all their steps; and DRAW that reads and paints through *windows* of 7 × 7, for one and a half times as
# many epochs. Each has the best of the rates 0.004, 0.008 and 0.016 for another set of synthetic digits (seed 100),
# except for windows, which were tried at 0.004 only. One run of each shows that they learn, and what they learn; it
# cannot show which is better.

RATES = {"one stroke": 0.004, "normal": 0.008, "weight norm": 0.008, "normal, length 1": 0.004,
         "weight norm, length 1": 0.008, "windows": 0.004}
if lesson.full:
    RATES = dict.fromkeys(RUNS, 0.001)
OTHER_ARMS = {"one stroke": "normal, length 1", "windows": "weight norm, length 1"}
drawing, reach = experiment.size, experiment.window
SIZES = {"one stroke": Size(side, 1, drawing.units, T * drawing.latents),
         "windows": Size(side, T, drawing.units, drawing.latents, reach, reach)}

# %%


def train(run):
    """One run to its end, or for --minutes; it resumes from its checkpoint, if there is one."""
    rate, e = RATES[run], experiment
    training = DrawTraining(OTHER_ARMS.get(run, run), SIZES.get(run, drawing), rate, lesson.rng(13), pictures, test,
                            e.batch, CLIP, lesson.device)
    checkpoint = lesson.checkpoint(run, {"experiment": str(e), "data": note, "rate": rate})
    if saved := checkpoint.load():
        training.load(saved)
    epochs = 3 * e.epochs // 2 if run == "windows" else e.epochs
    for epoch in lesson.progress(range(len(training.curves["train"]), epochs), run):
        started = time.perf_counter()
        training.epoch()
        stop = lesson.time_is_up(needed=1.2 * (time.perf_counter() - started)) and epoch + 1 < epochs
        if stop or epoch + 1 == epochs or checkpoint.due(60):
            checkpoint.save(training.state())
        if stop:
            lesson.stop(f"stopped after epoch {epoch + 1} of {epochs} of {run}; the same command goes on from there")
    return training


trained = {run: train(run) for run in lesson.flags.only or RUNS}
if lesson.flags.only:
    lesson.stop(f"trained: {', '.join(lesson.flags.only)}")

# %%

mean = (pictures.sum(axis=0) + 0.5) / (len(pictures) + 1)
plateau = (test * np.log(mean) + (1 - test) * np.log(1 - mean)).sum(axis=(1, 2, 3)).mean()
print(f"a canvas that is the mean of the training pictures, for every picture: {plateau:.2f} nats")
print(" " * 21 + "   rate     bound  divergence  clipped at first  at the end  ‖w‖ of brush")
by_step, bounds = {}, {}
for run, training in trained.items():
    curves = training.curves
    by_step[run] = np.array(curves["divergence"])
    bounds[run] = np.array(curves["likelihood"]) - by_step[run].sum(axis=1)
    lengths = np.linalg.norm(training.model.brush.weight.numpy(), axis=1)
    print(f"{run:21}{RATES[run]:7}{bounds[run][-1]:10.2f}{by_step[run][-1].sum():12.2f}"
          f"{curves['long'][0]:18.0%}{curves['long'][-1]:12.0%}{np.median(lengths):14.2f}")

# %% Drawing tags=["hide-input"]

OTHER = "#E69F00"
LOOKS = {"one stroke": (COLOURS["batch norm"], "-"), "normal": (COLOURS["normal"], "--"),
         "weight norm": (COLOURS["weight norm"], "--"), "normal, length 1": (COLOURS["normal"], "-"),
         "weight norm, length 1": (COLOURS["weight norm"], "-"), "windows": (COLOURS["WN + mean-only BN"], "-")}
figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.9))
for run, bound in bounds.items():
    look = {"color": LOOKS[run][0], "ls": LOOKS[run][1], "marker": "o", "ms": 3}
    axes[0].plot(range(1, len(bound) + 1), bound, label=run, **look)
    if len(by_step[run][-1]) > 1:
        axes[1].plot(range(1, T + 1), by_step[run][-1], **look)
axes[0].axhline(plateau, color="0.5", ls=":", lw=1)
axes[0].set(xlabel="epoch", ylabel="nats a picture", title="test bound on log p(x)",
            ylim=(np.median([bound[0] for bound in bounds.values()]) - 2, None))
axes[1].set(xlabel="step t", title="divergence of each step, at the end", ylim=(0, None))
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
lesson.figure(figure, "bound_and_steps", note=note, alt="Left: the test bound in nats against the epoch, one run each "
              "of one stroke, of DRAW in two parameterizations from two starts, and of DRAW with windows. The two that "
              "start with vectors of length 1 are ahead of the two that start with small ones. A dotted line marks the "
              "bound of a canvas that is the mean of all pictures. Right: the nats that each step's latent variables "
              "hold at the end.")

# %%
# The start separates the curves more than the parameterization does. The dotted line is a plateau: the bound of a
# canvas that is the mean of all digits, whatever the picture, with latent variables that hold no nats. From the small
# start, the network with weight normalization spends most of the training there, since every $g$ has to grow by itself;
# the normal one leaves the plateau after an epoch or two. *One stroke* stays there, too. From length 1 both are soon
# above it. If figure 4 compares weight normalization with $g = 1$ to a normal network with the implementation's own
# start, much of its lead is due to the start. The chapter ``further/11_figure_4.py`` has rates, seeds and real digits.

# %%
# How a picture comes about
# -------------------------
#
# The network with windows paints pictures of its own: each $z_t$ comes from a normal distribution, without the encoder.
# A frame shows where its window is, from the first filter's centre to the last's.

painter, shown = trained["windows"].model, 8
painters = painter, trained["weight norm, length 1"].model
z = mg.tensor(lesson.rng(14).standard_normal((T, shown, drawing.latents), dtype=np.float32))
frames = []


def remember(layer, inputs, numbers):
    y, x, log_distance, *_ = numbers.numpy().T
    half = 0.5 * (side - 1) * np.exp(log_distance)  # from the first filter to the last is twice that
    frames.append([(c + 1) / 2 * (side + 1) - 1 - half for c in (x, y)] + [2 * half])


remove = painter.windows[1].register_forward_hook(remember)
with mg.no_grad():
    canvases, drawn = (mg.sigmoid(p.sample(z)).numpy().reshape(T, shown, side, side) for p in painters)
remove()

# %% Drawing tags=["hide-input"]


def show(ax, image, frame=None):
    """A canvas, and the window's frame, whose corners are its outermost filters."""
    ax.clear()
    ax.imshow(image, cmap="gray", vmin=0, vmax=1)
    if frame is not None:
        x, y, width = frame
        ax.add_patch(Rectangle((x, y), width, width, fill=False, color=COLOURS["weight norm"], lw=1.2))
    ax.set(xticks=[], yticks=[], xlim=(-2.5, side + 1.5), ylim=(side + 1.5, -2.5))
    ax.grid(visible=False)
    for spine in ax.spines.values():
        spine.set_visible(False)


def frame_of(t, i):
    return [part[i] for part in frames[t]]


figure, axes = plt.subplots(6, T, figsize=(0.95 * T, 6.2))
for row in range(6):
    for t in range(T):
        show(axes[row, t], canvases[t, row] if row < 3 else drawn[t, row], frame_of(t, row) if row < 3 else None)
        axes[0, t].set_title(f"t = {t + 1}", fontsize=9)
axes[1, 0].set_ylabel("through a window")
axes[4, 0].set_ylabel("all of the canvas")
lesson.figure(figure, "strokes", note=note, alt="Six rows of canvases, one for each step. In the upper three the "
              "network paints through a window, whose frame is drawn; in the lower three on all of the canvas at once. "
              "Gray blurs turn into digits, or something like digits, within the first steps, and get sharper.")


def draw_frame(t):
    for i, ax in enumerate(axes.flat):
        show(ax, canvases[min(t, T - 1), i], frame_of(min(t, T - 1), i))
    figure.suptitle(f"step {min(t, T - 1) + 1} of {T}", fontsize=11)


figure, axes = plt.subplots(2, shown // 2, figsize=(5.6, 3.2))
lesson.animation(figure, draw_frame, range(T + 3), "painting", note=note, per_second=3,
                 alt="Eight canvases on which a network paints digits, step by step. The frame of its window, a little "
                 "smaller than the canvas, moves somewhat; gray blurs become strokes.")

# %%
# The first strokes lay down a blur that could be several digits; the later ones decide and sharpen, and they hold fewer
# nats, as the right panel above shows. The window begins by covering the whole picture. After so short a training it
# has become a little smaller, and follows the digit's position more than its strokes.
#
# Questions
# ---------
#
# 1. *Half a pixel.* One implementation of DRAW centres its windows at $(y + 1)/2$ times the side, in pixels counted
#    from 0. Where, then, is the window that covers the picture, and what does it read?
# 2. *Forgetting less.* Add 2 to the forget gates' bias, in the cell whose memory was followed. What becomes of the
#    product of the forget gates after six steps? And what of the bound, if both cells of *normal, length 1* begin like
#    this?
# 3. *Sixty-four strokes.* With windows, the implementation paints 64 strokes. At the paper's sizes, how many bytes do
#    64 steps of 100 pictures keep, by this lesson's formula, whole and in pieces of the best length?

lesson.finish()

r"""The CIFAR-10 network, five ways
================================

A new layer or a new parameterization usually comes with a figure in which its training curve lies below the others.
Such a figure is easy to get wrong. The networks may not start alike, one of them may have the better learning rate, or
the seed may have been kind. This lesson repeats the experiment of the paper's section 5.1, figure 1: one convolutional
network (table 1), five parameterizations, one starting point. It checks the start, chooses each learning rate
beforehand, trains from several starts, and says what such a short run cannot show.

Afterwards you can

- explain what each of the five does to the pre-activations, and what it costs;
- make five differently parameterized networks start as one and the same function, and check that they do;
- read training curves by epoch and by wall clock, and tell differences between methods from differences between seeds;
- predict how the steps of Adam add up to a growing weight vector, layer by layer, and say where they do not.

Read first: lesson 01 (the tape), lesson 03 (weight normalization); the paper's sections 3, 4 and 5.1.

Claims checked, and where they are made:

- all five networks start as the same function (section 5.1), except for what batch normalization adds to a variance;
- the gradient for v is orthogonal to v in every unit of the real network (section 2.1);
- with weight normalization every layer's ‖v‖ grows although the optimizer is Adam (section 2.1: "qualitatively we still
  find the same effect"); the sum of its steps is derived here;
- batch normalization, and weight normalization with mean-only batch normalization, learn faster than the normal
  parameterization (section 5.1, figure 1): at the beginning, from three starts.

How much of a lead is weight normalization's own, over rates and seeds, is the question of ``further/09_headline.py``.

Time: quick about 150 s, full about 8 days on two CPU cores (a GPU is meant for it).

A full run can be done in pieces, and in several processes at the same time, a few parameterizations each:
``python lessons/09_cifar10_network.py --full --device cuda --minutes 9 --only "weight norm" "batch norm"``. Each piece
goes on from the checkpoints that it finds, and ends with new ones. When all five are complete,
``python -m lessons 9 --full --device cuda`` draws the figures and checks the claims.
"""

# %%
# The default (``--quick``) is a narrow network on 1,200 pictures, so that all five train from three starts in two or
# three minutes on two cores. ``--full`` is the paper's setting: 96 and 192 channels, 50,000 pictures, 200 epochs, one
# start. The pictures are CIFAR-10 where it can be found, and otherwise an embedded synthetic set of ten classes of
# shapes; see the README.

import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import NullFormatter

import minigrad as mg
import wn
from lessons import COLOURS, Lesson, commit, positive, versions, whole_number
from minigrad import backend, data, nn, optim
from minigrad.nn import functional as F

PARAMETERIZATIONS = ["normal", "batch norm", "weight norm", "WN + mean-only BN", "mean-only BN"]


def own_flags(parser):
    """For runs in pieces."""
    parser.add_argument("--only", nargs="+", choices=PARAMETERIZATIONS, metavar="NAME",
                        help=f"train these and stop; of {', '.join(map(repr, PARAMETERIZATIONS))}")
    parser.add_argument("--minutes", type=positive, help="stop after the last epoch that ends within so many minutes")
    parser.add_argument("--epochs", type=whole_number(1),
                        help="another number of epochs; the schedule is stretched to it")
    parser.add_argument("--rate", type=positive, help="one learning rate for all; claims are about the default ones")


lesson = Lesson(__file__, own_flags)

# %%


@dataclass(frozen=True)
class Size:
    """Everything that differs between a quick and a full run."""

    widths: tuple  # channels of the first three layers, and of all that follow
    train: int  # pictures
    test: int
    batch: int
    epochs: int
    dropout: float
    eps: float  # added to the eigenvalues in whitening
    late_beta1: float  # Adam's β₁ in the second half; 0.9 in the first
    starts: int  # how many starting points, each with its own minibatches and noise
    records: int  # how often the lengths of the weight vectors are taken, at most


FULL = Size(
    widths=(96, 192), train=50_000, test=10_000, batch=100, epochs=200, dropout=0.5, eps=1e-5, late_beta1=0.5,
    starts=1, records=100,
)
QUICK = Size(widths=(16, 32), train=1200, test=500, batch=24, epochs=6, dropout=0.1, eps=1e-2, late_beta1=0.9, starts=3,
             records=1_000)
size = FULL if lesson.full else QUICK
if lesson.flags.epochs:
    size = replace(size, epochs=lesson.flags.epochs)

# %%
# 1. Pictures
# -----------
#
# A picture is 3 × 32 × 32 bytes, scaled to $(u - 127.5)/128$. Neighbouring pixels are nearly equal, so the 3072
# inputs are strongly correlated. *ZCA whitening* removes the correlations, with the mean picture $m$ and the
# eigenvectors $U$ and eigenvalues $S$ of the pixels' covariance matrix:
#
# $$x \mapsto (x - m)\,U \operatorname{diag}\!\bigl(1/\sqrt{S + \text{eps}}\bigr)\, U^\top$$
#
# Among all maps that whiten, this one changes the picture least.
#
# The paper estimates the covariance from all 50,000 training pictures and uses $\text{eps} = 10^{-5}$. The directions
# with the smallest eigenvalues are then amplified the most; in synthetic or compressed pictures they hold little but
# noise. The quick run therefore uses $10^{-2}$. Its statistics come from more pictures than it trains on: all 50,000 of
# CIFAR-10, or 10,000 synthetic ones.

if lesson.data == "cifar10":
    pictures = data.load_cifar10(download=lesson.flags.download)
else:
    pictures = data.synthetic_pictures(train=max(size.train, 10_000), test=size.test, seed=lesson.seed)

zca = data.zca_cached(data.scale_pixels(pictures.train_images), epsilon=size.eps)
train_x, train_y = zca(data.scale_pixels(pictures.train_images[: size.train])), pictures.train_labels[: size.train]
test_x, test_y = zca(data.scale_pixels(pictures.test_images[: size.test])), pictures.test_labels[: size.test]
note = pictures.description if size.epochs >= 200 else f"{pictures.description}, {size.epochs} epochs"
print(f"{pictures.description}: {len(train_x):,} training and {len(test_x):,} test pictures")

# %% Drawing tags=["hide-input"]

figure, axes = plt.subplots(2, 10, figsize=(7, 2.0))
for k, name in enumerate(pictures.class_names):
    i = np.flatnonzero(train_y == k)[0]
    axes[0, k].imshow(pictures.train_images[i].transpose(1, 2, 0))
    axes[1, k].imshow(np.clip(0.5 + train_x[i].transpose(1, 2, 0) / 6, 0, 1))
    axes[0, k].set_title(name, fontsize=8)
for ax in axes.flat:
    ax.set_axis_off()
figure.suptitle("One picture of each class; below, whitened (gray is 0)", fontsize=10)
lesson.figure(figure, "pictures", note=pictures.description, alt="Two rows of ten small pictures, one column for each "
              "class. Above the pictures as they are, below the same ones whitened: flat areas have turned gray, and "
              "edges and noise stand out.")

# %%
# 2. The network
# --------------
#
# Table 1 of the paper, line by line. (It is the ConvPool-CNN-C of Springenberg et al. 2015, with noise in place of the
# first dropout, 2 × 2 pooling, and 192 units before the average instead of 10. The authors tuned one number, the
# noise's standard deviation of 0.15, for the normal parameterization and on 10,000 held-out pictures.)
#
# At every place of a picture, a 3 × 3 convolution computes the same weighted sums over the 3 × 3 places around it and
# over all channels, one sum for each output channel. Max pooling keeps the largest number of each 2 × 2 places. Dropout
# sets numbers to 0 at random during training. The global average pooling at the end takes the mean of each channel over
# its places.
#
# Every convolution and the final dense layer are followed by what the parameterization asks for. Batch normalization
# subtracts the batch's mean from each pre-activation and divides by the batch's standard deviation; mean-only batch
# normalization (equation 7) only subtracts. The other two add a bias. Where a mean is subtracted, a bias before it
# would have no effect, so there is none.


def normalized(layer, channels, parameterization):
    """A layer, and after it what the parameterization asks for."""
    if parameterization == "batch norm":
        return [layer, nn.BatchNorm(channels, eps=1e-6)]
    if "mean-only" in parameterization:
        return [layer, wn.MeanOnlyBatchNorm(channels)]
    return [layer]


def weight_layers(model):
    return [layer for layer in model if isinstance(layer, (nn.Conv2d, nn.Linear))]


# %%


def network(parameterization, rng):
    """Table 1 with every weight v drawn from N(0, 0.05²), and b = 0."""
    bias = parameterization in ("normal", "weight norm")

    def conv(inputs, outputs, kernel, padding=0):
        layer = nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=bias)
        return [*normalized(layer, outputs, parameterization), nn.LeakyReLU(0.1)]

    a, b = size.widths
    model = nn.Sequential(
        nn.GaussianNoise(0.15, rng),
        *conv(3, a, 3, padding=1), *conv(a, a, 3, padding=1), *conv(a, a, 3, padding=1),
        nn.MaxPool2d(2), nn.Dropout(size.dropout, rng),
        *conv(a, b, 3, padding=1), *conv(b, b, 3, padding=1), *conv(b, b, 3, padding=1),
        nn.MaxPool2d(2), nn.Dropout(size.dropout, rng),
        *conv(b, b, 3), *conv(b, b, 1), *conv(b, b, 1),
        nn.GlobalAvgPool2d(),
        *normalized(nn.Linear(b, 10, bias=bias), 10, parameterization),
    )
    for layer in weight_layers(model):
        layer.weight.data = rng.normal(0, 0.05, layer.weight.shape).astype(np.float32)
        if bias:
            layer.bias.data = np.zeros(layer.bias.shape, np.float32)
    return model


print(network("weight norm", lesson.rng(0)))

# %%
# 3. One starting point
# ---------------------
#
# Section 3: draw $v$ from $N(0, 0.05^2)$, send one batch of 500 pictures through, and choose $g$ and $b$ such that
# every pre-activation has mean 0 and variance 1 (equations 5 and 6). "The network parameters are initialized using
# the scheme of section 3 such that all four cases have identical parameters starting out" (section 5.1). So the
# networks without weight normalization are made from those with it: initialize $v$, $g$ and $b$, then multiply out
# $w = g\,v/\lVert v\rVert$. Only full batch normalization needs no such pass, because it normalizes every batch
# anyway; it keeps $w = v$.
#
# There are several starts, numbered from 0. Each has its own $v$, and its own minibatches and noise in training; all
# five parameterizations share these. (``exactly`` asks for convolutions with the full precision of float32. On a GPU
# they are otherwise computed in TF32, whose numbers have 11 significant bits instead of 24: enough for training, too
# few for a comparison.)

first_pictures = train_x[:500]
exactly = {"tf32": False, "winograd": False}


def reseed_noise(model, rng):
    """From now on, let noise and dropout draw from this generator."""
    for layer in model:
        if isinstance(layer, (nn.GaussianNoise, nn.Dropout)):
            layer.rng = rng


def initialized(parameterization, start=0):
    """A network of this parameterization, at the starting point that all five share."""
    model = network(parameterization, lesson.rng(1, start))  # the same numbers for all five
    if parameterization != "batch norm":
        reseed_noise(model, lesson.rng(2, start))
        wn.apply_weight_norm(model)
        with mg.config(**exactly):
            wn.data_dependent_init(model, first_pictures)
    if parameterization in ("normal", "mean-only BN"):
        wn.remove_weight_norm(model)
    return model.to(lesson.device)


# %%
# Are the five networks the same function at the start? Through each we send the batch that they were initialized with,
# with the same noise. One thing stands in the way. Batch normalization adds $\text{eps} = 10^{-6}$ to the variance
# before it takes the root. That is negligible where the variance is 1, but in the last layer the inputs are means over
# a picture and nearly alike, and their weighted sums have a variance of $10^{-3}$ or so. With eps, a logit that should
# have variance 1 has the deviation
#
# $$\frac{\sigma}{\sqrt{\sigma^2 + \text{eps}}} \approx 1 - \frac{\text{eps}}{2\sigma^2}, \qquad
#   \sigma = \frac{\lVert v\rVert}{g}.$$
#
# The deviation $\sigma$ of $v \cdot x$ can be read off the network with weight normalization, because equation 6 chose
# $g$ such that $g\,(v \cdot x)/\lVert v\rVert$ has variance 1. So we can predict what eps does, and then compare the
# networks with eps = 0.


def outputs_at_start(parameterization, eps=1e-6):
    """The logits of the 500 pictures, in float64."""
    model = initialized(parameterization)
    reseed_noise(model, lesson.rng(2, 0))
    for layer in model:
        if isinstance(layer, nn.BatchNorm):
            layer.eps = eps
    with mg.no_grad(), mg.config(**exactly):
        return model(mg.tensor(first_pictures, device=lesson.device)).numpy().astype(float)


outputs = {p: outputs_at_start(p, eps=0.0) for p in PARAMETERIZATIONS}
shortened = 1 - outputs_at_start("batch norm").std(axis=0) / outputs["batch norm"].std(axis=0)
last_layer = weight_layers(initialized("weight norm"))[-1]
squares = np.sum(last_layer.weight_v.numpy().astype(float) ** 2, axis=1)
predicted = 1e-6 * last_layer.weight_g.numpy().ravel() ** 2 / (2 * squares)
for p, out in outputs.items():
    difference = np.abs(out - outputs["normal"]).max()
    print(f"{p:18} logits: deviation {out.std():.4f}, first {out[0, 0]:+.5f}, differs by {difference:.1e} at most")
print(f"with its eps, batch norm's ten logits are shorter by {shortened.min():.5f} to {shortened.max():.5f}; "
      f"predicted {predicted.min():.5f} to {predicted.max():.5f}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* Ten layers in float32, each of which divides by a standard deviation: we expect differences of about a
# hundred times $\varepsilon = 1.2 \cdot 10^{-7}$, and allow a thousand times that; a wrong factor anywhere would make a
# difference of order 1. The deviation of a logit, over 500 numbers with such errors, is known to $10^{-6}$, or a per
# cent of what eps does. Earlier layers have their eps, too, but the next layer normalizes away what they lose, as far
# as all units lose the same. We allow 10 %.

lesson.claim("the five networks start as the same function (batch norm with eps = 0): largest difference of a logit",
             max(np.abs(out - outputs["normal"]).max() for out in outputs.values()), below=1e-3 * 0.12)
lesson.claim("batch norm's eps makes the logits shorter by eps g²/(2‖v‖²), ten classes", shortened, predicted=predicted,
             rtol=0.1)

# %%
# 4. Training one
# ---------------
#
# Adam, with the paper's schedule: the learning rate is constant for the first half, then falls linearly to zero, and
# $\beta_1$, the decay rate of Adam's running mean of the gradients, is 0.5 instead of 0.9. The paper picks each
# parameterization's learning rate from {0.0003, 0.001, 0.003, 0.01}; figure 1 uses 0.003, and 0.0003 for the normal
# parameterization. (For mean-only batch normalization without weight normalization its caption can be read either way;
# here it has the rate of the normal parameterization.) The quick run has other rates, from the upper three of that
# grid: for each parameterization the one with the lowest training error in a run with another seed, 7 (question 2).
#
# The quick run leaves $\beta_1$ at 0.9. Where the loss curves too strongly for the step, Adam becomes unstable. The
# bound on the (preconditioned) curvature is $(2 + 2\beta_1)/((1 - \beta_1)\,\eta)$ at the learning rate $\eta$ (Cohen
# et al. 2022, arXiv:2207.14484): $38/\eta$ with 0.9, and only $6/\eta$ with 0.5. After 50,000 steps that is no danger;
# after 150 it may be, and then the curves jump. Question 4 tries it.

if lesson.full:
    RATES = dict.fromkeys(PARAMETERIZATIONS, 0.003) | {"normal": 0.0003, "mean-only BN": 0.0003}
else:
    RATES = dict.fromkeys(PARAMETERIZATIONS, 0.003) | {"mean-only BN": 0.01}
if lesson.flags.rate:
    RATES = dict.fromkeys(PARAMETERIZATIONS, lesson.flags.rate)

# %%
# All pictures and labels move to the device once, and the minibatches are put together there. To look at a number on a
# GPU, the host must wait until everything before it is computed, and meanwhile it gives the GPU nothing new to do. So
# losses and logits stay on the device until the epoch is over.

train_set = [backend.to_device(array, lesson.device) for array in (train_x, train_y)]
test_set = [backend.to_device(array, lesson.device) for array in (test_x, test_y)]
steps_per_epoch = -(-len(train_x) // size.batch)


def errors(logits, labels):
    """How many pictures the logits get wrong, as an array where they are."""
    return (logits.data.argmax(axis=1) != labels).sum()


def test_error(model):
    """The share of test pictures that the model gets wrong, in percent."""
    model.eval()
    wrong = 0
    with mg.no_grad():
        for x, y in data.batches(test_set, 500 if lesson.device == "cuda" else 200):
            wrong = wrong + errors(model(x), y)
    return 100 * int(wrong) / len(test_y)


# %%
# An epoch is the usual loop. The training error is measured along the way, with noise and dropout on, so a network may
# do better on test pictures than on training pictures.
#
# A step consists of some 200 kernels, and a fast GPU runs them in less time than Python takes to ask for them. They are
# the same at every step. With ``MINIGRAD_CUDA_GRAPH=1`` in the environment, the forward and backward passes are
# recorded once, as a *CUDA graph*, and replayed from then on. On the CPU ``cuda_graph`` changes nothing.


def gradients_of(model):
    """A function that computes the loss and the gradients of a minibatch; it returns loss and logits."""

    def loss_and_gradients(x, y):
        logits = model(x)
        loss = F.cross_entropy(logits, y)
        loss.backward()
        return loss.detach(), logits.detach()

    return mg.cuda_graph(loss_and_gradients, model) if mg.config.cuda_graph else loss_and_gradients


def train_epoch(loss_and_gradients, optimizer, tracker, rng, bar):
    """One epoch; the mean loss and the training error in percent."""
    losses, answers, truth = [], [], []
    for x, y in data.batches(train_set, size.batch, rng):
        optimizer.zero_grad()
        loss, logits = loss_and_gradients(x, y)
        optimizer.step()
        tracker.record()
        losses.append(loss)
        answers.append(logits)
        truth.append(y)
        bar.update()
    wrong = int(errors(mg.concatenate(answers), mg.concatenate(truth)))  # here the host waits for the device
    losses = mg.stack(losses).numpy().tolist()
    return sum(loss * len(y) for loss, y in zip(losses, truth, strict=True)) / len(train_y), 100 * wrong / len(train_y)


# %% Bookkeeping tags=["hide-input"]
# At the end of an epoch everything that the rest depends on goes into a checkpoint: parameters, what Adam remembers,
# the state of the random generator, and the curves. (A full run writes one every half minute; a complete one leaves out
# what Adam remembers, which is two thirds of it.) A killed run resumes from there, and reaches the same numbers bit for
# bit. It can also resume on another machine; then it differs by rounding.


def origin(epoch):
    """With what a run computes from this epoch on."""
    return {
        "from epoch": epoch, "machine": backend.description(lesson.device), "versions": versions(),
        "blas": mg.config.blas_description(), "commit": commit(), "command": " ".join(["python", *sys.argv]),
        "seed": lesson.seed, "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "settings": {name: value for name, value in mg.config.as_dict().items() if name != "data"},
    }


class Run:
    """One network's training, as far as it has come; it can be saved and go on."""

    def __init__(self, parameterization, start):
        rate = RATES[parameterization]
        self.model, self.rng = initialized(parameterization, start), lesson.rng(3, start)
        reseed_noise(self.model, self.rng)
        self.optimizer = optim.Adam(self.model.parameters(), lr=rate)
        every = max(1, steps_per_epoch * size.epochs // size.records)
        quantities = ("norm", "g", "relative_step", "effective_lr")
        self.tracker = wn.NormTracker(self.model, self.optimizer, every, quantities, dtype=np.float32)
        self.curves, self.pieces = {"training error": [], "test error": [], "loss": [], "seconds": []}, []
        name = f"{parameterization}, start {start}" if start else parameterization
        identity = {"size": str(size), "data": pictures.description, "rate": rate}
        self.checkpoint = lesson.checkpoint(name, identity)
        if saved := self.checkpoint.load():
            self.model.load_state_dict(saved["model"])
            self.tracker.load_state_dict(saved["tracker"])
            self.rng.bit_generator.state = saved["rng"]
            self.curves, self.pieces = saved["curves"], saved["pieces"]
            if self.epochs < size.epochs:
                self.optimizer.load_state_dict(saved["optimizer"])
        if self.epochs < size.epochs:
            self.pieces.append(origin(self.epochs))

    @property
    def epochs(self):
        """How many epochs are done."""
        return len(self.curves["loss"])

    def save(self):
        self.checkpoint.save({
            "model": self.model.state_dict(), "curves": self.curves, "tracker": self.tracker.state_dict(),
            "optimizer": self.optimizer.state_dict() if self.epochs < size.epochs else {},
            "rng": self.rng.bit_generator.state, "pieces": self.pieces,
        })

    def stop_unless_complete(self, parameterization):
        if self.epochs < size.epochs:
            lesson.stop(f"stopped after epoch {self.epochs} of {size.epochs} of {parameterization} "
                        f"({pictures.description}); the same command goes on from there")


# %%


def train(parameterization, start=0):
    """Train one network to the end, or for --minutes. Returns its `Run`: model, tracker, and curves by epoch."""
    run = Run(parameterization, start)
    loss_and_gradients = gradients_of(run.model)
    total = steps_per_epoch * size.epochs
    bar = lesson.progress(None, parameterization, total=total, initial=steps_per_epoch * run.epochs)
    for epoch in range(run.epochs, size.epochs):
        started = time.perf_counter()
        run.optimizer.lr = RATES[parameterization] * optim.schedules.constant_then_linear(epoch, size.epochs)
        run.optimizer.betas = (0.9 if epoch < size.epochs // 2 else size.late_beta1, 0.999)
        run.model.train()
        loss, wrong = train_epoch(loss_and_gradients, run.optimizer, run.tracker, run.rng, bar)
        seconds = time.perf_counter() - started
        for name, value in zip(run.curves, (wrong, test_error(run.model), loss, seconds), strict=True):
            run.curves[name].append(value)
        stop = lesson.time_is_up(needed=1.2 * (time.perf_counter() - started))  # there is no time for one more epoch
        if stop or run.epochs == size.epochs or run.checkpoint.due(30 if lesson.full else 0):
            run.save()
        if stop:
            break
    bar.close()
    run.stop_unless_complete(parameterization)
    return run


for p in lesson.flags.only or []:
    run = train(p)
    last = {name: values[-1] for name, values in run.curves.items()}
    print(f"{p:18} training error {last['training error']:5.1f} %, test error {last['test error']:5.1f} %")
if lesson.flags.only:
    lesson.stop(f"{', '.join(lesson.flags.only)}: complete, {size.epochs} epochs on {pictures.description}")

# %%
# First the one that is the paper's best: weight normalization with mean-only batch normalization.

FIRST = "WN + mean-only BN"
runs = {(FIRST, 0): train(FIRST)}
curves = runs[FIRST, 0].curves
print(f"{FIRST}, learning rate {RATES[FIRST]}, on {pictures.description}")
print("epoch   loss   training error   test error   seconds")
for epoch, (wrong, test, loss, seconds) in enumerate(zip(*curves.values(), strict=True), 1):
    if epoch <= 10 or epoch % 10 == 0:
        print(f"{epoch:5} {loss:6.3f} {wrong:14.1f} % {test:10.1f} % {seconds:9.1f}")

# %%
# 5. Is the gradient at a right angle to $v$?
# -------------------------------------------
#
# Lesson 03 derived that it is (equation 4); here we test it on a real network after training. We take the gradient of
# the loss on the 500 pictures and, for each weight vector, the part of the gradient that lies along it, relative to the
# whole gradient $\nabla_w L$. By equation 3, $\nabla_w L$ has the component $\nabla_g L$ along $v$ and, across it, a
# part of length $\frac{\lVert v\rVert}{g} \lVert\nabla_v L\rVert$. For comparison, we measure the same for the network
# at its start with its weights multiplied out: there the length of $w$ matters, and the gradient has a part along it.


def share_along(model):
    """For every weight vector the component of its gradient along it / the length of the gradient for w."""
    model.train()
    model.zero_grad()
    labels = backend.to_device(train_y[: len(first_pictures)], lesson.device)
    F.cross_entropy(model(mg.tensor(first_pictures, device=lesson.device)), labels).backward()
    found = []
    for layer in weight_layers(model):
        vector = layer.weight_v if hasattr(layer, "weight_v") else layer.weight
        v, gradient = (t.numpy().reshape(len(t), -1).astype(float) for t in (vector, vector.grad))
        length = whole = np.linalg.norm(gradient, axis=1)
        if hasattr(layer, "weight_v"):
            ratio = np.abs(layer.weight_g.numpy().ravel()) / np.linalg.norm(v, axis=1)  # g/‖v‖
            whole = np.hypot(layer.weight_g.grad.numpy().ravel(), length / ratio) * ratio
        found.append(np.abs(np.sum(v * gradient, axis=1)) / np.linalg.norm(v, axis=1) / whole)
    return np.concatenate(found)


along_v, along_w = share_along(runs[FIRST, 0].model), share_along(initialized("mean-only BN"))
print(f"{len(along_v)} weight vectors; largest component along v {along_v.max():.1e}; without weight normalization: "
      f"largest {along_w.max():.2f}, median {np.median(along_w):.2f}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* $\nabla_v L$ is computed in float32, as the difference of two vectors that are at most
# $\frac{g}{\lVert v\rVert} \lVert\nabla_w L\rVert$ long (equation 3). Both are rounded, so what is left along $v$ has
# to be small relative to that length: some ten times $\varepsilon = 1.2\cdot10^{-7}$. We allow eighty times.

lesson.claim("∇_v L is orthogonal to v in every unit of the trained network: largest component along v, relative",
             along_v.max(), below=1e-5)

# %%
# 6. How long does v get?
# -----------------------
#
# With plain gradient descent, the step is at a right angle to $v$, too, and can only make it longer: $\lVert v\rVert^2$
# grows by the square of each step. The optimizer here is Adam. It divides each entry of the gradient by its own typical
# size, and it steps along a running mean of gradients, not along the last one. What then? Suppose that the gradients,
# once divided, are nothing but noise, independent of each other and of $v$. Let $z_k$ be the divided gradient of step
# $k$, and $T$ the number of steps. Adam's step is a weighted mean,
#
# $$\Delta v_t = -\sum_{k\le t} d_{tk}\,z_k, \qquad
#   d_{tk} = \eta_t\,\frac{(1 - \beta_1)\,\beta_1^{t-k}}{1 - \beta_1^t}.$$
#
# One gradient is thus part of many steps, and moves $v$ in the same direction in all of them. In the end, gradient $k$
# has moved $v$ by $\sum_t d_{tk}$ times itself. Since different gradients are independent, their squares add up. For
# the growth, all that one gradient contributes is summed before it is squared; for the single steps, each contribution
# is squared by itself:
#
# $$\lVert v_T\rVert^2 - \lVert v_0\rVert^2 \;\propto\; \sum_k \Bigl(\sum_t d_{tk}\Bigr)^2, \qquad
#   \sum_t \lVert\Delta v_t\rVert^2 \;\propto\; \sum_{t,k} d_{tk}^2 .$$
#
# Their ratio is the *multiple* by which growth exceeds what right angles would give. (Right angles give a ratio of 1.)
# It depends only on the schedule and $\beta_1$, not on the layer or its size. In a long run at a constant rate it is
# $(1 + \beta_1)/(1 - \beta_1) = 19$; in a short run it is less, as Adam's first means are taken over few gradients.


def predicted_multiple(beta1=0.9):
    """‖v‖² gained / sum of the squared steps, of Adam on gradients that are noise."""
    factors = [optim.schedules.constant_then_linear(epoch, size.epochs) for epoch in range(size.epochs)]
    eta = np.repeat(factors, steps_per_epoch)  # the multiple does not depend on the unit of the rate
    t = np.arange(1, len(eta) + 1)
    age = t[:, None] - t  # of gradient k at step t
    weights = np.where(age >= 0, (1 - beta1) * beta1 ** np.maximum(age, 0), 0)
    d = (eta / (1 - beta1**t))[:, None] * weights
    return np.sum(np.sum(d, axis=0) ** 2) / np.sum(d**2)


def multiples(tracker):
    """For each layer ‖v‖² gained / Σ‖Δv‖², both summed over its units."""
    found = []
    for layer in tracker.layers:
        squares = tracker.history(layer, "norm").astype(float) ** 2
        c = tracker.history(layer, "relative_step")[1:].astype(float)
        found.append(np.sum(squares[-1] - squares[0]) / np.sum(c**2 * squares[:-1]))
    return np.array(found)


# %%
# The tracker records the relative step $c = \lVert\Delta v\rVert/\lVert v\rVert$, which to first order is the angle in
# radians by which a weight vector turns in one step. So $\lVert\Delta v\rVert^2 = c^2\lVert v\rVert^2$. (This needs
# every step. The full run records one step in a thousand, so it leaves the multiple out.)

tracker = runs[FIRST, 0].tracker
names = [f"conv {i}" for i in range(1, len(tracker.layers))] + ["dense"]
every_step = tracker.steps == list(range(len(tracker.steps)))
theory = predicted_multiple() if every_step else np.nan
measured = multiples(tracker) if every_step else np.full(len(names), np.nan)
print(f"multiple predicted {theory:.1f}")
for layer, name, multiple in zip(tracker.layers, names, measured, strict=True):
    norm, g = tracker.history(layer, "norm"), tracker.history(layer, "g").mean(axis=1)
    print(f"{name:8} ‖v‖ has grown to {(norm[-1] / norm[0]).mean():.2f} times its length; multiple {multiple:4.1f}; "
          f"g went from {g[0]:.2f} to {g[-1]:.2f}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* Chance matters little: ten layers are averaged, with 72 to 2304 weights each. But gradients are not quite
# noise. If neighbouring ones were correlated by one per cent, over the ten steps that $\beta_1$ remembers, this would
# add about 10 % to the multiple. Adam's divisor changes while the network learns, but enters numerator and denominator
# alike. We allow 12 %.

if every_step:
    lesson.claim("growth of ‖v‖² under Adam / sum of squared steps, as for noise: mean over the layers",
                 np.mean(measured), predicted=theory, rtol=0.12)

# %% Drawing tags=["hide-input"]

shades = plt.colormaps["viridis"](np.linspace(0, 0.9, len(names)))
steps = np.array(tracker.steps)
figure, axes = plt.subplots(1, 3, figsize=(8.4, 3.6))
for layer, name, shade in zip(tracker.layers, names, shades, strict=True):
    norm = tracker.history(layer, "norm")
    axes[0].plot(steps, (norm / norm[0]).mean(axis=1), color=shade, label=name)
    axes[1].semilogy(steps, tracker.history(layer, "effective_lr").mean(axis=1), color=shade)
    axes[2].semilogy(steps[1:], tracker.history(layer, "relative_step")[1:].mean(axis=1), color=shade, linewidth=1)
for ax, label in zip(axes, [r"$\|v\| \,/\, \|v_0\|$", r"effective learning rate $\eta/\|v\|^2$",
                            r"relative step $c = \|\Delta v\|/\|v\|$ (radians)"], strict=True):
    ax.set(xlabel="step", title=label)
    ax.title.set_fontsize(9)
    ax.yaxis.set_minor_formatter(NullFormatter())
axes[2].set_yticks([0.003, 0.01, 0.03, 0.1], ["0.003", "0.01", "0.03", "0.1"])
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8)
figure.suptitle(f"{FIRST}, by layer", fontsize=11)
lesson.figure(figure, "growth_by_layer", note=note, alt="Three plots against the step, with a line for each of the ten "
              "layers. Left: the length of v relative to its start rises in every layer. Middle: the effective "
              "learning rate falls, in stairs in the second half. Right: the relative step falls from its first value "
              "and then in the same stairs.")

# %%
# Each line is a layer, averaged over its units. On the left is $\lVert v\rVert$ relative to its start. In the middle is
# the effective learning rate $\eta/\lVert v\rVert^2$ of the direction $v/\lVert v\rVert$, which would matter under
# plain gradient descent. Adam's steps do not shrink with the gradient, so for Adam the relative step on the right is
# the measure. The stairs come from the learning rate, which falls once an epoch in the second half.
#
# 7. Training all five
# --------------------
#
# Now the others, and then all five again from other starts.

for start in range(size.starts):
    for p in PARAMETERIZATIONS:
        if (p, start) not in runs:
            runs[p, start] = train(p, start)
final = {p: np.array([runs[p, i].curves["training error"][-1] for i in range(size.starts)]) for p in PARAMETERIZATIONS}
tests = {p: np.array([runs[p, i].curves["test error"][-1] for i in range(size.starts)]) for p in PARAMETERIZATIONS}
curves = {p: runs[p, 0].curves for p in PARAMETERIZATIONS}
lesson.measurements |= {"curves": curves, "learning rates": RATES, "size": str(size), "data": pictures.description}
lesson.measurements["last errors by start"] = {p: [final[p].tolist(), tests[p].tolist()] for p in PARAMETERIZATIONS}

# %%
# On the left is the paper's figure 1: progress by epoch. On the right, the same points by wall-clock time. The methods
# differ in cost: batch normalization goes through every pre-activation several times, forward and backward, while
# weight normalization only touches the weights, of which there are far fewer.

per_epoch = {p: float(np.median(curves[p]["seconds"])) for p in PARAMETERIZATIONS}
print(f"{pictures.description}, {size.epochs} epochs, seed {lesson.seed}; mean and standard deviation of {size.starts} "
      "starts")
print(f"{'':18} {'learning':>8} {'training':>13} {'test':>13} {'seconds':>9} {'relative to':>11}")
print(f"{'':18} {'rate':>8} {'error %':>13} {'error %':>13} {'an epoch':>9} {'normal':>11}")
for p in PARAMETERIZATIONS:
    print(f"{p:18} {RATES[p]:8} {final[p].mean():7.1f} ± {final[p].std(ddof=min(1, size.starts - 1)):3.1f} "
          f"{tests[p].mean():7.1f} ± {tests[p].std(ddof=min(1, size.starts - 1)):3.1f} "
          f"{per_epoch[p]:9.2f} {per_epoch[p] / per_epoch['normal']:11.2f}")
print("The paper, test error (%) after 200 epochs: normal 8.43, weight norm 8.46, batch norm 8.05,\n"
      "mean-only BN 8.52, WN + mean-only BN 7.31.")

# %% Drawing tags=["hide-input"]

figure, axes = plt.subplots(2, 2, figsize=(7, 5.6), sharey="row", sharex="col")
epochs = np.arange(1, size.epochs + 1)
for (p, start), run in runs.items():
    for row, quantity in enumerate(["training error", "test error"]):
        style = {"color": COLOURS[p], "alpha": 0.35 if start else 1, "linewidth": 0.8 if start else 1.6}
        style |= {} if start else {"label": p, "marker": "" if lesson.full else "o", "ms": 3}
        for ax, horizontal in zip(axes[row], [epochs, np.cumsum(run.curves["seconds"])], strict=True):
            ax.plot(horizontal, run.curves[quantity], **style)
        axes[row, 0].set_ylabel(f"{quantity} (%)")
axes[1, 0].set_xlabel("epoch")
axes[1, 1].set_xlabel("time spent in training (s)")
handles = dict(zip(*reversed(axes[0, 0].get_legend_handles_labels()), strict=True))
figure.legend([handles[p] for p in PARAMETERIZATIONS], PARAMETERIZATIONS, loc="outside lower center", ncols=5,
              fontsize=8)
figure.suptitle("Five parameterizations of one network, each from the same starts", fontsize=11)
lesson.figure(figure, "curves", note=note, alt="Training error above and test error below, against the epoch on the "
              "left and against seconds of training on the right, for five parameterizations; thin lines are further "
              "starts. The three parameterizations that subtract a mean fall clearly faster than normal and weight "
              "norm.")

# %% Tolerance tags=["hide-input"]
# Is the order of figure 1 luck? *Tolerance.* The training error on 1,200 pictures is a count with a standard deviation
# of $\sqrt{0.5 \cdot 0.5/1200} = 1.4$ points at most; for the difference of two it is 2 points. Between starts errors
# scatter by more, up to 10 points: one start would not be enough. We ask for twice that, 20 points, from *every* start.
# In a run with a single start nothing is claimed.

if size.starts > 1:
    for p, other in (("batch norm", "normal"), (FIRST, "normal"), (FIRST, "weight norm")):
        lesson.claim(f"{p} ends with a lower training error than {other}: smallest lead of all starts, in points",
                     min(final[other] - final[p]), above=20)

# %%
# All starts agree on that. Whether batch norm or weight norm + mean-only BN is first changes from start to start, and
# so does the order of normal and weight norm: with seed 0, normal is ahead by 3 to 8 points. None of this is claimed.
#
# 8. Growth in all five
# ---------------------
#
# In the networks without weight normalization the tracker follows the weight itself. Before batch normalization a
# weight's length has no effect on the output, so its gradient is at a right angle to it, and it should grow as $v$ does
# under weight normalization. In the normal parameterization, or where only the mean is subtracted, the length of $w$ is
# part of the function, and the loss decides.


def growth(run):
    """For each layer the final length of its weight vectors, relative to the start, mean over its units."""
    norms = [run.tracker.history(layer, "norm") for layer in run.tracker.layers]
    return np.array([(norm[-1] / norm[0]).mean() for norm in norms])


grown = {p: np.array([growth(runs[p, i]) for i in range(size.starts)]) for p in PARAMETERIZATIONS}
found = {p: np.array([multiples(runs[p, i].tracker) for i in range(size.starts)]) if every_step else np.nan
         for p in PARAMETERIZATIONS}
print(f"{'':18} {'‖v‖/‖v₀‖':>10} {'dense layer':>12}   multiple: mean over layers, median ({theory:.1f} for noise)")
for p in PARAMETERIZATIONS:
    print(f"{p:18} {grown[p].mean():10.2f} {grown[p][:, -1].mean():12.2f} {np.mean(found[p]):12.1f} "
          f"{np.median(found[p]):7.1f}")

# %% Claims tags=["hide-input"]
# The multiple has the same tolerance as above, and comes from all starts.

if every_step:
    lesson.claim("batch norm and WN + mean-only BN: growth / sum of squared steps, as for noise, mean of all starts",
                 [np.mean(found[p]) for p in ("batch norm", FIRST)], predicted=theory, rtol=0.12)
lesson.claim("under Adam, ‖v‖ has grown in every layer, with and without mean-only BN (smallest ratio to the start)",
             min(grown["weight norm"].min(), grown[FIRST].min()), above=1)
for p in (FIRST, "batch norm"):
    lesson.claim(f"{p} grows more than mean-only BN alone (difference of mean ratios to the start, smallest of all)",
                 min(grown[p].mean(axis=1) - grown["mean-only BN"].mean(axis=1)), above=0)
lesson.claim("mean-only BN: the dense layer's w, whose length matters, gets shorter (largest ratio to the start)",
             grown["mean-only BN"][:, -1].max(), below=1)

# %% Drawing tags=["hide-input"]

figure, axes = plt.subplots(1, 3 if every_step else 2, figsize=(8.8, 3.8))
for p in PARAMETERIZATIONS:
    followed = runs[p, 0].tracker
    norms = [followed.history(layer, "norm") for layer in followed.layers]
    turned = [followed.history(layer, "relative_step")[1:].mean(axis=1) for layer in followed.layers]
    axes[0].plot(followed.steps, np.mean([(n / n[0]).mean(axis=1) for n in norms], axis=0), color=COLOURS[p], label=p)
    axes[1].semilogy(followed.steps[1:], np.mean(turned, axis=0), color=COLOURS[p], linewidth=1)
    if every_step:
        inside = np.where(found[p][0] > -10, found[p][0], np.nan)
        axes[2].plot(np.arange(1, 11), inside, "o", color=COLOURS[p], ms=4)
        axes[2].plot(np.arange(1, 11), np.where(found[p][0] > -10, np.nan, -11), "v", color=COLOURS[p], ms=4)
axes[0].set(xlabel="step", title=r"$\|v\|/\|v_0\|$ or $\|w\|/\|w_0\|$")
axes[1].set(xlabel="step", title="relative step $c$")
axes[1].set_yticks([0.001, 0.003, 0.01, 0.03, 0.1], ["0.001", "0.003", "0.01", "0.03", "0.1"])
axes[1].yaxis.set_minor_formatter(NullFormatter())
if every_step:
    axes[2].axhline(theory, color="0.3", lw=1, ls="--")
    axes[2].set(xlabel="layer", title="multiple (▾: below −10)", ylim=(-13, 40), xticks=range(1, 11))
for ax in axes:
    ax.title.set_fontsize(10)
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8)
figure.suptitle("Growth by parameterization", fontsize=11)
lesson.figure(figure, "growth_by_parameterization", note=note, alt="Left: mean length of the weight vectors against "
              "the step; batch norm and WN + mean-only BN grow by a fifth or more, the other three by a tenth at most. "
              "Middle: their relative steps. Right, in the quick run: the multiple by layer; the dots of batch norm "
              "and WN + mean-only BN lie along a dashed line, the prediction for noise, while normal and mean-only BN "
              "lie below it, far below in the last layers.")

# %%
# Batch normalization and weight normalization with mean-only batch normalization lie near the line for noise, in
# every layer. Weight normalization alone scatters about it, with multiples from 11 to 19: its gradients are less like
# noise, as all logits of all pictures keep moving together (part 9). (On the left it grows as fast as these two for 30
# steps, and then hardly at all: its first gradients are large, and Adam remembers them.) Where the length matters,
# growth is less than the steps would give, and in the last layers $w$ can get shorter. So "qualitatively we still find
# the same effect to hold" is right, and for noise it can be made quantitative.
#
# How *far* does $\lVert v\rVert$ get? Divided by its root mean square, each entry of a pure-noise gradient has size 1,
# so with $n$ entries $\lVert v\rVert^2$ gains $\eta_t^2 n$ from step $t$. It began at $0.05^2 n$. Hence
#
# $$\frac{\lVert v_T\rVert}{\lVert v_0\rVert} = \sqrt{1 + \sum_t \frac{\eta_t^2}{0.05^2}}$$
#
# in every layer, whatever its size. This holds only in a run that is long compared with the 1000 steps of Adam's
# running mean of squares; in the quick run the first, large gradients are remembered to the end and make all steps
# shorter.

eta = np.repeat([RATES[FIRST] * optim.schedules.constant_then_linear(e, size.epochs) for e in range(size.epochs)],
                steps_per_epoch)
print(f"‖v‖/‖v₀‖ by the law {np.sqrt(1 + np.sum(eta**2) / 0.05**2):.2f}, measured: batch norm "
      f"{grown['batch norm'].min():.2f} to {grown['batch norm'].max():.2f}, {FIRST} {grown[FIRST].min():.2f} to "
      f"{grown[FIRST].max():.2f}")

# %%
# 9. What a small run can show, and what it cannot
# ------------------------------------------------
#
# The quick run sees 300 steps of a narrow network, at learning rates fixed beforehand. It can show that the five start
# alike, that gradients and growth are as the paper says, and which parameterizations are fast at the beginning. Most of
# the early lead of the two fastest comes from subtracting the mean: mean-only batch normalization has much of it by
# itself. One reason is the last layer. Its inputs are means over a picture, nearly the same for all pictures, and
# data-dependent initialization makes up for their small deviation with a large $g$ (part 4 prints it). Any change of an
# earlier layer then moves the logits of all pictures at once, unless the batch's mean is subtracted.
#
# It cannot show which does best on new pictures after 200 epochs (figure 2 of the paper): the differences there are
# 0.03 to 1.2 percentage points, and to see them takes all of the data, the full network and several seeds.
#
# Between the two is a run of the full network, on all of CIFAR-10 (JPEG-compressed), for 40 epochs: ``results/cifar10``
# has its curves. It is *one* run of each parameterization. Its test errors are 13.0 % for weight normalization with
# mean-only batch normalization and 13.6 % for batch normalization, in the paper's order; but averaged over the last ten
# epochs they are 13.81 and 13.93 %. One seed cannot tell those two apart. Weight normalization alone (14.1 %),
# mean-only batch normalization (16.1 %) and normal (16.4 %) follow; the last two had a tenth of the others' learning
# rate, and 40 epochs instead of 200 to make up for it. For this run the law of growth predicts a factor of 7.1 for the
# three with the rate 0.003. (At a tenth of that rate it predicts 1.2, so the small growth of the other two proves
# nothing.) Measured, by layer: batch normalization 6.3 to 7.1, weight normalization with mean-only batch normalization
# 4.7 to 5.7, weight normalization alone 3.9 to 5.6.
#
# How much of the lead is due to weight normalization alone? ``further/09_headline.py`` compares it with the normal
# parameterization over learning rates and seeds.
#
# Questions
# ---------
#
# 1. *Seeds.* Run with ``--seed 1`` and ``--seed 2``, three starts each. Which rankings in the table stay, and which
#    change? Which of them would you put into a paper?
# 2. *Rates.* ``python -m lessons sweep 9 --rates 0.001 0.003 0.01 --seeds 7`` trains each of the five at three rates.
#    Plot the final training error against the learning rate. Look for the width of the valley, not only its depth.
# 3. *Whitening.* Set ``eps`` to 1e-5 in ``QUICK`` and look at the figure of the pictures again. What happens to the
#    whitened ones, and what to the curves?
# 4. *Momentum.* Set ``late_beta1`` to 0.5 in ``QUICK``. What should the multiple become, and which claims fail? Look at
#    step 150 in the plot of the relative step $c$ by parameterization.
# 5. *The last layer.* Part 4 prints the dense layer's $g$ beside the others. After ``wn.data_dependent_init``, set this
#    $g$ to 1 and its bias to 0. How much of the lead of the mean-subtracting parameterizations is left? (Two claims
#    about the starting point then fail. Why?)
# 6. *Going on.* Kill the lesson while it trains (Ctrl-C, or ``kill -9``), start it again with the same flags, and
#    compare ``metrics.json`` with that of an uninterrupted run.

lesson.finish()

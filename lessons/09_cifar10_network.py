r"""The CIFAR-10 network, five ways
================================

The experiment of the paper's section 5.1: one convolutional network (table 1), five parameterizations, the same
starting point, and the question which of them learns fastest and which is right most often on new pictures.

Afterwards you will be able to explain

- what each of the five does to the pre-activations, and what it costs;
- how five differently parameterized networks can start as one and the same function;
- how to read training curves by epoch and by wall clock, and what a short run can and cannot show;
- how far weight vectors grow during training, layer by layer, and what that does to the size of the steps.

Read first: lesson 01 (the tape), lesson 03 (weight normalization); the paper's sections 3, 4 and 5.1.

Claims checked: all five networks start as the same function (section 5.1); the gradient for v is orthogonal to v in
every layer of the real network (section 2.1); with weight normalization every layer's ‖v‖ grows although the
optimizer is Adam (section 2.1: "qualitatively we still find the same effect"), and more than where the length of a
weight vector matters to the output; batch normalization, and weight normalization with mean-only batch normalization,
learn faster than the normal parameterization (section 5.1, figure 1).

Time: quick about 3 min, full about 8 days on two CPU cores (a GPU is meant for it).

A full run can be done in pieces, and in several processes at the same time, a few parameterizations each:
``python lessons/09_cifar10_network.py --full --device cuda --minutes 9 --only "weight norm" "batch norm"``. Each piece
goes on from the checkpoints that it finds, and ends with new ones. When all five are complete,
``python -m lessons 9 --full --device cuda`` draws the figures and checks the claims.
"""

# %%
# The default (``--quick``) is a narrow network on a few thousand pictures, so that all five fit into three minutes on
# two cores. ``--full`` is the paper's: 96 and 192 channels, 50,000 pictures, 200 epochs. The pictures are CIFAR-10
# where it can be found, and otherwise an embedded synthetic set of ten classes of shapes; see the README.

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


lesson = Lesson(__file__, own_flags)


@dataclass(frozen=True)
class Size:
    """Everything that differs between a quick and a full run."""

    widths: tuple  # channels of the first three layers, and of all that follow
    train: int  # pictures
    test: int
    batch: int
    epochs: int
    dropout: float
    epsilon: float  # added to the eigenvalues in whitening
    late_beta1: float  # Adam's β₁ in the second half; 0.9 in the first
    records: int = 200  # how often the lengths of the weight vectors are taken, at most


FULL = Size(
    widths=(96, 192), train=50_000, test=10_000, batch=100, epochs=200, dropout=0.5, epsilon=1e-5, late_beta1=0.5,
    records=100,
)
QUICK = Size(widths=(16, 32), train=3_000, test=1_000, batch=50, epochs=8, dropout=0.1, epsilon=1e-2, late_beta1=0.9)
size = FULL if lesson.full else QUICK
if lesson.flags.epochs:
    size = replace(size, epochs=lesson.flags.epochs)

# %%
# 1. Pictures
# -----------
#
# A picture is 3 × 32 × 32 bytes, scaled to $(u - 127.5)/128$. Neighbouring pixels are nearly equal, so the 3072
# inputs are strongly correlated. *ZCA whitening* takes that away, with the eigenvectors $U$ and eigenvalues $S$ of
# the pixels' covariance matrix:
#
# $$x \mapsto (x - m)\,U \operatorname{diag}\!\bigl(1/\sqrt{S + \varepsilon}\bigr)\, U^\top$$
#
# Among all maps that whiten, this one changes the picture least.
#
# The paper estimates the covariance from all 50,000 training pictures and uses $\varepsilon = 10^{-5}$. The directions
# with the smallest eigenvalues are then blown up the most; in synthetic or compressed pictures they hold little but
# noise. The quick run therefore uses $\varepsilon = 10^{-2}$. Its statistics come from more pictures than it trains
# on: all 50,000 of CIFAR-10, or 10,000 synthetic ones.

if lesson.data == "cifar10":
    pictures = data.load_cifar10(download=lesson.flags.download)
else:
    pictures = data.synthetic_pictures(train=max(size.train, 10_000), test=size.test, seed=lesson.seed)

zca = data.zca_cached(data.scale_pixels(pictures.train_images), epsilon=size.epsilon)
train_x, train_y = zca(data.scale_pixels(pictures.train_images[: size.train])), pictures.train_labels[: size.train]
test_x, test_y = zca(data.scale_pixels(pictures.test_images[: size.test])), pictures.test_labels[: size.test]
note = pictures.description if size.epochs >= 200 else f"{pictures.description}, {size.epochs} epochs"
print(f"{pictures.description}: {len(train_x):,} training and {len(test_x):,} test pictures")

# %%

figure, axes = plt.subplots(2, 10, figsize=(7, 2.0))
for c, name in enumerate(pictures.class_names):
    i = np.flatnonzero(train_y == c)[0]
    axes[0, c].imshow(pictures.train_images[i].transpose(1, 2, 0))
    axes[1, c].imshow(np.clip(0.5 + train_x[i].transpose(1, 2, 0) / 6, 0, 1))
    axes[0, c].set_title(name, fontsize=8)
for ax in axes.flat:
    ax.set_axis_off()
figure.suptitle("One picture of each class; below, whitened (gray is 0)", fontsize=10)
lesson.figure(figure, "pictures", note=pictures.description)

# %%
# 2. The network
# --------------
#
# Table 1 of the paper, line by line. (It is the ConvPool-CNN-C of Springenberg et al. 2015, with noise in place of the
# first dropout, 2 × 2 pooling, and 192 units before the average instead of 10. Of its numbers the authors tuned one,
# the noise's deviation of 0.15: for the normal parameterization, on 10,000 pictures held out for it.) Every convolution
# and the final dense layer is followed by what the parameterization asks for: batch normalization divides and shifts by
# the batch's statistics, mean-only batch normalization (equation 7) only shifts, and the other two leave it at a bias.
# Where a mean is subtracted, a bias before it would have no effect, so there is none.
#
# In words: a 3 × 3 convolution computes at every place of a picture the same weighted sums of the 3 × 3 places around
# it, of all channels, one sum for each channel that comes out. Max pooling keeps the largest number of each 2 × 2
# places. Dropout sets numbers to 0 at random during training. The global average pooling at the end takes the mean of
# each channel over its places.


def normalized(layer, channels, parameterization):
    """A layer, and after it what the parameterization asks for."""
    if parameterization == "batch norm":
        return [layer, nn.BatchNorm(channels, eps=1e-6)]
    if "mean-only" in parameterization:
        return [layer, wn.MeanOnlyBatchNorm(channels)]
    return [layer]


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


def weight_layers(model):
    return [layer for layer in model if isinstance(layer, (nn.Conv2d, nn.Linear))]


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
# anyway; it keeps $w = v$. (``exactly`` asks for convolutions with all the digits of float32. On a GPU they are
# otherwise computed in TF32, whose numbers have 11 significant bits instead of 24: enough for training, too few for a
# comparison.)

start = train_x[:500]
exactly = {"tf32": False, "winograd": False}


def reseed_noise(model, rng):
    """Let noise and dropout draw from this generator from now on."""
    for layer in model:
        if isinstance(layer, (nn.GaussianNoise, nn.Dropout)):
            layer.rng = rng


def initialized(parameterization):
    """A network of this parameterization, at the common starting point."""
    model = network(parameterization, lesson.rng(1))  # the same numbers for all five
    if parameterization != "batch norm":
        reseed_noise(model, lesson.rng(2))
        wn.apply_weight_norm(model)
        with mg.config(**exactly):
            wn.data_dependent_init(model, start)
    if parameterization in ("normal", "mean-only BN"):
        wn.remove_weight_norm(model)
    return model.to(lesson.device)


# %%
# Are the five networks the same function at the start? On the batch that they were initialized with, and with the
# same noise, their outputs must agree up to rounding: ten layers in float32, each divided by a standard deviation,
# leave differences of perhaps a hundred times $\varepsilon = 1.2\cdot 10^{-7}$. Batch normalization adds $10^{-6}$ to
# the variance before it takes the root. In the last layer, where that variance is only some $10^{-3}$, this shows in
# the third decimal. A wrong factor anywhere would be a difference of order 1.


def outputs_at_start(parameterization):
    model = initialized(parameterization)
    reseed_noise(model, lesson.rng(2))
    with mg.no_grad(), mg.config(**exactly):
        return model(mg.tensor(start, device=lesson.device)).numpy()


outputs = {p: outputs_at_start(p) for p in lesson.flags.only or PARAMETERIZATIONS}
reference = next(iter(outputs))
for p, out in outputs.items():
    difference = np.abs(out - outputs[reference]).max()
    print(f"{p:18} logits: deviation {out.std():.4f}, first {out[0, 0]:+.5f}, differs by {difference:.1e} at most")

# %%
# 4. Training
# -----------
#
# Adam, with the paper's schedule: constant for the first half, then the learning rate falls linearly to zero and
# $\beta_1$ is 0.5 instead of 0.9. The paper picks each parameterization's learning rate from
# {0.0003, 0.001, 0.003, 0.01}; figure 1 uses 0.003, and 0.0003 for the normal parameterization. (For mean-only batch
# normalization without weight normalization its caption can be read either way; here it has the rate of the normal
# parameterization.) In the quick run all have 0.003 but weight normalization, which learns faster with 0.001 there.
#
# The quick run leaves $\beta_1$ at 0.9. Where the loss curves too strongly for the step, Adam becomes unstable, and the
# bound on the (preconditioned) curvature is $(2 + 2\beta_1)/((1 - \beta_1)\,\eta)$ (Cohen et al. 2022): $38/\eta$ with
# 0.9, and only $6/\eta$ with 0.5. After 50,000 steps that is no danger; after 240 it may be, and then the curves jump.
# Exercise 4 lets it happen.

if lesson.full:
    RATES = dict.fromkeys(PARAMETERIZATIONS, 0.003) | {"normal": 0.0003, "mean-only BN": 0.0003}
else:
    RATES = dict.fromkeys(PARAMETERIZATIONS, 0.003) | {"weight norm": 0.001}

# %%
# All pictures and labels move to the device once; there the batches are put together. Numbers that stay on a GPU cost
# nothing; but to look at one, to print it or to decide by it, the host must wait until everything before it is
# computed, and in the meantime gives the GPU nothing new to do. So losses and logits are kept where they are, and
# looked at when the epoch is over. (Labels are looked at on the host, once, when the pictures are loaded. On the GPU
# one that is out of range would make the loss NaN.)

train_set = [backend.to_device(array, lesson.device) for array in (train_x, train_y)]
test_set = [backend.to_device(array, lesson.device) for array in (test_x, test_y)]


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
# The loop, written out. At the end of an epoch everything that the rest depends on goes into a checkpoint: parameters,
# what Adam remembers, the state of the random generator, and the curves. (In a full run every half minute; and one that
# is complete leaves out what Adam remembers, which is two thirds of it.) A run that is killed goes on from there, and
# comes to the same numbers bit for bit. It can also go on on another machine; then it differs by rounding.
#
# A step is some 200 kernels, and a fast GPU runs them in less time than Python takes to ask for them. They are the same
# at every step, only the numbers are others: with ``MINIGRAD_CUDA_GRAPH=1`` in the environment, forward and backward
# pass are recorded once, as a *CUDA graph*, and replayed from then on. On the CPU ``cuda_graph`` changes nothing.


def train(parameterization):
    """Train one network; its curves (dict of lists, one entry per epoch) and its NormTracker.

    With --minutes it may stop before the last epoch.
    """
    model, rng = initialized(parameterization), lesson.rng(3)
    reseed_noise(model, rng)

    def loss_and_gradients(x, y):
        logits = model(x)
        loss = F.cross_entropy(logits, y)
        loss.backward()
        return loss.detach(), logits.detach()

    if mg.config.cuda_graph:
        loss_and_gradients = mg.cuda_graph(loss_and_gradients, model)
    rate = RATES[parameterization]
    optimizer = optim.Adam(model.parameters(), lr=rate)
    steps = -(-len(train_x) // size.batch)
    quantities = ("norm", "g", "relative_step", "effective_lr")
    every = max(1, steps * size.epochs // size.records)
    tracker = wn.NormTracker(model, optimizer, every, quantities, dtype=np.float32)
    curves = {"training error": [], "test error": [], "loss": [], "seconds": []}
    pieces = []  # where and with what each part of the run was computed

    checkpoint = lesson.checkpoint(parameterization, {"size": str(size), "data": pictures.description, "rate": rate})
    saved = checkpoint.load()
    if saved:
        model.load_state_dict(saved["model"])
        tracker.load_state_dict(saved["tracker"])
        rng.bit_generator.state = saved["rng"]
        curves, pieces = saved["curves"], saved["pieces"]
    done = len(curves["loss"])
    if 0 < done < size.epochs:
        optimizer.load_state_dict(saved["optimizer"])
    if done < size.epochs:
        pieces.append({"from epoch": done, "machine": backend.description(lesson.device), "versions": versions(),
                       "blas": mg.config.blas_description(),
                       "commit": commit(), "command": " ".join(["python", *sys.argv]), "seed": lesson.seed,
                       "settings": {name: value for name, value in mg.config.as_dict().items() if name != "data"},
                       "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"})
    bar = lesson.progress(None, parameterization, total=steps * size.epochs, initial=steps * done)

    for epoch in range(done, size.epochs):
        started = time.perf_counter()
        factor = optim.schedules.constant_then_linear(epoch, size.epochs)
        optimizer.lr = rate * factor
        optimizer.betas = (0.9 if epoch < size.epochs // 2 else size.late_beta1, 0.999)
        model.train()
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
        curves["training error"].append(100 * wrong / len(train_y))
        curves["seconds"].append(time.perf_counter() - started)
        losses = mg.stack(losses).numpy().tolist()
        curves["loss"].append(sum(loss * len(y) for loss, y in zip(losses, truth, strict=True)) / len(train_y))
        curves["test error"].append(test_error(model))
        bar.set_postfix_str(f"epoch {epoch + 1}: training error {curves['training error'][-1]:.1f} %")

        complete = epoch + 1 == size.epochs
        stop = lesson.time_is_up(needed=1.2 * (time.perf_counter() - started))  # there is no time for one more epoch
        if complete or stop or checkpoint.due(30 if lesson.full else 0):
            checkpoint.save({"model": model.state_dict(), "optimizer": {} if complete else optimizer.state_dict(),
                             "curves": curves, "tracker": tracker.state_dict(), "rng": rng.bit_generator.state,
                             "pieces": pieces})
        if stop:
            break
    bar.close()
    return model, curves, tracker


# %%
# One difference between figure 1 and most others of its kind: the training error is measured while training, with
# noise and dropout on, so a network may do better on test pictures than on training pictures.

models, curves, trackers = {}, {}, {}
for p in lesson.flags.only or PARAMETERIZATIONS:
    models[p], curves[p], trackers[p] = train(p)
    last = {name: values[-1] for name, values in curves[p].items()}
    print(f"{p:18} learning rate {RATES[p]:<6} training error {last['training error']:5.1f} %, "
          f"test error {last['test error']:5.1f} %, {sum(curves[p]['seconds']):.0f} s")
    if (epochs := len(curves[p]["loss"])) < size.epochs:
        lesson.stop(f"stopped after epoch {epochs} of {size.epochs} of {p} ({pictures.description}); the same command "
                    "goes on from there")
if lesson.flags.only:
    lesson.stop(f"{', '.join(lesson.flags.only)}: complete, {size.epochs} epochs on {pictures.description}")

lesson.measurements |= {"curves": curves, "learning rates": RATES, "size": str(size), "data": pictures.description}

# %%
# 5. The curves
# -------------
#
# On the left is the paper's figure 1: progress by epoch. On the right, the same points by the time they took. What
# costs time is not what makes the name of a method: batch normalization goes through every pre-activation several
# times, in both directions, while weight normalization only touches the weights, of which there are far fewer.

figure, axes = plt.subplots(2, 2, figsize=(7, 5.6), sharey="row", sharex="col")
epochs = np.arange(1, size.epochs + 1)
for p in PARAMETERIZATIONS:
    for row, quantity in enumerate(["training error", "test error"]):
        seconds = np.cumsum(curves[p]["seconds"])
        for ax, horizontal in zip(axes[row], [epochs, seconds], strict=True):
            ax.plot(horizontal, curves[p][quantity], color=COLOURS[p], label=p, marker="" if lesson.full else "o", ms=3)
        axes[row, 0].set_ylabel(f"{quantity} (%)")
axes[1, 0].set_xlabel("epoch")
axes[1, 1].set_xlabel("time spent in training (s)")
figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8)
figure.suptitle("Five parameterizations of one network, from one starting point", fontsize=11)
lesson.figure(figure, "curves", note=note)

# %%

print(f"{pictures.description}, {size.epochs} epochs, seed {lesson.seed}")
print(f"{'':18} {'learning':>8} {'training':>9} {'test':>7} {'seconds':>9} {'relative to':>11}")
print(f"{'':18} {'rate':>8} {'error %':>9} {'error %':>7} {'an epoch':>9} {'normal':>11}")
per_epoch = {p: float(np.median(curves[p]["seconds"])) for p in PARAMETERIZATIONS}
for p in PARAMETERIZATIONS:
    print(f"{p:18} {RATES[p]:8} {curves[p]['training error'][-1]:9.2f} {curves[p]['test error'][-1]:7.2f} "
          f"{per_epoch[p]:9.2f} {per_epoch[p] / per_epoch['normal']:11.2f}")
print("The paper, after 200 epochs: normal 8.43, weight norm 8.46, batch norm 8.05, mean-only BN 8.52, "
      "WN + mean-only BN 7.31 % test error.")

# %%
# The first claim: one starting point. It is about part 3, and does not depend on any training.

lesson.claim("the five networks start as the same function: largest difference of a logit",
             max(np.abs(outputs[p] - outputs["normal"]).max() for p in PARAMETERIZATIONS), below=0.01)

# %%
# Then figure 1's order, as far as this run can show it.

final = {p: curves[p]["training error"][-1] for p in PARAMETERIZATIONS}
lesson.claim("batch normalization ends with a lower training error than the normal parameterization (ratio)",
             final["batch norm"] / final["normal"], below=1)
lesson.claim("WN + mean-only BN ends with a lower training error than the normal parameterization (ratio)",
             final["WN + mean-only BN"] / final["normal"], below=1)
lesson.claim("WN + mean-only BN ends with a lower training error than WN alone (ratio)",
             final["WN + mean-only BN"] / final["weight norm"], below=1)

# %%
# 6. How the weight vectors grow
# ------------------------------
#
# In lesson 03, a step of plain gradient descent was at a right angle to $v$, and so made it longer. The optimizer here
# is Adam, which divides each entry of the gradient by its own typical size, so its steps are not at a right angle.
# The gradient still is, in every unit of every layer of the trained network. It is computed in float32, as the
# difference of two vectors of length $\frac{g}{\lVert v\rVert} \lVert\nabla_w L\rVert$ at most (equation 3). Both are
# rounded, so it is against that length that what is left along $v$ has to be small: some ten times
# $\varepsilon = 1.2\cdot10^{-7}$.

model = models["weight norm"].train()
model.zero_grad()  # those of the last training step
F.cross_entropy(model(mg.tensor(start, device=lesson.device)), train_y[: len(start)]).backward()
along_v = []
for layer in weight_layers(model):
    v, grad_v = (t.numpy().reshape(len(t), -1).astype(float) for t in (layer.weight_v, layer.weight_v.grad))
    ratio = layer.weight_g.numpy().ravel() / np.linalg.norm(v, axis=1)  # g/‖v‖
    # ∇_w L has the component ∇_g L along v and the component (‖v‖/g) ∇_v L across it (lesson 03).
    length = np.hypot(ratio * layer.weight_g.grad.numpy().ravel(), np.linalg.norm(grad_v, axis=1))
    along_v.append(np.abs((v * grad_v).sum(axis=1)) / np.linalg.norm(v, axis=1) / length)
print(f"{sum(map(len, along_v))} units; largest component along v, relative: {max(map(np.max, along_v)):.1e}")
lesson.claim("∇_v L is orthogonal to v in every unit of the trained network: largest component along v, relative",
             max(map(np.max, along_v)), below=1e-5)

# %%
# What Adam makes of it, in the network with weight normalization and mean-only batch normalization: a line for each
# layer, the mean over its units. On the left, $\lVert v\rVert$ relative to its beginning. In the middle the effective
# learning rate $\eta/\lVert v\rVert^2$ of the direction $v/\lVert v\rVert$, which would count under plain gradient
# descent. Adam's steps do not shrink with the gradient, so for Adam the third is the measure: the relative step
# $c = \lVert\Delta v\rVert/\lVert v\rVert$, which to first order is the angle in radians by which a weight vector
# turns in one step. The stairs are the learning rate, which falls once an epoch in the second half.

tracker = trackers["WN + mean-only BN"]
names = [f"conv {i}" for i in range(1, len(tracker.layers))] + ["dense"]
shades = plt.colormaps["viridis"](np.linspace(0, 0.9, len(names)))
steps = np.array(tracker.steps)
figure, axes = plt.subplots(1, 3, figsize=(8.4, 3.4))
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
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8)
figure.suptitle("WN + mean-only BN, by layer", fontsize=11)
lesson.figure(figure, "growth_by_layer", note=note)

# %%


def growth(parameterization):
    """For each layer the final length of its weight vectors, relative to the start, mean over its units."""
    followed = trackers[parameterization]
    norms = [followed.history(layer, "norm") for layer in followed.layers]
    return np.array([(norm[-1] / norm[0]).mean() for norm in norms])


for layer, name, ratio in zip(tracker.layers, names, growth("WN + mean-only BN"), strict=True):
    g = tracker.history(layer, "g").mean(axis=1)
    print(f"{name:8} ‖v‖ grew to {ratio:.2f} times its length; g went from {g[0]:.2f} to {g[-1]:.2f}")
lesson.claim("under Adam, ‖v‖ has grown in every layer, with and without mean-only BN (smallest ratio to the start)",
             min(growth("weight norm").min(), growth("WN + mean-only BN").min()), above=1)

# %%
# And in the other parameterizations? There, the weight itself is followed. Before batch normalization a weight's
# length has no effect on the output either, so its gradient too is at a right angle to it, and it grows for the same
# reason. Without any normalization, the length of $w$ is part of the function, and the loss decides.

figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3.4), sharex=True)
for p in PARAMETERIZATIONS:
    followed = trackers[p]
    growth_of_p = np.mean(
        [(n / n[0]).mean(axis=1) for n in (followed.history(k, "norm") for k in followed.layers)], axis=0
    )
    turned = np.mean([followed.history(k, "relative_step")[1:].mean(axis=1) for k in followed.layers], axis=0)
    left.plot(followed.steps, growth_of_p, color=COLOURS[p], label=p)
    right.semilogy(followed.steps[1:], turned, color=COLOURS[p], linewidth=1)
left.set(xlabel="step", ylabel=r"$\|v\|/\|v_0\|$, or $\|w\|/\|w_0\|$", title="Growth, mean over layers")
right.set(xlabel="step", ylabel="relative step $c$", title="Relative step, mean over layers")
right.yaxis.set_minor_formatter(NullFormatter())
figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8)
lesson.figure(figure, "growth_by_parameterization", note=note)

# %%
# The three parameterizations that subtract means have the same learning rate in the quick run, so they can be
# compared. In two of them the length of the vector has no effect on the output, and its gradient no component along
# it. If that is why they grow, the third must not grow as they do.

if RATES["WN + mean-only BN"] == RATES["mean-only BN"]:
    lesson.claim("WN + mean-only BN grows more than mean-only BN alone (difference of mean ratios to the start)",
                 growth("WN + mean-only BN").mean() - growth("mean-only BN").mean(), above=0)
    lesson.claim("full BN grows more than mean-only BN alone (difference of mean ratios to the start)",
                 growth("batch norm").mean() - growth("mean-only BN").mean(), above=0)

# %%
# 7. What a small run can show, and what it cannot
# ------------------------------------------------
#
# The quick run sees a few hundred steps of a narrow network, one seed, and learning rates fixed beforehand. It can show
# that the five start alike, that gradients and growth are as the paper says, and which parameterizations are fast at
# the beginning. Most of the lead that two of them have there comes from taking away the mean: mean-only batch
# normalization has it by itself. The reason is the last layer. Its inputs are means over an image, nearly the same for
# all images, and data-dependent initialization makes up for their small deviation with a large $g$ (the table of part
# 6). Any change of an earlier layer then moves the logits of all images at once, unless the batch's mean is subtracted.
#
# It cannot show who is right most often on new pictures after 200 epochs (figure 2 of the paper): the differences
# there are 0.03 to 1.2 percentage points, and need all of the data, the full network and several seeds. It also
# cannot tell whether weight normalization beats the normal parameterization in the long run. For both, run ``--full``.
#
# Exercises
# ---------
#
# 1. Run with ``--seed 1`` and ``--seed 2``. Which orders in the figure stay, which change? Which of them would you put
#    into a paper?
# 2. Change ``RATES``: try {0.0003, 0.001, 0.003, 0.01} for each of the five. Plot the final training error against the
#    learning rate. Look for the width of the valley, not only its depth.
# 3. Set ``epsilon`` to 1e-5 and look at the figure of the pictures again. What happens to the whitened ones, and what
#    to the curves?
# 4. Set ``late_beta1`` to 0.5 in the quick run. In the figure of ‖v‖, look for the step at which it happens, and at the
#    relative step $c$ there.
# 5. The table above shows the dense layer's $g$ beside the others. After ``wn.data_dependent_init``, set that one to 1
#    and its bias to 0. How much of the lead of the mean-subtracting parameterizations is left? (The claim on one
#    starting point then fails. Why?)
# 6. Kill the lesson while it trains (Ctrl-C, or ``kill -9``), start it again with the same flags, and compare
#    ``metrics.json`` with that of a run that was left alone.

lesson.finish()

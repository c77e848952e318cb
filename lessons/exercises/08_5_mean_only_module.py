"""8.5 Mean-only batch normalization as a layer

Write equation 7 as a layer of minigrad that can stand in a network and be trained:

    nn.Sequential(nn.Linear(20, 8, bias=False), MeanOnlyBatchNorm(8), nn.ReLU(), nn.Linear(8, 3))

    MeanOnlyBatchNorm(features, momentum=0.1)
        bias : nn.Parameter of shape (features,), float32, zeros at the start: b, which is trained
        running_mean : nn.Buffer of shape (features,), float32, zeros at the start: part of the state, but not trained
        momentum : float, the weight of the newest minibatch in the running mean

    forward(t)
        t : mg.Tensor (B, features)
        returns t̃, mg.Tensor (B, features)

In training (`self.training` is true) t̃ = t - μ[t] + b with the minibatch's mean, and the running mean becomes
(1 - momentum) times the old one plus momentum times μ[t]. In evaluation the running mean replaces μ[t] and stays.

The gradient goes through μ[t], since the tape has recorded how it was made: you need not write equation 8. The running
mean takes no part in it and gets plain numbers: `tensor.data` is a tensor's array, and what is assigned to
`self.running_mean.data` becomes the buffer's array.

For example, in training, with momentum 0.25:

    layer = MeanOnlyBatchNorm(1, momentum=0.25)
    layer(mg.tensor([[2.0], [6.0]])).numpy()            # [[-2.0], [2.0]]
    layer.running_mean.numpy()                          # [1.0]
    layer.eval()(mg.tensor([[2.0], [6.0]])).numpy()     # [[1.0], [5.0]]
"""

import numpy as np

import minigrad as mg
from minigrad import nn


class MeanOnlyBatchNorm(nn.Module):
    """t̃ = t - μ[t] + b for each unit (equation 7)."""

    def __init__(self, features, momentum=0.1):
        super().__init__()
        # solution
        self.momentum = momentum
        self.bias = nn.Parameter(np.zeros(features, np.float32))
        self.running_mean = nn.Buffer(np.zeros(features, np.float32))
        # end of solution

    def forward(self, t):
        # solution
        if not self.training:
            return t - self.running_mean + self.bias
        mean = t.mean(axis=0)
        self.running_mean.data = (1 - self.momentum) * self.running_mean.data + self.momentum * mean.data
        return t - mean + self.bias
        # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import BrokenLaw, Exercise, agree, hold
from lessons.exercises.cases import matrices, vectors

exercise = Exercise(
    __file__,
    "lesson 08, part 5",
    hints=[
        "`nn.Parameter(array)` and `nn.Buffer(array)` are all that `__init__` needs, apart from the momentum: what is "
        "assigned to self is found by `parameters()` and `state_dict()`.",
        "`t.mean(axis=0)` is a Tensor and remembers how it was made. Subtract it as it is, and use its `.data` for the "
        "running mean only.",
        "Two cases: `if not self.training`, return t less the running mean plus the bias. Otherwise take the mean of "
        "t, give the running mean its new numbers, and return t less the mean plus the bias.",
    ],
    uses=("numpy", "minigrad"),
    forbids={"BatchNorm", "LayerNorm", "GroupNorm", "batch_norm", "normalize", "follow", "lerp"},
    only_one=False,
)
CLOSE = {"rtol": 1e-5, "atol": 1e-5}  # float32: numbers up to 20, a few roundings of 6e-8 each


@st.composite
def cases(draw):
    t = draw(matrices(st.integers(2, 4), st.integers(1, 3)))
    return t.astype(np.float32), draw(vectors(t.shape[1])), draw(st.sampled_from([0.25, 0.75]))


def made(answer, case, running=0.0):
    """The layer of a case, with its b, and with a running mean."""
    t, b, momentum = case
    layer = answer.MeanOnlyBatchNorm(t.shape[1], momentum)
    layer.bias.data = b.astype(np.float32)
    layer.running_mean.data = np.full(t.shape[1], running, np.float32)
    return layer


def output(layer, t):
    came = layer(mg.tensor(t))
    if not isinstance(came, mg.Tensor):
        raise BrokenLaw("what forward returns", type(came).__name__, "a Tensor")
    if came.shape != t.shape:
        raise BrokenLaw("the shape of t̃", came.shape, t.shape)
    return came.numpy()


@exercise.law("the layer has one parameter, `bias`, and one buffer, `running_mean`, of zeros")
def attributes(answer):
    layer = answer.MeanOnlyBatchNorm(3)
    names = [name for name, _ in layer.named_parameters()]
    hold(names == ["bias"], "the names of its parameters", names, ["bias"])
    names = [name for name, _ in layer.named_buffers()]
    hold(names == ["running_mean"], "the names of its buffers", names, ["running_mean"])
    for name in ("bias", "running_mean"):
        values = getattr(layer, name).numpy()
        agree(name, values, np.zeros(3), 0, 0)
        hold(values.dtype == np.float32, f"the dtype of {name}", values.dtype, "float32")


@exercise.law("in training the mean of t̃ over the minibatch is b, and differences between examples stay", cases())
def training(answer, case):
    t, b, _ = case
    came = output(made(answer, case, running=2.0), t)
    agree("the mean of t̃", came.mean(axis=0), b, **CLOSE)
    agree("t̃ less its first row", came - came[:1], t - t[:1], **CLOSE)


@exercise.law("in training the running mean goes the fraction `momentum` of its way to μ[t]", cases())
def moved(answer, case):
    t, _, momentum = case
    layer = made(answer, case, running=2.0)
    output(layer, t)
    agree("the running mean", layer.running_mean.numpy(), 2 + momentum * (t.mean(axis=0) - 2), **CLOSE)


@exercise.law("momentum is 0.1 where it is not given")
def default(answer):
    layer = answer.MeanOnlyBatchNorm(1)
    output(layer, np.array([[2], [6]], np.float32))
    agree("the running mean after a minibatch of mean 4", layer.running_mean.numpy(), [0.4], **CLOSE)


@exercise.law("in evaluation t̃ + running mean - b is t, and the running mean stays", cases())
def evaluation(answer, case):
    t, b, _ = case
    layer = made(answer, case, running=2.0).eval()
    agree("t̃ + running mean - b", output(layer, t) + 2 - b, t, **CLOSE)
    agree("t̃ + running mean - b of the first example alone", output(layer, t[:1]) + 2 - b, t[:1], **CLOSE)
    agree("the running mean", layer.running_mean.numpy(), np.full(len(b), 2.0), 0, 0)


@exercise.law("after backward, ∇_t L adds up to zero over the minibatch, and ∇_b L is the sum of ∇_t̃ L", cases())
def gradients(answer, case):
    t, _, _ = case
    layer, x = made(answer, case), mg.tensor(t, requires_grad=True)
    delta = (np.arange(t.size, dtype=np.float32) ** 2).reshape(t.shape)
    layer(x).backward(mg.tensor(delta))
    size = {"rtol": 1e-5, "atol": 1e-5 * delta.max()}
    hold(x.grad is not None, "the gradient of t", None, "an array")
    agree("the sum of ∇_t L", x.grad.numpy().sum(axis=0), np.zeros(t.shape[1]), **size)
    agree("∇_t L", x.grad.numpy(), delta - delta.mean(axis=0), **size)
    hold(layer.bias.grad is not None, "the gradient of the bias", None, "an array")
    agree("∇_b L", layer.bias.grad.numpy(), delta.sum(axis=0), **size)


@exercise.law("the running mean keeps no tape, and after ten minibatches is still float32")
def no_tape(answer):
    layer = answer.MeanOnlyBatchNorm(2)
    x = mg.tensor(np.ones((3, 2), np.float32), requires_grad=True)
    for _ in range(10):
        layer(x * 1.0)
    hold(isinstance(layer.running_mean, nn.Buffer), "running_mean", type(layer.running_mean).__name__, "a Buffer")
    hold(not layer.running_mean.requires_grad, "running_mean.requires_grad", True, False)
    hold(layer.running_mean.dtype == np.float32, "its dtype", layer.running_mean.dtype, "float32")


@exercise.law("it stands in a network: a hidden layer in front of it learns, and the loss falls to a tenth")
def network(answer):
    rng = np.random.default_rng(0)
    x = (3 + rng.normal(size=(64, 5))).astype(np.float32)
    target = mg.tensor(np.tanh(x - 3) @ rng.normal(size=(5, 2)).astype(np.float32))
    first = nn.Linear(5, 16, bias=False, rng=rng)
    model = nn.Sequential(first, answer.MeanOnlyBatchNorm(16), nn.ReLU(), nn.Linear(16, 2, rng=rng))
    optimizer, before, losses = mg.optim.Adam(model.parameters(), lr=0.03), first.weight.numpy().copy(), []
    for _ in range(100):
        optimizer.zero_grad()
        loss = mg.square(model(mg.tensor(x)) - target).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    hold(abs(first.weight.numpy() - before).max() > 1e-3, "the first layer's weights", "as at the start", "moved")
    hold(losses[-1] < 0.1 * losses[0], "the loss after 100 steps", losses[-1], f"below {0.1 * losses[0]:.3g}")


# ---- likely causes: each looks at one layer of one unit, whose minibatch has mean 4 and whose running mean is 2 -----


def seen(answer, running=2.0, b=20.0, training=True):
    """(t̃ of the minibatch (2, 6), the running mean afterwards) with momentum 0.25."""
    layer = made(answer, (np.array([[2], [6]], np.float32), np.array([b]), 0.25), running).train(training)
    came = layer(mg.tensor(np.array([[2], [6]], np.float32)))
    return came.numpy().ravel().tolist(), float(layer.running_mean.numpy()[0])


def mistake(cause, shows, *changes):
    """A mistake with changes of the solution, and with what it looks like."""
    exercise.mistake(cause, *changes)
    exercise.symptom(cause)(shows)


def gradient_of_t(answer):
    x = mg.tensor(np.array([[2], [6]], np.float32), requires_grad=True)
    answer.MeanOnlyBatchNorm(1)(x).backward(mg.tensor(np.array([[1], [0]], np.float32)))
    return x.grad.numpy().ravel().tolist()


def without_gradient(answer):
    x = mg.tensor(np.array([[2], [6]], np.float32), requires_grad=True)
    answer.MeanOnlyBatchNorm(1)(x).backward(mg.tensor(np.ones((2, 1), np.float32)))
    return x.grad is None


mistake(
    "evaluation moves the running mean; only training does.",
    lambda answer: seen(answer, training=False)[1] != 2,
    "if not self.training:\n",
    "if not self.training:\n            self.running_mean.data = t.data.mean(axis=0)\n",
)
mistake(
    "in evaluation the minibatch's mean is subtracted; there the running mean replaces it.",
    lambda answer: seen(answer, training=False)[0] == [18, 22],
    "t - self.running_mean + self.bias",
    "t - t.mean(axis=0) + self.bias",
)
mistake(
    "in training the running mean is subtracted; there it is the minibatch's own mean.",
    lambda answer: seen(answer)[0] in ([20, 24], [19.5, 23.5]),
    "t - mean + self.bias",
    "t - self.running_mean + self.bias",
)
mistake(
    "momentum is the weight of the old running mean here; it is to be the weight of the newest minibatch.",
    lambda answer: seen(answer)[1] == 3.5,
    "(1 - self.momentum) * self.running_mean.data + self.momentum * mean.data",
    "self.momentum * self.running_mean.data + (1 - self.momentum) * mean.data",
)
mistake(
    "in training the running mean does not move.",
    lambda answer: seen(answer)[1] == 2,
    "        self.running_mean.data = (1 - self.momentum) * self.running_mean.data + self.momentum * mean.data\n",
    "",
)
mistake(
    "the running mean becomes μ[t] at once; it moves only the fraction `momentum` of the way.",
    lambda answer: seen(answer)[1] == 4,
    "(1 - self.momentum) * self.running_mean.data + self.momentum * mean.data",
    "mean.data",
)
mistake(
    "b is in the running mean: it follows the mean of t, without b.",
    lambda answer: seen(answer)[1] in (7.5, 6.5),
    "self.momentum * mean.data",
    "self.momentum * (mean.data + self.bias.data)",
)
mistake(
    "the gradient does not go through the minibatch's mean: subtract the Tensor, not its numbers.",
    lambda answer: gradient_of_t(answer) == [1, 0] and seen(answer)[0] == [18, 22],
    "t - mean + self.bias",
    "t - mean.data + self.bias",
)
mistake(
    "no gradient reaches t: subtract from the Tensor itself, not from its numbers.",
    without_gradient,
    "t - mean + self.bias",
    "mg.tensor(t.data - mean.data) + self.bias",
)
mistake(
    "the running mean is a Parameter, which an optimizer would train; make it an nn.Buffer.",
    lambda answer: isinstance(answer.MeanOnlyBatchNorm(1).running_mean, nn.Parameter),
    "nn.Buffer(",
    "nn.Parameter(",
)
mistake(
    "the running mean is an array, which is no part of the layer's state; make it an nn.Buffer.",
    lambda answer: isinstance(answer.MeanOnlyBatchNorm(1).running_mean, np.ndarray),
    "nn.Buffer(np.zeros(features, np.float32))",
    "np.zeros(features, np.float32)",
)
mistake(
    "the bias is no Parameter, so no optimizer will find it; make it an nn.Parameter.",
    lambda answer: not isinstance(answer.MeanOnlyBatchNorm(1).bias, nn.Parameter),
    "nn.Parameter(",
    "mg.tensor(",
)
mistake(
    "the arrays are float64; np.zeros(features, np.float32) makes the ones that are asked for.",
    lambda answer: answer.MeanOnlyBatchNorm(1).bias.numpy().dtype == np.float64,
    "nn.Parameter(np.zeros(features, np.float32))",
    "nn.Parameter(np.zeros(features))",
)
mistake("the bias is missing.", lambda answer: seen(answer)[0] == [-2, 2], "t - mean + self.bias", "t - mean")
mistake(
    "the bias is missing in evaluation.",
    lambda answer: seen(answer, training=False)[0] == [0, 4] and seen(answer)[0] == [18, 22],
    "t - self.running_mean + self.bias",
    "t - self.running_mean",
)
mistake(
    "it divides by the deviation, as full batch normalization does; equation 7 only subtracts.",
    lambda answer: seen(answer)[0] in ([19, 21], [18.999998092651367, 21.000001907348633]),
    "t - mean + self.bias",
    "(t - mean) / t.std(axis=0) + self.bias",
)
mistake(
    "b is subtracted; it is added.",
    lambda answer: seen(answer)[0] == [-22, -18],
    "t - mean + self.bias",
    "t - mean - self.bias",
)

"""9.8 An epoch of a weight-normalized network

Train a small convolutional network as lesson 09 does: weight normalization in every layer, g and b from a first batch,
then epochs. Here you may use all of the library: `wn.apply_weight_norm` and `wn.data_dependent_init` for the start.

    start(model, pictures)
        Weight-normalizes every layer of the model, and sets every g and b such that on these pictures each
        pre-activation has mean 0 and variance 1 (equations 5 and 6). Returns the model.

    train_epoch(model, optimizer, pictures, labels, batch, rng)
        One pass over the pictures, with the model in training mode, in a new order that is drawn from rng, in
        minibatches of `batch` pictures; the last one may be smaller. Each minibatch makes one step of the optimizer, on
        the gradient of its own mean cross-entropy. Returns the loss, a float: the mean over all pictures of the
        cross-entropy that each had in its minibatch.

    test_error(model, pictures, labels)
        In evaluation mode, and without recording a tape, the share of pictures whose largest logit is not the label's,
        in percent. Changes no parameter and no buffer. Returns a float.

    model : nn.Module, from pictures to logits
    optimizer : its optimizer
    pictures : array (N, C, H, W), float32
    labels : array (N,) of integers
    rng : NumPy generator

`network` below is one that you may try them on. For example, with 4 classes and g and b as `start` sets them, the first
loss should not be far from ln 4 = 1.39; and if 3 of 12 pictures are wrong, the test error is 25.0.
"""

import numpy as np

import minigrad as mg
import wn
from minigrad import nn
from minigrad.nn import functional as F


def network(rng):
    """Two convolutions, the mean over the places, and a dense layer, for pictures (N, 1, H, W) of 4 classes."""
    return nn.Sequential(
        nn.GaussianNoise(0.15, rng), nn.Conv2d(1, 8, 3, padding=1, rng=rng), nn.LeakyReLU(0.1), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1, rng=rng), nn.LeakyReLU(0.1), nn.GlobalAvgPool2d(), nn.Linear(16, 4, rng=rng),
    )  # fmt: skip


def start(model, pictures):
    """The model, weight-normalized, with g and b by equations 5 and 6."""
    # solution
    wn.apply_weight_norm(model)
    return wn.data_dependent_init(model, pictures)
    # end of solution


def train_epoch(model, optimizer, pictures, labels, batch, rng):
    """One epoch of training; its mean loss."""
    # solution
    model.train()
    total, order = 0.0, rng.permutation(len(pictures))
    for first in range(0, len(order), batch):
        rows = order[first : first + batch]
        optimizer.zero_grad()
        loss = F.cross_entropy(model(mg.tensor(pictures[rows])), labels[rows])
        loss.backward()
        optimizer.step()
        total += loss.item() * len(rows)
    return total / len(pictures)
    # end of solution


def test_error(model, pictures, labels):
    """The percentage of pictures that the model gets wrong."""
    # solution
    model.eval()
    with mg.no_grad():
        answers = model(mg.tensor(pictures)).numpy().argmax(axis=1)
    return 100 * float(np.mean(answers != labels))
    # end of solution


# %% Laws

from lessons.exercises import Exercise, agree, hold

exercise = Exercise(
    __file__,
    "lesson 09, parts 3 and 4",
    hints=[
        "`wn.apply_weight_norm` and `wn.data_dependent_init` do what `start` needs, in this order. `model.train()` and "
        "`model.eval()` switch the mode.",
        "A permutation of the numbers of the pictures, cut into pieces of `batch`, gives the minibatches. A step is: "
        "forget the old gradients, compute the loss (F.cross_entropy), go backward, step.",
        "A mean of minibatches' means is not the mean over the pictures if the last one is smaller: weight each loss "
        "with its minibatch's size. For the test error use `with mg.no_grad():`, and the argmax over axis 1.",
    ],
    uses=("numpy", "minigrad", "wn"),
    only_one=False,
)
CLOSE = {"rtol": 1e-4, "atol": 1e-5}  # float32, sums of a few hundred numbers
PIXELS = np.arange(10, dtype=np.float32).reshape(10, 1, 1, 1) / 8  # ten pictures of one pixel, all different
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])


class Watched(nn.Module):
    """A dense layer on pictures of one pixel; it writes down what goes through it, and in which mode."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(np.array([[1.0, -1.0, 0.5]], np.float32))
        self.seen, self.modes, self.recorded = [], [], []

    def forward(self, x):
        self.seen.append(x.numpy().ravel().copy())
        self.modes.append(self.training)
        logits = x.reshape(len(x), 1) @ self.weight
        self.recorded.append(logits.requires_grad)
        return logits


class Noting(mg.optim.SGD):
    """An optimizer that writes down the gradients at each step."""

    def __init__(self, model, lr=0.0):
        super().__init__(model.parameters(), lr=lr)
        self.noted = []

    def __repr__(self):
        return f"SGD(lr={self.lr:g})"

    def step(self):
        self.noted.append([None if p.grad is None else p.grad.numpy().copy() for p in self.params])
        super().step()


def cross_entropies(x, labels, w):
    """The loss of each picture."""
    logits = x.reshape(len(x), 1).astype(float) @ w
    return np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(x)), labels]


def epoch(answer, batch=4, lr=0.0, pictures=PIXELS, labels=LABELS, training=True, seed=0):
    """A watched model and its optimizer after an epoch, and the loss."""
    model = Watched().train(training)
    optimizer = Noting(model, lr)
    return model, optimizer, answer.train_epoch(model, optimizer, pictures, labels, batch, np.random.default_rng(seed))


def pictures_of(rng, number):
    """Noisy stripes of 4 directions, 8 × 8, and their directions."""
    labels, (row, column) = np.arange(number) % 4, np.mgrid[:8, :8]
    waves = np.array([row, column, row + column, row - column])[labels]
    x = np.cos(np.pi / 2 * waves + rng.uniform(0, 2 * np.pi, (number, 1, 1))) + 0.3 * rng.normal(size=(number, 8, 8))
    return x[:, None].astype(np.float32), labels


def before_and_after(answer):
    """A network without noise before `start` and after it, and its pre-activations on the pictures, layer by layer."""
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, rng=rng), nn.ReLU(), nn.GlobalAvgPool2d(), nn.Linear(4, 3, rng=rng))
    directions = [model[0].weight.numpy().copy(), model[3].weight.numpy().copy()]
    pictures = pictures_of(rng, 60)[0]
    came, outputs = answer.start(model, pictures), []
    for layer in (model[0], model[3]):
        layer.register_forward_hook(lambda layer, inputs, t: outputs.append(t.numpy().copy()))
    model(mg.tensor(pictures))
    return model, came, directions, [np.moveaxis(t, 1, -1).reshape(-1, t.shape[1]).astype(float) for t in outputs]


@exercise.law("start returns the model, with every layer weight-normalized and the directions kept")
def normalized(answer):
    model, came, directions, _ = before_and_after(answer)
    hold(came is model, "what start returns", came, "the model")
    for i, v in zip((0, 3), directions, strict=True):
        hold(hasattr(model[i], "weight_v"), f"layer {i}", "without weight_v", "weight-normalized")
        came = model[i].weight_v.numpy().reshape(len(v), -1)
        agree(
            f"the direction v/‖v‖ of unit 0 of layer {i}",
            came[0] / np.linalg.norm(came[0]),
            v[0].ravel() / np.linalg.norm(v[0]),
            **CLOSE,
        )


@exercise.law("after start every pre-activation has mean 0 and variance 1 on these pictures")
def initialized(answer):
    *_, outputs = before_and_after(answer)
    for name, t in zip(("convolution", "dense layer"), outputs, strict=True):
        agree(f"the means of the {name}'s pre-activations", t.mean(axis=0), np.zeros(t.shape[1]), atol=1e-4)
        agree(f"the variances of the {name}'s pre-activations", t.var(axis=0), np.ones(t.shape[1]), atol=1e-3)


@exercise.law("an epoch shows every picture once, in minibatches of `batch`, the last one smaller")
def once(answer):
    model, *_ = epoch(answer)
    agree("the pixels that were seen, sorted", np.sort(np.concatenate(model.seen)), PIXELS.ravel())
    agree("the sizes of the minibatches", [len(x) for x in model.seen], [4, 4, 2])


@exercise.law("in training mode, and one step for each minibatch")
def modes(answer):
    model, optimizer, _ = epoch(answer, training=False)
    hold(all(model.modes), "model.training during the epoch", model.modes, [True] * len(model.modes))
    hold(len(optimizer.noted) == 3, "the number of steps for ten pictures in minibatches of 4", len(optimizer.noted), 3)


@exercise.law("the order is new in every epoch, and drawn from rng")
def order(answer):
    orders = [np.concatenate(epoch(answer, seed=seed)[0].seen) for seed in (0, 0, 1)]
    hold((orders[0] != PIXELS.ravel()).any(), "the order of the pictures", orders[0], "another than they came in")
    agree("the order with the same seed", orders[1], orders[0])
    hold((orders[2] != orders[0]).any(), "the order with another seed", orders[2], "another one")


@exercise.law("the loss is the mean cross-entropy over the pictures, each with its own label")
def loss(answer):
    model, _, came = epoch(answer)
    hold(np.shape(came) == () and not isinstance(came, mg.Tensor), "the loss", type(came).__name__, "a float")
    agree("the loss", came, cross_entropies(PIXELS, LABELS, model.weight.numpy()).mean(), **CLOSE)


@exercise.law("each step has the gradient of its own minibatch: equal minibatches make equal gradients (η = 0)")
def gradients(answer):
    x, label = np.ones((3, 1, 1, 1), np.float32), np.zeros(3, int)
    model, optimizer, _ = epoch(answer, 1, 0.0, x, label)
    hold(optimizer.noted[0][0] is not None, "the gradient at the first step", None, "an array")
    p = np.exp(w := model.weight.numpy().ravel().astype(float)) / np.exp(w).sum()
    for step, (came,) in enumerate(optimizer.noted, 1):
        agree(f"the gradient at step {step}", came.ravel(), p - [1, 0, 0], **CLOSE)


@exercise.law("the test error is the percentage of wrong pictures, in evaluation mode, without a tape")
def percent(answer):
    model = Watched()
    largest = (PIXELS.reshape(10, 1) @ model.weight.numpy()).argmax(axis=1)
    for wrong in (0, 1, 3, 10):
        labels = np.where(np.arange(10) < wrong, (largest + 1) % 3, largest)
        came = answer.test_error(model, PIXELS, labels)
        hold(np.shape(came) == () and not isinstance(came, mg.Tensor), "the test error", type(came).__name__, "a float")
        agree(f"the test error with {wrong} of 10 wrong", came, 10.0 * wrong)
    hold(not any(model.modes), "model.training during test_error", model.modes, [False] * len(model.modes))
    hold(not any(model.recorded), "whether a tape was recorded", True, False)


@exercise.law("the test error changes no parameter and no buffer")
def unchanged(answer):
    model = nn.Sequential(nn.Conv2d(1, 2, 1, rng=np.random.default_rng(0)), nn.BatchNorm(2), nn.Flatten())
    state = {name: np.array(value) for name, value in model.state_dict().items()}
    answer.test_error(model, PIXELS, LABELS % 2)
    for name, value in model.state_dict().items():
        agree(name, value, state[name], 0, 0)


def trained(answer):
    rng = np.random.default_rng(1)
    (x, y), (test_x, test_y) = pictures_of(rng, 300), pictures_of(rng, 200)
    model = nn.Sequential(
        nn.GaussianNoise(0.15, rng), nn.Conv2d(1, 8, 3, padding=1, rng=rng), nn.LeakyReLU(0.1), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1, rng=rng), nn.LeakyReLU(0.1), nn.GlobalAvgPool2d(), nn.Linear(16, 4, rng=rng),
    )  # fmt: skip
    answer.start(model, x[:100])
    first = {name: p.numpy().copy() for name, p in model.named_parameters()}
    optimizer = mg.optim.Adam(model.parameters(), lr=0.01)
    losses = [answer.train_epoch(model, optimizer, x, y, 25, rng) for _ in range(4)]
    return model, first, losses, answer.test_error(model, test_x, test_y)


@exercise.law("it learns stripes: every parameter moves, the loss halves in four epochs, the test error is below 20 %")
def learns(answer):
    model, first, losses, wrong = trained(answer)
    for name, parameter in model.named_parameters():
        moved = abs(parameter.numpy() - first[name]).max()
        hold(moved > 1e-4, f"{name}, the largest change", moved, "above 0")
    hold(losses[-1] < losses[0] / 2, "the loss, epoch by epoch", losses, "halved in the end")
    hold(wrong < 20, "the test error in percent", wrong, "below 20")


# ---- likely causes --------------------------------------------------------------------------------------------------


def mistake(cause, shows, *changes):
    """A mistake with changes of the solution, and with what it looks like."""
    exercise.mistake(cause, *changes)
    exercise.symptom(cause)(shows)


def mean_of_means(answer):
    model, _, came = epoch(answer)
    w = model.weight.numpy()
    table = dict(zip(PIXELS.ravel().tolist(), cross_entropies(PIXELS, LABELS, w), strict=True))
    means = [np.mean([table[pixel] for pixel in x.tolist()]) for x in model.seen]
    return bool(np.isclose(came, np.mean(means), rtol=1e-5))


def is_sum(answer):
    model, _, came = epoch(answer)
    return bool(np.isclose(came, cross_entropies(PIXELS, LABELS, model.weight.numpy()).sum(), rtol=1e-4))


def error_of(answer):
    """The test error of nine right pictures and one wrong one."""
    model = Watched()
    largest = (PIXELS.reshape(10, 1) @ model.weight.numpy()).argmax(axis=1)
    return answer.test_error(model, PIXELS, np.where(np.arange(10) < 1, (largest + 1) % 3, largest)), model


def gradient_sizes(answer):
    _, optimizer, _ = epoch(answer, 1, 0.0, np.ones((3, 1, 1, 1), np.float32), np.zeros(3, int))
    return [0.0 if g is None else float(abs(g).sum()) for (g,) in optimizer.noted]


def grows(answer):
    sizes = gradient_sizes(answer)
    return len(sizes) == 3 and bool(np.allclose(sizes, np.multiply([1, 2, 3], sizes[0]), rtol=1e-3)) and sizes[0] > 0


def has_no_gradient(answer):
    return gradient_sizes(answer) == [0, 0, 0]


def misses_weight_norm(answer):
    return not hasattr(before_and_after(answer)[0][0], "weight_v")


def is_not_initialized(answer):
    model, *_, outputs = before_and_after(answer)
    return hasattr(model[0], "weight_v") and abs(outputs[0].var(axis=0) - 1).max() > 0.01


def labels_lag(answer):
    """Whether the loss is that of shuffled pictures with labels in their old order."""
    model, _, came = epoch(answer)
    seen = np.concatenate(model.seen).reshape(-1, 1, 1, 1)
    return (
        len(seen) == 10
        and (seen != PIXELS).any()
        and bool(np.isclose(came, cross_entropies(seen, LABELS, model.weight.numpy()).mean()))
    )


mistake(
    "the gradients of one minibatch are added to those of the one before: forget them first, with zero_grad().",
    grows,
    "        optimizer.zero_grad()\n",
    "",
)
mistake(
    "the gradients are forgotten after backward, before the step could use them.",
    has_no_gradient,
    "        optimizer.zero_grad()\n",
    "",
    "        loss.backward()\n",
    "        loss.backward()\n        optimizer.zero_grad()\n",
)
mistake("the optimizer makes no step.", lambda answer: not epoch(answer)[1].noted, "        optimizer.step()\n", "")
mistake(
    "the optimizer makes one step in the whole epoch; every minibatch makes one.",
    lambda answer: len(epoch(answer)[1].noted) == 1,
    "        optimizer.step()\n",
    "",
    "    return total / len(pictures)",
    "    optimizer.step()\n    return total / len(pictures)",
)
mistake(
    "train_epoch does not switch to training mode, which test_error has left.",
    lambda answer: not any(epoch(answer, training=False)[0].modes),
    "    model.train()\n",
    "",
)
mistake(
    "test_error does not switch to evaluation mode.",
    lambda answer: any(error_of(answer)[1].modes),
    "    model.eval()\n",
    "",
)
mistake(
    "test_error records a tape; `with mg.no_grad():` saves it.",
    lambda answer: any(error_of(answer)[1].recorded),
    "    with mg.no_grad():\n",
    "    if True:\n",
)
mistake(
    "the test error is a share between 0 and 1; percent are asked for.",
    lambda answer: bool(np.isclose(error_of(answer)[0], 0.1)),
    "100 * float",
    "float",
)
mistake(
    "what comes out is the percentage of right pictures; the error counts the wrong ones.",
    lambda answer: bool(np.isclose(error_of(answer)[0], 90)),
    "answers != labels",
    "answers == labels",
)
mistake(
    "the test error is a count; divide by the number of pictures, for percent.",
    lambda answer: bool(np.isclose(error_of(answer)[0], 1)),
    "100 * float(np.mean(answers != labels))",
    "float(np.sum(answers != labels))",
)
mistake(
    "the pictures come in the same order every time; draw a permutation from rng.",
    lambda answer: bool((np.concatenate(epoch(answer)[0].seen) == PIXELS.ravel()).all()),
    "rng.permutation(len(pictures))",
    "np.arange(len(pictures))",
)
mistake(
    "the order is drawn, but not from rng: the same seed gives another order.",
    lambda answer: bool((np.concatenate(epoch(answer)[0].seen) != np.concatenate(epoch(answer)[0].seen)).any()),
    "rng.permutation(len(pictures))",
    "np.random.default_rng().permutation(len(pictures))",
)
mistake(
    "pictures are drawn with replacement: some come twice, others not at all.",
    lambda answer: len(np.unique(np.concatenate(epoch(answer)[0].seen))) < len(np.concatenate(epoch(answer)[0].seen)),
    "rng.permutation(len(pictures))",
    "rng.integers(len(pictures), size=len(pictures))",
)
mistake(
    "the pictures are shuffled and the labels are not: use the same rows for both.",
    labels_lag,
    "labels[rows])",
    "labels[first : first + batch])",
)
mistake(
    "the last, smaller minibatch is left out.",
    lambda answer: [len(x) for x in epoch(answer)[0].seen] == [4, 4],
    "range(0, len(order), batch)",
    "range(0, len(order) - batch + 1, batch)",
)
mistake(
    "the loss is a mean of the minibatches' means, in which pictures of a smaller minibatch count more.",
    mean_of_means,
    "loss.item() * len(rows)",
    "loss.item()",
    "total / len(pictures)",
    "total / -(-len(pictures) // batch)",
)
mistake("the loss is a sum over the pictures; divide by their number.", is_sum, "total / len(pictures)", "total")
mistake(
    "the layers are not weight-normalized: wn.apply_weight_norm does it.",
    misses_weight_norm,
    "    wn.apply_weight_norm(model)\n",
    "",
)
mistake(
    "g and b are not set from the pictures: wn.data_dependent_init does it.",
    is_not_initialized,
    "return wn.data_dependent_init(model, pictures)",
    "return model",
)
mistake(
    "start ends without returning the model.",
    lambda answer: before_and_after(answer)[1] is None,
    "return wn.data_dependent_init(model, pictures)",
    "wn.data_dependent_init(model, pictures)",
)
mistake(
    "the loss is a Tensor, which keeps its tape; `loss.item()` is its number.",
    lambda answer: isinstance(epoch(answer)[2], mg.Tensor),
    "loss.item() * len(rows)",
    "loss * len(rows)",
)

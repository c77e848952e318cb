"""Three 3×3 convolutions with ReLU, and the mean as the loss: what every library here can express.

They are the first three layers of the paper's network when the width is 96 and the pictures are 32×32. A step is
forward and backward to the three weights; no bias, no optimizer. DeZero has no way to say that the pictures need no
gradient and computes it too, which is a hundredth of the arithmetic, since they have 3 channels.
"""

import numpy as np

from benchmarks import measure


def start(width, batch, size):
    """The pictures and the weights that every library begins with."""
    rng = np.random.default_rng(0)
    shapes = [(width, 3, 3, 3), (width, width, 3, 3), (width, width, 3, 3)]
    weights = [rng.standard_normal(s, dtype=np.float32) * np.float32((2 / np.prod(s[1:])) ** 0.5) for s in shapes]
    return measure.pictures(batch, size)[0], weights


def operations(width, batch, size):
    """Of one step, 2 for each multiplication with its addition: forward and two gradients, none for the pictures."""
    first, others = 3 * width, 2 * width * width
    return 2 * batch * size * size * 9 * (2 * first + 3 * others)


def step_of(x, weights, layer, mean, forget):
    """A function that does one step and returns the loss, made of a library's own functions."""

    def step():
        h = x
        for w in weights:
            h = layer(h, w)
        loss = mean(h)
        for w in weights:
            forget(w)
        loss.backward()
        return float(loss.data)

    return step


def drop_gradient(w):
    w.grad = None


def in_minigrad(x, weights):
    import minigrad as mg

    x, weights = mg.tensor(x), [mg.tensor(w, requires_grad=True) for w in weights]
    return step_of(x, weights, lambda h, w: mg.relu(mg.nn.functional.conv2d(h, w, padding=1)), mg.mean, drop_gradient)


def in_torch(x, weights, channels_last=False):
    import torch

    layout = torch.channels_last if channels_last else torch.contiguous_format
    weights = [torch.tensor(w).to(memory_format=layout).requires_grad_() for w in weights]
    x = torch.tensor(x).to(memory_format=layout)
    return step_of(x, weights, lambda h, w: torch.relu(torch.conv2d(h, w, padding=1)), torch.mean, drop_gradient)


def in_torch_channels_last(x, weights):
    return in_torch(x, weights, channels_last=True)


def in_mygrad(x, weights):
    import mygrad
    from mygrad.nnet.activations import relu
    from mygrad.nnet.layers import conv_nd

    weights = [mygrad.tensor(w) for w in weights]
    return step_of(
        x, weights, lambda h, w: relu(conv_nd(h, w, stride=1, padding=1)), mygrad.mean, mygrad.Tensor.null_grad
    )


def in_dezero(x, weights):
    np.int = int  # DeZero still uses the name that NumPy has dropped
    from dezero import Variable
    from dezero import functions as DF

    return step_of(
        Variable(x),
        [Variable(w) for w in weights],
        lambda h, w: DF.relu(DF.conv2d(h, w, pad=1)),
        lambda h: DF.sum(h) * np.float32(1 / h.size),
        Variable.cleargrad,
    )


FASTEST = {"minigrad": in_minigrad, "PyTorch": in_torch, "PyTorch, channels last": in_torch_channels_last}
LIBRARIES = {**FASTEST, "MyGrad": in_mygrad, "DeZero": in_dezero}


def steps(libraries, **shape):
    """A step in each library that is installed, all from the same start; and what was left out."""
    return measure.made({name: lambda make=make: make(*start(**shape)) for name, make in libraries.items()})

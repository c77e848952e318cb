"""The networks of the benchmarks in minigrad; `in_torch.py` is the same in PyTorch, function by function.

In public names only: `against` runs this file with older versions of the library, too.
"""

import numpy as np

import minigrad as mg
import wn
from minigrad import nn, optim
from minigrad.nn import functional as F

PARAMETERIZATIONS = ["normal", "batch norm", "weight norm", "WN + mean-only BN", "mean-only BN"]


def network(parameterization, widths, rng):
    """Table 1 of the paper."""

    def after(layer, channels):
        if parameterization == "batch norm":
            return [layer, nn.BatchNorm(channels, eps=1e-6)]
        return [layer, wn.MeanOnlyBatchNorm(channels)] if "mean-only" in parameterization else [layer]

    def conv(inputs, outputs, kernel, padding=0):
        bias = parameterization in ("normal", "weight norm")
        layer = nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=bias, rng=rng)
        return [*after(layer, outputs), nn.LeakyReLU(0.1)]

    a, b = widths
    first = [*conv(3, a, 3, 1), *conv(a, a, 3, 1), *conv(a, a, 3, 1), nn.MaxPool2d(2), nn.Dropout(0.5, rng)]
    second = [*conv(a, b, 3, 1), *conv(b, b, 3, 1), *conv(b, b, 3, 1), nn.MaxPool2d(2), nn.Dropout(0.5, rng)]
    third = [*conv(b, b, 3), *conv(b, b, 1), *conv(b, b, 1), nn.GlobalAvgPool2d()]
    last = after(nn.Linear(b, 10, rng=rng), 10)
    model = nn.Sequential(nn.GaussianNoise(0.15, rng), *first, *second, *third, *last)
    return wn.apply_weight_norm(model) if parameterization.lower().startswith(("weight", "wn")) else model


def paper_network(widths, parameterization="weight norm"):
    """Table 1 of the paper, the same at each call."""
    return network(parameterization, widths, np.random.default_rng(0))


def step_of(model, loss_of, optimizer=None):
    """A function that does one step, forward, backward, Adam or another optimizer, and returns the loss."""
    optimizer = optimizer or optim.Adam(model.parameters(), lr=1e-3)

    def step():
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def training_step(model, pictures, labels):
    x = mg.tensor(pictures)
    return step_of(model, lambda: F.cross_entropy(model(x), labels))


def resnet(width):
    """The ResNet-18 of lesson 13, with projection shortcuts, the same at each call."""
    from lessons.resnet import ResNet18

    return ResNet18(10, width, rng=np.random.default_rng(0))


def momentum(model):
    """SGD at a rate so small that the numbers stay as they are, however many steps are measured."""
    return optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)


def resnet_step(model, pictures, labels, optimizer=None):
    x = mg.tensor(pictures)
    return step_of(model, lambda: F.cross_entropy(model(x), labels), optimizer or momentum(model))


def evaluation(model, pictures):
    """A function that computes the network's answers, without noise, dropout, or anything recorded."""
    x = mg.tensor(pictures)
    model.eval()

    def answers():
        with mg.no_grad():
            return model(x).numpy()

    return answers


class Recurrent(nn.Module):
    """Two LSTMs, the first of which sees the picture and what the second said before, and a linear layer at the end."""

    def __init__(self, inputs, units, peepholes=False):
        super().__init__()
        rng = np.random.default_rng(0)
        self.units = units
        self.first = nn.LSTMCell(inputs + units, units, rng=rng, peepholes=peepholes)
        self.second = nn.LSTMCell(units, units, rng=rng, peepholes=peepholes)
        self.last = nn.Linear(units, inputs, rng=rng)

    def forward(self, x, steps):
        zeros = mg.tensor(np.zeros((len(x), self.units), np.float32))
        one, two = (zeros, zeros), (zeros, zeros)
        for _ in range(steps):
            one = self.first(mg.concatenate([x, two[0]], axis=1), one)
            two = self.second(one[0], two)
        return self.last(two[0])


def recurrent_step(model, pictures, steps):
    x = mg.tensor(pictures)
    return step_of(model, lambda: F.binary_cross_entropy_with_logits(model(x, steps), x))

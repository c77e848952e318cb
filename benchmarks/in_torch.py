"""The networks of the benchmarks in PyTorch; `in_minigrad.py` is the same in minigrad, function by function.

Nothing here imports minigrad, so that a process can measure PyTorch alone. Weights come as a dict from PyTorch's names
to NumPy arrays.
"""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm


class GaussianNoise(nn.Module):
    def __init__(self, sigma):
        super().__init__()
        self.sigma = sigma

    def forward(self, x):
        return x + self.sigma * torch.randn_like(x) if self.training else x


class GlobalAvgPool2d(nn.Module):
    def forward(self, x):
        return x.mean(dim=(2, 3))


def paper_network(widths, weights=None):
    """Table 1 of the paper, with weight normalization."""

    def conv(inputs, outputs, kernel, padding=0):
        return [weight_norm(nn.Conv2d(inputs, outputs, kernel, padding=padding)), nn.LeakyReLU(0.1)]

    a, b = widths
    model = nn.Sequential(
        GaussianNoise(0.15), *conv(3, a, 3, 1), *conv(a, a, 3, 1), *conv(a, a, 3, 1),
        nn.MaxPool2d(2), nn.Dropout(0.5), *conv(a, b, 3, 1), *conv(b, b, 3, 1), *conv(b, b, 3, 1),
        nn.MaxPool2d(2), nn.Dropout(0.5), *conv(b, b, 3), *conv(b, b, 1), *conv(b, b, 1),
        GlobalAvgPool2d(), weight_norm(nn.Linear(b, 10)),
    )  # fmt: skip
    return load(model, weights)


def load(model, weights):
    """`model` with these weights."""
    if weights is not None:
        model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    return model


def laid_out(model, pictures, channels_last):
    """The model and the pictures, in memory with the channels last if so wished; shapes stay the same."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return model.to(memory_format=layout), torch.from_numpy(pictures).to(memory_format=layout)


def step_of(model, loss_of):
    """A function that does one step, forward, backward, Adam, and returns the loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step():
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def training_step(model, pictures, labels, channels_last=False):
    (model, x), labels = laid_out(model, pictures, channels_last), torch.from_numpy(labels)
    return step_of(model, lambda: F.cross_entropy(model(x), labels))


def evaluation(model, pictures, channels_last=False):
    """A function that computes the network's answers, without noise, dropout, or anything recorded."""
    model, x = laid_out(model, pictures, channels_last)
    model.eval()

    def answers():
        with torch.inference_mode():
            return model(x).numpy()

    return answers


class Recurrent(nn.Module):
    """Two LSTMs, the first of which sees the picture and what the second said before, and a linear layer at the end."""

    def __init__(self, inputs, units):
        super().__init__()
        self.units = units
        self.first, self.second = nn.LSTMCell(inputs + units, units), nn.LSTMCell(units, units)
        self.last = nn.Linear(units, inputs)

    def forward(self, x, steps):
        zeros = torch.zeros(len(x), self.units)
        one, two = (zeros, zeros), (zeros, zeros)
        for _ in range(steps):
            one = self.first(torch.cat([x, two[0]], dim=1), one)
            two = self.second(one[0], two)
        return self.last(two[0])


def recurrent_step(model, pictures, steps):
    x = torch.from_numpy(pictures)
    return step_of(model, lambda: F.binary_cross_entropy_with_logits(model(x, steps), x))

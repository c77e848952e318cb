"""The networks of the benchmarks in PyTorch; `in_minigrad.py` is the same in minigrad, function by function.

Nothing here imports minigrad, so that a process can measure PyTorch alone. Weights come as a dict from PyTorch's names
to NumPy arrays.
"""

import copy

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
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


class MeanOnlyBatchNorm(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))

    def forward(self, x):
        mean = self.running_mean
        if self.training:
            mean = x.mean(dim=[axis for axis in range(x.dim()) if axis != 1])
            self.running_mean.lerp_(mean.detach(), 0.1)
        return x + (self.bias - mean).view(-1, *[1] * (x.dim() - 2))


def paper_network(widths, weights=None, parameterization="weight norm"):
    """Table 1 of the paper."""

    def after(layer, channels):
        if parameterization.lower().startswith(("weight", "wn")):
            layer = weight_norm(layer)
        if parameterization == "batch norm":
            kind = nn.BatchNorm2d if isinstance(layer, nn.Conv2d) else nn.BatchNorm1d
            return [layer, kind(channels, eps=1e-6)]
        return [layer, MeanOnlyBatchNorm(channels)] if "mean-only" in parameterization else [layer]

    def conv(inputs, outputs, kernel, padding=0):
        bias = parameterization in ("normal", "weight norm")
        layer = nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=bias)
        return [*after(layer, outputs), nn.LeakyReLU(0.1)]

    a, b = widths
    model = nn.Sequential(
        GaussianNoise(0.15),
        *conv(3, a, 3, 1),
        *conv(a, a, 3, 1),
        *conv(a, a, 3, 1),
        nn.MaxPool2d(2),
        nn.Dropout(0.5),
        *conv(a, b, 3, 1),
        *conv(b, b, 3, 1),
        *conv(b, b, 3, 1),
        nn.MaxPool2d(2),
        nn.Dropout(0.5),
        *conv(b, b, 3),
        *conv(b, b, 1),
        *conv(b, b, 1),
        GlobalAvgPool2d(),
        *after(nn.Linear(b, 10), 10),
    )
    return load(model, weights)


def load(model, weights):
    """`model` with these weights; batch normalization's counters, which only PyTorch has, stay at 0."""
    if weights is not None:
        counters = {n: value for n, value in model.state_dict().items() if n.endswith("num_batches_tracked")}
        model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()} | counters)
    return model


def laid_out(model, pictures, channels_last):
    """The model and the pictures, in memory with the channels last if so wished; shapes stay the same."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return model.to(memory_format=layout), torch.from_numpy(pictures).to(memory_format=layout)


def step_of(model, loss_of, optimizer=None):
    """A function that does one step, forward, backward, Adam or another optimizer, and returns the loss."""
    optimizer = optimizer or torch.optim.Adam(model.parameters(), lr=1e-3)

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


class Block(nn.Module):
    def __init__(self, inputs, maps, stride):
        super().__init__()
        self.first = nn.Conv2d(inputs, maps, 3, stride, 1)
        self.second = nn.Conv2d(maps, maps, 3, 1, 1)
        self.shortcut = nn.Conv2d(inputs, maps, 1, stride)

    def forward(self, x):
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, 1, 1)
        maps = [width * 2 ** (i // 2) for i in range(8)]
        inputs = [width, *maps[:-1]]
        self.blocks = nn.Sequential(*(Block(a, b, 1 if a == b else 2) for a, b in zip(inputs, maps, strict=True)))
        self.last = nn.Linear(maps[-1], 10)

    def forward(self, x):
        return self.last(self.blocks(F.relu(self.stem(x))).mean(dim=(2, 3)))


def resnet(width, weights=None):
    """The ResNet-18 of lesson 13, with projection shortcuts."""
    return load(ResNet(width), weights)


def resnet_step(model, pictures, labels, channels_last=False):
    (model, x), labels = laid_out(model, pictures, channels_last), torch.from_numpy(labels)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)
    return step_of(model, lambda: F.cross_entropy(model(x), labels), optimizer)


def evaluation(model, pictures, channels_last=False):
    """A function that computes the network's answers, without noise, dropout, or anything recorded."""
    model, x = laid_out(model, pictures, channels_last)
    model.eval()

    def answers():
        with torch.inference_mode():
            return model(x).numpy()

    return answers


class QNetwork(nn.Module):
    """The network of lesson 12, weight-normalized."""

    def __init__(self, size, shape, actions):
        super().__init__()
        (channels, *sides), layers = shape, []
        for maps, kernel, stride in size.convolutions:
            layers += [weight_norm(nn.Conv2d(channels, maps, kernel, stride)), nn.ReLU()]
            channels, sides = maps, [(side - kernel) // stride + 1 for side in sides]
        layers += [nn.Flatten(), weight_norm(nn.Linear(channels * sides[0] * sides[1], size.dense)), nn.ReLU()]
        self.layers = nn.Sequential(*layers, weight_norm(nn.Linear(size.dense, actions)))

    def forward(self, stacks):
        return self.layers(stacks.float() / 255)


def q_network(size, shape, actions, weights=None):
    return load(QNetwork(size, shape, actions), weights)


def without_parametrizations(model):
    """A copy of the model in which each w has been computed once."""
    model = copy.deepcopy(model)
    for layer in model.modules():
        if parametrize.is_parametrized(layer):
            shared = type(layer)  # which deepcopy does not copy, and from which `weight` is going to be removed
            layer.__class__ = type(shared.__name__, shared.__bases__, dict(vars(shared)))
            parametrize.remove_parametrizations(layer, "weight")
    return model


class PeepholeCell(nn.LSTMCell):
    """`minigrad.nn.LSTMCell` with peepholes, which PyTorch's lacks: in PyTorch's operations."""

    def __init__(self, inputs, units):
        super().__init__(inputs, units)
        self.weight_peephole = nn.Parameter(torch.empty(3, units))

    def forward(self, x, state):
        h, c = state
        gates = F.linear(x, self.weight_ih, self.bias_ih) + F.linear(h, self.weight_hh, self.bias_hh)
        i, f, new, o = gates.chunk(4, dim=1)
        p_i, p_f, p_o = self.weight_peephole
        c = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(new)
        return torch.sigmoid(o + p_o * c) * torch.tanh(c), c


class Recurrent(nn.Module):
    """Two LSTMs, the first of which sees the picture and what the second said before, and a linear layer at the end."""

    def __init__(self, inputs, units, peepholes=False):
        super().__init__()
        cell = PeepholeCell if peepholes else nn.LSTMCell
        self.units = units
        self.first, self.second = cell(inputs + units, units), cell(units, units)
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


class ResidualBlock(nn.Module):
    def __init__(self, maps):
        super().__init__()
        self.first, self.second = (weight_norm(nn.Conv2d(maps, maps, 3, padding=1)) for _ in range(2))

    def forward(self, x):
        return x + self.second(F.elu(self.first(F.elu(x))))


class MaskedLinear(nn.Linear):
    """The mask comes with the weights."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.register_buffer("mask", torch.ones(outputs, inputs))

    def forward(self, x):
        return F.linear(x, self.weight * self.mask, self.bias)


class AutoregressiveStep(nn.Module):
    def __init__(self, latents, hidden):
        super().__init__()
        self.hidden = weight_norm(MaskedLinear(2 * latents, hidden))
        self.m, self.s = (weight_norm(MaskedLinear(hidden + latents, latents)) for _ in range(2))

    def forward(self, z, context):
        inputs = torch.cat([F.elu(self.hidden(torch.cat([z, context], dim=1))), context], dim=1)
        m, s = 0.1 * self.m(inputs), 0.1 * self.s(inputs)
        return (z - m) * torch.exp(-s), s


class Encoder(nn.Module):
    def __init__(self, size, last_side):
        super().__init__()
        a, b, c = size.maps
        self.maps = nn.Sequential(
            weight_norm(nn.Conv2d(1, a, 3, padding=1)),
            *(ResidualBlock(a), ResidualBlock(a), nn.ELU(), weight_norm(nn.Conv2d(a, b, 3, stride=2, padding=1))),
            *(ResidualBlock(b), ResidualBlock(b), nn.ELU(), weight_norm(nn.Conv2d(b, c, 3, stride=2, padding=1))),
            *(ResidualBlock(c), ResidualBlock(c), nn.ELU(), nn.Flatten()),
        )
        self.dense = weight_norm(nn.Linear(c * last_side**2, size.dense))
        self.heads = weight_norm(nn.Linear(size.dense, 3 * size.latents))

    def forward(self, x):
        return self.heads(F.elu(self.dense(self.maps(x)))).chunk(3, dim=1)


class Decoder(nn.Module):
    def __init__(self, size, last_side):
        super().__init__()
        a, b, c = size.maps
        self.shape = c, last_side, last_side
        self.dense = weight_norm(nn.Linear(size.latents, size.dense))
        self.unflatten = weight_norm(nn.Linear(size.dense, c * last_side**2))

        def enlarge(inputs, outputs, side):
            layer = nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1 - side % 2)
            return weight_norm(layer, dim=1)

        self.maps = nn.Sequential(
            *(ResidualBlock(c), ResidualBlock(c), nn.ELU(), enlarge(c, b, -(-size.side // 2))),
            *(ResidualBlock(b), ResidualBlock(b), nn.ELU(), enlarge(b, a, size.side)),
            *(ResidualBlock(a), ResidualBlock(a), nn.ELU(), weight_norm(nn.Conv2d(a, 1, 3, padding=1))),
        )

    def forward(self, z):
        return self.maps(self.unflatten(F.elu(self.dense(z))).view(len(z), *self.shape))


class Autoencoder(nn.Module):
    """`lessons.autoencoder.Autoencoder` with weight normalization: the bound for each picture."""

    def __init__(self, size):
        super().__init__()
        self.latents, last_side = size.latents, -(-size.side // 4)
        self.encoder, self.decoder = Encoder(size, last_side), Decoder(size, last_side)
        self.steps = nn.ModuleList(AutoregressiveStep(size.latents, size.hidden) for _ in range(size.steps))

    def forward(self, x, noise=None):
        noise = torch.randn(len(x), self.latents) if noise is None else noise
        mean, log_scale, context = self.encoder(x)
        z = mean + torch.exp(log_scale) * noise
        log_ratio = -0.5 * noise.square() - log_scale  # log q, and log p below: the 2π in both cancel
        for step in self.steps:
            z, s = step(z, context)
            z, log_ratio = z.flip(1), (log_ratio + s).flip(1)
        likelihood = -F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="none").sum(dim=(1, 2, 3))
        return likelihood - (log_ratio + 0.5 * z.square()).sum(dim=1)

"""ResNet-18 for small pictures (He et al. 2016, section 4.2 and table 1): the network of lesson 13, and its arms.

Pictures are x (N, 3, side, side). As is usual for 32 × 32 pixels, the first convolution is 3 × 3 with stride 1, and no
pooling follows it. Eight blocks of two convolutions come in four stages of w, 2w, 4w and 8w maps; each stage but the
first halves the side.
"""

import math

import numpy as np

import minigrad as mg
import wn
from minigrad import nn

ARMS = ("plain", "balanced once", "equi-normalized", "weight norm", "batch norm", "group norm")


class Subsampled(nn.Module):
    """The identity as a shortcut between shapes: every second row and column, and maps of zeros (option A)."""

    def __init__(self, extra, stride):
        super().__init__()
        self.extra, self.stride = extra, stride

    def forward(self, x):
        x = x[:, :, :: self.stride, :: self.stride]
        return mg.pad(x, ((0, 0), (0, self.extra), (0, 0), (0, 0)))


class Block(nn.Module):
    """relu(conv(relu(conv(x))) + shortcut(x)), each convolution normalized if so wished."""

    def __init__(self, inputs, maps, stride, shortcut, normalized):
        super().__init__()
        self.first = normalized(inputs, maps, 3, stride)
        self.second = normalized(maps, maps, 3, 1)
        if shortcut == "projection":
            self.shortcut = normalized(inputs, maps, 1, stride)
        else:
            self.shortcut = nn.Sequential() if stride == 1 else Subsampled(maps - inputs, stride)

    def forward(self, x):
        return mg.relu(self.second(mg.relu(self.first(x))) + self.shortcut(x))


class ResNet18(nn.Module):
    """Pictures (N, 3, side, side) → logits (N, classes).

    Parameters
    ----------
    classes : int
    width : int
        Maps of the first stage.
    shortcut : "projection" or "identity"
        A 1 × 1 convolution beside every block (as in Stock et al. 2019), or no parameters at all (option A).
    norm : None, "batch" or "group"
        What follows each convolution. With None convolutions have a bias instead.
    groups : int, optional
        Of group normalization; by default half the width, so 32 of 64 maps in the first stage.
    rng : numpy.random.Generator, optional
        Draws the weights, normal with variance 2/fan-in (He et al. 2015); biases are 0.
    """

    def __init__(self, classes, width=64, shortcut="projection", norm=None, groups=None, rng=None):
        super().__init__()
        if shortcut not in ("projection", "identity"):
            raise ValueError(f'shortcut must be "projection" or "identity", not {shortcut!r}')
        if norm not in (None, "batch", "group"):
            raise ValueError(f'norm must be None, "batch" or "group", not {norm!r}')
        rng, groups = rng or np.random.default_rng(), groups or max(width // 2, 1)

        def normalized(inputs, maps, kernel, stride):
            """A convolution that keeps the side, over stride, and what follows it."""
            padding = kernel // 2
            conv = nn.Conv2d(inputs, maps, kernel, stride, padding, bias=norm is None, rng=rng)
            if norm is None:
                return conv
            after = nn.BatchNorm(maps) if norm == "batch" else nn.GroupNorm(groups, maps)
            return nn.Sequential(conv, after)

        self.stem = normalized(3, width, 3, 1)
        blocks, inputs = [], width
        for stage in range(4):
            for number in range(2):
                maps, stride = width * 2**stage, 2 if stage and not number else 1
                blocks.append(Block(inputs, maps, stride, shortcut, normalized))
                inputs = maps
        self.blocks = nn.Sequential(*blocks)
        self.pool, self.last = nn.GlobalAvgPool2d(), nn.Linear(inputs, classes, rng=rng)
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                shape = layer.weight.shape
                deviation = math.sqrt(2 / math.prod(shape[1:]))
                layer.weight.data = deviation * rng.standard_normal(shape, dtype=np.float32)
                if layer.bias is not None:
                    layer.bias.data = np.zeros(shape[0], np.float32)

    def forward(self, x):
        return self.last(self.pool(self.blocks(mg.relu(self.stem(x)))))


def initialized(arm, classes, width, rng, pictures):
    """A ResNet18 with projections, as one of `ARMS` begins.

    Without a normalization of outputs He's weights would make logits in the dozens. So the first four arms begin with
    data-dependent initialization, all of them as the same function.

    Parameters
    ----------
    arm : str
        "balanced once" is equi-normalized here; "equi-normalized" is left to cycles in training.
    classes, width : int
    rng : numpy.random.Generator
    pictures : array (N, 3, side, side)
        They initialize the model.
    """
    norm = arm.removesuffix(" norm") if arm in ("batch norm", "group norm") else None
    model = ResNet18(classes, width, norm=norm, rng=rng)
    if norm is None:
        wn.apply_weight_norm(model)
        wn.data_dependent_init(model, pictures)
        if arm != "weight norm":
            wn.remove_weight_norm(model)
        if arm == "balanced once":
            wn.equi_normalize(model, cycles=2000, example=pictures[:2])
    return model

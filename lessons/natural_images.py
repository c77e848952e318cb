"""A variational autoencoder with several stochastic layers, for colour pictures: the CIFAR-10 half of section 5.2.

The chapter further/10_natural_images derives and trains what is put together here. Pictures are x (N, 3, side, side),
bytes divided by 255; the latent variables z of each layer are maps (N, latents, height, width), and so is their noise.
All logarithms are natural.

Section 5.2 says "ResNet units and multiple intermediate stochastic layers" and refers to a manuscript, which became
Kingma et al. 2016 (arXiv:1606.04934). What is not in the paper is taken from there, and from the code that its authors
published (github.com/openai/iaf). Residual blocks are those of lesson 10, h + block(h), where that code has h + 0.1
block(h).
"""

import math
from dataclasses import dataclass

import numpy as np

import minigrad as mg
from lessons.autoencoder import SMALL, Training, as_arm
from minigrad import nn
from minigrad.nn.densities import logistic_log_probability, normal_log_density

SPREAD = 0.25  # about the standard deviation of a byte/255: what the means of the bytes begin with


@dataclass(frozen=True)
class Size:
    """How large the network is."""

    side: int  # of the pictures, in pixels
    maps: int  # that each layer hands to the next
    latents: int  # maps of latent variables in each stochastic layer
    levels: tuple  # how many stochastic layers at half the side of the picture, at a quarter of it, and so on

    @property
    def layers(self):
        """(side, whether it is half the side of the layer below) for each stochastic layer, from the picture up."""
        sides = [self.side >> level + 1 for level, count in enumerate(self.levels) for _ in range(count)]
        return [(side, below is not None and side < below) for below, side in zip([None, *sides], sides, strict=False)]


PUBLISHED = Size(side=32, maps=64, latents=32, levels=(2, 2, 2))  # the example in the published code's description


class ConvolutionalStep(nn.Module):
    """z ← (z - m)/eˢ, where m and s of an entry depend on the entries before it, row by row, and on the context.

    Entries at the same place are in the order of their maps. The Jacobian ∂z'/∂z is triangular in this order, with the
    diagonal e⁻ˢ, so log q(z') = log q(z) + Σ s.
    """

    def __init__(self, latents, maps, rng):
        super().__init__()
        self.hidden = nn.MaskedConv2d(nn.causal_mask(maps, latents, 3, strict=False), padding=1, rng=rng)
        last = nn.causal_mask(latents, maps, 3, strict=True)
        self.m, self.s = (nn.MaskedConv2d(last, padding=1, rng=rng) for _ in range(2))

    def forward(self, z, context):
        """z' and s, each like z; the context is (N, maps, height, width)."""
        h = mg.elu(self.hidden(z) + context)
        m, s = SMALL * self.m(h), SMALL * self.s(h)
        return (z - m) * mg.exp(-s), s


class StochasticLayer(nn.Module):
    """A residual block on the way up, a residual block on the way down, and latent variables in the latter.

    Parameters
    ----------
    size : Size
    halves : bool
        Whether the way up halves the side of the maps here, and the way down doubles it.
    top : bool
        Whether the way up ends here.
    rng : numpy.random.Generator
    """

    def __init__(self, size, halves, top, rng):
        super().__init__()
        n, k = size.maps, size.latents
        self.halves = halves
        self.up_cuts, self.down_cuts = np.cumsum([k, k, n]), np.cumsum([k, k, k, k, n])
        self.up_first = nn.Conv2d(n, 2 * k + (n if top else 2 * n), 3, stride=2 if halves else 1, padding=1, rng=rng)
        self.up_second = None if top else nn.Conv2d(n, n, 3, padding=1, rng=rng)
        self.down_first = nn.Conv2d(n, 4 * k + 2 * n, 3, padding=1, rng=rng)
        self.step = ConvolutionalStep(k, n, rng)
        if halves:
            self.down_second = nn.ConvTranspose2d(k + n, n, 3, stride=2, padding=1, output_padding=1, rng=rng)
        else:
            self.down_second = nn.Conv2d(k + n, n, 3, padding=1, rng=rng)

    def up(self, h):
        """The maps for the layer above (None at the top), and what this one has seen: mean, log-scale, context."""
        mean, log_scale, context, inner = mg.split(self.up_first(mg.elu(h)), self.up_cuts, axis=1)
        seen = SMALL * mean, SMALL * log_scale, context
        if self.up_second is None:
            return None, seen
        if self.halves:
            h = h[:, :, ::2, ::2]
        return h + self.up_second(mg.elu(inner)), seen

    def down(self, h, noise, seen=None):
        """The maps for the layer below, z, and its entries' shares in log p(z | above) and log q(z | above, x).

        Without what was `seen` on the way up, z is drawn from the prior, and the two are the same.
        """
        p_mean, p_log_scale, mean, log_scale, context, inner = mg.split(
            self.down_first(mg.elu(h)), self.down_cuts, axis=1
        )
        p_mean, p_log_scale = SMALL * p_mean, SMALL * p_log_scale
        if seen is None:
            z = p_mean + mg.exp(p_log_scale) * noise
            log_p = log_q = normal_log_density(z, p_mean, p_log_scale)
        else:
            mean, log_scale, context = seen[0] + SMALL * mean, seen[1] + SMALL * log_scale, seen[2] + context
            z = mean + mg.exp(log_scale) * noise
            log_q = normal_log_density(z, mean, log_scale)
            z, s = self.step(z, context)
            log_p, log_q = normal_log_density(z, p_mean, p_log_scale), log_q + s
        inner = self.down_second(mg.elu(mg.concatenate([z, inner], axis=1)))
        if self.halves:
            h = doubled(h)
        return h + inner, z, log_p, log_q


class LayeredAutoencoder(nn.Module):
    """The bound log p(x|z) + Σ (log p(z_l|above) - log q(z_l|above, x)) for each picture, with one sample of each z_l.

    The way up is deterministic and the same for all draws; the way down draws the latent variables, first those at the
    top, whose maps are the smallest. Its first maps are parameters. What comes out at the bottom are the means of
    logistic distributions, one for each byte, which all have the same learned scale.

    Parameters
    ----------
    size : Size
    rng : numpy.random.Generator
        Draws the parameters, and the noise of every call that is given none.
    """

    def __init__(self, size, rng):
        super().__init__()
        self.size, self.rng, n = size, rng, size.maps
        self.first = nn.Conv2d(3, n, 5, stride=2, padding=2, rng=rng)
        layers = enumerate(size.layers, start=1)  # from the picture up
        self.layers = [StochasticLayer(size, halves, i == len(size.layers), rng) for i, (_, halves) in layers]
        side, _ = size.layers[-1]
        self.top = nn.Parameter(rng.standard_normal((1, n, side, side), dtype=np.float32))
        self.last = nn.ConvTranspose2d(n, 3, 5, stride=2, padding=2, output_padding=1, rng=rng)
        self.log_scale = nn.Parameter(np.zeros((), np.float32))

    def up(self, x):
        """What each layer has seen of the pictures, from the picture up."""
        h, found = self.first(x - 0.5), []
        for layer in self.layers:
            h, seen = layer.up(h)
            found.append(seen)
        return found

    def down(self, noise, seen=None):
        """The means of the pixels, and z, log p and log q of each layer, from the picture up; noise in that order, too.

        Without what was `seen`, they are the model's own pictures.
        """
        h, found = mg.broadcast_to(self.top, (len(noise[0]), *self.top.shape[1:])), []
        seen = [None] * len(self.layers) if seen is None else seen
        for layer, layers_noise, layer_has_seen in reversed(list(zip(self.layers, noise, seen, strict=True))):
            h, *drawn = layer.down(h, layers_noise, layer_has_seen)
            found.append(drawn)
        return 0.5 + SPREAD * self.last(mg.elu(h)), found[::-1]

    def terms(self, x, noise=None):
        """log p(x|z) (N,), and for each layer log q - log p of its maps (N, latents), from the picture up."""
        mean, drawn = self.down(self.noise(len(x)) if noise is None else noise, self.up(x))
        log_likelihood = logistic_log_probability(x, mean, self.log_scale).sum(axis=(1, 2, 3))
        return log_likelihood, [(log_q - log_p).sum(axis=(2, 3)) for _, log_p, log_q in drawn]

    def forward(self, x, noise=None):
        log_likelihood, divergences = self.terms(x, noise)
        return log_likelihood - sum(divergence.sum(axis=1) for divergence in divergences)

    def noise(self, count, rng=None):
        """Standard normal numbers for each layer, from the picture up, drawn by `rng` or the model's own."""
        shapes = [(count, self.size.latents, side, side) for side, _ in self.size.layers]
        drawn = [(rng or self.rng).standard_normal(shape, dtype=np.float32) for shape in shapes]
        return [mg.tensor(array, device=self.top.device) for array in drawn]


def doubled(h):
    """Maps (N, C, H, W) with each entry repeated in a square of 2 × 2."""
    n, c, height, width = h.shape
    return mg.broadcast_to(h.reshape(n, c, height, 1, width, 1), (n, c, height, 2, width, 2)).reshape(
        n, c, 2 * height, 2 * width
    )


def with_free_bits(log_likelihood, divergences, allowance):
    """The objective: the bound, averaged over a minibatch, where each map's divergence counts as `allowance` at least.

    Up to so many nats a map costs nothing, so there is no reason to make it say less.
    """
    return log_likelihood.mean() - sum(mg.maximum(d.mean(axis=0), allowance).sum() for d in divergences)


def initialized(arm, size, rng, x):
    """A `LayeredAutoencoder` of one of the `ARMS`; the last two are the same function.

    The logistic distributions begin, in each, with the standard deviation that the pictures have: s π/√3.
    """
    model = LayeredAutoencoder(size, rng)
    model.log_scale.data = np.log(x.std() * math.sqrt(3) / math.pi).astype(np.float32)
    return as_arm(model, arm, x)


class PictureTraining(Training):
    """One `LayeredAutoencoder` in training. `curves["divergence"]` has a list for each epoch: a number for each layer.

    Parameters
    ----------
    allowance : float
        Nats that each map may tell about the picture for nothing, on average over a minibatch.
    others
        As for `Training`; pictures are bytes divided by 255.
    """

    initialized = staticmethod(initialized)

    def __init__(self, *arguments, allowance, **more):
        super().__init__(*arguments, **more)
        self.allowance = allowance

    def objective(self, x):
        return with_free_bits(*self.model.terms(x), self.allowance)

    def measured(self, x, noise):
        log_likelihood, divergences = self.model.terms(x, noise)
        return log_likelihood, mg.stack([divergence.sum(axis=1) for divergence in divergences], axis=1)

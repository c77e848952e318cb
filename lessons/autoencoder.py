"""The variational autoencoder of section 5.2: encoder, autoregressive posterior, decoder, and the bound.

Lesson 10 derives the bound and the autoregressive step, and trains what is put together here. Pictures are x
(N, 1, side, side) with values from 0 to 1, latent variables z (N, latents), noise ε like z, all numbers natural
logarithms.

Sources: Kingma & Welling 2014 (the bound), Kingma et al. 2016 (the autoregressive step), Salimans & Kingma 2016,
section 5.2 (the network).
"""

import time
from dataclasses import dataclass

import numpy as np

import minigrad as mg
import wn
from minigrad import nn, optim
from minigrad.nn.densities import HALF_LOG_TWO_PI, bernoulli_log_probability, normal_log_density

SMALL = 0.1  # what m and s of an autoregressive step are multiplied by, so that a step begins near the identity


@dataclass(frozen=True)
class Size:
    """How large the network is."""

    side: int  # of the pictures, in pixels
    maps: tuple  # of the three sequences of residual blocks; the last two begin at half the side before
    dense: int  # units between the maps and the latent variables
    latents: int
    hidden: int  # units of each autoregressive step
    steps: int = 2  # autoregressive steps; 0: the posterior is a normal distribution with independent entries


PAPER = Size(side=28, maps=(16, 32, 32), dense=450, latents=32, hidden=320)


class ResidualBlock(nn.Module):
    """x + conv(ELU(conv(ELU(x)))), with 3 × 3 kernels: as many maps come out as go in."""

    def __init__(self, maps, rng):
        super().__init__()
        self.first = nn.Conv2d(maps, maps, 3, padding=1, rng=rng)
        self.second = nn.Conv2d(maps, maps, 3, padding=1, rng=rng)

    def forward(self, x):
        return x + self.second(mg.elu(self.first(mg.elu(x))))


class Encoder(nn.Module):
    """Pictures → μ, log σ and a context for the autoregressive steps, each (N, latents)."""

    def __init__(self, size, rng):
        super().__init__()
        a, b, c = size.maps
        self.maps = nn.Sequential(
            nn.Conv2d(1, a, 3, padding=1, rng=rng), ResidualBlock(a, rng), ResidualBlock(a, rng),
            nn.ELU(), nn.Conv2d(a, b, 3, stride=2, padding=1, rng=rng), ResidualBlock(b, rng), ResidualBlock(b, rng),
            nn.ELU(), nn.Conv2d(b, c, 3, stride=2, padding=1, rng=rng), ResidualBlock(c, rng), ResidualBlock(c, rng),
            nn.ELU(), nn.Flatten(),
        )  # fmt: skip
        self.dense = nn.Linear(c * quarter(size.side) ** 2, size.dense, rng=rng)
        self.heads = nn.Linear(size.dense, 3 * size.latents, rng=rng)

    def forward(self, x):
        return mg.split(self.heads(mg.elu(self.dense(self.maps(x)))), 3, axis=1)


class AutoregressiveStep(nn.Module):
    """z ← (z - m)/eˢ, where m and s of entry i depend on the entries before i, and on the context.

    The Jacobian ∂z'/∂z is triangular with the diagonal e⁻ˢ, so log q(z') = log q(z) + Σ s.
    """

    def __init__(self, latents, hidden, rng):
        super().__init__()
        context = np.ones((hidden, latents), np.float32)  # every unit sees all of the context
        before = nn.autoregressive_mask(hidden, latents, strict=False)
        self.hidden = nn.MaskedLinear(np.concatenate([before, context], axis=1), rng=rng)
        after = nn.autoregressive_mask(latents, hidden, strict=True)
        both = np.concatenate([after, np.ones((latents, latents), np.float32)], axis=1)
        self.m, self.s = nn.MaskedLinear(both, rng=rng), nn.MaskedLinear(both, rng=rng)

    def forward(self, z, context):
        """z' and s, each like z."""
        inputs = mg.concatenate([mg.elu(self.hidden(mg.concatenate([z, context], axis=1))), context], axis=1)
        m, s = SMALL * self.m(inputs), SMALL * self.s(inputs)
        return (z - m) * mg.exp(-s), s


class Decoder(nn.Module):
    """Latent variables → logits of the pixels: the encoder's mirror image."""

    def __init__(self, size, rng):
        super().__init__()
        a, b, c = size.maps
        half, self.shape = -(-size.side // 2), (c, quarter(size.side), quarter(size.side))
        self.dense = nn.Linear(size.latents, size.dense, rng=rng)
        self.unflatten = nn.Linear(size.dense, c * quarter(size.side) ** 2, rng=rng)

        def enlarge(inputs, outputs, side):
            return nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1 - side % 2, rng=rng)

        self.maps = nn.Sequential(
            ResidualBlock(c, rng), ResidualBlock(c, rng), nn.ELU(), enlarge(c, b, half),
            ResidualBlock(b, rng), ResidualBlock(b, rng), nn.ELU(), enlarge(b, a, size.side),
            ResidualBlock(a, rng), ResidualBlock(a, rng), nn.ELU(), nn.Conv2d(a, 1, 3, padding=1, rng=rng),
        )  # fmt: skip

    def forward(self, z):
        h = self.unflatten(mg.elu(self.dense(z)))
        return self.maps(h.reshape(len(z), *self.shape))


class Autoencoder(nn.Module):
    """The bound log p(x|z) + log p(z) - log q(z|x) for each picture, with one sample z from q(z|x).

    Parameters
    ----------
    size : Size
    rng : numpy.random.Generator
        Draws the parameters, and the noise of every call that is given none.
    """

    def __init__(self, size, rng):
        super().__init__()
        self.size, self.rng = size, rng
        self.encoder, self.decoder = Encoder(size, rng), Decoder(size, rng)
        self.steps = [AutoregressiveStep(size.latents, size.hidden, rng) for _ in range(size.steps)]

    def posterior(self, x, noise):
        """A sample z from q(z|x), made from the noise, and the share of each entry in log q(z|x), like z."""
        mean, log_scale, context = self.encoder(x)
        z = mean + mg.exp(log_scale) * noise
        log_q = -HALF_LOG_TWO_PI - 0.5 * mg.square(noise) - log_scale
        for step in self.steps:
            z, s = step(z, context)
            # the next step goes through the entries from the other end
            z, log_q = mg.flip(z, axis=1), mg.flip(log_q + s, axis=1)
        return z, log_q

    def terms(self, x, noise=None):
        """log p(x|z) (N,), and the shares of the latent variables in log p(z) and log q(z|x), (N, latents)."""
        if noise is None:
            noise = self.noise(len(x))
        z, log_q = self.posterior(x, noise)
        log_likelihood = bernoulli_log_probability(x, self.decoder(z)).sum(axis=(1, 2, 3))
        return log_likelihood, normal_log_density(z, 0.0, 0.0), log_q

    def forward(self, x, noise=None):
        log_likelihood, log_prior, log_q = self.terms(x, noise)
        return log_likelihood + (log_prior - log_q).sum(axis=1)

    def noise(self, count, rng=None):
        """Standard normal numbers (count, latents), on the model's device, drawn by `rng` or the model's own."""
        drawn = (rng or self.rng).standard_normal((count, self.size.latents), dtype=np.float32)
        return mg.tensor(drawn, device=self.encoder.heads.bias.device)


def quarter(side):
    """The side of a picture after two convolutions of stride 2."""
    return -(-side // 4)


def binarized(images, rng=None):
    """Pictures of bytes (N, 1, H, W) as 0 and 1, float32.

    With `rng`, each pixel is drawn once, with its brightness as the probability of a 1, as is customary for MNIST;
    without, it is 1 above one half.
    """
    threshold = 0.5 if rng is None else rng.random(images.shape)
    return (images / 255 > threshold).astype(np.float32)


ARMS = ("normal", "normal, initialized", "weight norm")


def initialized(arm, size, rng, x):
    """An autoencoder of one of the `ARMS`, made for the pictures x; the last two are the same function."""
    return as_arm(Autoencoder(size, rng), arm, x)


def as_arm(model, arm, x):
    """The model as one of the `ARMS` has it.

    "normal": weights w drawn from N(0, 0.05²), biases 0. "weight norm": v drawn so, then g and b chosen for the
    pictures x by data-dependent initialization, samples of z included (section 3). "normal, initialized": the same, and
    then w = g v/‖v‖ multiplied out. Parameters that are neither weights nor biases stay as they are.
    """
    for name, parameter in model.named_parameters():
        if name.endswith(("weight", "bias")):
            scale = 0.05 if name.endswith("weight") else 0.0
            parameter.data = (scale * model.rng.standard_normal(parameter.shape)).astype(np.float32)
    for layer in model.modules():
        if isinstance(layer, (nn.MaskedLinear, nn.MaskedConv2d)):
            layer.weight.data = layer.weight.data * layer.mask.data
    if arm != "normal":
        wn.apply_weight_norm(model)
        wn.data_dependent_init(model, x)
    if arm == "normal, initialized":
        wn.remove_weight_norm(model)
    return model


class Training:
    """One autoencoder in training, as far as it has come: `epoch` goes on, `state` and `load` keep it.

    The optimizer is Adamax as in section 5.2, without bias correction; what is tested is the running average of the
    parameters over about `average` epochs.

    Attributes
    ----------
    curves : dict of lists, an entry for each epoch
        "train": the objective, for training pictures met on the way; "likelihood" and "divergence": the two terms of
        the test bound, which is the first minus the second; "seconds" of the processor. All but the last in nats a
        picture.

    Parameters
    ----------
    arm, size, rng
        As for `initialized`; `rng` also draws minibatches and noise.
    rate : float
        Adamax's learning rate.
    pictures, test : arrays (N, 1, side, side) of 0 and 1
        The first 500 pictures initialize the model.
    batch : int
    average : float
        Epochs; 0 for no average, but the parameters themselves.
    """

    initialized = staticmethod(initialized)

    def __init__(self, arm, size, rate, rng, pictures, test, batch, average, device="cpu"):
        self.model, self.rng = self.initialized(arm, size, rng, pictures[:500]).to(device), rng
        self.pictures, self.test, self.batch = pictures, test, batch
        self.optimizer = optim.Adamax(self.model.parameters(), lr=rate, bias_correction=False)
        self.average = optim.ExponentialMovingAverage(self.model, 1 - 1 / max(average * (len(pictures) // batch), 1))
        self.curves = {"train": [], "likelihood": [], "divergence": [], "seconds": []}

    def objective(self, x):
        """What is made as large as possible, for a minibatch x: here the bound, in nats a picture."""
        return self.model(x).mean()

    def adjust_gradients(self):
        """What is to happen to the gradients before a step; nothing here."""

    def measured(self, x, noise):
        """log p(x|z) and log q(z|x) - log p(z) for each picture, whose expectations are the two terms of the bound."""
        log_likelihood, log_prior, log_q = self.model.terms(x, noise)
        return log_likelihood, (log_q - log_prior).sum(axis=1)

    def epoch(self):
        """Train on each picture once, then test."""
        started, objectives = time.process_time(), []
        order = self.rng.permutation(len(self.pictures))
        for first in range(0, len(order) - self.batch + 1, self.batch):
            objective = self.objective(mg.tensor(self.pictures[order[first : first + self.batch]], device=self.device))
            self.optimizer.zero_grad()
            (-objective).backward()
            self.adjust_gradients()
            self.optimizer.step()
            self.average.update()
            objectives.append(objective.item())
        self.curves["seconds"].append(time.process_time() - started)
        self.curves["train"].append(float(np.mean(objectives)))
        for name, value in zip(("likelihood", "divergence"), self.tested(), strict=True):
            self.curves[name].append(value.mean(axis=0).tolist())

    @property
    def device(self):
        return self.model.parameters()[0].device

    def tested(self, seed=0):
        """What is `measured` on the test pictures, with one sample for each, and the averaged parameters."""
        rng, found = np.random.default_rng(seed), []
        with mg.no_grad(), self.average.applied():
            for first in range(0, len(self.test), 250):
                x = mg.tensor(self.test[first : first + 250], device=self.device)
                found.append([term.numpy() for term in self.measured(x, self.model.noise(len(x), rng))])
        return [np.concatenate(parts) for parts in zip(*found, strict=True)]

    def state(self):
        """What `load` needs to go on later, bit for bit."""
        return {
            "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "curves": self.curves,
            "average": self.average.state_dict(), "rng": self.rng.bit_generator.state,
        }  # fmt: skip

    def load(self, state):
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.load_state_dict(state["average"])
        self.rng.bit_generator.state = state["rng"]
        self.curves = state["curves"]

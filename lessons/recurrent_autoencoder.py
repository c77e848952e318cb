"""DRAW, the network of section 5.3: an autoencoder of two recurrent networks that paints a picture in T strokes.

Lesson 11 derives and trains what is put together here. Pictures are x (N, 1, side, side) with values from 0 to 1; the
canvas (N, side²) holds the pixels' logits; the noise behind the latent variables is (T, N, latents). All densities are
natural logarithms, summed over pixels or latent variables, so the unit is nats a picture.

Sources: Gregor et al. 2015 (arXiv:1502.04623; the model and its windows), Gers & Schmidhuber 2000 (peepholes),
Salimans & Kingma 2016, section 5.3 (weight normalization). What those leave open is as in the implementation that
section 5.3 names: T, the sizes, N(0, 0.01²) for weights, 0 for biases and initial states, no biases but those of the
cells' inputs, Adam, and gradients clipped at 10.
"""

from dataclasses import dataclass

import numpy as np

import minigrad as mg
import wn
from lessons.autoencoder import Training
from minigrad import nn, optim
from minigrad.nn.densities import bernoulli_log_probability, normal_kl

GUARD = 1e-4  # added to the sum of a filter's weights, which may all be outside of the picture
CLIP = 10  # the largest norm of all gradients together, in the implementation that the paper started from
SPREAD = 0.01  # the standard deviation of the weights at the start


@dataclass(frozen=True)
class Size:
    """How large the network is."""

    side: int  # of the pictures, in pixels
    steps: int  # T, the number of strokes
    units: int  # of either LSTM
    latents: int  # of each step
    read: int = 0  # the side of the window that the encoder looks through; 0: it sees all of the picture
    write: int = 0  # the side of the window that the decoder paints through; 0: it paints all of the canvas


REFERENCE = Size(side=28, steps=10, units=256, latents=100)


class Window:
    """A square grid of Gaussian filters somewhere on the picture: what is read, or written, goes through it.

    Filter i along an axis is centered at m_i, and weighs pixel a with exp(-(a - m_i)²/2σ²), over the sum of these over
    all pixels, plus 1e-4.

    Parameters
    ----------
    numbers : array or Tensor (N, 5)
        For each picture: where the window's center is, down and across, from -1, one pixel before the first, to 1, one
        pixel behind the last; the logarithm of the distance between neighbouring filters, in units of that with which
        they span the picture from the first pixel to the last; log σ², σ in pixels; the logarithm of the strength.
    points : int
        Filters along either axis, 2 or more.
    side : int
        Of the picture, in pixels.

    Attributes
    ----------
    down, across : array or Tensor (N, points, side)
        The filters' weights.
    strength : array or Tensor (N, 1, 1)
    """

    def __init__(self, numbers, points, side):
        if points < 2:
            raise ValueError(f"a window needs 2 points or more along an axis, not {points}")
        y, x, log_distance, log_variance, log_strength = mg.split(numbers.reshape(-1, 5, 1), 5, axis=1)
        distance = mg.exp(log_distance) * ((side - 1) / (points - 1))
        self.strength = mg.exp(log_strength)
        self.down, self.across = (
            _filters((center + 1) * (0.5 * (side + 1)) - 1, distance, log_variance, points, side) for center in (y, x)
        )

    def read(self, images):
        """What is seen through the window of images (N, side, side): (N, points, points)."""
        return self.strength * (self.down @ images @ mg.swapaxes(self.across, 1, 2))

    def write(self, patches):
        """What patches (N, points, points) add to the canvas: (N, side, side)."""
        return mg.swapaxes(self.down, 1, 2) @ patches @ self.across / self.strength


def _filters(center, distance, log_variance, points, side):
    """The weights of the filters along one axis, (N, points, side); the arguments are (N, 1, 1)."""
    offsets = np.arange(points).reshape(1, points, 1) - 0.5 * (points - 1)
    centers = center + distance * _like(center, offsets)
    weights = mg.exp(-0.5 * mg.square(_like(center, np.arange(side)) - centers) * mg.exp(-log_variance))
    return weights / (weights.sum(axis=2, keepdims=True) + GUARD)


def _like(x, array):
    """An array with the dtype and on the device of x."""
    return mg.tensor(array.astype(x.dtype), device=getattr(x, "device", "cpu"))


class Draw(nn.Module):
    """The bound log p(x|z) - Σ_t KL(q(z_t) ‖ p(z_t)) for each picture, with one sample of z_1 to z_T from q.

    At each of T steps the encoder sees the picture, what the canvas still lacks of it, and the decoder's last output,
    and chooses the distribution q(z_t). The decoder sees a sample of that, and adds to the canvas.

    Parameters
    ----------
    size : Size
    rng : numpy.random.Generator
        Draws the parameters, and the noise of every call that is given none.

    Attributes
    ----------
    initial : Parameter (4, units)
        Where the states begin: h and c of the encoder, h and c of the decoder.
    """

    def __init__(self, size, rng):
        super().__init__()
        if bool(size.read) != bool(size.write):
            raise ValueError(f"a window to read and one to write, or neither: read={size.read}, write={size.write}")
        self.size, self.rng = size, rng
        seen, painted = size.read or size.side, size.write or size.side
        self.encoder = nn.LSTMCell(2 * seen**2 + size.units, size.units, rng=rng, peepholes=True)
        self.decoder = nn.LSTMCell(size.latents, size.units, rng=rng, peepholes=True)
        self.encoder.bias_hh = self.decoder.bias_hh = None
        self.posterior = nn.Linear(size.units, 2 * size.latents, rng=rng)
        self.brush = nn.Linear(size.units, painted**2, rng=rng)
        self.windows = [nn.Linear(size.units, 5, rng=rng) for _ in range(2)] if size.read else []
        self.initial = nn.Parameter(np.zeros((4, size.units), np.float32))
        for name, parameter in self.named_parameters():
            if name != "initial":
                scale = SPREAD * ("weight" in name)
                parameter.data = (scale * rng.standard_normal(parameter.shape)).astype(np.float32)

    # ---- one step ---------------------------------------------------------------------------------------------------

    def begin(self, count):
        """The state before the first stroke: canvas, h and c of the encoder, h and c of the decoder."""
        canvas = _like(self.initial, np.zeros((count, self.size.side**2)))
        return (canvas, *(mg.broadcast_to(one, (count, self.size.units)) for one in self.initial))

    def look(self, x, canvas, h):
        """What the encoder sees of pictures x (N, side²), and of what the canvas lacks of them."""
        lacks = x - mg.sigmoid(canvas)
        if self.windows:
            window, side = Window(self.windows[0](h), self.size.read, self.size.side), self.size.side
            x, lacks = (window.read(image.reshape(-1, side, side)).reshape(len(h), -1) for image in (x, lacks))
        return mg.concatenate([x, lacks], axis=1)

    def paint(self, canvas, z, h, c):
        """The canvas after one more stroke, and the decoder's next h and c, from its last."""
        h, c = self.decoder(z, (h, c))
        stroke = self.brush(h)
        if self.windows:
            points = self.size.write
            window = Window(self.windows[1](h), points, self.size.side)
            stroke = window.write(stroke.reshape(-1, points, points)).reshape(canvas.shape)
        return canvas + stroke, h, c

    def step(self, x, state, noise):
        """The next state, and KL(q(z_t) ‖ p(z_t)) (N,), from pictures x (N, side²) and noise (N, latents)."""
        canvas, h_encoder, c_encoder, h, c = state
        seen = mg.concatenate([self.look(x, canvas, h), h], axis=1)
        h_encoder, c_encoder = self.encoder(seen, (h_encoder, c_encoder))
        mean, log_scale = mg.split(self.posterior(h_encoder), 2, axis=1)
        canvas, h, c = self.paint(canvas, mean + mg.exp(log_scale) * noise, h, c)
        return (canvas, h_encoder, c_encoder, h, c), normal_kl(mean, log_scale).sum(axis=1)

    # ---- T steps ----------------------------------------------------------------------------------------------------

    def terms(self, x, noise=None, piece=None):
        """log p(x|z) (N,), and the divergence of each step (N, T).

        With `piece`, the tape keeps the state after every so many steps, and the backward pass computes what is in
        between again (`mg.checkpoint`). Weights that are normalized are computed once for all steps, or for a piece.
        """
        noise = self.noise(len(x)) if noise is None else noise
        x, state = x.reshape(len(x), -1), self.begin(len(x))
        if piece is None:
            state, divergences = self._steps(x, state, noise)
        else:
            divergences = []
            for first in range(0, len(noise), piece):
                state, found = self._forgotten_steps(x, state, noise[first : first + piece])
                divergences += found
        return bernoulli_log_probability(x, state[0]).sum(axis=1), mg.stack(divergences, axis=1)

    def _forgotten_steps(self, x, state, noise):
        """As `_steps`, but the tape keeps only what goes in and what comes out, each packed into one array."""
        cuts = np.cumsum([part.shape[1] for part in state])

        def steps(packed, x, noise):
            state, divergences = self._steps(x, mg.split(packed, cuts[:-1], axis=1), noise)
            return mg.concatenate([*state, mg.stack(divergences, axis=1)], axis=1)

        packed = mg.checkpoint(steps, mg.concatenate(state, axis=1), x, noise)
        *state, divergences = mg.split(packed, cuts, axis=1)
        return state, [divergences[:, i] for i in range(len(noise))]

    def _steps(self, x, state, noise):
        """The state after as many steps as there is noise for, and the divergences of each."""
        divergences = []
        with self.computed_once():
            for one in noise:
                state, divergence = self.step(x, state, one)
                divergences.append(divergence)
        return state, divergences

    def forward(self, x, noise=None, piece=None):
        log_likelihood, divergences = self.terms(x, noise, piece)
        return log_likelihood - divergences.sum(axis=1)

    def sample(self, z):
        """The model's own pictures: the canvas after each stroke, (T, N, side²), for z like the noise."""
        canvas, _, _, h, c = self.begin(z.shape[1])
        canvases = []
        with self.computed_once():
            for one in z:
                canvas, h, c = self.paint(canvas, one, h, c)
                canvases.append(canvas)
        return mg.stack(canvases)

    def noise(self, count, rng=None):
        """Standard normal numbers (T, count, latents), on the model's device, drawn by `rng` or the model's own."""
        shape = (self.size.steps, count, self.size.latents)
        drawn = (rng or self.rng).standard_normal(shape, dtype=np.float32)
        return mg.tensor(drawn, device=self.initial.device)


ARMS = ("normal", "weight norm", "normal, length 1", "weight norm, length 1")


def initialized(arm, size, rng, x=None):
    """A `Draw` of one of the `ARMS`: two parameterizations, from two starts.

    Weight normalization acts on every weight vector: both matrices of either LSTM, and all linear maps. "normal" and
    "weight norm" begin as the same function, with weights from N(0, 0.01²). Section 5.3 does not say where g begins,
    and the length that a vector happens to have is one possibility. Another is 1, as in section 3 before data come in:
    the two arms of "length 1" begin as one function, too, with the same directions; but the maps to a window's five
    numbers keep their small weights, so that each window begins where it covers the picture. `x`, the pictures that
    other models are initialized with, has no part in it.
    """
    model = Draw(size, rng)
    if arm != "normal":
        wn.apply_weight_norm(model)
    if "length 1" in arm:
        for name, parameter in model.named_parameters():
            if name.endswith("_g") and not name.startswith("windows"):
                parameter.data = np.ones_like(parameter.data)
    return wn.remove_weight_norm(model) if arm.startswith("normal") else model


class DrawTraining(Training):
    """One `Draw` in training. `curves["divergence"]` has a list for each epoch: a number for each step.

    The optimizer is Adam; what is tested are the parameters themselves, not their average. Beside the curves of
    `Training` there are "norm", the median norm of all gradients together in each epoch, before they are clipped,
    "largest norm", and "long", the share of the steps at which the norm was above 10, whether clipped or not.

    Parameters
    ----------
    clip : float, optional
        The largest norm that all gradients together may have.
    others
        As for `Training`.
    """

    initialized = staticmethod(initialized)

    def __init__(self, arm, size, rate, rng, pictures, test, batch, clip=None, device="cpu"):
        super().__init__(arm, size, rate, rng, pictures, test, batch, average=0, device=device)
        self.optimizer, self.clip = optim.Adam(self.model.parameters(), lr=rate), clip
        self.curves |= {"norm": [], "largest norm": [], "long": []}

    def epoch(self):
        self._norms = []
        super().epoch()
        for name, of in (("norm", np.median), ("largest norm", np.max), ("long", lambda n: np.mean(n > CLIP))):
            self.curves[name].append(float(of(np.array(self._norms))))

    def adjust_gradients(self):
        """Clip them, and take note of their norm."""
        limit = np.inf if self.clip is None else self.clip
        self._norms.append(optim.clip_grad_norm(self.model.parameters(), limit))

    def measured(self, x, noise):
        """log p(x|z) (N,), and the divergence of each step (N, T)."""
        return self.model.terms(x, noise)

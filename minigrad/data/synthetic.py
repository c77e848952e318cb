"""synthetic_pictures: ten shapes on cluttered backgrounds, drawn from a seed, for lessons without a download.

The class is in the shape alone. Position, size, colours, background, clutter and noise are random, and a shape is
rotated by up to 45 degrees, so that single pixels say next to nothing: a linear classifier trained on 5000 pictures
errs on about 85 % of new ones (guessing: 90 %), a small convolutional network soon on fewer than 20 %.
"""

import numpy

from minigrad.data.dataset import Dataset

SIDE = 32
CHUNK = 500  # pictures drawn together, from one random generator
TRAIN, TEST = 0, 1  # the split's part of the seed


def synthetic_pictures(train: int = 5000, test: int = 1000, seed: int = 0) -> Dataset:
    """A labelled set of small colour pictures.

    Picture i of a split depends only on `seed`, the split and i: a smaller set is the beginning of a larger one, and
    training and test pictures are independent. Every ten successive pictures show each class once, in random order.
    One NumPy version on one machine always gives the same bytes; elsewhere the last bit of a sine may differ and with
    it, rarely, a pixel by one.

    Parameters
    ----------
    train, test : int
        How many pictures in each split, 0 or more.
    seed : int
        0 or more.

    Returns
    -------
    Dataset
        Images (train, 3, 32, 32) and (test, 3, 32, 32), uint8.

    Raises
    ------
    ValueError
        If a number is negative.
    """
    if min(train, test, seed) < 0:
        raise ValueError(f"synthetic_pictures needs numbers from 0 up, got train={train}, test={test}, seed={seed}")
    splits = [*_draw_split(train, seed, TRAIN), *_draw_split(test, seed, TEST)]
    return Dataset(*splits, tuple(SHAPES), "synthetic pictures")


def _draw_split(count, seed, split):
    """`count` images (count, 3, 32, 32), uint8, and their labels (count,), int64."""
    images = numpy.empty((count, 3, SIDE, SIDE), numpy.uint8)
    labels = numpy.empty(count, numpy.int64)
    for chunk, start in enumerate(range(0, count, CHUNK)):
        stop = min(start + CHUNK, count)
        # A chunk is always drawn whole and then cut, so that a picture does not depend on `count`.
        drawn, shown = _draw_chunk(numpy.random.default_rng([seed, split, chunk]))
        images[start:stop], labels[start:stop] = drawn[: stop - start], shown[: stop - start]
    return images, labels


def _draw_chunk(rng):
    """CHUNK images, painted from back to front, and their labels."""
    labels = rng.permuted(numpy.tile(numpy.arange(len(SHAPES)), (CHUNK // len(SHAPES), 1)), axis=1).ravel()
    back_colour, front_colour = _contrasting_colours(rng)
    canvas = _shaded(rng, back_colour, slope=0.25, texture=0.06)
    for _ in range(2):
        _paint(canvas, _capsules(rng), _random_colours(rng))
    _paint(canvas, _shapes(rng, labels), _shaded(rng, front_colour, slope=0.12, texture=0.03))
    _paint(canvas, _capsules(rng), _random_colours(rng))
    canvas += rng.uniform(0.01, 0.06, (CHUNK, 1, 1, 1)) * rng.standard_normal(canvas.shape, numpy.float32)
    return numpy.rint(255 * numpy.clip(canvas, 0, 1)).astype(numpy.uint8), labels


def _paint(canvas, coverage, colour):
    """Paint a colour where coverage is 1, and blend it in where coverage is less."""
    canvas += coverage[:, None] * (colour - canvas)


def _random_colours(rng):
    """One colour for each picture, (CHUNK, 3, 1, 1)."""
    return _uniform(rng, 0, 1, shape=(3, 1, 1))


def _contrasting_colours(rng):
    """Two colours for each picture; the second is the one of five that differs most from the first."""
    first = _random_colours(rng)
    candidates = numpy.stack([_random_colours(rng) for _ in range(5)])
    difference = numpy.abs(candidates - first).sum(axis=2).reshape(5, CHUNK)
    return first, candidates[difference.argmax(axis=0), numpy.arange(CHUNK)]


def _shaded(rng, colour, slope, texture):
    """A colour over the whole picture, with a gradient across it and two faint waves, (CHUNK, 3, 32, 32)."""
    x, _ = _random_frame(rng)
    picture = colour + _uniform(rng, -slope, slope, (3, 1, 1)) * (x / (SIDE / 2))[:, None]
    for _ in range(2):
        x, _ = _random_frame(rng)
        wave = numpy.sin(_uniform(rng, 0.2, 1.0) * x + _uniform(rng, 0, 2 * numpy.pi))
        picture += _uniform(rng, -texture, texture, (3, 1, 1)) * wave[:, None]
    return picture


def _capsules(rng):
    """The coverage of one dot or short line for each picture, (CHUNK, 32, 32)."""
    x, y = _random_frame(rng, shift=SIDE / 2)
    beyond_end = numpy.maximum(numpy.abs(x) - _uniform(rng, 0, 6), 0)
    return _coverage(numpy.hypot(beyond_end, y) - _uniform(rng, 0.5, 1.8))


def _shapes(rng, labels):
    """The coverage of the labelled shapes, at a random place, size and rotation, (CHUNK, 32, 32)."""
    radius = _uniform(rng, 7, 12)
    x, y = _random_frame(rng, shift=SIDE / 2 - 1 - radius, turn=numpy.pi / 4)
    x, y = x / radius, y / radius
    distance = numpy.empty_like(x)
    for label, shape in enumerate(SHAPES.values()):
        here = labels == label
        distance[here] = shape(x[here], y[here])
    return _coverage(distance * radius)


def _coverage(distance):
    """Coverage from 0 to 1, from the signed distance to the edge, in pixels and negative inside."""
    return numpy.clip(0.5 - distance, 0, 1)


def _random_frame(rng, shift=0, turn=numpy.pi):
    """Pixel coordinates x, y, each (CHUNK, 32, 32), with a random origin and randomly rotated axes.

    The origin lies up to `shift` pixels from the middle of the picture in each direction, and the axes are rotated by
    up to `turn` radians either way.
    """
    pixels = numpy.arange(SIDE, dtype=numpy.float32) - (SIDE - 1) / 2
    across = pixels - shift * _uniform(rng, -1, 1)
    down = pixels[:, None] - shift * _uniform(rng, -1, 1)
    angle = _uniform(rng, -turn, turn)
    return numpy.cos(angle) * across + numpy.sin(angle) * down, numpy.cos(angle) * down - numpy.sin(angle) * across


def _uniform(rng, low, high, shape=(1, 1)):
    """A uniform float32 array of the given shape for each picture."""
    return rng.uniform(low, high, (CHUNK, *shape)).astype(numpy.float32)


# The shapes, as signed distances to the nearest edge, negative inside, and accurate within a pixel of the edge. Each
# shape fits roughly in the unit circle.


def disc(x, y):
    return numpy.hypot(x, y) - 0.9


def ring(x, y):
    return numpy.abs(numpy.hypot(x, y) - 0.75) - 0.2


def box(x, y, half_width, half_height):
    return numpy.maximum(numpy.abs(x) - half_width, numpy.abs(y) - half_height)


def square(x, y):
    return box(x, y, 0.78, 0.78)


def triangle(x, y):
    return numpy.maximum(numpy.abs(x) * numpy.sqrt(3) / 2 - y / 2, y) - 0.55


def cross(x, y):
    return numpy.minimum(box(x, y, 1, 0.3), box(x, y, 0.3, 1))


def star(x, y):
    """Five points: fold the plane onto one half of one point, whose edge is a straight line."""
    half = numpy.pi / 5
    angle = numpy.abs(numpy.arctan2(y, x) % (2 * half) - half)  # 0 along the middle of a point
    radius = numpy.hypot(x, y)
    tip, notch = 1.1, 0.45
    along_x, along_y = tip - notch * numpy.cos(half), -notch * numpy.sin(half)  # from the notch to the tip
    across = (radius * numpy.cos(angle) - tip) * -along_y + radius * numpy.sin(angle) * along_x
    return across / numpy.hypot(along_x, along_y)


def crescent(x, y):
    return numpy.maximum(numpy.hypot(x, y) - 1, 0.8 - numpy.hypot(x - 0.5, y))


def stripes(x, y):
    return box(numpy.abs(numpy.abs(x) - 0.37) - 0.37, y, 0.18, 0.95)  # folding puts three bars at -0.74, 0 and 0.74


def corner(x, y):
    return numpy.minimum(box(x + 0.5, y, 0.28, 0.9), box(x, y - 0.62, 0.78, 0.28))


def chequer(x, y):
    return numpy.minimum(box(x - 0.45, y - 0.45, 0.45, 0.45), box(x + 0.45, y + 0.45, 0.45, 0.45))


SHAPES = {
    shape.__name__: shape for shape in (disc, ring, square, triangle, cross, star, crescent, stripes, corner, chequer)
}

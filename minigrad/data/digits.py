"""synthetic_digits: the digits 0 to 9 as a pen might write them, drawn from a seed, for lessons without a download.

A digit is a few strokes, lines through points given by hand. Each picture moves the points a little, slants, stretches,
turns and shifts the whole, and draws it with a pen of its own width. So pictures of one digit differ in a handful of
smooth ways, as handwriting does: what a model of few latent variables can find. They are easier than MNIST, whose
format and range they have.
"""

import numpy

from minigrad.data.dataset import Dataset

CHUNK = 500  # pictures drawn together, from one random generator
TRAIN, TEST = 0, 1  # the split's part of the seed
POINTS = 20  # on each digit's strokes, at equal distances


def synthetic_digits(train=5000, test=1000, seed=0, side=28):
    """A labelled set of small gray pictures of digits, light strokes on black.

    Picture i of a split depends only on `seed`, `side`, the split and i: a smaller set is the beginning of a larger
    one, and training and test pictures are independent. Every ten successive pictures show each digit once, in random
    order.

    Parameters
    ----------
    train, test : int
        How many pictures in each split, 0 or more.
    seed : int
        0 or more.
    side : int
        The pictures' height and width in pixels, 8 or more.

    Returns
    -------
    Dataset
        Images (train, 1, side, side) and (test, 1, side, side), uint8.

    Raises
    ------
    ValueError
        If a number is negative, or `side` below 8.
    """
    if min(train, test, seed) < 0 or side < 8:
        raise ValueError(
            "synthetic_digits needs numbers from 0 up and a side of at least 8, "
            f"got train={train}, test={test}, seed={seed}, side={side}"
        )
    splits = [*_draw_split(train, seed, TRAIN, side), *_draw_split(test, seed, TEST, side)]
    return Dataset(*splits, tuple("0123456789"), "synthetic digits")


def _draw_split(count, seed, split, side):
    """`count` images (count, 1, side, side), uint8, and their labels (count,), int64."""
    images = numpy.empty((count, 1, side, side), numpy.uint8)
    labels = numpy.empty(count, numpy.int64)
    for chunk, start in enumerate(range(0, count, CHUNK)):
        stop = min(start + CHUNK, count)
        # A chunk is always drawn whole and then cut, so that a picture does not depend on `count`.
        drawn, shown = _draw_chunk(numpy.random.default_rng([seed, split, chunk]), side)
        images[start:stop, 0], labels[start:stop] = drawn[: stop - start], shown[: stop - start]
    return images, labels


def _draw_chunk(rng, side):
    """CHUNK images (CHUNK, side, side) and their labels."""
    labels = rng.permuted(numpy.tile(numpy.arange(10), (CHUNK // 10, 1)), axis=1).ravel()
    lines = _written(rng, _LINES[labels]) * (side / 2)
    width = rng.uniform(0.028, 0.065, (CHUNK, 1, 1)) * side  # half of a stroke's, in pixels
    distance = numpy.full((CHUNK, side, side), numpy.inf)
    pixels = numpy.arange(side) - (side - 1) / 2
    for i in range(POINTS):
        start, end = lines[:, i, 0], lines[:, i, 1]
        distance = numpy.minimum(distance, _distance_to_segment(pixels, start, end))
    # A pixel is covered in part where the edge crosses it; the pen is a little softer than that.
    coverage = numpy.clip(0.5 + (width - distance) / 1.3, 0, 1)
    return numpy.rint(255 * coverage).astype(numpy.uint8), labels


def _written(rng, lines):
    """Strokes (CHUNK, POINTS, 2 ends, 2), each bent, stretched, slanted, turned and moved at random."""

    def each(low, high):
        return rng.uniform(low, high, (CHUNK, 1, 1))

    x, y = lines[..., 0], lines[..., 1]
    for _ in range(2):  # two slow waves bend the strokes
        angle, phase, strength = each(0, 2 * numpy.pi), each(0, 2 * numpy.pi), each(0, 0.07)
        wave = strength * numpy.sin(2.5 * (numpy.cos(angle) * x + numpy.sin(angle) * y) + phase)
        x, y = x - numpy.sin(angle) * wave, y + numpy.cos(angle) * wave
    x = x * each(0.75, 1.15) - y * each(-0.1, 0.35)  # stretched and slanted
    turn = each(-0.2, 0.2)
    x, y = numpy.cos(turn) * x - numpy.sin(turn) * y, numpy.sin(turn) * x + numpy.cos(turn) * y
    return numpy.stack([x + each(-0.1, 0.1), y + each(-0.1, 0.1)], axis=-1)


def _distance_to_segment(pixels, start, end):
    """How far each pixel is from a segment, (CHUNK, side, side), for ends (CHUNK, 2) with coordinates x and y."""
    along = end - start
    x = pixels[None, None, :] - start[:, 0, None, None]
    y = pixels[None, :, None] - start[:, 1, None, None]
    dx, dy = along[:, 0, None, None], along[:, 1, None, None]
    square = numpy.maximum(dx * dx + dy * dy, 1e-12)
    share = numpy.clip((x * dx + y * dy) / square, 0, 1)
    return numpy.hypot(x - share * dx, y - share * dy)


# ---- the strokes, with x to the right and y down, within about ±0.65 -------------------------------------------------


def _arc(x, y, width, height, first, last):
    """Points on an ellipse about (x, y), from one angle to another in degrees: 0 is right, 90 down."""
    angles = numpy.radians(numpy.linspace(first, last, 25))
    return numpy.stack([x + width * numpy.cos(angles), y + height * numpy.sin(angles)], axis=1)


def _strokes():
    """For each digit a list of strokes, each an array (points, 2)."""
    line = numpy.array
    return [
        [_arc(0, 0, 0.38, 0.6, -90, 270)],
        [line([(-0.2, -0.4), (0.05, -0.6), (0.05, 0.6)])],
        [numpy.concatenate([_arc(0, -0.27, 0.36, 0.33, -170, 45), [(-0.4, 0.58), (0.42, 0.58)]])],
        [numpy.concatenate([_arc(-0.03, -0.3, 0.36, 0.3, -150, 90), _arc(-0.05, 0.3, 0.4, 0.3, -90, 150)])],
        [line([(0.12, -0.6), (-0.4, 0.18), (0.42, 0.18)]), line([(0.18, -0.2), (0.18, 0.6)])],
        [numpy.concatenate([[(0.35, -0.58), (-0.25, -0.58), (-0.3, -0.08)], _arc(-0.02, 0.22, 0.38, 0.36, -130, 150)])],
        [numpy.concatenate([_arc(0.3, 0.2, 0.66, 0.8, -100, -180), _arc(0, 0.27, 0.35, 0.32, -180, 180)])],
        [line([(-0.38, -0.56), (0.38, -0.56), (-0.08, 0.6)])],
        [_arc(0, -0.3, 0.3, 0.28, 90, 450), _arc(0, 0.29, 0.36, 0.31, -90, 270)],
        [_arc(0.02, -0.24, 0.34, 0.34, 0, 360), line([(0.36, -0.24), (0.3, 0.2), (0.16, 0.6)])],
    ]


def _segments(strokes):
    """POINTS segments of about equal length along the strokes of one digit, (POINTS, 2 ends, 2)."""
    lengths = [numpy.concatenate([[0], numpy.cumsum(numpy.hypot(*numpy.diff(s, axis=0).T))]) for s in strokes]
    counts = [max(1, round(POINTS * far[-1] / sum(f[-1] for f in lengths))) for far in lengths]
    counts[0] += POINTS - sum(counts)
    made = []
    for stroke, far, count in zip(strokes, lengths, counts, strict=True):
        at = numpy.linspace(0, far[-1], count + 1)
        points = numpy.stack([numpy.interp(at, far, stroke[:, axis]) for axis in (0, 1)], axis=1)
        made.append(numpy.stack([points[:-1], points[1:]], axis=1))
    return numpy.concatenate(made)


_LINES = numpy.stack([_segments(strokes) for strokes in _strokes()])

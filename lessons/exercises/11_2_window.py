"""11.2 A window on a picture

A window is a grid of Gaussian filters. Along one axis there are `points` of them, `distance` pixels apart, their middle
at `center`: the centers are m_0 < m_1 < …, and their mean is `center`. Filter i weighs pixel a, counted from 0, with

    F_ia = e^(-(a - m_i)²/2σ²) / (S_i + 0.0001),

with S_i the sum of e^(-(a - m_i)²/2σ²) over all pixels a of the picture.

    filters(center, distance, sigma, points, side)
        center, distance, sigma : floats, in pixels
        points, side : ints, how many filters and how many pixels there are along the axis
        returns F, array (points, side)

With one such matrix for the rows of a picture, `down`, and one for its columns, `across`, a window reads a small
picture out of a large one, and writes a small one into a large one: the transpose of reading, except that reading
multiplies by the strength and writing divides by it.

    read(picture, down, across, strength)
        picture : array (rows, columns);   down : array (n, rows);   across : array (m, columns);   strength : float
        returns strength times what the filters see, array (n, m)
    write(patch, down, across, strength)
        patch : array (n, m)
        returns array (rows, columns)

For example, three filters, two pixels apart, in the middle of five pixels:

    F = filters(2.0, 2.0, 0.5, 3, 5)     # centers 0, 2, 4; F[1] is [0.00026, 0.10644, 0.78648, 0.10644, 0.00026]
    read(np.eye(5), F, F, 1.0)[1, 1]     # 0.64121
"""

import numpy as np


def filters(center, distance, sigma, points, side):
    """The weights of the filters along one axis."""
    # solution
    centers = center + distance * (np.arange(points) - (points - 1) / 2)
    weights = np.exp(-((np.arange(side) - centers[:, None]) ** 2) / (2 * sigma**2))
    return weights / (weights.sum(axis=1, keepdims=True) + 0.0001)
    # end of solution


def read(picture, down, across, strength):
    """What is seen through the window."""
    # solution
    return strength * (down @ picture @ across.T)
    # end of solution


def write(patch, down, across, strength):
    """What a patch adds to the picture."""
    # solution
    return down.T @ patch @ across / strength
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, hold, numbers
from lessons.exercises.cases import matrices

exercise = Exercise(
    __file__,
    'lesson 11, "A window"',
    hints=[
        "With 3 filters the offsets from the center are -1, 0 and 1 distances, with 4 they are -1.5, -0.5, 0.5 and "
        "1.5: `np.arange(points) - (points - 1) / 2`.",
        "`np.arange(side) - centers[:, None]` holds the distance of each pixel from each center, (points, side). Sums "
        "are over the pixels, axis 1, and keep it.",
        "Reading: `down` acts on the rows from the left, `across` on the columns from the right, transposed. Writing "
        "has the transposed matrices in these places.",
    ],
)

SIGMAS = st.integers(2, 8).map(lambda k: k / 4)
QUARTERS = st.integers(-8, 24).map(lambda k: k / 4)


@st.composite
def axes(draw, inside=False):
    """center, distance, sigma, points, side."""
    points, side = draw(st.integers(2, 4)), draw(st.integers(3, 6))
    center = draw(st.integers(2, 2 * side - 4)) / 2 if inside else draw(QUARTERS)
    return center, draw(st.integers(1, 8)) / 4, draw(SIGMAS), points, side


def filters_of(answer, center, distance, sigma, points, side):
    return numbers("the filters", answer.filters(center, distance, sigma, points, side), (points, side))


@exercise.law("the filters are an array (points, side) of numbers from 0 to 1", axes())
def kind(answer, case):
    came = filters_of(answer, *case)
    hold(((came >= 0) & (came <= 1)).all(), "the filters", came, "numbers from 0 to 1")


@exercise.law("two filters whose center is the picture's middle are mirror images of each other", axes())
def symmetry(answer, case):
    _, distance, sigma, points, side = case
    came = filters_of(answer, (side - 1) / 2, distance, sigma, points, side)
    agree("the filters, and their order and pixels turned round", came, came[::-1, ::-1])


@exercise.law("log F along a filter is a parabola: its second difference is -1/σ²", axes(inside=True))
def curvature(answer, case):
    came = filters_of(answer, *case)
    with np.errstate(all="ignore"):
        second = np.diff(np.log(came), 2, axis=1)
    agree("the second differences of log F", second, np.full(second.shape, -1 / case[2] ** 2), rtol=1e-6)


@exercise.law("the parabola's vertex is at the filter's center", axes(inside=True))
def vertex(answer, case):
    center, distance, sigma, points, _ = case
    came = filters_of(answer, *case)
    with np.errstate(all="ignore"):
        slope = np.log(came[:, 1] / came[:, 0])  # (m - 1/2)/σ²
    middles = [center + distance * (i - (points - 1) / 2) for i in range(points)]
    agree("the centers, from log F[:, 1]/F[:, 0]", 0.5 + sigma**2 * slope, middles, rtol=1e-6, atol=1e-6)


@exercise.law("the weights of a filter add up to S/(S + 0.0001)", axes())
def sums(answer, case):
    center, distance, sigma, points, side = case
    wanted = []
    for i in range(points):
        middle = center + distance * (i - (points - 1) / 2)
        S = sum(np.exp(-((a - middle) ** 2) / 2 / sigma**2) for a in range(side))
        wanted.append(S / (S + 1e-4))
    agree("the sums over pixels", filters_of(answer, *case).sum(axis=1), wanted)


@exercise.law(
    "a filter that lies far outside of the picture sees nothing", st.just((500.0, 1.0, 1.0, 2, 4)), examples=1
)
def outside(answer, case):
    agree("the filters", filters_of(answer, *case), np.zeros((2, 4)))


@st.composite
def windows(draw):
    """picture, patch, down, across, strength."""
    rows, columns, n, m = (draw(st.integers(1, 4)) for _ in range(4))
    down, across = draw(matrices(n, rows)), draw(matrices(m, columns))
    return draw(matrices(rows, columns)), draw(matrices(n, m)), down, across, draw(st.sampled_from([1.0, 0.5, 4.0]))


@exercise.law("read is (n, m), and write is (rows, columns)", windows())
def shapes(answer, case):
    picture, patch, *window = case
    numbers("what is read", answer.read(picture, *window), patch.shape)
    numbers("what is written", answer.write(patch, *window), picture.shape)


@exercise.law("an entry that is read is strength · Σ down · picture · across", windows())
def entry(answer, case):
    picture, patch, down, across, strength = case
    wanted = [[strength * np.sum(np.outer(down[i], across[j]) * picture) for j in range(patch.shape[1])]
              for i in range(patch.shape[0])]  # fmt: skip
    agree("what is read", answer.read(picture, down, across, strength), wanted)


@exercise.law(
    "strength 1: the product of what is read and a patch is that of the picture and what is written", windows()
)
def transpose(answer, case):
    picture, patch, down, across, _ = case
    written = numbers("what is written", answer.write(patch, down, across, 1.0), picture.shape)
    agree("Σ picture · write(patch)", np.sum(picture * written), np.sum(down @ picture @ across.T * patch))


@exercise.law("twice the strength writes half of it", windows())
def weaker(answer, case):
    _, patch, down, across, strength = case
    once = numbers("what is written", answer.write(patch, down, across, strength), (down.shape[1], across.shape[1]))
    agree("what is written with twice the strength", answer.write(patch, down, across, 2 * strength), once / 2)


CENTERS = "center + distance * (np.arange(points) - (points - 1) / 2)"
exercise.mistake(
    "the grid begins at the center: the mean of the filters' centers is to be there.",
    CENTERS,
    "center + distance * np.arange(points)",
)
exercise.mistake(
    "the grid is half a distance too far down: count from 0, and take off (points - 1)/2.",
    CENTERS,
    "center + distance * (np.arange(points) - points / 2)",
)
exercise.mistake("the distance between filters is missing.", CENTERS, "center + (np.arange(points) - (points - 1) / 2)")
EXPONENT = "** 2) / (2 * sigma**2))"
exercise.mistake("the exponent has 1/σ² in it, where 1/2σ² belongs.", EXPONENT, "** 2) / sigma**2)")
exercise.mistake("the exponent is divided by 2σ, where 2σ² belongs.", EXPONENT, "** 2) / (2 * sigma))")
exercise.mistake("the exponent lacks its square.", EXPONENT, ") / (2 * sigma**2))")
NORMAL = "weights / (weights.sum(axis=1, keepdims=True) + 0.0001)"
exercise.mistake(
    "the guard is missing: a filter outside of the picture divides 0 by 0.",
    NORMAL,
    "weights / weights.sum(axis=1, keepdims=True)",
)
exercise.mistake("the weights are not divided by their sum.", NORMAL, "weights")
exercise.mistake(
    "the sum runs over the filters: each filter is divided by its own sum over pixels.",
    NORMAL,
    "weights / (weights.sum(axis=0, keepdims=True) + 0.0001)",
)
exercise.mistake("one sum is taken over all filters: each has its own.", NORMAL, "weights / (weights.sum() + 0.0001)")
READ = "strength * (down @ picture @ across.T)"
exercise.mistake("reading divides by the strength: it multiplies.", READ, "down @ picture @ across.T / strength")
exercise.mistake("reading leaves the strength out.", READ, "down @ picture @ across.T")
exercise.mistake("down and across have changed places in reading.", READ, "strength * (across @ picture @ down.T)")
WRITE = "down.T @ patch @ across / strength"
exercise.mistake("writing multiplies by the strength: it divides.", WRITE, "strength * (down.T @ patch @ across)")
exercise.mistake("writing leaves the strength out.", WRITE, "down.T @ patch @ across")

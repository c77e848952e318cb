"""7.3 A network without weight normalization, front to back

"The method can also be applied to networks without weight normalization" (section 3). A network's layers compute
t = W x + b. The first reads the minibatch x itself; each further one reads φ(t) of the layer below. Give every row of
every W a new length, and every unit a bias, so that over the minibatch each unit's t has mean 0 and variance 1 (the
variance divides by B, not by B - 1; nothing is added to it). No row changes its direction.

    initialize_network(x, weights, phi)
        x : array (B, n), the minibatch: one example in each row
        weights : list of arrays W (units, inputs), first layer first; they are not changed
        phi : function φ, from one array to another of the same shape
        returns a list of (W, b), first layer first: arrays (units, inputs) and (units,)

For example, two layers of one unit each, and φ(t) = 2 t. The first layer's t is 4 and 8 before, -1 and 1 afterwards. So
the second reads -2 and 2, and has to halve them:

    initialize_network(np.array([[1.0], [2.0]]), [np.array([[4.0]]), np.array([[8.0]])], lambda t: 2 * t)
    # [([[2.0]], [-3.0]), ([[0.5]], [0.0])]
"""

import numpy as np


def initialize_network(x, weights, phi):
    """(W, b) of each layer, such that each pre-activation has mean 0 and variance 1."""
    # solution
    layers = []
    for W in weights:
        t = x @ W.T
        mean, deviation = t.mean(axis=0), t.std(axis=0)
        layers.append((W / deviation[:, None], -mean / deviation))
        x = phi((t - mean) / deviation)
    return layers
    # end of solution


# %% Laws

from itertools import pairwise

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, hold, numbers, parts

exercise = Exercise(
    __file__,
    "lesson 07, parts 2 and 3",
    hints=[
        "One layer first: t = W x without a bias, its mean and its deviation over the examples. Dividing a row of W by "
        "a number divides t by it.",
        "b then takes away what is left of the mean, as in equation 6.",
        "Before you go on to the next layer, compute what this one outputs now, with its new W and b: φ of the "
        "normalized t.",
    ],
)


def relu(t):
    return np.maximum(t, 0)


def tanh(t):
    return np.tanh(t)


def twice(t):
    return 2 * t + 1


def normalized(x, weights, phi):
    """Equation 5: (what comes in, its t before, σ[t]) of each layer of the initialized network."""
    for W in weights:
        t = np.einsum("ei, ui -> eu", x, W)
        yield x, t, t.std(axis=0)
        x = phi((t - t.mean(axis=0)) / t.std(axis=0))


@st.composite
def drawn(draw):
    """A minibatch of 5 to 8 examples and up to three layers of 1 to 3 units: normal random numbers, to one digit."""
    widths = draw(st.lists(st.integers(1, 3), min_size=2, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    weights = [(3 * rng.normal(size=(b, a))).round(1) for a, b in pairwise(widths)]
    x = (1 + 2 * rng.normal(size=(draw(st.integers(5, 8)), widths[0]))).round(1)
    return x, weights, draw(st.sampled_from([relu, tanh, twice]))


# With σ[t] above 0.05 a layer passes on a rounding error with a factor below 100 or so: 100³ times 1e-16.
cases = drawn().filter(lambda case: all(deviation.min() > 0.05 for *_, deviation in normalized(*case)))


def pre_activations(layers, case):
    """t of each layer, computed with these W and b."""
    x, _, phi = case
    for W, b in layers:
        t = np.einsum("ei, ui -> eu", x, W) + b
        yield t
        x = phi(t)


def place(number, case):
    return f"layer {number} of {len(case[1])}, φ = {case[2].__name__}"


@exercise.law(
    "there are a W and a b for each layer, and the weights that it was given stay as they were", cases, examples=15
)
def shape(answer, case):
    x, weights, phi = case
    given = [W.copy() for W in weights]
    came = answer.initialize_network(x.copy(), given, phi)
    hold(isinstance(came, (tuple, list)), "what is returned", type(came).__name__, "a list of pairs (W, b)")
    hold(len(came) == len(weights), "how many pairs (W, b) are returned", len(came), len(weights))
    for number, (pair, before) in enumerate(zip(came, weights, strict=True), 1):
        W, b = parts(pair, f"W of layer {number}", f"b of layer {number}")
        numbers(f"W of layer {number}", W, before.shape)
        numbers(f"b of layer {number}", b, before.shape[:1])
    same = len(given) == len(weights) and all(map(np.array_equal, given, weights))
    hold(same, "the weights that it was given, afterwards", given, weights)


@exercise.law("the first layer's pre-activations have mean 0 and variance 1", cases, examples=25)
def first_layer(answer, case):
    t = next(pre_activations(answer.initialize_network(*case), case))
    agree("the mean of t in layer 1, unit by unit", t.mean(axis=0), np.zeros(t.shape[1]))
    agree("the variance of t in layer 1, unit by unit", t.var(axis=0), np.ones(t.shape[1]))


@exercise.law("so have those of every further layer, on what the layers below now send", cases, examples=25)
def further_layers(answer, case):
    for number, t in enumerate(pre_activations(answer.initialize_network(*case), case), 1):
        agree(f"the mean of t in {place(number, case)}", t.mean(axis=0), np.zeros(t.shape[1]), atol=1e-8)
        agree(f"the variance of t in {place(number, case)}", t.var(axis=0), np.ones(t.shape[1]))


@exercise.law("each row of W points where it pointed before", cases, examples=15)
def direction(answer, case):
    for number, ((W, _), before) in enumerate(zip(answer.initialize_network(*case), case[1], strict=True), 1):
        now, then = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (np.asarray(W), before))
        agree(f"the directions of the rows in {place(number, case)}", now, then)


NEXT, PAIR = "x = phi((t - mean) / deviation)", "(W / deviation[:, None], -mean / deviation)"
T, STATISTICS = "t = x @ W.T", "t.mean(axis=0), t.std(axis=0)"
exercise.mistake("each layer is measured on what the layer below sent before its W and b were set.", NEXT, "x = phi(t)")
exercise.mistake("φ is missing between the layers.", NEXT, "x = (t - mean) / deviation")
exercise.mistake(
    "φ is missing between the layers, and they are measured on what was sent before W and b were set.", NEXT, "x = t"
)
exercise.mistake(
    "φ is applied to the minibatch as well; the first layer reads x itself.", "layers = []", "layers, x = [], phi(x)"
)
exercise.mistake(
    "the next layer is measured on outputs without the bias: the mean has to be subtracted before φ.",
    NEXT,
    "x = phi(t / deviation)",
)
exercise.mistake(
    "the next layer is measured on outputs with the old scale: σ[t] has to divide t before φ.",
    NEXT,
    "x = phi(t - mean)",
)
exercise.mistake(
    "φ comes before the normalization here; it belongs after it.",
    NEXT,
    "x = (phi(t) - phi(t).mean(axis=0)) / phi(t).std(axis=0)",
)
exercise.mistake(
    "t with mean and deviation of φ(t) is not normalized: the statistics are those of t.",
    STATISTICS,
    "phi(t).mean(axis=0), phi(t).std(axis=0)",
)
exercise.mistake("b has the wrong sign: the mean is subtracted.", PAIR, "(W / deviation[:, None], mean / deviation)")
exercise.mistake("the mean in b is not divided by σ[t].", PAIR, "(W / deviation[:, None], -mean)")
exercise.mistake("W keeps its length here; it has to be divided by σ[t], row by row.", PAIR, "(W, -mean / deviation)")
exercise.mistake("W and b are left unscaled here; both have to be divided by σ[t].", PAIR, "(W, -mean)")
exercise.mistake("W is multiplied by σ[t]; divide by it.", PAIR, "(W * deviation[:, None], -mean / deviation)")
exercise.mistake(
    "σ[t] has been measured of W x with W as it is; dividing by ‖w‖ as well is once too often.",
    PAIR,
    "(W / np.linalg.norm(W, axis=1, keepdims=True) / deviation[:, None], -mean / deviation)",
)
exercise.mistake(
    "t has been measured with rows of length 1, but the rows of W still have their old length: divide by ‖w‖, too.",
    T,
    "t = x @ (W / np.linalg.norm(W, axis=1, keepdims=True)).T",
)
exercise.mistake(
    "the rows have length 1 here, whatever σ[t] is.",
    PAIR,
    "(W / np.linalg.norm(W, axis=1, keepdims=True), -mean / deviation)",
)
exercise.mistake(
    "the variance divides by B - 1 here; over this minibatch it divides by B.",
    STATISTICS,
    "t.mean(axis=0), t.std(axis=0, ddof=1)",
)
exercise.mistake(
    "the variance stands where the standard deviation belongs.", STATISTICS, "t.mean(axis=0), t.var(axis=0)"
)
exercise.mistake(
    "the root mean square of t has been measured; subtract the mean before squaring.",
    STATISTICS,
    "t.mean(axis=0), np.sqrt((t**2).mean(axis=0))",
)
exercise.mistake(
    "mean and deviation are taken over the whole layer; each unit has its own.",
    STATISTICS,
    "np.full(len(W), t.mean()), np.full(len(W), t.std())",
)
exercise.mistake(
    "the deviation is taken over the whole layer; each unit has its own.",
    STATISTICS,
    "t.mean(axis=0), np.full(len(W), t.std())",
)
exercise.mistake(
    "the last layer is left as it was; it is initialized like the others.",
    "layers = []",
    "layers, last = [], weights[-1]",
    "return layers",
    "return [*layers[:-1], (last, np.zeros(len(last)))]",
)


@exercise.symptom("something small is added to σ[t] or to the variance, so the variance comes out below 1.")
def has_eps(answer):
    ((W, b),) = answer.initialize_network(np.array([[1.0], [3.0]]), [np.array([[1.0]])], np.tanh)
    W, b = np.ravel(W)[0], np.ravel(b)[0]
    return 1e-12 < 1 - W < 2e-2 and abs(b + 2 * W) < 1e-7

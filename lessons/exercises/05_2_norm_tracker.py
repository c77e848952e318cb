"""5.2 A tracker of norms

Anyone who trains with normalized weights should watch ‖v‖. Write a class that takes notes, for each unit of one layer.
`NormTracker(v)` begins with the v from which training starts; `record` is called after each step. It keeps three lists,
each with an array (units,) for the beginning and one for each step:

    norm            ‖v‖
    relative_step   ‖Δv‖/‖v‖, where Δv is what the step has really changed and ‖v‖ the length before it, whatever the
                    optimizer; zeros for the beginning
    predicted_norm  √(‖v_0‖² + Σ η² ‖∇_v L‖²), summed over the steps so far: the length that plain gradient descent
                    would have led to; ‖v_0‖ for the beginning

    NormTracker(v)
        v : array (units, n), no row of it ever zero
    record(v, grad_v, eta)
        v : array (units, n), after the step
        grad_v : array (units, n), the gradient that the step used
        eta : float, its learning rate, which may differ from step to step

Optimizers often change v in place: the same array, with other numbers in it. `track` below does so. It is complete: it
makes a tracker and some steps, and returns the three lists. The laws call it.

For example, v = (3, 4) makes the step (-8, 6) with η = 0.5 and the gradient (16, -12): ‖v‖ grows from 5 to √125.

    track(np.array([[3.0, 4.0]]), [np.array([[-8.0, 6.0]])], [np.array([[16.0, -12.0]])], [0.5])
    # ([[5.0], [11.18034]], [[0.0], [2.0]], [[5.0], [11.18034]])
"""

import numpy as np


class NormTracker:
    """‖v‖, the relative step, and the ‖v‖ that plain gradient descent would lead to, after each step."""

    def __init__(self, v):
        # solution
        norm = np.linalg.norm(v, axis=1)
        self.norm, self.relative_step, self.predicted_norm = [norm], [np.zeros(len(v))], [norm]
        self.before = v.copy()
        # end of solution

    def record(self, v, grad_v, eta):
        """Take note of the step just made."""
        # solution
        step = np.linalg.norm(v - self.before, axis=1)
        growth = (eta * np.linalg.norm(grad_v, axis=1)) ** 2
        self.relative_step.append(step / self.norm[-1])
        self.norm.append(np.linalg.norm(v, axis=1))
        self.predicted_norm.append(np.sqrt(self.predicted_norm[-1] ** 2 + growth))
        self.before = v.copy()
        # end of solution


def track(v, steps, gradients, rates):
    """Let v make these steps, in place; return what a tracker notes meanwhile."""
    v = v.copy()
    tracker = NormTracker(v)
    for step, grad_v, eta in zip(steps, gradients, rates, strict=True):
        v += step
        tracker.record(v, grad_v, eta)
    return tracker.norm, tracker.relative_step, tracker.predicted_norm


# %% Laws

from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lessons.exercises import BrokenLaw, Exercise, agree, numbers, parts
from lessons.exercises.cases import NUMBERS, POSITIVE, matrices

exercise = Exercise(
    __file__,
    'lesson 03, "In a layer", and lesson 05, "A step at a right angle"',
    hints=[
        "`record` has to know the v from before the step. As v may be changed in place, keep a copy of it.",
        "The relative step divides by the length before the step; so compute it before you note the new length.",
        "Each prediction goes on from the one before, not from what was measured: its square grows by η² ‖∇_v L‖² a "
        "step.",
    ],
)


@st.composite
def cases(draw):
    units, n, count = draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(st.integers(0, 3))
    v = draw(matrices(units, n, rows_not_zero=True))
    steps, gradients = (list(draw(arrays(float, (count, units, n), elements=NUMBERS))) for _ in range(2))
    assume(np.all([np.any(v + sum(steps[:i]), axis=1) for i in range(count + 1)]))
    return v, steps, gradients, [draw(POSITIVE) for _ in range(count)]


def notes(answer, case):
    """The three lists as arrays (steps + 1, units)."""
    names = "norm", "relative_step", "predicted_norm"
    wanted = len(case[1]) + 1
    for name, values in zip(names, came := parts(answer.track(*case), *names), strict=True):
        if not isinstance(values, (list, tuple, np.ndarray)):
            raise BrokenLaw(name, f"a {type(values).__name__}", "a list")
        if len(values) != wanted:
            raise BrokenLaw(f"the entries of {name} after {wanted - 1} steps", len(values), wanted)
    return [numbers(name, values, (wanted, len(case[0]))) for name, values in zip(names, came, strict=True)]


def path(case):
    """v at the beginning and after each step."""
    v, steps, *_ = case
    return v + np.cumsum([np.zeros(v.shape), *steps], axis=0)


@exercise.law("each list has an array (units,) for the beginning and one for each step", cases())
def shapes(answer, case):
    notes(answer, case)


@exercise.law("norm is ‖v‖, at the beginning and after each step", cases())
def norm(answer, case):
    agree("norm, a row for each step", notes(answer, case)[0], np.linalg.norm(path(case), axis=2))


@exercise.law("relative_step times the length before is ‖Δv‖, also where v changes in place", cases())
def relative(answer, case):
    v = path(case)
    lengths, came = np.linalg.norm(v, axis=2), notes(answer, case)[1]
    agree("relative_step at the beginning", came[0], np.zeros(len(case[0])))
    agree("relative_step, a row for each step", came[1:], np.linalg.norm(np.diff(v, axis=0), axis=2) / lengths[:-1])


@exercise.law("the square of predicted_norm begins with ‖v_0‖² and grows by η² ‖∇_v L‖² a step", cases())
def predicted(answer, case):
    v, _, gradients, rates = case
    squares = notes(answer, case)[2] ** 2
    agree("the square of predicted_norm at the beginning", squares[0], np.sum(v**2, axis=1))
    if rates:
        wanted = [np.sum((eta * gradient) ** 2, axis=1) for eta, gradient in zip(rates, gradients, strict=True)]
        agree("its growth, a row for each step", np.diff(squares, axis=0), wanted, atol=1e-9 + 1e-14 * squares.max())


@exercise.law(
    "for steps of plain gradient descent at a right angle to v, predicted_norm is norm",
    st.lists(NUMBERS, min_size=1, max_size=3),
)
def descent(answer, sizes):
    v, steps = np.array([[1.0, 0.0]]), []
    for size in sizes:
        steps.append(size * np.array([[-v[0, 1], v[0, 0]]]))
        v = v + steps[-1]
    case = np.array([[1.0, 0.0]]), steps, [-2.0 * step for step in steps], [0.5] * len(steps)
    came = notes(answer, case)
    agree("predicted_norm", came[2], came[0])


exercise.mistake(
    "you keep v itself, not a copy: when v changes in place, what you kept changes with it, and Δv comes out as 0.",
    "[norm]\n        self.before = v.copy()",
    "[norm]\n        self.before = v",
    "+ growth))\n        self.before = v.copy()",
    "+ growth))\n        self.before = v",
)
exercise.mistake(
    "at the end of record you keep v itself, not a copy: when v changes in place, what you kept changes with it.",
    "+ growth))\n        self.before = v.copy()",
    "+ growth))\n        self.before = v",
)
exercise.mistake(
    "record does not keep the new v, so all later steps are measured from the beginning.",
    "+ growth))\n        self.before = v.copy()",
    "+ growth))",
)
exercise.mistake(
    "the relative step is divided by the length after the step; divide by that before.",
    "step / self.norm[-1]",
    "step / np.linalg.norm(v, axis=1)",
)
exercise.mistake(
    "the relative step is divided by the length at the beginning; divide by that before the step.",
    "step / self.norm[-1]",
    "step / self.norm[0]",
)
exercise.mistake("the relative step is not divided by ‖v‖.", "step / self.norm[-1]", "step")
exercise.mistake(
    "you compute the relative step from η and the gradient; it is to be what v has really changed by.",
    "step / self.norm[-1]",
    "eta * np.linalg.norm(grad_v, axis=1) / self.norm[-1]",
)
exercise.mistake(
    "you take the difference of the two lengths; Δv is the difference of the vectors, and then comes the length.",
    "step = np.linalg.norm(v - self.before, axis=1)",
    "step = abs(np.linalg.norm(v, axis=1) - self.norm[-1])",
)
exercise.mistake(
    "the prediction goes on from the measured length; it is to go on from the prediction before.",
    "self.predicted_norm[-1] ** 2 + growth",
    "self.norm[-2] ** 2 + growth",
)
exercise.mistake(
    "the prediction goes on from the length after the step; it is to go on from the prediction before.",
    "self.predicted_norm[-1] ** 2 + growth",
    "self.norm[-1] ** 2 + growth",
)
exercise.mistake(
    "each prediction starts from ‖v_0‖ again; the sum is over all steps so far.",
    "self.predicted_norm[-1] ** 2 + growth",
    "self.norm[0] ** 2 + growth",
)
exercise.mistake(
    "the prediction adds lengths; at a right angle it is the squares that add up.",
    "np.sqrt(self.predicted_norm[-1] ** 2 + growth)",
    "self.predicted_norm[-1] + np.sqrt(growth)",
)
exercise.mistake(
    "η is not squared in the prediction.",
    "(eta * np.linalg.norm(grad_v, axis=1)) ** 2",
    "eta * np.linalg.norm(grad_v, axis=1) ** 2",
)
exercise.mistake(
    "η is missing from the prediction.",
    "(eta * np.linalg.norm(grad_v, axis=1)) ** 2",
    "np.linalg.norm(grad_v, axis=1) ** 2",
)
exercise.mistake(
    "‖∇_v L‖ is not squared in the prediction.",
    "(eta * np.linalg.norm(grad_v, axis=1)) ** 2",
    "eta**2 * np.linalg.norm(grad_v, axis=1)",
)
exercise.mistake(
    "neither η nor ‖∇_v L‖ is squared in the prediction.",
    "(eta * np.linalg.norm(grad_v, axis=1)) ** 2",
    "eta * np.linalg.norm(grad_v, axis=1)",
)
exercise.mistake(
    "predicted_norm holds the squares: the root is missing.",
    "[np.zeros(len(v))], [norm]",
    "[np.zeros(len(v))], [norm**2]",
    "np.sqrt(self.predicted_norm[-1] ** 2 + growth)",
    "self.predicted_norm[-1] + growth",
)
exercise.mistake(
    "the prediction adds up what v has really changed by; it is to use η and the gradient.",
    "growth = (eta * np.linalg.norm(grad_v, axis=1)) ** 2",
    "growth = step**2",
)
exercise.mistake(
    "the prediction starts from 0; it starts from ‖v_0‖.",
    "[np.zeros(len(v))], [norm]",
    "[np.zeros(len(v))], [np.zeros(len(v))]",
)
exercise.mistake("relative_step lacks the zeros for the beginning.", "[np.zeros(len(v))], [norm]", "[], [norm]")
exercise.mistake(
    "the lists lack their entries for the beginning.",
    "[norm], [np.zeros(len(v))], [norm]",
    "[], [], []",
    "        step = np",
    "        if not self.norm:\n"
    "            self.last = self.start = np.linalg.norm(self.before, axis=1)\n"
    "        step = np",
    "step / self.norm[-1]",
    "step / self.last",
    "        self.predicted_norm.append(np.sqrt(self.predicted_norm[-1] ** 2 + growth))",
    "        self.last = self.norm[-1]\n        self.start = np.sqrt(self.start**2 + growth)\n"
    "        self.predicted_norm.append(self.start)",
)
exercise.mistake(
    "you note one length of the whole array; each unit has one of its own.",
    "        norm = np.linalg.norm(v, axis=1)",
    "        norm = np.linalg.norm(v)",
    "self.norm.append(np.linalg.norm(v, axis=1))",
    "self.norm.append(np.linalg.norm(v))",
)
exercise.mistake(
    "you take one length of the whole gradient; each unit has one of its own.",
    "(eta * np.linalg.norm(grad_v, axis=1))",
    "(eta * np.linalg.norm(grad_v))",
)
exercise.mistake(
    "you take one length of the whole of Δv; each unit has one of its own.",
    "np.linalg.norm(v - self.before, axis=1)",
    "np.linalg.norm(v - self.before)",
)
exercise.mistake(
    "the first copy is missing: when v changes in place, what you kept at the beginning changes with it.",
    "[norm]\n        self.before = v.copy()",
    "[norm]\n        self.before = v",
)
exercise.mistake(
    "relative_step begins with a single number; it is to be a zero for each unit.",
    "[np.zeros(len(v))], [norm]",
    "[0.0], [norm]",
)
exercise.mistake(
    "you square the sum of the η ‖∇_v L‖; the squares are to be summed.",
    "self.predicted_norm[-1] ** 2 + growth",
    "self.norm[0] ** 2 + (np.sqrt(self.predicted_norm[-1] ** 2 - self.norm[0] ** 2) + np.sqrt(growth)) ** 2",
)

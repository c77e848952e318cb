"""12.2 The gradient of a minibatch

Deep Q-learning draws moves from its memory. For each of them the network predicts Q of all moves in the state before,
and the target network Q of all moves in the state after. The loss is Huber's, added up over the minibatch: with d the
prediction for the move that was made minus its target, it is ½d² where |d| ≤ 1, and |d| - ½ beyond.

The target is y = reward + discount · (largest Q of the target network); after a terminal move nothing comes, and y is
the reward alone. Targets are constants for the gradient.

    gradient(values, actions, rewards, next_values, terminals, discount)
        values : array (B, moves), the network's Q before
        actions : array (B,) of ints, the moves that were made
        rewards : array (B,)
        next_values : array (B, moves), the target network's Q after
        terminals : array (B,) of bools
        discount : float
        returns the gradient of the loss for `values`, array (B, moves)

For example, a move that was made first, with a target of 1 + 0.5 · 4 = 3:

    one = np.array([[2.75, 9.0]]), np.array([0]), np.array([1.0]), np.array([[4.0, 2.0]])
    gradient(*one, np.array([False]), 0.5)     # [[-0.25, 0]]
    gradient(*one, np.array([True]), 0.5)      # [[1, 0]]: the target is 1, and 1.75 is beyond 1
"""

import numpy as np


def gradient(values, actions, rewards, next_values, terminals, discount):
    """The gradient of Huber's loss, added up, for the predictions."""
    # solution
    rows = np.arange(len(actions))
    target = rewards + discount * np.where(terminals, 0.0, next_values.max(axis=1))
    found = np.zeros(values.shape)
    found[rows, actions] = np.clip(values[rows, actions] - target, -1, 1)
    return found
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, differences, hold, numbers
from lessons.exercises.cases import matrices, vectors

exercise = Exercise(
    __file__,
    'lesson 12, "Replay"',
    hints=[
        "First the targets, an array (B,): `next_values.max(axis=1)`, and `np.where(terminals, 0.0, ...)`.",
        "Only one prediction of each row is in the loss: `values[np.arange(B), actions]`. The others have "
        "the gradient 0.",
        "The derivative of ½d² is d, and that of |d| - ½ is the sign of d: together d, clipped to ±1.",
    ],
)


@st.composite
def minibatches(draw):
    """values, actions, rewards, next_values, terminals, discount."""
    count, moves = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    actions = np.array(draw(st.lists(st.integers(0, moves - 1), min_size=count, max_size=count)))
    terminals = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    return (draw(matrices(count, moves)), actions, draw(vectors(count)), draw(matrices(count, moves)), terminals,
            draw(st.sampled_from([0.5, 0.75])))  # fmt: skip


def found(answer, case):
    copies = [part.copy() for part in case[:-1]]
    return numbers("the gradient", answer.gradient(*copies, case[-1]), case[0].shape)


def wanted(case):
    """The targets, move by move."""
    _, _, rewards, next_values, terminals, discount = case
    return [r if over else r + discount * max(q) for r, q, over in zip(rewards, next_values, terminals, strict=True)]


@exercise.law("moves that were not made have no gradient", minibatches())
def made(answer, case):
    came = found(answer, case)
    others = np.arange(came.shape[1]) != case[1][:, None]
    agree("the gradient of the other moves", came[others], np.zeros(others.sum()))


@exercise.law("the gradient lies between -1 and 1", minibatches())
def clipped(answer, case):
    came = found(answer, case)
    hold((abs(came) <= 1 + 1e-9).all(), "the gradient", came, "numbers from -1 to 1")


@exercise.law("it is the gradient of Huber's loss, with the targets held constant", minibatches())
def derivative(answer, case):
    values, actions, y = case[0], case[1], wanted(case)

    def loss(values):
        off = [abs(row[a] - target) for row, a, target in zip(values, actions, y, strict=True)]
        return sum(d * d / 2 if d <= 1 else d - 0.5 for d in off)

    agree("the gradient", found(answer, case), differences(loss, values), rtol=1e-5, atol=1e-5)


@exercise.law("a prediction that is its target has no gradient", minibatches())
def at_the_target(answer, case):
    values = case[0].copy()
    values[np.arange(len(values)), case[1]] = wanted(case)
    agree("the gradient", found(answer, (values, *case[1:])), np.zeros(values.shape))


@exercise.law("after a terminal move it does not matter what comes, even if that is not a number", minibatches())
def terminal(answer, case):
    values, actions, rewards, next_values, _, discount = case
    over = np.ones(len(actions), bool)
    nothing = np.full(next_values.shape, np.nan)
    found_with = [found(answer, (values, actions, rewards, q, over, discount)) for q in (nothing, 0 * next_values)]
    agree("the gradient where all that comes is NaN", *found_with)


@exercise.law("each row is what it would be in a minibatch of its own", minibatches())
def alone(answer, case):
    came = found(answer, case)
    for i in range(len(came)):
        row = found(answer, (*(part[i : i + 1] for part in case[:-1]), case[-1]))
        agree(f"row {i}", came[i : i + 1], row)


CLIPPED = "np.clip(values[rows, actions] - target, -1, 1)"
exercise.mistake(
    "that is the gradient of ½d²: beyond 1 Huber's loss has the slope ±1.", CLIPPED, "values[rows, actions] - target"
)
exercise.mistake("the sign is wrong: a prediction below its target has a negative gradient.", CLIPPED,
                 "np.clip(target - values[rows, actions], -1, 1)")  # fmt: skip
exercise.mistake("that is the gradient of the mean: the loss is added up over the minibatch.", CLIPPED,
                 "np.clip(values[rows, actions] - target, -1, 1) / len(actions)")  # fmt: skip
exercise.mistake("only the sign of the difference is left: where |d| ≤ 1 the derivative is d.", CLIPPED,
                 "np.sign(values[rows, actions] - target)")  # fmt: skip
exercise.mistake(
    "the derivative of ½d² is d, and not 2d.", CLIPPED, "np.clip(2 * (values[rows, actions] - target), -1, 1)"
)
exercise.mistake("the gradient is in the place of the largest value: it belongs to the move that was made.",
                 "found[rows, actions] = ", "found[rows, values.argmax(axis=1)] = ")  # fmt: skip
exercise.mistake("every move of a row has the gradient: the loss has the one that was made in it, and no other.",
                 "found[rows, actions] = " + CLIPPED,
                 "found[:] = np.clip(values - target[:, None], -1, 1)")  # fmt: skip
TARGET = "rewards + discount * np.where(terminals, 0.0, next_values.max(axis=1))"
exercise.mistake(
    "terminal moves look ahead: nothing comes after them.", TARGET, "rewards + discount * next_values.max(axis=1)"
)
exercise.mistake(
    "terminal is taken for the contrary.",
    TARGET,
    "rewards + discount * np.where(terminals, next_values.max(axis=1), 0.0)",
)
exercise.mistake("0 · NaN is NaN: leave out what comes after a terminal move by `np.where`.", TARGET,
                 "rewards + discount * (1 - terminals) * next_values.max(axis=1)")  # fmt: skip
exercise.mistake("the target of a terminal move is its reward, not 0.", TARGET,
                 "np.where(terminals, 0.0, rewards + discount * next_values.max(axis=1))")  # fmt: skip
exercise.mistake("the discount is missing.", TARGET, "rewards + np.where(terminals, 0.0, next_values.max(axis=1))")
exercise.mistake("the target takes Q of the same move in the next state: the largest one belongs there.",
                 "next_values.max(axis=1)", "next_values[rows, actions]")  # fmt: skip
exercise.mistake("the target takes the largest Q of the state before.", "next_values.max(axis=1)", "values.max(axis=1)")

"""14.2 A round of the ring

P workers stand in a ring. Each has an array that is cut into P parts, and all want the sum of the arrays. They need
2(P - 1) rounds. In round k, from 0, worker r sends its part (r - k) mod P to the next worker, (r + 1) mod P; all do so
at the same time. In the rounds 0 to P - 2 the worker that gets a part adds it to its own part of that number. In the
later rounds what it gets replaces its own. Write one round.

    ring_round(parts, k)
        parts : array (P, P, n), parts[r, j] is what worker r has of part j
        k : int, the round, from 0 to 2(P - 1) - 1
        returns the parts after the round, a new array (P, P, n); the one that was given stays as it is

For example, with P = 2 and parts of one number:

    parts = np.array([[[1.0], [2.0]], [[10.0], [20.0]]])
    ring_round(parts, 0)      # [[[1], [22]], [[11], [20]]]: part 0 of worker 0 has gone to 1, part 1 of worker 1 to 0
    ring_round(_, 1)          # [[[11], [22]], [[11], [22]]]
"""

import numpy as np


def ring_round(parts, k):
    """The parts after round k."""
    # solution
    size, new = len(parts), parts.copy()
    for r in range(size):
        j, to = (r - k) % size, (r + 1) % size
        if k < size - 1:
            new[to, j] = parts[to, j] + parts[r, j]
        else:
            new[to, j] = parts[r, j]
    return new
    # end of solution


# %% Laws

from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lessons.exercises import Exercise, agree, hold, numbers
from lessons.exercises.cases import NUMBERS

exercise = Exercise(
    __file__,
    'lesson 14, "Rings and trees"',
    hints=[
        "Go over the senders r. Which part does r send, and to whom?",
        "Write into a copy, and return that.",
        "With j = (r - k) % P and to = (r + 1) % P, worker `to` gets parts[r, j]. It adds while k < P - 1.",
    ],
)


@st.composite
def cases(draw, least=2):
    size = draw(st.integers(least, 5))
    return draw(arrays(float, (size, size, draw(st.integers(1, 2))), elements=NUMBERS))


def after(answer, parts, k):
    return numbers(f"the parts after round {k}", answer.ring_round(parts.copy(), k), parts.shape)


@exercise.law("after 2(P - 1) rounds each worker has the sum", cases())
def all_have_the_sum(answer, parts):
    wanted = np.broadcast_to(parts.sum(axis=0), parts.shape)
    for k in range(2 * (len(parts) - 1)):
        parts = after(answer, parts, k)
    agree("all workers' parts at the end", parts, wanted)


@exercise.law("after P - 1 rounds worker r has the sum of part (r + 1) mod P", cases())
def half_way(answer, parts):
    size, sums = len(parts), parts.sum(axis=0)
    for k in range(size - 1):
        parts = after(answer, parts, k)
    for r in range(size):
        agree(f"part {(r + 1) % size} of worker {r} after {size - 1} rounds", parts[r, (r + 1) % size],
              sums[(r + 1) % size])  # fmt: skip


@exercise.law("in a round a worker gets one part, (r - 1 - k) mod P, and the others stay", cases())
def one_part(answer, parts):
    size = len(parts)
    for k in range(2 * (size - 1)):
        new = after(answer, parts, k)
        for r in range(size):
            kept = [j for j in range(size) if j != (r - 1 - k) % size]
            agree(f"the parts {kept} of worker {r} after round {k}", new[r, kept], parts[r, kept])


@exercise.law("what arrives is added in the rounds up to P - 2, and afterwards takes the place", cases())
def added_or_replaced(answer, parts):
    size = len(parts)
    for k in range(2 * (size - 1)):
        new = after(answer, parts, k)
        for r in range(size):
            j, sent = (r - 1 - k) % size, parts[r - 1, (r - 1 - k) % size]
            agree(f"part {j} of worker {r} after round {k}", new[r, j], sent + parts[r, j] if k < size - 1 else sent)


@exercise.law("the parts that were given stay as they are", cases())
def untouched(answer, parts):
    for k in range(2 * (len(parts) - 1)):
        given = parts.copy()
        came = answer.ring_round(given, k)
        agree("the parts that were given", given, parts)
        hold(came is not given, "what is returned", "the array that was given", "a new one")


exercise.mistake("parts go to the worker before, r - 1; the ring turns the other way.", "(r + 1) % size",
                 "(r - 1) % size")  # fmt: skip
exercise.mistake("part (r + k) mod P is sent, not (r - k) mod P.", "(r - k) % size", "(r + k) % size")
exercise.mistake("in each round worker r sends part r.", "(r - k) % size", "r")
exercise.mistake("it is added in all rounds; from round P - 1 on the sums are complete and take the place.",
                 "k < size - 1", "True")  # fmt: skip
exercise.mistake("nothing is added: what arrives takes the place of what was there in the first rounds, too.",
                 "parts[to, j] + parts[r, j]", "parts[r, j]")  # fmt: skip
exercise.mistake("it is added one round too long: the rounds that add are 0 to P - 2.", "k < size - 1", "k < size")
exercise.mistake("it is added one round too few: the rounds that add are 0 to P - 2.", "k < size - 1", "k < size - 2")

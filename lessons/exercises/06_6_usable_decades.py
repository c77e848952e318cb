"""6.6 The range of usable learning rates

A grid of learning rates has `per_decade` rates in each decade, evenly spaced on a logarithmic axis. On each of several
problems with K classes, a network is trained with every rate of the grid. Guessing costs ln K; nothing gets below the
entropy of the labels. Call a rate usable if at least 60 % of what can be learned has been learned: if the test loss has
come at least 60 % of the way from guessing down to the entropy. Count how many decades are usable in each problem: each
usable rate counts 1/`per_decade` of a decade, wherever it is in the grid. A network that has diverged has the loss inf
or NaN, and its rate is not usable.

    usable_decades(losses, entropy, classes, per_decade)
        losses : array (problems, rates), the test loss after training, in nats
        entropy : array (problems,), the entropy of each problem's labels in nats, below ln K
        classes : int, K
        per_decade : int
        returns the width of the usable range in decades, array (problems,)

For example, with K = 4 guessing costs 1.386. With an entropy of 0.386 a loss of 0.786 is just low enough:

    usable_decades(np.array([[1.4, 0.7, 0.5, 0.9, np.inf]]), np.array([0.386]), 4, 2)     # [1.0]
"""

import numpy as np


def usable_decades(losses, entropy, classes, per_decade):
    """How many decades of learning rates are usable, for each problem."""
    # solution
    guessing = np.log(classes)
    mark = guessing - 0.6 * (guessing - entropy)
    return (losses <= mark[:, None]).sum(axis=1) / per_decade
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, numbers
from lessons.exercises.cases import SIZES

exercise = Exercise(
    __file__,
    "lesson 06, part 8",
    hints=[
        "First the mark for each problem: the loss at which exactly 60 % of the way is done. It lies nearer to the "
        "entropy than to guessing.",
        "Compare each row of the losses with the mark of its problem; the marks need a second axis for that. What does "
        "a comparison with NaN give?",
        "`losses <= mark[:, None]` is True where a rate is usable; NaN compares as False. True counts as 1 in a sum.",
    ],
)

LEARNED = st.sampled_from(
    [0.7, 0.0, 0.3, 0.41, 0.5, 0.55, 0.65, 0.9, 1.0, -0.1]
)  # of what can be learned; 0.6 is the limit


@st.composite
def cases(draw, learned=LEARNED):
    """How much was learned, (problems, rates), the entropies, K and per_decade."""
    problems, rates = draw(SIZES), draw(st.integers(1, 6))
    classes = draw(st.integers(2, 5))
    entropy = [draw(st.sampled_from([0.25, 0.0, 0.125, 0.5])) for _ in range(problems)]
    share = [[draw(learned) for _ in range(rates)] for _ in range(problems)]
    return np.array(share), np.array(entropy), classes, draw(st.integers(1, 4))


def tried(answer, case):
    """What the answer makes of losses of which so much has been learned."""
    share, entropy, classes, per_decade = case
    guessing = np.log(classes)
    return answer.usable_decades(guessing - share * (guessing - entropy[:, None]), entropy, classes, per_decade)


def count(share):
    return np.array([sum(part > 0.6 for part in row) for row in share])


@exercise.law("there is a width for each problem", cases(), examples=10)
def shape(answer, case):
    numbers("what is returned", tried(answer, case), case[1].shape)


@exercise.law("a rate counts if at least 60 % of what can be learned has been learned", cases(), examples=30)
def sixty_per_cent(answer, case):
    share, *_, per_decade = case
    agree("usable decades", tried(answer, case), count(share) / per_decade)


@exercise.law(
    "a network that has diverged, with the loss inf or NaN, is not usable",
    cases(LEARNED | st.just(np.nan) | st.just(-np.inf)),
    examples=25,
)
def diverged(answer, case):
    share, *_, per_decade = case
    agree("usable decades", tried(answer, case), count(share) / per_decade)


MARK = "guessing - 0.6 * (guessing - entropy)"
COUNT = "(losses <= mark[:, None]).sum(axis=1) / per_decade"
exercise.mistake(
    "60 and 40 % are exchanged: the mark lies nearer to the entropy than to guessing.",
    MARK,
    "guessing - 0.4 * (guessing - entropy)",
)
exercise.mistake(
    "the mark is 60 % of the loss of guessing here; the way ends at the entropy, not at 0.",
    MARK,
    "0.6 * guessing + 0 * entropy",
)
exercise.mistake(
    "the mark is 40 % of the loss of guessing here; the way ends at the entropy, not at 0.",
    MARK,
    "0.4 * guessing + 0 * entropy",
)
exercise.mistake(
    "40 % of the way are not 40 % of the loss of guessing: the way begins at the entropy.",
    MARK,
    "entropy + 0.4 * guessing",
)
exercise.mistake(
    "60 % are counted as they are from the entropy alone: the way is as long as guessing minus the entropy.",
    MARK,
    "guessing - 0.6 * entropy",
)
exercise.mistake(
    "the mark is a multiple of the entropy here; it lies between guessing and the entropy.", MARK, "0.6 * entropy"
)
exercise.mistake(
    "the mark is a multiple of the entropy here; it lies between guessing and the entropy.", MARK, "entropy / 0.6"
)
exercise.mistake(
    "the mark is a multiple of the entropy here; it lies between guessing and the entropy.", MARK, "1.4 * entropy"
)
exercise.mistake(
    "everything better than guessing counts here; at least 60 % of the way must be done.",
    MARK,
    "guessing + 0 * entropy",
)
exercise.mistake(
    "all problems get the same mark here; each has an entropy of its own.",
    MARK,
    "guessing - 0.6 * (guessing - np.mean(entropy)) + 0 * entropy",
)
exercise.mistake("guessing costs ln K, the natural logarithm.", "np.log(", "np.log2(")
exercise.mistake("guessing costs ln K, the natural logarithm.", "np.log(", "np.log10(")
for share in "0.4", "0.6":
    exercise.mistake(
        "that is how far above the entropy, or below guessing, the mark lies; the mark itself is a loss.",
        MARK,
        f"{share} * (guessing - entropy)",
    )
exercise.mistake("guessing costs ln K, not K.", "np.log(classes)", "classes")
exercise.mistake(
    "NaN slips through: `not (NaN > mark)` is True.", "(losses <= mark[:, None])", "(~(losses > mark[:, None]))"
)
exercise.mistake("the losses above the mark are counted; those below it are usable.", "losses <= mark", "losses > mark")
exercise.mistake("that is the number of usable rates; each of them counts 1/per_decade.", " / per_decade", "")
exercise.mistake(
    "that is the share of usable rates, not a width: each of them counts 1/per_decade.",
    ".sum(axis=1) / per_decade",
    ".mean(axis=1)",
)
exercise.mistake(
    "that is the share of usable rates, not a width: each of them counts 1/per_decade.", ".sum(axis=1)", ".mean(axis=1)"
)
exercise.mistake(
    "that is one less than there are: each usable rate counts, the first as well.",
    COUNT,
    "np.maximum((losses <= mark[:, None]).sum(axis=1) - 1, 0) / per_decade",
)
exercise.mistake(
    "that is one less than there are: each usable rate counts, the first as well.",
    COUNT,
    "((losses <= mark[:, None]).sum(axis=1) - 1) / per_decade",
)
exercise.mistake(
    "that is the distance from the first usable rate to the last; only the usable ones between them count.",
    COUNT,
    "np.array([np.ptp(np.flatnonzero(row)) + 1 if row.any() else 0 for row in losses <= mark[:, None]]) / per_decade",
)
exercise.mistake(
    "that is the distance from the first usable rate to the last; each usable rate counts 1/per_decade.",
    COUNT,
    "np.array([np.ptp(np.flatnonzero(row)) if row.any() else 0 for row in losses <= mark[:, None]]) / per_decade",
)
exercise.mistake(
    "it multiplies by per_decade: each usable rate is 1/per_decade of a decade.", " / per_decade", " * per_decade"
)
exercise.mistake("that counts problems for each rate: axis=0 runs over problems.", "sum(axis=1)", "sum(axis=0)")
exercise.mistake("that is one number for all problems; count each problem by itself.", "sum(axis=1)", "sum()")

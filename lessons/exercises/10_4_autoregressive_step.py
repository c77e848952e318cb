"""10.4 An autoregressive step, there and back

An autoregressive step shifts and scales each entry of z by amounts that depend on the entries before it:

    z_i ← (z_i - m_i) / e^(s_i) .

m and s come from a function, in the lesson a masked network: `shift(z)` returns both, arrays like z, where m_i and s_i
of a picture depend on entries 0 to i - 1 of its z only (so those of entry 0 are constants). Write the step. It also
carries along log q, the logarithm of the density of z; the step's Jacobian is triangular, with e^(-s_i) on the
diagonal.

    step(z, log_q, shift)
        z : array (N, latents), the draws for N pictures
        log_q : array (N,), the logarithm of the density of each
        shift : function of an array (N, latents) that returns (m, s)
        returns (the new z, the logarithm of its density), arrays (N, latents) and (N,)

Then write the way back, for a z that did not come from here, such as one whose density is asked for. It is slower: what
moved entry i is known only when the entries before it are. (So `shift` is called more than once.)

    undo(z, log_q, shift)
        z, log_q : what step has returned
        returns what step had been given: (z, log_q)

For example, with m_1 = 2 z_0 and s_1 = z_0:

    def shift(z):
        zeros = np.zeros(len(z))
        return np.stack([zeros, 2 * z[:, 0]], axis=1), np.stack([zeros, z[:, 0]], axis=1)

    z, log_q = np.array([[1.0, 5.0]]), np.array([-3.0])
    z, log_q = step(z, log_q, shift)     # z is [[1, 1.10364]], since (5 - 2)/e = 1.10364; log_q is [-2]
    undo(z, log_q, shift)                # ([[1, 5]], [-3])
"""

import numpy as np


def step(z, log_q, shift):
    """An autoregressive step: the new z, and log q of it."""
    # solution
    m, s = shift(z)
    return (z - m) / np.exp(s), log_q + np.sum(s, axis=1)
    # end of solution


def undo(z, log_q, shift):
    """The z and log q that a step began with."""
    # solution
    before = np.zeros(z.shape)
    for i in range(z.shape[1]):
        m, s = shift(before)  # those of entry i are right, since the entries before it are
        before[:, i] = z[:, i] * np.exp(s[:, i]) + m[:, i]
    _, s = shift(before)
    return before, log_q - np.sum(s, axis=1)
    # end of solution


# %% Laws

from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lessons.exercises import Exercise, agree, numbers, parts, shown
from lessons.exercises.cases import matrices, vectors

exercise = Exercise(
    __file__,
    'lesson 10, "A posterior that is not independent"',
    hints=[
        "The density of what a function returns is the old density divided by |det J|. Here log |det J| = -Σ s, so "
        "log q grows by Σ s: where a step squeezes, the density rises.",
        "Backwards, z_i = z'_i e^(s_i) + m_i. Begin with any array, say zeros: m_0 and s_0 do not depend on it. Once "
        "entry 0 is known, shift of what is known gives m_1 and s_1, and so on.",
        "`for i in range(latents): m, s = shift(before)`, then column i of `before` is set. After the last entry call "
        "shift once more, for the s that log q loses.",
    ],
)

QUARTERS = st.integers(-4, 4).map(lambda k: k / 4)


class Shift:
    """m = a + A z and s = b + B z, where A and B are 0 on the diagonal and above."""

    def __init__(self, a, A, b, B):
        self.a, self.A, self.b, self.B = a, np.tril(A, -1), b, np.tril(B, -1)
        self.__name__ = f"<m = {shown(a)} + {shown(self.A)} z, s = {shown(b)} + {shown(self.B)} z>"

    def __call__(self, z):
        z = np.asarray(z, dtype=float)
        return self.a + z @ self.A.T, self.b + z @ self.B.T


@st.composite
def cases(draw, least=1, most=3, only=""):
    """z, log q and a Shift; `only` "m" or "s": the other one is 0."""
    latents = draw(st.integers(least, most))
    z = draw(matrices(st.integers(1, 2), latents, elements=QUARTERS))
    square = lambda name: draw(arrays(float, (latents, latents), elements=QUARTERS)) * (only in ("", name))
    row = lambda name: draw(vectors(latents, QUARTERS)) * (only in ("", name))
    return z, draw(vectors(len(z), QUARTERS)), Shift(row("m"), square("m"), row("s"), square("s"))


def stepped(answer, name, z, log_q, shift):
    """What step or undo returns, of the right shapes."""
    given = z.copy(), log_q.copy()
    came = parts(getattr(answer, name)(*given, shift), "z", "log q")
    came = numbers(f"the z of {name}", came[0], z.shape), numbers(f"the log q of {name}", came[1], log_q.shape)
    agree(f"the z that {name} was given, afterwards", given[0], z)
    agree(f"the log q that {name} was given, afterwards", given[1], log_q)
    return came


@exercise.law("z and log q come back in their shapes; those that were given stay as they were", cases())
def shape(answer, case):
    stepped(answer, "step", *case)
    stepped(answer, "undo", *case)


@exercise.law("where s is 0, entry i moves by -m_i, and log q stays as it is", cases(only="m"))
def shifts(answer, case):
    z, log_q, shift = case
    m, _ = shift(z)
    came = stepped(answer, "step", *case)
    agree("the new z", came[0], z - m)
    agree("the new log q", came[1], log_q)


@exercise.law("e^s times the new z, plus m of the old z, is the old z", cases())
def moved(answer, case):
    z, _, shift = case
    m, s = shift(z)
    agree("e^s z' + m", np.exp(s) * stepped(answer, "step", *case)[0] + m, z)


def log_volume(answer, z, log_q, shift):
    """log |det ∂z'/∂z| for each picture, by central differences."""
    h, columns = 1e-5, []
    for j in range(z.shape[1]):
        e = h * np.eye(z.shape[1])[j]
        above, below = (np.asarray(answer.step(z + sign * e, log_q, shift)[0]) for sign in (1, -1))
        columns.append((above - below) / (2 * h))
    return np.linalg.slogdet(np.stack(columns, axis=-1))[1]


# Differences of numbers below 1e3 are off by ε · 1e3/h = 1e-8, and by h² times third derivatives, which are as small.
# The determinant is a product of up to three e^(-s), each not below e^(-5), of which 1e-5 can then be lost.


@exercise.law("log q falls by the log-determinant of the step's Jacobian", cases())
def density(answer, case):
    volume = log_volume(answer, *case)
    came = stepped(answer, "step", *case)[1]
    agree("the new log q minus the old", came - case[1], -volume, rtol=1e-4, atol=1e-4)


@exercise.law("the new log q is the old one plus the sum of a picture's s", cases())
def sum_of_s(answer, case):
    z, log_q, shift = case
    agree("the new log q minus the old", stepped(answer, "step", *case)[1] - log_q, [sum(s) for s in shift(z)[1]])


# What undo gets is made here, by the formula. Entry by entry the way back multiplies errors by e^s and by A: at most
# some thousand times 1e-16 with three entries.


def made(z, log_q, shift):
    m, s = shift(z)
    return (z - m) * np.exp(-s), log_q + s @ np.ones(z.shape[1])


@exercise.law("undo finds the z that a step began with, where s is 0", cases(only="m"))
def back_from_shifts(answer, case):
    agree("the z of undo", stepped(answer, "undo", *made(*case), case[2])[0], case[0], atol=1e-8)


@exercise.law("undo finds the z that a step began with", cases())
def back(answer, case):
    agree("the z of undo", stepped(answer, "undo", *made(*case), case[2])[0], case[0], atol=1e-8)


@exercise.law("undo finds the log q that a step began with", cases())
def density_back(answer, case):
    agree("the log q of undo", stepped(answer, "undo", *made(*case), case[2])[1], case[1], atol=1e-8)


@exercise.law("undo works for six entries, each of which depends on all before it", cases(6, 6, only="m"), examples=20)
def many(answer, case):
    agree("the z of undo", stepped(answer, "undo", *made(*case), case[2])[0], case[0], atol=1e-8)


@exercise.law("step and undo cancel", cases())
def cancel(answer, case):
    z, log_q, shift = case
    came = stepped(answer, "undo", *stepped(answer, "step", *case), shift)
    agree("the z of undo after step", came[0], z, atol=1e-8)
    agree("the log q of undo after step", came[1], log_q, atol=1e-8)


NEW_Z, NEW_LOG_Q = "(z - m) / np.exp(s), log_q", "log_q + np.sum(s, axis=1)"
exercise.mistake("the step multiplies by e^s where it is to divide.", NEW_Z, "(z - m) * np.exp(s), log_q")
exercise.mistake("the step adds m where it is to subtract it.", NEW_Z, "(z + m) / np.exp(s), log_q")
exercise.mistake("m is not divided by e^s: it is subtracted first.", NEW_Z, "z / np.exp(s) - m, log_q")
exercise.mistake("the step divides by s where e^s belongs.", NEW_Z, "(z - m) / s, log_q")
exercise.mistake("the step does not shift: m is missing.", NEW_Z, "z / np.exp(s), log_q")
exercise.mistake("the step does not scale: e^s is missing.", NEW_Z, "z - m, log_q")
exercise.mistake(
    "the step divides by √e^s: s is the logarithm of a scale, not of a variance.",
    NEW_Z,
    "(z - m) / np.exp(s / 2), log_q",
)
exercise.mistake("m and s have changed places in the step.", "m, s = shift(z)\n", "s, m = shift(z)\n")
exercise.mistake(
    "log q has the wrong sign of Σ s: where a step squeezes, the density rises.",
    NEW_LOG_Q,
    "log_q - np.sum(s, axis=1)",
)
exercise.mistake("log q stays as it was: Σ s is missing.", NEW_LOG_Q, "log_q + 0 * np.sum(s, axis=1)")
exercise.mistake("the old log q is lost: Σ s is added to it.", NEW_LOG_Q, "np.sum(s, axis=1)")
exercise.mistake("log q gets the mean of s, where their sum belongs.", NEW_LOG_Q, "log_q + np.mean(s, axis=1)")
exercise.mistake(
    "log q gets the sum over all pictures: each has a log-determinant of its own.", NEW_LOG_Q, "log_q + np.sum(s)"
)
exercise.mistake(
    "log q gets the sum of e^s: the log-determinant is the sum of the logarithms, s.",
    NEW_LOG_Q,
    "log_q + np.sum(np.exp(s), axis=1)",
)
BODY = (
    "    before = np.zeros(z.shape)\n    for i in range(z.shape[1]):\n"
    "        m, s = shift(before)  # those of entry i are right, since the entries before it are\n"
    "        before[:, i] = z[:, i] * np.exp(s[:, i]) + m[:, i]\n"
)
exercise.mistake(
    "undo takes m and s of the new z: they were those of the old one, which has to be found entry by entry.",
    BODY + "    _, s = shift(before)\n",
    "    m, s = shift(z)\n    before = z * np.exp(s) + m\n",
)
exercise.mistake(
    "undo calls shift once too little: after each entry that has been found, m and s of the next one are others.",
    "range(z.shape[1]):",
    "range(z.shape[1] - 1):",
)
exercise.mistake(
    "undo begins with m and s of the new z and does not call shift again: each entry found changes those of the next.",
    BODY + "    _, s = shift(before)\n",
    "    m, s = shift(np.zeros(z.shape))\n    before = z * np.exp(s) + m\n",
)
for start in ("z.copy()", "np.zeros(z.shape)"):
    exercise.mistake(
        "undo leaves out entry 0: its m and s are constants, and it was moved as well.",
        "    before = np.zeros(z.shape)\n    for i in range(z.shape[1]):",
        f"    before = {start}\n    for i in range(1, z.shape[1]):",
    )
exercise.mistake(
    "undo begins with the last entry: only those of the first, m and s are known at the start.",
    "for i in range(z.shape[1]):",
    "for i in reversed(range(z.shape[1])):",
)
exercise.mistake(
    "undo has its operations in the wrong order: first times e^s, then plus m.",
    "z[:, i] * np.exp(s[:, i]) + m[:, i]",
    "(z[:, i] + m[:, i]) * np.exp(s[:, i])",
)
exercise.mistake(
    "undo subtracts m: the step subtracted it, so it is to be added again.",
    "* np.exp(s[:, i]) + m[:, i]",
    "* np.exp(s[:, i]) - m[:, i]",
)
exercise.mistake(
    "undo divides by e^s: the step divided, so it is to be multiplied again.",
    "z[:, i] * np.exp(s[:, i]) + m[:, i]",
    "z[:, i] / np.exp(s[:, i]) + m[:, i]",
)
exercise.mistake("undo adds Σ s to log q once more: it is to be taken off.", "log_q - np.sum(s", "log_q + np.sum(s")
exercise.mistake(
    "undo gives back the log q that it was given: Σ s is to be taken off.",
    "return before, log_q - np.sum(s, axis=1)",
    "return before, log_q",
)
exercise.mistake(
    "undo takes off the s of the new z: those of the old one were added.",
    "    _, s = shift(before)\n",
    "    _, s = shift(z)\n",
)
for start in ("z", "np.zeros(z.shape)"):
    exercise.mistake(
        "undo is repeated twice, whatever the number of entries: each round makes one entry more right.",
        BODY,
        f"    before = {start}\n    for _ in range(2):\n        m, s = shift(before)\n"
        "        before = z * np.exp(s) + m\n",
    )

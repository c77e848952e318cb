"""12.1 Bellman's equation

A game has few states, and its rules are known: the move a in the state z leads to the state z' with the probability
P[a, z, z'], and its mean reward is R[a, z]. The rows of a move that may end the game add up to less than 1, and to 0 if
it always does. A reward that comes j moves later is multiplied by discount^j.

    sweep(Q, P, R, discount)
        Q : array (actions, states), any guess at what moves are worth
        P : array (actions, states, states);   R : array (actions, states);   discount : float from 0 to less than 1
        returns the right-hand side of Bellman's equation, E[r + discount · max Q(z', a')], array (actions, states)
    worth(policy, P, R, discount)
        policy : array (states,) of ints, the move that is made in each state
        returns what the states are worth to a player who always moves like that, array (states,)

For example, one move, and two states: the first leads to the second, which pays 1 and ends the game.

    P, R = np.array([[[0.0, 1.0], [0.0, 0.0]]]), np.array([[0.0, 1.0]])
    sweep(np.array([[5.0, 8.0]]), P, R, 0.5)     # [[4, 1]]
    worth(np.array([0, 0]), P, R, 0.5)           # [0.5, 1]
"""

import numpy as np


def sweep(Q, P, R, discount):
    """The right-hand side of Bellman's equation."""
    # solution
    return R + discount * P @ Q.max(axis=0)
    # end of solution


def worth(policy, P, R, discount):
    """What a policy earns from each state on."""
    # solution
    states = np.arange(len(policy))
    return np.linalg.solve(np.eye(len(policy)) - discount * P[policy, states], R[policy, states])
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, hold, numbers
from lessons.exercises.cases import NUMBERS, matrices

exercise = Exercise(
    __file__,
    'lesson 12, "What a move is worth"',
    hints=[
        "max Q(z', a') has one entry for each state z': the maximum is over the moves, axis 0.",
        "The expectation over z' is a matrix product: `P @ x` adds up P[a, z, z'] x[z'] over z', for all a and z.",
        "worth: with P_π[z, z'] = P[policy[z], z, z'], V = R_π + discount · P_π V is a system of linear equations. "
        "`P[policy, np.arange(len(policy))]` is P_π.",
    ],
)
DISCOUNTS = st.sampled_from([0.5, 0.0, 0.25, 0.75])


@st.composite
def games(draw):
    """Q, P, R, discount, policy."""
    actions, states = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    weights = [draw(matrices(states, states + 1, st.integers(0, 3).map(float))) for _ in range(actions)]
    P = np.array([w[:, :-1] / np.maximum(w.sum(axis=1, keepdims=True), 1) for w in weights])
    policy = np.array(draw(st.lists(st.integers(0, actions - 1), min_size=states, max_size=states)))
    tables = draw(matrices(actions, states, NUMBERS)), draw(matrices(actions, states, NUMBERS))
    return tables[0], P, tables[1], draw(DISCOUNTS), policy


def swept(answer, Q, P, R, discount):
    return numbers("the sweep", answer.sweep(Q.copy(), P.copy(), R.copy(), discount), R.shape)


def policys_worth(answer, policy, P, R, discount):
    return numbers("the worth", answer.worth(policy.copy(), P.copy(), R.copy(), discount), policy.shape)


@exercise.law("a sweep of Q = 0 is R", games())
def nothing_later(answer, case):
    Q, P, R, discount, _ = case
    agree("the sweep", swept(answer, 0 * Q, P, R, discount), R)


@exercise.law(
    "Q larger by 1 everywhere: a sweep is larger by the discount times the chance that the game goes on", games()
)
def constant(answer, case):
    Q, P, R, discount, _ = case
    more = swept(answer, Q + 1, P, R, discount) - swept(answer, Q, P, R, discount)
    agree("the difference of two sweeps", more, discount * sum(P[:, :, z] for z in range(P.shape[2])))


@exercise.law("an entry of a sweep is R plus the discount times Σ P · (largest Q of z'), over z'", games())
def entry(answer, case):
    Q, P, R, discount, _ = case
    came, (actions, states) = swept(answer, Q, P, R, discount), R.shape
    largest = [max(Q[a, z] for a in range(actions)) for z in range(states)]
    wanted = [[R[a, z] + discount * sum(P[a, z, y] * largest[y] for y in range(states)) for z in range(states)]
              for a in range(actions)]  # fmt: skip
    agree("the sweep", came, wanted)


@exercise.law("no Q is worse after a sweep for having been better before", games())
def monotone(answer, case):
    Q, P, R, discount, _ = case
    lower, higher = swept(answer, Q, P, R, discount), swept(answer, Q + abs(R), P, R, discount)
    hold((higher >= lower - 1e-9).all(), "the sweep of a larger Q", higher, f"at least {lower}")


@exercise.law("discount 0: a state is worth the reward of its move", games())
def one_reward(answer, case):
    _, P, R, _, policy = case
    agree("the worth", policys_worth(answer, policy, P, R, 0.0), [R[policy[z], z] for z in range(len(policy))])


@exercise.law("worth = reward of the policy's move + discount · mean worth of the next state", games())
def consistent(answer, case):
    _, P, R, discount, policy = case
    V = policys_worth(answer, policy, P, R, discount)
    states = range(len(policy))
    agree("the worth", V, [R[policy[z], z] + discount * sum(P[policy[z], z, y] * V[y] for y in states) for z in states])


@exercise.law("after many sweeps the moves of the largest Q are worth that Q", games(), examples=20)
def optimal(answer, case):
    Q, P, R, discount, _ = case
    for _ in range(100):
        Q = swept(answer, Q, P, R, discount)
    agree("the worth of the best moves", policys_worth(answer, Q.argmax(axis=0), P, R, discount), Q.max(axis=0),
          rtol=1e-6, atol=1e-6)  # fmt: skip


SWEEP = "R + discount * P @ Q.max(axis=0)"
exercise.mistake(
    "the mean over the next moves stands where the largest belongs.", SWEEP, "R + discount * P @ Q.mean(axis=0)"
)
exercise.mistake("the maximum is that of the state before the move: max Q(z'), of the state after it.", SWEEP,
                 "R + discount * P.sum(axis=2) * Q.max(axis=0)")  # fmt: skip
exercise.mistake("the sweep has no discount.", SWEEP, "R + P @ Q.max(axis=0)")
exercise.mistake("the reward is discounted: it comes at once.", SWEEP, "discount * (R + P @ Q.max(axis=0))")
exercise.mistake("the reward is missing.", SWEEP, "discount * P @ Q.max(axis=0)")
exercise.mistake("P is transposed: its first state is the one before the move, its second the one after.", SWEEP,
                 "R + discount * P.swapaxes(1, 2) @ Q.max(axis=0)")  # fmt: skip
exercise.mistake("the next move is the one just made: the maximum is over all moves.", SWEEP,
                 "R + discount * (P @ Q[:, :, None])[:, :, 0]")  # fmt: skip
SOLVED = "np.linalg.solve(np.eye(len(policy)) - discount * P[policy, states], R[policy, states])"
exercise.mistake("the worth has no discount.", "np.eye(len(policy)) - discount * P[", "np.eye(len(policy)) - P[")
exercise.mistake("only the next reward is counted, and none of those after it.", SOLVED,
                 "R[policy, states] + discount * P[policy, states] @ R[policy, states]")  # fmt: skip
exercise.mistake(
    "the matrix is transposed: V = R_π + discount · P_π V.", "P[policy, states], R", "P[policy, states].T, R"
)
exercise.mistake(
    "the sign of P is wrong: (1 - discount · P_π) V = R_π.", "- discount * P[policy", "+ discount * P[policy"
)
exercise.mistake("that is what the best moves are worth, not those of the policy.", "return np.linalg.solve(",
                 "policy = np.argmax(R, axis=0)\n    return np.linalg.solve(")  # fmt: skip

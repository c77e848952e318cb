"""12.3 Stacks from a ring

A replay memory keeps each frame once, in a ring of `capacity` places: the frame after the last place stands in place 0.
Episodes follow one another in it. The age of a frame is the number of moves since its episode began. What the network
sees is a stack, the last `history` frames of the episode, oldest first. Where the episode has had fewer, the stack
begins with zeros.

    stack(frames, ages, place, history)
        frames : array (capacity, height, width)
        ages : array (capacity,) of ints
        place : int, that of the newest frame of the stack
        history : int, 1 or more, at most capacity
        returns array (history, height, width)

For example, with frames of one number: an episode of three frames, the last of them in place 0.

    frames = np.array([[[30.0]], [[40.0]], [[10.0]], [[20.0]]])
    ages = np.array([2, 0, 0, 1])
    stack(frames, ages, 0, 2).ravel()     # [20, 30]
    stack(frames, ages, 0, 4).ravel()     # [0, 10, 20, 30]
"""

import numpy as np


def stack(frames, ages, place, history):
    """The last frames of an episode, oldest first."""
    # solution
    back = np.arange(history - 1, -1, -1)
    found = frames[(place - back) % len(frames)]
    found[back > ages[place]] = 0
    return found
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, numbers

exercise = Exercise(
    __file__,
    'lesson 12, "Replay"',
    hints=[
        "The frame k moves back stands in the place (place - k) % capacity.",
        "A frame of age 2 has two frames of its episode before it, and no more. What is further back is another "
        "episode's, or older still.",
        "Oldest first: k counts down from history - 1 to 0.",
    ],
)


@st.composite
def memories(draw):
    """frames, ages, place, history, and the frames of the episode up to that place as a list."""
    lengths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    capacity = sum(lengths)
    turned, shape = draw(st.integers(0, capacity - 1)), draw(st.sampled_from([(1, 1), (1, 2), (2, 2)]))
    frames, ages, at = np.zeros((capacity, *shape)), np.zeros(capacity, int), []
    for episode, length in enumerate(lengths):
        for age in range(length):
            at.append((len(at) + turned) % capacity)
            frames[at[-1]] = 10 * (episode + 1) + age + np.arange(np.prod(shape)).reshape(shape) / 4
            ages[at[-1]] = age
    newest = draw(st.integers(0, capacity - 1))
    episode = [frames[at[i]].copy() for i in range(newest - ages[at[newest]], newest + 1)]
    return frames, ages, at[newest], draw(st.integers(1, min(capacity, 4))), episode


def stacked(answer, frames, ages, place, history):
    came = answer.stack(frames.copy(), ages.copy(), place, history)
    return numbers("the stack", came, (history, *frames.shape[1:]))


@exercise.law("the newest frame is the last of its stack", memories())
def newest(answer, case):
    frames, ages, place, history, _ = case
    agree("the last frame of the stack", stacked(answer, frames, ages, place, history)[-1], frames[place])


@exercise.law("before the episode began there are zeros", memories())
def beginning(answer, case):
    frames, ages, place, history, episode = case
    missing = max(history - len(episode), 0)
    came = stacked(answer, frames, ages, place, history)[:missing]
    agree(f"the first {missing} frames of the stack", came, np.zeros((missing, *frames.shape[1:])))


@exercise.law("the others are the episode's last frames, in their order", memories())
def order(answer, case):
    frames, ages, place, history, episode = case
    there = min(history, len(episode))
    agree(f"the last {there} frames", stacked(answer, frames, ages, place, history)[-there:], episode[-there:])


@exercise.law("the memory stays as it was", memories())
def untouched(answer, case):
    frames, ages, place, history, _ = case
    before = frames.copy()
    numbers("the stack", answer.stack(frames, ages, place, history), (history, *frames.shape[1:]))
    came, frames[:] = frames.copy(), before
    agree("the frames in the memory", came, before)


BACK = "np.arange(history - 1, -1, -1)"
exercise.mistake("the newest frame comes first: the order is oldest first.", BACK, "np.arange(history)")
exercise.mistake(
    "the stack ends one frame too early: it ends with the frame at `place`.", BACK, "np.arange(history, 0, -1)"
)
exercise.mistake("the stack goes forward from `place`: it ends there.", "(place - back)", "(place + back[::-1])")
ZEROS = "found[back > ages[place]] = 0"
exercise.mistake("frames of the episode before are seen.", ZEROS, "pass")
exercise.mistake(
    "the episode's first frame is taken for one of the episode before.", ZEROS, "found[back >= ages[place]] = 0"
)
exercise.mistake("one frame of the episode before is seen.", ZEROS, "found[back > ages[place] + 1] = 0")
exercise.mistake("zeros are where the place is too small: the age says how many frames the episode has had.", ZEROS,
                 "found[back > place] = 0")  # fmt: skip
exercise.mistake("where the episode has not begun, its first frame is repeated: zeros belong there.",
                 "found = frames[(place - back) % len(frames)]",
                 "found = frames[(place - np.minimum(back, ages[place])) % len(frames)]", ZEROS, "pass")  # fmt: skip
exercise.mistake("each frame is kept or not by its own age: it is the age at `place` that counts.",
                 ZEROS, "found[back > ages[(place - back) % len(frames)]] = 0")  # fmt: skip

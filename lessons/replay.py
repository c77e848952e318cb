"""The replay memory of deep Q-learning (Mnih et al. 2015): the last so many steps, from which minibatches are drawn.

Each frame is stored once, in one array of bytes that is made at the beginning: 1,000,000 frames of 84 × 84 take 7.1 GB,
where storing the stacks of four that the network sees, before and after each step, would take eight times as much.
"""

from typing import NamedTuple

import numpy as np


class Batch(NamedTuple):
    """B steps: what was seen before and after, (B, history · channels, height, width) bytes, and what happened."""

    states: np.ndarray
    actions: np.ndarray  # (B,) int64
    rewards: np.ndarray  # (B,) float32
    next_states: np.ndarray
    terminals: np.ndarray  # (B,) bool: nothing comes after


class ReplayMemory:
    """A ring of frames, each with the step that was taken from it.

    An episode of n steps takes n + 1 places, the last for the frame that it ended with. A stack holds an episode's last
    frames, `history` of them, oldest first; before the episode's beginning there are zeros. New frames replace the
    oldest.

    Parameters
    ----------
    capacity : int
        Places, at least `history` + 2.
    shape : tuple
        Of a frame, (channels, height, width).
    history : int

    Raises
    ------
    ValueError
        If it is too small, or if a frame comes that is not of bytes or has another shape.
    """

    def __init__(self, capacity, shape, history):
        if capacity < history + 2:
            raise ValueError(f"for stacks of {history} frames has {history + 2} places at least, not {capacity}")
        self.history = history
        self.frames = np.zeros((capacity, *shape), np.uint8)
        self.actions = np.zeros(capacity, np.uint8)
        self.rewards = np.zeros(capacity, np.float32)
        self.terminals = np.zeros(capacity, bool)
        self.ages = np.zeros(capacity, np.int32)  # steps since the episode began
        self.stepped = np.zeros(capacity, bool)  # whether a step was taken from here: not from an episode's last frame
        self.newest, self.size = -1, 0

    @property
    def capacity(self):
        return len(self.frames)

    def begin(self, frame):
        """An episode begins with this frame."""
        self._append(frame, 0)

    def add(self, action, reward, terminal, frame):
        """A step from the newest frame, which led to this one."""
        i = self.newest
        if not self.size or (self.ages[i] and self.terminals[i - 1]):
            raise RuntimeError("an episode has to begin() before steps are added")
        self._append(frame, self.ages[i] + 1)
        self.actions[i], self.rewards[i], self.terminals[i], self.stepped[i] = action, reward, terminal, True

    def _append(self, frame, age):
        if frame.shape != self.frames.shape[1:] or frame.dtype != np.uint8:  # NumPy would stretch or round it
            raise ValueError(f"frames here are uint8 {self.frames.shape[1:]}, not {frame.dtype} {frame.shape}")
        self.newest = (self.newest + 1) % self.capacity
        self.size = min(self.size + 1, self.capacity)
        self.frames[self.newest] = frame
        self.ages[self.newest], self.stepped[self.newest] = age, False

    def latest(self):
        """The stack that ends with the newest frame, (history · channels, height, width)."""
        return self._windows(np.array([self.newest]), 0).reshape(-1, *self.frames.shape[2:])

    def can_be_drawn(self, places):
        """Whether a step was taken from these places, and all frames before it are still there that its stack needs."""
        oldest = self.newest + 1 - self.size
        older = (places - oldest) % self.capacity  # how many frames are older
        return self.stepped[places] & (older >= np.minimum(self.ages[places], self.history - 1))

    def draw(self, count, rng):
        """A `Batch` of steps, each as probable as any other, drawn independently with the generator `rng`.

        Raises
        ------
        RuntimeError
            If there is no step yet.
        """
        places = rng.integers(max(self.size, 1), size=count)
        while (bad := ~self.can_be_drawn(places)).any():
            if bad.all() and not self.can_be_drawn(np.arange(self.size)).any():
                raise RuntimeError("the memory holds no step to draw")
            places[bad] = rng.integers(self.size, size=bad.sum())
        return self.at(places)

    def at(self, places):
        """The `Batch` of the steps that were taken from these places."""
        windows = self._windows(places, 1)

        def stacked(frames):
            return frames.reshape(len(places), self.history * frames.shape[2], *frames.shape[3:])

        return Batch(
            stacked(windows[:, :-1]), self.actions[places].astype(np.int64), self.rewards[places],
            stacked(windows[:, 1:]), self.terminals[places],
        )  # fmt: skip

    def _windows(self, places, more):
        """The `history` frames up to each place, and so many `more` after it: (B, history + more, C, H, W)."""
        offsets = np.arange(1 - self.history, 1 + more)
        windows = self.frames[(places[:, None] + offsets) % self.capacity]
        windows[self.ages[places][:, None] + offsets < 0] = 0  # before the episode
        return windows

    # ---- to go on later ---------------------------------------------------------------------------------------------

    ARRAYS = ("frames", "actions", "rewards", "terminals", "ages", "stepped")

    def state(self):
        """What `load` needs to go on later, bit for bit: views of what is in use, to be saved before the next step."""
        arrays = {name: getattr(self, name)[: self.size] for name in self.ARRAYS}
        return {"newest": self.newest, "size": self.size, "capacity": self.capacity, **arrays}

    def load(self, state):
        """Go on from what `state` gave; ValueError if it is of a memory of another size."""
        if state["capacity"] != self.capacity or state["frames"].shape[1:] != self.frames.shape[1:]:
            raise ValueError(
                f"saved were {state['capacity']} places for frames {state['frames'].shape[1:]}, here are "
                f"{self.capacity} for {self.frames.shape[1:]}"
            )
        self.newest, self.size = state["newest"], state["size"]
        for name in self.ARRAYS:
            getattr(self, name)[: self.size] = state[name]

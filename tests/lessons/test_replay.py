"""The replay memory of lesson 12 beside a list that keeps everything, and what it takes to save it."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import minigrad as mg
from lessons.replay import ReplayMemory

SHAPE = (2, 1, 3)


class NaiveMemory:
    """A list of (frames of the episode so far, step from the last of them or None), the oldest dropped one by one."""

    def __init__(self, capacity, history):
        self.capacity, self.history, self.entries = capacity, history, []

    def append(self, frames):
        self.entries = [*self.entries, [frames, None]][-self.capacity :]

    def stack(self, frames):
        padded = [np.zeros(SHAPE, np.uint8)] * self.history + frames
        return np.concatenate(padded[-self.history :])

    def steps(self):
        """Every step whose stack does not reach back to a frame that has been dropped."""
        found = []
        for i, (frames, step) in enumerate(self.entries):
            if step and i + 1 >= min(len(frames), self.history):
                action, reward, terminal = step
                next_frames, _ = self.entries[i + 1]
                found.append((self.stack(frames), action, reward, self.stack(next_frames), terminal))
        return found


def as_bytes(step):
    state, action, reward, next_state, terminal = step
    return state.tobytes(), int(action), float(reward), next_state.tobytes(), bool(terminal)


class BesideAList(RuleBasedStateMachine):
    """Episodes that end in every way, in memories that are hardly larger than a stack."""

    @initialize(history=st.integers(1, 4), more=st.integers(2, 9))
    def make(self, history, more):
        self.memory, self.naive = ReplayMemory(history + more, SHAPE, history), NaiveMemory(history + more, history)
        self.frames, self.count, self.ended = [], 0, True

    def frame(self):
        """One that has not been there before."""
        self.count += 1
        return np.frombuffer(int(self.count).to_bytes(np.prod(SHAPE)), np.uint8).reshape(SHAPE)

    @rule()
    def begin(self):
        """Also in the middle of an episode, which is cut off then, as by a time limit."""
        self.frames, self.ended = [self.frame()], False
        self.memory.begin(self.frames[-1])
        self.naive.append(self.frames)

    @precondition(lambda self: not self.ended)
    @rule(action=st.integers(0, 17), reward=st.sampled_from([-1.0, 0.0, 1.0]), terminal=st.booleans())
    def add(self, action, reward, terminal):
        self.naive.entries[-1][1] = (action, reward, terminal)
        self.frames, self.ended = [*self.frames, self.frame()], terminal
        self.memory.add(action, reward, terminal, self.frames[-1])
        self.naive.append(self.frames)

    @precondition(lambda self: self.ended)
    @rule()
    def add_too_early(self):
        with pytest.raises(RuntimeError, match="has to begin"):
            self.memory.add(0, 0.0, False, self.frame())

    @rule()
    def save_and_load(self):
        other = ReplayMemory(self.memory.capacity, SHAPE, self.memory.history)
        other.load(self.memory.state())
        self.memory = other

    @invariant()
    def the_same_steps_can_be_drawn(self):
        places = np.arange(self.memory.size)
        batch = self.memory.at(places[self.memory.can_be_drawn(places)])
        wanted = self.naive.steps()
        assert Counter(map(as_bytes, zip(*batch, strict=True))) == Counter(map(as_bytes, wanted))
        if wanted:
            drawn = self.memory.draw(5, np.random.default_rng(self.count))
            assert {*map(as_bytes, zip(*drawn, strict=True))} <= {*map(as_bytes, wanted)}
        else:
            with pytest.raises(RuntimeError, match="no step"):
                self.memory.draw(5, np.random.default_rng(0))

    @invariant()
    def the_latest_stack_is_the_one_to_act_on(self):
        if self.frames:
            assert (self.memory.latest() == self.naive.stack(self.frames)).all()


TestBesideAList = BesideAList.TestCase
TestBesideAList.settings = settings(stateful_step_count=40)


def filled(memory, steps, seed=0, length=7):
    rng = np.random.default_rng(seed)
    for i in range(steps):
        if i % length == 0:
            memory.begin(rng.integers(0, 256, memory.frames.shape[1:], np.uint8))
        memory.add(rng.integers(4), rng.normal(), i % length == length - 1, rng.integers(0, 256, SHAPE, np.uint8))
    return memory


def test_every_step_is_drawn_equally_often():
    memory = filled(ReplayMemory(40, SHAPE, 3), 100)
    count = memory.can_be_drawn(np.arange(40)).sum()
    drawn = Counter(batch.tobytes() for batch in memory.draw(400 * count, np.random.default_rng(1)).states)
    assert len(drawn) == count
    # A count has the mean 400 and the standard deviation 20.
    assert all(abs(times - 400) < 6 * 20 for times in drawn.values())


def test_a_memory_that_was_saved_goes_on_bit_for_bit(tmp_path):
    memory = filled(ReplayMemory(50, SHAPE, 4), 120)
    for compress in (False, True):
        mg.save(tmp_path / "memory", memory.state(), compress)
        loaded = ReplayMemory(50, SHAPE, 4)
        loaded.load(mg.load(tmp_path / "memory"))
        for mine, theirs in zip(*(filled(m, 20, seed=2).draw(30, np.random.default_rng(3)) for m in (memory, loaded)),
                                strict=True):  # fmt: skip
            assert mine.dtype == theirs.dtype and (mine == theirs).all()


def test_what_is_saved_of_a_memory_is_what_is_in_it():
    memory = filled(ReplayMemory(10_000, SHAPE, 4), 20)
    assert len(memory.state()["frames"]) == 23


def test_a_memory_of_another_size_is_refused():
    saved = filled(ReplayMemory(30, SHAPE, 2), 10).state()
    for capacity, shape in ((31, SHAPE), (30, (1, 1, 3))):
        with pytest.raises(ValueError, match="saved were 30 places"):
            ReplayMemory(capacity, shape, 2).load(saved)


@pytest.mark.parametrize(
    "frame", [np.zeros(SHAPE), np.zeros(SHAPE, int), np.zeros(SHAPE[1:], np.uint8), np.zeros((2, 1, 1), np.uint8)]
)
def test_a_frame_that_would_be_rounded_or_stretched_is_refused_and_nothing_is_kept_of_it(frame):
    memory = filled(ReplayMemory(20, SHAPE, 2), 3)
    before = {name: np.copy(value) for name, value in memory.state().items()}
    for keep in (memory.begin, lambda frame: memory.add(1, 0.5, True, frame)):
        with pytest.raises(ValueError, match=r"frames here are uint8 \(2, 1, 3\), not "):
            keep(frame)
        assert all(np.array_equal(value, before[name]) for name, value in memory.state().items())


def test_a_million_frames_take_seven_gigabytes_and_none_before_they_come():
    memory = ReplayMemory(1_000_000, (1, 84, 84), 4)
    assert memory.frames.nbytes == 7_056_000_000
    assert sum(getattr(memory, name).nbytes for name in memory.ARRAYS) < 7.1e9
    memory.begin(np.ones((1, 84, 84), np.uint8))
    assert memory.latest().shape == (4, 84, 84) and memory.latest()[:3].max() == 0

"""The games of lesson 12: the orchard against its rules, Atari against hand-made screens, and the real ones."""

import sys
from importlib.util import find_spec
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lessons import UsageError
from lessons.games import BRIGHT, TRAIL, Atari, FromGymnasium, Orchard, averaging, make, picture, replayed

FOUR = ("breakout", "enduro", "seaquest", "space_invaders")
MINATAR = ("breakout", "seaquest", "space_invaders")


def played(game, steps, seed=0):
    """What happens in so many steps, with random actions: (frame, reward, terminated, lives) each."""
    rng = np.random.default_rng(seed)
    frame, info = game.reset(seed=seed)
    yield frame, 0.0, False, info["lives"]
    ended = False
    for _ in range(steps):
        if ended:
            frame, info = game.reset()
            yield frame, 0.0, False, info["lives"]
        frame, reward, ended, truncated, info = game.step(rng.integers(game.actions))
        assert not truncated
        yield frame, reward, ended, info["lives"]


def assert_a_function_of_seed_and_actions(game, other, steps=300):
    """Whatever was played before; `other` is another game of the same kind."""
    rng = np.random.default_rng(1)
    frame, _ = game.reset(seed=5)
    actions = []
    for _ in range(steps):
        actions.append(int(rng.integers(game.actions)))
        frame, _, terminated, _, info = game.step(actions[-1])
        if terminated:
            break
    list(played(other, 50))
    again, info_again = replayed(other, 5, actions)
    assert (frame == again).all() and info == info_again


# ---- the orchard ----------------------------------------------------------------------------------------------------


def test_an_apple_falls_drifts_turns_round_at_the_wall_and_is_caught_or_missed():
    game = Orchard(width=4, height=5, lives=2)
    game.reset(seed=0)
    game.state = (0, 2, 1, 1)
    assert game.drawn(game.state).tolist() == [
        [[0, TRAIL, 0, 0], [0, 0, BRIGHT, 0], [0] * 4, [0] * 4, [BRIGHT, 0, 0, 0]]
    ]
    assert game.step(2)[1:] == (0, False, False, {"lives": 2}) and game.state == (1, 3, 2, 1)
    assert game.step(2)[1] == 0 and game.state == (2, 2, 3, -1)
    frame, reward, terminated, _, info = game.step(0)
    assert (reward, terminated, info) == (1, False, {"lives": 2}) and game.state[::2] == (1, 1)
    assert (frame == game.drawn(game.state)).all() and (frame[0, -1] == [0, BRIGHT, 0, 0]).all()
    game.state = (1, 2, 3, 1)
    assert game.step(1)[1:] == (0, False, False, {"lives": 1})
    game.state = (0, 3, 3, 0)
    assert game.step(0)[1:] == (0, True, False, {"lives": 0}) and game.state[0] == 0
    with pytest.raises(RuntimeError, match="reset"):
        game.step(1)


@given(st.integers(2, 8), st.integers(3, 8), st.integers(0, 99))
def test_every_frame_is_of_a_state_and_every_state_has_its_own_frame(width, height, seed):
    game = Orchard(width, height)
    states = game.states()
    frames = {game.drawn(state).tobytes(): i for i, state in enumerate(states)}
    assert len(frames) == len(states) == width * (height - 2) * (3 * width - 2)
    assert {frame.tobytes() for frame, *_ in played(game, 60, seed)} <= frames.keys()


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3)])
def test_the_model_is_the_game_with_chance_averaged(shape):
    """Every state, every action, every way in which the next apple may appear."""
    game = Orchard(*shape, lives=1)
    states = game.states()
    number = {tuple(state): i for i, state in enumerate(states.tolist())}
    probabilities, rewards = game.model()

    class Dictated:
        def integers(self, low, high=None):
            return self.said.pop(0)

    game.rng = dictated = Dictated()
    for action in range(3):
        for i, state in enumerate(states.tolist()):
            found, paid = np.zeros(len(states)), set()
            for place in range(game.width):
                for drift in (-1, 0, 1):
                    dictated.said, game.state, game.lives = [place, drift], tuple(state), 1
                    _, reward, terminated, _, _ = game.step(action)
                    paid.add(reward)
                    if not terminated:
                        found[number[game.state]] += 1 / (3 * game.width)
            assert paid == {rewards[action, i]}
            np.testing.assert_allclose(probabilities[action, i], found, rtol=1e-12)


def test_an_orchard_is_a_function_of_its_seed_and_of_the_actions():
    assert_a_function_of_seed_and_actions(Orchard(lives=50), Orchard(lives=50))
    assert [a[1:] for a in played(Orchard(), 200, 1)] != [a[1:] for a in played(Orchard(), 200, 2)]


@pytest.mark.parametrize("action", [-1, 3, 0.5])
def test_an_action_that_there_is_not_is_refused_and_nothing_moves(action):
    game = Orchard()
    game.reset(seed=0)
    state = game.state
    with pytest.raises(ValueError, match=f"actions are 0, 1 and 2, not {action}"):
        game.step(action)
    assert game.state == state


def test_an_orchard_too_small_is_refused():
    for width, height in ((1, 5), (5, 2)):
        with pytest.raises(ValueError, match="at least 2 wide and 3 high"):
            Orchard(width, height)


# ---- Gymnasium's interface ------------------------------------------------------------------------------------------


class Pictures:
    """An environment of Gymnasium's interface that shows given pictures one after the other."""

    def __init__(self, *pictures):
        self.pictures, self.done, self.action_space = pictures, [], SimpleNamespace(n=2)

    def reset(self, seed=None, options=None):
        self.done = [seed]
        return self.pictures[0], {}

    def step(self, action):
        self.done.append(action)
        last = len(self.done) == len(self.pictures)
        return self.pictures[len(self.done) - 1], 2, last, False, {}


def test_pictures_of_bits_and_of_bytes_become_frames():
    bits = np.zeros((3, 4, 2), bool)
    bits[1, 2, 1] = True
    game = FromGymnasium(Pictures(bits, ~bits))
    frame, info = game.reset(seed=4)
    assert frame.dtype == np.uint8 and frame.shape == (2, 3, 4) and info == {"lives": 1}
    assert frame[1, 1, 2] == 255 and frame.sum() == 255
    frame, *others = game.step(np.int64(1))
    assert frame[1, 1, 2] == 0 and frame.sum() == 23 * 255 and others == [2.0, True, False, {"lives": 0}]
    assert game.environment.done == [4, 1] and game.actions == 2
    gray = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert (FromGymnasium(Pictures(gray)).reset()[0] == gray[None]).all()


def test_a_frame_is_drawn_in_gray_or_with_a_colour_for_each_channel_the_last_one_on_top():
    gray = picture(np.array([[[0, 51, 255]]], np.uint8))
    assert gray.tolist() == [[[0, 0, 0], [0.2, 0.2, 0.2], [1, 1, 1]]]
    frame = np.zeros((12, 2, 7), np.uint8)
    for k in range(12):
        frame[k].flat[k] = 255
    frame[0, 0, 3] = frame[3, 1, 6] = 255
    drawn = picture(frame)
    assert drawn.shape == (2, 7, 3) and drawn.min() >= 0 and drawn.max() <= 1
    colours = drawn.reshape(-1, 3)
    assert len(np.unique(colours[:10], axis=0)) == 10 and (colours[10:12] == colours[:2]).all()
    assert not colours[12].any() and (colours[13] == colours[3]).all()


@pytest.mark.parametrize("observation", [np.zeros((3, 4)), np.zeros(5, np.uint8)])
def test_what_is_not_a_picture_is_refused(observation):
    with pytest.raises(TypeError, match="a picture of bits or bytes is needed"):
        FromGymnasium(Pictures(observation)).reset()


# ---- Atari, with an emulator that shows what the test wants ---------------------------------------------------------


class FakeEmulator:
    """Frame i of a game is gray `shades(i)`, an array (210, 160); a life goes at the frames `deaths`."""

    def __init__(self, shades=lambda i: np.zeros((210, 160), np.uint8), lives=3, deaths=()):
        self.shades, self.begin_with, self.deaths, self.resets = shades, lives, deaths, 0
        self.reset_game()

    def reset_game(self):
        self.acts, self.resets = [], self.resets + 1

    def act(self, move):
        if self.game_over():
            return 0
        self.acts.append(move)
        return len(self.acts)

    def lives(self):
        return self.begin_with - sum(death <= len(self.acts) for death in self.deaths)

    def game_over(self):
        return self.begin_with > 0 and self.lives() == 0

    def getScreenGrayscale(self):  # noqa: N802
        return self.shades(len(self.acts))

    def getMinimalActionSet(self):  # noqa: N802
        return ["noop", "fire", "left"]


def one_shade(value):
    return np.full((210, 160), value, np.uint8)


def test_an_action_is_repeated_in_four_frames_and_the_last_two_are_seen_the_brighter_at_each_place():
    def shades(i):
        screen = one_shade(10)
        screen[:105] = 200 if i % 4 == 3 else 40  # the third of each four frames
        screen[105:] = 90 if i % 4 == 0 else 50  # and the fourth
        screen[:, 80:] = 255 if i % 4 in (1, 2) else 10  # the first two, which are not seen
        return screen

    game = Atari("fake", FakeEmulator(shades))
    game.MOST_NOOPS = 0
    game.reset(seed=0)
    while len(game.emulator.acts) % 4:
        game.emulator.act("noop")
    before = len(game.emulator.acts)
    frame, reward, terminated, truncated, info = game.step(2)
    assert game.emulator.acts[before:] == ["left"] * 4
    assert reward == sum(range(before + 1, before + 5)) and (terminated, truncated, info) == (
        False,
        False,
        {"lives": 3},
    )
    assert frame.shape == (1, 84, 84) and frame.dtype == np.uint8
    assert (frame[0, :42, :42] == 200).all() and (frame[0, 42:, :42] == 90).all() and (frame[0, :, 42:] == 10).all()


def test_screens_are_shrunk_by_means_over_areas_as_loops_would():
    screen = np.random.default_rng(0).integers(0, 256, (210, 160), np.uint8)
    frame = Atari("fake", FakeEmulator()).drawn(screen)
    tenths = np.repeat(np.repeat(screen.astype(float), 2, axis=0), 21, axis=1)  # 420 × 3360: each part is 5 × 40
    wanted = tenths.reshape(84, 5, 84, 40).mean(axis=(1, 3))
    assert np.abs(frame[0] - wanted).max() <= 0.5 + 1e-3


@given(st.integers(1, 40), st.integers(1, 40))
def test_averaging_takes_means(before, after):
    matrix = averaging(before, after)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(matrix.sum(axis=0), after / before, rtol=1e-5)
    assert matrix.min() >= 0


def test_a_game_begins_with_up_to_thirty_frames_in_which_nothing_is_done():
    emulator = FakeEmulator()
    game, counts = Atari("fake", emulator), []
    for seed in range(300):
        game.reset(seed=seed)
        assert set(emulator.acts) == {"noop"}
        counts.append(len(emulator.acts) - 2)  # two more to be seen
    assert set(counts) == set(range(31)) and emulator.resets == 301
    game.reset(seed=7)
    assert len(emulator.acts) - 2 == counts[7]


def test_lives_are_counted_and_after_the_last_the_game_is_over():
    game = Atari("fake", FakeEmulator(deaths=(40, 44, 52)))
    game.MOST_NOOPS = 0
    game.reset(seed=0)
    found = []
    while not found or not found[-1][0]:
        _, _, terminated, _, info = game.step(1)
        found.append((terminated, info["lives"]))
    assert len(game.emulator.acts) == 52
    lives = [count for _, count in found]
    assert lives == sorted(lives, reverse=True) and {*lives} == {3, 2, 1, 0} and found[-1] == (True, 0)


def test_a_game_without_lives_has_one_until_it_ends():
    game = Atari("fake", FakeEmulator(lives=0))
    assert game.reset(seed=0)[1] == {"lives": 1} and game.step(0)[-1] == {"lives": 1}


# ---- the real ones --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("chess", "there is no game 'chess'"),
        ("atari/", "there is no game"),
        ("minatar", "there is no game"),
    ],
)
def test_unknown_games_are_refused_in_one_line(name, says):
    with pytest.raises(UsageError, match=says) as error:
        make(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "module"), [("atari/breakout", "ale_py"), ("minatar/breakout", "minatar.gym")])
def test_a_missing_package_is_one_line_that_says_what_to_install(name, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    with pytest.raises(UsageError, match=r"^this game needs .*: pip install -e '\.\[games\]'$"):
        make(name)


needs_ale = pytest.mark.skipif(not find_spec("ale_py"), reason="needs ale-py, of the extra games")
needs_minatar = pytest.mark.skipif(not find_spec("minatar"), reason="needs MinAtar, of the extra games")


@needs_ale
@pytest.mark.parametrize("name", FOUR)
def test_two_thousand_frames_of_atari(name):
    """500 steps of four frames: frames change, lives go, rewards come, and the same actions lead to the same place."""
    game = make(f"atari/{name}")
    assert game.actions == {"breakout": 4, "enduro": 9, "seaquest": 18, "space_invaders": 6}[name]
    steps = list(played(game, 500))
    frames = np.array([frame for frame, *_ in steps])
    assert frames.shape[1:] == (1, 84, 84) and frames.dtype == np.uint8
    assert np.mean([(a != b).any() for a, b in pairwise(frames)]) > 0.5
    lives = {lives for *_, lives in steps}
    assert lives == {1} if name == "enduro" else len(lives) > 1
    rewards = [reward for _, reward, *_ in steps]
    assert min(rewards) >= 0 and (max(rewards) > 0 or name == "enduro")
    assert_a_function_of_seed_and_actions(game, make(f"atari/{name}"), steps=100)


@needs_ale
def test_a_game_that_ale_does_not_have_is_one_line():
    with pytest.raises(UsageError, match=r"ale-py has no game 'breakin'; it has .*breakout"):
        make("atari/breakin")


@needs_minatar
@pytest.mark.parametrize("name", MINATAR)
def test_a_thousand_steps_of_minatar(name):
    game = make(f"minatar/{name}")
    steps = list(played(game, 1000))
    frames = np.array([frame for frame, *_ in steps])
    assert frames.shape[2:] == (10, 10) and set(np.unique(frames)) == {0, 255}
    assert sum(reward for _, reward, *_ in steps) > 0 and any(ended for _, _, ended, _ in steps)
    assert_a_function_of_seed_and_actions(game, make(f"minatar/{name}"))


@needs_minatar
def test_a_game_that_minatar_does_not_have_is_one_line():
    with pytest.raises(UsageError, match="MinAtar has no game 'chess'"):
        make("minatar/chess")

"""Games for lesson 12, all played in the same way: as Gymnasium's environments are, with frames of bytes.

    frame, info = game.reset(seed=3)
    frame, reward, terminated, truncated, info = game.step(action)

A frame is an array of bytes (channels, height, width), 0 to 255, and a new one each time. Actions are the numbers from
0 to `game.actions` - 1. `info["lives"]` says how many lives are left; a game without lives has one until it ends. After
`reset` with a seed a game is a function of that seed and of the actions: `replayed` relies on it.

`Orchard` is our own and needs nothing. `Atari` needs ale-py, `FromGymnasium` an environment of Gymnasium's interface,
such as MinAtar's; they come with the extra `games` (setup.cfg).
"""

import importlib

import numpy as np

from lessons import UsageError

BRIGHT, TRAIL = 255, 128
CHANNELS = np.array([[0.3, 0.6, 1.0], [1.0, 1.0, 1.0], [0.45, 0.45, 0.45], [0.9, 0.55, 0.2], [0.4, 0.8, 0.4],
                     [0.9, 0.4, 0.4], [0.7, 0.5, 0.9], [0.9, 0.8, 0.3], [0.4, 0.8, 0.8], [0.8, 0.5, 0.6]])  # fmt: skip


class Orchard:
    """Apples fall, one at a time, and a basket below is moved to catch them.

    The field is `width` × `height`, the basket one place in the bottom row. Actions 0, 1 and 2 move it to the left, not
    at all, and to the right. Then the apple falls by a row and drifts by -1, 0 or 1 columns; at a wall it turns round.
    An apple that reaches the bottom row is caught (reward 1) or costs a life, and at once the next one appears in
    the second row, having drifted there from a random place in the first. With the last life the game ends.

    The frame has one channel: basket and apple are bright, and the place that the apple came from is half as bright.
    So one frame says everything, and the game has as many states as there are different frames: see `states`.

    Parameters
    ----------
    width, height : int
    lives : int
    """

    actions = 3

    def __init__(self, width=7, height=6, lives=3):
        if width < 2 or height < 3:
            raise ValueError(f"an orchard is at least 2 wide and 3 high, not {width} and {height}")
        self.width, self.height, self.most_lives = width, height, lives
        self.rng, self.lives = np.random.default_rng(0), 0

    def reset(self, seed=None):
        """A new game, with the basket in the middle: (frame, info). Without a seed, chance goes on where it was."""
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.lives = self.most_lives
        self.state = (self.width // 2, *self._appearing())
        return self.drawn(self.state), {"lives": self.lives}

    def step(self, action):
        """(frame, reward, terminated, truncated, info) after one of the three actions; never truncated."""
        if self.lives == 0:
            raise RuntimeError("the game has ended; call reset()")
        if action not in range(self.actions):
            raise ValueError(f"actions are 0, 1 and 2, not {action}")
        basket, x, y, drift = self.moved(*self.state, action)
        reward = 0.0
        if y == self.height - 1:
            reward = float(x == basket)
            self.lives -= x != basket
            x, y, drift = self._appearing()
        self.state = (int(basket), int(x), int(y), int(drift))
        return self.drawn(self.state), reward, self.lives == 0, False, {"lives": self.lives}

    def _appearing(self):
        x, drift = self.fallen(self.rng.integers(self.width), self.rng.integers(-1, 2))
        return int(x), 1, int(drift)

    def fallen(self, x, drift):
        """Where apples are a row further down, and their drift then; numbers or arrays."""
        inside = (x + drift >= 0) & (x + drift < self.width)
        drift = np.where(inside, drift, -drift)
        return x + drift, drift

    def moved(self, basket, x, y, drift, action):
        """The state after an action, an apple at the bottom not yet replaced; numbers or arrays."""
        x, drift = self.fallen(x, drift)
        return np.clip(basket + action - 1, 0, self.width - 1), x, y + 1, drift

    def drawn(self, state):
        """The frame (1, height, width) of a state (basket, x, y, drift)."""
        basket, x, y, drift = state
        frame = np.zeros((1, self.height, self.width), np.uint8)
        frame[0, y - 1, x - drift] = TRAIL
        frame[0, y, x] = frame[0, -1, basket] = BRIGHT
        return frame

    def states(self):
        """All states in which it is the player's turn, an array (S, 4) of basket, x, y and drift."""
        sides = np.arange(self.width)
        every = np.meshgrid(sides, sides, np.arange(1, self.height - 1), [-1, 0, 1], indexing="ij")
        states = np.stack(every, axis=-1).reshape(-1, 4)
        came_from = states[:, 1] - states[:, 3]
        return states[(came_from >= 0) & (came_from < self.width)]

    def model(self):
        """What becomes of each state under each action, until a life is lost: the game as a Markov decision process.

        Returns
        -------
        probabilities : (actions, S, S) array
            Of the next state, in the order of `states`. The rows of a move that costs a life are 0: there it ends.
        rewards : (actions, S) array
        """
        states = self.states()
        number = {tuple(state): i for i, state in enumerate(states.tolist())}
        places, drifts = np.meshgrid(np.arange(self.width), [-1, 0, 1])
        new = np.stack([a.ravel() for a in self.fallen(places, drifts)], axis=1).tolist()
        probabilities, rewards = (
            np.zeros((self.actions, len(states), len(states))),
            np.zeros((self.actions, len(states))),
        )
        for action in range(self.actions):
            after = np.stack(self.moved(*states.T, action), axis=1).tolist()
            for i, (basket, x, y, drift) in enumerate(after):
                if y < self.height - 1:
                    probabilities[action, i, number[basket, x, y, drift]] = 1
                elif x == basket:
                    rewards[action, i] = 1
                    for x_new, drift_new in new:
                        probabilities[action, i, number[basket, x_new, 1, drift_new]] += 1 / len(new)
        return probabilities, rewards


class FromGymnasium:
    """An environment of Gymnasium's interface whose observations are pictures, of bits or of bytes.

    An observation (height, width) becomes one channel, (height, width, channels) as many; of bits, a 1 becomes 255.

    Parameters
    ----------
    environment
        Anything with `reset`, `step` and `action_space.n`.
    """

    def __init__(self, environment):
        self.environment, self.actions = environment, int(environment.action_space.n)

    def reset(self, seed=None):
        inner = getattr(getattr(self.environment, "unwrapped", None), "game", None)
        if hasattr(inner, "last_action"):
            inner.last_action = 0  # MinAtar repeats it now and then, and would remember it from one game to the next
        observation, info = self.environment.reset(seed=seed)
        return self.drawn(observation), {"lives": 1, **info}

    def step(self, action):
        observation, reward, terminated, truncated, info = self.environment.step(int(action))
        lives = {"lives": 0 if terminated else 1}
        return self.drawn(observation), float(reward), bool(terminated), bool(truncated), lives | info

    def drawn(self, observation):
        """An observation as a frame."""
        observation = np.asarray(observation)
        if observation.dtype not in (np.uint8, bool) or observation.ndim not in (2, 3):
            raise TypeError(
                "a picture of bits or bytes is needed, (height, width) or (height, width, channels), not "
                f"{observation.dtype} {observation.shape}"
            )
        if observation.ndim == 2:
            observation = observation[:, :, None]
        scale = BRIGHT if observation.dtype == bool else 1
        return np.ascontiguousarray(observation.transpose(2, 0, 1)) * np.uint8(scale)


class Atari:
    """A game of the Atari 2600, as Mnih et al. (2015) and section 5.4 play it.

    A step is an action that is repeated in four frames of the emulator. What is seen are the last two of them, the
    brighter one at each place (some things are drawn in every other frame only), in gray, 84 × 84. A game begins with
    up to 30 frames in which nothing is done, how many is drawn; otherwise nothing is left to chance. Only actions that
    mean something in the game are offered.

    Screens are shrunk by means over areas, as Gymnasium shrinks them. The code that the paper's authors started from
    (github.com/spragunr/deep_q_rl) interpolates between the four nearest places instead.

    Parameters
    ----------
    name : str
        Such as "breakout" or "space_invaders".
    emulator : optional
        In the place of ale-py's, with `act`, `game_over`, `lives`, `reset_game`, `getScreenGrayscale` and
        `getMinimalActionSet`.
    """

    REPEATS, MOST_NOOPS, SIDE = 4, 30, 84

    def __init__(self, name, emulator=None):
        self.emulator = emulator or ale(name)
        self.moves = list(self.emulator.getMinimalActionSet())
        self.actions, self.rng = len(self.moves), np.random.default_rng(0)
        height, width = self.emulator.getScreenGrayscale().shape
        self.rows, self.columns = averaging(height, self.SIDE), averaging(width, self.SIDE)

    def reset(self, seed=None):
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.emulator.reset_game()
        for _ in range(self.rng.integers(self.MOST_NOOPS + 1)):
            self.emulator.act(self.moves[0])
        _, frame = self._repeated(self.moves[0], 2)
        return frame, {"lives": self._lives()}

    def step(self, action):
        reward, frame = self._repeated(self.moves[action], self.REPEATS)
        return frame, reward, self.emulator.game_over(), False, {"lives": self._lives()}

    def _repeated(self, move, times):
        """The rewards of a move that is repeated, added up, and the frame after it."""
        screens, reward = [], 0.0
        for left in reversed(range(times)):
            reward += self.emulator.act(move)  # nothing happens once the game is over
            if left < 2:
                screens.append(self.emulator.getScreenGrayscale())
        return float(reward), self.drawn(np.maximum(*screens))

    def _lives(self):
        """Lives left. The emulator says 0 throughout for games that have none."""
        return max(self.emulator.lives(), 0 if self.emulator.game_over() else 1)

    def drawn(self, screen):
        """A gray screen as a frame (1, 84, 84): means over areas, rounded."""
        return (self.rows @ screen.astype(np.float32) @ self.columns.T + 0.5).astype(np.uint8)[None]


def ale(name):
    """ale-py's emulator with a game in it: no sticky actions, no colour averaging, no limit of frames."""
    ale_py = needed("ale_py", "ale-py")
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    emulator = ale_py.ALEInterface()
    emulator.setInt("random_seed", 0)
    emulator.setFloat("repeat_action_probability", 0.0)
    if name not in (known := ale_py.roms.get_all_rom_ids()):
        raise UsageError(f"ale-py has no game {name!r}; it has {', '.join(sorted(known))}")
    emulator.loadROM(ale_py.roms.get_rom_path(name))
    return emulator


def averaging(before, after):
    """The matrix (after, before) that takes means over `after` equal parts of an interval of `before` places."""
    edges = np.linspace(0, before, after + 1)
    first, last = np.arange(before), np.arange(1, before + 1)
    shared = np.minimum(edges[1:, None], last) - np.maximum(edges[:-1, None], first)
    return (np.maximum(shared, 0) * after / before).astype(np.float32)


def needed(module, package):
    """The module; UsageError, in one line, if it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UsageError(f"this game needs {package}: pip install -e '.[games]'") from None


def make(name):
    """A game by its name: "orchard", "minatar/breakout", "atari/breakout" and so on.

    Raises
    ------
    UsageError
        If there is no such game, or if the package that has it is not installed.
    """
    family, _, game = name.partition("/")
    if name == "orchard":
        return Orchard()
    if family == "atari" and game:
        return Atari(game)
    if family == "minatar" and game:
        gym = needed("minatar.gym", "MinAtar and Gymnasium")
        try:
            return FromGymnasium(gym.BaseEnv(game))  # with all six moves, as in Young & Tian 2019
        except ModuleNotFoundError:
            raise UsageError(f"MinAtar has no game {game!r}") from None
    raise UsageError(f"there is no game {name!r}; there are orchard, minatar/... and atari/...")


def picture(frame):
    """A frame (channels, height, width) in colours, (height, width, 3) from 0 to 1.

    One channel is gray. Of several, as MinAtar has them, each has a colour of its own, and the last of those that are
    bright at a place is seen there.
    """
    if len(frame) == 1:
        return np.repeat(frame[0, :, :, None] / BRIGHT, 3, axis=2)
    seen = np.zeros((*frame.shape[1:], 3))
    for channel, colour in zip(frame, CHANNELS[np.arange(len(frame)) % len(CHANNELS)], strict=True):
        seen = np.where(channel[:, :, None] > 0, colour * channel[:, :, None] / BRIGHT, seen)
    return seen


def replayed(game, seed, actions):
    """Bring a game to where these actions led after a reset with this seed; returns the last frame and info."""
    frame, info = game.reset(seed=seed)
    for action in actions:
        frame, _, _, _, info = game.step(action)
    return frame, info

"""Deep Q-learning as in section 5.4: the network, its target, and training that can be interrupted.

Lesson 12 derives and trains what is put together here. Games are those of `lessons/games.py`; what the network sees is
a stack of their last frames, (N, history · channels, height, width) bytes.

Sources: Mnih et al. 2015 (the algorithm), Salimans & Kingma 2016, section 5.4 (minibatches of 64, Adamax, rates), and
the code that its authors started from, github.com/spragunr/deep_q_rl (the normal parameterization's biases, what counts
in an evaluation). Where that code differs we follow Mnih et al.: a stack has zeros before its episode begins (that code
learns from no such stack, and moves at random until it has four frames), and nothing is done after the loss of a life
(there, for two frames of the emulator).
"""

import copy
from dataclasses import dataclass

import numpy as np

import minigrad as mg
import wn
from lessons.games import replayed
from lessons.replay import ReplayMemory
from minigrad import nn, optim

ARMS = ("normal", "normal, initialized", "weight norm", "WN + mean-only BN", "batch norm")


@dataclass(frozen=True)
class Size:
    """How large the network is."""

    convolutions: tuple  # (maps, side of the kernel, stride) of each
    dense: int  # units of the hidden layer after them


@dataclass(frozen=True)
class Settings:
    """What differs between one training and another, besides the parameterization and its learning rate."""

    size: Size
    history: int  # frames in a stack
    capacity: int  # places of the replay memory
    start: int  # steps at random before the first update
    batch: int
    every: int  # steps for an update
    target_every: int  # updates for a new target network
    discount: float
    exploration: tuple  # the share of random actions at the beginning and in the end
    exploring: int  # steps in which it falls linearly from one to the other
    testing: float = 0.05  # the share of random actions in evaluations


# `target_every`: 10,000 updates are printed in Mnih et al.'s table and set in deep_q_rl; the code of Mnih et al. counts
# 10,000 steps, which are 2,500 updates
PAPER = Settings(
    size=Size(((32, 8, 4), (64, 4, 2), (64, 3, 1)), 512), history=4, capacity=1_000_000, start=50_000, batch=64,
    every=4, target_every=2_500, discount=0.99, exploration=(1.0, 0.1), exploring=1_000_000,
)  # fmt: skip
# Young & Tian 2019 (arXiv:1903.03176), with the paper's optimizer in place of theirs
MINATAR = Settings(
    size=Size(((16, 3, 1),), 128), history=1, capacity=100_000, start=5_000, batch=32, every=1, target_every=1_000,
    discount=0.99, exploration=(1.0, 0.1), exploring=100_000,
)  # fmt: skip
ORCHARD = Settings(
    size=Size(((8, 3, 1),), 32), history=1, capacity=10_000, start=500, batch=32, every=2, target_every=100,
    discount=0.9, exploration=(1.0, 0.1), exploring=3_000,
)  # fmt: skip


class QNetwork(nn.Module):
    """Stacks of frames → the value Q of each action, (N, actions). Bytes are divided by 255; hidden layers have ReLUs.

    Parameters
    ----------
    arm : str
        One of `ARMS`. Batch normalization and mean-only batch normalization come before each ReLU; the values
        themselves are never normalized.
    size : Size
    shape : tuple
        Of a stack, (channels, height, width).
    actions : int
    rng : numpy.random.Generator
        Draws the weights: from N(0, 0.05²), with biases 0, where batches or `initialize` give them their scale;
        otherwise uniformly within ±√(6/fan-in) (He et al. 2015), with biases 0.1. (In deep_q_rl it is ±√(3/fan-in):
        the default of Lasagne's `HeUniform` leaves out the factor for ReLUs.)
    """

    def __init__(self, arm, size, shape, actions, rng):
        super().__init__()
        if arm not in ARMS:
            raise ValueError(f"there is no parameterization {arm!r}; there are {', '.join(ARMS)}")
        self.arm = arm
        norm = {"batch norm": nn.BatchNorm, "WN + mean-only BN": wn.MeanOnlyBatchNorm}.get(arm)
        own = {"bias": norm is None, "rng": rng}

        def hidden(layer, features):
            return [layer, *([norm(features)] if norm else []), nn.ReLU()]

        (channels, *sides), layers = shape, []
        for maps, kernel, stride in size.convolutions:
            layers += hidden(nn.Conv2d(channels, maps, kernel, stride=stride, **own), maps)
            channels, sides = maps, [(side - kernel) // stride + 1 for side in sides]
        layers += [nn.Flatten(), *hidden(nn.Linear(channels * sides[0] * sides[1], size.dense, **own), size.dense)]
        self.layers = nn.Sequential(*layers, nn.Linear(size.dense, actions, rng=rng))
        for layer in self.layers:
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                draw_weights(layer, arm, rng)
        if arm in ("weight norm", "WN + mean-only BN"):
            wn.apply_weight_norm(self)
        self.eval()

    def forward(self, stacks):
        """Q for stacks of bytes, an array or a Tensor, which need not be on the network's device."""
        data = stacks.data if isinstance(stacks, mg.Tensor) else stacks
        return self.layers(mg.tensor(data.astype(np.float32) / np.float32(255), device=self.device))

    def train(self, mode=True):
        """As `Module.train`, which would look for the layers in every step."""
        for layer in self.layers:
            layer.training = mode
        return self

    @property
    def device(self):
        return self.layers[-1].bias.device

    def initialize(self, stacks):
        """Data-dependent initialization (section 3) on a batch, in the arms that have it."""
        if self.arm not in ("normal", "batch norm"):
            self.train()
            wn.data_dependent_init(self, stacks)
            self.eval()


def draw_weights(layer, arm, rng):
    """The first weights and biases of a layer that is not normalized yet."""
    shape = layer.weight.shape
    limit = np.sqrt(6 * len(layer.weight) / layer.weight.size)
    drawn = rng.uniform(-limit, limit, shape) if arm == "normal" else rng.normal(0, 0.05, shape)
    layer.weight.data = drawn.astype(np.float32)
    if layer.bias is not None:
        layer.bias.data = np.full(layer.bias.shape, 0.1 if arm == "normal" else 0, np.float32)


def targets(rewards, terminals, next_values, discount):
    """What Q should be for each step: y = r + discount · max Q', where nothing comes after a terminal step.

    Parameters
    ----------
    rewards, terminals : (B,) arrays
    next_values : (B, actions) array
        What the target network says of the stacks after each step.
    discount : float
    """
    return rewards + discount * np.where(terminals, 0, next_values.max(axis=1)).astype(np.float32)


class Training:
    """One agent in training, as far as it has come: `step` or `run` goes on, `state` and `load` keep it.

    The optimizer is Adamax with momentum 0.5, eps 1e-6 and no bias correction, the loss Huber's, added up over the
    minibatch. Rewards are clipped to ±1. The loss of a life ends an episode in the memory, though the game goes on.

    Attributes
    ----------
    steps, updates : int
    losses : list
        One for each update, in the mean over the minibatch.
    returns : list
        [steps, rewards of the whole game, not clipped] for each game that has ended.

    Parameters
    ----------
    make_game : callable
        Makes a game; called twice, since evaluations have one of their own.
    arm : str
        One of `ARMS`.
    rate : float
        Adamax's learning rate.
    settings : Settings
    rng : numpy.random.Generator
        Draws everything: weights, the games' seeds, actions, minibatches.
    """

    def __init__(self, make_game, arm, rate, settings, rng, device="cpu"):
        self.settings, self.rng = settings, rng
        self.game, self.tested = make_game(), make_game()
        self.seed = int(rng.integers(2**31))
        frame, info = self.game.reset(seed=self.seed)
        shape = (settings.history * len(frame), *frame.shape[1:])
        self.network = QNetwork(arm, settings.size, shape, self.game.actions, rng).to(device)
        self.renew_target()
        self.optimizer = optim.Adamax(
            self.network.parameters(), lr=rate, betas=(0.5, 0.999), eps=1e-6, bias_correction=False
        )
        self.memory = ReplayMemory(settings.capacity, frame.shape, settings.history)
        self.memory.begin(frame)
        self.lives, self.played, self.reward = info["lives"], [], 0.0
        self.steps, self.updates, self.losses, self.returns = 0, 0, [], []

    @property
    def exploration(self):
        """The present share of random actions."""
        first, last = self.settings.exploration
        return first + (last - first) * min(max(self.steps - self.settings.start, 0) / self.settings.exploring, 1)

    def run(self, steps):
        for _ in range(steps):
            self.step()

    def step(self):
        """One step of the game, and an update if one is due."""
        action = self.action(self.network, self.memory.latest(), self.exploration, self.rng)
        frame, reward, terminated, truncated, info = self.game.step(action)
        if not np.isfinite(reward):
            raise ValueError(f"the game gave a reward of {reward} in move {self.steps + 1}; a number is needed")
        lost, self.lives = info["lives"] < self.lives, info["lives"]
        self.memory.add(action, np.clip(reward, -1, 1), terminated or lost, frame)
        self.played.append(action)
        self.reward += reward
        self.steps += 1
        if terminated or truncated:
            self.returns.append([self.steps, self.reward])
            self.seed, self.played, self.reward = int(self.rng.integers(2**31)), [], 0.0
            frame, info = self.game.reset(seed=self.seed)
            self.lives = info["lives"]
        if terminated or truncated or lost:
            self.memory.begin(frame)
        if self.steps == self.settings.start:
            self.network.initialize(self.memory.draw(min(500, self.steps), self.rng).states)
        if self.steps >= self.settings.start and self.steps % self.settings.every == 0:
            self.update()

    def renew_target(self):
        """The network as it is now becomes the target network, which is not trained: so its w is computed once."""
        self.target = wn.remove_weight_norm(copy.deepcopy(self.network))

    def action(self, network, stack, exploration, rng):
        """A random action with the probability `exploration`, else the one of the largest Q."""
        if rng.random() < exploration:
            return int(rng.integers(self.game.actions))
        return int(self.values(network, stack[None]).argmax())

    @staticmethod
    def values(network, stacks):
        """Q of stacks (N, channels, height, width), as an array (N, actions)."""
        with mg.no_grad():
            return network(stacks).numpy()

    def update(self):
        """A minibatch from the memory and a step of the optimizer."""
        if self.updates % self.settings.target_every == 0:
            self.renew_target()
        batch = self.memory.draw(self.settings.batch, self.rng)
        wanted = targets(
            batch.rewards, batch.terminals, self.values(self.target, batch.next_states), self.settings.discount
        )
        self.network.train()
        values, taken = self.network(batch.states), (np.arange(len(wanted)), batch.actions)
        off = values.numpy()[taken] - wanted
        slopes = np.zeros(values.shape, np.float32)
        slopes[taken] = np.clip(off, -1, 1)  # the derivatives of Huber's loss
        self.optimizer.zero_grad()
        values.backward(mg.tensor(slopes, device=values.device))
        self.optimizer.step()
        self.network.eval()
        self.updates += 1
        self.losses.append(float(np.where(abs(off) <= 1, off**2 / 2, abs(off) - 0.5).mean()))

    def evaluate(self, steps, seed=0):
        """Play for so many steps as `play` does; the return, that is the sum of rewards, of each game.

        Whole games count, whatever lives they take, and their rewards as they come; the last one counts only if it is
        the first.
        """
        returns, total = [], 0.0
        for _, reward, ended in self.play(steps, seed):
            total += reward
            if ended:
                returns.append(total)
                total = 0.0
        return returns or [total]

    def play(self, steps, seed=0):
        """Play with few random actions, without learning; training goes on as if it had not been.

        Yields
        ------
        frame : (channels, height, width) array
            What each of `steps` steps led to.
        reward : float
        ended : bool
            Whether the game is over. The next step is the first of a new one.
        """
        rng = np.random.default_rng(seed)
        frame, _ = self.tested.reset(seed=int(rng.integers(2**31)))
        memory = ReplayMemory(self.settings.history + 2, frame.shape, self.settings.history)  # for the stacks
        memory.begin(frame)
        for _ in range(steps):
            action = self.action(self.network, memory.latest(), self.settings.testing, rng)
            frame, reward, terminated, truncated, _ = self.tested.step(action)
            memory.add(action, reward, terminated, frame)
            yield frame, reward, terminated or truncated
            if terminated or truncated:
                frame, _ = self.tested.reset(seed=int(rng.integers(2**31)))
                memory.begin(frame)

    # ---- to go on later ---------------------------------------------------------------------------------------------

    COUNTS = ("seed", "lives", "reward", "played", "steps", "updates", "losses", "returns")

    def state(self):
        """What `load` needs to go on later, bit for bit; to be saved before the next step."""
        return {
            "network": self.network.state_dict(), "target": self.target.state_dict(),
            "optimizer": self.optimizer.state_dict(), "memory": self.memory.state(),
            "rng": self.rng.bit_generator.state, **{name: getattr(self, name) for name in self.COUNTS},
        }  # fmt: skip

    def load(self, state):
        """Go on from what `state` gave. The game that was being played is brought there by the actions since.

        ValueError if it does not come to the same frame, or if the memory has another size.
        """
        self.network.load_state_dict(state["network"])
        self.target.load_state_dict(state["target"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.memory.load(state["memory"])
        self.rng.bit_generator.state = state["rng"]
        for name in self.COUNTS:
            value = state[name]
            setattr(self, name, list(value) if isinstance(value, list) else value)
        frame, _ = replayed(self.game, self.seed, self.played)
        if (frame != self.memory.frames[self.memory.newest]).any():
            raise ValueError("the game is not where it was when this was saved: it is another one, or left to chance")

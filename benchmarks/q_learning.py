"""Moves of the agent of lesson 12 in training, with weight normalization: play, remember, and learn when it is due.

One table for each size: the orchard's network in the orchard, and the networks for MinAtar and for Atari, which see
random pictures of the right shape, so that no game has to be installed; the time of the game itself is not in those.
PyTorch has the same agent: game, memory and exploration are the same code, networks and Adamax are PyTorch's. Both
begin with the same weights and memory: the losses printed below the table, of one minibatch before the first timed
move, must agree to rounding. Each time is that of as many moves as make one update, evaluations not counted.
"""

from dataclasses import replace

import numpy as np

from benchmarks import measure

SIZES = {"full": ("orchard", "MinAtar", "Atari"), "quick": ("orchard", "MinAtar"), "tiny": ("orchard",)}
RATE = 0.001


class RandomPictures:
    """A game with random frames of bits (channels, height, width), whose episodes take a hundred moves."""

    actions = 4

    def __init__(self, *shape):
        self.frames = 255 * (np.random.default_rng(0).random((64, *shape)) < 0.1).astype(np.uint8)

    def reset(self, seed=None):
        self.moves = 0
        return self.frames[0].copy(), {"lives": 1}

    def step(self, action):
        self.moves += 1
        over = self.moves == 100
        frame = self.frames[self.moves % 64].copy()
        return frame, float(self.moves % 10 == 0), over, False, {"lives": 0 if over else 1}


def started(kind, size):
    """An agent of this kind (`Training`, or what goes on from there) behind its first update."""
    from lessons import q_learning
    from lessons.games import Orchard

    game, settings = {
        "orchard": (Orchard, q_learning.ORCHARD),
        "MinAtar": (lambda: RandomPictures(4, 10, 10), q_learning.MINATAR),
        "Atari": (lambda: RandomPictures(1, 84, 84), replace(q_learning.PAPER, capacity=5_000)),
    }[size]
    settings = replace(settings, start=200, exploring=1)  # as it is at the end: one move in ten is random
    agent = kind(game, "weight norm", RATE, settings, np.random.default_rng(0))
    agent.run(200)
    return agent


def first_loss(agent):
    agent.renew_target()
    agent.update()
    return agent.losses[-1]


def in_minigrad(size):
    """A function that makes as many moves as belong to an update, and the loss of one minibatch before."""
    from lessons.q_learning import Training

    agent = started(Training, size)
    loss = first_loss(agent)
    return (lambda: agent.run(agent.settings.every)), loss


def in_torch(size):
    import torch
    from torch.nn import functional as F

    import wn
    from benchmarks import in_torch as there
    from lessons.q_learning import Training, targets

    class InTorch(Training):
        """The same agent, which goes on in PyTorch once `network` and `optimizer` are PyTorch's."""

        def renew_target(self):
            if isinstance(self.network, torch.nn.Module):
                self.target = there.without_parametrizations(self.network)
            else:
                super().renew_target()

        @staticmethod
        def values(network, stacks):
            if not isinstance(network, torch.nn.Module):
                return Training.values(network, stacks)
            with torch.inference_mode():
                return network(torch.from_numpy(stacks)).numpy()

        def update(self):
            if not isinstance(self.network, torch.nn.Module):
                return super().update()
            if self.updates % self.settings.target_every == 0:
                self.renew_target()
            batch = self.memory.draw(self.settings.batch, self.rng)
            following = self.values(self.target, batch.next_states)
            wanted = torch.from_numpy(targets(batch.rewards, batch.terminals, following, self.settings.discount))
            chosen = self.network(torch.from_numpy(batch.states)).gather(1, torch.from_numpy(batch.actions)[:, None])
            loss = F.huber_loss(chosen[:, 0], wanted, reduction="sum")
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.updates += 1
            self.losses.append(loss.item() / len(wanted))

    agent = started(InTorch, size)
    shape = agent.memory.at(np.array([0])).states.shape[1:]
    network = there.q_network(agent.settings.size, shape, agent.game.actions, wn.to_torch_state_dict(agent.network))
    agent.network = network
    agent.optimizer = torch.optim.Adamax(network.parameters(), lr=RATE, betas=(0.5, 0.999), eps=1e-6)
    loss = first_loss(agent)
    return (lambda: agent.run(agent.settings.every)), loss


LIBRARIES = {"minigrad": in_minigrad, "PyTorch": in_torch}


def table(size, name):
    from lessons import q_learning

    settings = {"orchard": q_learning.ORCHARD, "MinAtar": q_learning.MINATAR, "Atari": q_learning.PAPER}[name]
    found, left_out = measure.made(LIBRARIES, name)
    times = measure.compare({library: step for library, (step, _) in found.items()}, size)
    rows = measure.rows(times)
    for row in rows:
        row["moves a second"] = settings.every / float(np.median(times[row[""]]))
    losses = ", ".join(f"{library} {loss:.6f}" for library, (_, loss) in found.items())
    title = f"Deep Q-learning, {name}: {settings.every} moves and an update of batch {settings.batch}"
    return measure.Table(title, rows, [*left_out, f"loss of one minibatch: {losses}"])


def run(size):
    return [table(size, name) for name in SIZES[size.name]]

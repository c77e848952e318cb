"""A training step of the variational autoencoder of section 5.2 (lesson 10), with weight normalization.

Forward, backward, Adamax, at the paper's size. PyTorch computes the same network in both of its memory layouts, from
the same weights: the bounds printed below the table, of the same pictures and noise, must agree to rounding. In
training each library draws noise with its own generator.
"""

from dataclasses import replace

import numpy as np

from benchmarks import measure


def start(batch, size):
    """The weights (a state dict for PyTorch), pictures of 0 and 1, and noise."""
    import wn
    from lessons.autoencoder import initialized

    rng = np.random.default_rng(0)
    x = (rng.random((batch, 1, size.side, size.side)) < 0.13).astype(np.float32)  # as bright as MNIST
    model = initialized("weight norm", size, rng, x)
    return model, wn.to_torch_state_dict(model), x, rng.standard_normal((batch, size.latents), dtype=np.float32)


def in_minigrad(batch, size):
    """A training step, and the bound with the noise of `start`."""
    import minigrad as mg
    from minigrad import optim

    model, _, x, noise = start(batch, size)
    bound = model(mg.tensor(x), mg.tensor(noise)).mean().item()
    optimizer, x = optim.Adamax(model.parameters(), lr=1e-3, bias_correction=False), mg.tensor(x)

    def step():
        loss = -model(x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step, bound


def in_torch(batch, size, channels_last=False):
    import torch

    from benchmarks import in_torch as there

    _, weights, x, noise = start(batch, size)
    model, x = there.laid_out(there.load(there.Autoencoder(size), weights), x, channels_last)
    bound = model(x, torch.from_numpy(noise)).mean().item()
    optimizer = torch.optim.Adamax(model.parameters(), lr=1e-3)
    return there.step_of(model, lambda: -model(x).mean(), optimizer), bound


def in_torch_channels_last(batch, size):
    return in_torch(batch, size, channels_last=True)


LIBRARIES = {"minigrad": in_minigrad, "PyTorch": in_torch, "PyTorch, channels last": in_torch_channels_last}


def run(size):
    from lessons.autoencoder import PAPER

    tiny = size.name == "tiny"
    network = replace(PAPER, maps=(2, 3, 4), dense=5, latents=3, hidden=6) if tiny else PAPER
    found, left_out = measure.made(LIBRARIES, size.batch, network)
    times = measure.compare({name: step for name, (step, _) in found.items()}, size)
    bounds = ", ".join(f"{name} {bound:.5f}" for name, (_, bound) in found.items())
    title = f"Training step of the autoencoder, maps {network.maps}, dense {network.dense}, batch {size.batch}"
    rows = measure.rows(times, ("PyTorch", "PyTorch, channels last"))
    return [measure.Table(title, rows, [*left_out, f"bound, in nats: {bounds}"])]

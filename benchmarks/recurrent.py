"""A recurrent network with the sizes of DRAW (the paper's section 5.3).

Two LSTMs of 256 units, 10 steps in time over 28×28 pictures, batch 100; forward, backward, Adam; all cores. PyTorch's
cells are `LSTMCell`, from the same weights. Once more with peepholes, as DRAW has them: PyTorch's cell is then written
in its operations.
"""

import numpy as np

from benchmarks import measure

INPUTS, UNITS, STEPS = 28 * 28, 256, 10


def in_minigrad(x, *sizes):
    from benchmarks import in_minigrad as networks

    return networks.recurrent_step(networks.Recurrent(x.shape[1], *sizes), x, STEPS)


def in_torch(x, *sizes):
    from benchmarks import in_minigrad as networks
    from benchmarks import in_torch as theirs

    weights = networks.Recurrent(x.shape[1], *sizes).state_dict()
    return theirs.recurrent_step(theirs.load(theirs.Recurrent(x.shape[1], *sizes), weights), x, STEPS)


def run(size):
    batch, units = (4, 8) if size.name == "tiny" else (100, UNITS)
    x = np.random.default_rng(1).random((batch, INPUTS), dtype=np.float32)
    tables = []
    for peepholes in (False, True):
        steps, left_out = measure.made({"minigrad": in_minigrad, "PyTorch": in_torch}, x, units, peepholes)
        losses = [f"{name} {step():.7f}" for name, step in steps.items()]
        table = measure.Table(
            f"Two LSTMs{' with peepholes' * peepholes} of {units} units, {STEPS} steps in time, batch {batch}",
            measure.rows(measure.compare(steps, size, share=0.5)),
            [*left_out, "first loss: " + ", ".join(losses)],
        )
        tables.append(table)
    return tables

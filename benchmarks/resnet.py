"""A training step of ResNet-18 with projection shortcuts and no normalization: forward, backward, SGD with momentum.

For batches of 2, 16 and 64 pictures of 32 × 32. PyTorch runs the same network in both of its memory layouts, from the
same weights: the losses printed below the table, computed before the first step, must agree to rounding. GFLOP/s count
the convolutions of all three passes and the time of everything. The last row is what equi-normalization adds to a
training step of minigrad: one cycle, with the optimizer's memory. The tape was read before.
"""

import numpy as np

from benchmarks import measure
from benchmarks.paper_network import BOTH, cross_entropy

SIZES = {"full": (64, (2, 16, 64)), "quick": (64, (2,)), "tiny": (2, (2,))}  # width, batches
CYCLE = "one cycle of equi-normalization"


def operations(width, batch):
    """Operations of one training step in the convolutions: forward, and a gradient each for input and weight."""
    stem, blocks, inputs = 32 * 32 * 9 * 3 * width, 0, width
    for stage in range(4):
        maps, pixels = width * 2**stage, (32 // 2**stage) ** 2
        for _ in range(2):
            blocks += pixels * maps * (9 * inputs + 9 * maps + inputs)  # two convolutions and the shortcut
            inputs = maps
    return 2 * batch * (2 * stem + 3 * blocks)  # the pictures need no gradient


def in_minigrad(width, what, *data):
    """`what`, resnet_step or evaluation, of the network in minigrad."""
    from benchmarks import in_minigrad as here

    return getattr(here, what)(here.resnet(width), *data)


def in_torch(width, what, *data, channels_last=False):
    """The same in PyTorch, with the same weights."""
    from benchmarks import in_minigrad as there
    from benchmarks import in_torch as here

    return getattr(here, what)(here.resnet(width, there.resnet(width).state_dict()), *data, channels_last=channels_last)


def in_torch_channels_last(width, what, *data):
    return in_torch(width, what, *data, channels_last=True)


LIBRARIES = {"minigrad": in_minigrad, "PyTorch": in_torch, "PyTorch, channels last": in_torch_channels_last}


def with_cycles(width, pictures, labels):
    """A step in minigrad, and a function that makes one cycle of equi-normalization on the same network."""
    import wn
    from benchmarks import in_minigrad as here

    model = here.resnet(width)
    optimizer = here.momentum(model)
    step = here.resnet_step(model, pictures, labels, optimizer)
    return {"minigrad": step, CYCLE: wn.EquiNormalizer(model, pictures[:2], optimizer=optimizer)}


def table(size, width, batch):
    x, labels = measure.pictures(batch)
    answers, left_out = measure.made(LIBRARIES, width, "evaluation", x)
    losses = [f"{name} {cross_entropy(f(), labels):.7f}" for name, f in answers.items()]
    steps, _ = measure.made(LIBRARIES, width, "resnet_step", x, labels)
    times = measure.compare(steps | with_cycles(width, x, labels), size, share=0.25)
    rows = measure.rows(times, ("minigrad", *BOTH), operations(width, batch))
    rows[-1].pop("GFLOP/s")
    share = 100 * float(np.median(times[CYCLE] / times["minigrad"]))
    return measure.Table(
        f"Training step of ResNet-18, width {width}, batch {batch}",
        rows,
        [*left_out, "first loss: " + ", ".join(losses), f"{CYCLE}: {share:.1f} % of the step in minigrad"],
    )


def run(size):
    width, batches = SIZES[size.name]
    return [table(size, width, batch) for batch in batches]

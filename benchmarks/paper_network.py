"""A training step of the paper's CIFAR-10 network (table 1) with weight normalization: forward, backward, Adam.

PyTorch runs the same network in both of its memory layouts, from the same weights: the losses printed below the table,
computed before the first step without noise and dropout, must agree to rounding. In training each library draws noise
and masks with its own generator. GFLOP/s count the convolutions of all three passes and the time of everything.

The second table is the part of the network that MyGrad and DeZero can express too.
"""

import numpy as np

from benchmarks import measure, three_layers, training_step


def in_minigrad(size, what, *data):
    """`what`, training_step or evaluation, of the network in minigrad."""
    from benchmarks import in_minigrad as here

    return getattr(here, what)(here.paper_network(size.widths), *data)


def in_torch(size, what, *data, channels_last=False):
    """The same in PyTorch, with the same weights."""
    import wn
    from benchmarks import in_minigrad as there
    from benchmarks import in_torch as here

    weights = wn.to_torch_state_dict(there.paper_network(size.widths))
    return getattr(here, what)(here.paper_network(size.widths, weights), *data, channels_last=channels_last)


def in_torch_channels_last(size, what, *data):
    return in_torch(size, what, *data, channels_last=True)


LIBRARIES = {"minigrad": in_minigrad, "PyTorch": in_torch, "PyTorch, channels last": in_torch_channels_last}
BOTH = ("PyTorch", "PyTorch, channels last")


def cross_entropy(logits, labels):
    """In float64, so that what differs is the networks' answers alone."""
    logits = logits.astype(np.float64)
    log_of_sum = np.logaddexp.reduce(logits, axis=1)
    return (log_of_sum - logits[np.arange(len(labels)), labels]).mean()


def run(size):
    x, labels = measure.pictures(size.batch)
    answers, left_out = measure.made(LIBRARIES, size, "evaluation", x)
    losses = [f"{name} {cross_entropy(f(), labels):.7f}" for name, f in answers.items()]
    steps, _ = measure.made(LIBRARIES, size, "training_step", x, labels)
    whole = measure.Table(
        f"Training step of the paper's network, weight normalization, widths {size.widths}, batch {size.batch}",
        measure.rows(measure.compare(steps, size), BOTH, training_step.operations(size.widths, size.batch)),
        [*left_out, "first loss, without noise and dropout: " + ", ".join(losses)],
    )

    shape = {"width": size.widths[0], "batch": min(size.batch, 20), "size": 32}
    steps, left_out = three_layers.steps(three_layers.LIBRARIES, **shape)
    losses = [f"{name} {step():.7f}" for name, step in steps.items()]
    part = measure.Table(
        f"Its first three convolutions (no weight normalization), forward and backward, batch {shape['batch']}",
        measure.rows(measure.compare(steps, size, share=0.25), BOTH, three_layers.operations(**shape)),
        [*left_out, "loss: " + ", ".join(losses)],
    )
    return [whole, part]

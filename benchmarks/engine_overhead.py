"""The engine's own cost: one training step of a network so small that the arithmetic hardly counts.

    python -m benchmarks.engine_overhead [--repeats 2000]

Two layers, batch 32, 64 inputs, 64 hidden units, 10 classes; forward, backward, a step of gradient descent; float32;
one thread. Each library does it with the functions that it has for the purpose, and "NumPy by hand" is the same
arithmetic without any library: the floor for whatever is built on NumPy.

The libraries take turns within one run, and medians are compared. Turns of one step find the caches full of what the
other libraries did; in turns of 50 steps each library finds its own things there, as in a training run. Peers (the
`bench` extra) that are not installed are named and left out.
"""

import argparse
import statistics
import time

import numpy as np
import threadpoolctl

BATCH, INPUTS, HIDDEN, CLASSES, RATE = 32, 64, 64, 10, 0.01


def start(rng):
    """The data and the weights that every library begins with."""
    x, labels = rng.standard_normal((BATCH, INPUTS), dtype=np.float32), rng.integers(0, CLASSES, BATCH)
    w1 = rng.standard_normal((HIDDEN, INPUTS), dtype=np.float32) / np.float32(8)
    w2 = rng.standard_normal((CLASSES, HIDDEN), dtype=np.float32) / np.float32(8)
    return x, labels, [w1, np.zeros(HIDDEN, np.float32), w2, np.zeros(CLASSES, np.float32)]


def minigrad_step(x, labels, arrays):
    import minigrad as mg
    import minigrad.nn.functional as F

    parameters = [mg.tensor(a, requires_grad=True) for a in arrays]
    x = mg.tensor(x)

    def step():
        w1, b1, w2, b2 = parameters
        loss = F.cross_entropy(F.linear(mg.relu(F.linear(x, w1, b1)), w2, b2), labels)
        loss.backward()
        for p in parameters:
            p.data = p.data - RATE * p.grad.data
            p.grad = None
        return loss.item()

    return step


def torch_step(x, labels, arrays):
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(1)
    parameters = [torch.tensor(a, requires_grad=True) for a in arrays]
    x, labels = torch.tensor(x), torch.tensor(labels)

    def step():
        w1, b1, w2, b2 = parameters
        loss = F.cross_entropy(F.linear(torch.relu(F.linear(x, w1, b1)), w2, b2), labels)
        loss.backward()
        with torch.no_grad():
            for p in parameters:
                p -= RATE * p.grad
                p.grad = None
        return loss.item()

    return step


def autograd_step(x, labels, arrays):
    import autograd
    import autograd.numpy as anp

    parameters, rows = [a.T.copy() for a in arrays], np.arange(BATCH)

    def loss_of(parameters):
        w1, b1, w2, b2 = parameters
        logits = anp.dot(anp.maximum(anp.dot(x, w1) + b1, 0), w2) + b2
        shifted = logits - anp.max(logits, axis=1, keepdims=True)
        return -anp.mean((shifted - anp.log(anp.sum(anp.exp(shifted), axis=1, keepdims=True)))[rows, labels])

    gradient = autograd.value_and_grad(loss_of)

    def step():
        loss, gradients = gradient(parameters)
        parameters[:] = [p - RATE * g for p, g in zip(parameters, gradients, strict=True)]
        return float(loss)

    return step


def mygrad_step(x, labels, arrays):
    import mygrad
    from mygrad.nnet import softmax_crossentropy
    from mygrad.nnet.activations import relu

    parameters = [mygrad.tensor(a.T.copy()) for a in arrays]

    def step():
        w1, b1, w2, b2 = parameters
        loss = softmax_crossentropy(relu(x @ w1 + b1) @ w2 + b2, labels)
        loss.backward()
        for p in parameters:
            p.data -= np.float32(RATE) * p.grad
        return float(loss.data)

    return step


def dezero_step(x, labels, arrays):
    np.int = int  # DeZero still uses the name that NumPy has dropped
    import dezero
    import dezero.functions as DF

    parameters = [dezero.Variable(a.T.copy()) for a in arrays]
    x = dezero.Variable(x)

    def step():
        w1, b1, w2, b2 = parameters
        loss = DF.softmax_cross_entropy(DF.linear(DF.relu(DF.linear(x, w1, b1)), w2, b2), labels)
        for p in parameters:
            p.cleargrad()
        loss.backward()
        for p in parameters:
            p.data -= np.float32(RATE) * p.grad.data
        return float(loss.data)

    return step


def by_hand(x, labels, arrays):
    (w1, b1, w2, b2), rows = arrays, np.arange(BATCH)
    parameters = [w1, b1, w2, b2]

    def step():
        w1, b1, w2, b2 = parameters
        hidden = np.maximum(x @ w1.T + b1, 0)
        logits = hidden @ w2.T + b2
        shifted = logits - logits.max(axis=1, keepdims=True)
        exponentials = np.exp(shifted)
        total = exponentials.sum(axis=1, keepdims=True)
        loss = (np.log(total[:, 0]) - shifted[rows, labels]).mean()
        grad_logits = exponentials / total
        grad_logits[rows, labels] -= 1
        grad_logits *= np.float32(1 / BATCH)
        grad_hidden = (grad_logits @ w2) * (hidden > 0)
        gradients = (grad_hidden.T @ x, grad_hidden.sum(axis=0), grad_logits.T @ hidden, grad_logits.sum(axis=0))
        parameters[:] = [p - RATE * g for p, g in zip(parameters, gradients, strict=True)]
        return float(loss)

    return step


LIBRARIES = {
    "NumPy by hand": by_hand,
    "minigrad": minigrad_step,
    "PyTorch": torch_step,
    "MyGrad": mygrad_step,
    "DeZero": dezero_step,
    "autograd": autograd_step,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=2000)
    flags = parser.parse_args()
    steps = {}
    for name, make in LIBRARIES.items():
        try:
            steps[name] = make(*start(np.random.default_rng(0)))
        except ImportError as error:
            print(f"{name}: not installed ({error}); left out")
    with threadpoolctl.threadpool_limits(1):
        first = {name: step() for name, step in steps.items()}
        alternating = timed(steps, flags.repeats, turn=1)
        settled = timed(steps, flags.repeats, turn=50)
        last = {name: step() for name, step in steps.items()}
    print(
        f"{'':14} {'turns of 1: µs':>15} {'5 % to 95 %':>14} {'relative':>9} {'turns of 50: µs':>16} "
        f"{'5 % to 95 %':>14} {'relative':>9} {'first loss':>11} {'last':>8}"
    )
    for name in sorted(steps, key=lambda name: statistics.median(settled[name])):
        print(
            f"{name:14} {columns(alternating, name, 15)} {columns(settled, name, 16)} {first[name]:11.5f} "
            f"{last[name]:8.5f}"
        )


def timed(steps, repeats, turn):
    """{name: microseconds of each step}, the libraries taking turns of so many steps."""
    microseconds = {name: [] for name in steps}
    for _ in range(max(repeats // turn, 1)):
        for name, step in steps.items():
            for _ in range(turn):
                before = time.perf_counter()
                step()
                microseconds[name].append(1e6 * (time.perf_counter() - before))
    return microseconds


def columns(microseconds, name, width):
    """The median, the spread, and the ratio to minigrad's median."""
    median = statistics.median(microseconds[name])
    low, *_, high = statistics.quantiles(microseconds[name], n=20)
    relative = median / statistics.median(microseconds["minigrad"])
    return f"{median:{width}.0f} {f'{low:.0f} to {high:.0f}':>14} {relative:9.2f}"


if __name__ == "__main__":
    main()

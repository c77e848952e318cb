"""The engine's own cost: one training step of a network so small that the arithmetic hardly counts.

    python -m benchmarks.engine_overhead [--repeats 2000]

Two layers, batch 32, 64 inputs, 64 hidden units, 10 classes; forward, backward, a step of gradient descent; float32.
The libraries take turns within one run, and the median of each is compared with minigrad's. Peers (the `bench`
extra) that are not installed are named and left out.
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
    w1 = rng.standard_normal((INPUTS, HIDDEN), dtype=np.float32) / np.float32(8)
    w2 = rng.standard_normal((HIDDEN, CLASSES), dtype=np.float32) / np.float32(8)
    return x, labels, [w1, np.zeros(HIDDEN, np.float32), w2, np.zeros(CLASSES, np.float32)]


def minigrad_step(x, labels, arrays):
    import minigrad as mg

    F = mg.nn.functional  # noqa: N806
    parameters = [mg.tensor(a, requires_grad=True) for a in arrays]
    x = mg.tensor(x)

    def step():
        w1, b1, w2, b2 = parameters
        loss = F.cross_entropy(mg.relu(x @ w1 + b1) @ w2 + b2, labels)
        loss.backward()
        for p in parameters:
            p.data = p.data - RATE * p.grad.data
            p.grad = None
        return loss.item()

    return step


def torch_step(x, labels, arrays):
    import torch

    torch.set_num_threads(1)
    parameters = [torch.tensor(a, requires_grad=True) for a in arrays]
    x, labels = torch.tensor(x), torch.tensor(labels)

    def step():
        w1, b1, w2, b2 = parameters
        loss = torch.nn.functional.cross_entropy(torch.relu(x @ w1 + b1) @ w2 + b2, labels)
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

    parameters, rows = list(arrays), np.arange(BATCH)

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

    parameters = [mygrad.tensor(a) for a in arrays]

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

    parameters = [dezero.Variable(a.copy()) for a in arrays]
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


LIBRARIES = {"minigrad": minigrad_step, "PyTorch": torch_step, "MyGrad": mygrad_step, "DeZero": dezero_step,
             "autograd": autograd_step}  # fmt: skip


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
    microseconds = {name: [] for name in steps}
    with threadpoolctl.threadpool_limits(1):
        first = {name: step() for name, step in steps.items()}
        for _ in range(flags.repeats):
            for name, step in steps.items():
                before = time.perf_counter()
                step()
                microseconds[name].append(1e6 * (time.perf_counter() - before))
    own = statistics.median(microseconds["minigrad"])
    print(f"{'':10} {'µs a step':>10} {'5 % to 95 %':>16} {'relative':>9} {'first loss':>11} {'last':>8}")
    for name, values in sorted(microseconds.items(), key=lambda item: statistics.median(item[1])):
        low, *_, high = statistics.quantiles(values, n=20)
        median = statistics.median(values)
        print(f"{name:10} {median:10.0f} {low:7.0f} to {high:5.0f} {median / own:9.2f} {first[name]:11.5f} "
              f"{steps[name]():8.5f}")  # fmt: skip


if __name__ == "__main__":
    main()

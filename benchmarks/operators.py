"""A small step written in operators, as people write networks by hand: x @ W + b, tanh, the mean of squares, SGD.

Two layers of 64 and 10 units, batch 32, float32. The arithmetic takes less than half of the time (`NumPy by hand`): the
rest is what each library adds to it. `engine_overhead` is the same network with the layers and the loss that libraries
offer ready-made.
"""

import numpy as np

SHAPES = ((32, 64), (64, 64), 64, (64, 10), 10)  # x, W₁, b₁, W₂, b₂
RATE = np.float32(0.01)


def start():
    """x and the four weights that every library begins with."""
    rng = np.random.default_rng(0)
    x, *weights = (rng.standard_normal(shape, dtype=np.float32) for shape in SHAPES)
    return x, [w / np.float32(8) for w in weights]


def in_minigrad():
    import minigrad as mg

    x, weights = start()
    x, weights = mg.tensor(x), [mg.nn.Parameter(w) for w in weights]
    optimizer = mg.optim.SGD(weights, lr=float(RATE))

    def step():
        w1, b1, w2, b2 = weights
        loss = mg.mean(mg.square(mg.tanh(x @ w1 + b1) @ w2 + b2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.data)

    return step


def in_torch():
    import torch

    torch.set_num_threads(1)
    x, weights = start()
    x, weights = torch.tensor(x), [torch.tensor(w, requires_grad=True) for w in weights]
    optimizer = torch.optim.SGD(weights, lr=float(RATE))

    def step():
        w1, b1, w2, b2 = weights
        loss = torch.mean(torch.square(torch.tanh(x @ w1 + b1) @ w2 + b2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def in_mygrad():
    import mygrad

    x, weights = start()
    weights = [mygrad.tensor(w) for w in weights]

    def step():
        w1, b1, w2, b2 = weights
        loss = mygrad.mean(mygrad.square(mygrad.tanh(x @ w1 + b1) @ w2 + b2))
        loss.backward()
        for w in weights:
            w.data -= RATE * w.grad
        return float(loss.data)

    return step


def in_dezero():
    np.int = int  # DeZero still uses the name that NumPy has dropped
    import dezero
    from dezero import functions

    x, weights = start()
    x, weights = dezero.Variable(x), [dezero.Variable(w) for w in weights]

    def step():
        w1, b1, w2, b2 = weights
        y = functions.matmul(functions.tanh(functions.matmul(x, w1) + b1), w2) + b2
        loss = functions.sum(y**2) * np.float32(1 / y.size)
        for w in weights:
            w.cleargrad()
        loss.backward()
        for w in weights:
            w.data -= RATE * w.grad.data
        return float(loss.data)

    return step


def in_autograd():
    import autograd
    import autograd.numpy as anp

    x, weights = start()

    def loss_of(weights):
        w1, b1, w2, b2 = weights
        return anp.mean(anp.square(anp.dot(anp.tanh(anp.dot(x, w1) + b1), w2) + b2))

    gradient = autograd.value_and_grad(loss_of)

    def step():
        loss, gradients = gradient(weights)
        weights[:] = [w - RATE * g for w, g in zip(weights, gradients, strict=True)]
        return float(loss)

    return step


def by_hand():
    x, weights = start()

    def step():
        w1, b1, w2, b2 = weights
        hidden = np.tanh(x @ w1 + b1)
        y = hidden @ w2 + b2
        grad_y = y * np.float32(2 / y.size)
        grad_hidden = (grad_y @ w2.T) * (1 - hidden * hidden)
        gradients = x.T @ grad_hidden, grad_hidden.sum(axis=0), hidden.T @ grad_y, grad_y.sum(axis=0)
        weights[:] = [w - RATE * g for w, g in zip(weights, gradients, strict=True)]
        return float((y * y).mean())

    return step


LIBRARIES = {
    "NumPy by hand": by_hand,
    "minigrad": in_minigrad,
    "PyTorch": in_torch,
    "MyGrad": in_mygrad,
    "DeZero": in_dezero,
    "autograd": in_autograd,
}

"""SGD and Adam: how a gradient becomes a step.

An optimizer never writes into a parameter's array; it puts a new array in its place. A graph that still needs the old
numbers keeps them, so a step between forward and backward cannot falsify a gradient.
"""

import numpy

from minigrad import backend


class Optimizer:
    """Base of the optimizers: it holds parameters, the learning rate, and what it remembers of each parameter.

    Attributes
    ----------
    lr : float
        The learning rate η; may be changed at any time, as may other hyperparameters.
    """

    def __init__(self, params, lr):
        self.params = list(params)
        if not self.params:
            raise ValueError(f"{type(self).__name__} got no parameters")
        if lr < 0:
            raise ValueError(f"the learning rate must not be negative, got {lr}")
        self.lr = lr  # steps take float(lr): a NumPy number would turn float32 parameters into float64
        self.state = [{} for _ in self.params]  # for each parameter: name → array or number

    def zero_grad(self):
        """Forget all gradients."""
        for parameter in self.params:
            parameter.grad = None

    def step(self):
        """Change every parameter that has a gradient."""
        for parameter, state in zip(self.params, self.state, strict=True):
            if parameter.grad is not None:
                parameter.data = self.updated(parameter.data, parameter.grad.data, state)

    def updated(self, x, grad, state):
        """The new array for a parameter `x` with gradient `grad`."""
        raise TypeError(f"{type(self).__name__} does not define updated()")

    def state_dict(self):
        """What has to be saved to go on later: a dict of numbers and NumPy arrays."""
        return {"state": [{key: _on_host(value) for key, value in s.items()} for s in self.state]}

    def load_state_dict(self, saved):
        """Go on from what `state_dict` gave."""
        if len(saved["state"]) != len(self.params):
            raise ValueError(f"saved state of {len(saved['state'])} parameters, the optimizer has {len(self.params)}")
        self.state = [
            {key: v if isinstance(v, int) else backend.to_device(v, parameter.device) for key, v in s.items()}
            for parameter, s in zip(self.params, saved["state"], strict=True)
        ]


def _on_host(value):
    return value if isinstance(value, int) else numpy.array(backend.to_numpy(value))


class SGD(Optimizer):
    """Stochastic gradient descent: p ← momentum · p + ∇, x ← x - lr · p; weight decay adds weight_decay · x to ∇."""

    def __init__(self, params, lr, momentum=0.0, weight_decay=0.0):
        super().__init__(params, lr)
        self.momentum, self.weight_decay = momentum, weight_decay

    def updated(self, x, grad, state):
        if self.weight_decay:
            grad = grad + self.weight_decay * x
        if self.momentum:
            grad = state["momentum"] = state["momentum"] * self.momentum + grad if "momentum" in state else grad.copy()
        return x - float(self.lr) * grad


class Adam(Optimizer):
    """Adam (Kingma & Ba 2014, algorithm 1): x ← x - lr · m̂ / (√v̂ + eps).

    m and v are running means of the gradient and of its square; the hats divide by 1 - βᵗ, since both start at 0, with
    the current β and t the number of steps that this parameter has made. Weight decay adds weight_decay · x to the
    gradient.
    """

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(params, lr)
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay

    def updated(self, x, grad, state):
        xp = backend.array_module(x)
        beta1, beta2 = self.betas
        if self.weight_decay:
            grad = grad + self.weight_decay * x
        t = state["steps"] = state.get("steps", 0) + 1
        m = state["m"] = state.get("m", 0.0) * beta1 + grad * (1 - beta1)
        v = state["v"] = state.get("v", 0.0) * beta2 + grad * grad * (1 - beta2)
        rate = float(self.lr) / (1 - beta1**t)
        return x - rate * m / (xp.sqrt(v) / (1 - beta2**t) ** 0.5 + self.eps)

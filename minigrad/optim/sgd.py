"""SGD: a step against the gradient, with or without momentum."""

from collections.abc import Iterable

from minigrad.optim.optimizer import Optimizer, check_range
from minigrad.tensors import Tensor


class SGD(Optimizer):
    """Stochastic gradient descent: p ← momentum · p + ∇, x ← x - lr · p; weight decay adds weight_decay · x to ∇."""

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.0, weight_decay: float = 0.0):
        super().__init__(params, lr)
        check_range("momentum", momentum, 0, 1)
        self.momentum, self.weight_decay = momentum, weight_decay

    def updated(self, x, grad, state):
        if self.weight_decay:
            grad = grad + self.weight_decay * x
        if self.momentum:
            (p,) = self.remembered(state, grad, "momentum")
            p *= self.momentum
            p += grad
            grad = p
        return x - self.lr * grad

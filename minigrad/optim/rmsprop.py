"""RMSprop: each entry's gradient divided by its recent size."""

from collections.abc import Iterable

from minigrad import backend
from minigrad.optim.optimizer import Optimizer, check_range
from minigrad.tensors import Tensor


class RMSprop(Optimizer):
    """RMSprop (Tieleman & Hinton 2012, lecture 6.5): v ← alpha · v + (1 - alpha) ∇², x ← x - lr · ∇ / (√v + eps).

    v starts at 0, without a correction: the first steps are longer, up to lr / √(1 - alpha). With momentum,
    p ← momentum · p + ∇ / (√v + eps) and x ← x - lr · p. Weight decay adds weight_decay · x to the gradient.

    Centered, it divides by the deviation, √(v - m²), where m ← alpha · m + (1 - alpha) ∇ (Graves 2013, section 4.2);
    where rounding makes v smaller than m², by 0. Mnih et al.'s deep Q-learning (2015) uses it so.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ):
        super().__init__(params, lr)
        check_range("alpha", alpha, 0, 1)
        check_range("momentum", momentum, 0, 1)
        self.alpha, self.eps, self.weight_decay, self.momentum = alpha, eps, weight_decay, momentum
        self.centered = centered

    def updated(self, x, grad, state):
        if self.weight_decay:
            grad = grad + self.weight_decay * x
        (v,) = self.remembered(state, grad, "v")
        v *= self.alpha
        v += grad * grad * (1 - self.alpha)
        xp = backend.array_module(v)
        if self.centered:
            (m,) = self.remembered(state, grad, "m")
            m *= self.alpha
            m += grad * (1 - self.alpha)
            v = xp.maximum(v - m * m, 0)
        change = grad / (xp.sqrt(v) + self.eps)
        if self.momentum:
            (p,) = self.remembered(state, grad, "momentum")
            p *= self.momentum
            p += change
            change = p
        return x - self.lr * change

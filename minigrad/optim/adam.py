"""Adam and its relatives: steps of a size that does not depend on the gradient's."""

from collections.abc import Iterable

from minigrad import backend
from minigrad.optim.optimizer import Optimizer, check_range
from minigrad.tensors import Tensor


class Adam(Optimizer):
    """Adam (Kingma & Ba 2014, algorithm 1): x ← x - lr · m̂ / (√v̂ + eps).

    m and v are running means of the gradient and of its square. Both start at 0, so m̂ and v̂ divide them by 1 - βᵗ,
    where t counts the steps made on this parameter. (If β is changed on the way, the present one is used.) Weight decay
    adds weight_decay · x to the gradient.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        super().__init__(params, lr)
        check_betas(betas)
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay

    def updated(self, x, grad, state):
        if self.weight_decay:
            grad = grad + self.weight_decay * x
        return x - self.next_step(grad, state)

    def next_step(self, grad, state):
        """The step lr · m̂ / (√v̂ + eps); m, v and the count in `state` are updated on the way."""
        xp = backend.array_module(grad)
        beta1, beta2 = self.betas
        t = state["steps"] = state.get("steps", 0) + 1
        m, v = self.remembered(state, grad, "m", "v")
        m *= beta1
        m += grad * (1 - beta1)
        v *= beta2
        v += grad * grad * (1 - beta2)
        root = xp.sqrt(v)
        root /= (1 - beta2**t) ** 0.5
        root += self.eps
        change = m / root
        change *= self.lr / (1 - beta1**t)
        return change


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2017): x ← (1 - lr · weight_decay) x - lr · m̂ / (√v̂ + eps).

    The decay goes past m and v, so that every entry decays at the same rate however large its gradients are.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ):
        super().__init__(params, lr, betas, eps, weight_decay)

    def updated(self, x, grad, state):
        return x * (1 - self.lr * self.weight_decay) - self.next_step(grad, state)


class Adamax(Optimizer):
    """Adam with the largest gradient in the place of their mean square (Kingma & Ba 2014, section 7.1).

    m ← β₁ m + (1 - β₁) ∇,   u ← max(β₂ u, |∇|),   x ← x - lr / (1 - β₁ᵗ) · m / (u + eps)

    Parameters
    ----------
    params, lr, betas
        As for `Adam`. u needs no correction: its first value is |∇| already.
    eps : float
        Keeps an entry whose gradient has been 0 all the time from 0/0; the paper's algorithm has none. (PyTorch adds
        it to |∇| instead: the two differ where gradients are not much larger than eps.)
    bias_correction : bool
        Whether to divide m, which starts at 0, by 1 - β₁ᵗ. The experiments of the weight normalization paper's
        sections 5.2 and 5.4 did not.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        bias_correction: bool = True,
    ):
        super().__init__(params, lr)
        check_betas(betas)
        self.betas, self.eps, self.bias_correction = betas, eps, bias_correction

    def updated(self, x, grad, state):
        xp = backend.array_module(grad)
        beta1, beta2 = self.betas
        t = state["steps"] = state.get("steps", 0) + 1
        m, u = self.remembered(state, grad, "m", "u")
        m *= beta1
        m += grad * (1 - beta1)
        u *= beta2
        xp.maximum(u, abs(grad), out=u)
        change = m / (u + self.eps)
        change *= self.lr / (1 - beta1**t) if self.bias_correction else self.lr
        return x - change


def check_betas(betas):
    """ValueError unless both are at least 0 and less than 1: at 1, a running mean would never move."""
    for i, beta in enumerate(betas, start=1):
        check_range(f"β{i}", beta, 0, 1)

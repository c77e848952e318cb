"""Written by `python -m tests.types.stubs`: types for checkers and editors, who cannot see what op() makes."""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar, overload

from minigrad.nn import Module
from minigrad.optim import Optimizer
from minigrad.tensors import Array, Operand, Tensor
from wn.equinorm import EquiNormalizer as EquiNormalizer
from wn.mean_only_batch_norm import MeanOnlyBatchNorm as MeanOnlyBatchNorm
from wn.growth import NormTracker as NormTracker

__all__ = ['EquiNormalizer', 'MeanOnlyBatchNorm', 'NormTracker', 'WeightNorm', 'apply_weight_norm', 'data_dependent_init', 'equi_normalize', 'explicit_gradients', 'explicit_gradients_log_scale', 'gradient_covariance', 'load_torch_state_dict', 'mean_only_gradients', 'preconditioned_covariance', 'project', 'projection_matrix', 'remove_weight_norm', 'to_torch_state_dict', 'weight_norm', 'weight_norm_composite']

Layer = TypeVar("Layer", bound=Module)

def WeightNorm(layer: Layer, name: str = 'weight', axis: Literal["output"] | int | tuple[int, ...] | None = 'output', scale: Literal["linear", "exp"] = 'linear') -> Layer:
    r"""Weight-normalize one weight of a layer, in place, without changing what the layer computes.

    The parameter `name` is replaced by two: `name_v`, which starts as the weight itself, and `name_g`, which starts
    at its norms (or their logarithms). `layer.name` stays readable, as w = g v/‖v‖, computed anew at each access; it
    cannot be assigned to. Make the optimizer afterwards: `name` is no parameter any more.

    Parameters
    ----------
    layer : nn.Module
    name : str
        Which of its parameters, in float32 or float64.
    axis : "output", int, tuple of int, or None
        What indexes the weight vectors: by default the layer's outputs, axis 1 for ConvTranspose2d and 0 for all other
        layers. With None the whole weight is one vector, and `name_g` a single number.
    scale : {"linear", "exp"}
        Whether `name_g` is the length g, or its logarithm s with g = e^s (section 2 of the paper).

    Returns
    -------
    nn.Module
        `layer` itself.

    Raises
    ------
    ValueError
        If a weight vector is zero, if the layer has no such parameter, if it is normalized already, or if it is in
        half precision.
    """
def apply_weight_norm(module: Layer, scale: Literal["linear", "exp"] = 'linear') -> Layer:
    r"""Weight-normalize every layer with weight vectors inside `module`, along its output axis. Returns `module`.

    These are Linear, Conv2d, ConvTranspose2d and LSTMCell; of an LSTMCell both matrices, whose rows are the vectors of
    one gate of one unit. A recurrent network computes w = g v/‖v‖ at each step unless it runs within
    `with module.computed_once():`. A zero vector is refused as by `WeightNorm`, with the layer's place in the model and
    before anything is changed.
    """
def data_dependent_init(model: Layer, x: Any, workers: Any = None) -> Layer:
    r"""Set g and b of every layer so that its pre-activations have mean 0 and variance 1 on `x` (equations 5 and 6).

    The model is run once on `x`, and every Linear, Conv2d and ConvTranspose2d that runs is initialized as it does,
    weight-normalized or not, however the model connects them. Where there is a bias b, both are corrected as

        g ← g/σ[t],   b ← (b - μ[t])/σ[t]        (t the layer's output, b included)

    which for g = 1 and b = 0 is equation 6, and which leaves a model alone that is initialized already. Directions are
    kept. An ordinary weight is treated as g v/‖v‖ and divided by σ. A layer without bias keeps its mean, for a batch
    normalization that follows to take away. A layer, or a weight, that is used more than once is initialized at its
    first use. An LSTMCell is left alone: section 3 resorts to standard initialization for recurrent models.

    The model is run as it is: in training mode noise and dropout act, drawing from their generators, and batch
    normalization uses the batch. Afterwards all buffers, such as running averages, are what they were.

    Parameters
    ----------
    model : nn.Module
    x : array_like or Tensor
        A batch, in the shape and on the device that the model takes; for a Linear more than one example.
    workers : minigrad.workers.Workers, optional
        Several machines: mean and variance are those of all workers' x together, of which each may have a different
        number of examples. All have to begin with equal parameters.

    Returns
    -------
    nn.Module
        `model` itself.

    Raises
    ------
    ValueError
        If a unit's pre-activation is the same for the whole batch, up to rounding, which leaves no scale to set; if it
        is not finite; if a weight vector is zero; or if a weight is computed from other parameters in a way that has
        no length for each output. Names the layer. The model is then as it was.
    """
def equi_normalize(model: Layer, c: float = 1.0, p: float = 2, cycles: int = 100, tolerance: float = 1e-07, optimizer: Optimizer | None = None, example: Any = None) -> Layer:
    r"""Rescale the hidden units so that Σ_k c^{p(q-k)} ‖W_k‖ₚᵖ becomes smallest and the function stays.

    A cycle goes through the hidden units, front to back. With L the p-norm of all weights that lead into a unit and R
    that of all that lead out of it,

        d = √(R/(c L)),   W_k[i, :] ← d[i] W_k[i, :],   b_k[i] ← d[i] b_k[i],   W_{k+1}[:, i] ← W_{k+1}[:, i]/d[i]

    (weights as outputs × inputs), which is the best d for this unit alone, so that no cycle increases the sum. Where
    weights other than 0 connect every unit with the input or the output, as in fully connected networks, the end does
    not depend on which of the equivalent networks one starts from. A unit with no weights but zeros coming in, or going
    out, is left as it is. (The authors do not touch biases; without b ← d b the function would change.)

    To make one cycle after each step of training, use `EquiNormalizer`, which looks at the model once.

    Parameters
    ----------
    model : nn.Module
        Without an example an nn.Sequential: between two Linear, Conv2d or ConvTranspose2d there may be only what
        commutes with d > 0: ReLU, LeakyReLU, pooling, Flatten, Dropout. What comes before the first of them, or after
        the last, is free. With an example any module: see `EquiNormalizer`.
    c : float
        1 for equal norms; with more, the early weights become smaller (the authors use 1.1 and 1.2).
    p : float
        Which norm.
    cycles : int
        At most so many. The authors make one after each step of SGD.
    tolerance : float
        Stop when every d of a cycle is this close to 1.
    optimizer : Optimizer, optional
        SGD, Adam(W), Adamax or RMSprop: what it remembers of gradients changes as they do, by 1/d where weights change
        by d. That its weight decay is mixed with them is neglected.
    example : array_like or Tensor, optional
        Some input of the model, as for `EquiNormalizer`.

    Returns
    -------
    nn.Module
        `model` itself.

    Raises
    ------
    ValueError
        If rescaling would change the function; says why and what to do.
    """
@overload
def explicit_gradients(grad_w: Tensor, v: Operand, g: Operand, axis: int | tuple[int, ...] | None = 0) -> tuple[Tensor, Tensor]:
    r"""The gradients of the loss for v and g from the gradient for w = g v/‖v‖ (equation 3).

    Parameters
    ----------
    grad_w, v : array
        ∇_w L and v, of one shape.
    g : array
        One scale per weight vector, of shape (v.shape[axis],) or any other shape with as many entries.
    axis : int, tuple of int, or None
        The axis (or axes) that index the weight vectors.

    Returns
    -------
    grad_v, grad_g : arrays of the shapes of v and g

    Raises
    ------
    ValueError
        If the shapes do not fit together.
    """
@overload
def explicit_gradients(grad_w: Operand, v: Tensor, g: Operand, axis: int | tuple[int, ...] | None = 0) -> tuple[Tensor, Tensor]: ...
@overload
def explicit_gradients(grad_w: Operand, v: Operand, g: Tensor, axis: int | tuple[int, ...] | None = 0) -> tuple[Tensor, Tensor]: ...
@overload
def explicit_gradients(grad_w: Array | float, v: Array | float, g: Array | float, axis: int | tuple[int, ...] | None = 0) -> tuple[Array, Array]: ...
@overload
def explicit_gradients_log_scale(grad_w: Tensor, v: Operand, s: Operand, axis: int | tuple[int, ...] | None = 0) -> tuple[Tensor, Tensor]:
    r"""The gradients for v and s from the gradient for w = e^s v/‖v‖: equation 3, and ∇_s L = e^s ∇_g L (section 2).

    Arguments, results and errors are those of `explicit_gradients`, with the log-scale s in the place of g.
    """
@overload
def explicit_gradients_log_scale(grad_w: Operand, v: Tensor, s: Operand, axis: int | tuple[int, ...] | None = 0) -> tuple[Tensor, Tensor]: ...
@overload
def explicit_gradients_log_scale(grad_w: Operand, v: Operand, s: Tensor, axis: int | tuple[int, ...] | None = 0) -> tuple[Tensor, Tensor]: ...
@overload
def explicit_gradients_log_scale(grad_w: Array | float, v: Array | float, s: Array | float, axis: int | tuple[int, ...] | None = 0) -> tuple[Array, Array]: ...
@overload
def gradient_covariance(gradients: Tensor, centered: bool = True) -> Tensor:
    r"""C, the covariance matrix of the gradient of one weight vector, estimated from n samples of it.

        C = 1/n Σ_i (∇_i - ∇̄)(∇_i - ∇̄)ᵀ,   ∇̄ = 1/n Σ_i ∇_i

    The divisor is n, not n - 1, so that covariance and second moment differ by exactly ∇̄ ∇̄ᵀ. If the samples are
    gradients of single examples, the mean over a minibatch of B independent examples has the covariance C/B.

    Parameters
    ----------
    gradients : (n, k) array or Tensor
        One gradient in each row: of a minibatch, or of a single example.
    centered : bool
        Whether to subtract the mean gradient ∇̄. False gives the second moment 1/n Σ_i ∇_i ∇_iᵀ.

    Returns
    -------
    (k, k) array or Tensor, symmetric and positive semidefinite, of rank n - 1 (n if not centered) at most

    Raises
    ------
    ValueError
        If `gradients` does not have two axes, or no rows.
    """
@overload
def gradient_covariance(gradients: Array, centered: bool = True) -> Array: ...
def load_torch_state_dict(model: Layer, state: Mapping[str, Any]) -> Layer:
    r"""Take over a state dict of the same model in PyTorch, weight-normalized by either of its two functions.

    Parameters
    ----------
    model : nn.Module
        Normalized in the same places.
    state : dict from str to array or CPU torch.Tensor
        `theirs.state_dict()`. The counters `num_batches_tracked` of its batch normalization are left out.

    Returns
    -------
    nn.Module
        `model` itself.

    Raises
    ------
    KeyError, ValueError
        As `model.load_state_dict`, and ValueError if a layer has the log-scale and some g is not positive. Nothing has
        been changed then.
    """
@overload
def mean_only_gradients(grad: Tensor) -> tuple[Tensor, Tensor]:
    r"""The gradients of the loss for t and b from the gradient for t̃ = t - μ[t] + b, in training (equation 8).

    They are the backward rule of `mean_only`.

    Parameters
    ----------
    grad : (N, C) or (N, C, H, W) array or Tensor
        ∇_t̃ L.

    Returns
    -------
    grad_t : like `grad`
        ∇_t̃ L - μ[∇_t̃ L], with μ over all axes but the channel's. It adds up to zero in each channel.
    grad_b : (C,) array or Tensor
        Σ ∇_t̃ L over the same axes.

    Raises
    ------
    ValueError
        If `grad` has another number of dimensions, or no value at all.
    """
@overload
def mean_only_gradients(grad: Array) -> tuple[Array, Array]: ...
@overload
def preconditioned_covariance(C: Tensor, v: Operand, g: Operand) -> Tensor:
    r"""D = (g²/‖v‖²) M_w C M_w, the covariance matrix of ∇_v L, from the covariance matrix C of ∇_w L (section 2.1).

    Multiplied out, with u = v/‖v‖ and q = C u, in some k² operations instead of k³:

        M_w C M_w = C - u qᵀ - q uᵀ + (u·q) u uᵀ

    Parameters
    ----------
    C : (k, k) array or Tensor
        Symmetric.
    v : (k,) array or Tensor
        Not zero.
    g : float, or array or Tensor of one element

    Returns
    -------
    (k, k) array or Tensor
        Symmetric where C is; D v = 0 but for rounding.

    Raises
    ------
    ValueError
        If the shapes do not fit together.
    """
@overload
def preconditioned_covariance(C: Operand, v: Tensor, g: Operand) -> Tensor: ...
@overload
def preconditioned_covariance(C: Operand, v: Operand, g: Tensor) -> Tensor: ...
@overload
def preconditioned_covariance(C: Array | float, v: Array | float, g: Array | float) -> Array: ...
@overload
def project(w: Tensor, x: Operand) -> Tensor:
    r"""M_w x without forming M_w: x - w (w·x)/‖w‖², in k operations instead of k² (equation 4).

    Parameters
    ----------
    w : (k,) array or Tensor
    x : (k,) or (k, n) array or Tensor
        One vector, or one in each column.
    """
@overload
def project(w: Operand, x: Tensor) -> Tensor: ...
@overload
def project(w: Array | float, x: Array | float) -> Array: ...
@overload
def projection_matrix(w: Tensor) -> Tensor:
    r"""M_w = I - w wᵀ/‖w‖², which takes out of a vector its part along w (equation 4).

    Parameters
    ----------
    w : (k,) array or Tensor
        Not zero; its length does not matter.

    Returns
    -------
    (k, k) array or Tensor, symmetric, with M_w M_w = M_w, M_w w = 0 and rank k - 1
    """
@overload
def projection_matrix(w: Array) -> Array: ...
def remove_weight_norm(module: Layer) -> Layer:
    r"""Turn every weight-normalized weight inside `module` back into an ordinary one, w = g v/‖v‖. Returns `module`.

    Layers that share v and g share the weight afterwards.
    """
def to_torch_state_dict(model: Layer) -> dict[str, Array]:
    r"""The state dict of `model` under the names of PyTorch's weight-norm parametrization.

    PyTorch has no log-scale: where a layer has s with g = e^s, g is given. On the other side:

        theirs.load_state_dict({name: torch.from_numpy(array) for name, array in wn.to_torch_state_dict(ours).items()})

    Parameters
    ----------
    model : nn.Module

    Returns
    -------
    dict from str to numpy.ndarray
        Copies.
    """
@overload
def weight_norm(v: Tensor, g: Operand, axis: int | tuple[int, ...] | None = 0) -> Tensor:
    r"""w = g v/‖v‖, one length and one direction for each index along `axis` (equation 2).

    Its gradients are equation 3 in closed form, `wn.explicit_gradients`; tests compare them with those that autograd
    derives from `weight_norm_composite`. For g = e^s (section 2) pass `mg.exp(s)`.

    Parameters
    ----------
    v : array or Tensor
        The directions; ‖v‖ runs over every axis but `axis`. float32 or float64: in half precision ‖v‖² would overflow
        as soon as ‖v‖ reaches 256.
    g : array or Tensor
        The lengths, in shape (v.shape[axis],) or any other with as many entries.
    axis : int, tuple of int, or None
        What indexes the weight vectors: usually the output axis. With several axes there is a vector for each
        combination of their indices; with None there is one, all of v.

    Returns
    -------
    array or Tensor of the shape of v

    Raises
    ------
    ValueError
        If the shapes do not fit, or if a weight vector is zero (on the GPU it becomes NaN: to look at every norm
        would make the host wait).
    """
@overload
def weight_norm(v: Operand, g: Tensor, axis: int | tuple[int, ...] | None = 0) -> Tensor: ...
@overload
def weight_norm(v: Array | float, g: Array | float, axis: int | tuple[int, ...] | None = 0) -> Array: ...
@overload
def weight_norm_composite(v: Tensor, g: Operand, axis: int | tuple[int, ...] | None = 0) -> Tensor:
    r"""The same function out of the library's ordinary ops, so that autograd finds its gradients by itself."""
@overload
def weight_norm_composite(v: Operand, g: Tensor, axis: int | tuple[int, ...] | None = 0) -> Tensor: ...
@overload
def weight_norm_composite(v: Array | float, g: Array | float, axis: int | tuple[int, ...] | None = 0) -> Array: ...

"""Section 2.1, after equation 4: the covariance of the gradient, before and after weight normalization.

If the gradient ∇_w L of one weight vector has the covariance matrix C, then ∇_v L = (g/‖v‖) M_w ∇_w L (equation 4) has

    D = (g²/‖v‖²) M_w C M_w,   M_w = I - u uᵀ,   u = w/‖w‖ = ±v/‖v‖.

D v = 0 whatever C is: as a matrix of size (k, k) it is singular, and its condition number means something only on the
k - 1 directions at right angles to w. `tangent_basis` gives them; Qᵀ D Q for such a basis Q has the eigenvalues of D
without that 0. `lanczos` finds the extreme eigenvalues of operators too large to be written down, Hessians above all.
"""

import math

import numpy

import minigrad as mg
from minigrad import backend
from wn.gradients import projection_matrix


def gradient_covariance(gradients, centered=True):
    """C, the covariance matrix of the gradient of one weight vector, estimated from n samples of it.

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
    if gradients.ndim != 2 or not len(gradients):
        raise ValueError(f"gradient_covariance takes gradients of shape (n, k) with n > 0, not {gradients.shape}")
    if centered:
        gradients = gradients - mg.mean(gradients, 0, keepdims=True)
    return mg.matmul(mg.swapaxes(gradients, 0, 1), gradients) / len(gradients)


def preconditioned_covariance(C, v, g):  # noqa: N803 - the paper's name
    """D = (g²/‖v‖²) M_w C M_w, the covariance matrix of ∇_v L, from the covariance matrix C of ∇_w L (section 2.1).

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
    scale = _scale(C, v, g)
    u = v / mg.norm(v)
    q = mg.matmul(C, u)
    cross = mg.reshape(u, -1, 1) * mg.reshape(q, 1, -1)
    along = mg.sum(u * q) * (mg.reshape(u, -1, 1) * mg.reshape(u, 1, -1))
    return scale * (C - (cross + mg.swapaxes(cross, 0, 1)) + along)


def preconditioned_covariance_composite(C, v, g):  # noqa: N803
    """The same, as the paper writes it: two products with the projection matrix of equation 4."""
    scale, projection = _scale(C, v, g), projection_matrix(v)
    return scale * mg.matmul(mg.matmul(projection, C), projection)


def _scale(C, v, g):  # noqa: N803
    """g²/‖v‖², after a look at the shapes."""
    if v.ndim != 1 or C.shape != (len(v), len(v)) or getattr(g, "size", 1) != 1:
        raise ValueError(
            "preconditioned_covariance takes C of shape (k, k), v of shape (k,) and one number g, not "
            f"{C.shape}, {v.shape} and {getattr(g, 'shape', ())}"
        )
    g = g.reshape(()) if hasattr(g, "reshape") else g
    return g * g / mg.sum(v * v)


def tangent_basis(w):
    """k - 1 orthonormal vectors at right angles to w: the directions that M_w leaves alone.

    They are columns 2 to k of the reflection I - 2 h hᵀ/‖h‖² with h = u ± e₁, which takes e₁ to ∓u (Householder). The
    sign is the one that keeps h away from 0.

    Parameters
    ----------
    w : (k,) array
        Not zero; its length does not matter.

    Returns
    -------
    (k, k - 1) array Q with QᵀQ = I, Qᵀw = 0 and Q Qᵀ = M_w

    Raises
    ------
    ValueError
        If w is not a vector, or is zero.
    """
    if w.ndim != 1 or not w.any():
        raise ValueError(f"tangent_basis takes a vector of shape (k,) that is not zero, not shape {w.shape}")
    xp = backend.array_module(w)
    h = w / xp.linalg.norm(w)
    h[0] += 1 if h[0] >= 0 else -1
    return xp.eye(len(w), dtype=h.dtype)[:, 1:] - xp.outer(h, h[1:]) * (2 / (h @ h))


def lanczos(matvec, start, steps):
    """Estimates of eigenvalues of a symmetric operator A from products A x alone; the extreme ones are found first.

    Builds an orthonormal basis of the Krylov space span{x, A x, A²x, …} by the recurrence

        β_j q_{j+1} = A q_j - α_j q_j - β_{j-1} q_{j-1},   α_j = q_j·A q_j

    and returns the eigenvalues θ of the tridiagonal matrix of the α and β (Ritz values). If s is the unit eigenvector
    to θ of that matrix and m its size, then ‖A y - θ y‖ = β_m |s_m| for y = Q s, and A has an eigenvalue no farther
    from θ than that. In floating point the q lose their orthogonality as soon as a θ has converged; therefore each new
    vector is made orthogonal to all before it, twice (Parlett, The Symmetric Eigenvalue Problem, 1980, chapters 4, 6
    and 13).

    Parameters
    ----------
    matvec : callable
        x ↦ A x on arrays of the shape of `start`, for instance a Hessian-vector product with `mg.hvp`.
    start : (n,) array
        Not zero; usually random. Eigenvectors at right angles to it are not found: a start within an invariant subspace
        stays there. Its dtype is that of the basis; take float64 for more than six digits.
    steps : int
        At most so many products. Fewer if the Krylov space is exhausted before: then the values are exact.

    Returns
    -------
    values, bounds : (m,) NumPy arrays
        The Ritz values in ascending order, and for each the distance within which there is an eigenvalue of A, apart
        from rounding, which adds about ε‖A‖.

    Raises
    ------
    ValueError
        If `start` is not a vector, or is zero, or `steps` is not positive.
    """
    if start.ndim != 1 or not start.any():
        raise ValueError(f"lanczos takes a start vector of shape (n,) that is not zero, not shape {start.shape}")
    if steps < 1:
        raise ValueError(f"lanczos needs at least one step, not {steps}")
    xp = backend.array_module(start)
    epsilon = numpy.finfo(start.dtype).eps
    q = xp.zeros((min(steps, len(start)), len(start)), start.dtype)  # one basis vector in each row
    alpha, beta = [], []
    x = start
    for j in range(len(q)):
        q[j] = x / xp.linalg.norm(x)
        x = matvec(q[j])
        alpha.append(float(q[j] @ x))
        for _ in range(2):
            x = x - (q[: j + 1] @ x) @ q[: j + 1]
        beta.append(float(xp.linalg.norm(x)))
        if beta[-1] <= 10 * math.sqrt(len(start)) * epsilon * max(map(abs, [*alpha, *beta])):
            break  # what is left is rounding
    inner = beta[: len(alpha) - 1]
    values, s = numpy.linalg.eigh(numpy.diag(alpha) + numpy.diag(inner, 1) + numpy.diag(inner, -1))
    return values, beta[-1] * numpy.abs(s[-1])

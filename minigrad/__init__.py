"""minigrad: tensors and automatic differentiation on NumPy, and on CuPy where there is a GPU, small enough to read.

    >>> import minigrad as mg
    >>> x = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.], dtype=float32)

Work through lesson 01 first: it builds a small tape from nothing and explains the words used here. Then read
`tensors.py` (an array that remembers how it was made), `op.py` (how an op is made), `ops/` (the ops, each beside its
derivative: `elementwise`, `shape`, `reduction`, `linear_algebra`, `convolution`), `graph.py` (the backward pass). They
lean on two more: `backend.py` (NumPy or CuPy) and `guard.py` (nobody writes into the numbers of a tensor).

On these stand `nn/` and `optim/`; `transforms.py` (vjp, jvp, hvp, jacobian, hessian); `testing/` (check_grads, the
likely cause of a wrong gradient, strategies for property tests); `draw.py` (the tape as text and figure);
`checkpointing.py` (less memory for more time); `saving.py` (a run saved and restored); `workers.py` (several
machines); `data/` (pictures);
`settings.py` (every setting); `blas.py` (which BLAS runs); `hints.py` (what to write instead of other libraries'
words). And `fast/`, imported last, puts faster forms in the place
of some of it, without changing what it means: it may be skipped, and with MINIGRAD_PLAIN=1 in the environment it is.
"""

from minigrad import hints, ops
from minigrad.backend import is_available
from minigrad.graph import detect_anomaly, enable_grad, grad, no_grad
from minigrad.ops import *
from minigrad.settings import config
from minigrad.tensors import Tensor, tensor

__version__ = "0.1.0"

from minigrad import data, draw, nn, optim, testing, workers
from minigrad.checkpointing import checkpoint
from minigrad.cuda_graphs import cuda_graph
from minigrad.saving import load, save
from minigrad.transforms import hessian, hvp, jacobian, jvp, vjp

__all__ = ["Tensor", "checkpoint", "config", "cuda_graph", "data", "detect_anomaly", "draw", "enable_grad", "grad"]
__all__ += ["hessian", "hvp", "is_available", "jacobian", "jvp", "load", "nn", "no_grad", "optim", "save", "tensor"]
__all__ += ["testing", "vjp", "workers", *ops.__all__]

if not config.plain:
    from minigrad import fast


def __getattr__(name):  # of a name that is not there
    raise hints.no_name(__name__, name)

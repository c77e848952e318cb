"""minigrad: tensors and automatic differentiation on NumPy, and on CuPy where there is a GPU, small enough to read.

    >>> import minigrad as mg
    >>> x = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.], dtype=float32)

Read it in this order: `tensor.py` (an array that remembers how it was made), `op.py` (how an op is made), `ops/`
(the ops, each beside its derivative), `graph.py` (the backward pass). They lean on two more: `backend` (NumPy or CuPy)
and `guard.py` (what backward still needs cannot be changed).

On these stand `nn/` and `optim/`; `transforms.py` (vjp, jvp, hvp, jacobian, hessian); `testing/` (check_grads, the
likely cause of a wrong gradient, and strategies for property tests); `draw.py` (the tape as text and figure);
`recompute.py` (less memory for more time); `checkpoint.py` (a run saved and restored); `data/` (pictures). And
`kernels/`, `parallel.py`, `memory.py` and `replay.py` (CUDA graphs) make it faster without changing what it means: they
may be skipped.
"""

from minigrad.backend import is_available
from minigrad.graph import detect_anomaly, enable_grad, grad, no_grad
from minigrad.memory import keep_freed_memory
from minigrad.ops import *
from minigrad.tensor import Tensor, tensor

__version__ = "0.1.0"

keep_freed_memory()

from minigrad import data, draw, nn, optim, testing
from minigrad.checkpoint import load, save
from minigrad.recompute import checkpoint  # after the module of that name, which stays importable by its full name
from minigrad.replay import cuda_graph
from minigrad.transforms import hessian, hvp, jacobian, jvp, vjp

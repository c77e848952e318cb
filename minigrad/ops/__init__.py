"""The ops, a file per family, and the operators and methods that they give to Tensor.

To add an op, write its forward function and its backward rules together, in the file of its family, and name it in that
file's `__all__`; to make it a method of Tensor too, add it to the list below. The test suite fails until the op has an
entry in `CASES` (tests/test_ops_gradients.py), which gets it every test of its gradients, and one in `BAD` or
`ELEMENTWISE` (tests/test_ops_contracts.py), and beside PyTorch a row or a reason (tests/test_against_pytorch.py).
"""

import functools

from minigrad.graph import backward
from minigrad.ops import convolution, elementwise, linear_algebra, reduction, shape
from minigrad.ops.convolution import *
from minigrad.ops.elementwise import *
from minigrad.ops.linear_algebra import *
from minigrad.ops.reduction import *
from minigrad.ops.shape import *
from minigrad.ops.shape import to
from minigrad.tensors import Tensor

__all__ = [*convolution.__all__, *elementwise.__all__, *linear_algebra.__all__, *reduction.__all__, *shape.__all__]


# x + y calls add(x, y); 2 + y, since the 2 does not know how, calls add(2, y).
# x += y is x = x + y. Of a leaf, a parameter above all, nobody means that: the parameter would stay as it is.
def _unless_leaf(x, y, function):
    if x.requires_grad and x.is_leaf:
        raise RuntimeError(
            "tensors do not change in place, and x += y or the like would only give the name x to a new one; assign to "
            "x.data, or write x = x + y"
        )
    return function(x, y)


for operator, function in {"add": add, "sub": subtract, "mul": multiply, "truediv": divide, "pow": power,
                           "matmul": matmul}.items():  # fmt: skip
    setattr(Tensor, f"__{operator}__", function)
    setattr(Tensor, f"__r{operator}__", lambda self, other, function=function: function(other, self))
    setattr(Tensor, f"__i{operator}__", functools.partialmethod(_unless_leaf, function=function))

for operator, function in {"neg": negative, "abs": abs, "getitem": getitem, "eq": equal, "ne": not_equal, "gt": greater,
                           "ge": greater_equal, "lt": less, "le": less_equal}.items():  # fmt: skip
    setattr(Tensor, f"__{operator}__", function)

Tensor.__hash__ = object.__hash__  # == compares entries, but a tensor in a set or a dict counts as itself

for function in (
    abs, argmax, astype, broadcast_to, clip, cos, cumsum, exp, flip, log, log_softmax, logsumexp, matmul, max, mean,
    min, moveaxis, norm, prod, relu, reshape, sigmoid, sin, softmax, split, sqrt, square, squeeze, std, sum, swapaxes,
    take, tanh, to, transpose, var, backward,
):  # fmt: skip
    setattr(Tensor, function.__name__.strip("_"), function)

Tensor.T = property(transpose, doc="The axes in reversed order.")

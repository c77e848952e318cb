"""Nobody writes into the numbers of a tensor: what backward needs is what the op was given.

`mg.tensor` copies numbers, `.data` and `.numpy()` show them read-only, and assigning to `.data` puts others in their
place. A plain array among an op's arguments stays its owner's: the tape copies it if backward needs it. So tensors,
gradients too, may share memory freely. (CuPy's arrays cannot be made read-only: on a GPU, take a copy to write into.)
"""

import numpy


def shown(array):
    """A read-only view of a NumPy array; an array on a GPU itself."""
    if not isinstance(array, numpy.ndarray):
        return array
    view = array.view(ReadOnly)
    view.setflags(write=False)
    return view


def own(array):
    """The numbers, in native byte order, where nobody else can write: the array itself if it shows a tensor's."""
    if isinstance(array, ReadOnly) and not array.flags.writeable:
        return array.view(numpy.ndarray)
    return numpy.array(array, array.dtype.type, order="K") if isinstance(array, numpy.ndarray) else array.copy("K")


class ReadOnly(numpy.ndarray):
    """A view that says what to do when somebody writes into it. Computing with it gives ordinary arrays.

    So does `+=`: t.data -= step assigns new numbers to t.data.
    """

    def __setitem__(self, index, value):
        self._refuse_if_shown()
        super().__setitem__(index, value)

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
        for target in inputs[:1] if method == "at" else out:
            if isinstance(target, ReadOnly):
                target._refuse_if_shown()
        if out:
            options["out"] = out
        inputs = [x.view(numpy.ndarray) if isinstance(x, ReadOnly) else x for x in inputs]
        return getattr(ufunc, method)(*inputs, **options)

    def __array_function__(self, function, types, args, kwargs):
        result = super().__array_function__(function, types, args, kwargs)
        return result.view(numpy.ndarray) if isinstance(result, ReadOnly) else result

    def copy(self, order="C"):
        return numpy.array(self, order=order)

    def __repr__(self):
        return repr(numpy.asarray(self))

    def _refuse_if_shown(self):
        if not self.flags.writeable:
            raise ValueError(
                "the numbers of a tensor cannot be changed in place: assign new ones, as in t.data = t.data - 1, or "
                "change a copy, t.data.copy()"
            )


for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"):
    setattr(ReadOnly, f"__i{name}__", getattr(ReadOnly, f"__{name}__"))  # as numbers and tuples do it

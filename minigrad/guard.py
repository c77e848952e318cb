"""What backward still needs cannot be changed.

A node of the tape keeps the arrays that its backward rules need. As long as it does, they are read-only, so that
writing into one raises an error instead of falsifying a gradient: `t.data[0] = 5` after `y = t * t` is refused, with
the name of the op, until backward has run or y is gone. NumPy arrays only: CuPy's cannot be made read-only.

Two gaps remain. Another view of the array that was taken before the op ran, by `t.data[1:]` say, can be written into
after it, since NumPy asks each view for its own permission. And NumPy's `ufunc.at` writes into read-only arrays too: it
is refused on `t.data`, but not on the same array under another name.
"""

import collections
import threading

import numpy

from minigrad import backend

_lock = threading.Lock()
_held = {}  # id of an array → [the array, how many nodes need it, whether it was writeable, name of the first one's op,
#                               views of it that nodes need and that were writeable]
_released = collections.deque()  # what nodes held that need it no longer


def hold(args, value, name):
    """Make the memory of a node's arrays read-only; return what to `release` when the node needs them no longer."""
    holds = []
    with _lock:
        for array in (*args, value):
            if isinstance(array, numpy.ndarray):
                owner = array if array.base is None else backend.owner(array)
                found = _held.get(id(owner))
                if found is None:
                    found = _held[id(owner)] = [owner, 1, owner.flags.writeable, name, []]
                    owner.setflags(write=False)
                else:
                    found[1] += 1
                if array is not owner and array.flags.writeable:  # a view has a permission of its own
                    array.setflags(write=False)
                    found[4].append(array)
                holds.append(found)
        if _released:
            _settle()
    return holds


def release(holds):
    """Undo one `hold`.

    A node that is destroyed calls this, and the garbage collector may destroy one at any moment, even in the middle of
    `hold` in this very thread. So it must not wait for the lock: whoever has it will see to the arrays.
    """
    _released.append(holds)
    if _lock.acquire(blocking=False):
        try:
            _settle()
        finally:
            _lock.release()


def _settle():
    while _released:
        for found in _released.popleft():
            found[1] -= 1
            if not found[1]:
                array, _, writeable, _, views = found
                del _held[id(array)]
                for changed in (array, *views) if writeable else ():
                    changed.setflags(write=True)


def shown(array):
    """`array` itself, or, while backward needs its memory, a view that says so when somebody writes into it."""
    if not _held or not isinstance(array, numpy.ndarray) or (found := _held.get(id(backend.owner(array)))) is None:
        return array
    view = array.view(Held)
    view.setflags(write=False)
    view.needed_by = found[3]
    return view


WRITERS = {numpy.copyto, numpy.put, numpy.place, numpy.putmask, numpy.put_along_axis, numpy.fill_diagonal}


class Held(numpy.ndarray):
    """A read-only view that names the op which needs the numbers. Computing with it gives ordinary arrays."""

    needed_by = None

    def _refuse(self):
        raise ValueError(
            f"cannot change this array: {self.needed_by} needs its numbers for the gradient; call backward() first, or "
            "assign a new array to .data, which leaves the old one as it is"
        )

    def __setitem__(self, index, value):
        if not self.flags.writeable:
            self._refuse()
        super().__setitem__(index, value)

    def copy(self, order="C"):
        return numpy.array(self, order=order)

    def fill(self, value):
        self[...] = value

    def put(self, indices, values, mode="raise"):
        self._refuse() if not self.flags.writeable else super().put(indices, values, mode)

    def sort(self, *args, **options):
        self._refuse() if not self.flags.writeable else super().sort(*args, **options)

    def __array_finalize__(self, source):
        self.needed_by = getattr(source, "needed_by", None)

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
        for target in inputs[:1] if method == "at" else out:
            if isinstance(target, Held) and not target.flags.writeable:
                target._refuse()
        inputs = [numpy.asarray(x) if isinstance(x, Held) else x for x in inputs]
        if out:
            options["out"] = out
        return getattr(ufunc, method)(*inputs, **options)

    def __array_function__(self, function, types, args, kwargs):
        if function in WRITERS and args and isinstance(args[0], Held) and not args[0].flags.writeable:
            args[0]._refuse()
        result = super().__array_function__(function, types, args, kwargs)
        return result.view(numpy.ndarray) if isinstance(result, Held) else result

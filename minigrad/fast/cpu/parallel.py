"""One thread per core for work that falls into independent pieces.

NumPy's copies and matrix products release Python's interpreter lock, so plain threads are enough. While they run,
each may use only one BLAS thread: many small products side by side beat one product spread over the cores.
"""

import collections
import concurrent.futures
import contextlib
import contextvars
import functools
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import threadpoolctl

_lock = threading.Lock()
_pool = None
_blas, _limited = [], []  # threadpoolctl's controllers of BLAS; those of them that are limited, with their threads
_callers = 0  # how many threads are inside for_each: the first limits BLAS, the last lifts the limit


def cores():
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def for_each(function, items):
    """Call `function` on each item, spread over the cores; the results in the order of the items.

    What is computed must not depend on which thread computes it, so that results are the same on any machine. The
    caller works, too: with two cores a single other thread has to be woken. And it waits for nobody who has not begun:
    so no deadlock where work within an item is shared out in turn, and all threads are taken. After an error, or
    Ctrl-C, no item is begun any more.
    """
    items = list(items)
    with _one_blas_thread():
        if len(items) == 1:
            return [function(item) for item in items]
        results, left = [None] * len(items), iter(enumerate(items))

        def work():
            try:
                for i, item in left:  # which all threads share
                    results[i] = function(item)
            finally:
                collections.deque(left, maxlen=0)  # what an error has left over

        others, known = [], threading.Lock()  # held until it is known whom to wait for

        def help_out(place):
            with known:  # where the system refuses another thread, the task has been queued all the same
                wanted = place < len(others)
            if wanted:
                work()

        try:
            with known, contextlib.suppress(RuntimeError):  # no more threads, or the interpreter is shutting down
                for i in range(min(cores(), len(items)) - 1):  # in the caller's context: numpy.errstate belongs to it
                    others.append(_pool.submit(contextvars.copy_context().run, help_out, i))
            work()
        finally:
            concurrent.futures.wait(other for other in others if not other.cancel())
        for other in others:
            if not other.cancelled():
                other.result()
        return results


@contextlib.contextmanager
def _one_blas_thread():
    """Within this, BLAS uses one thread per call, in the whole process; also makes the pool when first needed."""
    global _pool, _blas, _limited, _callers
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(max(1, cores() - 1), thread_name_prefix="minigrad")
            _prepare_for_forks()
            _blas = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
        if _callers == 0:
            _lift_limit()  # if an interrupt has left it
            _limited = [(library, threads) for library in _blas if (threads := library.get_num_threads()) != 1]
            _set_threads([(library, 1) for library, _ in _limited])
        _callers += 1
    try:
        yield
    finally:
        with _lock:
            _callers -= 1
            if _callers == 0:
                _lift_limit()


def _lift_limit():
    """Give BLAS back the threads that it had."""
    global _limited
    _set_threads(_limited)
    _limited = []


def _set_threads(counts):
    """Set how many threads these libraries use, a list of (controller, threads)."""
    _take_control_of_blas()
    for library, threads in counts:
        library.set_num_threads(threads)


def _take_control_of_blas():
    """Let this thread set OpenBLAS's limit: since 3.8 threadpoolctl ignores every thread but the first that did."""
    if hasattr(threadpoolctl.OpenBLASController, "clear_controlling_thread"):
        threadpoolctl.OpenBLASController.clear_controlling_thread(force=True)


@functools.cache  # once in a process
def _prepare_for_forks():
    """No fork comes while BLAS's limit is being set or lifted: no lock is inherited that nobody would release."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_begin_anew)


def _begin_anew():
    """A forked child inherits the pool but not its threads, and BLAS's limit but nobody who would lift it."""
    global _pool, _callers
    _lift_limit()
    _pool, _callers = None, 0
    _lock.release()

"""One thread per core for work that falls into independent pieces.

NumPy's copies and matrix products release Python's interpreter lock, so plain threads are enough. While they run,
each may use only one BLAS thread: many small products side by side beat one product spread over the cores.
"""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import threadpoolctl

_lock = threading.Lock()
_pool = _blas = None


def cores():
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def for_each(function, items):
    """Call `function` on each item, spread over the cores; the results in the order of the items.

    What is computed must not depend on which thread computes it, so that results are the same on any machine.
    """
    global _pool, _blas
    items = list(items)
    with _lock:
        if _pool is None:
            _pool, _blas = (
                ThreadPoolExecutor(cores(), thread_name_prefix="minigrad"),
                threadpoolctl.ThreadpoolController(),
            )
    with _blas.limit(limits=1, user_api="blas"):
        return [function(item) for item in items] if len(items) == 1 else list(_pool.map(function, items))


def _forget_pool():
    """A forked child inherits the pool object but not its threads."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)

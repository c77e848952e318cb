"""The library in several Python threads at once, and in worker processes."""

import multiprocessing
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import threadpoolctl

import minigrad as mg
from minigrad import nn, optim
from minigrad.fast.cpu import parallel
from minigrad.nn import functional as F

IMAGES = np.random.default_rng(0).standard_normal((45, 3, 12, 12), dtype=np.float32)  # several chunks of a batch
WEIGHT = np.random.default_rng(1).standard_normal((4, 3, 3, 3), dtype=np.float32)


def trained(seed):
    """The parameters of a small network after two steps, as bytes."""
    rng = np.random.default_rng(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, rng=rng),
        nn.BatchNorm(4),
        nn.LeakyReLU(0.1),
        nn.MaxPool2d(2),
        nn.Dropout(0.3, rng),
        nn.Flatten(),
        nn.Linear(100, 10, rng=rng),
    )
    optimizer, labels = optim.Adam(model.parameters(), lr=0.01), rng.integers(0, 10, len(IMAGES))
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(model(mg.tensor(IMAGES)), labels).backward()
        optimizer.step()
    return b"".join(parameter.numpy().tobytes() for parameter in model.parameters())


def test_threads_that_train_at_the_same_time_do_not_disturb_each_other():
    alone = [trained(seed) for seed in range(6)]
    assert len(set(alone)) == 6
    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(trained, range(6))) == alone


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_worker_processes_can_convolve(method):
    if method not in multiprocessing.get_all_start_methods() or (method == "fork" and sys.platform == "darwin"):
        pytest.skip(f"{method} is not to be had, or not safe, on this system")
    parallel.for_each(len, [[], []])  # the threads exist already, and a forked process does not have them
    expected = mg.conv2d(IMAGES, WEIGHT)
    with multiprocessing.get_context(method).Pool(2) as workers:
        found = workers.starmap_async(mg.conv2d, [(IMAGES, WEIGHT)] * 3).get(timeout=60)
    assert all(y.tobytes() == expected.tobytes() for y in found)


def blas_threads():
    return [lib["num_threads"] for lib in threadpoolctl.threadpool_info() if lib["user_api"] == "blas"]


def test_blas_gets_its_threads_back():
    before = blas_threads()
    inside = parallel.for_each(lambda _: blas_threads(), range(3))
    assert all(count == 1 for counts in inside for count in counts)
    assert blas_threads() == before


def test_a_limit_that_an_interrupt_has_left_is_lifted_next_time(monkeypatch):
    before, moments = blas_threads(), iter([lambda: None, lambda: signal.default_int_handler(0, None)])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        take_control = parallel._take_control_of_blas
        patch.setattr(parallel, "_take_control_of_blas", lambda: (take_control(), next(moments)()))
        parallel.for_each(len, [[]])
    parallel.for_each(len, [[]])
    assert blas_threads() == before


@pytest.mark.skipif(sys.platform != "linux", reason="fork is not to be had, or not safe, on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_blas_gets_its_threads_back_in_a_process_forked_meanwhile():
    before, begun, forked = blas_threads(), threading.Event(), threading.Event()
    other = threading.Thread(target=lambda: parallel.for_each(lambda _: begun.set() or forked.wait(60), [0]))
    other.start()
    assert begun.wait(60)
    with multiprocessing.get_context("fork").Pool(1) as workers:
        found = workers.apply_async(blas_threads).get(timeout=60)
    forked.set()
    other.join()
    assert found == before == blas_threads()


def test_for_each_keeps_the_order_and_passes_errors_on():
    assert parallel.for_each(lambda i: i * i, range(20)) == [i * i for i in range(20)]
    assert parallel.for_each(lambda i: i, []) == []
    with pytest.raises(ZeroDivisionError):
        parallel.for_each(lambda i: 1 / (i - 5), range(10))


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_after_an_error_no_item_is_begun(error):
    begun = []

    def fail_at_once(i):
        begun.append(i)
        if i == 0:
            raise error
        time.sleep(0.01)

    with pytest.raises(error):
        parallel.for_each(fail_at_once, range(100 * parallel.cores()))
    assert len(begun) <= 10 * parallel.cores()


def test_what_the_system_refuses_to_start_a_thread_for_takes_no_item(monkeypatch):
    """An executor has queued a task when starting a thread for it fails: another of its threads may come to it."""

    class Refusing:
        def submit(self, *task):
            threading.Thread(target=task[0], args=task[1:]).start()
            raise RuntimeError("can't start new thread")

    def slow_elsewhere(i):
        time.sleep(0.01 if threading.current_thread() is threading.main_thread() else 0.5)
        return i

    parallel.for_each(len, [[], []])
    monkeypatch.setattr(parallel, "_pool", Refusing())
    monkeypatch.setattr(parallel, "cores", lambda: 4)
    assert parallel.for_each(slow_elsewhere, range(8)) == list(range(8))


def test_work_within_work_waits_for_nobody_who_has_not_begun():
    """With as many threads that wait for others as there are, nobody would be left to do the work."""
    many = range(3 * parallel.cores())
    nested = parallel.for_each(lambda i: sum(parallel.for_each(lambda j: i * j, range(4))), many)
    assert nested == [6 * i for i in many]


def test_an_optimizer_may_compute_with_large_arrays():
    class Squashing(optim.Optimizer):
        def updated(self, x, grad, state):
            return x - self.lr * mg.tanh(grad)

    params = [nn.Parameter(np.ones((1024, 1024), np.float32)) for _ in range(2 * parallel.cores())]
    for p in params:
        p.grad = np.ones(p.shape, np.float32)
    Squashing(params, 1.0).step()
    assert all(abs(p.numpy() - (1 - np.tanh(1))).max() < 1e-6 for p in params)


def test_every_thread_can_limit_blas_and_the_limit_goes_afterwards():
    """threadpoolctl ignores all threads but one, unless it is told otherwise."""

    before, inside = blas_threads(), []
    parallel.for_each(lambda _: None, [0])  # the main thread comes first
    other = threading.Thread(target=lambda: parallel.for_each(lambda _: inside.append(blas_threads()), [0]))
    other.start()
    other.join()
    assert inside == [[1] * len(before)] and blas_threads() == before

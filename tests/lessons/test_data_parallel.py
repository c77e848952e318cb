"""The paper's network among workers, as lesson 14 trains it."""

import numpy as np
import pytest

import minigrad as mg
import wn
from lessons import data_parallel
from lessons.convpool import PARAMETERIZATIONS, network
from minigrad import nn
from minigrad.nn import functional as F
from minigrad.workers import Alone, simulate
from tests.devices import host, is_on, on


def close(found, wanted, ulps):
    """Equal to so many roundings of float64, relative to the largest number."""
    np.testing.assert_allclose(found, wanted, atol=ulps * np.finfo(float).eps * max(np.abs(wanted).max(initial=0), 1))


@pytest.mark.parametrize("kind", PARAMETERIZATIONS)
def test_the_paper_s_network_on_unequal_parts_is_that_on_the_batch(kind):
    """Initialization, gradients and running averages."""
    rng = np.random.default_rng(0)
    x, labels, parts = rng.normal(size=(11, 3, 12, 12)), rng.integers(0, 10, 11), (0, 5, 6, 11)

    def step(workers, rows):
        model = network(kind, (3, 4), np.random.default_rng(1), noise=0.0, dropout=0.0)
        for p in model.parameters():
            p.data = p.numpy().astype(float)
        for layer in model.modules():
            if workers.size > 1 and isinstance(layer, (nn.BatchNorm, wn.MeanOnlyBatchNorm)):
                layer.workers = workers
        if kind != "batch norm":
            wn.data_dependent_init(wn.apply_weight_norm(model), x[rows], workers=workers)
        loss = F.cross_entropy(model(mg.tensor(x[rows])), labels[rows]) * workers.share(len(labels[rows]))
        loss.backward()
        workers.sum_gradients(model.parameters())
        return [p.grad.numpy() for p in model.parameters()], [
            t.numpy() for t in (*model.parameters(), *model.buffers())
        ]

    gradients, state = step(Alone(), slice(None))
    for found, its_state in simulate(3, lambda workers: step(workers, slice(*parts[workers.rank : workers.rank + 2]))):
        for a, b in zip(found, gradients, strict=True):
            close(a, b, ulps=1e6)
        for a, b in zip(its_state, state, strict=True):
            close(a, b, ulps=1e6 if a.dtype == np.float64 else 1e10)


@pytest.mark.parametrize("kind", ["batch norm", "WN + mean-only BN"])
def test_arrays_stay_on_their_device(kind, device):
    x, labels = np.random.default_rng(0).normal(size=(6, 3, 12, 12)).astype(np.float32), np.arange(6)

    def step(workers, rows):
        model = data_parallel.built(workers, kind, True, (2, 3), 0).to(device)
        given = on(device, x[rows])
        wn.data_dependent_init(model, mg.tensor(given), workers=workers)
        (F.cross_entropy(model(mg.tensor(given)), labels[rows]) * workers.share(len(given))).backward()
        workers.sum_gradients(model.parameters())
        assert all(is_on(device, p.grad.data) for p in model.parameters())
        return np.concatenate([host(p.grad).ravel() for p in model.parameters()])

    wanted = step(Alone(), slice(None))
    for found in simulate(2, lambda workers: step(workers, slice(4 * workers.rank, 4 + 2 * workers.rank))):
        np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())  # float32, ten layers


def test_without_mpi_the_lesson_s_jobs_run_on_simulated_workers(monkeypatch):
    rng = np.random.default_rng(0)
    data = {"pictures": rng.normal(size=(16, 3, 12, 12)), "labels": rng.integers(0, 10, 16), "batch": 8, "steps": 3}
    jobs = [("train", data | {"parameterization": "WN + mean-only BN"})]
    monkeypatch.setattr(data_parallel, "mpiexec", lambda size: None)
    [found], [wanted] = data_parallel.run(4, jobs), data_parallel.run(1, jobs)
    close(found["end"], wanted["end"], ulps=1e8)
    parameters = len(data_parallel.built(Alone(), "WN + mean-only BN", True, (8, 16), 0).parameters())
    assert tuple(found["gradients"]) == (3, 3 * 8 * (found["end"].size + parameters))

"""Profiles of hypothesis, and the devices that the library's tests run on.

A test with a parameter `device` runs twice: on the CPU, and on "cuda", which is a strict stand-in for CuPy that needs
no GPU (tests/strict_cupy). On a machine with an NVIDIA GPU and CuPy,

    MINIGRAD_TEST_DEVICE=cuda python -m pytest -m gpu

runs the very same tests on the real CuPy, and with them those that only mean something there.

Tests marked `peers` compare with other libraries, and are skipped where one that they name is missing. With all of the
extra `bench`,

    MINIGRAD_TEST_PEERS=1 python -m pytest -m peers

runs them, and no skip passes for a success: a peer that is missing is an error, a skipped test a failure.

Hypothesis takes the same examples at every run, more of them with HYPOTHESIS_PROFILE=thorough.
"""

import contextlib
import importlib.util
import os
import warnings

import pytest
from hypothesis import HealthCheck, settings

import minigrad as mg

REAL = os.environ.get("MINIGRAD_TEST_DEVICE") == "cuda"  # the real CuPy instead of the stand-in
WITH_PEERS = os.environ.get("MINIGRAD_TEST_PEERS") == "1"
PEERS = ("autograd", "dezero", "expecttest", "mygrad", "torch")  # the extra bench

for name, examples in {"default": 25, "thorough": 200}.items():
    settings.register_profile(
        name,
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

if not mg.config.plain:  # as where CuPy is installed: kernels do not run on the stand-in, all around them does
    from minigrad.fast import replace

    replace.install("cuda")


def pytest_configure():
    if REAL:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # whatever its import warns of is not about this library
            from minigrad import is_available

            if not is_available("cuda"):
                raise pytest.UsageError("MINIGRAD_TEST_DEVICE=cuda: CuPy is not installed or finds no NVIDIA GPU")
    if WITH_PEERS and missing(PEERS):
        raise pytest.UsageError(f"MINIGRAD_TEST_PEERS=1: not installed, of the extra bench: {missing(PEERS)}")


def missing(names):
    return [name for name in names if importlib.util.find_spec(name) is None]


def pytest_report_header():
    return f"BLAS: {mg.config.blas_description()}"


def pytest_collection_modifyitems(config, items):
    for item in items:
        for name in ("claims", "grading", "mistakes", "whole_grading"):
            if item.get_closest_marker(name) and name not in config.option.markexpr:
                item.add_marker(pytest.mark.skip(reason=f"takes minutes; pytest -m {name} runs it"))
        params = item.callspec.params if hasattr(item, "callspec") else {}
        on_cuda = "cuda" in (params.get("device"), params.get("cuda"))
        if on_cuda and REAL:
            item.add_marker("gpu")
        elif item.get_closest_marker("gpu") and not REAL:
            item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU, CuPy, and MINIGRAD_TEST_DEVICE=cuda"))
        mark = item.get_closest_marker("peers")
        if mark and missing(mark.args):
            item.add_marker(pytest.mark.skip(reason=f"needs {missing(mark.args)}, of the extra bench"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if WITH_PEERS and report.skipped and item.get_closest_marker("peers"):
        report.outcome, report.longrepr = "failed", f"skipped beside its peers: {report.longrepr}"
    return report


@contextlib.contextmanager
def within_reach(device):
    """Within this, arrays can be made on the device, and float32 has all of its digits there (no TF32)."""
    if device == "cpu":
        yield device
        return
    if REAL:
        with mg.config(tf32=False):
            yield device
        return
    from tests import strict_cupy

    with strict_cupy.installed():
        yield device


@pytest.fixture(params=[pytest.param("cpu", id=getattr(pytest, "HIDDEN_PARAM", "cpu")), "cuda"])
def device(request):
    """The device to test on, "cpu" or "cuda"."""
    with within_reach(request.param) as device:
        yield device


@pytest.fixture(params=["cuda"])
def cuda(request):
    """For tests that are about "cuda" alone."""
    with within_reach(request.param) as device:
        yield device

"""Which BLAS runs, which would be faster, and that no process is given other kernels unasked."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import blas

ROOT = Path(__file__).parent.parent
BUILT = "OpenBLAS 0.3.31 USE64BITINT DYNAMIC_ARCH NO_AFFINITY Haswell MAX_THREADS=64"
SKYLAKE = ["X86_V2", "AVX", "AVX2", "AVX512F", "AVX512CD", "AVX512_SKX"]  # NumPy before 2.4; since then:
V4 = ["X86_V2", "X86_V3", "X86_V4"]


def library(architecture, internal_api="openblas"):
    return {"internal_api": internal_api, "version": "1", "user_api": "blas", "architecture": architecture}


# ---- what would be faster -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [SKYLAKE, V4])
@pytest.mark.parametrize("kernels", ["Haswell", "Zen", "SANDYBRIDGE", "Nehalem", "Prescott", "Barcelona"])
def test_kernels_older_than_the_processor_are_named(kernels, features):
    assert blas.faster_than([library(kernels)], features, BUILT) == "SkylakeX"
    assert blas.faster_than([library(None, "mkl"), library(kernels)], features, BUILT) == "SkylakeX"


@pytest.mark.parametrize(
    ("libraries", "features", "built"),
    [
        ([library("Haswell")], ["X86_V2", "X86_V3"], BUILT),  # what the processor lacks would end the process
        ([library("Haswell")], ["AVX2", "AVX512F", "AVX512CD", "AVX512_KNL"], BUILT),  # AVX-512, but not all of it
        ([library("Haswell")], [], BUILT),
        ([library("Haswell")], V4, "OpenBLAS 0.3.31 NO_AFFINITY Haswell"),  # built for one processor
        ([library("Haswell")], V4, ""),
        ([library("SkylakeX")], V4, BUILT),
        ([library("Cooperlake")], V4, BUILT),
        ([library("SapphireRapids")], V4, BUILT),
        ([library("a processor of the future")], V4, BUILT),
        ([library("Haswell", "mkl")], V4, BUILT),
        ([library("Haswell", "blis")], V4, BUILT),
        ([library("neoversen1")], ["NEON", "ASIMD", "SVE"], BUILT),
        ([library("armv8")], V4, BUILT),
        ([library(None)], V4, BUILT),
        ([{"internal_api": "mkl", "version": "1"}], V4, BUILT),
        ([], V4, BUILT),
    ],
)
def test_where_it_is_not_certain_nothing_is_named(libraries, features, built):
    assert blas.faster_than(libraries, features, built) is None


def python(code, **environment):
    """What a process prints. An OPENBLAS_CORETYPE of None is not set in it."""
    variables = {name: value for name, value in (os.environ | environment).items() if value is not None}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60, check=True)
    return run.stdout.strip()


NAMED = "from minigrad import blas; print(blas.faster(), blas.description())"


@pytest.fixture
def older():
    """For a process that runs with older kernels than its processor has; skips where there are no others."""
    environment = {blas.VARIABLE: "Haswell"}
    if not python(NAMED, **environment).startswith("SkylakeX openblas"):
        pytest.skip("needs a processor with AVX-512, and an OpenBLAS with kernels for several processors")
    return environment


BEGINS_ANOTHER = """
import os, subprocess, sys
import minigrad as mg
del os.environ["OPENBLAS_CORETYPE"]  # as if OpenBLAS had chosen the older kernels
environment = mg.config.environment()
subprocess.run([sys.executable, "-c", sys.argv[1]], env=environment, check=True) if environment != os.environ else None
""".replace("sys.argv[1]", repr(NAMED))


def test_a_process_that_is_started_has_the_named_kernels_and_nothing_faster_is_left(older):
    said = python(BEGINS_ANOTHER, MINIGRAD_BLAS_KERNELS="1", **older)
    assert said.startswith("None ") and "SkylakeX kernels" in said
    assert python(BEGINS_ANOTHER, MINIGRAD_BLAS_KERNELS="0", **older) == ""


@pytest.mark.parametrize("name", ["Nonsense", "", "skylakex "])
def test_a_core_type_that_there_is_not_does_no_harm(name):
    code = "import numpy; print((numpy.full((9, 9), 3.0) @ numpy.full((9, 9), 2.0)).tolist() == [[54.0] * 9] * 9)"
    assert python(code, **{blas.VARIABLE: name}) == "True"


def test_kernels_differ_in_rounding_only(older):
    code = """
import numpy
a, b = numpy.random.default_rng(0).standard_normal((2, 70, 70))
print(*(a @ b).ravel().tolist())
"""
    one, other = (
        np.array(python(code, **{blas.VARIABLE: name}).split(), float) for name in (older[blas.VARIABLE], "SkylakeX")
    )
    np.testing.assert_allclose(one, other, rtol=0, atol=70 * 70 * np.finfo(float).eps)


# ---- what is done with it -------------------------------------------------------------------------------------------


@pytest.fixture
def fastest(monkeypatch):
    """As if OpenBLAS had chosen older kernels here, and nobody had said anything of them."""
    monkeypatch.setattr(blas, "faster", lambda: "Fastest")
    monkeypatch.delenv(blas.VARIABLE, raising=False)
    monkeypatch.delenv("MINIGRAD_BLAS_KERNELS", raising=False)


@pytest.mark.usefixtures("fastest")
def test_only_the_environment_of_another_process_is_given_the_variable(monkeypatch):
    before = dict(os.environ)
    assert mg.config.environment() == before | {blas.VARIABLE: "Fastest"} and dict(os.environ) == before
    with mg.config(blas_kernels=False):
        assert mg.config.environment() == before
    for said in ("Haswell", ""):  # by the user, who knows why
        monkeypatch.setenv(blas.VARIABLE, said)
        assert mg.config.environment() == before | {blas.VARIABLE: said}


def test_without_faster_kernels_nothing_is_added(monkeypatch):
    monkeypatch.setattr(blas, "faster", lambda: None)
    assert mg.config.environment() == dict(os.environ)


@pytest.mark.usefixtures("fastest")
def test_config_says_what_runs_and_what_would_be_faster(monkeypatch):
    for found in ([library("Haswell"), library(None, "mkl")], [library(None, "mkl"), library("Haswell")]):
        monkeypatch.setattr(blas, "libraries", lambda found=found: found)  # in the order in which they were loaded
        assert mg.config.blas_description().startswith("mkl 1; openblas 1, Haswell kernels")
    shown = repr(mg.config)
    assert mg.config.blas_description() in shown and "start Python with OPENBLAS_CORETYPE=Fastest" in shown
    monkeypatch.setenv(blas.VARIABLE, "Haswell")
    assert "OPENBLAS_CORETYPE=Haswell" in mg.config.blas_description() and "=Fastest" in repr(mg.config)
    monkeypatch.setenv(blas.VARIABLE, "Fastest")  # was said already, to no effect
    assert "faster" not in repr(mg.config).partition("BLAS:")[2]


def test_the_number_of_threads_belongs_to_the_description(monkeypatch):
    """Products of the same matrices, cut into other pieces, have other last bits."""
    monkeypatch.setattr(blas, "libraries", lambda: [library("Haswell") | {"num_threads": n} for n in (1, 16)])
    assert blas.description() == "openblas 1, Haswell kernels, 1 thread; openblas 1, Haswell kernels, 16 threads"


def test_a_blas_that_threadpoolctl_does_not_know_has_the_name_that_numpy_gives_it(monkeypatch):
    monkeypatch.setattr(blas, "libraries", list)
    assert blas.description() == np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]

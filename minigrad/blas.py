"""Which BLAS computes NumPy's matrix products, with which kernels, and whether the processor has faster ones.

OpenBLAS takes its kernels when NumPy is imported, and keeps them. They can be older than the processor: because
OPENBLAS_CORETYPE says so, or because this OpenBLAS does not know the processor. So that nothing changes in a process
unasked, this file only tells; `config.environment()` is what a process that is to be started can be given.
"""

import numpy
import threadpoolctl

VARIABLE = "OPENBLAS_CORETYPE"
WITHOUT_AVX512 = ("prescott", "barcelona", "nehalem", "sandybridge", "haswell", "zen")  # taken for unknown processors
AVX512 = {"AVX512_SKX", "X86_V4"}  # F, CD, BW, DQ and VL, as NumPy calls them together: before 2.4, and from then on


def libraries():
    """The BLAS libraries of this process, as threadpoolctl describes them."""
    return [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]


def description():
    """ "openblas 0.3.31, Haswell kernels, 2 threads" of each BLAS in this process, in the order of the alphabet."""
    said = []
    for library in libraries():
        kernels = f", {library['architecture']} kernels" if library.get("architecture") else ""
        threads = f", {count} thread{'s'[: count > 1]}" if (count := library.get("num_threads")) else ""
        said.append(f"{library['internal_api']} {library['version']}{kernels}{threads}")
    return "; ".join(sorted(said)) or _built_with().get("name", "unknown")  # threadpoolctl does not know Apple's


def faster():
    """The core type with which OpenBLAS would be faster in this process; None without one, or if it is not certain."""
    simd = numpy.show_config(mode="dicts").get("SIMD Extensions", {})
    features = {*simd.get("baseline", ()), *simd.get("found", ())}  # what NumPy found on this processor
    return faster_than(libraries(), features, _built_with().get("openblas configuration", ""))


def _built_with():
    """What NumPy says of the BLAS with which it was built."""
    return numpy.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})


def faster_than(libraries, features, configuration):
    """What `faster` says of these libraries, this processor, and the way in which NumPy's OpenBLAS was built.

    Kernels that the processor cannot run would end the process: hence its features come first. Cooperlake and
    SapphireRapids multiply float32 and float64 as SkylakeX does. Without DYNAMIC_ARCH there is nothing to choose from.
    """
    if not AVX512 & set(features) or "DYNAMIC_ARCH" not in configuration.split():
        return None
    for library in libraries:
        kernels = (library.get("architecture") or "").lower()
        if library["internal_api"] == "openblas" and kernels in WITHOUT_AVX512:
            return "SkylakeX"
    return None

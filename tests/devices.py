"""What tests need to run on each device: see the fixture `device` in conftest.py.

Some tests stay on the CPU: of what is NumPy's alone (blocks and threads, Winograd's algorithm, read-only arrays, the
complex step, exchange with PyTorch by NumPy arrays), of what works on the host whatever the device is (files, central
differences and their diagnosis, data sets, drawing), and of the engine where it never looks at an array (chains,
programs and the stateful model in test_tape.py and test_stateful.py).
"""

import functools
import inspect

import numpy as np
from hypothesis import given, settings

import minigrad as mg
from minigrad import backend

FEWER = 3  # the device gets one example in so many: it is there to find what differs, not to check the laws again


def given_on_each_device(**strategies):
    """`hypothesis.given` for a test with a parameter `device`: all examples on the CPU, fewer on the device.

    The test's attribute `few` is the same test with the fewer examples, for other ways to run it.
    """

    def decorate(test):
        few = settings(max_examples=max(1, settings.default.max_examples // FEWER))
        runs = {"cpu": given(**strategies)(test), "cuda": few(given(**strategies)(test))}

        @functools.wraps(test)
        def run(*args, device="cpu", **fixtures):
            runs[device](*args, device=device, **fixtures)

        run.few = runs["cuda"]
        parameters = inspect.signature(test).parameters.values()
        run.__signature__ = inspect.Signature([p for p in parameters if p.name not in strategies])
        return run

    return decorate


def on(device, value, but=()):
    """Arrays, also in lists, tuples and dicts (except under the keys in `but`), moved to the device."""
    if isinstance(value, dict):
        return {key: v if key in but else on(device, v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(on(device, v) for v in value)
    if isinstance(value, np.generic):
        value = np.asarray(value)
    return backend.to_device(value, device) if backend.is_array(value) else value


def host(value):
    """The numbers of an array or a Tensor, wherever it is, as a NumPy array."""
    if isinstance(value, mg.Tensor):
        return value.numpy()
    return backend.to_numpy(value) if backend.is_array(value) else np.asarray(value)


def is_on(device, value):
    """Whether an array or a Tensor, or a NumPy number, is where it should be."""
    if isinstance(value, np.generic):
        return device == "cpu"
    return (value.device if isinstance(value, mg.Tensor) else backend.device_of(value)) == device

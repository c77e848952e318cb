"""faster: puts a faster form in the place of an op's forward function and rules, or of a method.

A file that holds a faster form says here, in a line, what it is a form of. Ops and layers know nothing of it. The plain
form stays underneath, for whatever the faster one does not take: other dtypes, layouts, devices, and Tensors, which
rules get in a recorded backward pass.
"""

import functools
import importlib.util
import sys

from minigrad.op import REGISTRY, Op

PLAIN = {}  # name → the Op as ops/, nn/ or wn/ define it: what tests compare the faster forms with
_installed = {"cpu"}  # the devices whose forms are in place
_waiting = []  # (device, function that puts a form in its place)


def faster(name, device, forward=None, rules=(), joint=None):
    """Wrap the forward function of an op, and its rules.

    Parameters
    ----------
    name : str
        The op's.
    device : {"cpu", "cuda"}
        A form for "cuda" is put in its place only where CuPy is installed: nobody else pays for asking.
    forward, joint : callable, optional
        Takes the function so far, returns the one to run in its place.
    rules : sequence of callable or None
        The same for each operand's rule.
    """

    def put():
        record = REGISTRY[name]
        PLAIN.setdefault(name, Op(name, record.forward, record.rules, record.joint, record.operands))
        record.forward = _wrapped(record.forward, forward)
        record.joint = _wrapped(record.joint, joint)
        for i, wrap in enumerate(rules):
            record.rules[i] = _wrapped(record.rules[i], wrap)

    _put_or_wait(device, put)


def faster_method(owner, name, device, wrap):
    """Wrap a method of a class, or a function of a module."""
    _put_or_wait(device, lambda: setattr(owner, name, _wrapped(getattr(owner, name), wrap)))


def instead(special, when):
    """A wrapper: `special` runs in the place of a function for the arguments for which `when` is true."""

    def wrap(plain):
        return lambda *args, **params: (special if when(*args, **params) else plain)(*args, **params)

    return wrap


def without_library(function):
    """A function of arrays as a forward function, which gets the array library first."""
    return lambda _xp, *args, **params: function(*args, **params)


def install(device):
    """Put the forms for a device in their places, now and whenever one is added."""
    _installed.add(device)
    waiting, _waiting[:] = _waiting[:], []
    for of_device, put in waiting:
        _put_or_wait(of_device, put)


def _wrapped(function, wrap):
    return function if wrap is None or function is None else functools.wraps(function)(wrap(function))


def _put_or_wait(device, put):
    if device in _installed:
        put()
    else:
        _waiting.append((device, put))


if "cupy" in sys.modules or importlib.util.find_spec("cupy") is not None:
    _installed.add("cuda")

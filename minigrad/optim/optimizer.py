"""Optimizer: what all optimizers share. Each of the others is one rule, from a gradient to a step.

An optimizer never writes into a parameter's array; it puts a new array in its place. A graph that still needs the old
numbers keeps them, so a step between forward and backward cannot falsify a gradient.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy

from minigrad import backend
from minigrad.tensors import Tensor


class Optimizer:
    """Base of the optimizers: it holds parameters, the learning rate, and what it remembers of each parameter.

    Attributes
    ----------
    lr : float
        The learning rate η; may be changed at any time, as may other hyperparameters.
    """

    def __init__(self, params: Iterable[Tensor], lr: float):
        self.params = parameters_in(params, type(self).__name__)
        check_range("lr", lr, 0, math.inf)
        self.lr = lr
        self.state = [{} for _ in self.params]  # for each parameter: name → array or number

    def __setattr__(self, name, value):
        super().__setattr__(name, _python_numbers(value))

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.params:
            parameter.grad = None

    def step(self) -> None:
        """Change every parameter that has a gradient."""
        for parameter, state in zip(self.params, self.state, strict=True):
            if parameter.grad is not None:
                self.change(parameter, state)

    def change(self, parameter, state):
        """Change one parameter."""
        parameter.replace(self.updated(parameter._data, parameter.grad._data, state))

    def updated(self, x, grad, state):
        """The new array for a parameter `x` with gradient `grad`."""
        raise NotImplementedError(f"{type(self).__name__} does not define updated()")

    def remembered(self, state, grad, *names):
        """The arrays of these names in `state`, at first zeros like `grad`. They may be changed in place.

        They follow the gradient where the model has been moved to another device.
        """
        device = backend.device_of(grad)
        for name in names:
            if name in state:
                state[name] = backend.to_device(state[name], device)
            else:
                state[name] = backend.array_module(grad).zeros_like(grad)
        return [state[name] for name in names]

    def state_dict(self) -> dict[str, Any]:
        """What has to be saved to go on later: a dict of the optimizer's kind, numbers and NumPy arrays."""
        return {
            "kind": type(self).__name__,
            "state": [{key: _on_host(value) for key, value in s.items()} for s in self.state],
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave.

        ValueError if it is another kind of optimizer's, or of other parameters. Nothing has changed then.
        """
        if saved.get("kind", type(self).__name__) != type(self).__name__:
            raise ValueError(f"this is the state of {saved['kind']}, not of {type(self).__name__}")
        if len(saved["state"]) != len(self.params):
            raise ValueError(f"saved state of {len(saved['state'])} parameters, the optimizer has {len(self.params)}")
        for parameter, s in zip(self.params, saved["state"], strict=True):
            for key, v in s.items():
                if not isinstance(v, int) and v.shape != parameter.shape:
                    raise ValueError(f"saved {key!r} has shape {v.shape}, its parameter {parameter.shape}")
        self.state = [
            {key: v if isinstance(v, int) else backend.to_device(v, parameter.device).copy() for key, v in s.items()}
            for parameter, s in zip(self.params, saved["state"], strict=True)
        ]


def check_range(name, value, least, below):
    """ValueError unless a hyperparameter is a number from `least` on and below `below`."""
    if not least <= value < below:
        raise ValueError(f"{name} must be at least {least} and less than {below}, not {value}")


def parameters_in(params, name):
    """`params` as a list; an error unless these are tensors that can be trained, and each is there once."""
    if isinstance(params, Tensor):
        raise TypeError(
            f"{name} takes a sequence such as model.parameters(), not one tensor; for a single one, pass [p]"
        )
    params = list(params)
    if not params:
        raise ValueError(f"{name} got no parameters")
    for position, parameter in enumerate(params):
        if not isinstance(parameter, Tensor):
            kind = type(parameter).__name__
            raise TypeError(f"{name} takes parameters, such as model.parameters(); at position {position} is a {kind}")
        if parameter.dtype.kind != "f":
            raise TypeError(
                f"{name}: the tensor at position {position} is {parameter.dtype}; only floats can be trained"
            )
        if not parameter.is_leaf:
            raise ValueError(
                f"{name}: the tensor at position {position} was computed; it would be changed, but not what it was "
                "computed from. Give it those tensors, or detach() it"
            )
    if len(set(params)) < len(params):
        raise ValueError(f"{name} got a parameter more than once")
    return params


def _on_host(value):
    return value if isinstance(value, int) else numpy.array(backend.to_numpy(value))


def _python_numbers(value):
    """NumPy numbers, also in a tuple, as Python's: a float64 would turn float32 parameters into float64."""
    if isinstance(value, tuple):
        return tuple(map(_python_numbers, value))
    return value.item() if getattr(value, "ndim", None) == 0 else value

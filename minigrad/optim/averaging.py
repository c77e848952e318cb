"""ExponentialMovingAverage: parameters averaged over the last steps, which vary less than the last ones do."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy

from minigrad import backend
from minigrad.nn.module import Module
from minigrad.optim.optimizer import parameters_in
from minigrad.tensors import Tensor


class ExponentialMovingAverage:
    """A running average of parameters, x̄ ← decay · x̄ + (1 - decay) x, that starts at their present values.

    Averaging the iterates is Polyak's (Polyak & Juditsky 1992); the exponential form reaches back about 1/(1 - decay)
    updates. Section 5.2 of the weight normalization paper evaluates its models with it. Buffers, such as the running
    statistics of BatchNorm, are not averaged.

    Parameters
    ----------
    module_or_params : nn.Module or sequence of Parameter
    decay : float
        From 0 (the last parameters) to less than 1. For an average over about E epochs: 1 - 1/(E · steps per epoch).

    Examples
    --------
    >>> average = ExponentialMovingAverage(model, 0.999)  # doctest: +SKIP
    >>> optimizer.step(); average.update()                # doctest: +SKIP
    >>> with average.applied():                           # doctest: +SKIP
    ...     test_error = evaluate(model)
    """

    def __init__(self, module_or_params: Module | Iterable[Tensor], decay: float):
        is_module = isinstance(module_or_params, Module)
        params = module_or_params.parameters() if is_module else module_or_params
        self.params = parameters_in(params, type(self).__name__)
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be at least 0 and less than 1, not {decay}")
        self.decay = float(decay)
        self.averages = [parameter._data.copy() for parameter in self.params]  # plain arrays, never written into
        self._applied = False

    def update(self) -> None:
        """Move the averages towards the present parameters; to be called after each step of the optimizer."""
        if self._applied:
            raise RuntimeError("update() within applied(): the parameters are the averages there")
        self.averages = [
            backend.to_device(average, parameter.device) * self.decay + parameter._data * (1 - self.decay)
            for average, parameter in zip(self.averages, self.params, strict=True)
        ]

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Within `with average.applied():` the parameters are the averages; afterwards they are what they were."""
        if self._applied:
            raise RuntimeError("applied() within applied(): the parameters are the averages already")
        own = [parameter._data for parameter in self.params]
        self._applied = True
        try:
            self._put([backend.to_device(a, p.device) for a, p in zip(self.averages, self.params, strict=True)])
            yield
        finally:
            self._put(own)
            self._applied = False

    def _put(self, arrays):
        for parameter, array in zip(self.params, arrays, strict=True):
            parameter.replace(array)

    def state_dict(self) -> dict[str, Any]:
        """What has to be saved to go on later: a dict of NumPy arrays. The decay is not in it."""
        return {"averages": [numpy.array(backend.to_numpy(average)) for average in self.averages]}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave; ValueError if it is of other parameters. Nothing has changed then."""
        shapes, mine = [a.shape for a in saved["averages"]], [p.shape for p in self.params]
        if shapes != mine:
            raise ValueError(f"saved averages have the shapes {shapes}, the parameters {mine}")
        self.averages = [
            backend.to_device(numpy.array(a, dtype=p.dtype), p.device)
            for a, p in zip(saved["averages"], self.params, strict=True)
        ]

"""Module: something with parameters. Parameter and Buffer: the tensors that a module owns.

There is no registration. A module's parameters are the `Parameter`s among its attributes, its buffers the `Buffer`s,
its children the `Module`s, in the order in which they were assigned; those in lists, tuples and dicts count too.
"""

import contextlib
from typing import Any

import numpy

from minigrad import backend, guard
from minigrad.graph import state as tape
from minigrad.tensors import Tensor
from minigrad.tensors import tensor as make_tensor


class Parameter(Tensor):
    """A tensor that is trained. Made from an array, whose numbers are copied, or from a tensor."""

    __slots__ = ()

    def __init__(self, data):
        super().__init__(_array(data))
        self.requires_grad = True


def _array(data):
    """The array of a tensor, a copy of an array, and anything else as `mg.tensor` takes it."""
    if isinstance(data, Tensor):
        return data._data
    return guard.own(data) if backend.is_array(data) else make_tensor(data)._data


def _on_host(value):
    value = getattr(value, "_data", value)
    return backend.to_numpy(value) if backend.is_array(value) else value


class Buffer(Tensor):
    """A tensor that belongs to a module's state but is not trained, such as a running mean."""

    __slots__ = ()

    def __init__(self, data):
        super().__init__(_array(data))


class Module:
    """Base of all layers and models: assign parameters and layers as attributes, and define `forward`."""

    def __init__(self):
        self.training = True
        self._hooks = []
        self._computed = {}  # attribute → function of this module: see `compute`
        self._kept = None  # within `computed_once`: what such functions gave

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        output = self.forward(*args, **kwargs)
        for hook in self._hooks:
            replaced = hook(self, args, output)
            output = output if replaced is None else replaced
        return output

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        kind = type(self).__name__
        raise NotImplementedError(f"{kind} lacks forward(): write `def forward(self, x):`, which returns its output")

    # ---- what is inside -------------------------------------------------------------------------------------------

    def children(self):
        """(name, module) for each module directly inside."""
        return ((name, value) for name, value in self._attributes() if isinstance(value, Module))

    def _attributes(self):
        """(name, value) for all attributes, those in lists, tuples and dicts one by one, however deep."""
        waiting = [(name, value) for name, value in vars(self).items() if not name.startswith("_")][::-1]
        while waiting:
            name, value = waiting.pop()
            if isinstance(value, (list, tuple)):
                waiting += [(f"{name}.{i}", item) for i, item in enumerate(value)][::-1]
            elif isinstance(value, dict):
                waiting += [(f"{name}.{key}", item) for key, item in value.items()][::-1]
            else:
                yield name, value

    def named_modules(self, prefix=""):
        """(name, module) for this module and everything inside, outermost first; this module's own name is ""."""
        yield prefix, self
        for name, child in self.children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self):
        """This module and everything inside."""
        return [module for _, module in self.named_modules()]

    def _named(self, kind):
        seen = set()
        for prefix, module in self.named_modules():
            for name, value in module._attributes():
                if isinstance(value, kind) and value not in seen:  # a shared one counts once
                    seen.add(value)
                    yield (f"{prefix}.{name}" if prefix else name), value

    def named_parameters(self) -> list[tuple[str, Parameter]]:
        """(name, parameter) pairs; names are the attributes' names joined by dots."""
        return list(self._named(Parameter))

    def parameters(self) -> list[Parameter]:
        """Every parameter, each once."""
        return [parameter for _, parameter in self.named_parameters()]

    def named_buffers(self):
        """(name, buffer) pairs."""
        return list(self._named(Buffer))

    def buffers(self):
        """Every buffer, each once."""
        return [buffer for _, buffer in self.named_buffers()]

    # ---- what can be done to all of it ----------------------------------------------------------------------------

    def train(self, mode=True):
        """Switch everything inside to training (noise, dropout, statistics of the batch), or not. Returns self."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self):
        """Switch everything inside to evaluation: deterministic, with running statistics. Returns self."""
        return self.train(False)

    def zero_grad(self):
        """Forget all gradients."""
        for parameter in self.parameters():
            parameter.grad = None

    def to(self, device):
        """Move all parameters, with their gradients, and all buffers to "cpu" or "cuda". Returns self.

        What an optimizer, a running average or a NormTracker remembers of them follows at its next step.
        """
        for tensor in [*self.parameters(), *self.buffers()]:
            grad = tensor.grad
            tensor._data = backend.to_device(tensor._data, device)
            if grad is not None:
                tensor.grad = backend.to_device(grad._data, device)
        return self

    def state_dict(self) -> dict[str, numpy.ndarray]:
        """A copy of all parameters and buffers, as a dict from names to NumPy arrays."""
        return {name: numpy.array(value.numpy()) for name, value in [*self.named_parameters(), *self.named_buffers()]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over parameters and buffers from a dict from names to arrays or tensors.

        Raises
        ------
        KeyError
            If names are missing or unknown; says which. Nothing has been changed then.
        ValueError
            If a shape differs, or if a layer cannot work with the values, such as a zero vector under weight
            normalization; names the layer. Nothing has been changed then.
        """
        mine = dict([*self.named_parameters(), *self.named_buffers()])
        missing, unknown = sorted(mine.keys() - state.keys()), sorted(state.keys() - mine.keys())
        if missing or unknown:
            raise KeyError(f"state dict does not fit {type(self).__name__}: missing {missing}, unknown {unknown}")
        new = {name: numpy.array(_on_host(value), dtype=mine[name].dtype) for name, value in state.items()}
        for name, value in new.items():
            if value.shape != mine[name].shape:
                raise ValueError(f"state dict: {name} has shape {value.shape}, the model {mine[name].shape}")
        for path, module in self.named_modules():
            module.check_state({n: new[full] for n, full in self._names_in(module, mine)}, path)
        for name, tensor in mine.items():
            tensor.replace(backend.to_device(new[name], tensor.device))

    def _names_in(self, module, mine):
        by_tensor = {tensor: name for name, tensor in mine.items()}
        return [(n, by_tensor[t]) for n, t in vars(module).items() if isinstance(t, (Parameter, Buffer))]

    def check_state(self, state, path=""):
        """Refuse values, by attribute name, that this module cannot work with: ValueError that names its `path`."""
        for computed in self._computed.values():
            if hasattr(computed, "check_state"):
                computed.check_state(self, state, path)

    # ---- for those who change what a layer does without rewriting it ------------------------------------------------

    def register_forward_hook(self, hook):
        """Call `hook(module, inputs, output)` after each forward pass; what it returns, if not None, is the output.

        Returns a function that takes the hook away again.
        """
        self._hooks.append(hook)
        return lambda: self._hooks.remove(hook)

    def compute(self, name, function):
        """From now on attribute `name` is `function(self)`, computed anew at each access; None ends that.

        This is how a layer's weight becomes a function of other parameters while the layer itself stays as it is.
        """
        if function is None:
            del self._computed[name]
        else:
            vars(self).pop(name, None)
            self._computed[name] = function

    @contextlib.contextmanager
    def computed_once(self):
        """Within `with model.computed_once():` a computed attribute is computed at its first access and then kept.

        For weights that are used many times between two steps, as in a recurrent network: they are normalized once,
        and the gradients of all uses go back through that one computation together. Parameters that change within
        show their effect afterwards only: step the optimizer outside.
        """
        before = [(module, module._kept) for module in self.modules()]
        for module, kept in before:
            module._kept = {} if kept is None else kept
        try:
            yield
        finally:
            for module, kept in before:
                module._kept = kept

    def __getattr__(self, name: str) -> Any:  # only asked for what is not an ordinary attribute
        computed = vars(self).get("_computed", {})
        if name not in computed:
            hint = "" if "_computed" in vars(self) else "; its __init__ must call super().__init__() first"
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{hint}")
        if self._kept is None:
            return computed[name](self)
        key = name, tape.recording  # what no_grad() made has no record to go back through
        if key not in self._kept:
            self._kept[key] = computed[name](self)
        return self._kept[key]

    def __setattr__(self, name, value):
        if name in vars(self).get("_computed", {}):
            raise AttributeError(
                f"{type(self).__name__}.{name} is computed from other parameters ({self._computed[name]}); "
                "set those, or remove the parameterization first"
            )
        before = vars(self).get(name)
        if isinstance(before, (Parameter, Buffer)) and not (value is None or isinstance(value, (Parameter, Buffer))):
            raise TypeError(
                f"{type(self).__name__}.{name} is a {type(before).__name__}; a {type(value).__name__} in its place "
                f"would not be trained or saved. Wrap it in {type(before).__name__}(…), or assign it to {name}.data"
            )
        super().__setattr__(name, value)

    # ---- how it looks ---------------------------------------------------------------------------------------------

    def extra_repr(self):
        """What to show between the parentheses of a layer without children."""
        return ""

    def __repr__(self):
        children = list(self.children())
        if not children:
            computed = (f"{name} = {function}" for name, function in self._computed.items())
            return f"{type(self).__name__}({', '.join(filter(None, [self.extra_repr(), *computed]))})"
        lines = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in children]
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"

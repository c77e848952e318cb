"""Sequential and Flatten: layers one after the other."""

import math

from minigrad.nn.module import Module


class Sequential(Module):
    """Calls its layers one after the other; `model[i]`, `len(model)` and iteration give the layers."""

    def __init__(self, *layers):
        super().__init__()
        for i, layer in enumerate(layers):
            if not isinstance(layer, Module):  # it would be left out of forward() without a word
                raise TypeError(
                    f"Sequential takes layers one by one; at position {i} there is {layer!r}. "
                    "Write nn.ReLU() for mg.relu or nn.ReLU, and Sequential(*layers) for a list"
                )
            setattr(self, str(i), layer)

    def __iter__(self):
        return (value for value in vars(self).values() if isinstance(value, Module))

    def __len__(self):
        return sum(1 for _ in self)

    def __getitem__(self, index):
        return list(self)[index]

    def forward(self, x):
        for layer in self:
            x = layer(x)
        return x


class Flatten(Module):
    """(N, …) to (N, everything else)."""

    def forward(self, x):
        return x.reshape((x.shape[0], math.prod(x.shape[1:])))

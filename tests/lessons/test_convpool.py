"""The network of table 1 in five parameterizations: one function at the start, and layers as lesson 09 has them."""

import numpy as np
import pytest

import minigrad as mg
from lessons.convpool import PARAMETERIZATIONS, initialized, network, weight_layers
from minigrad import nn

WIDTHS = (6, 10)


def pictures(channels=3, side=16):
    return np.random.default_rng(0).standard_normal((40, channels, side, side), dtype=np.float32)


@pytest.mark.parametrize("channels, side", [(1, 12), (3, 16)])
def test_the_five_start_as_one_function(channels, side):
    x, outputs = pictures(channels, side), {}
    for p in PARAMETERIZATIONS:
        model = initialized(p, WIDTHS, np.random.default_rng(1), x, noise=0.0, dropout=0.0)
        for layer in model:
            if isinstance(layer, nn.BatchNorm):
                layer.eps = 0.0
        outputs[p] = model(mg.tensor(x)).numpy()
    for p in PARAMETERIZATIONS:
        np.testing.assert_allclose(outputs[p], outputs["normal"], atol=1e-3)  # logits of size 1, ten layers in float32
    np.testing.assert_allclose(outputs["normal"].std(axis=0), 1, rtol=1e-3)
    np.testing.assert_allclose(outputs["normal"].mean(axis=0), 0, atol=1e-3)


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
def test_what_is_learned_is_what_the_parameterization_says(parameterization):
    model = initialized(parameterization, WIDTHS, np.random.default_rng(1), pictures())
    names = [name.rpartition(".")[2] for name, _ in model.named_parameters()]
    normalized = parameterization in ("weight norm", "WN + mean-only BN")
    assert names.count("weight_g") == names.count("weight_v") == (10 if normalized else 0)
    assert names.count("bias") == 10  # a layer's own, or that of what subtracts the mean before it
    after = {"batch norm": "BatchNorm", "mean-only BN": "MeanOnlyBatchNorm", "WN + mean-only BN": "MeanOnlyBatchNorm"}
    kinds = [type(layer).__name__ for layer in model]
    assert sum("BatchNorm" in kind for kind in kinds) == kinds.count(after.get(parameterization)) in (0, 10)


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
def test_one_seed_is_one_network_to_the_last_bit(parameterization):
    one, other = (initialized(parameterization, WIDTHS, np.random.default_rng(1), pictures()) for _ in range(2))
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_layers_are_those_of_table_1():
    layers = weight_layers(network("normal", (96, 192), np.random.default_rng(0)))
    shapes = [layer.weight.shape for layer in layers]
    assert shapes == [(96, 3, 3, 3), *2 * [(96, 96, 3, 3)], (192, 96, 3, 3), *3 * [(192, 192, 3, 3)],
                      *2 * [(192, 192, 1, 1)], (10, 192)]  # fmt: skip
    assert [layer.padding for layer in layers[:9]] == [*6 * [(1, 1)], *3 * [(0, 0)]]
    assert all(abs(layer.weight.numpy().std() - 0.05) < 0.005 for layer in layers)

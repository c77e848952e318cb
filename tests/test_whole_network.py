"""A small copy of table 1's network, in all five parameterizations, against central differences: the parts together."""

import numpy as np
import pytest

import minigrad as mg
import wn
from minigrad import nn
from minigrad.nn import functional as F

FORMS = ["normal", "weight norm", "batch norm", "mean-only batch norm", "weight norm + mean-only batch norm"]
rng = np.random.default_rng(5)
IMAGES, LABELS = rng.standard_normal((4, 3, 8, 8)), np.array([0, 1, 2, 1])


def network(form, seed=0):
    """Noise, table 1's convolutions (padded, not padded, 1×1), both poolings, dropout, a linear layer."""
    rng = np.random.default_rng(seed)
    normalized = form in ("batch norm", "mean-only batch norm", "weight norm + mean-only batch norm")

    def block(layer, features):
        norm = nn.BatchNorm(features) if form == "batch norm" else wn.MeanOnlyBatchNorm(features)
        return [layer, *([norm] if normalized else []), nn.LeakyReLU(0.1)]

    def conv(channels, features, size, padding):
        return block(nn.Conv2d(channels, features, size, padding=padding, bias=not normalized, rng=rng), features)

    model = nn.Sequential(
        nn.GaussianNoise(0.15),
        *conv(3, 3, 3, 1),
        *conv(3, 3, 3, 1),
        nn.MaxPool2d(2),
        nn.Dropout(0.5),
        *conv(3, 4, 3, 0),
        *conv(4, 3, 1, 0),
        nn.GlobalAvgPool2d(),
        nn.Linear(3, 3, rng=rng),
    )
    for parameter in model.parameters():
        parameter.data = parameter.data.astype(np.float64)
    if form.startswith("weight norm"):
        wn.apply_weight_norm(model)
    return model


def loss_of(model, images=IMAGES):
    """The loss on the same images with the same noise each time."""
    for seed, layer in enumerate(model):
        if isinstance(layer, (nn.GaussianNoise, nn.Dropout)):
            layer.rng = np.random.default_rng(seed)
    return F.cross_entropy(model(images), LABELS)


@pytest.mark.parametrize("initialized", [False, True])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_the_gradient_of_every_parameter_is_that_of_central_differences(form, training, initialized):
    model = network(form)
    if initialized:
        wn.data_dependent_init(model, IMAGES)
    loss_of(model)  # running statistics to evaluate with
    model.train(training)
    loss_of(model).backward()
    step = 1e-7  # thousands of kinks (leaky ReLU, max pooling) are about: a longer step would cross some of them
    for name, parameter in model.named_parameters():
        start, found = parameter.numpy(), parameter.grad.numpy()
        assert found.dtype == np.float64 and found.shape == start.shape
        measured = np.empty_like(start)
        for entry in np.ndindex(start.shape):
            values = []
            for sign in (1, -1):
                moved = start.copy()
                moved[entry] += sign * step
                parameter.data = moved
                with mg.no_grad():
                    values.append(loss_of(model).item())
            measured[entry] = (values[0] - values[1]) / (2 * step)
        parameter.data = start
        # For a loss of size 1 rounding makes the difference wrong by ε/step = 2e-9, truncation by far less.
        np.testing.assert_allclose(found, measured, rtol=1e-6, atol=1e-7, err_msg=f"{form}: {name}")


@pytest.mark.parametrize("initialized", [False, True])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_the_gradients_on_the_device_are_those_on_the_host(form, training, initialized, cuda):
    """In float64 they differ by the order of sums alone: some ε = 2e-16 for each of a few hundred layers' terms."""
    found = {}
    for device in ("cpu", cuda):
        model, images = network(form).to(device), mg.tensor(IMAGES, device=device)
        loss_of(model, images)
        if initialized:
            wn.data_dependent_init(model, images)
        model.train(training)
        loss = loss_of(model, images)
        loss.backward()
        assert {p.grad.device for p in model.parameters()} == {device}
        found[device] = [loss, *(p.grad for p in model.parameters()), *model.buffers()]
    for a, b in zip(*found.values(), strict=True):
        tolerance = 1e-9 if a.dtype == np.float64 else 1e-6  # the running statistics are in float32
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=tolerance, atol=tolerance / 100)


@pytest.mark.parametrize("form", FORMS)
def test_one_float32_step_keeps_everything_in_float32(form):
    model = network(form)
    for tensor in [*model.parameters(), *model.buffers()]:
        tensor.data = tensor.data.astype(np.float32)
    loss = F.cross_entropy(model(IMAGES.astype(np.float32)), LABELS)
    loss.backward()
    optimizer = mg.optim.Adam(model.parameters(), np.float64(0.01))
    optimizer.step()
    arrays = [loss, *model.parameters(), *(p.grad for p in model.parameters()), *model.buffers()]
    assert {a.dtype for a in arrays} == {np.dtype(np.float32)}

"""The autoencoder of lesson 10: its density, its starts, resuming, and the bound as PyTorch computes it."""

import numpy as np
import pytest

import minigrad as mg
import wn
from lessons.autoencoder import ARMS, Autoencoder, AutoregressiveStep, Size, Training, binarized, initialized
from minigrad import nn
from minigrad.data import synthetic_digits

SMALL = Size(side=14, maps=(3, 4, 5), dense=12, latents=3, hidden=9)


@pytest.fixture(scope="module")
def pictures():
    return binarized(synthetic_digits(600, 0, side=14).train_images, np.random.default_rng(0))


def in_float64(model):
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.astype(np.float64)
    return model


def test_binarized_pictures_are_bits_with_the_right_mean():
    images = np.repeat(np.array([0, 51, 255], np.uint8), 40_000).reshape(3, 1, 200, 200)
    x = binarized(images, np.random.default_rng(1))
    assert x.dtype == np.float32 and set(np.unique(x)) == {0, 1}
    means = x.mean(axis=(1, 2, 3))
    assert binarized(images).mean(axis=(1, 2, 3)).tolist() == [0, 0, 1]
    assert means[0] == 0 and means[2] == 1 and abs(means[1] - 0.2) < 5 * np.sqrt(0.16 / 40_000)


@pytest.mark.parametrize("side", [14, 16, 28])
def test_the_decoder_makes_pictures_of_the_encoders_size(side):
    model = Autoencoder(Size(side, (2, 3, 4), 5, 2, 4), np.random.default_rng(0))
    x = np.zeros((2, 1, side, side), np.float32)
    assert model.decoder(model.posterior(mg.tensor(x), model.noise(2))[0]).shape == x.shape
    assert model(mg.tensor(x)).shape == (2,)


def test_the_posterior_is_a_distribution_whose_log_density_comes_with_the_sample(pictures):
    """log q from the noise's own density and the Jacobian of z by the noise, which autograd computes."""
    model = in_float64(initialized("weight norm", SMALL, np.random.default_rng(2), pictures))
    x = mg.tensor(pictures[:1].astype(float))
    noise = np.random.default_rng(3).normal(size=3)
    jacobian = mg.jacobian(lambda e: model.posterior(x, e.reshape(1, 3))[0].reshape(-1), mg.tensor(noise)).numpy()
    wanted = -0.5 * noise @ noise - 1.5 * np.log(2 * np.pi) - np.linalg.slogdet(jacobian)[1]
    found = model.posterior(x, mg.tensor(noise[None]))[1].sum().item()
    assert found == pytest.approx(wanted, rel=1e-10)


def test_a_step_is_the_identity_where_m_and_s_are_zero():
    step = AutoregressiveStep(4, 8, np.random.default_rng(0))
    for parameter in (*step.m.parameters(), *step.s.parameters()):
        parameter.data = np.zeros_like(parameter.data)
    z = np.random.default_rng(1).normal(size=(2, 4)).astype(np.float32)
    moved, s = step(mg.tensor(z), mg.tensor(z))
    assert (moved.numpy() == z).all() and (s.numpy() == 0).all()


def test_the_normal_parameterization_can_start_as_the_same_function(pictures):
    x, noise = mg.tensor(pictures[:20]), mg.tensor(np.random.default_rng(1).normal(size=(20, 3)).astype(np.float32))
    found = {arm: initialized(arm, SMALL, np.random.default_rng(2), pictures)(x, noise).numpy() for arm in ARMS}
    np.testing.assert_allclose(found["normal, initialized"], found["weight norm"], rtol=1e-5)
    assert abs(found["normal"] - found["weight norm"]).max() > 1


def test_a_run_that_is_resumed_is_the_run_that_was_not_interrupted(pictures):
    def training():
        rng = np.random.default_rng(4)
        return Training("weight norm", SMALL, 0.004, rng, pictures[:200], pictures[200:300], 50, average=1)

    whole, first, second = training(), training(), training()
    whole.epoch()
    first.epoch()
    second.load(first.state())
    whole.epoch()
    second.epoch()
    for name in ("train", "likelihood", "divergence"):
        assert second.curves[name] == whole.curves[name] and len(whole.curves[name]) == 2
    for name, value in whole.model.state_dict().items():
        assert (second.model.state_dict()[name] == value).all()


def test_it_learns(pictures):
    training = Training(
        "weight norm", SMALL, 0.008, np.random.default_rng(5), pictures, pictures[:100], 50, average=0.2
    )
    for _ in range(3):
        training.epoch()
    bound = np.subtract(training.curves["likelihood"], training.curves["divergence"])
    assert bound[-1] > bound[0] + 5 and (np.array(training.curves["divergence"]) > 0).all()


@pytest.mark.peers("torch")
@pytest.mark.parametrize("arm", ARMS)
def test_the_bound_is_the_one_that_pytorch_computes_with_the_same_weights_and_noise(arm, pictures):
    training = Training(arm, SMALL, 0.008, np.random.default_rng(6), pictures, pictures[:100], 50, average=1)
    training.epoch()
    model = in_float64(training.model)
    x, noise = pictures[:30].astype(float), np.random.default_rng(7).normal(size=(30, 3))
    found = model(mg.tensor(x), mg.tensor(noise)).numpy()
    wanted = bound_in_torch(wn.to_torch_state_dict(model), x, noise, steps=SMALL.steps)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)


def bound_in_torch(state, x, noise, steps):
    """The bound for each picture, written out from section 5.2 with PyTorch's functions and nothing of minigrad's."""
    import torch
    from torch.nn import functional as F

    state = {name: torch.from_numpy(np.ascontiguousarray(array)).double() for name, array in state.items()}
    x, noise = torch.from_numpy(x), torch.from_numpy(noise)

    def weight(layer, axis=0):
        if f"{layer}.weight" in state:
            w = state[f"{layer}.weight"]
        else:
            g, v = (state[f"{layer}.parametrizations.weight.original{i}"] for i in (0, 1))
            others = [i for i in range(v.ndim) if i != axis]
            w = g * v / v.pow(2).sum(dim=others, keepdim=True).sqrt()
        return w * state[f"{layer}.mask"] if f"{layer}.mask" in state else w

    def conv(layer, h, stride=1):
        return F.conv2d(h, weight(layer), state[f"{layer}.bias"], stride=stride, padding=1)

    def dense(layer, h):
        return F.linear(h, weight(layer), state[f"{layer}.bias"])

    def block(layer, h):
        return h + conv(f"{layer}.second", F.elu(conv(f"{layer}.first", F.elu(h))))

    def enlarge(layer, h, side):
        bigger = F.conv_transpose2d(
            h, weight(layer, axis=1), state[f"{layer}.bias"], stride=2, padding=1, output_padding=1 - side % 2
        )
        assert bigger.shape[-1] == side
        return bigger

    def numbered(prefix):
        return sorted({int(name[len(prefix) + 1 :].partition(".")[0]) for name in state if name.startswith(prefix)})

    h, side = x, x.shape[-1]
    places = numbered("encoder.maps")
    assert len(places) == 9  # three convolutions, and two blocks after each
    for i, place in enumerate(places):
        layer = f"encoder.maps.{place}"
        h = block(layer, h) if i % 3 else conv(layer, F.elu(h) if i else h, stride=2 if i else 1)
    h = F.elu(dense("encoder.dense", F.elu(h).flatten(1)))
    mean, log_scale, context = dense("encoder.heads", h).chunk(3, dim=1)

    z = mean + log_scale.exp() * noise
    log_q = torch.distributions.Normal(mean, log_scale.exp()).log_prob(z).sum(1)
    for i in range(steps):
        hidden = F.elu(dense(f"steps.{i}.hidden", torch.cat([z, context], 1)))
        m, s = (0.1 * dense(f"steps.{i}.{name}", torch.cat([hidden, context], 1)) for name in "ms")
        z, log_q = ((z - m) / s.exp()).flip(1), log_q + s.sum(1)

    h = dense("decoder.unflatten", F.elu(dense("decoder.dense", z)))
    quarter, half = -(-side // 4), -(-side // 2)
    h = h.reshape(len(x), -1, quarter, quarter)
    places = numbered("decoder.maps")
    for i, place in enumerate(places):
        layer = f"decoder.maps.{place}"
        if i % 3 < 2:
            h = block(layer, h)
        else:
            h = conv(layer, F.elu(h)) if place == places[-1] else enlarge(layer, F.elu(h), half if i == 2 else side)
    log_likelihood = -F.binary_cross_entropy_with_logits(h, x, reduction="none").sum((1, 2, 3))
    log_prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    return (log_likelihood + log_prior - log_q).numpy()


def test_masks_are_buffers_and_parameters_are_counted(pictures):
    model = initialized("weight norm", SMALL, np.random.default_rng(8), pictures)
    assert sum(name.endswith("mask") for name, _ in model.named_buffers()) == 3 * SMALL.steps
    normalized = [layer for layer in model.modules() if hasattr(layer, "weight_v")]
    layers = [layer for layer in model.modules() if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d))]
    assert len(normalized) == len(layers) == 40

"""The autoencoder with several stochastic layers: its density, free bits, its starts, resuming, and PyTorch's bound."""

import math

import numpy as np
import pytest

import minigrad as mg
import wn
from lessons.autoencoder import ARMS
from lessons.natural_images import (
    PUBLISHED,
    ConvolutionalStep,
    LayeredAutoencoder,
    PictureTraining,
    Size,
    doubled,
    initialized,
    with_free_bits,
)
from minigrad import nn
from minigrad.data import synthetic_pictures

SMALL = Size(side=8, maps=4, latents=2, levels=(2, 1))


@pytest.fixture(scope="module")
def pictures():
    images = synthetic_pictures(400, 0).train_images.reshape(-1, 3, 8, 4, 8, 4).mean(axis=(3, 5))
    return (np.rint(images) / 255).astype(np.float32)


def in_float64(model):
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.astype(np.float64)
    return model


def noise_for(size, count, seed, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((count, size.latents, side, side)).astype(dtype) for side, _ in size.layers]


def test_layers_halve_their_side_at_each_level_but_the_first():
    assert SMALL.layers == [(4, False), (4, False), (2, True)]
    assert [side for side, _ in PUBLISHED.layers] == [16, 16, 8, 8, 4, 4]
    assert [halves for _, halves in PUBLISHED.layers] == [False, False, True, False, True, False]


@pytest.mark.parametrize("levels", [(1,), (1, 1), (2, 1, 1)])
def test_what_comes_down_has_the_shapes_of_what_went_up(levels):
    size = Size(16, 3, 2, levels)
    model = LayeredAutoencoder(size, np.random.default_rng(0))
    x = mg.tensor(np.zeros((2, 3, 16, 16), np.float32))
    mean, drawn = model.down(model.noise(2), model.up(x))
    assert mean.shape == x.shape and model(x).shape == (2,) and len(drawn) == sum(levels)
    for (z, log_p, log_q), (side, _) in zip(drawn, size.layers, strict=True):
        assert z.shape == log_p.shape == log_q.shape == (2, 2, side, side)


def test_doubled_repeats_each_entry_in_a_square():
    x = np.arange(12.0).reshape(1, 2, 2, 3)
    assert (doubled(mg.tensor(x)).numpy() == x.repeat(2, axis=2).repeat(2, axis=3)).all()


def test_log_q_is_the_log_density_of_all_latent_variables_together(pictures):
    """From the noise's own density and the Jacobian of all z by all noise, which autograd computes."""
    model = in_float64(initialized("weight norm", SMALL, np.random.default_rng(2), pictures))
    seen = model.up(mg.tensor(pictures[:1].astype(float)))
    shapes = [array.shape for array in noise_for(SMALL, 1, 0)]
    cuts = np.cumsum([math.prod(shape) for shape in shapes])[:-1]

    def drawn(noise):
        parts = [part.reshape(shape) for part, shape in zip(mg.split(noise, cuts), shapes, strict=True)]
        return model.down(parts, seen)[1]

    noise = mg.tensor(np.random.default_rng(3).normal(size=sum(map(math.prod, shapes))))
    jacobian = mg.jacobian(lambda e: mg.concatenate([z.reshape(-1) for z, _, _ in drawn(e)]), noise).numpy()
    wanted = -0.5 * (noise.numpy() ** 2 + np.log(2 * np.pi)).sum() - np.linalg.slogdet(jacobian)[1]
    assert sum(log_q.sum().item() for _, _, log_q in drawn(noise)) == pytest.approx(wanted, rel=1e-10)


def test_without_a_picture_the_latent_variables_come_from_the_prior(pictures):
    model = in_float64(initialized("weight norm", SMALL, np.random.default_rng(2), pictures))
    noise = noise_for(SMALL, 5, 1, float)
    mean, drawn = model.down([mg.tensor(array) for array in noise])
    assert mean.shape == (5, 3, 8, 8)
    for (_, log_p, log_q), e in zip(drawn, noise, strict=True):
        assert (log_p.numpy() == log_q.numpy()).all()
        wanted = -0.5 * (e**2 + np.log(2 * np.pi))  # less the log-scale, which does not depend on the noise at the top
        if e is noise[-1]:
            log_scale = wanted - log_p.numpy()
            np.testing.assert_allclose(log_scale - log_scale[:1], 0, atol=1e-12)


def test_a_step_is_the_identity_where_m_and_s_are_zero():
    step = ConvolutionalStep(2, 3, np.random.default_rng(0))
    for parameter in (*step.m.parameters(), *step.s.parameters()):
        parameter.data = np.zeros_like(parameter.data)
    z, context = (np.random.default_rng(1).normal(size=(2, c, 3, 5)).astype(np.float32) for c in (2, 3))
    moved, s = step(mg.tensor(z), mg.tensor(context))
    assert (moved.numpy() == z).all() and (s.numpy() == 0).all()


def test_free_bits_are_what_they_say():
    likelihood = np.array([-3.0, -5.0])
    divergences = [np.array([[0.0, 2.0], [0.2, 4.0]]), np.array([[1.0, -1.0], [1.0, 1.0]])]  # means 0.1, 3, 1, 0
    found = with_free_bits(mg.tensor(likelihood), [mg.tensor(d) for d in divergences], 0.5)
    assert found.item() == -4 - (0.5 + 3 + 1 + 0.5)
    assert with_free_bits(mg.tensor(likelihood), [mg.tensor(d) for d in divergences], -9.0).item() == -4 - 4.1


def test_all_begin_with_the_pictures_deviation_and_two_as_the_same_function(pictures):
    x, noise = mg.tensor(pictures[:20]), [mg.tensor(array) for array in noise_for(SMALL, 20, 1)]
    models = {arm: initialized(arm, SMALL, np.random.default_rng(2), pictures) for arm in ARMS}
    found = {arm: model(x, noise).numpy() for arm, model in models.items()}
    np.testing.assert_allclose(found["normal, initialized"], found["weight norm"], rtol=1e-5)
    assert abs(found["normal"] - found["weight norm"]).max() > 1
    for model in models.values():
        deviation = math.exp(model.log_scale.item()) * math.pi / math.sqrt(3)
        assert deviation == pytest.approx(pictures.std(), rel=1e-5)


@pytest.mark.parametrize("log_scale", [-50.0, 50.0])
def test_the_bound_and_its_gradients_are_finite_at_extreme_scales_of_the_bytes(log_scale, pictures):
    model = initialized("weight norm", SMALL, np.random.default_rng(2), pictures)
    model.log_scale.data = np.array(log_scale, np.float32)
    model(mg.tensor(pictures[:5])).mean().backward()
    assert all(np.isfinite(parameter.grad.numpy()).all() for parameter in model.parameters())


@pytest.mark.parametrize(("which", "log_scale"), [("prior", -50.0), ("prior", 50.0), ("posterior", -50.0)])
def test_the_bound_and_its_gradients_are_finite_at_extreme_scales_of_z(which, log_scale, pictures):
    """In float64: the bound itself is beyond float32 where the prior has a deviation of e⁻⁵⁰ and does not expect z."""
    model = in_float64(initialized("weight norm", SMALL, np.random.default_rng(2), pictures))
    first = SMALL.latents if which == "prior" else 3 * SMALL.latents
    for layer in model.layers:
        bias = layer.down_first.bias.numpy().copy()
        bias[first : first + SMALL.latents] = log_scale / 0.1
        layer.down_first.bias.data = bias
    model(mg.tensor(pictures[:5].astype(float))).mean().backward()
    assert all(np.isfinite(parameter.grad.numpy()).all() for parameter in model.parameters())


def test_the_bound_is_the_same_on_each_device(pictures, device):
    model = initialized("weight norm", SMALL, np.random.default_rng(2), pictures)
    noise = noise_for(SMALL, 4, 1)
    wanted = model(mg.tensor(pictures[:4]), [mg.tensor(array) for array in noise]).numpy()
    model = model.to(device)
    found = model(mg.tensor(pictures[:4], device=device), [mg.tensor(array, device=device) for array in noise])
    assert found.device == device and model.noise(2)[0].device == device
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5)
    with_free_bits(*model.terms(mg.tensor(pictures[:4], device=device)), 0.1).backward()
    for parameter in model.parameters():
        assert parameter.grad.device == device and np.isfinite(parameter.grad.numpy()).all()


def training_of(pictures, seed, arm="weight norm", rate=0.008):
    return PictureTraining(
        arm, SMALL, rate, np.random.default_rng(seed), pictures[:200], pictures[200:300], 50, 1, allowance=0.1
    )


def test_a_run_that_is_resumed_is_the_run_that_was_not_interrupted(pictures):
    whole, first, second = (training_of(pictures, 4) for _ in range(3))
    whole.epoch()
    first.epoch()
    second.load(first.state())
    whole.epoch()
    second.epoch()
    for name in ("train", "likelihood", "divergence"):
        assert second.curves[name] == whole.curves[name] and len(whole.curves[name]) == 2
    assert np.shape(whole.curves["divergence"]) == (2, len(SMALL.layers))
    for name, value in whole.model.state_dict().items():
        assert (second.model.state_dict()[name] == value).all()


def test_it_learns(pictures):
    training = training_of(pictures, 5, rate=0.02)
    for _ in range(4):
        training.epoch()
    bound = np.subtract(training.curves["likelihood"], np.sum(training.curves["divergence"], axis=1))
    assert bound[-1] > bound[0] + 5


@pytest.mark.peers("torch")
@pytest.mark.parametrize("arm", ARMS)
def test_the_bound_is_the_one_that_pytorch_computes_with_the_same_weights_and_noise(arm, pictures):
    training = training_of(pictures, 6, arm)
    training.epoch()
    model = in_float64(training.model)
    x, noise = pictures[:10].astype(float), noise_for(SMALL, 10, 7, float)
    found = model(mg.tensor(x), [mg.tensor(array) for array in noise]).numpy()
    wanted = bound_in_torch(wn.to_torch_state_dict(model), x, noise, SMALL)
    np.testing.assert_allclose(found, wanted, rtol=1e-10)


def bound_in_torch(state, x, noise, size):
    """The bound for each picture, written out with PyTorch's functions and nothing of minigrad's."""
    import torch
    from torch.nn import functional as F

    state = {name: torch.from_numpy(np.ascontiguousarray(array)).double() for name, array in state.items()}
    x, noise, k, n = torch.from_numpy(x), [torch.from_numpy(array) for array in noise], size.latents, size.maps

    def weight(layer, axis=0):
        if f"{layer}.weight" in state:
            w = state[f"{layer}.weight"]
        else:
            g, v = (state[f"{layer}.parametrizations.weight.original{i}"] for i in (0, 1))
            others = [i for i in range(v.ndim) if i != axis]
            w = g * v / v.pow(2).sum(dim=others, keepdim=True).sqrt()
        return w * state[f"{layer}.mask"] if f"{layer}.mask" in state else w

    def conv(layer, h, stride=1):
        return F.conv2d(h, weight(layer), state[f"{layer}.bias"], stride, weight(layer).shape[-1] // 2)

    def enlarge(layer, h):
        w = weight(layer, axis=1)
        return F.conv_transpose2d(h, w, state[f"{layer}.bias"], 2, w.shape[-1] // 2, output_padding=1)

    h, seen = conv("first", x - 0.5, 2), []
    for i, (_, halves) in enumerate(size.layers):
        mean, log_scale, context, inner = conv(f"layers.{i}.up_first", F.elu(h), 1 + halves).tensor_split(
            [k, 2 * k, 2 * k + n], 1
        )
        seen.append((0.1 * mean, 0.1 * log_scale, context))
        if i + 1 == len(size.layers):
            break
        h = (h[:, :, ::2, ::2] if halves else h) + conv(f"layers.{i}.up_second", F.elu(inner))
    h, bound = state["top"].expand(len(x), -1, -1, -1), 0
    for i, (_, halves) in reversed(list(enumerate(size.layers))):
        prior_mean, prior_log_scale, mean, log_scale, context, inner = conv(f"layers.{i}.down_first", F.elu(h)).split(
            [k, k, k, k, n, n], 1
        )
        posterior = torch.distributions.Normal(seen[i][0] + 0.1 * mean, (seen[i][1] + 0.1 * log_scale).exp())
        z = posterior.mean + posterior.stddev * noise[i]
        hidden = F.elu(conv(f"layers.{i}.step.hidden", z) + seen[i][2] + context)
        m, s = (0.1 * conv(f"layers.{i}.step.{name}", hidden) for name in "ms")
        log_q, z = posterior.log_prob(z) + s, (z - m) / s.exp()
        log_p = torch.distributions.Normal(0.1 * prior_mean, (0.1 * prior_log_scale).exp()).log_prob(z)
        bound = bound + (log_p - log_q).sum((1, 2, 3))
        inner = F.elu(torch.cat([z, inner], 1))
        if halves:
            h = F.interpolate(h, scale_factor=2) + enlarge(f"layers.{i}.down_second", inner)
        else:
            h = h + conv(f"layers.{i}.down_second", inner)
    mean = 0.5 + 0.25 * enlarge("last", F.elu(h))
    up, down = (torch.sigmoid((x + half / 255 - mean) / state["log_scale"].exp()) for half in (0.5, -0.5))
    up, down = torch.where(x > 254.5 / 255, 1.0, up), torch.where(x < 0.5 / 255, 0.0, down)
    return (bound + (up - down).log().sum((1, 2, 3))).numpy()


def test_every_layer_is_normalized(pictures):
    model = initialized("weight norm", SMALL, np.random.default_rng(8), pictures)
    layers = [layer for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))]
    assert len(layers) == 1 + 7 * len(SMALL.layers) and all(hasattr(layer, "weight_v") for layer in layers)
    assert sum(name.endswith("mask") for name, _ in model.named_buffers()) == 3 * len(SMALL.layers)

"""DRAW, lesson 11: its windows, its cells, its starts, forgotten steps, and the bound as PyTorch computes it."""

from dataclasses import replace

import numpy as np
import pytest

import minigrad as mg
import wn
from lessons.autoencoder import binarized
from lessons.recurrent_autoencoder import ARMS, REFERENCE, Draw, DrawTraining, Size, Window, initialized
from minigrad import nn
from minigrad.data import synthetic_digits

WHOLE = Size(side=14, steps=4, units=7, latents=3)  # the encoder sees all of the picture
WINDOWS = replace(WHOLE, read=3, write=5)
TINY = Size(side=3, steps=3, units=2, latents=2)
SIZES = pytest.mark.parametrize("size", [WHOLE, WINDOWS], ids=["whole", "windows"])


@pytest.fixture(scope="module")
def pictures():
    return binarized(synthetic_digits(600, 0, side=14).train_images)


def in_float64(model, scale=None):
    """The model in float64; with `scale`, with all parameters drawn anew from N(0, scale²)."""
    rng = np.random.default_rng(9)
    for p in model.parameters():
        p.data = p.data.astype(np.float64) if scale is None else scale * rng.normal(size=p.shape)
    return model


def noise_for(size, count, seed=1):
    return np.random.default_rng(seed).normal(size=(size.steps, count, size.latents))


@SIZES
@pytest.mark.parametrize("arm", ARMS)
def test_shapes_and_dtypes(size, arm, pictures):
    model = initialized(arm, size, np.random.default_rng(0))
    x = mg.tensor(pictures[:5])
    log_likelihood, divergences = model.terms(x)
    assert log_likelihood.shape == (5,) and divergences.shape == (5, size.steps)
    assert model(x).shape == (5,) and model.sample(model.noise(6)).shape == (size.steps, 6, 14**2)
    assert log_likelihood.dtype == divergences.dtype == model.sample(model.noise(6)).dtype == np.float32
    assert (divergences.numpy() > -1e-6).all()  # a sum of a few numbers of size 1 that cancel, in float32


def test_the_reference_has_as_many_parameters_as_its_formulas_say():
    """4·256 gates: x, x̂ and h_dec come in, bias and peepholes; z; then μ, log σ, and the canvas."""
    model = Draw(REFERENCE, np.random.default_rng(0))
    units, latents, pixels = 256, 100, 784
    encoder = 4 * units * (2 * pixels + units + units + 1) + 3 * units
    decoder = 4 * units * (latents + units + 1) + 3 * units
    maps = (units + 1) * (2 * latents + pixels)
    assert sum(p.size for p in model.parameters()) == encoder + decoder + maps + 4 * units


def test_a_window_to_read_comes_with_one_to_write():
    with pytest.raises(ValueError, match="neither: read=3, write=0"):
        Draw(replace(WHOLE, read=3), np.random.default_rng(0))
    with pytest.raises(ValueError, match="2 points or more"):
        Window(np.zeros((1, 5)), 1, 14)


# ---- windows --------------------------------------------------------------------------------------------------------


def naive_filters(center, log_distance, log_variance, points, side):
    """One axis of one window, filter by filter, as Gregor et al. have it (equations 19 to 26), pixels from 0."""
    weights = np.zeros((points, side))
    for i in range(points):
        middle = (side + 1) / 2 * (center + 1) - 1
        at = middle + (i - points / 2 + 0.5) * (side - 1) / (points - 1) * np.exp(log_distance)
        for a in range(side):
            weights[i, a] = np.exp(-((a - at) ** 2) / (2 * np.exp(log_variance)))
        weights[i] /= weights[i].sum() + 1e-4
    return weights


def test_windows_follow_their_formulas():
    rng = np.random.default_rng(0)
    numbers, images, patches = rng.normal(size=(6, 5)), rng.normal(size=(6, 9, 9)), rng.normal(size=(6, 4, 4))
    window = Window(numbers, 4, 9)
    read, written = window.read(images).numpy(), window.write(patches).numpy()
    for k, (y, x, log_distance, log_variance, log_strength) in enumerate(numbers):
        down, across = (naive_filters(center, log_distance, log_variance, 4, 9) for center in (y, x))
        np.testing.assert_allclose(window.down.numpy()[k], down, rtol=1e-12, atol=1e-15)
        strength = np.exp(log_strength)
        np.testing.assert_allclose(read[k], strength * down @ images[k] @ across.T, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(written[k], down.T @ patches[k] @ across / strength, rtol=1e-12, atol=1e-14)


def test_a_window_outside_of_the_picture_sees_nothing_and_has_gradients():
    def seen(numbers):
        return mg.sum(mg.square(Window(numbers, 3, 5).read(mg.tensor(np.ones((1, 5, 5))))))

    far = mg.tensor([[40.0, 0.0, -2.0, -2.0, 0.0]], requires_grad=True)
    assert seen(far).item() == 0 and np.isfinite(mg.grad(seen(far), far).numpy()).all()


def test_gradients_of_a_window_have_gradients():
    rng = np.random.default_rng(1)
    numbers, images = 0.5 * rng.normal(size=(2, 5)), rng.normal(size=(2, 6, 6))
    mg.testing.check_grads(lambda n, x: Window(n, 3, 6).read(x), [numbers, images])
    mg.testing.check_grads(lambda n, p: Window(n, 3, 6).write(p), [numbers, rng.normal(size=(2, 3, 3))])


# ---- the whole model ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [TINY, replace(TINY, read=2, write=2)], ids=["whole", "windows"])
@pytest.mark.parametrize("arm", ARMS)
def test_gradients_of_the_bound_have_gradients(size, arm):
    """Along random directions in the space of all parameters together."""
    rng = np.random.default_rng(2)
    model = in_float64(initialized(arm, size, rng), scale=0.4)
    x, noise = mg.tensor((rng.random((2, 1, 3, 3)) < 0.5).astype(float)), mg.tensor(noise_for(size, 2))
    places = [(m, name, p) for m in model.modules() for name, p in vars(m).items() if isinstance(p, nn.Parameter)]
    assert len(places) == len(model.parameters())
    directions = [rng.normal(size=(2, *p.shape)) for *_, p in places]

    def bound(along):
        for (module, name, parameter), (one, other) in zip(places, directions, strict=True):
            vars(module)[name] = parameter.data + along[0] * one + along[1] * other
        return model(x, noise).sum()

    mg.testing.check_grads(bound, [np.zeros(2)], order=2)


@SIZES
def test_arms_with_one_start_begin_as_the_same_function(size, pictures):
    x, noise = mg.tensor(pictures[:20]), noise_for(size, 20).astype(np.float32)
    found = {arm: initialized(arm, size, np.random.default_rng(2))(x, noise).numpy() for arm in ARMS}
    np.testing.assert_allclose(found["weight norm"], found["normal"], rtol=1e-5)
    np.testing.assert_allclose(found["weight norm, length 1"], found["normal, length 1"], rtol=1e-5)
    assert np.abs(found["normal"] - found["normal, length 1"]).max() > 0.1


@pytest.mark.parametrize("arm", ARMS)
def test_weight_vectors_begin_with_the_length_that_the_arm_says(arm):
    size = replace(WHOLE, units=60)
    model = initialized(arm, size, np.random.default_rng(0))
    assert any(name.endswith("_v") for name, _ in model.named_parameters()) == arm.startswith("weight norm")
    inputs = 2 * size.side**2 + size.units  # of the encoder; the mean of √χ²ₙ/n is 1 - 1/4n
    lengths = np.linalg.norm(model.encoder.weight_ih.numpy().astype(float), axis=1)
    assert lengths.mean() == pytest.approx(1 if "length 1" in arm else 0.01 * np.sqrt(inputs), rel=0.01)
    looking = initialized(arm, replace(size, read=3, write=3), np.random.default_rng(0)).windows
    assert all(np.linalg.norm(one.weight.numpy(), axis=1).max() < 0.2 for one in looking)
    peephole = model.encoder.weight_peephole.numpy()
    assert peephole.std() == pytest.approx(0.01, rel=0.25)  # 180 numbers: standard error 5 %


def test_every_weight_vector_is_normalized_and_nothing_else():
    model = initialized("weight norm", WINDOWS, np.random.default_rng(0))
    directions = {name for name, _ in model.named_parameters() if name.endswith("_v")}
    cells = {f"{cell}.weight_{part}_v" for cell in ("encoder", "decoder") for part in ("ih", "hh")}
    assert directions == cells | {f"{name}.weight_v" for name in ("posterior", "brush", "windows.0", "windows.1")}
    others = {name for name, _ in model.named_parameters() if not name.endswith(("_v", "_g", "bias", "bias_ih"))}
    assert others == {"initial", "encoder.weight_peephole", "decoder.weight_peephole"}


@SIZES
@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("piece", [1, 3, 4])
def test_steps_that_are_computed_again_give_the_same_gradients(size, arm, piece, pictures):
    model = in_float64(initialized(arm, size, np.random.default_rng(0)), scale=0.3)
    x, noise = mg.tensor(pictures[:6].astype(float)), mg.tensor(noise_for(size, 6))
    for a, b in zip(model.terms(x, noise, piece), model.terms(x, noise), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    both = [mg.grad(model(x, noise, k).sum(), model.parameters()) for k in (piece, None)]
    for a, b in zip(*both, strict=True):  # sums of T terms in another order
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-10, atol=1e-10)


def test_a_picture_s_bound_depends_on_nothing_but_itself_and_its_noise(pictures):
    model = in_float64(initialized("weight norm", WINDOWS, np.random.default_rng(0)), scale=0.3)
    noise, x = noise_for(WINDOWS, 6), pictures[:6].astype(float)
    alone = np.concatenate([model(mg.tensor(x[[i]]), mg.tensor(noise[:, [i]])).numpy() for i in range(6)])
    np.testing.assert_allclose(model(mg.tensor(x), mg.tensor(noise)).numpy(), alone, rtol=1e-12)


# ---- training -------------------------------------------------------------------------------------------------------


def training(pictures, arm="weight norm", size=WHOLE, clip=10, seed=4):
    rng = np.random.default_rng(seed)
    return DrawTraining(arm, size, 0.01, rng, pictures[:300], pictures[300:400], 50, clip)


def test_a_run_that_is_resumed_is_the_run_that_was_not_interrupted(pictures):
    whole, first, second = (training(pictures) for _ in range(3))
    whole.epoch()
    first.epoch()
    second.load(first.state())
    whole.epoch()
    second.epoch()
    for name in set(whole.curves) - {"seconds"}:
        assert second.curves[name] == whole.curves[name] and len(whole.curves[name]) == 2
    for name, value in whole.model.state_dict().items():
        assert (second.model.state_dict()[name] == value).all()


@SIZES
@pytest.mark.parametrize("arm", ARMS)
def test_it_learns(arm, size, pictures):
    run = training(pictures, arm, size)
    before = [value.mean(axis=0).sum() for value in run.tested()]
    for _ in range(6):
        run.epoch()
    assert run.curves["likelihood"][-1] - sum(run.curves["divergence"][-1]) > before[0] - before[1] + 10
    assert np.shape(run.curves["divergence"]) == (6, size.steps)


def test_gradients_are_clipped_and_their_norm_is_kept(pictures):
    """Adam does not feel a factor that all gradients have, but it remembers earlier ones, which had another."""
    runs = [training(pictures, clip=clip) for clip in (None, 1e9, 1e-3)]
    for run in runs:
        run.epoch()
    free, wide, tight = runs
    assert free.curves["norm"] == wide.curves["norm"] and free.curves["train"] == wide.curves["train"]
    assert tight.curves["train"] != free.curves["train"]
    norm = np.sqrt(sum((p.grad.numpy().astype(float) ** 2).sum() for p in tight.model.parameters()))
    assert norm == pytest.approx(1e-3, rel=1e-4)
    assert free.curves["largest norm"][0] >= free.curves["norm"][0] > 1e-3 and 0 <= free.curves["long"][0] <= 1


# ---- beside PyTorch -------------------------------------------------------------------------------------------------


@pytest.mark.peers("torch")
@SIZES
@pytest.mark.parametrize("arm", ARMS)
def test_the_bound_is_the_one_that_pytorch_computes_with_the_same_weights_and_noise(arm, size, pictures):
    run = training(pictures, arm, size)
    run.epoch()
    x, noise = pictures[:30].astype(float), noise_for(size, 30)
    for scale in (None, 0.5):  # as trained, and with larger numbers everywhere, also in initial states and peepholes
        model = in_float64(run.model, scale)
        found = model(mg.tensor(x), mg.tensor(noise)).numpy()
        wanted = bound_in_torch(wn.to_torch_state_dict(model), x, noise, size)
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-9)


def bound_in_torch(state, x, noise, size):
    """The bound for each picture, written out with PyTorch's functions and nothing of minigrad's."""
    import torch
    from torch.nn import functional as F

    state = {name: torch.from_numpy(np.ascontiguousarray(array)).double() for name, array in state.items()}
    noise, count, side = torch.from_numpy(noise), len(x), size.side
    x = torch.from_numpy(x).reshape(count, side, side)

    def weight(path, name="weight"):
        if f"{path}.{name}" in state:
            return state[f"{path}.{name}"]
        g, v = (state[f"{path}.parametrizations.{name}.original{i}"] for i in (0, 1))
        return g * v / v.pow(2).sum(dim=1, keepdim=True).sqrt()

    def linear(path, h):
        return F.linear(h, weight(path), state[f"{path}.bias"])

    def cell(path, inputs, h, c):
        gates = F.linear(inputs, weight(path, "weight_ih"), state[f"{path}.bias_ih"])
        i, f, g, o = (gates + F.linear(h, weight(path, "weight_hh"))).chunk(4, dim=1)
        p_i, p_f, p_o = state[f"{path}.weight_peephole"]
        after = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * g.tanh()
        return torch.sigmoid(o + p_o * after) * after.tanh(), after

    def window(path, h, points):
        numbers = linear(path, h)
        distance = (side - 1) / (points - 1) * numbers[:, 2].exp()
        filters = []
        for k in range(2):
            center = (side + 1) / 2 * (numbers[:, k] + 1) - 1
            at = center[:, None] + (torch.arange(points) - points / 2 + 0.5) * distance[:, None]
            away = torch.arange(side) - at[:, :, None]
            rows = torch.exp(-(away**2) / (2 * numbers[:, 3].exp()[:, None, None]))
            filters.append(rows / (rows.sum(dim=2, keepdim=True) + 1e-4))
        return (*filters, numbers[:, 4].exp()[:, None, None])

    h_encoder, c_encoder, h, c = (row.expand(count, size.units) for row in state["initial"])
    canvas, divergence = torch.zeros_like(x), 0
    for t in range(size.steps):
        seen = torch.stack([x, x - torch.sigmoid(canvas)])
        if size.read:
            down, across, strength = window("windows.0", h, size.read)
            seen = strength * torch.einsum("nia,knab,njb->knij", down, seen, across)
        inputs = torch.cat([seen[0].flatten(1), seen[1].flatten(1), h], dim=1)
        h_encoder, c_encoder = cell("encoder", inputs, h_encoder, c_encoder)
        mean, log_scale = linear("posterior", h_encoder).chunk(2, dim=1)
        q = torch.distributions.Normal(mean, log_scale.exp())
        divergence = divergence + torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(1)
        h, c = cell("decoder", mean + log_scale.exp() * noise[t], h, c)
        stroke = linear("brush", h)
        if size.write:
            down, across, strength = window("windows.1", h, size.write)
            patch = stroke.reshape(count, size.write, size.write)
            stroke = torch.einsum("nia,nij,njb->nab", down, patch, across) / strength
        canvas = canvas + stroke.reshape(count, side, side)
    log_likelihood = -F.binary_cross_entropy_with_logits(canvas, x, reduction="none").sum((1, 2))
    return (log_likelihood - divergence).numpy()

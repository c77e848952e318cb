"""Tensors, modules and what belongs to them on a device, and from one device to another.

A training step must not make the host wait for the GPU: nothing is copied to the host within it. On the stand-in every
copy is seen and named; on the real CuPy, `cupyx.allow_synchronize` sees those that CuPy itself makes.
"""

import contextlib
import copy
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import strategies as st

import minigrad as mg
import wn
from benchmarks import training_step
from minigrad import backend, draw, nn, optim
from minigrad.nn import functional as F
from tests import strict_cupy
from tests.devices import given_on_each_device, host, is_on

# ---- models ---------------------------------------------------------------------------------------------------------


def rng(seed=0):
    return np.random.default_rng(seed)


def normal(*shape, seed=0):
    return rng(seed).standard_normal(shape).astype(np.float32)


class Sequence(nn.Module):
    """An LSTM over a few steps, weight-normalized, and a linear layer on its last state."""

    def __init__(self):
        super().__init__()
        self.cell, self.last = nn.LSTMCell(3, 5, rng=rng()), nn.Linear(5, 4, rng=rng(1))
        wn.apply_weight_norm(self, scale="exp")

    def forward(self, x):
        with self.computed_once():
            h, c = self.cell(x[0])
            for t in range(1, len(x)):
                h, c = self.cell(x[t], (h, c))
            return self.last(h)


def perceptron():
    made = nn.Sequential(
        nn.Linear(6, 8, rng=rng()),
        nn.LayerNorm(8),
        nn.ELU(),
        nn.Dropout(0.2, rng(1)),
        nn.Linear(8, 8, bias=False, rng=rng(2)),
        nn.BatchNorm(8),
        nn.ReLU(),
        nn.Linear(8, 4, rng=rng(3)),
    )
    return wn.apply_weight_norm(made)


def autoencoder():
    made = nn.Sequential(
        nn.GaussianNoise(0.1, rng()),
        nn.Conv2d(1, 3, 3, stride=2, padding=1, rng=rng(1)),
        nn.LeakyReLU(0.1),
        nn.AvgPool2d(2),
        nn.Conv2d(3, 4, 1, rng=rng(2)),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 3, 2, stride=2, rng=rng(3)),
        nn.LeakyReLU(0.1),
        nn.ConvTranspose2d(3, 1, 3, stride=2, padding=1, output_padding=1, rng=rng(4)),
    )
    return wn.apply_weight_norm(made)


LABELS = np.array([0, 3, 1, 2, 3, 0])
PICTURES = normal(6, 3, 32, 32)
MODELS = {
    # name: (makes the model, its input, what it is compared with, the loss)
    **{
        f"paper's network, {p}": (
            lambda p=p: training_step.network(p, (4, 5), rng()),
            PICTURES,
            LABELS,
            F.cross_entropy,
        )
        for p in training_step.PARAMETERIZATIONS
    },
    "perceptron": (perceptron, normal(6, 6), LABELS, F.cross_entropy),
    "LSTM": (Sequence, normal(4, 6, 3), LABELS, F.cross_entropy),
    "autoencoder": (autoencoder, normal(2, 1, 16, 16), normal(2, 1, 16, 16), F.mse_loss),
    "detector": (perceptron, normal(6, 6), (normal(6, 4) > 0).astype(np.float32), F.binary_cross_entropy_with_logits),
    "robust regression": (perceptron, normal(6, 6), 3 * normal(6, 4, seed=1), F.huber_loss),
}
OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, 0.05, momentum=0.9, weight_decay=1e-3),
    "Adam": lambda p: optim.Adam(p, 1e-3, weight_decay=1e-3),
    "AdamW": lambda p: optim.AdamW(p, 1e-3),
    "Adamax": lambda p: optim.Adamax(p, 1e-3),
    "RMSprop": lambda p: optim.RMSprop(p, 1e-4, momentum=0.9),
}
every_model = pytest.mark.parametrize("name", MODELS)
every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


class Training:
    """A model on a device with data there, an optimizer, and a training step that leaves the loss on the device."""

    def __init__(self, name, make, device, dtype=np.float32):
        build, x, y, self.loss = MODELS[name]
        self.model = build()
        for tensor in [*self.model.parameters(), *self.model.buffers()]:
            tensor.data = tensor.data.astype(dtype)
        self.model.to(device)
        self.optimizer = make(self.model.parameters())
        self.x = mg.tensor(x.astype(dtype), device=device)
        self.y = mg.tensor(y if y.dtype == int else y.astype(dtype), device=device)
        self.labels_on_host = y

    def step(self):
        loss = self.loss(self.model(self.x), self.y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss


@contextlib.contextmanager
def nothing_copied_to_the_host():
    import cupy

    if not isinstance(cupy.zeros(1), strict_cupy.ndarray):
        import cupyx

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with cupyx.allow_synchronize(False):
                yield
        return
    with strict_cupy.transfers() as seen:
        yield
    assert not seen.to_host, "copied to the host: " + "; ".join(seen.to_host)


# ---- training -------------------------------------------------------------------------------------------------------


@every_model
def test_a_training_step_copies_nothing_to_the_host(name, cuda):
    training = Training(name, OPTIMIZERS["Adam"], cuda)
    training.step()  # the first may compile and look for things
    with nothing_copied_to_the_host():
        loss = training.step()
    assert is_on(cuda, loss) and np.isfinite(loss.item())


@every_optimizer
def test_no_optimizer_copies_anything_to_the_host(make, cuda):
    training = Training("perceptron", make, cuda)
    average = optim.ExponentialMovingAverage(training.model, 0.9)
    training.step()
    with nothing_copied_to_the_host():
        training.optimizer.lr *= 0.5
        training.step()
        average.update()
        with average.applied(), mg.no_grad():
            training.model.eval()(training.x)


def test_labels_on_the_host_are_copied_to_the_device_and_nothing_back(cuda):
    training = Training("perceptron", OPTIMIZERS["SGD"], cuda)
    training.y = training.labels_on_host
    with nothing_copied_to_the_host():
        training.step()


def test_a_copy_to_the_host_is_noticed(cuda):
    loss = mg.tensor([1.0], device=cuda).sum()
    for look in (float, bool, mg.Tensor.item, mg.Tensor.numpy, repr):
        with pytest.raises((AssertionError, RuntimeError)), nothing_copied_to_the_host():
            look(loss)


def test_a_copy_to_the_host_in_a_step_is_named():
    with strict_cupy.installed():
        training = Training("perceptron", OPTIMIZERS["SGD"], "cuda")
        with pytest.raises(AssertionError, match=r"item\(\) in item"), nothing_copied_to_the_host():
            training.step().item()


@every_model
def test_twenty_steps_lead_to_the_same_parameters_on_either_device(name, cuda):
    """In float64, where sums in another order differ by some ε = 2e-16 at each step, and Adam divides by √v ≥ 1e-4."""
    there, here = (Training(name, OPTIMIZERS["Adam"], device, np.float64) for device in (cuda, "cpu"))
    losses = [(there.step().item(), here.step().item()) for _ in range(20)]
    np.testing.assert_allclose(*zip(*losses, strict=True), rtol=1e-8)
    for (path, a), b in zip(there.model.state_dict().items(), here.model.state_dict().values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8, err_msg=path)


@every_optimizer
def test_every_optimizer_goes_the_same_way_on_either_device(make, cuda):
    there, here = (Training("perceptron", make, device, np.float64) for device in (cuda, "cpu"))
    for _ in range(5):
        assert there.step().item() == pytest.approx(here.step().item(), rel=1e-8)


@every_model
def test_float32_stays_float32_and_everything_stays_on_the_device(name, device):
    training = Training(name, OPTIMIZERS["Adam"], device)
    for _ in range(2):
        loss = training.step()
    model, optimizer = training.model, training.optimizer
    tensors = [loss, *model.parameters(), *(p.grad for p in model.parameters()), *model.buffers()]
    state = [v for s in optimizer.state for v in s.values() if not isinstance(v, int)]
    assert all(is_on(device, value) and value.dtype == np.float32 for value in (*tensors, *state))


# ---- from one device to another -------------------------------------------------------------------------------------


def test_gradients_come_back_to_the_device_that_a_tensor_came_from(cuda):
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    y = x.to(cuda)
    assert y.device == cuda and x.to("cpu") is x and y.to(cuda) is y
    (y * y * mg.tensor([3.0, 4.0], device=cuda)).to("cpu").sum().backward()
    assert x.grad.device == "cpu" and x.grad.numpy().tolist() == [6, 16]
    mg.testing.check_grads(lambda t: mg.sin(t.to(cuda)).to("cpu") * t, [np.array([0.3, 2.0])])


def test_a_tensor_is_made_where_it_is_asked_for(device):
    for data in (1.5, [1.0, 2.0], np.ones(2), [np.float64(1)], True, mg.tensor([1, 2])):
        made = mg.tensor(data, device=device)
        assert made.device == device and made.dtype == mg.tensor(data).dtype
        assert mg.tensor(made).device == device and mg.tensor(made, device="cpu").device == "cpu"
    made = mg.tensor([1.0, 2.0], device=device, requires_grad=True)
    assert (
        made.requires_grad and made.tolist() == [1, 2] if hasattr(made, "tolist") else made.numpy().tolist() == [1, 2]
    )


def test_a_tensor_says_where_it_is(cuda):
    assert repr(mg.tensor([1.0], device=cuda)) == 'tensor([1.], dtype=float32, device="cuda")'
    assert float(mg.tensor(2.0, device=cuda)) == mg.tensor(2.0, device=cuda).item() == 2


def test_unknown_and_missing_devices_are_errors(monkeypatch):
    for call in (
        lambda: mg.tensor(1.0, device="tpu"),
        lambda: mg.tensor(1.0).to("tpu"),
        lambda: mg.is_available("tpu"),
    ):
        with pytest.raises(ValueError, match="'tpu'"):
            call()
    monkeypatch.setattr(backend, "is_available", lambda device: device == "cpu")
    for call in (lambda: mg.tensor(1.0, device="cuda"), lambda: nn.Linear(1, 1).to("cuda")):
        with pytest.raises(RuntimeError, match="no CUDA device"):
            call()


def trained(device, steps=2):
    training = Training("perceptron", OPTIMIZERS["Adam"], device)
    for _ in range(steps):
        training.step()
    return training


def test_a_model_is_moved_with_its_gradients_and_its_optimizer_follows(cuda):
    moved, stayed = trained("cpu"), trained("cpu")
    average = optim.ExponentialMovingAverage(moved.model, 0.5)
    tracker = wn.NormTracker(moved.model, moved.optimizer)
    assert moved.model.to(cuda) is moved.model
    assert {t.device for t in [*moved.model.parameters(), *moved.model.buffers()]} == {cuda}
    assert {p.grad.device for p in moved.model.parameters()} == {cuda}
    moved.x, moved.y = moved.x.to(cuda), moved.y.to(cuda)
    for training in (moved, stayed):
        training.step()
    average.update()
    tracker.record()
    for a, b in zip(moved.model.parameters(), stayed.model.parameters(), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-5)  # float32
    assert {a.shape for a in average.averages} and all(is_on(cuda, a) for a in average.averages)
    moved.model.to("cpu")
    with average.applied():
        assert {p.device for p in moved.model.parameters()} == {"cpu"}
    moved.model.zero_grad()
    assert moved.model.to(cuda).parameters()[0].grad is None


def test_a_run_can_be_saved_on_one_device_and_go_on_on_the_other(cuda, tmp_path):
    for first, second in ((cuda, "cpu"), ("cpu", cuda), (cuda, cuda)):
        there = trained(first)
        average = optim.ExponentialMovingAverage(there.model, 0.5)
        mg.save(
            tmp_path / "run",
            {
                "model": there.model.state_dict(),
                "optimizer": there.optimizer.state_dict(),
                "average": average.state_dict(),
                "loose": there.model.parameters()[0],
                "plain": there.model.parameters()[0].data,
            },
        )
        saved = mg.load(tmp_path / "run")
        np.testing.assert_array_equal(saved["loose"], there.model.parameters()[0].numpy())
        np.testing.assert_array_equal(saved["loose"], saved["plain"])
        here = trained(second, steps=0)
        here.model.load_state_dict(saved["model"])
        here.optimizer.load_state_dict(saved["optimizer"])
        other = optim.ExponentialMovingAverage(here.model, 0.5)
        other.load_state_dict(saved["average"])
        for a, b in zip(here.model.state_dict().values(), there.model.state_dict().values(), strict=True):
            assert a.tobytes() == b.tobytes()
        state = [v for s in here.optimizer.state for v in s.values() if not isinstance(v, int)]
        assert all(is_on(second, v) for v in (*here.model.parameters(), *here.model.buffers(), *state, *other.averages))
        here.model[3].rng, there.model[3].rng = rng(9), rng(9)
        assert here.step().item() == pytest.approx(there.step().item(), rel=1e-5)


def test_a_state_dict_may_hold_arrays_of_the_device(cuda):
    source, target = trained(cuda).model, trained("cpu", 0).model
    named = [*source.named_parameters(), *source.named_buffers()]
    for state in (dict(named), {name: t.data for name, t in named}):
        for model in (target, trained(cuda, 0).model):
            model.load_state_dict(state)
            for a, b in zip(model.state_dict().values(), source.state_dict().values(), strict=True):
                assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_of_a_model_is_on_the_same_device(duplicate, cuda):
    model = trained(cuda).model
    twin = duplicate(model)
    assert {t.device for t in [*twin.parameters(), *twin.buffers()]} == {cuda}
    twin[0].weight_g.data = twin[0].weight_g.data * 2
    assert not np.array_equal(twin[0].weight_g.numpy(), model[0].weight_g.numpy())


# ---- not mixed ------------------------------------------------------------------------------------------------------

HERE = np.ones((2, 3), np.float32)
MIXED = {
    "tensors": lambda x, y: x + y,
    "a NumPy array on the right": lambda x, y: y * HERE,
    "a NumPy array on the left": lambda x, y: HERE * y,
    "an array of the device on the left": lambda x, y: y.data * x,
    "a product": lambda x, y: x @ y.T,
    "a sequence": lambda x, y: mg.concatenate([x, y]),
    "einsum": lambda x, y: mg.einsum("ij,ij", x, y),
    "a condition": lambda x, y: mg.where(HERE > 0, y, y),
    "layer and input": lambda x, y: nn.Linear(3, 2)(y),
    "convolution": lambda x, y: mg.conv2d(y.reshape(1, 1, 2, 3), HERE.reshape(1, 1, 2, 3)),
    "a loss": lambda x, y: F.mse_loss(y, HERE),
    "weight normalization": lambda x, y: wn.weight_norm(y, np.ones(2, np.float32)),
    "the starting gradient": lambda x, y: (y * 2).backward(HERE),
    "the starting gradient as a tensor": lambda x, y: mg.grad(y * 2, y, x),
    "a gradient assigned": lambda x, y: setattr(y, "grad", HERE),
    "numbers assigned": lambda x, y: setattr(y, "data", HERE),
    "a tangent": lambda x, y: mg.jvp(mg.sin, y, HERE),
    "an index of the device into an array of the host": lambda x, y: x[mg.tensor([0], device="cuda")],
}


@pytest.mark.parametrize("what", MIXED)
def test_devices_are_not_mixed_and_the_error_names_both(what, cuda):
    x, y = mg.tensor(HERE), mg.tensor(HERE, device=cuda, requires_grad=True)
    with pytest.raises(TypeError, match=r"cpu.*cuda"):
        MIXED[what](x, y)


def test_nothing_becomes_a_numpy_array_by_itself(cuda):
    x = mg.tensor(HERE, device=cuda)
    with pytest.raises(TypeError, match=r"\.numpy\(\)"):
        np.asarray(x)
    with pytest.raises(TypeError, match=r"\.numpy\(\)"):
        mg.tensor([x[0, 0], x[0, 1]])
    assert isinstance(x.numpy(), np.ndarray) and mg.stack([x[0, 0], x[0, 1]]).device == cuda


# ---- indices and labels ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["host", "device"])
def test_indices_out_of_range_are_refused_on_either_device(where, device):
    x = mg.tensor(np.arange(6.0).reshape(2, 3), device=device, requires_grad=True)
    for axis, bad in ((0, [0, 2]), (0, [-3]), (1, [3]), (1, [[0], [-4]])):
        index = np.array(bad)
        index = index if where == "host" else mg.tensor(index, device=device)
        for call in (
            lambda a=axis, i=index: mg.take(x, i, a),
            lambda a=axis, i=index: x[(slice(None),) * a + (i,)],
            lambda a=axis, i=index: x[(..., i) if a else (i, ...)],
        ):
            with pytest.raises(IndexError):
                call()
    assert x[[1, -2]].numpy().tolist() == [[3, 4, 5], [0, 1, 2]] and x[[]].shape == (0, 3)
    with pytest.raises(IndexError):
        x[[0, 2]]


def test_labels_of_the_host_are_looked_at_on_either_device(device):
    logits = mg.tensor(np.zeros((2, 3)), device=device)
    for labels in ([0, 3], [-1, 0]):
        for call in (lambda y=labels: F.cross_entropy(logits, np.array(y)), lambda y=labels: F.one_hot(np.array(y), 3)):
            with pytest.raises(IndexError, match="0 and 2"):
                call()
    with pytest.raises(TypeError, match="integers"):
        F.cross_entropy(logits, np.zeros(2))


@pytest.mark.parametrize("bad", [3, -1, 1000, -1000])
def test_a_bad_label_that_is_on_the_device_makes_the_loss_nan_rather_than_wrong(bad, cuda):
    logits = mg.tensor(normal(2, 3), device=cuda, requires_grad=True)
    labels = mg.tensor(np.array([0, bad]), device=cuda)
    with nothing_copied_to_the_host():
        loss = F.cross_entropy(logits, labels)
        loss.backward()
    assert np.isnan(loss.item())
    assert np.isfinite(logits.grad.numpy()[0]).all() and np.isnan(logits.grad.numpy()[1]).all()
    rows = F.one_hot(labels, 3)
    assert host(rows)[0].tolist() == [1, 0, 0] and np.isnan(host(rows)[1]).all()
    with pytest.raises(IndexError):
        F.one_hot(labels, 3, dtype=int)


def test_the_gradient_of_the_loss_can_be_differentiated_with_labels_on_the_device(device):
    labels = backend.to_device(np.array([2, 0]), device)
    logits = backend.to_device(normal(2, 3).astype(float), device)
    mg.testing.check_grads(lambda x: F.cross_entropy(x, labels), [logits])


# ---- everything else that looks at arrays ---------------------------------------------------------------------------


def test_check_grads_finds_a_wrong_rule_on_either_device(device):
    x = backend.to_device(normal(2, 3).astype(float), device)
    with pytest.raises(AssertionError, match="argument 1"):
        mg.testing.check_grads(lambda a, b: mg.sin(a) * b.detach(), [x, x])


def test_check_grads_takes_a_sequence_on_either_device(device):
    with pytest.raises(TypeError, match="sequence"):
        mg.testing.check_grads(mg.sin, backend.to_device(np.ones(2), device))


@given_on_each_device(data=st.data(), distinct=st.booleans())
def test_strategies_make_arrays_on_the_device(data, distinct, device):
    x = data.draw(mg.testing.arrays((2, 3), away_from=[0], distinct=distinct, device=device))
    assert is_on(device, x) and x.shape == (2, 3) and (abs(host(x)) >= 0.01).all()
    mg.testing.check_grads(mg.abs, [x])


def test_an_anomaly_is_named_on_either_device(device):
    with mg.detect_anomaly(), np.errstate(all="ignore"):
        with pytest.raises(FloatingPointError, match="log"):
            mg.log(mg.tensor([-1.0], device=device))
        with pytest.raises(FloatingPointError, match=r"backward.*sqrt"):
            mg.sqrt(mg.tensor(0.0, device=device, requires_grad=True)).backward()


def test_a_step_between_forward_and_backward_does_not_falsify_the_gradient(device):
    x = mg.tensor([1.0, 2.0], device=device, requires_grad=True)
    y = (x * x).sum()
    x.data = x.data * 10
    y.backward()
    assert x.grad.numpy().tolist() == [2, 4]


def test_gradients_are_clipped_on_either_device(device):
    params = [nn.Parameter(backend.to_device(np.zeros(2, np.float32), device)) for _ in range(2)]
    params[0].grad = backend.to_device(np.array([3.0, 4.0], np.float32), device)
    assert optim.clip_grad_norm(params, 1.0) == 5
    assert is_on(device, params[0].grad) and np.allclose(params[0].grad.numpy(), [0.6, 0.8])
    params[1].grad = backend.to_device(np.array([np.nan, 4.0], np.float32), device)
    with pytest.raises(FloatingPointError, match=r"\[1\]"):
        optim.clip_grad_norm(params, 1.0)


def test_the_graph_can_be_drawn_as_text_on_either_device(device):
    x = mg.tensor(normal(10), device=device, requires_grad=True)
    y = mg.exp(x)
    z = (y.reshape(2, 5) * y.reshape(2, 5)).sum()
    assert draw.bytes_kept(z) == 40 and "exp(#0 leaf)" in draw.text(z)


def test_checkpointed_gradients_are_the_same_on_either_device(device):
    model = perceptron().to(device).eval()
    x = mg.tensor(normal(6, 6), device=device, requires_grad=True)
    found = [mg.grad(f(x).sum(), [x, *model.parameters()]) for f in (model, lambda t: mg.checkpoint(model, t))]
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)


def test_data_dependent_initialization_is_the_same_on_either_device(cuda):
    models = [training_step.network("weight norm", (4, 5), rng()) for _ in range(2)]
    for model, device in zip(models, ("cpu", cuda), strict=True):
        wn.data_dependent_init(model.to(device), mg.tensor(PICTURES, device=device))
    for a, b in zip(*(m.state_dict().values() for m in models), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)  # float32 through ten layers, each divided by σ


def test_weight_normalization_is_put_on_and_taken_off_on_either_device(device):
    model = nn.Sequential(nn.Conv2d(1, 3, 3, rng=rng()), nn.Flatten(), nn.Linear(12, 2, rng=rng(1))).to(device)
    x = mg.tensor(normal(2, 1, 4, 4), device=device)
    before = model(x).numpy()
    for scale in ("linear", "exp"):
        wn.apply_weight_norm(model, scale)
        assert {p.device for p in model.parameters()} == {device}
        np.testing.assert_allclose(model(x).numpy(), before, rtol=1e-5, atol=1e-5)
        wn.remove_weight_norm(model)
    np.testing.assert_allclose(model(x).numpy(), before, rtol=1e-5, atol=1e-5)
    model[0].weight.data = model[0].weight.data * 0
    with pytest.raises(ValueError, match="vector 0 is zero"):
        wn.apply_weight_norm(model)


def test_weights_go_to_and_from_pytorch_s_names_on_either_device(device):
    ours, other = (wn.apply_weight_norm(nn.Sequential(nn.Linear(3, 2, rng=rng(s))), "exp").to(device) for s in (0, 1))
    wn.load_torch_state_dict(other, wn.to_torch_state_dict(ours))
    for a, b in zip(ours.parameters(), other.parameters(), strict=True):
        assert b.device == device
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)


def test_equi_normalization_is_the_same_on_either_device(device):
    model = nn.Sequential(nn.Linear(3, 4, rng=rng()), nn.ReLU(), nn.Linear(4, 2, rng=rng(1))).to(device)
    optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9)
    x = mg.tensor(normal(5, 3), device=device)
    model(x).sum().backward()
    optimizer.step()
    before = model(x).numpy()
    wn.equi_normalize(model, optimizer=optimizer)
    np.testing.assert_allclose(model(x).numpy(), before, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        np.linalg.norm(model[0].weight.numpy(), axis=1), np.linalg.norm(model[2].weight.numpy(), axis=0), rtol=1e-4
    )
    model(x).sum().backward()
    optimizer.step()


def test_covariances_and_eigenvalues_are_the_same_on_either_device(cuda):
    gradients, v = rng(0).standard_normal((20, 5)), rng(1).standard_normal(5)

    def everything(device):
        G, w = backend.to_device(gradients, device), backend.to_device(v, device)  # noqa: N806
        C = wn.gradient_covariance(G)  # noqa: N806
        values, _ = wn.covariance.lanczos(lambda x: C @ x, w, 5)
        found = [
            C,
            wn.preconditioned_covariance(C, w, 2.0),
            wn.covariance.tangent_basis(w),
            wn.project(w, w * 2),
            wn.projection_matrix(w),
        ]
        assert all(is_on(device, f) for f in found)
        return [*map(host, found), values]

    for a, b in zip(everything("cpu"), everything(cuda), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_derivatives_as_functions_stay_on_the_device(device):
    x, m = (backend.to_device(a.astype(float), device) for a in (normal(3), normal(3, 3)))
    v = backend.to_device(np.ones(3), device)

    def f(t):
        return mg.sin(t) @ m

    found = [
        mg.jacobian(f, x),
        mg.hessian(lambda t: f(t).sum(), x),
        mg.hvp(lambda t: f(t).sum(), x, v),
        *mg.jvp(f, x, v),
        mg.vjp(f, x)[1](v),
    ]
    assert all(t.device == device for t in found)
    wanted = np.cos(host(x))[:, None] * host(m)
    np.testing.assert_allclose(found[0].numpy(), wanted.T, rtol=1e-12)
    np.testing.assert_allclose(found[4].numpy(), wanted.T @ np.ones(3), rtol=1e-12)


def test_noise_is_the_same_on_either_device(cuda):
    for layer in (lambda: nn.Dropout(0.5, rng(3)), lambda: nn.GaussianNoise(0.5, rng(3))):
        for x in (normal(4, 5), normal(2, 3, 4, 4)):
            there = layer()(mg.tensor(x, device=cuda))
            assert there.device == cuda
            np.testing.assert_allclose(there.numpy(), layer()(mg.tensor(x)).numpy(), rtol=1e-6, atol=1e-6)

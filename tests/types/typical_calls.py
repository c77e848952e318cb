"""Calls as the README and the lessons make them: mypy and pyright find nothing wrong here, and know what comes out.

`assert_type` makes both say so if they take an expression for something else. A line with `# type: ignore` and
`# pyright: ignore` must be an error to both: they complain about one that is not needed.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, assert_type

import numpy
import numpy.typing as npt

import minigrad as mg
import wn
from minigrad import Tensor, data, nn, optim
from minigrad.nn import functional as F

rng = numpy.random.default_rng(0)


def readme() -> None:
    x = mg.tensor([[1.0, 2.0], [3.0, 4.0]])
    layer = wn.WeightNorm(mg.nn.Linear(2, 3))
    loss = mg.nn.functional.cross_entropy(layer(x), [0, 2])
    loss.backward()
    (layer.weight_v.data * layer.weight_v.grad.data).sum(axis=1)
    mg.testing.check_grads(wn.weight_norm, [layer.weight_v, layer.weight_g])


def tensors_and_the_tape() -> None:  # lesson 01
    x = mg.tensor([1.0, 2.0, 3.0], dtype="float64", requires_grad=True)
    y = mg.exp(-x) * mg.sin(x) + 2 * x**2 - x / 3.0
    assert_type(y, Tensor)
    y = (numpy.ones(3) * y + y.T @ numpy.eye(3) + numpy.float64(2.0) * y)[1:]
    assert_type(y, Tensor)
    assert_type(mg.exp(numpy.ones(3)), npt.NDArray[Any])
    assert_type(mg.maximum(1.0, x), Tensor)
    assert_type(mg.where(x > 0, x, 0.0), Tensor)
    assert_type(y.shape, tuple[int, ...])
    assert_type(y.size, int)
    assert_type(y.sum().item(), float)
    gradient = mg.grad(y.sum(), x, retain_graph=True)
    assert_type(gradient, Tensor)
    assert_type(mg.grad(y.sum(), [x, x], create_graph=True), list[Tensor])
    y.mean().backward()
    print(x.grad.data, f"{y.sum():.3f}", mg.draw.text(mg.tanh(x)), len(x), [float(entry) for entry in x])
    with mg.no_grad():
        assert_type(mg.concatenate([x, x]), Tensor)
    with mg.detect_anomaly():
        assert_type(mg.stack([numpy.ones(2), numpy.ones(2)], axis=1), npt.NDArray[Any])
    remove = x.register_hook(lambda g: g * 2)
    assert_type(remove, Callable[[], None])


@mg.no_grad()
def decorated(x: Tensor) -> Tensor:
    return mg.relu(x)


def checking_gradients() -> None:  # lesson 02
    x = mg.tensor(rng.standard_normal((2, 3)), requires_grad=True)
    mg.testing.check_grads(lambda a: mg.logsumexp(a, axis=(0, 1), keepdims=True), [x], order=2)
    assert_type(mg.jacobian(mg.square, numpy.ones(2)), Tensor)
    assert_type(mg.hessian(lambda a: (a**3).sum(), numpy.ones(2)), Tensor)
    value, tangent = mg.jvp(mg.tanh, [numpy.ones(2)], [numpy.ones(2)])
    assert_type(tangent, Tensor)
    value, pull_back = mg.vjp(mg.tanh, numpy.ones(2))
    print(pull_back(value).shape)
    mg.hvp(lambda a: (a**3).sum(), [numpy.ones(2)], [numpy.ones(2)])


def weight_normalization() -> None:  # lessons 03 to 06
    v, g = mg.tensor(rng.standard_normal((3, 2)), requires_grad=True), mg.tensor(numpy.ones(3), requires_grad=True)
    w = wn.weight_norm(v, g)
    assert_type(w, Tensor)
    assert_type(wn.weight_norm(numpy.ones((3, 2)), numpy.ones(3), axis=0), npt.NDArray[Any])
    mg.square(w).sum().backward()
    gradients_of_arrays = wn.explicit_gradients(rng.standard_normal((3, 2)), numpy.ones((3, 2)), numpy.ones(3))
    assert_type(gradients_of_arrays, tuple[npt.NDArray[Any], npt.NDArray[Any]])
    print(wn.projection_matrix(numpy.ones(2)) @ wn.project(numpy.ones(2), numpy.ones(2)))
    assert_type(mg.norm(v, axis=1), Tensor)
    gradients = rng.standard_normal((5, 2))
    print(wn.preconditioned_covariance(wn.gradient_covariance(gradients), v.data[0], 1.0).shape)
    assert_type(decorated(v), Tensor)


def training() -> None:  # lessons 06 to 09
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, rng=rng), nn.ReLU(), nn.MaxPool2d(2), nn.GlobalAvgPool2d())
    assert_type(wn.apply_weight_norm(model), nn.Sequential)
    pictures = mg.tensor(rng.standard_normal((8, 3, 8, 8)).astype("float32"))
    wn.data_dependent_init(model, pictures)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    assert_type(wn.equi_normalize(plain, example=pictures), nn.Sequential)
    assert_type(wn.EquiNormalizer(plain, pictures)(cycles=2), float)
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    optimizer.lr = 1e-3 * optim.schedules.constant_then_linear(0, 2)
    tracker = wn.NormTracker(model, optimizer)
    average = optim.ExponentialMovingAverage(model, 0.9)
    for images, labels in data.batches([pictures.numpy(), numpy.arange(8) % 4], 4, rng):
        loss = F.cross_entropy(model(mg.tensor(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        assert_type(optim.clip_grad_norm(model.parameters(), 10.0), float)
        optimizer.step()
        average.update()
        tracker.record()
    print(tracker.history("0", "norm").shape, tracker.layers)
    with average.applied():
        wn.to_torch_state_dict(model)
    model.eval()
    right = (model(pictures).argmax(axis=1).numpy() == numpy.arange(8) % 4).mean()
    print(right, sum(p.size for p in model.parameters()), model)
    with tempfile.TemporaryDirectory() as folder:
        mg.save(Path(folder) / "model.npz", model.state_dict())
        model.load_state_dict(mg.load(Path(folder) / "model.npz"))
    assert_type(F.conv2d(pictures, numpy.ones((2, 3, 3, 3), "float32"), stride=(2, 1)), Tensor)
    assert_type(pictures.reshape(8, -1).softmax(axis=1).split(2), list[Tensor])
    noisy = nn.Sequential(nn.GaussianNoise(0.1, rng), nn.LeakyReLU(0.1), nn.Dropout(0.5, rng), nn.ELU(), nn.Flatten())
    print(noisy(pictures).shape, mg.draw.bytes_kept(mg.tanh(model(pictures))))
    synthetic = data.synthetic_pictures(train=20, test=10, seed=0)
    assert_type(synthetic, data.Dataset)
    print(data.scale_pixels(synthetic.train_images).shape, synthetic.class_names[0].upper(), data.cache_folder().name)
    with mg.config(tf32=False):
        mg.is_available("cuda")
    wn.remove_weight_norm(model)


def whitening(images: npt.NDArray[Any]) -> None:
    """Not called: it takes the eigenvectors of a matrix of 3072 x 3072."""
    print(data.ZCA.fit(images, epsilon=1e-2)(images).shape)


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = wn.WeightNorm(nn.Linear(3, 1, rng=rng))
        self.scale = nn.Parameter(numpy.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return mg.tanh(self.layer(x)) * self.scale


def batch_normalization() -> None:  # lesson 08
    model = nn.Sequential(Own(), wn.MeanOnlyBatchNorm(1), nn.BatchNorm(1))
    output: Tensor = model(mg.tensor(rng.standard_normal((4, 3))))
    model.modules()[1].layer.bias.data = numpy.zeros(1)
    wn.mean_only_gradients(numpy.ones((4, 1)))
    after = output.T  # pyright once took what follows a layer's call for unreachable, and knew no type there
    assert_type(after, Tensor)
    loss = F.mse_loss(output, mg.tensor(numpy.zeros((4, 1)))) + F.huber_loss(output, numpy.ones((4, 1)))
    assert_type(loss, Tensor)
    loss.backward()


def wrong(x: Tensor) -> None:
    """Never called: each of these lines raises an error at run time, and both checkers say so before."""
    x.size()  # type: ignore[operator]  # pyright: ignore[reportCallIssue]
    x.sum(dim=0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    x.view(2)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    optim.Adam(x, learning_rate=0.1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    optim.SGD([x], lr="0.1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    wn.weight_norm(x, x, dim=0)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    wn.apply_weight_norm(x)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    data.batches([x], size="4")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    numpy.sin(x)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    mg.cat([x, x])  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    mg.softmax(x, dim=1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    mg.Tensor([1, 2])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


if __name__ == "__main__":
    readme()
    tensors_and_the_tape()
    checking_gradients()
    weight_normalization()
    training()
    batch_normalization()

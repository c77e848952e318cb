"""vjp, jvp, hvp, jacobian and hessian, by the laws that connect them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
from tests.devices import given_on_each_device, host, on

seeds = st.integers(0, 2**32 - 1)
shapes = hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3)
# Sums of at most ten products of numbers of size 1 to 10, in another order: 10 · 10 · 2e-16.
TOLERANCE = {"rtol": 1e-12, "atol": 1e-13}


def normal(seed, *shape):
    return np.asarray(np.random.default_rng(seed).standard_normal(shape))


def inner(a, b):
    return float((host(a) * host(b)).sum())


# From x, and a matrix with as many columns as x has entries, to a Tensor.
FUNCTIONS = {
    "linear": lambda x, m: on(x.device, m) @ x.reshape(-1),
    "curved": lambda x, m: mg.tanh(on(x.device, m) @ x.reshape(-1)) * mg.exp(x.sum() * 0.1),
    "products": lambda x, m: mg.einsum("ij,j,j->i", on(x.device, m), x.reshape(-1), mg.sin(x).reshape(-1)),
    "each entry by itself": lambda x, m: mg.square(x) * x,
    "one number": lambda x, m: mg.sum(mg.square(on(x.device, m) @ mg.sin(x.reshape(-1)))),
    "a part": lambda x, m: x.reshape(-1)[::2] ** 2,
    "nothing": lambda x, m: x.reshape(-1)[:0] * 2,
    "a constant": lambda x, m: mg.tensor(m, device=x.device),
    "a kink aside": lambda x, m: mg.sign(x) * 3.0,
}


@st.composite
def problems(draw, names=tuple(FUNCTIONS)):
    """A function of one argument, that argument, and a seed."""
    shape, seed = draw(shapes), draw(seeds)
    f, m = FUNCTIONS[draw(st.sampled_from(names))], normal(seed, 4, int(np.prod(shape)))
    return lambda x: f(x, m), normal(seed + 1, *shape), seed + 2


@given_on_each_device(problem=problems())
def test_the_jacobian_s_rows_are_pulled_back_unit_vectors_and_its_products_are_vjp_and_jvp(problem, device):
    f, x, seed = on(device, problem)
    jacobian = mg.jacobian(f, x).numpy()
    value, pull_back = mg.vjp(f, x)
    assert jacobian.shape == value.shape + x.shape and not value.requires_grad
    np.testing.assert_array_equal(value.numpy(), f(mg.tensor(x)).numpy())
    for entry in np.ndindex(value.shape):
        unit = np.zeros(value.shape)
        unit[entry] = 1
        np.testing.assert_array_equal(pull_back(on(device, unit)).numpy(), jacobian[entry])
    u, v = normal(seed, *value.shape), normal(seed + 1, *x.shape)
    pulled = pull_back(on(device, u))
    np.testing.assert_allclose(pulled.numpy(), np.tensordot(u, jacobian, u.ndim), **TOLERANCE)
    pushed_value, pushed = mg.jvp(f, x, on(device, v))
    assert {t.device for t in (value, pulled, pushed_value, pushed)} == {device}
    np.testing.assert_array_equal(pushed_value.numpy(), value.numpy())
    np.testing.assert_allclose(pushed.numpy(), np.tensordot(jacobian, v, v.ndim), **TOLERANCE)
    assert inner(u, pushed) == pytest.approx(inner(pulled, v), rel=1e-11, abs=1e-11)


@given(problem=problems())
def test_jvp_is_linear_in_the_tangent_and_pulling_back_in_the_vector(problem):
    f, x, seed = problem
    v, w = normal(seed, *x.shape), normal(seed + 1, *x.shape)
    a, b, both = (mg.jvp(f, [x], [t])[1].numpy() for t in (v, w, 2 * v - w))
    np.testing.assert_allclose(both, 2 * a - b, rtol=1e-11, atol=1e-11)
    value, pull_back = mg.vjp(f, x)
    u, t = normal(seed, *value.shape), normal(seed + 1, *value.shape)
    wanted = 2 * pull_back(u).numpy() - pull_back(t).numpy()
    np.testing.assert_allclose(pull_back(2 * u - t).numpy(), wanted, rtol=1e-11, atol=1e-11)


@given(problem=problems(["linear"]))
def test_a_linear_function_is_its_own_derivative(problem):
    f, x, seed = problem
    v = normal(seed, *x.shape)
    np.testing.assert_allclose(mg.jvp(f, x, v)[1].numpy(), f(mg.tensor(v)).numpy(), **TOLERANCE)
    np.testing.assert_array_equal(mg.jacobian(f, x).numpy(), mg.jacobian(f, 0 * x).numpy())
    assert not mg.hessian(lambda t: f(t).sum(), x).numpy().any()


@given_on_each_device(problem=problems())
def test_the_hessian_is_symmetric_and_hvp_is_its_product(problem, device):
    f, x, seed = on(device, problem)
    weights = on(device, np.cos(np.arange(f(mg.tensor(x)).size)))
    v, w = normal(seed, *x.shape), normal(seed + 1, *x.shape)

    def scalar(t):
        return mg.sum(f(t).reshape(-1) * weights)

    hessian, product = mg.hessian(scalar, x).numpy(), mg.hvp(scalar, x, on(device, v))
    assert hessian.shape == x.shape * 2 and product.shape == x.shape
    matrix = hessian.reshape(x.size, x.size)
    np.testing.assert_allclose(matrix, matrix.T, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(product.numpy().reshape(-1), matrix @ v.reshape(-1), rtol=1e-11, atol=1e-11)
    assert inner(product, w) == pytest.approx(inner(mg.hvp(scalar, x, on(device, w)), v), rel=1e-10, abs=1e-10)


@given(seed=seeds)
def test_a_quadratic_form_has_its_matrix_as_hessian(seed):
    m, x = normal(seed, 3, 3), normal(seed + 1, 3)
    hessian = mg.hessian(lambda t: t @ mg.tensor(m) @ t, x).numpy()
    np.testing.assert_allclose(hessian, m + m.T, **TOLERANCE)


@given(seed=seeds)
def test_jvp_is_the_slope_that_differences_measure(seed):
    x, v, m = normal(seed, 3), normal(seed + 1, 3), normal(seed + 2, 4, 3)
    h = np.finfo(float).eps ** (1 / 3)  # error h² from truncation, ε/h from rounding: 4e-11, times the function's size
    f = FUNCTIONS["curved"]
    slope = (f(mg.tensor(x + h * v), m).numpy() - f(mg.tensor(x - h * v), m).numpy()) / (2 * h)
    np.testing.assert_allclose(mg.jvp(lambda t: f(t, m), x, v)[1].numpy(), slope, rtol=1e-6, atol=1e-6)


# ---- several arguments ----------------------------------------------------------------------------------------------


@given(seed=seeds)
def test_several_arguments_each_get_their_part(seed):
    x, y, z = normal(seed, 2, 3), normal(seed + 1, 3), normal(seed + 2)
    v = [normal(seed + 3 + i, *a.shape) for i, a in enumerate((x, y, z))]

    def f(x, y, z):
        return mg.sin(x @ y)  # and not on z

    value, pull_back = mg.vjp(f, x, y, z)
    u = normal(seed, *value.shape)
    parts = pull_back(u)
    assert isinstance(parts, tuple) and [p.shape for p in parts] == [(2, 3), (3,), ()] and parts[2].item() == 0
    _, pushed = mg.jvp(f, (x, y, z), v)
    assert inner(u, pushed) == pytest.approx(sum(map(inner, parts, v)), rel=1e-11, abs=1e-12)
    alone = [
        mg.jacobian(lambda t, i=i: f(*(t if i == j else mg.tensor(a) for j, a in enumerate((x, y, z)))), a)
        for i, a in enumerate((x, y, z))
    ]
    together = sum(np.tensordot(j.numpy(), t, t.ndim) for j, t in zip(alone, v, strict=True))
    np.testing.assert_allclose(pushed.numpy(), together, **TOLERANCE)
    products = mg.hvp(lambda *a: f(*a).sum(), [x, y, z], v)
    assert isinstance(products, list) and [p.shape for p in products] == [(2, 3), (3,), ()]
    assert products[2].item() == 0


# ---- what comes in and what comes out -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [list, tuple, np.array, mg.tensor])
def test_what_is_pulled_back_may_be_a_list_of_numbers(kind):
    value, pull_back = mg.vjp(lambda x: x * x, [1.0, 2.0])
    assert pull_back(kind([1.0, 0.5])).numpy().tolist() == [2, 2] and value.numpy().tolist() == [1, 4]
    assert mg.vjp(lambda x: (x * x).sum(), [1.0, 2.0])[1](2.0).numpy().tolist() == [4, 8]


def test_what_does_not_depend_has_zeros():
    x = normal(0, 2, 3)
    for f in (lambda t: mg.tensor(np.ones(2)), lambda t: mg.sum(t.detach() * 2), lambda t: mg.sign(t)):
        value, pull_back = mg.vjp(f, x)
        assert not pull_back(np.ones(value.shape)).numpy().any()
        assert not mg.jvp(f, x, x)[1].numpy().any()
        assert not mg.jacobian(f, x).numpy().any()
        assert mg.hvp(lambda t, f=f: f(t).sum(), x, x).numpy().tolist() == np.zeros((2, 3)).tolist()


@pytest.mark.parametrize("f", [mg.exp, lambda t: t[:0], lambda t: t * np.ones(3), lambda t: mg.tensor(np.ones(2))])
def test_derivatives_have_the_dtype_of_what_they_belong_to(f):
    x = np.ones(3, np.float32)
    value, pull_back = mg.vjp(f, x)
    assert pull_back(np.ones(value.shape)).dtype == mg.jacobian(f, x).dtype == np.float32
    for tangent in (x, x.astype(float), [1.0, 1.0, 1.0]):
        value, pushed = mg.jvp(f, [x], [tangent])
        assert pushed.dtype == value.dtype
        assert mg.hvp(lambda t: f(t).sum(), [x], [tangent])[0].dtype == np.float32
    assert mg.hessian(lambda t: f(t).sum(), x).dtype == np.float32


def test_tensors_arrays_and_numbers_go_in_and_the_arguments_stay_as_they_are():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    y = mg.exp(x)
    for arg in (y, y.numpy(), [1.0, 2.0]):
        assert mg.jacobian(mg.square, arg).shape == (2, 2)
    assert mg.jvp(lambda a, b: a * b, [2.0, 3.0], [1.0, 10.0])[1].item() == 23
    assert x.grad is None and not mg.jacobian(mg.square, y).requires_grad
    with pytest.raises(TypeError, match="floating-point"):
        mg.jacobian(mg.square, np.array([1, 2]))


def test_they_work_where_nothing_is_recorded():
    x = normal(0, 3)
    with mg.no_grad():
        wanted = np.diag(2 * x)
        np.testing.assert_allclose(mg.jacobian(mg.square, x).numpy(), wanted)
        np.testing.assert_allclose(mg.jvp(mg.square, x, x)[1].numpy(), 2 * x * x)
        np.testing.assert_allclose(mg.hvp(lambda t: mg.sum(t**3), x, x).numpy(), 6 * x * x)
        np.testing.assert_allclose(mg.hessian(lambda t: mg.sum(t**3), x).numpy(), 3 * wanted)


@pytest.mark.parametrize("transform", [mg.jvp, mg.hvp])
@pytest.mark.parametrize("vectors", [[np.ones(1)], [1.0], [np.ones((2, 2))], [np.ones(2), np.ones(2)], []])
def test_vectors_of_other_shapes_are_refused_rather_than_broadcast(transform, vectors):
    with pytest.raises(ValueError, match=r"shapes \[\(2,\)\]"):
        transform(mg.sum, [np.ones(2)], vectors)


def test_functions_must_return_one_tensor():
    x = np.ones(2)
    for call in (mg.vjp, mg.jacobian, mg.hessian, lambda f, x: mg.jvp(f, x, x), lambda f, x: mg.hvp(f, x, x)):
        for result in ((mg.tensor(x), mg.tensor(x)), None, x):
            with pytest.raises(TypeError, match="one Tensor"):
                call(lambda t, result=result: result, x)
    with pytest.raises(RuntimeError, match="sum"):
        mg.hvp(mg.square, x, x)


TRANSFORMS = {
    "vjp": lambda f, x: mg.vjp(f, x)[1](1.0),
    "jvp": lambda f, x: mg.jvp(f, [x], [x])[1],
    "hvp": lambda f, x: mg.hvp(f, [x], [x])[0],
    "jacobian": mg.jacobian,
    "hessian": mg.hessian,
}


@pytest.mark.parametrize("inner", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize("outer", TRANSFORMS.values(), ids=TRANSFORMS)
def test_one_within_another_is_refused_rather_than_taken_for_a_constant(outer, inner):
    x, unit = np.array(2.0), mg.tensor(np.array(1.0))
    for f in (lambda t: inner(lambda s: s**3, t), lambda t: inner(lambda s: s**3 * t, unit)):
        with pytest.raises(RuntimeError, match="create_graph=True"):
            outer(f, x)

    def constant(t):
        with mg.no_grad():
            return inner(lambda s: s**3, unit) * t

    outer(constant, x)  # where nothing is recorded, a constant is what one wants
    assert mg.hessian(lambda t: mg.grad(t**4, t, create_graph=True), x).item() == 48  # 24 t

"""Property tests of an op of your own: copy this file, put your op in place of `square_difference`, and run it.

    pytest my_copy.py

A property test states a law, and hypothesis looks for arguments that break it: shapes with axes of size 0 and 1,
zeros, equal entries. What it finds it makes as small as it can before it prints it.
"""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.op import op
from minigrad.ops.shape import unbroadcast

settings.register_profile("this file", max_examples=50, deadline=None, derandomize=True)
settings.load_profile("this file")

# ---- what is tested: a smooth op of two operands, and one with a kink ------------------------------------------------

square_difference = op(
    "square_difference",
    "a² - b².",
    lambda xp, a, b: a * a - b * b,
    lambda g, _y, a, _b: unbroadcast(2 * a * g, a),
    lambda g, _y, _a, b: unbroadcast(-2 * b * g, b),
)
larger = op(
    "larger",
    "The larger of a and b, of one shape; where they tie, a's.",
    lambda xp, a, b: xp.where(a >= b, a, b),
    lambda g, _y, a, b: mg.where(a >= b, g, 0),
    lambda g, _y, a, b: mg.where(b > a, g, 0),
)

# ---- how to draw arguments -------------------------------------------------------------------------------------------


@st.composite
def broadcast_pairs(draw, dtype=np.float64):
    """Two arrays whose shapes broadcast."""
    first, second = draw(mg.testing.broadcastable_shapes(2))
    return draw(mg.testing.arrays(first, dtype)), draw(mg.testing.arrays(second, dtype))


# ---- the laws --------------------------------------------------------------------------------------------------------


@given(broadcast_pairs())
def test_values_are_those_of_numpy(pair):
    a, b = pair
    # No gradient check can see a wrong forward function whose rule is wrong alike. Values up to 4, a few roundings.
    np.testing.assert_allclose(square_difference(a, b), np.square(a) - np.square(b), rtol=0, atol=1e-14)


@given(broadcast_pairs())
def test_gradients_are_those_of_differences_to_second_order(pair):
    mg.testing.check_grads(square_difference, pair)


@given(broadcast_pairs(np.float32))
def test_gradients_have_the_shape_and_dtype_of_their_operands(pair):
    tensors = [mg.tensor(x, requires_grad=True) for x in pair]
    for tensor, gradient in zip(tensors, mg.grad(square_difference(*tensors).sum(), tensors), strict=True):
        assert (gradient.shape, gradient.dtype) == (tensor.shape, tensor.dtype)


@given(mg.testing.arrays(mg.testing.shapes(max_dims=2), distinct=True), st.integers(0, 2**32 - 1))
def test_differences_need_points_away_from_the_kink(x, seed):
    other = np.random.default_rng(seed).permutation(x.ravel()).reshape(x.shape) + 0.006  # between the grid's points
    mg.testing.check_grads(larger, [x, other])


@given(st.data())
def test_at_the_kink_a_law_takes_the_place_of_differences(data):
    # larger(a + t, b + t) = larger(a, b) + t, so that the two gradients add up to g, at ties too.
    shape = data.draw(mg.testing.shapes())
    a, b = (mg.tensor(data.draw(mg.testing.arrays(shape)), requires_grad=True) for _ in range(2))
    first, second = mg.grad(larger(a, b).sum(), [a, b])
    np.testing.assert_array_equal(first.data + second.data, np.ones(shape))

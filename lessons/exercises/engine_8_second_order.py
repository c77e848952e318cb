"""engine.8 Derivatives of derivatives

    grad(result, inputs, create_graph=False)     a list of Tensors: for each of the inputs, the gradient of the sum
                                                 of the result's entries, in the shape of that input

For an input that the result was not made from, it is zeros. No tensor's `.grad` changes.

With create_graph=True the way back is recorded, so that you can go back through it again and have the derivative of the
derivative, and so on. Without it, nothing is recorded: the gradients have no steps. `recording` is the switch, in both
directions; afterwards it must be as it was before. There is nothing else to do, if your rules are written with
functions of the engine. Where one computes with `.data` instead, the derivative of its share is missing, and the laws
of this step say which one; mend it there. (Earlier steps are then checked again.)

For example:

    x = Tensor([2.0])
    (slope,) = grad(x ** 3, [x], create_graph=True)     # Tensor([12.]): 3 x²
    (second,) = grad(slope, [x])                        # Tensor([12.]): 6 x; second.steps is ()
"""

# %% Laws

import numpy as np
from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, differences, hold
from lessons.exercises.engine import array_of, equal

exercise = Exercise(
    __file__,
    "lesson 01, part 7",
    hints=[
        "go_back does the work: it starts with ones in the shape of the result.",
        "Within `with recording(create_graph):` rules are recorded, or not, whatever the switch was before.",
        "The list is made of `gradients[x]` for each x of the inputs, or of zeros where x is not in the dictionary.",
    ],
    uses=("math", "numpy", "contextlib", "copy", "itertools"),
    only_one=False,
    written_in="my_engine.py",
)
M = np.array([[1.0, -2.0, 0.5], [0.25, 1.0, 3.0]])
PROGRAMS = {  # in words: (of tensors, of arrays), both of x, an array (2, 2)
    "x * x * x": [lambda m, x: x * x * x, lambda x: x * x * x],
    "x + x * x": [lambda m, x: x + x * x, lambda x: x + x * x],
    "exp(x) * x": [lambda m, x: m.exp(x) * x, lambda x: np.exp(x) * x],
    "log(x) * x": [lambda m, x: m.log(x) * x, lambda x: np.log(x) * x],
    "tanh(x)": [lambda m, x: m.tanh(x), np.tanh],
    "relu(x) * x": [lambda m, x: m.relu(x) * x, lambda x: x * x],
    "x ** 0.5": [lambda m, x: x**0.5, lambda x: x**0.5],
    "1 / x": [lambda m, x: 1 / x, lambda x: 1 / x],
    "broadcast_to(x, (3, 2, 2)) ** 2": [
        lambda m, x: m.broadcast_to(x, (3, 2, 2)) ** 2,
        lambda x: np.stack([x] * 3) ** 2,
    ],
    "sum_to(x, (1, 2)) ** 3": [lambda m, x: m.sum_to(x, (1, 2)) ** 3, lambda x: x.sum(axis=0, keepdims=True) ** 3],
    "reshape(x, (4,)) ** 3 * reshape(x, (4,))[::-1]": [
        lambda m, x: m.reshape(x, (4,)) ** 3 * m.reshape(x, (4,))[::-1],
        lambda x: x.reshape(4) ** 3 * x.reshape(4)[::-1],
    ],
    "transpose(x) * x": [lambda m, x: m.transpose(x) * x, lambda x: x.T * x],
    "x[[0, 0, 1]] ** 3": [lambda m, x: x[[0, 0, 1]] ** 3, lambda x: x[[0, 0, 1]] ** 3],
    "put_back(x, [0, 0], (2, 2)) ** 3": [lambda m, x: m.put_back(x, [0, 0], (2, 2)) ** 3, lambda x: x.sum(axis=0) ** 3],
    "sum(x, axis=1) ** 3": [lambda m, x: m.sum(x, axis=1) ** 3, lambda x: x.sum(axis=1) ** 3],
    "mean(x, axis=0) ** 3": [lambda m, x: m.mean(x, axis=0) ** 3, lambda x: x.mean(axis=0) ** 3],
    "max(x * x, axis=1) ** 2": [lambda m, x: m.max(x * x, axis=1) ** 2, lambda x: by_size(x * x) ** 2],
    "(x @ M) ** 2": [lambda m, x: (x @ M) ** 2, lambda x: (x @ M) ** 2],
    "x @ x @ x": [lambda m, x: x @ x @ x, lambda x: x @ x @ x],
}


def by_size(x):
    """The largest in each row, of complex numbers by their real parts."""
    return x[np.arange(len(x)), x.real.argmax(axis=1)]


def complex_step(f, x):
    """The gradient of the sum of f(x), to all digits: the imaginary part of f(x + 10⁻²⁰ i) / 10⁻²⁰."""
    gradient = np.empty_like(x)
    for place in np.ndindex(x.shape):
        moved = x.astype(complex)
        moved[place] += 1e-20j
        gradient[place] = f(moved).sum().imag / 1e-20
    return gradient


POINTS = st.permutations([0.25, 0.5, 1.0, 1.5, 2.0, 3.0]).map(
    lambda p: np.array(p[:4]).reshape(2, 2)
)  # no ties, no zeros


@exercise.law(
    "grad gives the gradient of the sum of a result's entries",
    st.tuples(st.sampled_from(sorted(PROGRAMS)), POINTS),
    examples=30,
)
def first(answer, case):
    words, x = case
    f, truth = PROGRAMS[words]
    leaf = answer.Tensor(x)
    came = answer.grad(f(answer, leaf), [leaf])
    what = f"grad({words}, [x]), where x = {x.tolist()}"
    hold(isinstance(came, (list, tuple)) and len(came) == 1, what, came, "a list of one Tensor")
    agree(what, array_of(what, came[0], answer), complex_step(truth, x), rtol=1e-9)
    hold(leaf.grad is None, "x.grad after grad(…, [x])", leaf.grad, None)


def second_of(answer, f, x, c):
    """The gradient of Σ c ∇f, by the engine."""
    answer.Tensor.recording = True
    leaf = answer.Tensor(x)
    (slope,) = answer.grad(f(answer, leaf), [leaf], create_graph=True)
    return answer.grad(slope * c, [leaf])[0]


C = np.array([[1.0, 2.0], [3.0, 4.0]])


@exercise.law(
    "with create_graph=True, the derivative of each derivative is right",
    st.tuples(st.sampled_from(sorted(PROGRAMS)), POINTS),
    examples=50,
)
def second(answer, case):
    words, x = case
    f, truth = PROGRAMS[words]
    what = (
        f"s = grad({words}, [x], create_graph=True)[0]; grad(s * c, [x])[0], where x = {x.tolist()}, c = {C.tolist()}"
    )
    wanted = differences(lambda x: (C * complex_step(truth, x)).sum(), x)
    agree(
        what,
        array_of(what, second_of(answer, f, x, C), answer),
        wanted,
        rtol=1e-6,
        atol=1e-9 * (1 + abs(wanted).max()) * 100,
    )


@exercise.law(
    "and the derivative of that: tanh‴ = -2 (1 - tanh²)(1 - 3 tanh²)", st.sampled_from([0.0, 0.25, -0.5, 1.0])
)
def third(answer, number):
    x = answer.Tensor([number])
    y = answer.tanh(x)
    for _ in range(3):
        (y,) = answer.grad(y, [x], create_graph=True)
    t2 = np.tanh(number) ** 2
    agree(
        f"tanh‴ at {number}",
        array_of("the third derivative", y, answer),
        [-2 * (1 - t2) * (1 - 3 * t2)],
        rtol=1e-12,
        atol=1e-12,
    )


@exercise.law("several inputs, in their order; zeros for one that the result was not made from")
def several(answer):
    x, y, z = answer.Tensor([2.0]), answer.Tensor([3.0]), answer.Tensor(np.ones((2, 1)))
    came = answer.grad(x * x * y, [y, z, x])
    hold(isinstance(came, (list, tuple)) and len(came) == 3, "grad(x * x * y, [y, z, x])", came, "three Tensors")
    for what, tensor, wanted in zip("yzx", came, ([4.0], np.zeros((2, 1)), [12.0]), strict=True):
        what = f"for {what} in grad(x * x * y, [y, z, x]), x = 2, y = 3, z of shape (2, 1)"
        agree(what, array_of(what, tensor, answer), wanted)


@exercise.law("without create_graph gradients have no steps; the switch is afterwards as it was")
def not_recorded(answer):
    x = answer.Tensor([2.0])
    (slope,) = answer.grad(x * x, [x])
    hold(len(slope.steps) == 0, "how many steps grad(x * x, [x])[0] has", len(slope.steps), 0)
    for state in (False, True):
        y = x * x * x
        with answer.recording(state):
            answer.grad(y, [x], create_graph=not state)
            hold(answer.Tensor.recording == state, "Tensor.recording after grad", answer.Tensor.recording, state)


@exercise.law("with create_graph=True it is recorded even where recording is off")
def in_any_state(answer):
    x = answer.Tensor([2.0])
    y = x * x * x
    with answer.recording(False):
        (slope,) = answer.grad(y, [x], create_graph=True)
    agree("the second derivative of x³ at 2", array_of("it", answer.grad(slope, [x])[0], answer), [12.0])


def cube(answer, **options):
    answer.Tensor.recording = True
    x = answer.Tensor([2.0])
    return x, answer.grad(x * x * x, [x], **options)


def flat(answer, words):
    """Whether the second derivative of a program is wrong, though the first is right and that of x³ is, too."""
    x, (slope,) = cube(answer, create_graph=True)
    if not slope.steps or not equal(answer.grad(slope, [x])[0].data, [12.0]) or of_the_mean(answer):
        return False
    f, truth = PROGRAMS[words]
    at = np.array([[0.5, 2.0], [1.0, 3.0]])
    wanted = differences(lambda x: (C * complex_step(truth, x)).sum(), at)
    return not np.allclose(second_of(answer, f, at, C).data, wanted, rtol=1e-5)


@exercise.symptom(
    "create_graph has no effect: the way back is never recorded.",
    "with recording(create_graph):",
    "with recording(False):",
)
def never(answer):
    return recorded(answer) == (False, False)


def recorded(answer):
    """Whether grad records without and with create_graph."""
    return tuple(len(cube(answer, create_graph=create)[1][0].steps) > 0 for create in (False, True))


@exercise.symptom(
    "create_graph is turned around: what is recorded is the way back without it.",
    "with recording(create_graph):",
    "with recording(not create_graph):",
)
def turned_around(answer):
    return recorded(answer) == (True, False)


@exercise.symptom(
    "The way back is recorded without create_graph=True, too.", "with recording(create_graph):", "with recording(True):"
)
def always(answer):
    return recorded(answer) == (True, True)


@exercise.symptom(
    "Recording is switched off without create_graph, but with it the switch is left as it is.",
    "with recording(create_graph):",
    "with recording(create_graph and Tensor.recording):",
)
def as_it_is(answer):
    answer.Tensor.recording = True
    x = answer.Tensor([2.0])
    y = x * x
    with answer.recording(False):
        return len(answer.grad(y, [x], create_graph=True)[0].steps) == 0 and recorded(answer) == (False, True)


@exercise.symptom(
    "Tensor.recording is not as it was before; a with statement puts it back.",
    "    with recording(create_graph):\n",
    "    Tensor.recording = create_graph\n    if True:\n",
)
def left(answer):
    cube(answer)
    off = not answer.Tensor.recording
    x = answer.Tensor([2.0])
    with answer.recording(False):
        answer.grad(x, [x])
        return off or answer.Tensor.recording


@exercise.symptom(
    "It leaves gradients in .grad; grad returns them, and changes nothing.",
    "        gradients = go_back(result, Tensor(np.ones(result.shape)))\n",
    "        gradients = go_back(result, Tensor(np.ones(result.shape)))\n"
    "        for x in inputs:\n            x.grad = gradients.get(x)\n",
)
def in_grad(answer):
    return cube(answer)[0].grad is not None


def unconnected(answer):
    answer.Tensor.recording = True
    x = answer.Tensor([2.0])
    return answer.grad(x * x, [answer.Tensor([[1.0]])])[0]


@exercise.symptom(
    "It is the gradient of the mean of the result's entries: that of their sum is asked for, so it starts with ones.",
    "np.ones(result.shape)",
    "np.full(result.shape, 1 / result.data.size)",
)
def of_the_mean(answer):
    answer.Tensor.recording = True
    x = answer.Tensor([1.0, 2.0])
    return equal(answer.grad(x * x, [x])[0].data, [1.0, 2.0])


@exercise.symptom(
    "An input that the result was not made from is left out of the list; zeros of its shape are asked for.",
    "[gradients[x] if x in gradients else Tensor(np.zeros(x.shape)) for x in inputs]",
    "[gradients[x] for x in inputs if x in gradients]",
)
def left_out(answer):
    answer.Tensor.recording = True
    x = answer.Tensor([2.0])
    return len(answer.grad(x * x, [x, answer.Tensor([[1.0]])])) == 1


@exercise.symptom(
    "For an input that the result was not made from it gives None; zeros are asked for.",
    "Tensor(np.zeros(x.shape)) for x in inputs",
    "None for x in inputs",
)
def none(answer):
    return unconnected(answer) is None


@exercise.symptom(
    "An input that the result was not made from is an error; zeros are asked for.",
    "gradients[x] if x in gradients else Tensor(np.zeros(x.shape))",
    "gradients[x]",
)
def missing(answer):
    try:
        unconnected(answer)
        return False
    except KeyError:
        return isinstance(cube(answer)[1], (list, tuple))


@exercise.symptom(
    "grad returns the dictionary; a list is asked for, with a Tensor for each input.",
    "        return [gradients[x] if x in gradients else Tensor(np.zeros(x.shape)) for x in inputs]\n",
    "        return gradients\n",
)
def dictionary(answer):
    return isinstance(cube(answer)[1], dict)


@exercise.symptom(
    "The gradients are in another order than the inputs.",
    "else Tensor(np.zeros(x.shape)) for x in inputs]",
    "else Tensor(np.zeros(x.shape)) for x in inputs][::-1]",
)
def another_order(answer):
    answer.Tensor.recording = True
    x, y = answer.Tensor([2.0]), answer.Tensor([3.0])
    return [tensor.data[0] for tensor in answer.grad(x * y, [x, y])] == [2.0, 3.0]


@exercise.symptom("grad returns arrays; Tensors are asked for.", "[gradients[x] if", "[gradients[x].data if")
def arrays_come(answer):
    return isinstance(cube(answer)[1][0], np.ndarray)


@exercise.symptom(
    "The zeros for an input that the result was not made from have another shape than it.",
    "Tensor(np.zeros(x.shape)) for x",
    "Tensor(0.0) for x",
)
def other_zeros(answer):
    return unconnected(answer).shape != (1, 1)


@exercise.symptom("grad returns one Tensor; a list is asked for, with one for each input.")
def one_tensor(answer):
    return isinstance(cube(answer)[1], answer.Tensor)


for name, words, old, new in (
    ("exp", "exp(x) * x", "g * exp(x)", "g * np.exp(x.data)"),
    ("log", "log(x) * x", "g / x", "g / x.data"),
    ("tanh", "tanh(x)", "g * (1 - tanh(x) ** 2)", "g * (1 - np.tanh(x.data) ** 2)"),
    ("power", "x ** 0.5", "p * power(x, p - 1) if p", "p * x.data ** (p - 1.0) if p"),
    ("matmul", "x @ x @ x", "sum_to(g @ flipped(b), a.shape)", "sum_to(g @ flipped(Tensor(b.data)), a.shape)"),
):
    cause = f"The rule of {name} uses numbers of its operand (.data), which remember nothing: use the tensor itself."
    exercise.symptom(cause, old, new)(lambda answer, words=words: flat(answer, words))


@exercise.symptom(
    "The rules of multiply use numbers of the operands (.data), which remember nothing: use the tensors themselves.",
    "(a, lambda g: multiply(g, b)), (b, lambda g: multiply(g, a))",
    "(a, lambda g: multiply(g, Tensor(b.data))), (b, lambda g: multiply(g, Tensor(a.data)))",
)
def constant_operands(answer):
    x, (slope,) = cube(answer, create_graph=True)
    return len(slope.steps) > 0 and not equal(answer.grad(slope, [x])[0].data, [12.0])

"""engine.10 A network trains on it

    Module.parameters()            a list of the Tensors among the attributes of a module, in the order in which
                                   they were assigned: also those in lists, tuples and dictionaries, in modules
                                   among them, and so on, however deep; each once, even if it is in several places
                                   (`vars(module)` has the attributes)
    WeightNorm(weight, bias)       the layer of lesson 03, a Module. weight is an array (outputs, inputs), no row of
                                   it zero; bias is an array (outputs,). It has the tensors `v`, which begins as
                                   weight, `g`, (outputs,), which begins as the lengths of its rows, and `b`
        layer(x)                   x wᵀ + b for a Tensor x (examples, inputs), where w = g v/‖v‖, row by row
    SGD(parameters, lr, momentum=0.0)      gradient descent for these tensors, with learning rate η (lr) and
                                           momentum μ
        optimizer.zero_grad()      sets .grad of each to None
        optimizer.step()           one step: for each parameter, velocity ← μ · velocity + gradient, and then data ←
                                   data - η · velocity; velocities begin as zeros. One whose .grad is None stays

For example:

    p = Tensor([1.0])
    optimizer = SGD([p], lr=0.5, momentum=0.5)
    p.grad = Tensor([2.0])
    optimizer.step()                    # p.data is [0], the velocity is 2
    optimizer.step()                    # p.data is [-1.5], the velocity is 3

When everything is right, lesson 03's network trains with weight normalization on your engine: 300 steps, in which
its loss must be that of NumPy code with all formulas written out. This check takes some seconds. The curve is then
drawn into my_engine.png, beside that of minigrad.
"""

# %% Laws

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lessons.exercises import Exercise, agree, differences, hold
from lessons.exercises.cases import NUMBERS, matrices
from lessons.exercises.engine import array_of, equal, ramp

exercise = Exercise(
    __file__,
    "lesson 03, In a layer; lesson 01, part 8",
    hints=[
        "parameters: keep a list of things still to be looked at, with the module itself to begin with; what"
        " a container or a"
        " module holds goes to its front. The keys of a dictionary are in order, each once, and tensors may be keys.",
        "WeightNorm: `sum(self.v ** 2, axis=1) ** 0.5` has the lengths, (outputs,); g over these needs a"
        " second axis of 1"
        " entry before it multiplies v, row by row.",
        "SGD keeps a list of velocities, plain arrays, one for each parameter. A step assigns to `parameter.data`.",
    ],
    uses=("math", "numpy", "contextlib", "copy", "itertools"),
    only_one=False,
    seconds=60.0,
    written_in="my_engine.py",
)


@st.composite
def nests(draw):
    """A nest of containers and modules ("module", …) around the numbers of tensors, some of them in several places."""
    leaf = st.integers(0, 4)
    return draw(
        st.lists(
            st.recursive(
                leaf,
                lambda inner: st.tuples(
                    st.sampled_from(["list", "tuple", "dict", "module"]), st.lists(inner, max_size=3)
                ),
                max_leaves=8,
            ),
            max_size=3,
        )
    )


def build(answer, nest, tensors):
    """A nest of tensors, and what is in it, in order, with repetitions."""
    if isinstance(nest, int):
        return tensors[nest], [nest]
    kind, inner = nest
    parts, orders = [], []
    for part in inner:
        made, order = build(answer, part, tensors)
        parts.append(made)
        orders += order
    if kind in ("list", "tuple"):
        return {"list": list, "tuple": tuple}[kind](parts), orders
    if kind == "dict":
        return {f"key{i}": part for i, part in enumerate(parts)}, orders
    module = answer.Module()
    for i, part in enumerate(parts):
        setattr(module, f"part{i}", part)
    return module, orders


@exercise.law("parameters lists every tensor in a module once, in the order of the attributes", nests())
def parameters(answer, nest):
    tensors = [answer.Tensor([float(i)]) for i in range(5)]
    module, order = build(answer, ("module", nest), tensors)
    module.name, module.size = "something else", 3
    came = module.parameters()
    what = f"the parameters of a module with the attributes {nest}, where a number stands for a tensor"
    hold(isinstance(came, (list, tuple)), what, f"a {type(came).__name__}", "a list")
    hold(all(isinstance(t, answer.Tensor) for t in came), what, came, "Tensors only")
    numbers = [int(t.data[0]) for t in came]
    hold(numbers == list(dict.fromkeys(order)), what, numbers, list(dict.fromkeys(order)))


@st.composite
def steps(draw):
    """A start, gradients for some steps (None for none), a learning rate and a momentum."""
    vector = arrays(float, (2,), elements=NUMBERS)
    return (
        draw(vector),
        draw(st.lists(st.none() | vector, min_size=1, max_size=4)),
        draw(st.sampled_from([0.5, 0.25, 1.0])),
        draw(st.sampled_from([0.0, 0.5, 0.75])),
    )


@exercise.law(
    "velocity ← μ · velocity + gradient, data ← data - η · velocity; nothing where there is no gradient", steps()
)
def descent(answer, case):
    start, slopes, lr, momentum = case
    p, q = answer.Tensor(start), answer.Tensor([1.0])
    optimizer, velocity, wanted = answer.SGD([p, q], lr=lr, momentum=momentum), np.zeros(2), start
    for t, slope in enumerate(slopes, 1):
        p.grad, q.grad = None if slope is None else answer.Tensor(slope), answer.Tensor([1.0])
        optimizer.step()
        if slope is not None:
            velocity = momentum * velocity + slope
            wanted = wanted - lr * velocity
        came = [None if slope is None else slope.tolist() for slope in slopes[:t]]
        given = f"lr={lr}, momentum={momentum}, from {start.tolist()}, gradients {came}"
        agree(f"a parameter after {t} steps, {given}", p.data, wanted)


@exercise.law("zero_grad sets every .grad to None; SGD works with any iterable, and without momentum")
def zeroed(answer):
    ps = [answer.Tensor([1.0]) for _ in range(3)]
    optimizer = answer.SGD((p for p in ps), 0.5)
    for _ in range(2):
        for p in ps:
            p.grad = answer.Tensor([1.0])
        optimizer.step()
    agree("three parameters after two steps, η = 0.5, gradients 1", [p.data[0] for p in ps], [0.0, 0.0, 0.0])
    optimizer.zero_grad()
    hold(all(p.grad is None for p in ps), "their .grad after zero_grad", [p.grad for p in ps], [None] * 3)


@st.composite
def layers(draw):
    weight = draw(matrices(rows_not_zero=True))
    return weight, draw(arrays(float, len(weight), elements=NUMBERS)), ramp((2, weight.shape[1]))


@exercise.law(
    "a layer starts as x weightᵀ + bias, with v = weight, g = ‖v‖ and b = bias, its three parameters", layers()
)
def start(answer, case):
    weight, bias, x = case
    layer = answer.WeightNorm(weight, bias)
    where = f", weight = {weight.tolist()}, bias = {bias.tolist()}"
    for letter, wanted in (("v", weight), ("g", np.linalg.norm(weight, axis=1)), ("b", bias)):
        agree(f"layer.{letter}{where}", array_of(f"layer.{letter}", getattr(layer, letter, None), answer), wanted)
    agree(
        f"layer(x){where}, x = {x.tolist()}",
        array_of("layer(x)", layer(answer.Tensor(x)), answer),
        x @ weight.T + bias,
        atol=1e-8,
    )
    hold(len(layer.parameters()) == 3, "how many parameters the layer has", len(layer.parameters()), 3)


@exercise.law("‖w‖ = |g|, whatever v is; ∇_v L is orthogonal to v, and all gradients agree with differences", layers())
def split(answer, case):
    weight, bias, x = case
    layer = answer.WeightNorm(weight, bias)
    v, g = 2 * weight, -1.5 * np.linalg.norm(weight, axis=1)
    layer.v.data, layer.g.data = v, g
    where = f", v = {v.tolist()}, g = {g.tolist()}"
    output = lambda v, g, b: x @ ((g / np.sqrt((v * v).sum(axis=1)))[:, None] * v).T + b
    y = layer(answer.Tensor(x))
    agree(f"layer(x){where}, x = {x.tolist()}", array_of("layer(x)", y, answer), output(v, g, bias), atol=1e-8)
    back = ramp(y.shape)
    y.backward(answer.Tensor(back))
    slope_v = array_of("v.grad", layer.v.grad, answer)
    size = np.abs(back).sum() * np.abs(x).max() * (1 + np.abs(g).max())
    agree(
        f"v.grad · v, row by row{where}",
        (slope_v * v).sum(axis=1),
        np.zeros(len(v)),
        atol=1e-12 * size * (1 + np.abs(v).max()),
    )
    for i, letter in enumerate("vgb"):
        values = [v, g, bias]
        f = lambda new, i=i, values=values: (back * output(*values[:i], new, *values[i + 1 :])).sum()
        came = array_of(f"{letter}.grad", getattr(layer, letter).grad, answer)
        agree(f"{letter}.grad{where}", came, differences(f, values[i]), rtol=1e-6, atol=1e-9 * (1 + size))


# ---- lesson 03's network --------------------------------------------------------------------------------------------

STEPS, RATE = 300, 0.3


def task():
    """Lesson 03's data, the weights that both networks start with, and the minibatches."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(512, 10))
    y = np.tanh(2 * x @ rng.normal(size=(10, 1)) / np.sqrt(10))
    weights = [rng.normal(size=shape) / np.sqrt(shape[1]) for shape in ((32, 10), (1, 32))]
    return x, y, weights, [np.zeros(32), np.zeros(1)], rng.integers(0, len(x), size=(STEPS, 32))


def by_engine(answer):
    """The loss before each of the steps, by an engine."""
    x, y, weights, biases, batches = task()

    class Network(answer.Module):
        def __init__(self):
            self.layers = [answer.WeightNorm(w, b) for w, b in zip(weights, biases, strict=True)]

        def __call__(self, x):
            return self.layers[1](answer.relu(self.layers[0](x)))

    network, losses = Network(), []
    optimizer = answer.SGD(network.parameters(), RATE)
    for batch in batches:
        optimizer.zero_grad()
        loss = answer.mean((network(answer.Tensor(x[batch])) - y[batch]) ** 2)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.data))
    return np.array(losses)


def by_hand():
    """The same with formulas: equation 2 forward, equation 3 back."""
    x, y, v, b, batches = task()
    g, losses = [np.linalg.norm(rows, axis=1) for rows in v], []
    for batch in batches:
        length = [np.linalg.norm(rows, axis=1) for rows in v]
        w = [(g[i] / length[i])[:, None] * v[i] for i in (0, 1)]
        t = x[batch] @ w[0].T + b[0]
        h = np.maximum(t, 0)
        error = h @ w[1].T + b[1] - y[batch]
        losses.append((error**2).mean())
        by_output = 2 * error / error.size
        by_t = by_output @ w[1] * (t > 0)
        by_w, by_b = [by_t.T @ x[batch], by_output.T @ h], [by_t.sum(axis=0), by_output.sum(axis=0)]
        for i in (0, 1):
            by_g = (by_w[i] * v[i]).sum(axis=1) / length[i]
            by_v = (g[i] / length[i])[:, None] * by_w[i] - (g[i] * by_g / length[i] ** 2)[:, None] * v[i]
            v[i], g[i], b[i] = v[i] - RATE * by_v, g[i] - RATE * by_g, b[i] - RATE * by_b[i]
    return np.array(losses)


@exercise.law("lesson 03's network with weight normalization: the loss in 300 steps is that of the formulas, to 10⁻⁶")
def training(answer):
    came, wanted = by_engine(answer), by_hand()
    for t in (0, 1, 2, 10, 100, STEPS - 1):
        agree(f"the loss after {t} steps", came[t], wanted[t], rtol=1e-6, atol=0)
    agree("the losses of all steps", came, wanted, rtol=1e-6, atol=0)
    hold(
        came[-50:].mean() < came[:10].mean() / 10,
        "the loss at the end, over that at the start",
        came[-50:].mean() / came[:10].mean(),
        "less than 0.1",
    )


@exercise.after
def figure(answer, folder):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    import minigrad as mg
    import wn

    x, y, weights, biases, batches = task()
    net = mg.nn.Sequential(
        mg.nn.Linear(10, 32, rng=np.random.default_rng(0)),
        mg.nn.ReLU(),
        mg.nn.Linear(32, 1, rng=np.random.default_rng(0)),
    )
    for layer, weight, bias in zip((net[0], net[2]), weights, biases, strict=True):
        layer.weight.data, layer.bias.data = weight, bias
    wn.apply_weight_norm(net)
    optimizer, losses = mg.optim.SGD(net.parameters(), lr=RATE), []
    for batch in batches:
        optimizer.zero_grad()
        loss = mg.nn.functional.mse_loss(net(mg.tensor(x[batch])), y[batch])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    picture, ax = plt.subplots(layout="constrained")
    ax.semilogy(losses, label="minigrad")
    ax.semilogy(range(0, STEPS, 10), by_engine(answer)[::10], "o", label="your engine")
    ax.set(xlabel="step", ylabel="loss", title="Lesson 03's network, weight normalization (synthetic data)")
    ax.legend()
    picture.savefig(folder / "my_engine.png", dpi=150)
    return "The curve is in my_engine.png, beside that of minigrad."


# ---- mistakes -------------------------------------------------------------------------------------------------------


def holding(answer, *things):
    """The parameters of a module with a list of these."""
    module = answer.Module()
    module.things = list(things)
    return module.parameters()


@exercise.symptom(
    "parameters lists a tensor that is in two places twice.",
    "        return list(found)\n",
    "        return [*found, *found]\n",
)
def repeated(answer):
    t, module = answer.Tensor([1.0]), answer.Module()
    module.a = module.b = t
    return len(module.parameters()) == 2


@exercise.symptom(
    "parameters does not look into modules.",
    "waiting[:0] = vars(module).values()",
    "waiting[:0] = vars(module).values() if module is self else ()",
)
def not_in_modules(answer):
    inner, outer = answer.Module(), answer.Module()
    inner.t = answer.Tensor([1.0])
    outer.inner = inner
    return len(inner.parameters()) == 1 and len(outer.parameters()) == 0


@exercise.symptom(
    "parameters does not look into lists and tuples.",
    "case list() | tuple() as several:",
    "case list() | tuple() as several if False:",
)
def not_in_lists(answer):
    return len(holding(answer, answer.Tensor([1.0]))) == 0


@exercise.symptom(
    "parameters does not look into dictionaries.", "case dict() as several:", "case dict() as several if False:"
)
def not_in_dictionaries(answer):
    module = answer.Module()
    module.a, module.b = answer.Tensor([1.0]), {"c": answer.Tensor([1.0])}
    return len(module.parameters()) == 1


@exercise.symptom("parameters looks one level deep only: there may be lists in lists.")
def one_level(answer):
    t = answer.Tensor([1.0])
    return len(holding(answer, t)) == 1 and len(holding(answer, [[t]])) == 0


def stepped(answer, momentum, steps, lr=0.5):
    p = answer.Tensor([1.0])
    optimizer = answer.SGD([p], lr=lr, momentum=momentum)
    for _ in range(steps):
        p.grad = answer.Tensor([2.0])
        optimizer.step()
    return p.data[0]


@exercise.symptom(
    "The step goes up the gradient: it is to be subtracted.",
    "parameter.data - self.lr * self.velocities[i]",
    "parameter.data + self.lr * self.velocities[i]",
)
def upwards(answer):
    return stepped(answer, 0.0, 1) == 2.0


@exercise.symptom(
    "The learning rate is missing.",
    "parameter.data - self.lr * self.velocities[i]",
    "parameter.data - self.velocities[i]",
)
def without_rate(answer):
    return stepped(answer, 0.0, 1) == -1.0


@exercise.symptom(
    "The momentum has no effect.",
    "self.momentum * self.velocities[i] + parameter.grad.data",
    "0 * self.velocities[i] + parameter.grad.data",
)
def without_momentum(answer):
    return stepped(answer, 0.5, 2) == -1.0


@exercise.symptom(
    "The gradient is weighted by 1 - μ: here it is added to μ · velocity as it is.",
    "self.momentum * self.velocities[i] + parameter.grad.data",
    "self.momentum * self.velocities[i] + (1 - self.momentum) * parameter.grad.data",
)
def averaged(answer):
    return stepped(answer, 0.75, 1) == 0.75


@exercise.symptom("The learning rate is applied twice: to the velocity and to the step.")
def rate_twice(answer):
    return stepped(answer, 0.0, 1) == 0.5


@exercise.symptom("The step looks ahead, as Nesterov's does: it is η times the velocity.")
def ahead(answer):
    return stepped(answer, 0.5, 1) == -0.5


@exercise.symptom("SGD goes through an iterator twice: make a list of the parameters first.")
def iterator(answer):
    p = answer.Tensor([1.0])
    optimizer = answer.SGD(iter([p]), 0.5)
    for _ in range(2):
        p.grad = answer.Tensor([2.0])
        optimizer.step()
    return p.data[0] > -1.0 and stepped(answer, 0.0, 2) == -1.0


@exercise.symptom(
    "The parameters are in another order than the attributes.",
    "        return list(found)\n",
    "        return list(found)[::-1]\n",
)
def another_order(answer):
    inner, outer, (a, b) = answer.Module(), answer.Module(), map(answer.Tensor, ([1.0], [2.0]))
    inner.a, outer.inner, outer.b = a, inner, b
    return [tensor.data[0] for tensor in outer.parameters()] == [2.0, 1.0]


@exercise.symptom(
    "All parameters share one velocity: each has its own.",
    "self.velocities[i] = self.momentum * self.velocities[i] + parameter.grad.data",
    "self.velocities[:] = [self.momentum * self.velocities[i] + parameter.grad.data] * len(self.velocities)",
)
def one_velocity(answer):
    p, q = answer.Tensor([0.0]), answer.Tensor([0.0])
    optimizer = answer.SGD([p, q], lr=1.0, momentum=0.5)
    p.grad, q.grad = answer.Tensor([8.0]), answer.Tensor([0.0])
    optimizer.step()
    return q.data[0] != 0


@exercise.symptom(
    "A parameter without a gradient is an error: it is to stay as it is.",
    "            if parameter.grad is not None:\n",
    "            if True:\n",
)
def no_gradient(answer):
    try:
        p = answer.Tensor([1.0])
        answer.SGD([p], lr=0.5).step()
        return False
    except (AttributeError, TypeError):
        return stepped(answer, 0.0, 1) == 0.0


@exercise.symptom(
    "zero_grad does not set .grad to None.",
    "            parameter.grad = None\n",
    "            parameter.grad = Tensor(np.zeros(parameter.shape))\n",
)
def not_none(answer):
    p = answer.Tensor([1.0])
    p.grad = answer.Tensor([1.0])
    answer.SGD([p], lr=0.5).zero_grad()
    return p.grad is not None


WEIGHT, BIAS, X = np.array([[3.0, 4.0], [0.0, 2.0]]), np.array([1.0, 2.0]), np.array([[1.0, 3.0]])


def layer_output(answer):
    answer.Tensor.recording = True
    layer = answer.WeightNorm(WEIGHT, BIAS)
    layer.v.data, layer.g.data = 2 * WEIGHT, np.array([10.0, 2.0])
    return layer(answer.Tensor(X)).data


for cause, w, old, new in (
    ("The division by ‖v‖ is missing.", [[60, 80], [0, 8]], "self.g / sum(self.v**2, axis=1) ** 0.5", "self.g"),
    (
        "It divides by ‖v‖² instead of ‖v‖: the root is missing.",
        [[0.6, 0.8], [0, 0.5]],
        "sum(self.v**2, axis=1) ** 0.5",
        "sum(self.v**2, axis=1)",
    ),
    (
        "It takes the length of all of v; each row has a length of its own.",
        np.array([[60, 80], [0, 8]]) / np.sqrt(116),
        "sum(self.v**2, axis=1) ** 0.5",
        "sum(self.v**2) ** 0.5",
    ),
    (
        "It takes the lengths of the columns: axis=1 is along the rows.",
        [[10, 40 / 3], [0, 8 / np.sqrt(80)]],
        "sum(self.v**2, axis=1) ** 0.5",
        "sum(self.v**2, axis=0) ** 0.5",
    ),
    (
        "It does not use g.",
        [[0.6, 0.8], [0, 1]],
        "self.g / sum(self.v**2, axis=1) ** 0.5",
        "1 / sum(self.v**2, axis=1) ** 0.5",
    ),
):
    exercise.symptom(cause, old, new)(lambda answer, w=w: equal(layer_output(answer), X @ np.array(w).T + BIAS))


@exercise.symptom(
    "g is applied column by column: its row needs a second axis, (outputs, 1).",
    "reshape(self.g / sum(self.v**2, axis=1) ** 0.5, (-1, 1)) * self.v",
    "self.g / sum(self.v**2, axis=1) ** 0.5 * self.v",
)
def by_columns(answer):
    v = 2 * WEIGHT
    return equal(layer_output(answer), X @ (np.array([10.0, 2.0]) / np.linalg.norm(v, axis=1) * v).T + BIAS)


@exercise.symptom("The transpose is missing: x wᵀ.", "x @ transpose(w)", "x @ w")
def untransposed(answer):
    return equal(layer_output(answer), X @ np.array([[6, 8], [0, 2.0]]) + BIAS)


@exercise.symptom("The bias is missing.", "return x @ transpose(w) + self.b", "return x @ transpose(w) + 0 * self.b")
def unbiased(answer):
    return equal(layer_output(answer), X @ np.array([[6, 8], [0, 2.0]]).T)


@exercise.symptom(
    "g begins as ones: it is to begin as the lengths of the rows, so that w begins as weight.",
    "Tensor(np.linalg.norm(weight, axis=1))",
    "Tensor(np.ones(len(weight)))",
)
def ones(answer):
    return equal(answer.WeightNorm(WEIGHT, BIAS).g.data, [1, 1])


@exercise.symptom(
    "Lengths are constants in it (.data), and ∇_v L lacks what comes through ‖v‖.",
    "sum(self.v**2, axis=1) ** 0.5",
    "np.linalg.norm(self.v.data, axis=1)",
)
def constant_lengths(answer):
    layer = answer.WeightNorm(WEIGHT, BIAS)
    layer(answer.Tensor(X)).backward(answer.Tensor([[1.0, 1.0]]))
    return equal(layer.v.grad.data, np.vstack([X, X]))


@exercise.symptom(
    "A parameter without a gradient goes on with its velocity: it is to stay as it is, and its velocity, too.",
    "            if parameter.grad is not None:\n"
    "                self.velocities[i] = self.momentum * self.velocities[i] + parameter.grad.data\n",
    "            if True:\n                slope = 0.0 if parameter.grad is None else parameter.grad.data\n"
    "                self.velocities[i] = self.momentum * self.velocities[i] + slope\n",
)
def goes_on(answer):
    p = answer.Tensor([1.0])
    optimizer = answer.SGD([p], lr=0.5, momentum=0.5)
    p.grad = answer.Tensor([2.0])
    optimizer.step()
    before, p.grad = p.data[0], None
    optimizer.step()
    return before == 0.0 and p.data[0] != before


@exercise.symptom(
    "The step is made with the velocity before its update: the gradient comes in first.",
    "                self.velocities[i] = self.momentum * self.velocities[i] + parameter.grad.data\n"
    "                parameter.data = parameter.data - self.lr * self.velocities[i]\n",
    "                parameter.data = parameter.data - self.lr * self.velocities[i]\n"
    "                self.velocities[i] = self.momentum * self.velocities[i] + parameter.grad.data\n",
)
def too_late(answer):
    return stepped(answer, 0.0, 1) == 1.0 and stepped(answer, 0.0, 2) == 0.0

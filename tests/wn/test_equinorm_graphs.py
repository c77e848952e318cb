"""Equi-normalization of networks with shortcuts: beside loops over explicit graphs, and what is refused."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import wn
from minigrad import nn, optim
from minigrad.nn import functional as F
from tests.devices import given_on_each_device, on

seeds = st.integers(0, 2**32 - 1)
c_and_p = {"c": st.sampled_from([1.0, 1.2]), "p": st.sampled_from([1, 2, 3])}

# ---- random residual networks ---------------------------------------------------------------------------------------


class Residual(nn.Module):
    """body(x) + shortcut(x), where an empty Sequential is the identity."""

    def __init__(self, body, shortcut):
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x):
        return self.body(x) + self.shortcut(x)


class More(nn.Module):
    """The identity between shapes: features or maps of zeros, and every second row and column if the stride is 2."""

    def __init__(self, extra, stride=1):
        super().__init__()
        self.extra, self.stride = extra, stride

    def forward(self, x):
        x = x if x.ndim == 2 else x[:, :, :: self.stride, :: self.stride]
        return mg.pad(x, ((0, 0), (0, self.extra), *[(0, 0)] * (x.ndim - 2)))


def activation(rng):
    return nn.LeakyReLU(0.1) if rng.integers(2) else nn.ReLU()


def block(rng, width, layer, nesting):
    """A residual block, from `width` to as many or more; (module, how many come out)."""
    more = int(rng.integers(0, 3))
    projected = more and rng.integers(2)
    if rng.integers(4) == 0:
        body = [layer(width, width + more)]  # a weight from a sum into itself, with the identity beside it
    else:
        inner = int(rng.integers(1, 4))
        body = [layer(width, inner), activation(rng)]
        if nesting and rng.integers(2):
            nested, inner = block(rng, inner, layer, nesting - 1)
            body += [nested, activation(rng)]
        body.append(layer(inner, width + more))
    if projected or (not more and rng.integers(3) == 0):
        shortcut = layer(width, width + more)
    else:
        shortcut = More(more) if more else nn.Sequential()
    return Residual(nn.Sequential(*body), shortcut), width + more


def dense(seed):
    rng = np.random.default_rng(seed)

    def layer(inputs, outputs):
        return nn.Linear(inputs, outputs, bias=bool(rng.integers(2)), rng=rng)

    width = int(rng.integers(1, 4))
    layers = [layer(3, width), activation(rng)]
    for _ in range(int(rng.integers(1, 4))):
        made, width = block(rng, width, layer, nesting=1)
        layers += [made, activation(rng)]
    model = nn.Sequential(*layers, layer(width, 2), nn.ELU())
    return sized(model, rng), rng.standard_normal((5, 3))


def images(seed):
    """Convolutions of 3 × 3 and 1 × 1, pooling, blocks that halve the side in both ways, a flatten, dropout."""
    rng = np.random.default_rng(seed)

    def layer(inputs, outputs):
        kernel = int(rng.choice([1, 3]))
        return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bool(rng.integers(2)), rng=rng)

    width = int(rng.integers(1, 4))
    layers = [nn.GaussianNoise(0.1, rng), layer(2, width), activation(rng)]
    made, width = block(rng, width, layer, nesting=1)
    layers += [made, activation(rng), nn.Dropout(0.3, rng)]
    halved = nn.Conv2d(width, width + 1, 3, stride=2, padding=1, rng=rng)
    shortcut = nn.Conv2d(width, width + 1, 1, stride=2, rng=rng) if rng.integers(2) else More(1, 2)
    layers += [Residual(nn.Sequential(halved, nn.ReLU(), layer(width + 1, width + 1)), shortcut), nn.ReLU()]
    made, width = block(rng, width + 1, layer, nesting=0)
    layers += [made, nn.MaxPool2d(2) if rng.integers(2) else nn.AvgPool2d(2), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(width, 3, rng=rng))
    return sized(model, rng), rng.standard_normal((3, 2, 4, 4))


def sized(model, rng):
    """In float64, with rows of very different sizes."""
    for p in model.parameters():
        p.data = rng.standard_normal(p.shape) * np.exp(rng.normal(size=(len(p),) + (1,) * (p.ndim - 1)))
    return model.eval()


# ---- the same graph and the same algorithm, in loops ----------------------------------------------------------------


class Graph:
    """Which unit each row and column of each weight belongs to; unit 0 is everything that is not rescaled."""

    def __init__(self, model, inputs):
        self.count, self.weights, self.equal = 1, [], []
        outputs, self.deepest = self.wire(model, [0] * inputs, 0)
        self.equal += [(unit, 0) for unit in outputs]
        label = list(range(self.count))
        while any(label[a] != label[b] for a, b in self.equal):
            for a, b in self.equal:
                label[a] = label[b] = min(label[a], label[b])
        self.weights = [
            (layer, [label[u] for u in rows], [label[u] for u in columns], k)
            for layer, rows, columns, k in self.weights
        ]

    def wire(self, module, units, depth):
        """The units that come out, None for a zero; and how many weights lead there."""
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            columns = [0 if u is None else u for u in units for _ in range(module.weight.shape[1] // len(units))]
            rows = list(range(self.count, self.count + len(module.weight)))
            self.count += len(rows)
            self.weights.append((module, rows, columns, depth + 1))
            return rows, depth + 1
        if isinstance(module, Residual):
            (a, one), (b, other) = self.wire(module.body, units, depth), self.wire(module.shortcut, units, depth)
            self.equal += [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
            return [y if x is None else x for x, y in zip(a, b, strict=True)], max(one, other)
        if isinstance(module, nn.Sequential):
            for layer in module:
                units, depth = self.wire(layer, units, depth)
        elif isinstance(module, More):
            units = units + [None] * module.extra
        return units, depth

    def entries(self, c, p):
        """[c^{p(q-k)} |w|ᵖ over the kernel, unit of the row, unit of the column] for each entry of each weight."""
        found = []
        for layer, rows, columns, k in self.weights:
            w = layer.weight.numpy()
            for i, row in enumerate(rows):
                for j, column in enumerate(columns):
                    size = sum(abs(v) ** p for v in np.ravel(w[i, j]).tolist())
                    found.append([c ** (p * (self.deepest - k)) * size, row, column])
        return found

    def balanced(self, c, p, cycles=20_000):
        """The factor of each unit at the end."""
        entries = self.entries(c, p)
        touching = [[e for e in entries if e[1] != e[2] and unit in e[1:]] for unit in range(self.count)]
        scales = [1.0] * self.count
        for _ in range(cycles):
            farthest = 0.0
            for unit in range(1, self.count):
                incoming = sum(size for size, row, _ in touching[unit] if row == unit)
                outgoing = sum(size for size, _, column in touching[unit] if column == unit)
                if incoming > 0 and outgoing > 0:
                    d = (outgoing / incoming) ** (1 / (2 * p))
                    scales[unit] *= d
                    farthest = max(farthest, abs(d - 1))
                    for entry in touching[unit]:
                        entry[0] *= d**p if entry[1] == unit else d**-p
            if farthest < 1e-13:
                break
        return scales

    def norms(self, c, p):
        """Lᵖ and Rᵖ of each unit that has both."""
        incoming, outgoing = np.zeros(self.count), np.zeros(self.count)
        for size, row, column in self.entries(c, p):
            if row != column:
                incoming[row] += size
                outgoing[column] += size
        alive = (incoming > 0) & (outgoing > 0) & (np.arange(self.count) > 0)
        return incoming[alive], outgoing[alive]

    def total(self, c, p):
        return sum(entry[0] for entry in self.entries(c, p))

    def rescaled(self, scales):
        """What the parameters become, by the weight's identity."""
        for layer, rows, columns, _ in self.weights:
            w, s = layer.weight.numpy(), np.array(scales)
            factor = s[rows][:, None] / s[columns]
            bias = None if layer.bias is None else layer.bias.numpy() * s[rows]
            yield layer, w * factor.reshape(factor.shape + (1,) * (w.ndim - 2)), bias


def graph_of(model, x):
    return Graph(model, x.shape[1])


@pytest.mark.parametrize("network", [dense, images])
@given_on_each_device(seed=seeds, **c_and_p)
def test_the_function_stays(network, seed, c, p, device):
    model, x = network(seed)
    model, x = model.to(device), on(device, x)
    before = model(x).numpy()
    assert wn.equi_normalize(model, c, p, example=x) is model
    np.testing.assert_allclose(model(x).numpy(), before, rtol=0, atol=1e-10 * max(1, abs(before).max()))


@pytest.mark.parametrize("network", [dense, images])
@given(seed=seeds, **c_and_p)
def test_it_is_what_loops_over_the_graph_find(network, seed, c, p):
    model, x = network(seed)
    graph = graph_of(model, x)
    wanted = list(graph.rescaled(graph.balanced(c, p)))
    wn.equi_normalize(model, c, p, cycles=20_000, tolerance=1e-13, example=x)
    for layer, weight, bias in wanted:
        np.testing.assert_allclose(layer.weight.numpy(), weight, rtol=1e-10)
        if bias is not None:
            np.testing.assert_allclose(layer.bias.numpy(), bias, rtol=1e-10)


@pytest.mark.parametrize("network", [dense, images])
@given(seed=seeds, **c_and_p)
def test_no_cycle_increases_the_sum_and_at_the_end_the_norms_are_equal(network, seed, c, p):
    model, x = network(seed)
    graph, balance = graph_of(model, x), wn.EquiNormalizer(model, x, c, p)
    sums = [graph.total(c, p)]
    for _ in range(5):
        balance()
        sums.append(graph.total(c, p))
        assert balance.total() == pytest.approx(sums[-1], rel=1e-12)
    assert all(after <= before * (1 + 1e-12) for before, after in itertools.pairwise(sums)), sums
    balance(20_000, 1e-13)
    incoming, outgoing = graph.norms(c, p)
    np.testing.assert_allclose(incoming, outgoing, rtol=1e-9)
    found = np.sort(balance.norms(), axis=1)
    np.testing.assert_allclose(found[:, found.min(axis=0) > 0], np.sort([incoming, outgoing], axis=1) ** (1 / p), 1e-9)
    assert balance() < 1e-11


@pytest.mark.parametrize("network", [dense, images])
@given(seed=seeds, **c_and_p)
def test_the_end_does_not_depend_on_which_equivalent_network_one_starts_from(network, seed, c, p):
    (model, x), (other, _) = network(seed), network(seed)
    graph = graph_of(other, x)
    scales = np.exp(np.random.default_rng(seed).normal(size=graph.count))
    scales[0] = 1
    for layer, weight, bias in list(graph.rescaled(scales)):
        layer.weight.data = weight
        if bias is not None:
            layer.bias.data = bias
    before = model(x).numpy()
    np.testing.assert_allclose(other(x).numpy(), before, rtol=0, atol=1e-10 * max(1, abs(before).max()))
    for m in (model, other):
        wn.equi_normalize(m, c, p, cycles=20_000, tolerance=1e-13, example=x)
    for name, array in model.state_dict().items():
        np.testing.assert_allclose(other.state_dict()[name], array, rtol=1e-9, err_msg=name)


@given(seed=seeds, **c_and_p)
def test_where_there_are_no_shortcuts_an_example_changes_nothing(seed, c, p):
    rng = np.random.default_rng(seed)
    layers = [nn.Conv2d(2, 3, 3, rng=rng), nn.ReLU(), nn.ConvTranspose2d(3, 2, 2, 2, rng=rng), nn.LeakyReLU()]
    layers += [nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 4, bias=False, rng=rng), nn.ReLU(), nn.Linear(4, 2, rng=rng)]
    model = sized(nn.Sequential(*layers), rng)
    state, x = model.state_dict(), rng.standard_normal((2, 2, 4, 4))
    wanted = wn.equi_normalize(model, c, p, cycles=7).state_dict()
    model.load_state_dict(state)
    for name, array in wn.equi_normalize(model, c, p, cycles=7, example=x).state_dict().items():
        np.testing.assert_allclose(array, wanted[name], rtol=1e-12)


# ---- other graphs ---------------------------------------------------------------------------------------------------


class Of(nn.Module):
    """A network with some layers and a forward pass of one's own."""

    def __init__(self, forward, **layers):
        super().__init__()
        self._forward = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self._forward(self, x)


def three(rng, **more):
    return {name: nn.Linear(4, 4, rng=rng) for name in "abc"} | more


def overlapping(m, x):
    a, b, both = m.a(x), m.b(x), m.a2(x)
    return m.c(mg.relu(b + both)) + mg.relu(a + both) @ m.matrix


GRAPHS = {  # what passes scales on in other ways
    "concatenation": lambda m, x: m.c(mg.relu(mg.concatenate([m.a(x)[:, :2], m.b(mg.relu(m.a2(x)))[:, 2:]], axis=1))),
    "halves added": lambda m, x: m.c(mg.concatenate([(h := mg.relu(m.a(x)))[:, :2] + h[:, 2:], h[:, 2:]], axis=1)),
    "split and flipped": lambda m, x: m.c(mg.flip(mg.relu(m.a(x)), 1) + mg.relu(m.b(x))),
    "maximum of two": lambda m, x: m.c(mg.maximum(m.a(x), m.b(x))),
    "absolute value, halved": lambda m, x: m.c(0.5 * mg.abs(m.a(x)) - m.b(x) / 3),
    "the input joins": lambda m, x: m.c(mg.relu(m.b(mg.relu(m.a(x)))) + x),
    "through the mean": lambda m, x: m.c(mg.relu(m.a(x)) - mg.mean(m.b(x), axis=1, keepdims=True)),
    "a learned vector added": lambda m, x: m.c(mg.relu(m.a(x)) + m.vector),
    "a learned factor of the input": lambda m, x: m.c(mg.relu(m.a(x * m.vector)) + m.b(x)),
    "a computed factor of the input": lambda m, x: m.c(mg.relu(m.a(x * mg.exp(m.vector))) + m.b(x)),
    "transposed and back": lambda m, x: m.c(mg.swapaxes(mg.relu(mg.swapaxes(m.a(x), 0, 1)), 0, 1)),
    "matrix product": lambda m, x: m.c(mg.relu(x @ m.matrix)),
    "tanh of the input": lambda m, x: m.c(mg.relu(m.a(mg.tanh(x)))),
    "softmax of the output": lambda m, x: mg.softmax(m.c(mg.relu(m.a(x))) * m.vector + 1),
    "sums with a summand in common": overlapping,
    "a weight behind a sum with itself": lambda m, x: m.c((h := mg.relu(m.a(x))) + mg.relu(m.b(h))),
}


@pytest.mark.parametrize("name", GRAPHS)
@given(seed=seeds)
def test_the_function_stays_and_the_norms_become_equal_whatever_joins_the_layers(name, seed):
    rng = np.random.default_rng(seed)
    own = {"vector": nn.Parameter(np.ones(4)), "matrix": nn.Parameter(np.ones((4, 4))), "a2": nn.Linear(4, 4, rng=rng)}
    model, x = sized(Of(GRAPHS[name], **three(rng, **own)), rng), rng.standard_normal((5, 4))
    before, state = model(x).numpy(), model.state_dict()
    balance = wn.EquiNormalizer(model, x)
    balance(20_000, 1e-13)
    np.testing.assert_allclose(model(x).numpy(), before, rtol=0, atol=1e-10 * max(1, abs(before).max()))
    incoming, outgoing = balance.norms()
    alive = (incoming > 0) & (outgoing > 0)
    np.testing.assert_allclose(incoming[alive], outgoing[alive], rtol=1e-9)
    assert alive.any() and any((array != state[name]).any() for name, array in model.state_dict().items())


@given(seed=seeds)
def test_batch_normalization_keeps_the_layer_before_and_carries_the_scale_of_the_next(seed):
    rng = np.random.default_rng(seed)

    def conv(inputs):
        return nn.Sequential(nn.Conv2d(inputs, 3, 3, padding=1, bias=False, rng=rng), nn.BatchNorm(3))

    body = nn.Sequential(conv(3), nn.ReLU(), conv(3))
    shortcut = [nn.Sequential(), conv(3)][rng.integers(2)]
    last = nn.Sequential(nn.Conv2d(3, 3, 3, rng=rng), nn.BatchNorm(3))
    model = nn.Sequential(conv(2), nn.ReLU(), Residual(body, shortcut), nn.ReLU(), *last)
    sized(model, rng).train()
    x = rng.standard_normal((4, 2, 5, 5))
    model(x)  # running averages other than those of the start
    state = model.state_dict()

    def outputs():
        found = [model.eval()(x).numpy(), model.train()(x).numpy()]
        for name, buffer in model.named_buffers():
            buffer.data = state[name]
        return found

    before = outputs()
    balance = wn.EquiNormalizer(model.eval(), x)
    assert not any(module.training for module in model.modules())
    for name, buffer in model.named_buffers():
        np.testing.assert_array_equal(buffer.numpy(), state[name])
    balance(20_000, 1e-13)
    for found, wanted in zip(outputs(), before, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10 * max(1, abs(wanted).max()))
    np.testing.assert_allclose(*balance.norms(), rtol=1e-9)
    gamma, following = body[0][1].weight.numpy(), body[2][0].weight.numpy()
    np.testing.assert_allclose(np.square(gamma), np.square(following).sum(axis=(0, 2, 3)), rtol=1e-9)


# ---- training -------------------------------------------------------------------------------------------------------


def test_once_prepared_it_stays_right_while_the_network_learns():
    model, x = images(0)
    for p in model.parameters():
        p.data = 0.5 * p.data / np.linalg.norm(p.data)
    balance = wn.EquiNormalizer(model, x, optimizer=(optimizer := optim.SGD(model.parameters(), 0.01, momentum=0.9)))
    for step in range(4):
        optimizer.zero_grad()
        mg.sum(mg.square(model(x + step))).backward()
        optimizer.step()
        before = model(x).numpy()
        assert balance() > 1e-9
        np.testing.assert_allclose(model(x).numpy(), before, rtol=0, atol=1e-10 * max(1, abs(before).max()))
    wn.apply_weight_norm(model)
    with pytest.raises(ValueError, match="make a new EquiNormalizer"):
        balance()


@pytest.mark.parametrize("kind", [lambda p: optim.SGD(p, 0.0, momentum=0.9), lambda p: optim.Adam(p, 0.0)])
@pytest.mark.parametrize("network", [dense, images])
def test_what_an_optimizer_remembers_becomes_what_it_would_have_seen(kind, network):
    def remembered(model, x, equi_normalized):
        optimizer = kind(model.parameters())
        for batch in (x, x[:2]):
            model.zero_grad()
            mg.sum(mg.square(model(batch))).backward()
            optimizer.step()
        if equi_normalized:
            wn.equi_normalize(model, optimizer=optimizer, example=x)
        return optimizer.state_dict()["state"]

    model, x = network(1)
    for after, wanted in zip(remembered(model, x, True), remembered(model, x, False), strict=True):
        for name, array in wanted.items():
            np.testing.assert_allclose(after[name], array, rtol=1e-9, atol=1e-9 * np.abs(array).max())


def test_to_look_at_a_model_changes_nothing():
    rng = np.random.default_rng(0)
    first = nn.Linear(3, 4, rng=rng)
    first.weight.requires_grad = False
    model = nn.Sequential(first, nn.BatchNorm(4), nn.ReLU(), nn.Dropout(0.5, rng), nn.Linear(4, 2, rng=rng)).train()
    model[3].eval()
    optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9)
    state, draws, x = model.state_dict(), rng.bit_generator.state, np.ones((4, 3), np.float32) * np.arange(4)[:, None]
    with mg.no_grad():
        wn.EquiNormalizer(model, x.astype(np.float32), optimizer=optimizer)
    assert rng.bit_generator.state == draws and not first.weight.requires_grad and optimizer.state == [{}] * 6
    assert [m.training for m in model.modules()] == [True, True, True, True, False, True]
    assert all((array == state[name]).all() for name, array in model.state_dict().items())


# ---- what is refused ------------------------------------------------------------------------------------------------

CONSTANT = np.ones(4)
REFUSED = {
    "tanh": (lambda m, x: m.c(mg.tanh(m.a(x))), "tanh in Of does not commute"),
    "sigmoid": (lambda m, x: m.c(mg.sigmoid(m.a(x))), "sigmoid in Of"),
    "softmax": (lambda m, x: m.c(mg.softmax(m.a(x))), "softmax in Of"),
    "behind a sum": (lambda m, x: m.c(mg.tanh(m.a(x) + m.b(x))), "tanh in Of"),
    "a number added": (lambda m, x: m.c(m.a(x) + 1), "add in Of puts a constant beside hidden units"),
    "an array added": (lambda m, x: m.c(mg.relu(m.a(x) - CONSTANT)), "subtract in Of puts a constant"),
    "relu of another kind": (lambda m, x: m.c(mg.maximum(m.a(x), 1)), "maximum in Of puts a constant"),
    "noise": (lambda m, x: m.c(m.noise(m.a(x))), "add in GaussianNoise at 'noise' puts a constant"),
    "a product": (lambda m, x: m.c(m.a(x) * m.b(x)), "multiply in Of multiplies hidden units by hidden units"),
    "a quotient": (lambda m, x: m.c(x / m.b(x)), "divide in Of"),
    "a square": (lambda m, x: m.c(mg.square(m.a(x))), "square in Of"),
    "a learned factor": (lambda m, x: m.c(m.a(x) * m.vector), "multiply in Of multiplies hidden units by a parameter"),
    "layer norm": (lambda m, x: m.c(m.layer(m.a(x))), "normalize in LayerNorm at 'layer'"),
    "group norm": (lambda m, x: m.c(m.group(m.a(x))), "normalize in GroupNorm at 'group'"),
    "mean-only batch norm": (lambda m, x: m.c(m.mean_only(m.a(x))), "in MeanOnlyBatchNorm at 'mean_only'"),
    "weight norm": (lambda m, x: m.c(m.normal(m.a(x))), "weight of Linear at 'normal' is computed.*remove_weight_norm"),
    "masked": (lambda m, x: m.c(m.masked(m.a(x))), "weight of MaskedLinear at 'masked' is computed"),
    "used twice": (lambda m, x: m.a(mg.relu(m.a(x))), "Linear at 'a' shares its weights"),
    "a weight added": (lambda m, x: m.c(m.a(x) + m.a.weight[0]), "a weight is used in two ways"),
    "detached": (lambda m, x: m.c((h := m.a(x)) * h.detach()), "its tape does not show"),
    "compared": (lambda m, x: m.c((h := m.a(x)) * (h > 0.5)), "its tape does not show"),
    "no tensor": (lambda m, x: (m.a(x), m.b(x)), "must make a tensor"),
    "nothing of the input": (lambda m, x: x.detach(), "must make a tensor"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_change_the_function_is_refused_by_name_and_nothing_changes(name):
    forward, message = REFUSED[name]
    rng = np.random.default_rng(0)
    layers = {"noise": nn.GaussianNoise(0.1, rng), "layer": nn.LayerNorm(4), "group": nn.GroupNorm(2, 4)}
    layers |= {"mean_only": wn.MeanOnlyBatchNorm(4), "normal": wn.WeightNorm(nn.Linear(4, 4, rng=rng))}
    layers |= {"masked": nn.MaskedLinear(np.tri(4), rng=rng), "vector": nn.Parameter(np.ones(4))}
    model, x = Of(forward, **three(rng, **layers)), rng.standard_normal((6, 4))
    before = model.state_dict()
    with pytest.raises(ValueError, match=message):
        wn.equi_normalize(model, example=x)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_without_an_example_a_graph_is_refused():
    with pytest.raises(ValueError, match="example=x"):
        wn.equi_normalize(Residual(nn.Linear(3, 3), nn.Sequential()))


def test_the_gradient_of_a_network_with_noise_at_its_input_is_that_of_the_rescaled_one():
    """In training, with the same draws, loss and function are the same."""
    model, x = images(3)
    model.train()
    rng = model[0].rng
    draws = rng.bit_generator.state
    before = F.mse_loss(model(mg.tensor(x)), np.zeros((3, 3))).item()
    wn.equi_normalize(model, example=x)
    rng.bit_generator.state = draws
    assert F.mse_loss(model(mg.tensor(x)), np.zeros((3, 3))).item() == pytest.approx(before, rel=1e-10)

"""A function that replays what it asked of the GPU comes to what it comes to without."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import backend, nn, optim
from minigrad.fast.cuda import gpu
from minigrad.nn import functional as F
from tests.conftest import REAL
from tests.devices import host
from tests.test_devices import MODELS, OPTIMIZERS, Training, nothing_copied_to_the_host

# On the stand-in the same functions compute the same. On a GPU cuBLAS may take other sums in its other workspace: a few
# roundings of float32, made larger by Adam, whose steps divide small gradients by their size.
TOLERANCE = {"rtol": 1e-3, "atol": 1e-5} if REAL else {"rtol": 0, "atol": 0}


def same(found, wanted):
    assert type(found) is type(wanted)
    if isinstance(found, (list, tuple)):
        assert len(found) == len(wanted)
        for f, w in zip(found, wanted, strict=True):
            same(f, w)
    elif isinstance(found, dict):
        assert found.keys() == wanted.keys()
        for key in found:
            same(found[key], wanted[key])
    elif isinstance(found, (mg.Tensor, np.ndarray)) or backend.is_array(found):
        assert host(found).dtype == host(wanted).dtype and found.shape == wanted.shape
        np.testing.assert_allclose(host(found), host(wanted), **TOLERANCE)
    else:
        assert found == wanted


def generators(model):
    return [layer.rng.bit_generator.state for layer in model.modules() if hasattr(layer, "rng")]


def trained(name, make, device, graph, steps=5):
    """All that a few steps leave behind: results, gradients, the model's state, the optimizer's, the generators'."""
    training = Training(name, OPTIMIZERS[make], device)
    model, optimizer = training.model, training.optimizer

    def gradients(x, y):
        out = model(x)
        loss = training.loss(out, y)
        loss.backward()
        return loss, out

    call = mg.cuda_graph(gradients, model) if graph else gradients
    seen = []
    for step in range(steps):
        x = mg.Tensor(backend.array_module(training.x._data).roll(training.x._data, step, axis=-1))  # other numbers
        optimizer.zero_grad()
        loss, out = call(x, training.y)
        seen.append((loss.numpy(), out.numpy(), [host(p.grad) for p in model.parameters()]))
        optimizer.step()
        optimizer.lr *= 0.7
    return seen, model.state_dict(), optimizer.state_dict(), generators(model)


@pytest.mark.parametrize("name", MODELS)
def test_training_by_a_graph_is_training(name, cuda):
    same(trained(name, "Adam", cuda, True), trained(name, "Adam", cuda, False))


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_every_optimizer_steps_outside_of_the_graph(make, cuda):
    same(trained("perceptron", make, cuda, True), trained("perceptron", make, cuda, False))


def test_on_the_cpu_the_function_runs():
    same(trained("perceptron", "SGD", "cpu", True), trained("perceptron", "SGD", "cpu", False))


class Linear:
    """A small function with parameters; it counts how often its Python runs."""

    def __init__(self, device, *layers):
        self.model = nn.Sequential(*layers, nn.Linear(4, 3, rng=np.random.default_rng(0))).to(device)
        self.runs = 0
        self.graph = mg.cuda_graph(self, self.model)

    def __call__(self, x):
        self.runs += 1
        out = self.model(x)
        loss = mg.square(out).sum()
        if mg.graph.state.recording:
            loss.backward()
        return loss, out

    def both(self, x):
        """(what the graph comes to, what the function does), each time with the gradients."""
        found = self.graph(x), [p.grad for p in self.model.parameters()]
        self.model.zero_grad()
        wanted = self(x), [p.grad for p in self.model.parameters()]
        self.model.zero_grad()
        return found, (tuple(r.detach() for r in wanted[0]), wanted[1])


def numbers(seed, device, rows=5):
    x = np.random.default_rng(seed).standard_normal((rows, 4)).astype(np.float32)
    return mg.tensor(x, device=device)


def test_from_the_third_call_on_no_python_of_the_function_runs(cuda):
    linear = Linear(cuda)
    for call in range(5):
        linear.graph(numbers(call, cuda))
    assert linear.runs == 2
    with nothing_copied_to_the_host():
        linear.graph(numbers(5, cuda))


def test_what_one_call_gave_the_next_leaves_alone(cuda):
    linear = Linear(cuda, nn.BatchNorm(4))
    kept = []
    for call in range(5):
        linear.model.zero_grad()
        results = linear.graph(numbers(call, cuda))
        held = [*results, *(p.grad for p in linear.model.parameters()), *linear.model.buffers()]
        kept.append(([t._data for t in held], [host(t).copy() for t in held]))
    for arrays, values in kept:
        same([host(a) for a in arrays], values)


def test_parameters_may_change_between_calls(cuda):
    linear = Linear(cuda)
    for call in range(5):
        for p in linear.model.parameters():
            p.data = p.data * (1 + call)
        same(*linear.both(numbers(call, cuda)))
    state = {name: np.flip(value).copy() for name, value in linear.model.state_dict().items()}
    linear.model.load_state_dict(state)
    same(*linear.both(numbers(9, cuda)))


def test_gradients_are_added_to_those_that_are_there(cuda):
    linear, plain = Linear(cuda), Linear(cuda)
    for call in range(4):
        linear.graph(numbers(call, cuda))
        plain(numbers(call, cuda))
        same([p.grad for p in linear.model.parameters()], [p.grad for p in plain.model.parameters()])


def test_other_shapes_and_modes_are_recorded_for_themselves(cuda):
    linear = Linear(cuda, nn.BatchNorm(4), nn.Dropout(0.5, np.random.default_rng(3)))
    rng = linear.model[1].rng
    for call in range(4):
        for rows, training in [(5, True), (7, True), (5, False)]:
            linear.model.train(training)
            before = rng.bit_generator.state, [b.data for b in linear.model.buffers()]
            found = linear.graph(numbers(call, cuda, rows)), [p.grad for p in linear.model.parameters()]
            after = rng.bit_generator.state, [b.data for b in linear.model.buffers()]
            linear.model.zero_grad()
            rng.bit_generator.state = before[0]
            for buffer, array in zip(linear.model.buffers(), before[1], strict=True):
                buffer.data = array
            wanted = linear(numbers(call, cuda, rows)), [p.grad for p in linear.model.parameters()]
            same(found, (tuple(r.detach() for r in wanted[0]), wanted[1]))
            same(after, (rng.bit_generator.state, [b.data for b in linear.model.buffers()]))
            linear.model.zero_grad()
    runs = linear.runs
    linear.graph(numbers(0, cuda))
    assert linear.runs == runs, "a graph recorded before is kept"


def test_another_generator_is_noticed(cuda):
    linear = Linear(cuda, nn.Dropout(0.5, np.random.default_rng(3)))
    for seed in (3, 4):
        linear.model[0].rng = np.random.default_rng(seed)
        found = [linear.graph(numbers(call, cuda)) for call in range(4)]
        linear.model[0].rng = np.random.default_rng(seed)
        same(found, [tuple(r.detach() for r in linear(numbers(call, cuda))) for call in range(4)])


def test_without_recording_there_is_no_tape_in_the_graph_either(cuda):
    linear = Linear(cuda)
    linear.model.eval()
    for call in range(4):
        with mg.no_grad():
            found = linear.graph(numbers(call, cuda))
            same(found, tuple(linear(numbers(call, cuda))))
        assert all(p.grad is None for p in linear.model.parameters())


def test_plain_arrays_and_numbers_of_any_order_are_inputs_too(cuda):
    weight = mg.tensor(np.arange(12.0, dtype=np.float32).reshape(3, 4), device=cuda)
    graph = mg.cuda_graph(lambda a, labels: F.cross_entropy(mg.tensor(a) @ weight.T, labels))
    xp = backend.module_for(cuda)
    for call in range(4):
        a = xp.asarray(np.random.default_rng(call).standard_normal((4, 5)).astype(np.float32))
        a = a.T if call % 2 else xp.ascontiguousarray(a.T)
        labels = xp.asarray(np.random.default_rng(call).integers(0, 3, 5))
        same(graph(a, labels), F.cross_entropy(mg.tensor(a) @ weight.T, labels).detach())


def test_gradients_of_gradients_are_recorded_like_anything_else(cuda):
    x0 = np.linspace(-1, 1, 6).astype(np.float32)

    def curvature(x):
        x = mg.tensor(x, requires_grad=True)
        (slope,) = mg.grad([(mg.tanh(x) ** 2).sum()], [x], create_graph=True)
        return mg.grad(mg.square(slope).sum(), x)

    graph = mg.cuda_graph(curvature)
    for call in range(4):
        x = mg.tensor(x0 + call / 7, device=cuda)
        same(graph(x), curvature(x).detach())


def test_numbers_from_the_host_keep_their_memory_to_themselves(cuda):
    """Memory found while recording might have been another array's, earlier in the function: a replay, which begins
    with the new numbers in place, would then write into them."""
    made = []

    def function():
        made.append(gpu.from_host(lambda: np.arange(3.0)))
        return made[-1] + 1

    recording = gpu.Recording()
    recording.rehearse(function)
    result = recording.record(function)
    assert made[0] is made[1]
    ((place, new),) = recording.new_numbers()
    assert place is made[0]
    place[...] = new
    recording.replay()
    np.testing.assert_array_equal(host(result), [1, 2, 3])


def looks_at_a_number(linear, x):
    return linear(x)[0] * float(x.data.max())


def changes_a_parameter(linear, x):
    loss, _ = linear(x)
    optim.SGD(linear.model.parameters(), 0.1).step()
    return loss


def draws_more_and_more(linear, x):
    linear.draws = getattr(linear, "draws", 0) + 1
    for _ in range(linear.draws):
        x = F.dropout(x, 0.5, np.random.default_rng(0))
    return linear(x)[0]


def copies_from_the_host(linear, x):
    return (linear.model(x) * mg.tensor(np.ones(3, np.float32)).to(x.device)).sum()


@pytest.mark.parametrize(
    "function", [looks_at_a_number, changes_a_parameter, copies_from_the_host, draws_more_and_more]
)
def test_what_cannot_be_recorded_is_refused_and_changes_nothing(function, cuda):
    linear = Linear(cuda)
    graph = mg.cuda_graph(lambda x: function(linear, x), linear.model)
    before = [p._data for p in linear.model.parameters()]
    with pytest.raises(RuntimeError, match=r"recorded|step the optimizer outside"):
        for call in range(2):
            graph(numbers(call, cuda))
    with pytest.raises(RuntimeError, match=r"recorded|step the optimizer outside"):  # nor the next time
        graph(numbers(2, cuda))
    assert all(p._data is array for p, array in zip(linear.model.parameters(), before, strict=True))
    linear.model.zero_grad()
    for call in range(4):  # and everything goes on
        same(*linear.both(numbers(call, cuda)))


def test_what_is_no_tensor_is_no_result(device):
    with pytest.raises(TypeError, match="must return a Tensor or several, not float"):
        mg.cuda_graph(lambda x: 1.0)(numbers(0, device))

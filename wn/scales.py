"""Which weights of a network may change by which factors: read off the tape of one forward pass.

Every entry of every hidden tensor carries an unknown scale. The network of another scale is an equivalent one where
each op makes, out of its inputs times their scales, its output times the output's:

- a layer with weights makes a new scale for each of its units; its weight makes up for the scales of its inputs;
- ReLU, pooling, reshaping and the like pass scales on;
- addition passes on equal scales, so it ties those of its operands. An identity shortcut ties all layers that write
  into the same sum, entry by entry; a shortcut with a weight has scales of its own up to the sum;
- the network's input and output keep the scale 1, and so does whatever goes through another function.

The scales are solved for as one solves x = y, y = z, …: a number for each unknown, the same number for those that are
tied (union-find). Ops that only move entries do so with the numbers as with any array.
"""

import contextlib
import math
from typing import NamedTuple

import numpy

import minigrad as mg
from minigrad import backend, nn
from minigrad.graph import _reachable

FIXED, ANY = 0, -1  # the number of the scale 1; that of a zero, which has every scale


class Weight(NamedTuple):
    """A weight, and the number of the scale of each of its outputs and inputs."""

    parameter: nn.Parameter
    outputs: numpy.ndarray
    inputs: numpy.ndarray
    axis: int | None  # of the outputs; the inputs are along the other one of the first two. None: an output each entry
    depth: int  # how many weights there are on the longest way from the input, this one included


class Scales(NamedTuple):
    """All that changes with the scales of a network."""

    weights: list
    values: list  # (parameter, the number of each entry's scale): biases and what else is added
    count: int  # of numbers, FIXED among them


def read_scales(model, example):
    """The Scales of any model, from the tape of its forward pass in training on an example.

    ValueError, with the op and the layer, for what does not let scales pass.
    """
    with as_in_training(model), mg.enable_grad():
        x = mg.tensor(example, requires_grad=True)
        names, take_away = _names(model)
        frozen = [p for p in model.parameters() if not p.requires_grad]
        try:
            for parameter in frozen:
                parameter.requires_grad = True
            y = model(x)
            if not isinstance(y, mg.Tensor) or y._node is None or not y.size:
                raise ValueError("equi_normalize: the model must make a tensor, not empty, out of the example")
            parameters = {p._node: p for p in model.parameters()}
            return _Walk(x._node, y._node, parameters, names).scales()
        finally:
            for parameter in frozen:
                parameter.requires_grad = False
            for remove in take_away:
                remove()


@contextlib.contextmanager
def as_in_training(model):
    """Within, the model is in training; afterwards its modes, buffers and generators are what they were."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.data.copy()) for buffer in model.buffers()]
    found = (value for module in model.modules() for value in vars(module).values())
    generators = [(g, g.bit_generator.state) for g in found if isinstance(g, numpy.random.Generator)]
    try:
        yield model.train()
    finally:
        for module, training in modes:
            module.training = training
        for buffer, data in buffers:
            buffer.data = data
        for generator, state in generators:
            generator.bit_generator.state = state


def _names(model):
    """A dict that the next forward pass fills, {node: the innermost layer in which it was made}; how to end that."""
    names = {}

    def hook_of(path):
        def hook(module, inputs, output):
            words = f"{type(module).__name__} at {path!r}" if path else type(module).__name__
            seen = {given._node for given in inputs if isinstance(given, mg.Tensor)}
            waiting = [output._node] if isinstance(output, mg.Tensor) else []
            while waiting:
                node = waiting.pop()
                if node is not None and node not in seen:
                    seen.add(node)
                    names.setdefault(node, words)
                    waiting.extend(node.parents)

        return hook

    return names, [module.register_forward_hook(hook_of(path)) for path, module in model.named_modules()]


class _Walk:
    """Goes through a tape once, oldest first; `numbers[node]` has the node's shape."""

    def __init__(self, x, y, parameters, names):
        self.parameters, self.names = parameters, names
        self.tied_to = [FIXED]  # union-find: the root of each tree is its smallest number
        self.numbers, self.depth = {x: numpy.broadcast_to(FIXED, x.shape)}, {x: 0}
        self.values, self.weights, self.demands = {}, {}, []
        self.entrywise = set()  # parameters that multiply entry by entry: weights and values at once
        nodes = _reachable([y])
        self.hidden = set()  # from which a weight is reached: only there is anything lost if a scale is fixed
        for node in nodes:
            if node in self.hidden or (node.op is not None and node.op.name in WEIGHTED):
                self.hidden.update(parent for parent in node.parents if parent is not None)
        for node in reversed(nodes):
            if any(parent in self.depth for parent in node.parents):
                self.depth[node] = max(self.depth[parent] for parent in node.parents if parent in self.depth)
                self.numbers[node] = self.number(node)
        self.tie(self.numbers[y], FIXED)

    def number(self, node):
        return numpy.broadcast_to(RULES.get(node.op.name, _other)(self, node), node.shape)

    def of(self, node, i):
        """The numbers of operand i of a node."""
        parent = node.parents[i]
        if parent is None:  # a number or an array that nothing recorded leads to
            value = node.args[i]
            zero = not hasattr(value, "shape") and value == 0
            return numpy.full(getattr(value, "shape", ()), ANY if zero else FIXED)
        if parent.op is None and parent not in self.parameters and parent not in self.numbers:
            return numpy.broadcast_to(FIXED, parent.shape)  # a tensor of somebody else's
        if parent in self.parameters:
            if parent not in self.values:
                self.values[parent] = self.new(math.prod(parent.shape)).reshape(parent.shape)
            return self.values[parent]
        if parent not in self.numbers:  # made of parameters only
            self.numbers[parent] = self.number(parent)
        return self.numbers[parent]

    # ---- the unknowns -----------------------------------------------------------------------------------------------

    def new(self, count):
        first = len(self.tied_to)
        self.tied_to.extend(range(first, first + count))
        return numpy.arange(first, first + count)

    def root(self, number):
        while self.tied_to[number] != number:
            self.tied_to[number] = number = self.tied_to[self.tied_to[number]]
        return number

    def tie(self, a, b):
        """Make the scales a and b the same, entry by entry; returns them."""
        a, b = numpy.broadcast_arrays(a, b)
        shape, repeated = a.shape, [not s and not t for s, t in zip(a.strides, b.strides, strict=True)]
        a, b = _once(a, repeated), _once(b, repeated)
        differ = (a != b) & (a != ANY) & (b != ANY)
        for pair in set(zip(a[differ].tolist(), b[differ].tolist(), strict=True)):
            low, high = sorted(map(self.root, pair))
            self.tied_to[high] = low
        return numpy.broadcast_to(numpy.where(a == ANY, b, a), shape)

    def alike(self, numbers, axes):
        """Tie all entries along some axes; returns their number, with these axes of size 1."""
        if not axes:
            return numbers
        one = _once(numbers).max(axis=axes, keepdims=True, initial=ANY)
        one = numpy.broadcast_to(one, [1 if i in axes else n for i, n in enumerate(numbers.shape)])
        self.tie(numbers, one)
        return one

    def demand(self, node, numbers, what):
        """These have to turn out to be fixed, else the node is refused.

        They are fixed now where nothing is lost by it: behind the last weight, or if only parameters lead to them.
        """
        if node in self.hidden and node in self.depth:
            self.demands.append((node, _once(numbers), what))
        else:
            self.tie(numbers, FIXED)

    def is_fixed(self, numbers):
        return all(number == ANY or self.root(number) == FIXED for number in set(_once(numbers).ravel().tolist()))

    # ---- the weights ------------------------------------------------------------------------------------------------

    def weight(self, node, i, axis, inputs):
        """Operand i of a node is a weight that reads from `inputs`; returns the numbers of its outputs."""
        parameter, where = node.parents[i], self.where(node)
        if parameter is not None and parameter.op is not None and parameter.op.name == "swapaxes":
            parameter, axis = parameter.parents[0], 1 - axis
        if parameter not in self.parameters:
            raise ValueError(
                f"equi_normalize: the weight of {where} is computed; call wn.remove_weight_norm first, or make it a "
                "parameter"
            )
        if parameter in self.weights:
            raise ValueError(f"equi_normalize: {where} shares its weights with an earlier layer; copy them")
        outputs, inputs = self.new(parameter.shape[axis]), numpy.where(inputs == ANY, FIXED, inputs)
        self.weights[parameter] = Weight(self.parameters[parameter], outputs, inputs, axis, self.one_deeper(node))
        return outputs

    def one_deeper(self, node):
        if node in self.depth:
            self.depth[node] += 1
        return self.depth.get(node, 1)

    def factors(self, node, i):
        """Operand i of a node multiplies, entry by entry, what has the scale 1: it counts as a weight."""
        numbers, leaf = self.of(node, i), node.parents[i]
        while leaf is not None and leaf.op is not None and leaf.op.name in MOVED:
            leaf = leaf.parents[0]
        if leaf in self.parameters and leaf not in self.weights:
            outputs, inputs = self.values[leaf].ravel(), numpy.array([FIXED])
            self.weights[leaf] = Weight(self.parameters[leaf], outputs, inputs, None, self.one_deeper(node))
            self.entrywise.add(leaf)
        return numbers

    def where(self, node):
        return self.names.get(node, "the model")

    def scales(self):
        """What was found, with the numbers of ties from 0 on without gaps."""
        for node, numbers, what in self.demands:
            if not self.is_fixed(numbers):
                raise ValueError(
                    f"equi_normalize: {node.op.name} in {self.where(node)} {what}, so the function would change. "
                    "Between weights there may be what a factor passes through: ReLU, LeakyReLU, pooling, Flatten, "
                    "Dropout, sums of hidden units, batch normalization. Take this out, or normalize the parts before "
                    "and after it by themselves"
                )
        if (self.weights.keys() & self.values.keys()) - self.entrywise:
            raise ValueError("equi_normalize: a weight is used in two ways; copy it")
        roots = numpy.array([self.root(number) for number in range(len(self.tied_to))])
        used = [weight.outputs for weight in self.weights.values()] + [n.ravel() for n in self.values.values()]
        kept = numpy.unique(numpy.concatenate([[FIXED], *(roots[numbers] for numbers in used)]))

        def renumbered(numbers):
            return numpy.searchsorted(kept, roots[numbers])

        weights = [
            w._replace(outputs=renumbered(w.outputs), inputs=renumbered(w.inputs)) for w in self.weights.values()
        ]
        values = [(self.parameters[p], renumbered(n)) for p, n in self.values.items() if p not in self.weights]
        return Scales(weights, values, len(kept))


def _once(numbers, repeated=None):
    """Without repetitions along axes that were broadcast (or those given)."""
    repeated = repeated or [not stride for stride in numbers.strides]
    return numbers[tuple(slice(1) if r else slice(None) for r in repeated)]


# ---- what each op does with scales ----------------------------------------------------------------------------------


def _passes(walk, node):
    return walk.of(node, 0)


def _moves(walk, node):
    return node.op.forward(numpy, walk.of(node, 0), *map(_on_host, node.args[1:]), **node.params)


def _on_host(value):
    if isinstance(value, tuple):
        return tuple(map(_on_host, value))
    return backend.to_numpy(value) if backend.is_array(value) else value


def _pads(walk, node):
    width, value = _arguments(node, pad_width=None, value=0)
    return numpy.pad(walk.of(node, 0), width, constant_values=FIXED if value else ANY)


def _concatenates(walk, node):
    return numpy.concatenate([walk.of(node, i) for i in range(len(node.parents))], **node.params)


def _adds(walk, node):
    a, b = walk.of(node, 0), walk.of(node, 1)
    for parent, own, other in zip(node.parents, (a, b), (b, a), strict=True):
        if parent is None:
            if (own == FIXED).any():
                walk.demand(node, other, "puts a constant beside hidden units")
            return other
    return walk.tie(a, b)


def _multiplies(walk, node):
    for i, j in ((0, 1), (1, 0)):
        if node.parents[j] is None:
            return walk.of(node, i)
    for i, j in ((0, 1), (1, 0)):
        if node.parents[i] in walk.depth and node.parents[j] not in walk.depth:
            walk.demand(node, walk.of(node, i), "multiplies hidden units by a parameter")
            return walk.factors(node, j)
    a, b = walk.of(node, 0), walk.of(node, 1)
    if walk.is_fixed(a) or walk.is_fixed(b):
        return b if walk.is_fixed(a) else a
    for numbers in (a, b):
        walk.demand(node, numbers, "multiplies hidden units by hidden units")
    return FIXED


def _divides(walk, node):
    if node.parents[1] is not None:
        return _other(walk, node)
    return walk.of(node, 0)


def _reduces(walk, node):
    axis, keepdims = _arguments(node, axis=None, keepdims=False)
    axes = tuple(range(node.parents[0].ndim)) if axis is None else tuple(numpy.atleast_1d(axis).tolist())
    one = walk.alike(walk.of(node, 0), axes)
    return one if keepdims else numpy.squeeze(one, axes)


def _pools(walk, node):
    return walk.alike(walk.of(node, 0), (2, 3))


def _convolves(walk, node, axis=0):
    inputs = walk.alike(walk.of(node, 0), (0, 2, 3)).ravel()
    return _with_bias(walk, node, walk.weight(node, 1, axis, inputs))[:, None, None]


def _transposed_convolves(walk, node):
    return _convolves(walk, node, axis=1)


def _linear(walk, node):
    inputs = walk.alike(walk.of(node, 0), tuple(range(node.parents[0].ndim - 1))).ravel()
    return _with_bias(walk, node, walk.weight(node, 1, 0, inputs))


def _with_bias(walk, node, outputs):
    return walk.tie(outputs, walk.of(node, 2)) if len(node.parents) > 2 else outputs


def _matrix_product(walk, node):
    left, right = node.parents
    if right is None or right in walk.depth or left not in walk.depth or right.ndim != 2:
        return _other(walk, node)
    inputs = walk.alike(walk.of(node, 0), tuple(range(left.ndim - 1))).ravel()
    return walk.weight(node, 1, 1, inputs)


def _normalizes_batch(walk, node):
    """The layer before keeps its scale, which would not matter; γ and β take that of what comes after."""
    walk.tie(walk.alike(walk.of(node, 0), (0, *range(2, node.ndim))), FIXED)
    outputs = walk.tie(walk.factors(node, 1), walk.of(node, 2))
    return outputs.reshape(-1, *[1] * (node.ndim - 2))


def _other(walk, node):
    """A function that is not known to let factors pass: what goes in, and comes out, has the scale 1."""
    for i, parent in enumerate(node.parents):
        if parent is not None:
            walk.demand(node, walk.of(node, i), "does not commute with a factor")
    return FIXED


def _arguments(node, **defaults):
    """The parameters of a node's op by name, in order, whether they were given by position or by keyword."""
    given = dict(zip(defaults, node.args[len(node.parents) :], strict=False)) | node.params
    return [given.get(name, default) for name, default in defaults.items()]


MOVED = {"reshape", "transpose", "swapaxes", "flip", "getitem", "broadcast_to"}
RULES = {
    **dict.fromkeys(["relu", "leaky_relu", "abs", "negative", "astype", "to_device"], _passes),
    **dict.fromkeys(MOVED, _moves),
    **dict.fromkeys(["add", "subtract", "maximum", "minimum"], _adds),
    **dict.fromkeys(["sum", "mean", "max", "min", "norm"], _reduces),
    **dict.fromkeys(["max_pool2d", "avg_pool2d"], _pools),
    "pad": _pads, "concatenate": _concatenates, "multiply": _multiplies, "divide": _divides,
    "conv2d": _convolves, "conv2d_with_bias": _convolves, "conv2d_input_gradient": _transposed_convolves,
    "linear": _linear, "matmul": _matrix_product, "batch_norm": _normalizes_batch,
}  # fmt: skip
WEIGHTED = {"conv2d", "conv2d_with_bias", "conv2d_input_gradient", "linear", "matmul"}

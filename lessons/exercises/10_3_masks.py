"""10.3 Masks for an autoregressive network

A dense layer multiplies by weights (outputs, inputs). A mask of the same shape, 1 where a weight is allowed and 0 where
it must stay 0, says which inputs an output sees. Entries of z have the numbers 0 to latents - 1 in their order, and
each hidden unit is given one of these numbers, too. What a unit sees depends on the numbers only:

    mask(outputs, inputs, strict)
        outputs, inputs : arrays of int, (n_outputs,) and (n_inputs,), the numbers of a layer's outputs and inputs
        strict : bool
        returns array (n_outputs, n_inputs): 1 where the input's number is smaller than the output's, and, if strict is
        False, where they are equal; 0 everywhere else

Now a network: entries of z, hidden layers, and an output for each entry. A hidden unit may see entries up to its own
number, that one included, at whatever distance; the output for entry i must not see z_i, nor any entry after it. So one
layer is strict, and it is the last: if it were the first, a unit with number 0 would see nothing at all.

    masks(latents, hidden)
        latents : int, how many entries z has
        hidden : list of arrays of int, the numbers of the units in each hidden layer, in order from the entries to the
                 outputs; there may be one hidden layer, or several
        returns a list of masks, one for each layer, those of the hidden layers first, then that of the outputs

For example, three entries and one hidden layer, in which the numbers come 0, 1, 2, 1:

    first, last = masks(3, [np.array([0, 1, 2, 1])])
    first     # [[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 0]]
    last      # [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 1]]
"""

import numpy as np


def mask(outputs, inputs, strict):
    """Which inputs each output may see."""
    # solution
    allowed = outputs[:, None] > inputs if strict else outputs[:, None] >= inputs
    return allowed.astype(float)
    # end of solution


def masks(latents, hidden):
    """The masks of a network whose output i sees the entries before i only."""
    # solution
    entries = np.arange(latents)
    numbers = [entries, *hidden, entries]
    last = len(hidden)
    return [mask(numbers[layer + 1], numbers[layer], strict=layer == last) for layer in range(last + 1)]
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import BrokenLaw, Exercise, agree, hold, numbers

exercise = Exercise(
    __file__,
    'lesson 10, "Masks"',
    hints=[
        "`outputs[:, None] > inputs` compares each output with each input: an array of True and False, (n_outputs, "
        "n_inputs).",
        "Write down the numbers of all layers, one after the other: the entries, the hidden layers, the entries again. "
        "Each layer's mask is made of two neighbours in this list.",
        "`np.arange(latents)` has the numbers of the entries, and of the outputs. Only the last mask is strict.",
    ],
)


@st.composite
def layers(draw):
    """The numbers of outputs and inputs, in any order."""
    some = st.lists(st.integers(0, 4), min_size=1, max_size=4).map(np.array)
    return draw(some), draw(some)


@st.composite
def networks(draw, complete=False):
    """latents, and the numbers of the units in each hidden layer; each number is there, if so wanted."""
    latents = draw(st.integers(1, 4))
    some = st.lists(st.integers(0, latents - 1), min_size=1 - complete, max_size=3)
    hidden = draw(st.lists(some, min_size=1, max_size=2))
    return latents, [np.array([*units, *range(latents)] if complete else units) for units in hidden]


def network_of(answer, latents, hidden):
    """The masks, each of the right shape."""
    came = answer.masks(latents, [units.copy() for units in hidden])
    if not isinstance(came, (list, tuple)) or len(came) != len(hidden) + 1:
        kind = f"{len(came)} masks" if isinstance(came, (list, tuple)) else f"a {type(came).__name__}"
        raise BrokenLaw("what masks returns", kind, f"a list of {len(hidden) + 1} masks")
    sizes = [latents, *map(len, hidden), latents]
    return [
        numbers(f"the mask of layer {layer}", one, (sizes[layer], sizes[layer - 1]))
        for layer, one in enumerate(came, 1)
    ]


def paths(layers):
    """On how many paths each output depends on each entry."""
    product = layers[0]
    for layer in layers[1:]:
        product = layer @ product
    return product


@exercise.law("a mask is (n_outputs, n_inputs), and holds 0 and 1", st.tuples(layers(), st.booleans()))
def kind(answer, case):
    (outputs, inputs), strict = case
    came = numbers("the mask", answer.mask(outputs, inputs, strict), (len(outputs), len(inputs)))
    hold(np.isin(came, (0, 1)).all(), "the mask", came, "0 and 1 only")


@exercise.law(
    "an output sees inputs of smaller numbers, and of its own unless strict", st.tuples(layers(), st.booleans())
)
def definition(answer, case):
    (outputs, inputs), strict = case
    wanted = [[float(i in range(o if strict else o + 1)) for i in inputs] for o in outputs]
    agree("the mask", answer.mask(outputs, inputs, strict), wanted)


@exercise.law("there is a mask for each hidden layer, and one for the outputs", networks())
def one_for_each(answer, case):
    network_of(answer, *case)


@exercise.law("no path leads from an entry to its own output, or to one before it", networks(complete=True))
def autoregressive(answer, case):
    seen = paths(network_of(answer, *case))
    hold(not np.triu(seen).any(), "how many paths lead from entry j (columns) to output i (rows)", seen,
         "0 where j is i or more")  # fmt: skip


@exercise.law(
    "if a layer has units of all numbers, each output sees all entries before its own", networks(complete=True)
)
def everything_before(answer, case):
    seen = paths(network_of(answer, *case))
    missing = np.argwhere(np.tril(seen == 0, -1))
    hold(not len(missing), "how many paths lead from entry j (columns) to output i (rows)", seen,
         "1 or more where j is less than i")  # fmt: skip


@exercise.law(
    "a hidden unit sees the entry of its own number, if there are units of all numbers", networks(complete=True)
)
def own_entry(answer, case):
    latents, hidden = case
    came = network_of(answer, latents, hidden)
    for layer, units in enumerate(hidden, 1):
        seen = paths(came[:layer]) > 0
        agree(
            f"what units {units.tolist()} of hidden layer {layer} see", seen, [np.arange(latents) <= n for n in units]
        )


@exercise.law("no 0 could be a 1: the network would look ahead", networks(complete=True), examples=25)
def as_many_as_possible(answer, case):
    came = network_of(answer, *case)
    for layer, one in enumerate(came):
        for place in np.argwhere(one == 0):
            more = one.copy()
            more[tuple(place)] = 1
            ahead = np.triu(paths([*came[:layer], more, *came[layer + 1 :]])).any()
            what = f"output {place[0]} and input {place[1]} of layer {layer + 1}"
            hold(ahead, what, "no weight, though nothing would look ahead", "a weight")


@exercise.law("whatever the numbers are, each layer is masked by the rule", networks())
def any_numbers(answer, case):
    latents, hidden = case
    came, entries = network_of(answer, latents, hidden), np.arange(latents)
    for below, above, one in zip([entries, *hidden[:-1]], hidden, came[:-1], strict=True):
        agree("the mask of a hidden layer", one, [[float(i <= o) for i in below] for o in above])
    agree("the mask of the outputs", came[-1], [[float(i < o) for i in hidden[-1]] for o in entries])


exercise.mistake(
    "the comparison is turned around: an output sees inputs with smaller numbers, not with larger ones.",
    "outputs[:, None] > inputs if strict else outputs[:, None] >= inputs",
    "outputs[:, None] < inputs if strict else outputs[:, None] <= inputs",
)
exercise.mistake(
    "the mask is the transpose of what it should be: one row for each output.",
    "outputs[:, None] > inputs if strict else outputs[:, None] >= inputs",
    "outputs > inputs[:, None] if strict else outputs >= inputs[:, None]",
)
exercise.mistake(
    "strict has the opposite effect: with it, an output does not see inputs of its own number.",
    "if strict else",
    "if not strict else",
)
exercise.mistake(
    "strict has no effect: an output sees inputs of its own number in any case.",
    "outputs[:, None] > inputs if strict",
    "outputs[:, None] >= inputs if strict",
)
exercise.mistake(
    "strict has no effect: an output never sees inputs of its own number.",
    "else outputs[:, None] >= inputs",
    "else outputs[:, None] > inputs",
)
exercise.mistake(
    "an output sees only inputs of just the number before, or its own: all smaller numbers are allowed.",
    "outputs[:, None] > inputs if strict else outputs[:, None] >= inputs",
    "outputs[:, None] - 1 == inputs if strict else outputs[:, None] == inputs",
)
exercise.mistake(
    "places are compared, not the numbers that the units were given: units may have their numbers in any order.",
    "    allowed = ",
    "    outputs, inputs = np.arange(len(outputs)), np.arange(len(inputs))\n    allowed = ",
)
exercise.mistake(
    "every layer is strict: from layer to layer a number is lost, and outputs do not see all that is before them.",
    "strict=layer == last",
    "strict=True",
)
exercise.mistake(
    "the masks between hidden layers are strict: only that of the outputs is, or a number is lost from layer to layer.",
    "strict=layer == last",
    "strict=layer > 0",
)
exercise.mistake(
    "no layer is strict: an output sees its own entry. The last one has to be.", "strict=layer == last", "strict=False"
)
exercise.mistake(
    "the first layer is strict where the last should be, or entries are counted from 1: a unit sees its own entry.",
    "strict=layer == last",
    "strict=layer == 0",
)
exercise.mistake(
    "strict is the wrong way round: the last layer is the strict one, and the others are not.",
    "strict=layer == last",
    "strict=layer != last",
)
exercise.mistake(
    "the first layer is strict where the last should be, or entries are counted from 1: a unit sees its own entry.",
    "entries = np.arange(latents)",
    "entries = np.arange(1, latents + 1)",
)
exercise.mistake(
    "the mask of the outputs is missing.",
    "for layer in range(last + 1)]",
    "for layer in range(last)]",
)
exercise.mistake(
    "the masks come in the wrong order: those of the hidden layers first, from the entries on.",
    "    return [mask(numbers[layer + 1], numbers[layer], strict=layer == last) for layer in range(last + 1)]",
    "    return [mask(numbers[layer + 1], numbers[layer], strict=layer == last) for layer in range(last + 1)][::-1]",
)
exercise.mistake(
    "outputs and inputs have changed places in the calls of mask.",
    "mask(numbers[layer + 1], numbers[layer], strict",
    "mask(numbers[layer], numbers[layer + 1], strict",
)
exercise.mistake(
    "each hidden layer is masked as if it stood on the entries: from the second on, its inputs are units.",
    "mask(numbers[layer + 1], numbers[layer], strict=layer == last)",
    "mask(numbers[layer + 1], numbers[layer if layer == last else 0], strict=layer == last)",
)
exercise.mistake(
    "only the first hidden layer has masks here; there may be several, one on top of the other.",
    "    return [mask(numbers[layer + 1], numbers[layer], strict=layer == last) for layer in range(last + 1)]",
    "    return [mask(hidden[0], entries, False), mask(entries, hidden[0], True)]",
)

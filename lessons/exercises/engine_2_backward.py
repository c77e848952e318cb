"""engine.2 The way back

    in_order(result)      a list: the result and every tensor that it was made from, at whatever distance; each
                          once, and each before all the tensors that it was made from itself
    go_back(result, g)    a dictionary {tensor: its gradient} with the same tensors: the gradient of the result is
                          g, a Tensor of its shape; that of any other tensor is the sum of all its shares, a Tensor
    Tensor.backward(g)    goes back from this tensor (self) and adds to `.grad` of each leaf that it was made from

In `in_order(result)` you meet tensors by their `steps`, but a tensor may be reached in several ways. One order that
fits is lesson 01's: the youngest first, if each tensor knows when it was made. Each rule is called once. There may
be 2⁶⁰ paths through 60 tensors, and chains of 10,000 tensors: Python allows only 1000 calls within calls, so do it
without recursion. Keep no list of all tensors: one that nobody refers to any more must be freed.

A *leaf* is a tensor without steps. Only leaves get a `.grad`, each a Tensor of its own; a second call of backward adds
to it. `g` is a Tensor of the shape of self. When it is left out, it is 1 if self has one entry, and otherwise there is
a RuntimeError: nobody can tell which of the entries is meant. Nothing of the way back is recorded: run it within
`with recording(False):`, which is written already. (go_back itself leaves the switch alone: step 8 needs it recorded.)

For example:

    x = Tensor([3.0])
    y = multiply(x, x)
    z = add(y, x)                     # x² + x, whose derivative is 2x + 1
    in_order(z)                       # [z, y, x]
    go_back(z, Tensor([1.0]))         # {z: Tensor([1.]), y: Tensor([1.]), x: Tensor([7.])}
    z.backward()                      # x.grad.data is [7], y.grad is None
    z.backward()                      # x.grad.data is [14]
"""

# %% Laws

import gc
import weakref

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lessons.exercises import BrokenLaw, Exercise, agree, hold
from lessons.exercises.engine import array_of, equal, gradients, refused, small_integers

exercise = Exercise(
    __file__,
    "lesson 01, parts 2 and 5",
    hints=[
        "Give each tensor a number when it is made, one higher than the last: `itertools.count()` counts. Then collect"
        " the tensors with a list of those still to be looked at, and sort them by that number.",
        "go_back starts with {result: g}. In the order of in_order, each tensor's gradient is complete when its turn"
        " comes; each of its rules makes a share of it, which is added to what the source has already, if anything.",
        "backward calls go_back within `with recording(False):` and looks at all pairs (tensor, gradient) that it "
        "returns; those without steps get `.grad`, or have the gradient added to it.",
    ],
    uses=("math", "numpy", "contextlib", "copy", "itertools"),
    only_one=False,
    written_in="my_engine.py",
)


@st.composite
def programs(draw):
    """Two arrays, and up to five operations on these and on what came before."""
    given = [draw(arrays(float, (2,), elements=small_integers)) for _ in range(2)]
    steps = draw(st.integers(1, 5))
    return given, [
        (draw(st.sampled_from(["add", "multiply"])), *[draw(st.integers(0, i + 1)) for _ in "ab"]) for i in range(steps)
    ]


def words(program):
    """A program as a learner would write it: a and b are given."""
    given, operations = program
    lines = [f"{letter} = Tensor({x.tolist()})" for letter, x in zip("ab", given, strict=True)]
    return "; ".join(
        lines + [f"{'cdefg'[i]} = {op}({'abcdefg'[p]}, {'abcdefg'[q]})" for i, (op, p, q) in enumerate(operations)]
    )


def run(answer, program):
    """All tensors of a program."""
    given, operations = program
    made = [answer.Tensor(x) for x in given]
    for op, p, q in operations:
        made.append(getattr(answer, op)(made[p], made[q]))
    return made


def slopes(program):
    """For each tensor of a program the slope of the last one with respect to it, an array; None if there is none.

    By forward mode: a tangent of 1 starts where the tensor is made. Integers this small are exact.
    """
    given, operations = program
    found = []
    for start in range(len(given) + len(operations)):
        values = list(given)
        tangents = [None] * len(given)
        for i, (op, p, q) in enumerate(operations):
            a, b = (0.0 if tangents[j] is None else tangents[j] for j in (p, q))
            if start < len(given) + i and start < len(values):
                tangents[start] = np.ones(2)
                a, b = (0.0 if tangents[j] is None else tangents[j] for j in (p, q))
            used = tangents[p] is not None or tangents[q] is not None
            values.append(values[p] + values[q] if op == "add" else values[p] * values[q])
            tangents.append((a + b if op == "add" else a * values[q] + b * values[p]) + np.zeros(2) if used else None)
        if start == len(values) - 1:
            tangents[start] = np.ones(2)
        found.append(tangents[-1])
    return found


@exercise.law("in_order has each tensor once, the result first, and each before what it was made from", programs())
def order(answer, program):
    made = run(answer, program)
    came = answer.in_order(made[-1])
    names = {tensor: "abcdefg"[i] for i, tensor in enumerate(made)}
    what = f"in_order({names[made[-1]]}) after {words(program)}"
    hold(isinstance(came, (list, tuple)), what, f"a {type(came).__name__}", "a list of tensors")
    hold(all(isinstance(t, answer.Tensor) for t in came), what, came, "a list of tensors")
    letters = " ".join(names.get(tensor, "?") for tensor in came)
    wanted = [tensor for tensor, slope in zip(made, slopes(program), strict=True) if slope is not None]
    once = len(came) == len(set(came)) == len(wanted) and set(came) == set(wanted)
    hold(once, what, letters, "each once: " + " ".join(sorted(names[t] for t in wanted)))
    place = {tensor: i for i, tensor in enumerate(came)}
    early = [(t, s) for t in came for s, _ in t.steps if place[s] < place[t]]
    hold(not early, what, letters, f"{names[early[0][0]]} before {names[early[0][1]]}" if early else "")


@exercise.law("go_back gives every tensor the sum of its shares", programs())
def all_gradients(answer, program):
    made, g = run(answer, program), np.array([1.0, 2.0])
    came = answer.go_back(made[-1], answer.Tensor(g))
    hold(isinstance(came, dict), "what go_back returns", f"a {type(came).__name__}", "a dictionary")
    for name, tensor, slope in zip("abcdefg", made, slopes(program), strict=False):
        what = f"the gradient of {name} after {words(program)}; go_back({'abcdefg'[len(made) - 1]}, Tensor([1, 2]))"
        if slope is None:
            hold(tensor not in came, what, "one", "none: the result was not made from it")
        else:
            hold(tensor in came, what, "none", g * slope)
            agree(what, array_of(what, came[tensor], answer), g * slope)


@exercise.law("backward adds the gradients to .grad of the leaves, and of no other tensor", programs())
def leaves(answer, program):
    made, g = run(answer, program), np.array([1.0, 2.0])
    for times in (1, 2):
        made[-1].backward(answer.Tensor(g))
        for name, tensor, slope in zip("ab", made, slopes(program), strict=False):
            what = f"{name}.grad after {words(program)}; {times} × {'abcdefg'[len(made) - 1]}.backward(Tensor([1, 2]))"
            if slope is None:
                hold(tensor.grad is None, what, tensor.grad, None)
            else:
                agree(what, array_of(what, tensor.grad, answer), times * g * slope)
    for name, tensor in zip("cdefg", made[2:], strict=False):
        hold(tensor.grad is None, f"{name}.grad after {words(program)} and backward", tensor.grad, None)


@exercise.law("backward() starts with 1 for a tensor of one entry, and is a RuntimeError for one of several")
def start(answer):
    for shape in ((), (1,), (1, 1)):
        x = answer.Tensor(np.full(shape, 3.0))
        answer.multiply(x, x).backward()
        agree(
            f"x.grad after multiply(x, x).backward(), x of shape {shape}",
            array_of("x.grad", x.grad, answer),
            np.full(shape, 6.0),
        )
    x = answer.Tensor([1.0, 2.0])
    refused("multiply(x, x).backward(), x of shape (2,)", RuntimeError, answer.multiply(x, x).backward)


@exercise.law("a leaf's gradient with respect to itself is g")
def itself(answer):
    x = answer.Tensor([1.0, 2.0])
    x.backward(answer.Tensor([3.0, 4.0]))
    agree("x.grad after x.backward(Tensor([3, 4]))", array_of("x.grad", x.grad, answer), [3.0, 4.0])


def counted(answer, doublings):
    """How often rules are called on the way back through y ← y + y, and whether something was recorded then."""
    calls, on = [], []

    def rule(g):
        calls.append(1)
        on.append(answer.Tensor.recording)
        return g

    y = x = answer.Tensor([1.0])
    for _ in range(doublings):
        y = answer.Tensor(2 * y.data, (y, rule), (y, rule))
    y.backward()
    return len(calls), any(on), x.grad


@exercise.law("each rule is called once, with the complete gradient; nothing is recorded meanwhile")
def once(answer):
    calls, on, gradient = counted(answer, 10)
    hold(calls == 20, "how many calls of rules, ten tensors with two steps each", calls, 20)
    hold(not on, "Tensor.recording while backward calls a rule", on, False)
    hold(answer.Tensor.recording, "Tensor.recording after backward", answer.Tensor.recording, True)
    agree("the slope of ten doublings", array_of("x.grad", gradient, answer), [1024.0])


@exercise.law("60 doublings have 2⁶⁰ paths, and take no longer than 60 steps")
def paths(answer):
    y = x = answer.Tensor([1.0])
    for _ in range(60):
        y = answer.add(y, y)
    y.backward()
    agree("the slope of 60 doublings", array_of("x.grad", x.grad, answer), [2.0**60])


@exercise.law("a chain of 10,000 operations is no deeper than one of ten")
def chain(answer):
    x = answer.Tensor([1.0])
    y = x
    for _ in range(10_000):
        y = answer.add(y, x)
    try:
        y.backward()
    except RecursionError:
        wanted = "x.grad = [10001]; without recursion"
        raise BrokenLaw("10,000 times y = add(y, x), then y.backward()", "a RecursionError", wanted) from None
    agree("x.grad after 10,000 times y = add(y, x)", array_of("x.grad", x.grad, answer), [10_001.0])


def is_kept(answer):
    """Whether a tensor stays in memory that nobody refers to."""
    x = answer.Tensor([1.0])
    y = answer.multiply(x, x)
    answer.add(y, x).backward()
    reference = weakref.ref(y)
    del y
    gc.collect()
    return reference() is not None


@exercise.law("a tensor that nobody refers to any more is freed")
def freed(answer):
    hold(not is_kept(answer), "y after y = multiply(x, x); add(y, x).backward(); del y", "still in memory", "gone")


@exercise.law("gradients can be changed by their owner: each leaf has a tensor of its own")
def apart(answer):
    a, b, g = answer.Tensor([1.0]), answer.Tensor([2.0]), answer.Tensor([1.0])
    answer.add(a, b).backward(g)
    hold(a.grad is not b.grad, "a.grad and b.grad after add(a, b).backward()", "one and the same Tensor", "two Tensors")
    agree("g after add(a, b).backward(g)", g.data, [1.0])


LAST_ONE = "gradients[source] = add(gradients[source], share) if source in gradients else share"


@exercise.symptom(
    "A share replaces those that came before: the shares of a source add up.", LAST_ONE, "gradients[source] = share"
)
def replaced(answer):
    return equal(gradients(answer, lambda x: answer.multiply(x, x), [3.0])[0], [3.0])


def misplaced(answer, turned=False):
    """Whether in_order has something before a tensor that was made from it, each once, in one of some programs."""
    answer.Tensor.recording = True
    found = False
    for operations in (
        [(0, 0), (0, 2)],
        [(0, 0), (2, 0)],
        [(0, 0), (2, 0), (3, 2)],
        [(0, 0), (0, 2), (2, 3)],
        [(0, 0), (2, 2)],
    ):
        made = run(answer, ([np.ones(1)] * 2, [("add", *pair) for pair in operations]))
        came = list(answer.in_order(made[-1]))
        if len(set(came)) < len(came):
            return False
        came = came[::-1] if turned else came
        found |= any(came.index(s) < came.index(t) for t in came for s, _ in t.steps)
    return found


@exercise.symptom("The order is turned around: the oldest comes first.", "tensor.age, reverse=True)", "tensor.age)")
def turned_around(answer):
    return misplaced(answer) and not misplaced(answer, turned=True)


@exercise.symptom(
    "A tensor's turn comes before all that was made from it have had theirs: finding order is not age.",
    "found, waiting = {result}, [result]",
    "found, waiting = {result: 1}, [result]",
    "found.add(source)",
    "found[source] = 1",
    "sorted(found, key=lambda tensor: tensor.age, reverse=True)",
    "list(found)",
)
def too_early(answer):
    return misplaced(answer) and misplaced(answer, turned=True)


@exercise.symptom(
    "A tensor that is used twice is visited twice: each is to have one turn, however many paths lead to it.",
    "found, waiting = {result}, [result]",
    "found, waiting = [result], [result]",
    "            if source not in found:\n                found.add(source)\n                waiting.append(source)",
    "            found.append(source)\n            waiting.append(source)",
)
def twice(answer):
    answer.Tensor.recording = True
    x = answer.Tensor([1.0])
    y = answer.add(x, x)
    came = answer.in_order(answer.add(y, y))
    return len(came) > len(set(came)) or counted(answer, 4)[0] > 8


@exercise.symptom(
    "It calls itself: Python ends that after 1000 calls within calls. Keep a list of tensors to be looked at instead.",
    "    while waiting:\n        for source, _ in waiting.pop().steps:\n            if source not in found:\n"
    "                found.add(source)\n                waiting.append(source)\n",
    "    def visit(tensor):\n        for source, _ in tensor.steps:\n            if source not in found:\n"
    "                found.add(source)\n                visit(source)\n    visit(*waiting)\n",
)
def recursive(answer):
    answer.Tensor.recording = True
    y = x = answer.Tensor([1.0])
    for _ in range(10_000):
        y = answer.add(y, x)
    try:
        answer.go_back(y, answer.Tensor([1.0]))
    except RecursionError:
        return True
    return False


def after(answer, times=1):
    """x, y and y² after going back several times, where y = x · x."""
    answer.Tensor.recording = True
    x = answer.Tensor([3.0])
    y = answer.multiply(x, x)
    z = answer.multiply(y, y)
    for _ in range(times):
        z.backward(answer.Tensor([1.0]))
    return x, y, z


@exercise.symptom(
    ".grad is replaced: a second call of backward adds to what is there.",
    "Tensor(before + gradient.data)",
    "Tensor(gradient.data)",
)
def overwritten(answer):
    return equal(after(answer, 2)[0].grad.data, [108.0])


@exercise.symptom(
    "Tensors that were computed have a .grad, too; leaves only are to have one.", "if not tensor.steps:", "if True:"
)
def all_have_one(answer):
    x, y, z = after(answer)
    return x.grad is not None and (y.grad is not None or z.grad is not None)


@exercise.symptom(
    "backward() on several entries starts with ones; it is to be an error.",
    "if g is None and self.data.size != 1:",
    "if False:",
)
def not_refused(answer):
    answer.Tensor.recording = True
    x = answer.Tensor([1.0, 2.0])
    answer.multiply(x, x).backward()
    return True


@exercise.symptom(
    "backward() refuses one entry unless its shape is (): a tensor of shape (1,) has one entry, too. Ask for its size.",
    "if g is None and self.data.size != 1:",
    "if g is None and self.shape != ():",
)
def refused_one(answer):
    answer.Tensor.recording = True
    number, x = answer.Tensor(3.0), answer.Tensor([3.0])
    answer.multiply(number, number).backward()
    try:
        answer.multiply(x, x).backward()
        return False
    except RuntimeError:
        return True


@exercise.symptom(
    "The g that is given has no effect.",
    "gradients = {result: g}",
    "gradients = {result: Tensor(np.ones(result.shape))}",
)
def without_g(answer):
    f = lambda x: answer.multiply(x, x)
    return equal(gradients(answer, f, [3.0], g=[5.0])[0], [6.0])


@exercise.symptom(
    "The way back is recorded: within `with recording(False):` it is not.",
    "with recording(False):\n            gradients",
    "with recording(True):\n            gradients",
)
def recorded(answer):
    answer.Tensor.recording = True
    return counted(answer, 2)[1]


@exercise.symptom(
    "Tensor.recording stays False after the way back; `with recording(False):` in backward puts it back.",
    "        with recording(False):\n            gradients",
    "        Tensor.recording = False\n        if True:\n            gradients",
)
def left_off(answer):
    x, _, _ = after(answer)
    by_backward = not answer.Tensor.recording
    answer.go_back(x, answer.Tensor([1.0]))
    return by_backward or not answer.Tensor.recording


@exercise.symptom("Something keeps all tensors, a list perhaps; a tensor that nobody refers to is then never freed.")
def hoarded(answer):
    answer.Tensor.recording = True
    return is_kept(answer)


@exercise.symptom(
    "Two leaves share one .grad, and a change of one is a change of both: make a new Tensor for each.",
    "                before = 0.0 if tensor.grad is None else tensor.grad.data\n"
    "                tensor.grad = Tensor(before + gradient.data)",
    "                tensor.grad = gradient if tensor.grad is None else add(tensor.grad, gradient)",
)
def one_for_two(answer):
    answer.Tensor.recording = True
    a, b = answer.Tensor([1.0]), answer.Tensor([2.0])
    answer.add(a, b).backward(answer.Tensor([1.0]))
    return a.grad is b.grad and isinstance(a.grad, answer.Tensor)


@exercise.symptom(
    "The result itself is missing in in_order.", "return sorted(found, key", "return sorted(found - {result}, key"
)
def without_the_result(answer):
    answer.Tensor.recording = True
    x = answer.Tensor([1.0])
    y = answer.add(x, x)
    return y not in answer.in_order(y)


@exercise.symptom(
    ".grad is an array; a Tensor is asked for.",
    "tensor.grad = Tensor(before + gradient.data)",
    "tensor.grad = before + gradient.data",
    "0.0 if tensor.grad is None else tensor.grad.data",
    "0.0 if tensor.grad is None else tensor.grad",
)
def an_array(answer):
    return isinstance(after(answer)[0].grad, np.ndarray)


@exercise.symptom(
    "What goes back without g does not have the shape of the result: ones, one for each entry.",
    "Tensor(np.ones(self.shape)) if g is None",
    "Tensor(1.0) if g is None",
)
def without_shape(answer):
    answer.Tensor.recording = True
    x = answer.Tensor([[3.0]])
    answer.add(x, x).backward()
    return x.grad.shape != (1, 1)

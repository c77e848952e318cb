"""engine.9 In-place protection

A rule looks at `x.data` when the way back comes along it. If somebody has changed the numbers by then, the gradient is
wrong, and nothing shows it. Make sure that this always raises an error. Changes of what you wrote before:

    Tensor(data)       keeps a copy of its own: changing `data` later changes nothing here, and is still allowed
    t.data             cannot be written into: `t.data[0] = 1.0` is NumPy's ValueError; the same for results and
                       gradients. (An array's `flags.writeable` is the switch.)
    go_back            a RuntimeError, if a tensor that was used has been given other numbers since then
    index(x, key)      keeps a copy of the key, and of the lists and arrays in it: `copy.deepcopy(key)`

and one function that is new: what happens on `t.data = numbers`, the setter.

    t.data = numbers   other numbers, copied and protected as those of a new tensor, take the place of the old
                       array; a ValueError if their shape is another one; a RuntimeError if t was computed from
                       others (has steps)

So numbers are never changed, only replaced, and each replacement is a new array. Then go_back can tell: a tensor
that is made keeps, for each source, the array that it was computed from, and on the way back this must still *be*
the source's array (`is`). What is computed after a replacement uses the new numbers and goes back as ever.
Replacing is what an optimizer does between two steps.

For example:

    x = Tensor([3.0])
    y = x * x
    x.data = [5.0]                 # x.data is an array of float64 again
    y.backward()                   # RuntimeError
    (x * x).backward()             # x.grad.data is [10]
"""

# %% Laws

import numpy as np
from hypothesis import strategies as st

from lessons.exercises import BrokenLaw, Exercise, agree, hold
from lessons.exercises.engine import array_of, equal, ramp, refused, tensors_of, theirs

exercise = Exercise(
    __file__,
    "lesson 01, part 6",
    hints=[
        "`np.array` copies and `np.asarray` may not. `array.flags.writeable = False` protects an array.",
        "The setter can make a Tensor of the numbers and take its array: then they are copied and protected like any "
        "others.",
        "In Tensor.__init__ a list of `source.data` for all steps is what go_back compares with:"
        " `source.data is not seen`"
        " means that there was a replacement.",
    ],
    uses=("math", "numpy", "contextlib", "copy", "itertools"),
    only_one=False,
    written_in="my_engine.py",
)
USES = {
    "x + x": lambda m, x: x + x,
    "x * x": lambda m, x: x * x,
    "2 * x": lambda m, x: 2 * x,
    "exp(x)": lambda m, x: m.exp(x),
    "log(x)": lambda m, x: m.log(x),
    "tanh(x)": lambda m, x: m.tanh(x),
    "relu(x)": lambda m, x: m.relu(x),
    "x ** 3": lambda m, x: x**3,
    "reshape(x, (2, 1))": lambda m, x: m.reshape(x, (2, 1)),
    "x[0]": lambda m, x: x[0],
    "sum(x)": lambda m, x: m.sum(x),
    "max(x)": lambda m, x: m.max(x),
    "reshape(x, (2, 1)) @ reshape(x, (1, 2))": lambda m, x: m.reshape(x, (2, 1)) @ m.reshape(x, (1, 2)),
}


@exercise.law("a tensor has a copy of the numbers that it was made from", tensors_of(), examples=20)
def copied(answer, x):
    given = theirs(answer, x.copy())
    t = answer.Tensor(given)
    try:
        given[...] = 99.0
    except ValueError:
        raise BrokenLaw(
            "writing into an array that a tensor was made from", "an error", "no error: it is its owner's"
        ) from None
    agree("t.data after a = …; t = Tensor(a); a[...] = 99", t.data, x)


@exercise.law(
    "nobody can write into t.data: a ValueError, for results and gradients too",
    st.sampled_from(sorted(USES)),
    examples=20,
)
def protected(answer, words):
    x = answer.Tensor([1.0, 2.0])
    y = USES[words](answer, x)
    y.backward(answer.Tensor(np.ones(y.shape)))
    for name, tensor in (("x", x), (f"({words})", y), ("x.grad", x.grad)):

        def write(tensor=tensor):
            tensor.data[...] = 99.0

        refused(f"{name}.data[...] = 99", ValueError, write)


@exercise.law(
    "t.data = numbers puts a protected copy of other numbers in the place of the old ones", tensors_of(), examples=20
)
def replaced(answer, x):
    t, given = answer.Tensor(x), theirs(answer, np.array(x + 1))
    old = t.data
    t.data = given
    agree(f"t.data after t = Tensor({x.tolist()}); t.data = {(x + 1).tolist()}", t.data, x + 1)
    agree("the array that was t.data before", old, x)
    try:
        given[...] = 99.0
    except ValueError:
        raise BrokenLaw(
            "writing into the array that t.data was set to", "an error", "no error: it is its owner's"
        ) from None
    agree("t.data after a = …; t.data = a; a[...] = 99", t.data, x + 1)
    t.data = [[1, 2]] if x.shape == (1, 2) else np.ones(x.shape, dtype=int)
    hold(t.data.dtype == float, "the dtype of t.data after t.data = integers", t.data.dtype, "float64")

    def write():
        t.data[...] = 99.0

    refused("t.data = numbers; t.data[...] = 99", ValueError, write)


@exercise.law("numbers of another shape are refused, and computed tensors refuse all")
def refusals(answer):
    x = answer.Tensor([1.0, 2.0])
    y = x * x

    def other_shape(numbers):
        x.data = numbers

    def computed():
        y.data = [1.0, 2.0]

    for numbers in ([1.0], 1.0, [[1.0, 2.0]]):
        refused(f"x.data = {numbers}, x of shape (2,)", ValueError, lambda numbers=numbers: other_shape(numbers))
    refused("y = x * x; y.data = [1, 2]", RuntimeError, computed)
    agree("y.data afterwards", y.data, [1.0, 4.0])


@exercise.law(
    "numbers that were replaced after they had been used: a RuntimeError on the way back",
    st.sampled_from(sorted(USES)),
    examples=30,
)
def never_wrong(answer, words):
    x = answer.Tensor([1.0, 2.0])
    y = USES[words](answer, x)
    x.data = [3.0, 5.0]
    what = f"y = {words}; x.data = [3, 5]; y.backward(g)"
    refused(what, RuntimeError, lambda: y.backward(answer.Tensor(np.ones(y.shape))))


@exercise.law("also far up the chain")
def far_up(answer):
    x, w = answer.Tensor([1.0]), answer.Tensor([2.0])
    y = answer.exp(answer.tanh(w * x) + 1)
    w.data = [3.0]
    refused("y = exp(tanh(w * x) + 1); w.data = [3]; y.backward()", RuntimeError, y.backward)


@exercise.law("what is computed after a replacement goes back as ever", st.sampled_from(sorted(USES)), examples=20)
def afterwards(answer, words):
    x, fresh = answer.Tensor([1.0, 2.0]), answer.Tensor([3.0, 5.0])
    USES[words](answer, x)
    x.data = [3.0, 5.0]
    for tensor in (x, fresh):
        y = USES[words](answer, tensor)
        y.backward(answer.Tensor(ramp(y.shape)))
    what = f"x.grad after x.data = [3, 5]; y = {words}; y.backward(g)"
    agree(what, array_of(what, x.grad, answer), fresh.grad.data)


@exercise.law("going back does not depend on what the numbers are: a NaN was not replaced")
def not_a_number(answer):
    x = answer.Tensor([np.nan, 2.0])
    y = x * x
    try:
        y.backward(answer.Tensor([1.0, 1.0]))
    except RuntimeError as error:
        what = "x = Tensor([nan, 2]); y = x * x; y.backward(g)"
        raise BrokenLaw(what, f"RuntimeError: {error}", "no error: nothing was replaced") from None
    agree("x.grad after x = Tensor([nan, 2]); y = x * x; y.backward([1, 1])", x.grad.data, [np.nan, 4.0])


KEYS = {"inner": lambda inner: inner, "(inner,)": lambda inner: (inner,), "[inner]": lambda inner: [inner]}


def changed_key(answer, words, make=list):
    """x.grad after x[key], where key holds an inner list, or array, that is changed before the way back."""
    x, inner = new(answer, (1.0, 2.0, 3.0)), theirs(answer, make([0, 0]))
    y = x[KEYS[words](inner)]
    inner[0] = 2
    y.backward(answer.Tensor(np.reshape([1.0, 10.0], y.shape)))
    return x.grad


@exercise.law("a key is copied, with all that it holds: lists and arrays in it may be changed afterwards")
def keys(answer):
    for words in KEYS:
        for make in (list, np.array):
            what = f"x.grad after inner = {make.__name__}([0, 0]); y = x[{words}]; inner[0] = 2; y.backward([1, 10])"
            agree(what, array_of("x.grad", changed_key(answer, words, make), answer), [11.0, 0.0, 0.0])


def new(answer, numbers=(1.0, 2.0)):
    answer.Tensor.recording = True
    return answer.Tensor(np.array(numbers))


def can_write(tensor):
    try:
        tensor.data[...] = 99.0
        return True
    except ValueError:
        return False


def wrongly(answer, function, error):
    """Whether calling the function is no error of this kind."""
    try:
        function()
        return True
    except error:
        return False


@exercise.symptom(
    "Tensor keeps the very array that it is given: np.asarray and np.array(…, copy=False) do not copy.",
    "np.array(data, dtype=float)",
    "np.asarray(data, dtype=float)",
)
def not_copied(answer):
    given = np.array([1.0, 2.0])
    t = answer.Tensor(given)
    return np.shares_memory(given, t.data)


@exercise.symptom(
    "The array of a tensor can be written into: set flags.writeable to False.",
    "        self._data.flags.writeable = False\n",
    "",
)
def writeable(answer):
    return can_write(new(answer))


@exercise.symptom(
    "Numbers that t.data was set to can be written into, or are somebody else's: copy and protect them, too.",
    "        new = Tensor(numbers)\n",
    "        new = np.asarray(numbers, dtype=float)\n",
    "self._data = new.data",
    "self._data = new",
)
def set_without_care(answer):
    t, given = new(answer), np.array([3.0, 4.0])
    t.data = given
    return (np.shares_memory(t.data, given) and not not_copied(answer)) or (can_write(t) and not can_write(new(answer)))


@exercise.symptom("Numbers of another shape are taken.", "if new.shape != self.shape:", "if False:")
def any_shape(answer):
    t = new(answer)
    t.data = [[1.0, 2.0]]
    return t.data.shape == (1, 2)


@exercise.symptom(
    "A tensor that was computed takes other numbers.",
    "        if self.steps:\n            raise RuntimeError",
    "        if False:\n            raise RuntimeError",
)
def computed_ones(answer):
    t = new(answer) * 2
    t.data = [5.0, 5.0]
    return equal(t.data, [5.0, 5.0])


def silent(answer):
    """Whether going back with replaced numbers is no error."""
    x = new(answer)
    y = answer.multiply(x, x)
    x.data = [3.0, 5.0]
    y.backward(answer.Tensor([1.0, 1.0]))
    return equal(x.data, [3.0, 5.0])


@exercise.symptom(
    "go_back does not notice that a source has got other numbers.", "if source.data is not seen:", "if False:"
)
def unnoticed(answer):
    return silent(answer) and not into_the_old(answer)


@exercise.symptom(
    "A tensor whose numbers were once replaced can never be used again: compare with the numbers at the time of use.",
    "        self._data = new.data\n",
    "        self._data = new.data\n        self.replaced = True\n",
    "if source.data is not seen:",
    "if hasattr(source, 'replaced'):",
)
def for_ever(answer):
    x = new(answer)
    (x * x).backward(answer.Tensor([1.0, 1.0]))
    x.data = [3.0, 5.0]
    try:
        (x * x).backward(answer.Tensor([1.0, 1.0]))
        return False
    except RuntimeError:
        return True


@exercise.symptom("Setting t.data has no effect.", "        self._data = new.data\n", "")
def no_effect(answer):
    t = new(answer)
    t.data = [3.0, 5.0]
    return equal(t.data, [1.0, 2.0])


@exercise.symptom(
    "The new numbers are written into the old array: it is to be replaced, so that its users can tell.",
    "        self._data = new.data\n",
    "        self._data.flags.writeable = True\n        self._data[...] = new.data\n"
    "        self._data.flags.writeable = False\n",
)
def into_the_old(answer):
    t = new(answer)
    old = t.data
    t.data = [3.0, 5.0]
    return equal(old, [3.0, 5.0])


KEY_NOT_COPIED = [10.0, 0.0, 1.0]  # x.grad then


@exercise.symptom(
    "index keeps the very key that it is given.", "    key = copy.deepcopy(key)  # an array in it may be changed\n", ""
)
def keys_not_copied(answer):
    return equal(changed_key(answer, "inner").data, KEY_NOT_COPIED)


@exercise.symptom(
    "index copies the key, but not the lists or arrays in it: `copy.copy` copies the outermost only.",
    "copy.deepcopy(key)",
    "copy.copy(key)",
)
def inner_not_copied(answer):
    if keys_not_copied(answer):
        return False
    return any(equal(changed_key(answer, words).data, KEY_NOT_COPIED) for words in KEYS)


@exercise.symptom(
    "go_back compares numbers, and NaN equals nothing: ask whether it is the same array, with `is`.",
    "if source.data is not seen:",
    "if not np.array_equal(source.data, seen):",
)
def numbers_compared(answer):
    x = new(answer, (np.nan, 1.0))
    try:
        (x * x).backward(answer.Tensor([1.0, 1.0]))
        return False
    except RuntimeError:
        y = new(answer)
        (y * y).backward(answer.Tensor([1.0, 1.0]))
        return True


@exercise.symptom(
    "Only the sources of the result itself are looked at: a tensor that was replaced may stand farther up.",
    "if source.data is not seen:",
    "if tensor is result and source.data is not seen:",
)
def only_the_last(answer):
    x = new(answer)
    y = answer.exp(x * x)
    x.data = [3.0, 5.0]
    y.backward(answer.Tensor([1.0, 1.0]))
    try:
        silent(answer)  # there x is a source of the result itself
        return False
    except RuntimeError:
        return True


def kind_of_error(answer, change):
    """The name of the error that a change of a tensor's numbers raises, or nothing."""
    t = new(answer)
    try:
        change(t)
        return ""
    except Exception as error:
        return type(error).__name__


@exercise.symptom(
    "Numbers of another shape raise another error than a ValueError.",
    'raise ValueError(f"numbers of shape',
    'raise RuntimeError(f"numbers of shape',
)
def other_error(answer):
    def other_shape(t):
        t.data = [1.0]

    return kind_of_error(answer, other_shape) not in ("", "ValueError")

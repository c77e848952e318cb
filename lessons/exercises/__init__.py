"""Exercises, each graded by laws: what a right answer must satisfy, however it is written.

An exercise is one file in this folder, such as `03_1_weight_norm.py`. Above the line `# %% Laws` stands what the
learner gets: the task as docstring, imports, signatures, and in place of each region between `# solution` and
`# end of solution` three dots. Below it stand the laws, the hints, and mistakes that are known, each of them a change
of the solution:

    exercise = Exercise(__file__, "lesson 03, part 1", hints=[...])

    @exercise.law("‖w‖ = g, whatever v is", cases)
    def length(answer, case):
        v, g = case
        w = answer.weight_norm(v, g)
        agree("‖w‖", np.linalg.norm(w, axis=1), g)

    exercise.mistake("‖v‖² stands where ‖v‖ belongs.", "norm(v, axis=1)", "norm(v, axis=1) ** 2")

`cases` is a hypothesis strategy; the law is tried on examples from it, and what is reported is the smallest one that
breaks it. A law must not compare with the solution: answers of another form are right, too. Only the diagnosis does
that: where an answer computes what a known mistake computes, on every call that the laws made, that mistake is the
likely cause.

`folder.py` writes stubs, `judge.py` tries the laws on one answer in a process of its own, `check.py` and `grade.py` are
what the learner and the teacher run.
"""

import ast
import importlib.util
import re
import types
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
LAWS = "\n# %% Laws\n"
REGION = re.compile(r"^( *)# solution(?: (\d+))?\n(.*?)^ *# end of solution\n", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"(\d\d|engine)_(\d+)_\w+")


class BrokenLaw(Exception):  # noqa: N818 - a law that is broken is no error of the program
    """A law does not hold: what was measured, what came and what should have come."""

    def __init__(self, what, came, wanted):
        super().__init__(f"{what}: came {came}, should be {wanted}")
        self.what, self.came, self.wanted = what, came, wanted


class Exercise:
    """One exercise: the learner's part, the laws, hints and known mistakes.

    Parameters
    ----------
    file : str
        The exercise's `__file__`.
    where : str
        Where to look: "lesson 03, part 2".
    hints : sequence of str
        Up to three, each saying more than the one before; the last stops short of the answer.
    uses : sequence of str
        The packages that an answer may import.
    forbids : sequence of str
        Names that an answer may not take from a package, since they are what is to be written: "explicit_gradients".
    only_one : bool
        Whether the answer's values are determined by the arguments. If not (it may draw random numbers, say), known
        mistakes are told by their symptoms only.
    seconds : float
        Of computing, for all laws together; longer is an endless loop.
    written_in : str, optional
        The file that the learner writes in, where several exercises share one: "my_engine.py". Its regions are then
        marked with their exercise's place, as in `# solution 4`, and the docstring is written to a file of its own.
    """

    def __init__(
        self, file, where, hints=(), uses=("math", "numpy"), forbids=(), only_one=True, seconds=10.0, written_in=None
    ):
        self.file = Path(file)
        self.name, self.number = self.file.stem, number(self.file)
        self.answer = written_in or self.file.name
        self.where, self.hints = where, list(hints)
        self.uses, self.forbids, self.only_one, self.seconds = tuple(uses), set(forbids), only_one, seconds
        self.laws, self.mistakes, self.symptoms, self.afterwards = [], [], [], []
        self.tried = None  # the law that the judge is at

    def law(self, text, cases=None, examples=40):
        """Decorate a function of the answer and a case: it calls `agree` or `hold`, or raises BrokenLaw itself.

        Parameters
        ----------
        text : str
            The law in words: "‖w‖ = g, whatever v is".
        cases : hypothesis strategy, optional
            Where cases come from. Without it the function gets the answer only.
        examples : int
            How many cases are tried.
        """

        def add(function):
            self.laws.append(Law(text, function, cases, examples))
            return function

        return add

    def mistake(self, cause, *changes):
        """A mistake that is known: its cause in a sentence, and changes of the solution, old and new text in turn."""
        source = self.source()
        for old, new in zip(changes[::2], changes[1::2], strict=True):
            if source.count(old) != 1:
                raise ValueError(f"{self.name}: {old!r} stands {source.count(old)} times in the solution, not once")
            source = source.replace(old, new)
        self.mistakes.append(Mistake(cause, source))

    def symptom(self, cause, *changes):
        """Decorate a function of an answer that returns whether it shows this mistake.

        With `changes`, as those of `mistake`, the mistake is a known one as well.
        """
        if changes:
            self.mistake(cause, *changes)

        def add(function):
            self.symptoms.append((cause, function))
            return function

        return add

    def after(self, function):
        """Decorate a function of a right answer and its folder: it may write there, and returns a line that says so."""
        self.afterwards.append(function)
        return function

    @property
    def shared(self):
        """Whether the answer's file holds the answers of other exercises, too."""
        return self.answer != self.file.name

    @property
    def task(self):
        """The file in the learner's folder where the docstring is."""
        return f"{self.name}.md" if self.shared else self.answer

    @property
    def title(self):
        """The first line of the docstring, without the number."""
        return self.docstring.partition("\n")[0].partition(" ")[2]

    @property
    def docstring(self):
        return ast.get_docstring(ast.parse(learners_part(self.file)))

    def source(self):
        """What the learner gets, with the solution in it."""
        return learners_part(self.file.parent / self.answer)

    def solution(self):
        """`source` as a module."""
        return module(self.source(), self.name)

    def stub(self):
        """What the learner gets."""
        return REGION.sub(r"\1...\n", self.source())

    def put_back(self, text):
        """An answer with this exercise's functions as in the stub; of a file that is not shared, the stub."""
        try:
            nodes = list(_functions(ast.parse(text)))
        except (SyntaxError, ValueError):
            return self.stub()
        if not self.shared:
            return self.stub()
        lines, stub = text.split("\n"), self.stub().split("\n")
        fresh = {name: stub[node.lineno - 1 : node.end_lineno] for name, node in _functions(ast.parse(self.stub()))}
        for name, node in sorted(nodes, key=lambda item: -item[1].lineno):
            has_setter = [other for other, _ in nodes].count(name) > 1
            if name in self.functions() and not (has_setter and _is_getter(node)):
                lines[node.lineno - 1 : node.end_lineno] = fresh[name]
        return "\n".join(lines)

    def counted(self, text):
        """An answer as far as it counts here: of a shared file, its functions, and the learner's own that they use."""
        try:
            nodes = list(_functions(ast.parse(text)))
        except (SyntaxError, ValueError):
            return text
        if not self.shared:
            return text
        counts, others = self.functions(), self._places().keys()
        while True:
            ours = [node for name, node in nodes if name in counts]
            named = {getattr(n, "id", getattr(n, "attr", None)) for node in ours for n in ast.walk(node)}
            more = {name for name, _ in nodes if name.rpartition(".")[2] in named} - others - counts
            if not more:
                return "\n\n".join(map(ast.unparse, ours))
            counts |= more

    def unwritten(self, tree):
        """The names of the functions of an answer's syntax tree in which three dots still stand, in their order."""
        ours = self.functions()
        return [name for name, node in _functions(tree) if name in ours and any(map(_is_dots, ast.walk(node)))]

    def functions(self):
        """The names of the functions that hold a region of this exercise, "Tensor.sum" for a method."""
        return {name for name, place in self._places().items() if place == self._place}

    @property
    def mark(self):
        """What follows `# solution` where a region of this exercise begins: " 4", or nothing."""
        return f" {self._place}" if self.shared else ""

    @property
    def _place(self):
        return int(self.number.partition(".")[2]) if self.shared else 0

    def _places(self):
        """Of each function that holds a region, the place of the exercise whose it is; 0 if there is one only."""
        source = self.source()
        marks = [re.fullmatch(r" *# solution(?: (\d+))?", line) for line in source.split("\n")]
        marks = {n: int(mark[1] or 0) for n, mark in enumerate(marks, 1) if mark}
        spans = [(name, range(node.lineno, node.end_lineno + 1)) for name, node in _functions(ast.parse(source))]
        return {name: place for name, span in spans for line, place in marks.items() if line in span}


class Law:
    """A law: its words, its function of an answer and a case, where cases come from, and how many are tried."""

    def __init__(self, text, function, cases, examples):
        self.text, self.function, self.cases, self.examples = text, function, cases, examples
        self.kept = None  # cases that were drawn before, see judge.keep_cases


class Mistake:
    """A known mistake: its cause in words, and the source of a wrong answer."""

    def __init__(self, cause, source):
        self.cause, self.source = cause, source


# ---- what laws are written with -------------------------------------------------------------------------------------


def agree(what, came, wanted, rtol=1e-7, atol=1e-9):
    """Raise BrokenLaw unless `came` has the shape of `wanted` and equals it to |difference| <= rtol |wanted| + atol."""
    given = came
    try:
        came = np.asarray(came, dtype=float)
    except (TypeError, ValueError):
        raise BrokenLaw(what, _kind(given), shown(wanted)) from None
    if given is None:  # of which NumPy makes a NaN
        raise BrokenLaw(what, _kind(given), shown(wanted))
    wanted = np.asarray(wanted, dtype=float)
    if came.shape != wanted.shape:
        raise BrokenLaw(f"the shape of {what}", came.shape, wanted.shape)
    with np.errstate(all="ignore"):
        close = (came == wanted) | (abs(came - wanted) <= rtol * abs(wanted) + atol) | np.isnan(came) & np.isnan(wanted)
    if not close.all():
        raise BrokenLaw(what, shown(came), shown(wanted))


def hold(condition, what, came, wanted):
    """Raise BrokenLaw unless the condition is true."""
    if not condition:
        raise BrokenLaw(what, shown(came), shown(wanted))


def numbers(what, came, shape):
    """`came` as an array of float64; BrokenLaw unless it is numbers of this shape."""
    words = f"an array of shape {shape}" if shape else "a number"
    try:
        array = np.asarray(came, dtype=float)
    except (TypeError, ValueError):
        raise BrokenLaw(what, _kind(came), words) from None
    if came is None:
        raise BrokenLaw(what, _kind(came), words)
    if array.shape != shape:
        raise BrokenLaw(f"the shape of {what}", array.shape, shape)
    return array


def parts(came, *names):
    """The values that an answer returns together; BrokenLaw unless there are as many as names."""
    several = isinstance(came, (tuple, list)) or (isinstance(came, np.ndarray) and came.ndim > 0)
    if not several or len(came) != len(names):
        came = f"{len(came)} values" if several else _kind(came)
        raise BrokenLaw("what is returned", came, f"{len(names)} values: {', '.join(names)}")
    return came


def differences(f, x, step=1e-6):
    """The gradient of f, a function of one array that returns a number, by central differences in float64."""
    x = np.array(x, dtype=float)
    gradient = np.empty_like(x)
    for entry in np.ndindex(x.shape):
        here = x[entry]
        x[entry] = here + step
        above = float(f(x.copy()))
        x[entry] = here - step
        gradient[entry] = (above - float(f(x.copy()))) / (2 * step)
        x[entry] = here
    return gradient


def shown(value, digits=5):
    """A value as an error message shows it: arrays as lists, rounded; long ones by their shape."""
    if isinstance(value, np.ndarray):
        if value.size > 24:
            return f"an array of shape {value.shape}: {np.array2string(value.ravel()[:4], precision=digits)[:-1]} …]"
        return shown(value.tolist(), digits)
    if isinstance(value, (float, np.floating)):
        return f"{value:.{digits}g}"
    if isinstance(value, (tuple, list)):
        left, right = "()" if isinstance(value, tuple) else "[]"
        return left + ", ".join(shown(v, digits) for v in value) + right
    return value.__name__ if callable(value) and hasattr(value, "__name__") else str(value)


def _kind(value):
    return "nothing (a function that ends without return)" if value is None else f"a {type(value).__name__}"


# ---- finding and loading --------------------------------------------------------------------------------------------


def files():
    """The exercises' files, by number, in their order: those of the lessons, then those of the engine."""
    found = [path for path in FOLDER.glob("*.py") if NAME.fullmatch(path.stem)]
    return {number(path): path for path in sorted(found, key=_order)}


def number(file):
    """ "3.1" for 03_1_weight_norm.py, "engine.4" for engine_4_reductions.py."""
    lesson, place = NAME.fullmatch(Path(file).stem).groups()
    return f"{int(lesson) if lesson.isdecimal() else lesson}.{int(place)}"


def _order(file):
    lesson, place = NAME.fullmatch(file.stem).groups()
    return lesson, int(place)


def load(file):
    """The `Exercise` in a file."""
    spec = importlib.util.spec_from_file_location(f"exercise_{Path(file).stem}", file)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded.exercise


def learners_part(file):
    """The source of an exercise above its laws; all of a file that has none."""
    return Path(file).read_text("utf-8").partition(LAWS)[0].rstrip() + "\n"


def module(source, name, file="<solution>"):
    """A module made from its source."""
    made = types.ModuleType(name)
    made.__file__ = str(file)
    exec(compile(source, str(file), "exec"), made.__dict__)
    return made


def _functions(tree, prefix=""):
    """(name, node) of each function and method in a syntax tree."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            if isinstance(node, ast.FunctionDef):
                yield prefix + node.name, node
            else:
                yield from _functions(node, f"{node.name}.")


def _is_getter(node):
    return any(isinstance(decorator, ast.Name) and decorator.id == "property" for decorator in node.decorator_list)


def _is_dots(node):
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.value.value is ...

"""One letter, one meaning: the lessons keep to the table of docs/notation.md."""

import re
from typing import NamedTuple

import pytest

import lessons
from tests.lessons.courses import ROOT
from tests.lessons.test_size import cells

PAGE = (ROOT / "docs" / "notation.md").read_text("utf-8")
FILES = [*lessons.lesson_files().values(), *lessons.further_files()]
UNICODE = {"beta": "β", "eta": "η", "mu": "μ", "lambda": "λ", "theta": "θ", "rho": "ρ", "kappa": "κ", "gamma": "γ"}
UNICODE |= {"Lambda": "Λ", "alpha": "α", "phi": "φ", "chi": "χ", "delta": "δ", "sigma": "σ", "varepsilon": "ε"}
UNICODE |= {"xi": "ξ", "tau": "τ"}
SECOND_MEANINGS = {  # patterns of what a letter does not mean, in prose and in the texts of claims and figures
    "β without an index": r"\\beta\b(?!_[12\\{])|\\beta_(?![12])|β(?![₁₂])",
    "γ without an index": r"\\gamma\b(?!_[12])|γ(?![₁₂])",
    "λ for an eigenvalue": r"\\lambda_|λ_|λ[₀-₉]",
    "ε next to a variance": r"(?:\^2|S|²) ?\+ ?(?:\\varepsilon|ε)",
    "the other theta, phi and epsilon": r"\\vartheta|\\varphi|\\epsilon\b|ϑ|ϕ|ϵ",
    "Salimans and Kingma's k for the fan-in": r"\bk numbers|\$k\$ (?:numbers|inputs|weights)",
}
ALLOWED = {(12, "γ without an index")}  # the discount of reinforcement learning, as the page says


class Letter(NamedTuple):
    """A row of the table."""

    shown: str
    latex: str
    words: list
    lessons: set

    def first(self, text):
        """Where the letter comes up in the text of a cell, or None."""
        name = self.latex.lstrip("\\")
        if self.latex.startswith("\\"):
            found = re.search(rf"\\{name}(?![A-Za-z])|{UNICODE[name]}", text)
        else:
            alone = rf"(?<![A-Za-z\\]){name}(?![A-Za-z])"
            found = next((m for m in re.finditer(r"\$([^$]+)\$", text) if re.search(alone, without_words(m[1]))), None)
        return found and found.start()


def without_words(formula):
    """A formula without the names and words in it, whose letters mean nothing."""
    return re.sub(
        r"\\(?:text|mathrm|operatorname|mathcal|mathsf|mathbb|mathbf)\s*(?:\{[^}]*\}|\w)|\\[A-Za-z]+", " ", formula
    )


def letters():
    rows = re.findall(r"^\| (\S[^|]*) \| (\\?[A-Za-z]+) \| [^|]+ \| ([^|]+) \| (all|[0-9, -]+) \|$", PAGE, re.MULTILINE)
    return [Letter(shown, latex, words.split(" / "), numbers(where)) for shown, latex, words, where in rows]


def numbers(where):
    """ "all", "05" or "03, 05-07" as a set of numbers."""
    if where.strip() == "all":
        return set(range(100))
    ranges = [part.strip().split("-") for part in where.split(",")]
    return {number for ends in ranges for number in range(int(ends[0]), int(ends[-1]) + 1)}


def prose(file):
    """A lesson's docstring and cells as one list of texts, without code but with the strings in it."""
    texts = [lessons.docstring(file)]
    for _, cell in cells(file.read_text("utf-8")):
        lines = cell.splitlines()
        said = [line.lstrip("# ") for line in lines if line.lstrip().startswith("#")]
        said += re.findall(r'"[^"\n]*"', "\n".join(line for line in lines if not line.lstrip().startswith("#")))
        texts.append("\n".join(said))
    return texts


def missing(letter, texts):
    """Whether a letter is used before any of its words is said."""
    for i, text in enumerate(texts):
        if letter.first(text) is not None:
            said = "\n".join(texts[: i + 1]).lower()
            return not any(word.lower() in said for word in letter.words)
    return False


def faults(file):
    """What a lesson does against the table, in words."""
    number, texts = lessons.lesson_number(file), prose(file)
    found = []
    for letter in letters():
        before_the_paper = number < 3 and letter.shown in ("v", "g")
        if letter.shown == "t" or before_the_paper:
            continue  # the letters with two meanings, which the page names
        if any(letter.first(text) is not None for text in texts) and number not in letter.lessons:
            found.append(f"{letter.shown} is used, which belongs to lessons {sorted(letter.lessons)}")
        elif missing(letter, texts):
            found.append(f"{letter.shown} is used before any of the words {letter.words}")
    for what, pattern in SECOND_MEANINGS.items():
        if (number, what) not in ALLOWED:
            found += [f"{what}: {m[0]!r}" for text in texts for m in re.finditer(pattern, text)]
    return found


def test_the_table_is_read_and_each_letter_is_in_it_once():
    shown = [letter.shown for letter in letters()]
    assert len(shown) > 15 and len(set(shown)) == len(shown), shown
    assert {letter.latex.lstrip("\\") for letter in letters() if letter.latex.startswith("\\")} == set(UNICODE)


@pytest.mark.parametrize("file", FILES, ids=lessons.lesson_name)
def test_a_letter_has_one_meaning_and_is_explained_where_it_first_comes_up(file):
    assert not faults(file), "\n".join(faults(file))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("momentum $\\beta = 0.9$", "β without an index"),
        ("Adam's β₁ and $\\beta_2$", None),
        ("the largest eigenvalue $\\lambda_{\\max}$", "λ for an eigenvalue"),
        ("weight decay $\\lambda$", None),
        ("scale $\\gamma$", "γ without an index"),
        ("excess kurtosis $\\gamma_2$, or γ₂", None),
        ("$\\sigma^2 + \\varepsilon$", "ε next to a variance"),
    ],
)
def test_second_meanings_are_found(text, what):
    assert [name for name, pattern in SECOND_MEANINGS.items() if re.search(pattern, text)] == ([what] if what else [])


def test_letters_within_words_of_a_formula_are_none():
    w = next(letter for letter in letters() if letter.shown == "w")
    assert w.first("$\\|w\\|$") is not None and w.first("a neuron $y = w_1 x$") is not None
    assert w.first("with words") is None and w.first("$\\text{weights} = \\mathrm{w}$") is None

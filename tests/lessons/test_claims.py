"""`Lesson.claim`: what holds, what does not, and what cannot fail."""

import json
import sys

import numpy as np
import pytest

from lessons import CANNOT_FAIL, Lesson
from tests.lessons.courses import GOOD


@pytest.fixture
def lesson(tmp_path, monkeypatch):
    """A lesson within this process."""
    file = tmp_path / "01_claims.py"
    file.write_text(GOOD)
    for name in ("excepthook", "stdout"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    monkeypatch.setattr(sys, "argv", ["lesson", "--out", str(tmp_path / "out"), "--data=synthetic", "--device=cpu"])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    return Lesson(str(file))


def holds(lesson, measured, **expected):
    lesson.claim("a law", measured, **expected)
    return lesson.claims[-1].holds


def test_a_prediction_holds_within_its_tolerance(lesson):
    assert holds(lesson, 1.01, predicted=1, rtol=0.02)
    assert not holds(lesson, 1.03, predicted=1, rtol=0.02)
    assert not holds(lesson, 0.97, predicted=1, rtol=0.02)
    assert holds(lesson, -1.01, predicted=-1, rtol=0.02)
    assert not holds(lesson, 1, predicted=-1, rtol=0.02)
    assert holds(lesson, 1.03, predicted=1, rtol=0.02, atol=0.02)
    assert holds(lesson, 1, predicted=1, rtol=0)


def test_of_arrays_every_entry_must_agree_and_the_worst_is_reported(lesson):
    predicted = np.array([1.0, 10.0, 0.0])
    assert holds(lesson, [1.01, 9.9, 1e-9], predicted=predicted, rtol=0.05, atol=1e-8)
    assert not holds(lesson, [1.01, 9.9, 1e-7], predicted=predicted, rtol=0.05, atol=1e-8)
    assert lesson.claims[-1].measured == 1e-7
    assert not holds(lesson, [1.0, 12.0, 0.0], predicted=predicted, rtol=0.05)
    claim = lesson.claims[-1]
    assert claim.measured == 12 and claim.deviation == pytest.approx(4) and "(of 3)" in claim.expected


def test_predictions_and_measurements_are_broadcast(lesson):
    assert holds(lesson, np.ones((2, 3)), predicted=1, rtol=0.1)
    assert holds(lesson, np.ones((2, 3)), predicted=np.ones((2, 1)), rtol=0.1)
    with pytest.raises(ValueError):
        lesson.claim("a law", np.ones(2), predicted=np.ones(3), rtol=0.1)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_never_holds(lesson, number):
    assert not holds(lesson, number, predicted=1, rtol=0.1)
    assert not holds(lesson, [1, number], predicted=[1, number], rtol=0.1)
    assert not holds(lesson, 1, predicted=number, rtol=0.1)
    assert not holds(lesson, np.nan, near=0, within=1)
    assert not holds(lesson, np.nan, below=1)


def test_nothing_is_not_a_measurement(lesson):
    with pytest.raises(ValueError, match="nothing was measured"):
        lesson.claim("a law", [], predicted=1, rtol=0.1)


@pytest.mark.parametrize(
    ("measured", "rtol", "atol"),
    [
        (1, 0.34, 0),  # 1.5 times the prediction, with its own tolerance
        (1.2, 0.25, 0),  # off towards the wrong prediction
        (0.82, 0.25, 0.03),  # towards the one divided by 1.5
        (1, 0.01, 0.5),  # an absolute tolerance as large as the prediction
        ([1, 1], 0.4, 0),
    ],
)
def test_a_claim_that_would_hold_for_a_wrong_prediction_does_not_hold(lesson, capsys, measured, rtol, atol):
    assert not holds(lesson, measured, predicted=np.ones_like(measured), rtol=rtol, atol=atol)
    assert lesson.claims[-1].deviation <= 1 and lesson.claims[-1].remark == CANNOT_FAIL
    printed = capsys.readouterr().out
    assert "DOES NOT HOLD" in printed and "cannot fail: 1.5 times the prediction would hold, too" in printed


def test_zero_times_anything_cannot_fail(lesson):
    assert not holds(lesson, 0, predicted=0, rtol=0.1, atol=0.1)
    assert holds(lesson, 0, near=0, within=0.1)


def test_near_a_number_that_is_not_0_must_be_able_to_fail_too(lesson):
    assert not holds(lesson, 1, near=1, within=0.4) and lesson.claims[-1].remark == CANNOT_FAIL
    assert not holds(lesson, 0.9, near=1, within=0.25) and lesson.claims[-1].remark == CANNOT_FAIL
    assert not holds(lesson, -0.5, near=-0.5, within=0.2) and lesson.claims[-1].remark == CANNOT_FAIL
    assert holds(lesson, 1, near=1, within=0.3) and holds(lesson, 1, near=0, within=1)


def test_the_other_bounds_are_what_they_were(lesson):
    assert holds(lesson, 1, below=2) and not holds(lesson, 2, below=2)
    assert holds(lesson, 3, above=2) and not holds(lesson, 2, above=2)
    assert holds(lesson, 1, above=0, below=2) and not holds(lesson, 3, above=0, below=2)
    assert holds(lesson, 1.1, near=1, within=0.2) and not holds(lesson, 1.3, near=1, within=0.2)


@pytest.mark.parametrize(
    "expected",
    [
        {},
        {"predicted": 1},
        {"rtol": 0.1},
        {"predicted": 1, "rtol": 0.1, "below": 2},
        {"predicted": 1, "rtol": 0.1, "near": 1, "within": 0},
    ],
)
def test_keywords_that_do_not_belong_together_are_refused(lesson, expected):
    with pytest.raises(TypeError):
        lesson.claim("a law", 1, **expected)


# ---- figures -------------------------------------------------------------------------------------------------------


ALT = "The norm ‖v‖ rises along a curve √(1 + c²), and dots lie on it."
DRAWING = GOOD.replace(
    "lesson.claim",
    f'''import matplotlib.pyplot as plt
lesson.figure(plt.figure(), "growth", alt="{ALT}")
lesson.figure(plt.figure(), "nothing")
lesson.claim''',
)


def test_alternative_text_is_in_the_metrics_and_in_the_picture(course):
    from PIL import Image  # matplotlib needs it

    assert course({1: DRAWING}) == 0
    folder = course.out / "01_some_lesson"
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["figures"] == [{"file": "growth.png", "alt": ALT}, {"file": "nothing.png", "alt": ""}]
    assert Image.open(folder / "growth.png").text["Description"] == ALT
    assert "Description" not in Image.open(folder / "nothing.png").text


MOVING = GOOD.replace(
    "lesson.claim",
    f'''import matplotlib.pyplot as plt
figure, ax = plt.subplots()
lesson.animation(figure, lambda x: ax.plot([0, 1], [x, 0]), [1, 2, 3], "moves", alt="{ALT}", per_second=5)
lesson.claim''',
)


def test_a_figure_that_moves_has_a_frame_for_each_picture_and_begins_again(course):
    from PIL import Image

    assert course({1: MOVING}) == 0
    folder = course.out / "01_some_lesson"
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["figures"] == [{"file": "moves.gif", "alt": ALT}]
    with Image.open(folder / "moves.gif") as picture:
        assert picture.n_frames == 3 and picture.info["duration"] == 200 and picture.info["loop"] == 0

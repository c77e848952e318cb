"""What `check` says about exercises that were right once."""

import pytest

from lessons import UsageError
from lessons.exercises import check, folder, judge


@pytest.fixture
def mine(tmp_path):
    folder.write(tmp_path)
    return tmp_path


def done(place, number, text):
    """Write this answer, as one that was found right."""
    (exercise,), state = folder.exercises([number]), folder.State.of(place)
    (place / exercise.answer).write_text(text or exercise.source(), "utf-8")
    state.done[number] = exercise.counted(text or exercise.source())
    state.save()
    return exercise


def test_reset_is_an_option_of_another_command(mine):
    with pytest.raises(UsageError, match=r"exercises .* --reset 3\.2"):
        check.main(["3.2", "--reset", "--dir", str(mine)])


def test_what_was_right_before_is_said_to_be(mine, capsys):
    done(mine, "3.1", "")
    assert check.main(["3.1", "--dir", str(mine)]) == 0
    assert "All done: 3.1, found right before" in capsys.readouterr().out


def test_watching_says_so_when_an_answer_is_again_what_was_right(mine, capsys, monkeypatch):
    exercise = done(mine, "3.1", "")
    path = mine / exercise.answer
    path.write_text(exercise.stub(), "utf-8")

    def save(*_):
        path.write_text(exercise.source(), "utf-8")
        return True

    monkeypatch.setattr(check, "wait_for_change", save)
    monkeypatch.setattr(judge, "run", lambda *_: {"status": "todo", "names": ["weight_norm"]})
    assert check.main(["3.1", "--watch", "--dir", str(mine)]) == 0
    _, _, after = capsys.readouterr().out.partition("not written yet")
    assert "right: you had it like this before" in after and "All done: 3.1." in after


def test_the_progress_line_says_why_it_fell(mine):
    text = folder.exercises(["engine.1"])[0].source()
    for number in ("engine.1", "engine.2", "engine.3"):
        done(mine, number, text)
    state, path = folder.State.of(mine), mine / "my_engine.py"
    assert "3 of " in check.progress(state) and "edited" not in check.progress(state)
    path.write_text(text.replace("waiting.pop()", "waiting.pop(0)"), "utf-8")
    assert "2 of " in check.progress(state)
    assert check.progress(state).endswith("edited since they were, to be checked again: engine.2")


def test_a_helper_is_part_of_the_steps_that_use_it(mine):
    text = folder.exercises(["engine.1"])[0].source()
    helper = "def helped(a):\n    return a\n"
    with_helper = text.replace("return sorted(found,", "return sorted(helped(found),") + f"\n\n{helper}"
    for number in ("engine.1", "engine.2"):
        done(mine, number, with_helper)
    state = folder.State.of(mine)
    (mine / "my_engine.py").write_text(with_helper.replace("    return a\n", "    return [*a]\n"), "utf-8")
    assert [state.is_done(exercise) for exercise in folder.exercises(["engine"])[:2]] == [True, False]

"""Further chapters: lessons in a folder of their own, which the course runs when it is asked to."""

import json

import lessons
from tests.lessons.courses import GOOD, assert_one_line_error, script


def with_a_chapter():
    """Lesson 2 of a test's course gets a chapter."""
    folder = lessons.FOLDER / "further"
    folder.mkdir(exist_ok=True)
    (folder / "02_more.py").write_text(GOOD.replace("A lesson that works", "More of it"))
    return folder / "02_more.py"


def ran(capfd):
    """The names in the first column of the table."""
    lines = capfd.readouterr().out.partition("lesson  ")[2].splitlines()[1:]
    return [line.split()[0] for line in lines if " holds " in line and "claims hold" not in line]


def test_part_one_is_the_default_and_all_is_everything(course, capfd):
    with_a_chapter()
    assert course({1: GOOD, 2: GOOD}) == 0 and ran(capfd) == ["01", "02"]
    assert course({}, "--further") == 0 and ran(capfd) == ["02_more"]
    assert course({}, "all") == 0 and ran(capfd) == ["01", "02", "02_more"]
    assert course({}, "2") == 0 and ran(capfd) == ["02"]
    assert course({}, "2", "--further") == 0 and ran(capfd) == ["02_more"]
    assert course({}, "1", "--further") == 2
    assert "no further chapters to 1" in capfd.readouterr().err


def test_a_chapter_is_a_lesson_with_a_folder_of_its_own(course):
    file = with_a_chapter()
    result = script(file, "--out", course.out, "--data", "synthetic", "--device", "cpu")
    assert result.returncode == 0 and "Lesson 02, further reading: More of it" in result.stdout, result
    folder = course.out / "further" / "02_more"
    assert {path.name for path in folder.iterdir()} == {"log.txt", "metrics.json"}
    assert json.loads((folder / "metrics.json").read_text())["lesson"] == "further/02_more"
    assert_one_line_error(script(file, "--nonsense"), "--nonsense")


def test_a_finished_chapter_is_not_run_again(course, capfd):
    with_a_chapter()
    for _ in range(2):
        assert course({1: GOOD, 2: GOOD}, "all") == 0
    assert "further/02_more: finished before" in capfd.readouterr().out
    summary = json.loads((course.out / "summary.json").read_text())
    assert [metrics["lesson"] for metrics in summary["lessons"]][-1] == "further/02_more"


def test_the_list_has_each_chapter_below_its_lesson(course, capfd):
    with_a_chapter()
    assert course({1: GOOD, 2: GOOD, 3: GOOD}, "--list") == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["01", "02", "further/02_more", "03"]
    assert "More of it" in lines[2] and "quick about 1 s" in lines[2]


def test_chapters_belong_to_lessons_and_are_packaged():
    numbers = set(lessons.lesson_files())
    for file in lessons.further_files():
        assert lessons.lesson_number(file) in numbers, file
    assert (lessons.FOLDER / "further" / "__init__.py").is_file()

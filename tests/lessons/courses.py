"""What the tests of the course's command line share: a lesson, and Python run as from a shell."""

import os
import subprocess
import sys
from pathlib import Path

import lessons

ROOT = Path(lessons.FOLDER).parent

GOOD = '''"""A lesson that works

Time: quick about 1 s, full about 2 s.
"""
from lessons import Lesson
lesson = Lesson(__file__)
lesson.claim("one is one", 1, near=1, within=0)
lesson.finish()
'''

# The course in a folder of its own, and its command line: the first argument is the folder.
COURSE = """
import sys
from pathlib import Path
import lessons
from lessons.__main__ import main
lessons.FOLDER = Path(sys.argv[1])
"""


def small_cifar10():
    """The source of lesson 09 with a tiny network, few pictures and four epochs."""
    source = (ROOT / "lessons" / "09_cifar10_network.py").read_text()
    quick = next(line for line in source.splitlines() if line.startswith("QUICK = "))
    tiny = quick
    for ours, smaller in (
        ("(16, 32)", "(2, 3)"),
        ("train=1200", "train=200"),
        ("test=500", "test=100"),
        ("batch=24", "batch=50"),
        ("epochs=6", "epochs=4"),
        ("starts=3", "starts=1"),
    ):
        assert ours in tiny, ours
        tiny = tiny.replace(ours, smaller)
    return source.replace(quick, tiny).replace("10_000), test", "500), test")


def script(*arguments, limit=60, **environment):
    """Run Python on these arguments, as from a shell, for so many seconds at most."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=limit,
        env=os.environ | {key: str(value) for key, value in environment.items()},
    )


def assert_one_line_error(result, *words):
    assert result.returncode == 2, result
    assert len(result.stderr.strip().splitlines()) == 1 and "Traceback" not in result.stderr, result.stderr
    for word in words:
        assert str(word) in result.stderr

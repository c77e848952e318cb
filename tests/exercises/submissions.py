"""Thirty submissions, sixteen of them hostile: python tests/exercises/submissions.py [-v] [--feedback] [N …] grades
them.

With --feedback it is found out what to tell each of them, which is most of the work.

Each hostile one hands in wrong answers, and something that is to hide it or to harm others. `os` is had without an
import, since `import os` is refused before anything runs.
"""

import ast
import os
import sys
import tempfile
import time
from pathlib import Path

from lessons.exercises import grade, sandbox
from lessons.exercises.folder import exercises

OS = "os = print.__self__.__import__('os'); system = print.__self__.__import__('sys')\n"
EVERY_FD = "for fd in range(1, 64):\n    try:\n        os.write(fd, data)\n    except OSError:\n        pass\n"

HOSTILE = {
    "endless": "while True:\n    pass\n",
    "asleep": OS + "print.__self__.__import__('time').sleep(1e6)\n",
    "fork_bomb": OS + "while True:\n    try:\n        os.fork()\n    except OSError:\n        break\n",
    "threads": OS
    + "threading = print.__self__.__import__('threading')\nhold_on = threading.Event()\nwhile True:\n"
    + "    threading.Thread(target=hold_on.wait, daemon=True).start()\n",
    "memory": "hoard = []\nwhile True:\n    hoard.append(bytearray(1 << 26))\n",
    "output": OS + "for _ in range(1024):\n    print('x' * (1 << 20))\n    os.write(1, b'x' * (1 << 20))\n",
    "exits": OS + "raise SystemExit(0)\n",
    "exits_at_once": OS + "os._exit(0)\n",
    "crashes": OS + "print.__self__.__import__('ctypes').string_at(0)\n",
    "deletes": OS
    + "shutil = print.__self__.__import__('shutil')\nfor place in ('{class}', '{course}', '.'):\n"
    + "    shutil.rmtree(place, ignore_errors=True)\n"
    + "    try:\n        print.__self__.open(place + '/harm', 'w').write('harm')\n    except OSError:\n        pass\n",
    "patches": OS
    + "import numpy as np\nnp.allclose = np.array_equal = lambda *a, **k: True\n"
    + "for name, module in list(system.modules.items()):\n"
    + "    for key in ('agree', 'hold', 'passes', 'judge', 'try_laws', '_first_failure', '_tried', '_same', 'given'):\n"
    + "        if name.startswith(('lessons', 'hypothesis', 'exercise')) and hasattr(module, key):\n"
    + "            setattr(module, key, lambda *a, **k: None)\n"
    + "print.__self__.all = print.__self__.any = lambda *a: True\n",
    "forges": OS
    + "import_json = print.__self__.__import__('json')\n"
    + "data = import_json.dumps({'status': 'right', 'result': None, 'error': None}).encode() + b'\\n'\n"
    + EVERY_FD
    + "data = len(data).to_bytes(8, 'little') + data\n"
    + EVERY_FD,
    "looks_up_the_stack": OS
    + "frame = system._getframe()\nwhile frame:\n    for name, value in list(frame.f_locals.items()):\n"
    + "        try:\n            for law in value.laws:\n                law.function = lambda *a: None\n"
    + "            value['status'] = 'right'\n        except Exception:\n            pass\n"
    + "    frame = frame.f_back\n",
    "kills": OS
    + "for pid in (os.getppid(), -1, 0):\n    try:\n        os.kill(pid, 9)\n    except OSError:\n        pass\n",
    "copies": OS
    + "try:\n    text = print.__self__.open('{class}/right_1/{file}').read()\n"
    + "    print.__self__.exec(text, globals_of_this := system._getframe().f_globals)\n    done = True\n"
    + "except OSError:\n    done = False\n",
    "calls_home": OS + "socket = print.__self__.__import__('socket')\nsocket.socket().connect(('127.0.0.1', 9))\n",
}
ENDS = {"copies"}  # what it does comes after the wrong answer


def write(folder, chosen):
    """Write the submissions; return {name: the numbers of the exercises that are right}."""
    numbers, wanted = [exercise.number for exercise in chosen], {}
    for place in range(8):  # right, each in words of its own
        wanted[f"right_{place}"] = set(numbers)
        for exercise in chosen:
            give(folder / f"right_{place}", exercise, exercise.source() + f"\n\nme = {place}\n")
    for place in range(3):  # known mistakes
        wanted[f"wrong_{place}"] = set()
        for exercise in chosen:
            mistakes = exercise.mistakes
            give(folder / f"wrong_{place}", exercise, mistakes[place % len(mistakes)].source)
    wanted["half"] = set(numbers[::2])
    for exercise in chosen:
        give(folder / "half", exercise, exercise.source() if exercise.number in wanted["half"] else exercise.stub())
    wanted["stubs"] = wanted["nothing"] = set()
    (folder / "nothing").mkdir()
    for exercise in chosen:
        give(folder / "stubs", exercise, exercise.stub())
    for name, text in HOSTILE.items():
        wanted[name] = set()
        for exercise in chosen:
            course = str(Path(grade.__file__).parents[1])
            said = text.replace("{class}", str(folder)).replace("{course}", course).replace("{file}", exercise.answer)
            give(folder / name, exercise, with_code(exercise.mistakes[0].source, said, name in ENDS))
    return wanted


def with_code(source, code, at_the_end):
    """The source with code behind its imports, or at its end."""
    if at_the_end:
        return f"{source}\n\n{code}"
    body = ast.parse(source).body
    last = max((n.end_lineno for n in body if isinstance(n, (ast.Import, ast.ImportFrom))), default=body[0].end_lineno)
    lines = source.split("\n")
    return "\n".join([*lines[:last], code, *lines[last:]])


def give(folder, exercise, text):
    folder.mkdir(exist_ok=True)
    (folder / exercise.answer).write_text(text, "utf-8")


def found(submissions):
    return {s.name: {n for n, verdict in s.verdicts.items() if verdict["status"] == "right"} for s in submissions}


def main(wanted_exercises):
    if missing := sandbox.missing():
        sys.exit(f"not here, where they would do harm: {missing}")
    chosen, jobs = exercises(wanted_exercises), os.cpu_count() or 1
    last = {exercise.answer: exercise for exercise in chosen}  # of those that share a file: it holds one answer
    chosen = list(last.values())
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        start = time.monotonic()
        diagnose = "--feedback" in sys.argv
        manners = {n: m for n, m in grade.learn(chosen, jobs, diagnose=diagnose).items() if m.works}
        chosen = [exercise for exercise in chosen if exercise.number in manners]
        learnt = time.monotonic()
        wanted = write(folder, chosen)
        before = {path: path.read_bytes() for path in folder.glob("*/*")}
        submissions = grade.find(folder, chosen)
        grade.grade(submissions, manners, jobs)
        done = time.monotonic()
        print("\n".join(grade.table(submissions, chosen, grade.Rules())))
        for submission in submissions if "-v" in sys.argv else ():
            for number, verdict in submission.verdicts.items():
                print(submission.name, number, verdict["status"], verdict.get("message", ""), verdict.get("line", ""))
        came = found(submissions)
        wrong = {name: sorted(came[name] ^ wanted[name]) for name in wanted if came[name] != wanted[name]}
        untouched = before == {path: path.read_bytes() for path in folder.glob("*/*")}
    used = sum(os.times()[:4])
    print(
        f"{len(wanted)} submissions, {len(chosen)} exercises: {learnt - start:.0f} s before and {done - learnt:.0f} s"
    )
    print(f"{used:.0f} s of processor time")
    print("right marks for all" if not wrong else f"wrong marks: {wrong}")
    print("no file was changed" if untouched else "FILES WERE CHANGED")
    return 0 if not wrong and untouched else 1


if __name__ == "__main__":
    sys.exit(main([argument for argument in sys.argv[1:] if not argument.startswith("-")]))

"""The learner's folder: `python -m lessons exercises DIR` writes a stub for each exercise, never over their work."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from lessons import Parser, UsageError, runner, writable_folder, write_text
from lessons.exercises import files, load

STATE = ".exercises.json"


@dataclass
class State:
    """What has been done in a folder: of each exercise, the text of the right answer, and how many hints were shown."""

    folder: Path
    done: dict = field(default_factory=dict)
    hints: dict = field(default_factory=dict)

    @classmethod
    def of(cls, folder):
        """The state of a folder of exercises; UsageError if it is none."""
        try:
            kept = json.loads((folder / STATE).read_text("utf-8"))
            return cls(folder, dict(kept["done"]), dict(kept["hints"]))
        except FileNotFoundError:
            write = f"`{runner()} exercises DIR` writes them, and --dir DIR says where they are"
            raise UsageError(f"there are no exercises in {folder.resolve()}: {write}") from None
        except (OSError, ValueError, KeyError, TypeError):
            return cls(folder)  # damaged: nothing counts as done, and the next check tells

    def save(self):
        kept = {"done": self.done, "hints": self.hints}
        write_text(self.folder / STATE, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")

    def is_done(self, exercise):
        """Whether the answer is the one that was found right."""
        path = self.folder / exercise.answer
        if exercise.number not in self.done or not path.exists():
            return False
        return self.done[exercise.number] == exercise.counted(path.read_text("utf-8", "replace"))


def exercises(wanted=()):
    """The exercises "3.2", those of lesson "3" or of the "engine", or all of them, in their order."""
    found = files()
    for text in wanted:
        if text not in found and not any(number.startswith(f"{text}.") for number in found):
            lessons = list(dict.fromkeys(number.partition(".")[0] for number in found))
            raise UsageError(
                f"there is no exercise {text!r}; those of lesson 3 are 3.1 and so on ({', '.join(lessons)})"
            )
    chosen = [n for n in found if not wanted or any(n == text or n.startswith(f"{text}.") for text in wanted)]
    return [load(found[number]) for number in chosen]


def write(folder):
    """Write the stubs that are not in the folder yet; return their paths."""
    folder, written = writable_folder(Path(folder)), []
    for exercise in exercises():
        path = folder / exercise.answer
        if not path.exists():
            write_text(path, exercise.stub())
            written.append(path)
        if exercise.shared:  # nothing of theirs is in there
            write_text(folder / exercise.task, f"# {exercise.docstring}\n")
    if not (folder / STATE).exists():
        State(folder).save()
    return written


def reset(folder, wanted):
    """Put the stub of each exercise back; what was there is kept under another name. Return (path, copy) of each."""
    state, moved = State.of(Path(folder)), []
    for exercise in exercises([wanted]):
        path = state.folder / exercise.answer
        before = path.read_text("utf-8", "replace") if path.exists() else exercise.stub()
        fresh = exercise.put_back(before)
        if before != fresh:
            copy = path.with_name(f"{path.stem}.{time.strftime('%Y%m%d-%H%M%S')}.txt")
            if copy not in [copy for _, copy in moved]:  # else it holds what several exercises share
                path.replace(copy)
                moved.append((path, copy))
        write_text(path, fresh)
        state.done.pop(exercise.number, None)
        state.hints.pop(exercise.number, None)
    state.save()
    return moved


def main(arguments):
    """`python -m lessons exercises DIR`; the exit code."""
    parser = Parser(prog=f"{runner()} exercises", description="Write the exercises into a folder of yours.")
    parser.add_argument("folder", metavar="DIR", type=Path)
    parser.add_argument("--reset", metavar="N", help="put the stub of exercise 3.2, or all of lesson 3, back")
    flags = parser.parse_args(arguments)
    if flags.reset:
        for path, copy in reset(flags.folder, flags.reset):
            print(f"{path}: as at the beginning; your version is kept in {copy.name}")
        return 0
    written = write(flags.folder)
    print(f"{len(files())} exercises: {len(written)} files written to {flags.folder}/; what was there is as it was")
    print(f"Start with: {runner()} check --dir {flags.folder}")
    return 0

"""`python -m lessons check`: the first exercise that is not done yet, judged by its laws, with what to do next."""

import argparse
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path

from lessons import Parser, UsageError, docstring, runner
from lessons.exercises import files, judge, load
from lessons.exercises.folder import State, exercises

WIDTH = 100
LINES = 20  # of what an answer prints


def main(arguments):
    """Check exercises; the exit code: 0 all that were asked for are done, 1 one is not."""
    parser = Parser(prog=f"{runner()} check", description=docstring(Path(__file__)))
    parser.add_argument(
        "which", nargs="*", metavar="N", help="an exercise, 3.2, or those of a lesson, 3; all, in order"
    )
    parser.add_argument("--dir", type=Path, default=Path(), help="the folder of your exercises (default: this one)")
    parser.add_argument("--hint", action="store_true", help="a hint for the first that is not done; again: another one")
    parser.add_argument("--watch", action="store_true", help="check again whenever you save, until all are done")
    parser.add_argument("--reset", action="store_true", help=argparse.SUPPRESS)
    flags = parser.parse_args(arguments)
    if flags.reset:
        place = flags.which[0] if flags.which else "3.2"
        raise UsageError(f"`{runner()} exercises {flags.dir} --reset {place}` puts a stub back, and keeps your version")
    try:
        import hypothesis  # noqa: F401
    except ImportError:
        raise UsageError("the laws are tried with hypothesis: pip install hypothesis") from None
    state, chosen, failed, checked = State.of(flags.dir), exercises(flags.which), None, False
    while True:
        open_ones = [exercise for exercise in chosen if not state.is_done(exercise)]
        if failed and failed not in open_ones:  # it is now as it was when it passed
            print("\n".join([_head(failed), "  right: you had it like this before", ""]))
        if not open_ones:
            before = "" if checked else ", found right before and not edited since"
            print(f"{progress(state)}\nAll done: {' '.join(flags.which) or 'every exercise'}{before}.")
            return 0
        exercise = open_ones[0]
        if flags.hint:
            print("\n".join(hint(exercise, state)))
            return 1
        stamp = stamp_of(state, exercise)
        verdict = judge.run(exercise, (state.folder / exercise.answer).resolve())
        if verdict["status"] == "right":
            state.done[exercise.number] = exercise.counted((state.folder / exercise.answer).read_text("utf-8"))
            state.save()
        print("\n".join([*report(exercise, verdict), "", progress(state)]))
        failed, checked = None, True
        if verdict["status"] == "right":
            if len(open_ones) > 1 and not go_on(open_ones[1]):
                return 0
        elif not flags.watch or not wait_for_change(state, exercise, stamp):
            return 1
        else:
            failed = exercise
        print()


def report(exercise, verdict):
    """The lines that tell a learner how their answer did."""
    file, status = exercise.answer, verdict["status"]
    at = f"{file}, line {verdict['line']}" if verdict.get("line") else file
    lines = [_head(exercise)]
    if verdict.get("printed"):
        lines += ["  your program printed:"] + [f"  | {line}" for line in verdict["printed"].splitlines()[-LINES:]]
    if status == "right":
        lines += ["  right:", *(f"  - {law.text}" for law in exercise.laws)]
        return lines + [f"  {note}" for note in verdict.get("notes", ())]
    if status == "todo":
        names = ", ".join(verdict["names"])
        return [*lines, f"  not written yet: {names}", *_wrapped(f"The task stands at the top of {exercise.task}.")]
    if status == "tampered":
        return [*lines, *_wrapped("With this file loaded, wrong answers pass as well: it changes what the laws use.")]
    if status == "endless":
        lines += [f"  {at}: not finished after {verdict['seconds']:g} seconds; an endless loop?"]
        return lines + ([f"  tried then: {verdict['law']}"] if verdict.get("law") else [])
    if status in ("syntax", "forbidden", "error"):
        words = {"syntax": "Python cannot read this: ", "forbidden": "not allowed here: ", "error": ""}[status]
        lines += _wrapped(f"{at}: {words}{verdict['message']}")
        lines += [f"  in {verdict['call']}"] if verdict.get("call") else []
        lines += [line for cause in verdict.get("causes", ()) for line in _wrapped(f"Likely cause: {cause}")]
        return [*lines, *_look(exercise)]
    lines += [f"  not so: {verdict['law']}"]
    lines += [f"  called:    {verdict['call']}"] if verdict["call"] else []
    lines += [f"  looked at: {verdict['what']}", f"  came:      {verdict['came']}"]
    lines += [f"  should be: {verdict['wanted']}"]
    for cause in verdict["causes"]:
        lines += _wrapped(f"Likely cause: {cause}")
    return [*lines, *_look(exercise)]


def hint(exercise, state):
    """The lines of the next hint, which is then counted; at the end all of them again."""
    shown = state.hints[exercise.number] = min(state.hints.get(exercise.number, 0) + 1, len(exercise.hints))
    state.save()
    lines = [_head(exercise)]
    for place, text in enumerate(exercise.hints[:shown], 1):
        lines += _wrapped(f"Hint {place} of {len(exercise.hints)}: {text}")
    return lines + ([] if shown < len(exercise.hints) else ["  There are no more hints."])


def progress(state):
    """A line with a bar, how many exercises are done, and which were once but have been edited since."""
    everything = files()
    once = [number for number in everything if number in state.done]
    edited = [number for number in once if not state.is_done(load(everything[number]))]
    done = len(once) - len(edited)
    filled = round(30 * done / len(everything))
    line = f"[{'#' * filled}{'.' * (30 - filled)}] {done} of {len(everything)} exercises done"
    return line + (f"; edited since they were, to be checked again: {', '.join(edited)}" if edited else "")


def go_on(following):
    """Whether to go on to the next exercise: on a terminal it asks."""
    if not sys.stdin.isatty():
        return True
    with suppress(EOFError):
        return input(f"\nGo on to {following.number}, {following.title}? [Y/n] ").strip().lower() in ("", "y", "yes")
    return False


def wait_for_change(state, exercise, stamp):
    """Wait until the answer is saved again; False on Ctrl-C."""
    print(f"\nWaiting for you to save {exercise.answer}; Ctrl-C ends this.", flush=True)
    try:
        while stamp_of(state, exercise) == stamp:
            time.sleep(0.2)
    except KeyboardInterrupt:
        return False
    return True


def stamp_of(state, exercise):
    """What changes when the answer is saved."""
    path = state.folder / exercise.answer
    with suppress(OSError):
        return path.stat().st_mtime_ns, path.stat().st_size
    return None


def _head(exercise):
    return f"{exercise.number}  {exercise.title}   ({exercise.answer})"


def _look(exercise):
    return [f"  Look at {exercise.where}; the same command with --hint gives a hint."]


def _wrapped(text):
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)

"""Run the course: python -m lessons [N | N-M | all …] [flags]. The lessons of part one, in order, quick, by default."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import minigrad as mg
from lessons import (
    Parser,
    UsageError,
    add_flags,
    check_writable,
    choose_data,
    choose_device,
    docstring,
    equations,
    fingerprint,
    further_files,
    is_further,
    lesson_files,
    lesson_name,
    lesson_number,
    notebook,
    report_error,
    runner,
    show_what_can_be_shown,
    site,
    sweep,
    title,
    writable_folder,
    write_text,
)
from lessons.exercises import check, folder, grade
from minigrad import blas
from minigrad.settings import SETTINGS

VERBS = {"notebooks": notebook.main, "site": site.main, "exercises": folder.main}
VERBS |= {"check": check.main, "grade": grade.main, "sweep": sweep.main}
LAST_OF_PART_ONE = 9  # what comes after it is run by number
MOST_CLAIMS = 20  # of one lesson; a further chapter may make more


def main(arguments=None):
    """Run lessons one after the other; return the exit code: 0 all good, 1 a lesson or claim failed, 2 usage."""
    show_what_can_be_shown()
    what = "Run the lessons, in order; those of part one by default."
    what += " `notebooks DIR` writes them as notebooks, `site DIR` as a website, `exercises DIR` the exercises, which"
    what += " `check` judges, and `grade FOLDER` those of many learners; `sweep 9` trains lesson 9's grid of runs. Each"
    what += " has a --help of its own."
    parser = Parser(prog=runner(), description=what)
    parser.add_argument("lessons", nargs="*", metavar="N", help="a lesson's number, a range N-M, or all")
    parser.add_argument("--further", action="store_true", help="run the further chapters (of these lessons) instead")
    parser.add_argument(
        "--list", action="store_true", help="list lessons and further chapters with the time each takes, and stop"
    )
    parser.add_argument(
        "--equations",
        action="store_true",
        help="list the paper's equations and claims, each with its function, test and lesson, and stop",
    )
    parser.add_argument("-x", "--exit-first", action="store_true", help="stop at the first lesson that fails")
    parser.add_argument("--json", metavar="FILE", help="also write the summary there")
    add_flags(parser)
    try:
        arguments = sys.argv[1:] if arguments is None else arguments
        if arguments and arguments[0] in VERBS:
            return VERBS[arguments[0]](arguments[1:])
        flags = parser.parse_args(arguments)
        if flags.equations:
            print(equations.text())
            return 0
        chosen = select(flags.lessons or ["all"] * flags.list, flags.further)
        if flags.list:
            print_list({lesson_number(file) for file in chosen})
            return 0
        return run_all(chosen, flags)
    except (Exception, KeyboardInterrupt) as error:
        code = report_error(type(error), error)
        if code is None:
            raise
        return code


def select(wanted, further=False):
    """The files of the lessons asked for ("3", "3-8"), or of part one; of their further chapters; or, "all", of all."""
    files = lesson_files()
    numbers = set() if wanted else {number for number in files if number <= LAST_OF_PART_ONE}
    for text in wanted:
        if text == "all":
            return [*files.values(), *further_files()]
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
        if not match:
            raise UsageError(f"{text!r} is not a lesson's number, a range such as 3-8, or all; see --list")
        first, last = int(match[1]), int(match[2] or match[1])
        found = {number for number in files if first <= number <= last}
        if not found:
            raise UsageError(f"there is no lesson {text}; there are {', '.join(map(str, files))}")
        numbers |= found
    if not further:
        return [files[number] for number in sorted(numbers)]
    chosen = [file for file in further_files() if lesson_number(file) in numbers]
    if not chosen:
        raise UsageError(f"there are no further chapters to {' '.join(wanted) or 'any lesson'}; see --list")
    return chosen


def print_list(numbers):
    """The lessons with these numbers, each with its further chapters below it."""
    for number, lesson in lesson_files().items():
        if number in numbers:
            print(f"{number:02d}  {title(lesson)}  ({duration(lesson)})")
            for file in further_files():
                if lesson_number(file) == number:
                    print(f"    {lesson_name(file)}  {title(file)}  ({duration(file)})")


def duration(file):
    """What the lesson's docstring says after "Time:"."""
    match = re.search(r"^Time: (.*?)\.?$", docstring(file), re.MULTILINE)
    return match[1] if match else "time not stated"


def run_all(chosen, flags):
    """Run each lesson in a process of its own, then print the table of claims."""
    device, data = choose_device(flags.device), choose_data(flags.data, flags.download)
    out = writable_folder(Path(flags.out))
    summaries = [out / "summary.json", *([Path(flags.json)] if flags.json else [])]
    for path in summaries:
        check_writable(path)  # now rather than after all lessons
    print(f"device {device}, data {data}, {'full' if flags.full else 'quick'}, seed {flags.seed}, output in {out}/")
    print(f"BLAS: {blas_of_lessons()}\n")
    results = []
    for file in chosen:
        name = lesson_name(file)
        metrics_file = out / name / "metrics.json"
        finished = None if flags.fresh else read_metrics(metrics_file)
        if finished and finished.get("fingerprint") == fingerprint(file, flags, data) and all_hold(finished):
            print(f"{name}: finished before with the same source and flags, not run again (--fresh runs it)\n")
            results.append(finished)
            continue
        before = metrics_file.stat().st_mtime_ns if metrics_file.exists() else None
        code = run(file, flags)
        print(flush=True)
        if code in (2, 130, 141, 143):
            return code
        metrics = read_metrics(metrics_file)
        if metrics is None or metrics_file.stat().st_mtime_ns == before or code != (0 if all_hold(metrics) else 1):
            metrics = {"lesson": name, "claims": [], "seconds": 0.0, "crashed": True}
        results.append(metrics)
        if flags.exit_first and not all_hold(results[-1]):
            break
    print_table(results)
    summary = {"full": flags.full, "seed": flags.seed, "device": device, "data": data, "lessons": results}
    for path in summaries:
        write_text(path, json.dumps(summary, indent=1) + "\n")
    return 0 if all(map(all_hold, results)) else 1


def blas_of_lessons():
    """With which BLAS lessons run, and whose choice its kernels are."""
    kernels = mg.config.environment().get(blas.VARIABLE)
    if kernels == os.environ.get(blas.VARIABLE):
        return mg.config.blas_description()
    faster = (
        f"lessons run with {blas.VARIABLE}={kernels}, which is faster ({SETTINGS['blas_kernels'].variable}=0: without)"
    )
    return f"{mg.config.blas_description()}; {faster}"


def run(file, flags):
    """Run one lesson; its exit code. Ctrl-C and SIGTERM reach the lesson too, which gets time to clean up."""
    command = [sys.executable, str(file), "--full" if flags.full else "--quick"]
    command += [f"--{name}={getattr(flags, name)}" for name in ("device", "data", "seed", "out")]
    command += [f"--{name}" for name in ("fresh", "show", "download") if getattr(flags, name)]
    process, terminated = None, False

    def terminate(*_):
        nonlocal terminated
        terminated = True
        if process:
            process.terminate()

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        process = subprocess.Popen(command, env=mg.config.environment())
        if terminated:  # in between
            process.terminate()
        code = process.wait()
    except KeyboardInterrupt:
        process.wait()
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
    return 143 if terminated else code


def read_metrics(path):
    """What a finished lesson has written, or None."""
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return metrics if isinstance(metrics, dict) else None


def all_hold(metrics):
    """Whether a lesson came to its end and all its claims hold."""
    return not metrics.get("crashed") and all(claim["holds"] for claim in metrics["claims"])


def shown(name):
    """A lesson's name in the table: "05", or "05_adam" for a further chapter."""
    return name.removeprefix("further/") if is_further(name) else name[:2]


def print_table(results):
    """lesson, verdict, measured, expected, claim: a line per claim, and those that do not hold again at the end."""
    head = ("lesson", "verdict", "measured", "expected", "claim")
    rows = []
    for metrics in results:
        for claim in metrics["claims"]:
            verdict = "holds" if claim["holds"] else "DOES NOT HOLD"
            rows.append(
                (shown(metrics["lesson"]), verdict, f"{claim['measured']:.6g}", claim["expected"], claim["text"])
            )
        if metrics.get("crashed"):
            rows.append((shown(metrics["lesson"]), "FAILED", "", "", "(the lesson did not come to its end)"))
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(4)] + [0]  # claims are long, and come last
    failed = [row for row in rows if row[1] != "holds"]
    for row in [head, *rows, *([("",) * 5, *failed] if failed else [])]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    seconds = sum(m["seconds"] for m in results)
    held, total = sum(c["holds"] for m in results for c in m["claims"]), sum(len(m["claims"]) for m in results)
    for metrics in results:
        if len(metrics["claims"]) > MOST_CLAIMS and not is_further(metrics["lesson"]):
            print(
                f"\n{metrics['lesson']} makes {len(metrics['claims'])} claims; at most {MOST_CLAIMS} belong in a lesson"
            )
    print(f"\n{len(results)} lessons, {held} of {total} claims hold, {seconds:.0f} s")


def command():
    """What `python -m lessons` and the installed command do: `main`, and silence once nobody reads what it prints."""
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError as error:
        code = report_error(type(error), error)
    return code


if __name__ == "__main__":
    sys.exit(command())

"""`python -m lessons grade FOLDER`: the submissions in a folder, one subfolder a student, judged by the laws."""

import csv
import gc
import io
import json
import os
import selectors
import signal
import stat
import sys
import tempfile
import time
import tomllib
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lessons import Parser, UsageError, check_writable, docstring, runner, whole_number, writable_folder, write_text
from lessons.exercises import judge, remote, sandbox, screen
from lessons.exercises.check import report
from lessons.exercises.folder import exercises

MEMORY = 2 << 30  # bytes for an answer, beyond what Python and NumPy take
LARGEST = 1 << 20  # bytes of a file that is taken for an answer
PATIENCE = 2  # answers of a submission that may run until their time is over; then
IMPATIENT = 1.0  # second is left to each of the others, or as much as three times the solution takes
IDLE = 2.0  # times its processor time an answer may be waited for
MORE = 60.0  # seconds by the clock for judging, beyond those that the answer may take
MARKS = {"right": "+", "todo": ".", "missing": " ", "endless": "t", "tampered": "!", "forbidden": "!"}
FORKS = sys.platform.startswith("linux")
RULES = """\
# Points for each exercise: of one, of those of a lesson, or of all others.
[points]
default = 1
# "3.1" = 2
# engine = 3

# Without a due date nothing is late.
[late]
# due = 2030-01-31T23:59:00+01:00
grace_minutes = 15
per_day = 0.1      # the part of the points that each day begun takes off
at_most = 1.0      # never more than this part

# When a submission came; without an entry, the time of its newest file counts.
[submitted]
# ada = 2030-02-01T08:00:00+01:00

# Days more for a student.
[extension]
# ada = 2
"""


class Rules:
    """The teacher's rules, from a TOML file; the default ones stand in RULES."""

    def __init__(self, text=""):
        try:
            given, ours = tomllib.loads(text), tomllib.loads(RULES)
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"the rules cannot be read: {error}") from None
        for table, content in given.items():
            if table not in ours:
                raise UsageError(f"the rules know no [{table}]; they know {', '.join(ours)}")
            if not isinstance(content, dict):
                raise UsageError(f"in the rules, {table} is a table: [{table}]")
        self.points = ours["points"] | given.get("points", {})
        self.late = {"due": None} | ours["late"] | given.get("late", {})
        self.submitted, self.extension = given.get("submitted", {}), given.get("extension", {})
        if unknown := self.late.keys() - {"due", "grace_minutes", "per_day", "at_most"}:
            raise UsageError(f"the rules know no {', '.join(sorted(unknown))} in [late]")
        numbers = self.points | {k: v for k, v in self.late.items() if k != "due"} | self.extension
        for name, number in numbers.items():
            if not isinstance(number, (int, float)) or isinstance(number, bool) or not 0 <= number < 1e9:
                raise UsageError(f"in the rules, {name} is a number from 0 up, not {number!r}")
        for name, when in [*self.submitted.items(), *([("due", self.late["due"])] if self.late["due"] else [])]:
            if not isinstance(when, datetime):
                raise UsageError(f"in the rules, {name} is a time such as 2030-01-31T23:59:00+01:00, not {when}")

    def of(self, exercise):
        """The points of an exercise."""
        lesson = exercise.number.partition(".")[0]
        return next(self.points[key] for key in (exercise.number, lesson, "default") if key in self.points)

    def days_late(self, submission):
        """How many days after the due date, extensions included, a submission came: days begun, 0 in time."""
        if not self.late["due"]:
            return 0
        due = self.late["due"].astimezone(UTC) + timedelta(days=self.extension.get(submission.name, 0))
        came = self.submitted.get(submission.name) or submission.newest
        if came is None:
            return 0
        after = came.astimezone(UTC) - due
        return 0 if after <= timedelta(minutes=self.late["grace_minutes"]) else -(-after // timedelta(days=1))

    def kept(self, days):
        """The part of the points that is left after so many days."""
        return 1 - min(self.late["per_day"] * days, self.late["at_most"])


@dataclass
class Submission:
    """A student's folder: where the answers are, when the newest was saved, and the verdict on each."""

    name: str
    folder: Path
    answers: dict = field(default_factory=dict)
    newest: datetime | None = None
    verdicts: dict = field(default_factory=dict)

    def look(self, chosen):
        """Find the answers: regular files, the one nearest to the top of the folder where there are several."""
        wanted, times = {exercise.answer for exercise in chosen}, []
        for place, folders, names in os.walk(self.folder):
            depth = len(Path(place).relative_to(self.folder).parts)
            folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))[:100] if depth < 3 else []
            for name in wanted.intersection(names) - self.answers.keys():
                about = os.lstat(path := Path(place, name))
                if stat.S_ISREG(about.st_mode):
                    self.answers[name] = path
                    times.append(about.st_mtime)
        if times:
            self.newest = datetime.fromtimestamp(max(times), UTC)
        return self

    def points(self, rules, chosen):
        return sum(rules.of(exercise) for exercise in chosen if self.verdicts[exercise.number]["status"] == "right")

    def marks(self, chosen):
        """A character for each exercise."""
        return "".join(MARKS.get(self.verdicts[exercise.number]["status"], "-") for exercise in chosen)


def read_answer(path):
    """The text of an answer; ValueError if it is none."""
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is not a file")
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError("it has more than a megabyte")
    return data.decode("utf-8").replace("\r\n", "\n")


# ---- one answer -----------------------------------------------------------------------------------------------------


@dataclass
class Manner:
    """How an exercise is judged: with the answer in a process apart from the laws, or, where the laws need it (they
    hand it objects of the library), in the same. Its own solution tells which.
    """

    exercise: object
    apart: bool = True
    kinds: set | None = None  # of what the solution returns beside numbers and arrays
    seconds: float = 10.0
    took: float = 0.0
    works: bool = False
    diagnose: bool = True  # whether students are told what is wrong


def judged(manner, text, seconds):
    """The verdict on the text of an answer."""
    with tempfile.TemporaryDirectory(prefix="grade") as folder:
        path = Path(folder, manner.exercise.answer)
        path.write_text(text, "utf-8")
        if not manner.apart:
            return judged_together(manner, path, seconds)
        verdict = judged_apart(manner, path, seconds)
        if verdict["status"] == "right" and "changes" in set(verdict["kinds"]) - (
            manner.kinds if manner.kinds is not None else {"changes"}
        ):
            return judged_apart(manner, path, seconds, takes_changes=False)  # it may have made the laws easy to keep
        return verdict


def judged_apart(manner, path, seconds, takes_changes=True):
    """The verdict, with the laws in this process and the answer in another one."""
    exercise, process, client = manner.exercise, None, None

    def opened(source):
        nonlocal process, client
        about = {"source": source, "uses": list(exercise.uses), "seconds": seconds, "memory": MEMORY}
        if FORKS:
            process = remote.Process(
                lambda channel: remote.serve(channel, **about, enter=sandbox.enter), IDLE * seconds
            )
        else:
            process = remote.Started(about | {"cwd": str(path.parent)}, IDLE * seconds)
        client = remote.Client(process.channel, manner.kinds, takes_changes)
        return client.load(source, path.name)

    try:
        try:
            verdict = judge.judge(exercise, path, opened, manner.diagnose)
        except remote.Gone as error:
            client.gone, verdict = str(error), {}
        if client and not client.gone:
            with suppress(Exception):
                verdict["printed"] = str(client.ask("printed"))
        return _ended(verdict, process, seconds, client.gone if client else None) | {
            "kinds": sorted(client.seen) if client else []
        }
    finally:
        if process and not process.over:
            process.end()


def judged_together(manner, path, seconds):
    """The verdict, with laws and answer in one process, and more forbidden to the answer therefore."""
    exercise = manner.exercise
    text = path.read_text("utf-8")
    if refused := screen.refused(text, exercise.uses):
        return refused
    if not FORKS:
        return judge.run(exercise, path, seconds)

    def target(channel):
        sandbox.enter(seconds, MEMORY, reading=True)
        before = screen.functions()
        verdict = judge.judge(exercise, path, diagnose=manner.diagnose)
        if verdict["status"] == "right" and screen.exchanged(before):
            verdict = {"status": "tampered"}
        channel.send(verdict)
        os._exit(0)

    process, verdict, gone = remote.Process(target, IDLE * seconds), None, None
    try:
        verdict = process.channel.receive()
        if verdict.get("status") not in ("right", "todo", "syntax", "forbidden", "error", "wrong", "tampered"):
            raise remote.Gone("it says what nobody understands")
    except remote.Gone as error:
        gone = str(error)
    return _ended(verdict, process, seconds, gone)


def _ended(verdict, process, seconds, gone):
    """The verdict, or what there is to say where the answer's process did not live to see it."""
    if not process:
        return verdict
    code = process.end(patience=0.3 if gone and not process.late else 0)
    if not gone:
        return verdict
    if process.late or code == -getattr(signal, "SIGXCPU", 0):
        return {"status": "endless", "seconds": seconds, "line": None}
    words = f"its process ended by itself, with exit code {code}" if code is not None else gone
    return {"status": "error", "message": words, "line": None}


# ---- many answers ---------------------------------------------------------------------------------------------------


class Job:
    """A verdict in the making, in a process of its own."""

    def __init__(self, work, seconds):
        self.data, self.until = b"", time.monotonic() + seconds
        self.reader, writer = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = remote.fork()
        if not self.pid:
            code = 1
            with suppress(BaseException):
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                os.setpgid(0, 0)
                os.close(self.reader)
                sandbox.limit_memory(2 * MEMORY)  # what an answer returns may be a range(10**9)
                verdict = json.dumps(work()).encode()
                with open(writer, "wb") as file:
                    file.write(verdict)
                code = 0
            os._exit(code)
        os.close(writer)

    def read(self):
        """Take what has come; whether it has come to its end."""
        data = os.read(self.reader, 1 << 16)
        self.data += data
        return not data

    def end(self):
        """The verdict, after the end of all processes."""
        with suppress(ProcessLookupError, PermissionError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.reader)
        with suppress(ValueError):
            return json.loads(self.data)
        return {"status": "error", "message": "it made the process end that judges it", "line": None}


def run_all(tasks, jobs):
    """Yield (name, verdict) for each (name, work, seconds), `jobs` at a time, in the order in which they end.

    `tasks` is an iterator; it is asked for the next task when there is room for it.
    """
    tasks, running = iter(tasks), {}
    if not FORKS:
        for name, work, _ in tasks:
            yield name, work()
        return
    with selectors.DefaultSelector() as selector:
        try:
            more = True
            while more or running:
                while more and len(running) < jobs:
                    if (task := next(tasks, None)) is None:
                        more = False
                        break
                    name, work, seconds = task
                    job = Job(work, seconds)
                    running[job.reader] = name, job
                    selector.register(job.reader, selectors.EVENT_READ)
                ready = {key.fd for key, _ in selector.select(0.2)} if running else set()
                for fd, (name, job) in list(running.items()):
                    if (fd in ready and job.read()) or time.monotonic() > job.until:
                        selector.unregister(fd)
                        del running[fd]
                        yield name, job.end()
        finally:
            for _, job in running.values():
                job.end()


def learn(chosen, jobs, seed=None, diagnose=True):
    """{number: Manner}, by judging the solutions; what fails here can be asked of nobody."""
    warm_up()
    for exercise in chosen:
        for law in exercise.laws:
            judge.keep_cases(law, seed)
    gc.collect()
    gc.freeze()  # so that the processes to come share these pages
    manners = {e.number: Manner(e, seconds=e.seconds, diagnose=diagnose) for e in chosen}
    for apart in (True, False):
        tasks = []
        for number, manner in manners.items():
            if not manner.works:
                manner.apart = apart
                tasks.append((number, _timed(manner), 5 * IDLE * manner.seconds + MORE))
        for number, verdict in run_all(tasks, jobs):
            manner = manners[number]
            manner.works, manner.took = verdict["status"] == "right", verdict.get("took", 0.0)
            manner.kinds = set(verdict.get("kinds", ())) if manner.works and apart else None
            manner.seconds = max(manner.seconds, 5 * manner.took)
    return manners


def warm_up():
    """Have loaded, once for all processes, what hypothesis loads when it first looks for a counterexample."""
    import hypothesis.extra.numpy

    @hypothesis.settings(database=None, max_examples=10, print_blob=False)
    @hypothesis.given(hypothesis.extra.numpy.arrays(float, 3))
    def attempt(case):
        assert (case == 0).all()

    with suppress(Exception):
        attempt()


def _timed(manner):
    def work():
        verdict = judged(manner, manner.exercise.source(), 5 * manner.seconds)
        return verdict | {"took": sum(os.times()[:4])}

    return work


def grade(submissions, manners, jobs, told=lambda done: None):
    """Fill in the verdicts of all submissions on all exercises."""
    late, done = Counter(), 0

    def tasks():
        for submission in submissions:
            for number, manner in manners.items():
                path = submission.answers.get(manner.exercise.answer)
                if path is None:
                    submission.verdicts[number] = {"status": "missing"}
                    continue
                seconds = manner.seconds
                if late[submission.name] >= PATIENCE:
                    seconds = min(seconds, max(IMPATIENT, 3 * manner.took))
                yield (submission, number), _work(manner, path, seconds), IDLE * seconds + MORE

    for (submission, number), verdict in run_all(tasks(), jobs):
        submission.verdicts[number] = verdict
        late[submission.name] += verdict["status"] == "endless"
        told(done := done + 1)


def _work(manner, path, seconds):
    def work():
        try:
            text = read_answer(path)
        except (OSError, ValueError) as error:
            return {"status": "error", "message": f"the file cannot be read: {error}", "line": None}
        if text == manner.exercise.stub():
            return {"status": "todo", "names": sorted(manner.exercise.functions())}
        return judged(manner, text, seconds)

    return work


# ---- what the teacher sees ------------------------------------------------------------------------------------------


def table(submissions, chosen, rules):
    """The lines of the table: a student in each, a character for each exercise, points, and what being late costs."""
    lessons = {}
    for exercise in chosen:
        lessons.setdefault(exercise.number.partition(".")[0], []).append(exercise)
    total = sum(map(rules.of, chosen))
    rows = [["", *lessons, f"of {total:g}", "late", "points"]]
    for submission in submissions:
        days = rules.days_late(submission)
        points = submission.points(rules, chosen)
        late = f"{days} d" if days else ""
        marks = [submission.marks(some) for some in lessons.values()]
        rows.append([printable(submission.name), *marks, f"{points:g}", late, f"{points * rules.kept(days):g}"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    legend = "+ right   - wrong, or it fails   t no end   ! forbidden   . not written   (nothing) not handed in"
    return [*lines, "", legend]


def as_csv(submissions, chosen, rules):
    """The same as CSV: for each exercise its points and its verdict."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    numbers = [exercise.number for exercise in chosen]
    verdicts = [f"{number} verdict" for number in numbers]
    writer.writerow(["student", *numbers, "sum", "of", "days late", "points", *verdicts])
    total = sum(map(rules.of, chosen))
    for submission in submissions:
        found = [submission.verdicts[number]["status"] for number in numbers]
        points = [rules.of(e) if status == "right" else 0 for e, status in zip(chosen, found, strict=True)]
        days = rules.days_late(submission)
        name = printable(submission.name)
        name = f"'{name}" if name[:1] in tuple("=+-@") else name  # a spreadsheet would compute it
        kept = round(sum(points) * rules.kept(days), 6)
        writer.writerow([name, *points, sum(points), total, days, kept, *found])
    return out.getvalue()


def as_gradescope(submission, chosen, rules, seconds):
    """What Gradescope reads as results.json."""
    days = rules.days_late(submission)
    tests = []
    for exercise in chosen:
        verdict, most = submission.verdicts[exercise.number], rules.of(exercise)
        right = verdict["status"] == "right"
        tests.append(
            {
                "name": f"{exercise.number} {exercise.title}",
                "number": exercise.number,
                "score": most if right else 0,
                "max_score": most,
                "status": "passed" if right else "failed",
                "output": feedback(exercise, verdict),
                "output_format": "text",
                "visibility": "visible",
            }
        )
    points = submission.points(rules, chosen)
    late = f"{days} days late: {points:g} points become {points * rules.kept(days):g}." if days else ""
    return {
        "score": round(points * rules.kept(days), 6),
        "execution_time": round(seconds, 1),
        "output": late,
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": tests,
    }


def feedback(exercise, verdict):
    """What a student is told about an answer."""
    if verdict["status"] == "missing":
        return f"{exercise.number}  {exercise.title}: {exercise.answer} was not handed in"
    return "\n".join(map(printable, report(exercise, verdict)))


def printable(text):
    """One line, without what steers a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)[:2000]


# ---- the command ----------------------------------------------------------------------------------------------------


def find(folder, chosen):
    """The submissions in a folder: one for each subfolder, or the folder itself if answers lie in it."""
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    if any((folder / exercise.answer).is_file() for exercise in chosen):
        return [Submission(folder.resolve().name, folder).look(chosen)]
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    found = [Submission(path.name, path).look(chosen) for path in inside if not path.name.startswith(".")]
    if not found:
        raise UsageError(f"there are no submissions in {folder}: a subfolder for each student is expected")
    return found


def main(arguments):
    """Grade submissions; the exit code: 0 full marks for all, 1 not for all, 2 usage."""
    parser = Parser(prog=f"{runner()} grade", description=docstring(Path(__file__)))
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="a subfolder each, or one submission")
    parser.add_argument("which", nargs="*", metavar="N", help="only exercise 3.2, or those of lesson 3")
    parser.add_argument("--rules", type=Path, metavar="FILE", help="points and due date, as TOML")
    parser.add_argument("--print-rules", action="store_true", help="print the default rules, to begin with, and stop")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write the table there")
    parser.add_argument("--gradescope", type=Path, metavar="FILE", help="write results.json for one submission")
    parser.add_argument("--feedback", type=Path, metavar="DIR", help="write a text for each student there")
    parser.add_argument("--seed", type=whole_number(0), metavar="N", help="try other cases, too, than `check` does")
    parser.add_argument("--jobs", type=whole_number(1), default=os.cpu_count() or 1, help="answers at a time")
    flags = parser.parse_args(arguments)
    if flags.print_rules:
        print(RULES, end="")
        return 0
    if flags.folder is None:
        parser.error("a folder of submissions is needed")
    try:
        import hypothesis  # noqa: F401
    except ImportError:
        raise UsageError("the laws are tried with hypothesis: pip install hypothesis") from None
    try:
        rules = Rules(flags.rules.read_text("utf-8") if flags.rules else "")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {flags.rules}: {error}") from None
    for path in filter(None, (flags.csv, flags.gradescope)):
        check_writable(path)
    start, chosen = time.monotonic(), exercises(flags.which)
    submissions = find(flags.folder, chosen)
    if flags.gradescope and len(submissions) != 1:
        raise UsageError(f"--gradescope takes one submission; there are {len(submissions)} in {flags.folder}")
    if missing := sandbox.missing():
        print(f"Note: {missing}.\n")
    manners = learn(chosen, flags.jobs, flags.seed, diagnose=bool(flags.feedback or flags.gradescope))
    for exercise in chosen:
        if not manners[exercise.number].works:
            print(f"Note: {exercise.number} is left out: on this machine its own solution does not pass.\n")
    if together := [number for number, manner in manners.items() if manner.works and not manner.apart]:
        words = "share a process with their laws, and more is forbidden to them therefore"
        print(f"Note: the answers to {', '.join(together)} {words}; see docs/teaching.md.\n")
    chosen = [exercise for exercise in chosen if manners[exercise.number].works]
    manners = {exercise.number: manners[exercise.number] for exercise in chosen}
    total = len(submissions) * len(chosen)
    grade(submissions, manners, flags.jobs, progress(total))
    gc.unfreeze()
    seconds = time.monotonic() - start
    print("\n".join(table(submissions, chosen, rules)))
    print(f"\n{len(submissions)} submissions, {len(chosen)} exercises, {seconds:.0f} s")
    if flags.csv:
        write_text(flags.csv, as_csv(submissions, chosen, rules))
    if flags.gradescope:
        results = as_gradescope(submissions[0], chosen, rules, seconds)
        write_text(flags.gradescope, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    if flags.feedback:
        for submission in submissions:
            texts = [feedback(exercise, submission.verdicts[exercise.number]) for exercise in chosen]
            write_text(writable_folder(flags.feedback) / f"{submission.name}.txt", "\n\n".join(texts) + "\n")
    full = sum(map(rules.of, chosen))
    reached = [s.points(rules, chosen) * rules.kept(rules.days_late(s)) for s in submissions]
    return 0 if chosen and all(points == full for points in reached) else 1


def progress(total):
    """A function that shows, on a terminal, how many answers have been judged."""

    def told(done):
        if sys.stderr.isatty():
            print(f"\r{done} of {total} ", end="\n" if done == total else "", file=sys.stderr, flush=True)

    return told

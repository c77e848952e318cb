"""The benchmarks: that they can be computed, count right, and say who is missing. No test here looks at a speed."""

import ast
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import benchmarks
import minigrad as mg
from benchmarks import __main__ as command_line
from benchmarks import (
    against,
    convolutions,
    in_minigrad,
    measure,
    memory,
    operations,
    operators,
    paper_network,
    q_learning,
    recurrent,
    resnet,
    small,
    three_layers,
    training_step,
    workloads,
)
from benchmarks.measure import TINY, Spread, Table
from minigrad import nn

PEERS = ("torch", "mygrad", "dezero", "autograd")
rng = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def small_and_alone(monkeypatch):
    """No large copies, and one thread for PyTorch: its threads wait for each other when tests run side by side."""
    monkeypatch.setattr(operations, "COPIED", 2**16)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # for processes of their own
    try:
        import torch
    except ImportError:
        yield
    else:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)


@pytest.fixture
def no_peers(monkeypatch):
    """As if only minigrad were installed."""
    for name in PEERS:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "benchmarks.in_torch", raising=False)
    monkeypatch.delattr(benchmarks, "in_torch", raising=False)


def numbers(table):
    """Every measured number of a table."""
    for row in table.rows:
        for value in row.values():
            if isinstance(value, (float, Spread)):
                yield from np.atleast_1d(value).tolist()


@pytest.mark.peers
@pytest.mark.parametrize("name", sorted(command_line.TABLES.keys() - {"memory"}))
def test_each_table_can_be_computed(name):
    tables = command_line.TABLES[name].run(TINY)
    for table in tables:
        assert (table.rows or "not measured" in table.notes[0]) and all(
            math.isfinite(n) and n > 0 for n in numbers(table)
        )
        assert all(list(row)[1:] for row in table.rows)
        json.dumps(vars(table))


@pytest.mark.parametrize("name", sorted(command_line.TABLES))
def test_each_table_says_what_it_measures(name):
    assert len(command_line.TABLES[name].__doc__.strip().splitlines()) >= 3


# ---- operations -----------------------------------------------------------------------------------------------------


def counted(model, x):
    """(forward, all) operations of the convolutions in a step, from the shapes that pass through them."""
    forward, total = 0, 0

    def count(layer, inputs, output):
        nonlocal forward, total
        products = output.size * math.prod(layer.weight.shape[1:])  # each entry is a sum over one kernel
        forward += 2 * products
        total += 2 * products * (2 + inputs[0].requires_grad)  # forward, the weight's gradient, the input's

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    model(mg.tensor(x)).sum().backward()
    return forward, total


@pytest.mark.parametrize("widths, batch", [((2, 3), 2), ((3, 2), 1), ((1, 1), 3)])
def test_operations_of_the_papers_network(widths, batch):
    model = training_step.network("weight norm", widths, rng)
    forward, total = counted(model, measure.pictures(batch)[0])
    assert forward == training_step.forward_operations(widths, batch)
    assert total == training_step.operations(widths, batch)


def test_operations_of_resnet():
    _, total = counted(in_minigrad.resnet(3), measure.pictures(2)[0])
    assert total == resnet.operations(3, 2)


@pytest.mark.parametrize("width, batch, size", [(2, 3, 5), (4, 1, 7)])
def test_operations_of_three_layers(width, batch, size):
    layers = [nn.Conv2d(inputs, width, 3, padding=1, rng=rng) for inputs in (3, width, width)]
    _, total = counted(nn.Sequential(*layers), measure.pictures(batch, size)[0])
    assert total == three_layers.operations(width, batch, size)


def test_memory_that_every_library_must_keep():
    outputs = []
    model = training_step.network("weight norm", (2, 3), rng)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _layer, _inputs, output: outputs.append(output.data.nbytes))
    model(measure.pictures(2)[0])
    assert len(outputs) == 9 and sum(outputs) / 2**20 == memory.convolutions_mebibytes((2, 3), 2)


# ---- libraries ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_peers")
def test_missing_peers_are_named_and_left_out():
    whole, part = paper_network.run(TINY)
    (cells, peepholes), (by_operators, layers) = recurrent.run(TINY), small.run(TINY)
    (table,), (narrow,) = operations.run(TINY), convolutions.run(TINY)
    assert [row[""] for row in whole.rows] == [row[""] for row in part.rows] == ["minigrad"]
    for table in (layers, by_operators):
        assert [row[""] for row in table.rows] == ["NumPy by hand", "minigrad"]
    assert all("PyTorch: not installed" in str(t) for t in (whole, part, cells, peepholes, layers, table, narrow))
    assert all(f"{name}: not installed" in str(part) for name in ("MyGrad", "DeZero"))
    assert "autograd: not installed" in str(layers)


@pytest.mark.peers
def test_libraries_compute_the_same():
    x, _ = measure.pictures(2)
    found, _ = measure.made(paper_network.LIBRARIES, TINY, "evaluation", x)
    for answers in found.values():  # a few hundred roundings of numbers around 1
        np.testing.assert_allclose(answers(), found["minigrad"](), atol=1e-5)
    found, _ = measure.made(resnet.LIBRARIES, 2, "evaluation", x)
    for answers in found.values():
        np.testing.assert_allclose(answers(), found["minigrad"](), rtol=1e-4, atol=1e-4)
    found, _ = measure.made(resnet.LIBRARIES, 2, "resnet_step", x, np.array([3, 7]))
    losses = [[step() for _ in range(3)] for step in found.values()]
    for other in losses:
        assert other == pytest.approx(losses[0], rel=1e-4) and other[-1] < other[0]
    steps, _ = three_layers.steps(three_layers.LIBRARIES, width=3, batch=2, size=6)
    assert [step() for step in steps.values()] == pytest.approx([steps["minigrad"]()] * len(steps), rel=1e-5)


@pytest.mark.peers("torch")
def test_agents_begin_with_the_same_loss():
    found, _ = measure.made(q_learning.LIBRARIES, "orchard")
    (ours, loss), (theirs, other) = found["minigrad"], found["PyTorch"]
    assert loss == pytest.approx(other, rel=1e-4)
    ours(), theirs()


@pytest.mark.peers
def test_small_steps_learn_alike():
    steps, _ = measure.made(operators.LIBRARIES)
    losses = {name: [step() for _ in range(20)] for name, step in steps.items()}
    for found in losses.values():
        assert found == pytest.approx(losses["NumPy by hand"], rel=1e-5) and found[-1] < found[0]


@pytest.mark.peers("torch")
def test_convolutions_are_the_same():
    for case in convolutions.CASES:
        steps, _ = measure.made(convolutions.LIBRARIES, case._replace(batch=2, size=12))
        ours, *theirs = [[np.asarray(gradient.data) for gradient in step()] for step in steps.values()]
        for found in theirs:
            for a, b in zip(ours, found, strict=True):
                np.testing.assert_allclose(a, b, atol=1e-5 * abs(b).max())


@pytest.mark.peers("torch")
def test_steps_learn_alike_in_pytorch():
    pictures = np.random.default_rng(1).random((4, 6), dtype=np.float32)
    for sizes in ((3,), (3, True)):
        ours, theirs = recurrent.in_minigrad(pictures, *sizes), recurrent.in_torch(pictures, *sizes)
        assert [ours() for _ in range(5)] == pytest.approx([theirs() for _ in range(5)], rel=1e-5)


# ---- the method -----------------------------------------------------------------------------------------------------


def test_functions_take_turns_after_warming_up():
    calls = []
    steps = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = measure.compare(steps, TINY, turn=3)
    assert "".join(calls) == "ab" + "ab" + "aaabbb" * TINY.rounds
    assert {name: len(values) for name, values in times.items()} == {"a": 3 * TINY.rounds, "b": 3 * TINY.rounds}


def test_ratios_are_taken_within_rounds():
    drifting = {"minigrad": np.array([1.0, 2.0, 8.0]), "PyTorch": np.array([2.0, 4.0, 16.0])}
    ours, theirs = measure.rows(drifting, operations=4e9)
    assert ours["÷ PyTorch"] == Spread(0.5, 0.5, 0.5) and theirs["÷ PyTorch"] == Spread(1, 1, 1)
    assert ours["ms a step"].median == 2000 and ours["GFLOP/s"] == 2


def test_spread_is_the_median_and_the_middle_90_percent():
    assert measure.spread(rng.permutation(101)) == Spread(50, 5, 95)


@pytest.mark.parametrize(
    "value, text",
    [
        (1234.5, "1234"),
        (12.34, "12.3"),
        (0.012345, "0.0123"),
        (0.0, "0"),
        (7, "7"),
        (None, ""),
        ("x", "x"),
        ((2, 3), "2×3"),
        (Spread(1.0, 0.5, 20.0), "1.00 (0.500 to 20.0)"),
    ],
)
def test_numbers_are_shown_with_three_digits(value, text):
    assert measure.shown(value) == text


def test_a_table_shows_every_column_of_every_row():
    lines = str(Table("title", [{"": "one", "a": 1}, {"": "two", "b": 2.0}], ["note"])).splitlines()
    assert [line.split() for line in lines] == [["title"], ["a", "b"], ["one", "1"], ["two", "2.00"], ["note"]]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured on Linux only")
def test_memory_is_the_peak_above_the_start_in_a_process_without_minigrad():
    program = """if True:
        import json, sys
        import numpy as np
        from benchmarks import memory
        mebibytes = 2**18
        before = np.ones(100 * mebibytes, np.float32)  # what was there before does not count
        memory.step_in = lambda library, widths, batch: lambda: np.ones(batch * mebibytes, np.float32) + 1
        found = memory.measure_here("any", (2, 3), 50, 3)
        print(json.dumps([found["MiB"], len(found["seconds"]), "minigrad" in sys.modules]))"""
    run = subprocess.run([sys.executable, "-c", program], cwd=memory.ROOT, capture_output=True, text=True, check=True)
    peak, steps, imported = json.loads(run.stdout)
    # Two arrays of 50 MiB at a time; the one of the warm-up (2 MiB, twice) may or may not be there before.
    assert abs(peak - 100) < 6 and steps == 3 and not imported


# ---- two versions ---------------------------------------------------------------------------------------------------


@pytest.fixture
def checkout():
    """Skips where there is no older version to compare with."""
    if not shutil.which("git"):
        pytest.skip("needs git")
    if subprocess.run(["git", "archive", "HEAD", "minigrad", "wn"], cwd=memory.ROOT, capture_output=True).returncode:
        pytest.skip("needs a git checkout")


def run_against(monkeypatch, *arguments):
    monkeypatch.setattr(measure, "QUICK", TINY)
    monkeypatch.setattr(against, "PAIRS", 1)
    monkeypatch.setattr(sys, "argv", ["against", *map(str, arguments)])
    against.main()


@pytest.mark.usefixtures("checkout")
def test_a_commit_is_compared_with_what_lies_here(monkeypatch, tmp_path, capsys):
    results = tmp_path / "results.json"
    settings = ["--old-env", "MINIGRAD_DATA=a=b", "--new-env", "MINIGRAD_DATA="]
    run_against(monkeypatch, "HEAD", "small_step", "--quick", "--json", results, *settings, "convolution")
    written, printed = json.loads(results.read_text(encoding="utf-8")), capsys.readouterr().out
    (table,) = written["tables"]["against"]
    names = [f"{name}: {label}" for name in ("small_step", "convolution") for label in workloads.NAMES[name](TINY)]
    assert [row[""] for row in table["rows"]] == names and table["notes"] == []
    assert all(0 < number < math.inf for row in table["rows"] for number in (*row["new ÷ old"], row["old"], row["new"]))
    assert table["title"] in printed and written["surroundings"]["old"].endswith("MINIGRAD_DATA=a=b")


@pytest.mark.parametrize("name", sorted(workloads.NAMES))
def test_each_step_can_be_made_and_done_again(name):
    assert workloads.NAMES[name].__doc__
    for make in workloads.NAMES[name](TINY).values():
        step = make()
        step()
        step()


@pytest.mark.parametrize("name", ["engine_overhead", "in_minigrad", "measure", "memory", "three_layers", "workloads"])
def test_what_old_versions_run_imports_public_names_only(name):
    public = {"minigrad", "minigrad.nn", "minigrad.optim", "minigrad.nn.functional"}
    tree = ast.parse((against.ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        names = [alias.name for alias in getattr(node, "names", [])]
        imported = names if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            imported = [f"{node.module}.{name}" for name in names]
        assert {name for name in imported if name.split(".")[0] == "minigrad"} <= public


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured on Linux only")
def test_memory_of_two_versions(monkeypatch):
    monkeypatch.setattr(against, "PAIRS", 1)
    here = against.Version("here", against.ROOT, {})
    (row,), notes = against.memory([here, here], TINY._replace(batch=50))
    assert row["old"] > 0 and row["new ÷ old"].median > 0 and row["unit"] == "MiB" and notes == []


@pytest.mark.parametrize("old, why", [("", "its minigrad is"), ("raise ImportError", "its process ended")])
def test_what_a_version_cannot_do_is_left_out_and_named(monkeypatch, tmp_path, old, why):
    monkeypatch.setattr(against, "PAIRS", 1)
    if old:
        (tmp_path / "minigrad.py").write_text(old, encoding="utf-8")
    versions = [against.Version("old", tmp_path, {}), against.Version("new", against.ROOT, {})]
    rows, (note,) = against.steps(versions, "lstm", TINY)
    assert rows == [] and "lstm, 8 units" in note and f"left out (old: {why}" in note


def test_versions_take_turns_in_alternating_order():
    calls = []
    found = against.in_turn([lambda: calls.append("old") or len(calls), lambda: calls.append("new") or len(calls)], 3)
    assert calls == ["old", "new", "new", "old", "old", "new"] and found == [[1, 4, 5], [2, 3, 6]]


@pytest.mark.parametrize("slower, mark", [(1.04, None), (1.06, "yes")])
def test_slower_rows_are_marked(slower, mark):
    old = np.array([1.0, 2.0, 4.0])
    row = against.row("step", old, slower * old, "ms")
    assert row["above 1.05"] == mark and row["new ÷ old"] == pytest.approx([slower] * 3)
    assert row["of the fastest"] == pytest.approx(slower) and (row["old"], row["unit"]) == (2.0, "ms")


@pytest.mark.parametrize(
    "arguments, said",
    [(["HEAD", "nosuch"], "'nosuch'"), (["HEAD", "--new-env", "X"], "'X' is not NAME=VALUE"), (["nosuch"], "nosuch")],
)
def test_against_refuses_what_it_cannot_compare(monkeypatch, capsys, arguments, said):
    if arguments == ["nosuch"] and not shutil.which("git"):
        pytest.skip("needs git")
    with pytest.raises(SystemExit):
        run_against(monkeypatch, *arguments)
    assert said in capsys.readouterr().err


# ---- the command line -----------------------------------------------------------------------------------------------


def run_command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["benchmarks", *map(str, arguments)])
    command_line.main()


@pytest.mark.peers
def test_command_line_prints_and_writes_what_was_measured(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(measure, "QUICK", TINY)
    monkeypatch.setattr(memory, "LIBRARIES", ("minigrad", "PyTorch"))
    results, figure = tmp_path / "results.json", tmp_path / "figure.png"
    run_command(monkeypatch, "scaling", "memory", "--quick", "--json", results, "--figure", figure)
    written, printed = json.loads(results.read_text(encoding="utf-8")), capsys.readouterr().out
    assert list(written["tables"]) == ["scaling", "memory"] and {"commit", "CPU"} <= set(written["surroundings"])
    assert [row["batch"] for row in written["tables"]["scaling"][0]["rows"]] == [1, 2]
    assert "versions: " in printed and all(table["title"] in printed for table in written["tables"]["scaling"])
    assert figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("arguments, said", [(["nosuch"], "'nosuch'"), (["small", "--figure", "f.png"], "scaling")])
def test_command_line_refuses_what_it_cannot_do(monkeypatch, capsys, arguments, said):
    with pytest.raises(SystemExit):
        run_command(monkeypatch, *arguments)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "module", ["benchmarks", "benchmarks.against", "benchmarks.gpu", "benchmarks.engine_overhead", "lessons"]
)
def test_each_command_says_what_it_can_do(module):
    """Texts of argparse are format strings: a lone % in one of them is an error when it is asked for help."""
    command = [sys.executable, "-m", module, "--help"]
    done = subprocess.run(command, cwd=Path(benchmarks.__file__).parent.parent, capture_output=True, text=True)
    assert done.returncode == 0 and "usage:" in done.stdout, done.stderr

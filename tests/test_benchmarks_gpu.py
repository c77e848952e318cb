"""benchmarks/gpu.py as far as it goes without a GPU: every part runs on the CPU, counts right, and fails alone."""

import json
import math

import numpy as np
import pytest

import minigrad as mg
from benchmarks import gpu, measure, training_step
from benchmarks.gpu import TINY
from minigrad import nn


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def measured():
    """What the parts report on the CPU, in this process."""

    def reported(part, **options):
        found = {}
        part(lambda key, value: found.update({key: value}), "cpu", TINY, **options)
        json.dumps(found)
        return found

    return {
        "agreement": {gpu.FULL32: reported(gpu.agreement, setting=gpu.FULL32)},
        "floor": {gpu.TF32: reported(gpu.floor)},
        "speed": {gpu.TF32: reported(gpu.speed, setting=gpu.TF32)},
        "kernels": {gpu.TF32: reported(gpu.kernels, setting=gpu.TF32)},
    }


def test_every_operation_agrees_and_every_way_of_training(measured):
    """With itself, here; in float32 with float64."""
    found = measured["agreement"]["TF32 off"]
    assert len(found["operations"]) > 25 and all(row["agrees"] for row in found["operations"]), found
    assert all(row["difference"] > 0 for row in found["operations"] if row["operation"] == "conv 3×3")
    rows = found[f"training, {TINY.steps} steps"]
    assert [row["parameterization"] for row in rows] == training_step.PARAMETERIZATIONS
    assert all(row["agrees"] and row["same again"] and row["same from a checkpoint"] for row in rows)


def test_what_is_wrong_does_not_agree():
    assert gpu.difference([1.0, 2.0], [1.0, 2.1]) == pytest.approx(0.1 / 2.1)
    assert gpu.difference([1.0, math.nan], [1.0, 2.0]) == gpu.difference([1.0], [[1.0]]) == math.inf
    one = ([1.0, 2.0], {"w": np.ones(4)})
    assert gpu.apart(one, one) == (0, 0) and gpu.identical(one, one)
    other = ([1.0, 2.2], {"w": np.ones(4) + 0.5})
    assert gpu.apart(other, one) == pytest.approx((0.1, 0.5)) and not gpu.identical(other, one)
    assert gpu.apart(([1.0, math.nan], one[1]), one) == (math.inf, math.inf)


def test_a_wrong_gradient_does_not_agree(monkeypatch):
    """An op whose result is off by a thousandth on the device, that is, in float32."""
    from minigrad import op

    record = op.REGISTRY["conv2d_weight_gradient"]
    right = record.forward

    def wrong(xp, gy, *arguments):
        result = right(xp, gy, *arguments)
        return result * np.float32(1.001) if result.dtype == np.float32 else result

    monkeypatch.setattr(record, "forward", wrong)
    found = {}
    gpu.agreement(lambda key, value: found.update({key: value}), "cpu", TINY._replace(steps=1), gpu.FULL32)
    bad = {row["operation"] for row in found["operations"] if not row["agrees"]}
    convolutions = {row["operation"] for row in found["operations"] if "conv" in row["operation"]}
    assert bad == convolutions
    gpu.agreement(lambda key, value: found.update({key: value}), "cpu", TINY, gpu.CUDNN)
    assert {row["operation"] for row in found["operations"] if row["agrees"]} == convolutions  # its bound is wider


def test_bytes_of_the_floor():
    """From the shapes that pass through the convolutions."""
    floats = 0

    def count(layer, inputs, output):
        nonlocal floats
        x, y, learns = inputs[0].size, output.size, inputs[0].requires_grad
        floats += (x + y) + (2 * y + x * learns) + (y + x)

    model = training_step.network("weight norm", (2, 3), np.random.default_rng(0))
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    model(mg.tensor(measure.pictures(5)[0]))
    assert gpu.floor_bytes((2, 3), 5, 11) == 4 * (floats + 7 * 11)


def test_the_floor_follows_from_the_rates(measured):
    found = measured["floor"]["TF32 on"]
    for row in found["step"]:
        assert row["operations"] == training_step.operations(TINY.widths, row["batch"])
        assert row["ms, arithmetic"] == pytest.approx(1e-9 * row["operations"] / found["matrix TFLOP/s"])
        assert row["ms, memory"] == pytest.approx(1e-6 * row["bytes"] / found["copy GB/s"])


def test_speed_has_a_row_for_each_size_and_parameterization(measured):
    rows = measured["speed"]["TF32 on"]["steps"]
    assert [(row["batch"], row["parameterization"]) for row in rows] == [
        (batch, p) for batch in TINY.batches for p in gpu.COMPARED
    ]
    assert all(row["minigrad: ms"][0] > 0 and row["minigrad: ms of the host"] > 0 for row in rows)


def test_functions_take_turns():
    calls = []
    steps = {name: lambda name=name: calls.append(name) for name in "ab"}
    found = gpu.in_turns(steps, "cpu", TINY)
    assert "".join(calls) == "ab" + ("aa" + "aa" + "bb" + "bb") * TINY.rounds
    assert all(len(wall) == len(host) == TINY.rounds for wall, host in found.values())


def test_shares_of_a_trace():
    """Two steps: a kernel three times, a copy once, and something on the host that does not count."""
    event = {"cat": "kernel", "name": "product"}
    trace = [event | {"ts": ts, "dur": 1000} for ts in (0, 1000, 5000)]
    trace += [{"cat": "gpu_memcpy", "name": "copy", "ts": 2000, "dur": 500}]
    trace += [{"cat": "cpu_op", "name": "host", "ts": 0, "dur": 9e9}, {"name": "no category"}]
    assert gpu.shares({"traceEvents": trace}, 2) == {
        "busy ms": 1.75,
        "span ms": 3.0,
        "launches": 2.0,
        "kernels": [["product", 1.5, 1.5], ["copy", 0.25, 0.5]],
    }


def test_time_by_op_adds_up_and_leaves_the_ops_as_they_were():
    from minigrad import op

    before = {name: (record.forward, record.rules) for name, record in op.REGISTRY.items()}
    rows = gpu.by_op(gpu.our_step("weight norm", TINY.widths, 2, "cpu"), "cpu", steps=1)
    labels = [label for label, _ in rows]
    assert "weight_norm, forward" in labels and any(label.endswith(", backward") for label in labels)
    assert {name: (record.forward, record.rules) for name, record in op.REGISTRY.items()} == before


@pytest.mark.peers("torch")
def test_libraries_have_the_same_network_in_every_parameterization():
    import torch

    import wn
    from benchmarks import in_torch

    x, _ = measure.pictures(2)
    for parameterization in training_step.PARAMETERIZATIONS:
        ours = training_step.network(parameterization, TINY.widths, np.random.default_rng(0)).eval()
        theirs = in_torch.paper_network(TINY.widths, wn.to_torch_state_dict(ours), parameterization).eval()
        with torch.no_grad():
            answers = theirs(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(answers, ours(mg.tensor(x)).numpy(), atol=1e-5)


def test_counts_of_the_suite():
    xml = """<testsuites><testsuite>
        <testcase classname="a" name="good"/><testcase classname="a" name="left"><skipped/></testcase>
        <testcase classname="a" name="bad"><failure message="assert 1 == 2">...</failure></testcase>
        <testcase classname="a" name="worse"><error message="no fixture"/></testcase></testsuite></testsuites>"""
    found = gpu.counts_of(xml)
    assert (found["passed"], found["skipped"], found["failed"]) == (1, 1, 2)
    assert found["failures"] == [
        {"test": "a::bad", "message": "assert 1 == 2"},
        {"test": "a::worse", "message": "no fixture"},
    ]


def test_the_suite_is_run_with_its_arrays_on_the_device(tmp_path):
    (tmp_path / "test_one.py").write_text(
        "import os\ndef test_it(): assert os.environ['MINIGRAD_TEST_DEVICE'] == 'cpu'\ndef test_bad(): assert 0\n"
    )
    found = {}
    gpu.suite(lambda key, value: found.update({key: value}), "cpu", TINY, tests=(str(tmp_path),))
    assert (found["passed"], found["failed"], found["ended"]) == (1, 1, "exit code 1"), found["tail"]


# ---- the command line -----------------------------------------------------------------------------------------------


def test_tables_of_everything(measured, capsys):
    text = "\n\n".join(map(str, gpu.tables(measured)))
    assert " of 29 agree" in text
    assert "speed ÷ PyTorch's best" in text or "left out: No module named 'torch'" in text
    for name in (*gpu.COMPARED, "÷ floor", "conv2d_with_bias, forward", "widths 2×3, TF32 on"):
        assert name in text


def test_tables_of_nothing():
    """A part that was stopped before it had anything to report is named with its error."""
    nothing = {"error": "stopped after 1 s", "seconds in all": 1.0}
    text = "\n".join(map(str, gpu.tables({name: {"TF32 off": nothing} for name in gpu.PARTS})))
    assert text.count("stopped after 1 s") >= 4


def test_a_part_that_fails_loses_only_itself(monkeypatch, tmp_path, capsys):
    parts = {
        "speed": gpu.PARTS["speed"]._replace(limit=0.01, settings=(gpu.TF32, gpu.CUDNN)),
        "floor": gpu.PARTS["floor"]._replace(settings=(gpu.FULL32,)),
    }
    monkeypatch.setattr(gpu, "PARTS", parts)
    file = tmp_path / "results.json"
    assert gpu.main(["--device", "cpu", "--size", "tiny", "--json", str(file)]) == 0
    results = json.loads(file.read_text(encoding="utf-8"))["results"]
    assert "stopped after" in results["speed"]["TF32 on"]["error"]
    assert gpu.importlib.util.find_spec("cudnn") or "not installed" in results["speed"]["cuDNN, TF32 on"]["error"]
    assert (
        len(results["floor"]["TF32 off"]["step"]) == len(TINY.batches) and "error" not in results["floor"]["TF32 off"]
    )
    printed = capsys.readouterr().out
    assert "speed, TF32 on:" in printed and "stopped after" in printed


def test_wrong_arguments(capsys):
    with pytest.raises(SystemExit):
        gpu.main(["nosuch"])
    assert "'nosuch'" in capsys.readouterr().err
    if not mg.is_available("cuda"):
        assert gpu.main(["floor"]) == 2
        assert "no NVIDIA GPU" in capsys.readouterr().err

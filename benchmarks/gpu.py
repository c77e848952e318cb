"""The GPU path beside the CPU and beside PyTorch: whether it is right, how fast it is, how far from the floor.

    python -m benchmarks.gpu [suite agreement floor speed kernels] [--json FILE] [--quick]

All parts by default, about eight minutes on a data-centre GPU; the tables come at the end, and the file is written
after each part. Every part runs in a process of its own, under a time limit: one that fails loses nothing but itself.

- suite: the tests on real CuPy.
- agreement: GPU and CPU compute the same. Each operation, forward and backward, in float32 on the GPU and in float64
  on the CPU; then 20 training steps of the five parameterizations of the paper's network, in float32 on both. (Without
  TF32. Noise and dropout draw the same numbers on both.) And whether the GPU gives the same bits when it does the same
  again, and when it goes on from a checkpoint; and how far the steps replayed as a CUDA graph are from those.
- floor: the rate of a large matrix product and of a large copy, and what they say a training step takes at least.
- speed: training steps of the paper's network, op by op and replayed as a CUDA graph (`minigrad.cuda_graph`), beside
  PyTorch's, in both of its memory layouts, in turns within one process, with TF32 and without; time, the host's share
  of it, and the largest memory. Both libraries have the data on the GPU, and wait for it only at the end of a turn.
  PyTorch's Adam is the fused one, and it tries its convolutions beforehand and takes the fastest. And once more with
  minigrad's convolutions by cuDNN, where that is installed (the extra `cudnn`).
- kernels: where the GPU's time goes, kernel by kernel (PyTorch's profiler sees all that run in a process) and op by op.
"""

import argparse
import contextlib
import importlib.metadata
import importlib.util
import itertools
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from benchmarks import measure, training_step
from benchmarks.measure import Table

ROOT = Path(__file__).parent.parent
COMPARED = ["normal", "weight norm", "batch norm", "WN + mean-only BN"]


class Size(NamedTuple):
    """How much is measured."""

    name: str
    widths: tuple  # of the paper's network
    batches: tuple  # for speed
    few: int  # pictures in a batch, for agreement
    steps: int  # of training, for agreement
    turn: float  # seconds that a turn lasts at least
    rounds: int
    matrix: int  # rows of the matrices whose product is timed
    copied: int  # bytes of the copy that is timed


FULL = Size("full", (96, 192), (100, 500), 10, 20, 0.15, 7, 8192, 2**31)
QUICK = Size("quick", (96, 192), (100,), 10, 5, 0.05, 3, 4096, 2**28)
TINY = Size("tiny", (2, 3), (2, 3), 2, 3, 0.0, 2, 64, 2**16)  # for the tests: that everything can be computed
SIZES = {size.name: size for size in (FULL, QUICK, TINY)}


# ---- the device -----------------------------------------------------------------------------------------------------


def synchronize(device):
    """Wait until everything on the device is done, whichever library asked for it."""
    if device == "cuda":
        import cupy

        cupy.cuda.Device().synchronize()


class Stopwatch:
    """Seconds between two points of the GPU's own time; on the CPU of the wall clock."""

    def __init__(self, device):
        self.device = device

    def mark(self):
        if self.device == "cpu":
            return time.perf_counter()
        import cupy

        event = cupy.cuda.Event()
        event.record()
        return event

    def between(self, start, end):
        if self.device == "cpu":
            return end - start
        import cupy

        end.synchronize()
        return cupy.cuda.get_elapsed_time(start, end) / 1e3


def allocated(library, device):
    """Bytes of the GPU's memory that arrays of one library have now; NaN on the CPU."""
    synchronize(device)
    if device == "cpu":
        return math.nan
    if library.startswith("PyTorch"):
        import torch

        return torch.cuda.memory_allocated()
    import cupy

    return cupy.get_default_memory_pool().used_bytes()


def peak_of(library, device, function):
    """How many bytes arrays of one library have at most while `function` runs."""
    peak = allocated(library, device)
    if device == "cpu":
        function()
    elif library.startswith("PyTorch"):
        import torch

        torch.cuda.reset_peak_memory_stats()
        function()
        peak = torch.cuda.max_memory_allocated()
    else:
        import cupy

        class Peak(cupy.cuda.MemoryHook):
            name, bytes = "peak", peak

            def malloc_postprocess(self, **_):
                self.bytes = max(self.bytes, pool.used_bytes())

        pool = cupy.get_default_memory_pool()
        with Peak() as hook:
            function()
        peak = hook.bytes
    synchronize(device)
    return peak


# ---- suite ----------------------------------------------------------------------------------------------------------


def suite(report, device, size, limit=240, tests=("tests",)):
    """The tests with arrays on the GPU: how many passed, failed, were skipped; and which failed."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        command = [
            sys.executable,
            "-m",
            "pytest",
            f"--junitxml={results}",
            "-o",
            "junit_family=xunit2",
            "-p",
            "no:cacheprovider",
            *(["-m", "gpu"] if device == "cuda" else []),
            *tests,
        ]
        for name in ("lessons", "test_benchmarks.py", "test_readme.py", "test_mutants.py"):
            command.append(f"--ignore=tests/{name}")  # not about arrays
        if importlib.util.find_spec("xdist"):
            command += ["-n", str(min(8, os.cpu_count() or 1))]
        environment = os.environ | {"MINIGRAD_TEST_DEVICE": device}
        started = time.perf_counter()
        try:
            run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit, env=environment)
            ended = f"exit code {run.returncode}"
            report("tail", run.stdout[-3000:] + run.stderr[-1000:])
        except subprocess.TimeoutExpired as error:
            ended = f"stopped after {limit} s"
            report("tail", (error.stdout or b"").decode(errors="replace")[-3000:])
        report("seconds", time.perf_counter() - started)
        report("ended", ended)
        if results.exists():
            for name, value in counts_of(results.read_text(encoding="utf-8")).items():
                report(name, value)


def counts_of(xml):
    """{"passed", "skipped", "failed": how many, "failures": [{"test", "message"}]} of pytest's JUnit file."""
    found = {"passed": 0, "skipped": 0, "failed": 0, "failures": []}
    for case in ElementTree.fromstring(xml).iter("testcase"):
        bad = [*case.iter("failure"), *case.iter("error")]
        if bad:
            found["failed"] += 1
            test = f"{case.get('classname')}::{case.get('name')}"
            found["failures"].append({"test": test, "message": (bad[0].get("message") or "")[:400]})
        else:
            found["skipped" if case.find("skipped") is not None else "passed"] += 1
    return found


# ---- agreement ------------------------------------------------------------------------------------------------------

# Of a sum of n products in float32, rounding makes an error of about √n · 6e-8 relative to its typical size. The
# longest sums here are a convolution's gradients for its weight, n = batch · 32 · 32 (10,240): 1e-5. Ten times that is
# the bound.
OPERATIONS_AGREE = 1e-4
# cuDNN computes in TF32, which rounds every factor to 11 bits, 5e-4 at most: errors of random sign, as long a sum as
# the result, so no more than that relative to it. Ten times that is the bound.
CUDNN_AGREES = 5e-3
# In float64 the same steps on two devices differ by rounding, 1e-16, which ten layers and Adam in 20 steps make larger.
STEPS_AGREE = 1e-6
# In float32 rounding is visible soon: Adam divides small gradients by their own size, and with them their rounding
# errors. How fast that goes is measured on the CPU, between its two ways to compute a convolution.
DRIFT = 10  # times as far may the GPU be from the CPU
LEAST_DRIFT = 1e-5  # where the two ways on the CPU are hardly apart


def difference(found, wanted):
    """The largest difference relative to the largest entry; NaN and inf never agree."""
    found, wanted = np.asarray(found, float), np.asarray(wanted, float)
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return math.inf
    return float(np.abs(found - wanted).max(initial=0) / max(np.abs(wanted).max(initial=0), 1e-30))


def operations_in(size):
    """(name, function of Tensors, shapes of its operands) for what the network is made of, and some more."""
    import minigrad as mg
    from benchmarks import operations
    from minigrad.nn import functional as F

    (a, b), n = size.widths, size.few
    for case in operations.cases(size.widths, n):
        yield case.name, case.ours, case.shapes
    yield "conv 3×3, 3 channels", lambda x, w: F.conv2d(x, w, padding=1), [(n, 3, 32, 32), (a, 3, 3, 3)]
    yield "conv 3×3", lambda x, w: F.conv2d(x, w, padding=1), [(n, a, 32, 32), (a, a, 3, 3)]
    yield "conv 3×3, no padding", F.conv2d, [(n, b, 8, 8), (b, b, 3, 3)]
    yield "conv 3×3, bias", lambda x, w, c: F.conv2d(x, w, c, padding=1), [(n, a, 16, 16), (b, a, 3, 3), (b,)]
    yield "conv 1×1", F.conv2d, [(n, b, 6, 6), (b, b, 1, 1)]
    yield "conv 5×5, stride 2", lambda x, w: F.conv2d(x, w, stride=2, padding=2), [(n, 3, 32, 32), (a, 3, 5, 5)]
    yield "transposed conv", lambda x, w: F.conv_transpose2d(x, w, stride=2, padding=1), [(n, b, 8, 8), (b, a, 4, 4)]
    yield "linear", F.linear, [(n, b), (10, b), (10,)]
    yield "matmul", mg.matmul, [(n, 64, b), (b, 32)]
    yield "logsumexp", lambda x: mg.logsumexp(x, axis=1), [(n, 10)]


def forward_and_gradients(function, operands, gradient_seed, device):
    """The output and the gradients of everything that has one, as NumPy arrays."""
    import minigrad as mg

    for module in [function] if isinstance(function, mg.nn.Module) else []:
        module.to(device)
        for layer in module.modules():
            if hasattr(layer, "rng"):
                layer.rng = np.random.default_rng(3)
    tensors = [mg.tensor(x, device=device, requires_grad=True) for x in operands]
    y = function(*tensors)
    direction = np.random.default_rng(gradient_seed).standard_normal(y.shape, dtype=np.float32).astype(y.dtype)
    inputs = [*tensors, *getattr(function, "parameters", list)()]
    gradients = mg.grad(y, inputs, mg.tensor(direction, device=device))
    return [y.numpy(), *(g.numpy() for g in gradients)]


def noise_by(seed, shapes):
    """The operands in float32; both precisions get the same numbers."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]


def agreement(report, device, size, setting):
    """Rows of differences, op by op and for each way of training; with cuDNN only those of the convolutions."""
    rows = []
    bound = CUDNN_AGREES if setting == CUDNN else OPERATIONS_AGREE
    for name, function, shapes in operations_in(size):
        if setting == CUDNN and "conv" not in name:
            continue
        row = {"operation": name, "bound": bound}
        try:
            operands = noise_by(1, shapes)
            exact = forward_and_gradients(function, [x.astype(np.float64) for x in operands], 2, "cpu")
            found = forward_and_gradients(function, operands, 2, device)
            row["difference"] = max(difference(f, e) for f, e in zip(found, exact, strict=True))
            row["agrees"] = row["difference"] < bound
        except Exception as error:  # the others still count
            row |= {"agrees": False, "error": f"{type(error).__name__}: {error}"[:300]}
        rows.append(row)
        report("operations", rows)

    rows = []
    for parameterization in training_step.PARAMETERIZATIONS if setting != CUDNN else ():
        row = {"parameterization": parameterization}
        try:
            row |= training_agreement(parameterization, size, device)
        except Exception as error:
            row |= {"agrees": False, "error": f"{type(error).__name__}: {error}"[:300]}
        rows.append(row)
        report(f"training, {size.steps} steps", rows)


def training_agreement(parameterization, size, device):
    """How far training on the device is from training on the CPU, in both precisions."""
    import minigrad as mg

    row = {}
    exact = trained(parameterization, size, "cpu", np.float64)
    row["float64: losses"], row["parameters"] = apart(trained(parameterization, size, device, np.float64), exact)
    agrees = max(row.values()) < STEPS_AGREE
    found, wanted = (trained(parameterization, size, where) for where in (device, "cpu"))
    with mg.config(winograd=False):
        other = trained(parameterization, size, "cpu")
    ours, drift = apart(found, wanted), apart(other, wanted)
    row |= {
        "float32: losses": ours[0],
        "parameters ": ours[1],
        "CPU's two ways: losses": drift[0],
        "parameters  ": drift[1],
    }
    row["agrees"] = agrees and all(a <= max(DRIFT * b, LEAST_DRIFT) for a, b in zip(ours, drift, strict=True))
    row["same again"] = identical(trained(parameterization, size, device), found)
    row["same from a checkpoint"] = identical(trained(parameterization, size, device, interrupted=True), found)
    if device == "cuda":  # cuBLAS may add up in another order, with another workspace
        row["graph: losses"], row["parameters   "] = apart(trained(parameterization, size, device, graph=True), found)
        row["agrees"] &= all(
            row[name] <= max(DRIFT * d, LEAST_DRIFT)
            for name, d in zip(("graph: losses", "parameters   "), drift, strict=True)
        )
    return row


def trained(parameterization, size, device, dtype=np.float32, interrupted=False, graph=False):
    """(losses, parameters and buffers by name) after some steps on the same pictures, the same at each call.

    If `interrupted`, half of the steps are done by a network and an optimizer that go on from a checkpoint. With a
    `graph` forward and backward pass are replayed.
    """
    import minigrad as mg
    from minigrad import backend, optim
    from minigrad.nn import functional as F

    def made(rng):
        model = training_step.network(parameterization, size.widths, rng).to(device)
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.data = tensor.data.astype(dtype)
        return model, optim.Adam(model.parameters(), lr=1e-3)

    rng = np.random.default_rng(0)
    model, optimizer = made(rng)
    x, labels = measure.pictures(size.few)
    x, labels, losses = mg.tensor(x.astype(dtype), device=device), backend.to_device(labels, device), []

    def gradients(x, labels):
        loss = F.cross_entropy(model(x), labels)
        loss.backward()
        return loss

    if graph:
        gradients = mg.cuda_graph(gradients, model)
    for step in range(size.steps):
        if interrupted and step == size.steps // 2:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "checkpoint"
                saved = {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "rng": rng.bit_generator.state,
                }
                mg.save(path, saved, compress=True)
                saved = mg.load(path)
            model, optimizer = made(rng)
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            rng.bit_generator.state = saved["rng"]
        optimizer.zero_grad()
        loss = gradients(x, labels)
        optimizer.step()
        losses.append(loss.item())
    return losses, model.state_dict()


def identical(one, other):
    """Whether two of these are the same, bit for bit."""
    return one[0] == other[0] and all(np.array_equal(one[1][name], array) for name, array in other[1].items())


def apart(found, wanted):
    """(largest relative difference of a loss, relative difference of all parameters and buffers as one vector)."""
    losses = float(np.max([abs(f - w) / abs(w) for f, w in zip(found[0], wanted[0], strict=True)]))
    error, length = 0.0, 0.0
    for name, array in wanted[1].items():
        error += float(np.square(found[1][name] - array, dtype=float).sum())
        length += float(np.square(array, dtype=float).sum())
    parameters = math.sqrt(error / length)
    return (losses, parameters) if math.isfinite(losses + parameters) else (math.inf, math.inf)


# ---- floor ----------------------------------------------------------------------------------------------------------


def floor_bytes(widths, batch, weights):
    """The fewest bytes that a training step reads and writes in float32, if nothing stays in a cache between kernels.

    What lies between the convolutions could be done in them, when they write or read; no implementation here does all
    of it. So each of the nine reads its input and writes its output (forward); reads the gradient of its output, and
    the output, for the slope of the nonlinearity, and writes the gradient of its input, unless that is the pictures';
    and reads gradient and input once more for the gradient of its weight. Adam reads weights, gradients and its two
    means, and writes all but the gradients.
    """
    a, b = widths
    sizes = [(3, 32), (a, 32), (a, 32), (a, 32), (a, 16), (b, 16), (b, 16), (b, 16), (b, 8), (b, 6), (b, 6), (b, 6)]
    layers = [(0, 1), (1, 2), (2, 3), (4, 5), (5, 6), (6, 7), (8, 9), (9, 10), (10, 11)]  # input and output of each
    floats = 0
    for first, last in layers:
        x, y = (batch * channels * pixels**2 for channels, pixels in (sizes[first], sizes[last]))
        floats += (x + y) + (2 * y + (x if first else 0)) + (y + x)
    return 4 * (floats + 7 * weights)


def floor(report, device, size):
    """The two rates, and the times that follow from them."""
    import minigrad as mg
    from minigrad import backend

    xp, watch = backend.module_for(device), Stopwatch(device)
    rng = np.random.default_rng(0)
    left, right = (backend.to_device(rng.standard_normal((size.matrix,) * 2, dtype=np.float32), device) for _ in "ab")
    seconds = repeated(lambda: xp.matmul(left, right), watch, 10)
    matrix_rate = 2 * size.matrix**3 / seconds
    source = xp.ones(size.copied // 4, np.float32)
    target = xp.empty_like(source)
    seconds = repeated(lambda: xp.copyto(target, source), watch, 20)
    copy_rate = 2 * size.copied / seconds
    report("matrix TFLOP/s", matrix_rate / 1e12)
    report("copy GB/s", copy_rate / 1e9)
    rows = []
    for batch in size.batches:
        model = training_step.network("weight norm", size.widths, rng)
        weights = sum(mg.tensor(p).size for p in model.parameters())
        operations, moved = training_step.operations(size.widths, batch), floor_bytes(size.widths, batch, weights)
        times = {"ms, arithmetic": 1e3 * operations / matrix_rate, "ms, memory": 1e3 * moved / copy_rate}
        rows.append({"batch": batch, "operations": operations, "bytes": moved, **times})
        report("step", rows)


def repeated(function, watch, times):
    """Seconds of a call, the median of so many after two more."""
    function(), function()
    marks = [watch.mark()]
    for _ in range(times):
        function()
        marks.append(watch.mark())
    return float(np.median([watch.between(a, b) for a, b in itertools.pairwise(marks)]))


# ---- speed ----------------------------------------------------------------------------------------------------------


def our_step(parameterization, widths, batch, device, graph=False):
    """A training step in minigrad, as lesson 9 does it: nothing in it waits for the device."""
    import minigrad as mg
    from minigrad import backend, optim
    from minigrad.nn import functional as F

    model = training_step.network(parameterization, widths, np.random.default_rng(0)).to(device)
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    x, labels = (backend.to_device(array, device) for array in measure.pictures(batch))

    def gradients(x, labels):
        loss = F.cross_entropy(model(mg.tensor(x)), labels)
        loss.backward()
        return loss

    if graph:
        gradients = mg.cuda_graph(gradients, model)

    def step():
        optimizer.zero_grad()
        loss = gradients(x, labels)
        optimizer.step()
        return loss

    return step


def our_step_by_graph(*arguments):
    return our_step(*arguments, graph=True)


def their_step(parameterization, widths, batch, device, channels_last=False):
    """The same in PyTorch, from the same weights."""
    import torch

    import wn
    from benchmarks import in_torch

    weights = wn.to_torch_state_dict(training_step.network(parameterization, widths, np.random.default_rng(0)))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = in_torch.paper_network(widths, weights, parameterization).to(device=device, memory_format=layout)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    x, labels = measure.pictures(batch)
    x, labels = torch.from_numpy(x).to(device=device, memory_format=layout), torch.from_numpy(labels).to(device)

    def step():
        loss = torch.nn.functional.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


def their_step_channels_last(*arguments):
    return their_step(*arguments, channels_last=True)


LIBRARIES = {
    "minigrad": our_step,
    "minigrad, CUDA graph": our_step_by_graph,
    "PyTorch": their_step,
    "PyTorch, channels last": their_step_channels_last,
}
MEASURED = [name for name, make in LIBRARIES.items() if make is not our_step_by_graph]  # memory of


def allow_tf32(allowed):
    """For PyTorch; minigrad is told by the environment, in `child`."""
    with contextlib.suppress(ImportError):
        import torch

        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
        torch.backends.cudnn.benchmark = True  # PyTorch tries the ways to compute a convolution, and takes the fastest


def speed(report, device, size, setting):
    """Rows of times and memory, one for each parameterization and size of the batch."""
    allow_tf32(setting != FULL32)
    report("widths", size.widths)
    rows = []
    for batch in size.batches:
        for parameterization in COMPARED:
            row = {"batch": batch, "parameterization": parameterization}
            steps = {}
            for library, make in LIBRARIES.items():
                try:
                    before = allocated(library, device)
                    step = make(parameterization, size.widths, batch, device)
                    for _ in range(3):  # memory is allocated, kernels are compiled and chosen
                        step()
                    if make is not our_step_by_graph:  # which has memory of its own, not asked for here
                        row[f"{library}: MiB"] = (peak_of(library, device, step) - before) / 2**20
                    steps[library] = step
                except ImportError as error:
                    row[f"{library}: left out"] = str(error)
                except Exception as error:
                    row[f"{library}: left out"] = f"{type(error).__name__}: {error}"[:300]
            for library, (wall, host) in in_turns(steps, device, size).items():
                row[f"{library}: ms"] = measure.spread(1e3 * wall)
                row[f"{library}: ms of the host"] = 1e3 * float(np.median(host))
            rows.append(row)
            report("steps", rows)


def in_turns(steps, device, size):
    """{name: (seconds of a step in each turn, seconds that the host took to ask for a step)}."""
    lengths, found = {}, {name: ([], []) for name in steps}
    for name, step in steps.items():
        synchronize(device)
        started = time.perf_counter()
        step()
        synchronize(device)
        lengths[name] = min(max(math.ceil(size.turn / (time.perf_counter() - started)), 2), 200)
    for _ in range(size.rounds):
        for name, step in steps.items():
            started = time.perf_counter()
            for _ in range(2):  # few enough that the GPU's queue does not fill, which would make the host wait
                step()
            found[name][1].append((time.perf_counter() - started) / 2)
            synchronize(device)
            started = time.perf_counter()
            for _ in range(lengths[name]):
                step()
            synchronize(device)
            found[name][0].append((time.perf_counter() - started) / lengths[name])
    return {name: (np.array(wall), np.array(host)) for name, (wall, host) in found.items()}


# ---- kernels --------------------------------------------------------------------------------------------------------


def kernels(report, device, size, setting):
    """The GPU's time by kernel, of minigrad and of PyTorch, and minigrad's by op."""
    allow_tf32(setting != FULL32)
    for batch in size.batches:
        for library in ("minigrad", "minigrad, CUDA graph", "PyTorch, channels last"):
            try:
                step = LIBRARIES[library]("weight norm", size.widths, batch, device)
                report(f"{library}, batch {batch}", by_kernel(step, device))
            except Exception as error:
                report(f"{library}, batch {batch}", {"error": f"{type(error).__name__}: {error}"[:300]})
    for batch in size.batches:
        report(f"ops, batch {batch}", by_op(our_step("weight norm", size.widths, batch, device), device))


def by_kernel(step, device, steps=5):
    """What `shares` makes of some steps."""
    import torch

    for _ in range(3):
        step()
    synchronize(device)
    activity = torch.profiler.ProfilerActivity
    profile = torch.profiler.profile(activities=[activity.CUDA if device == "cuda" else activity.CPU])
    profile.start()
    for _ in range(steps):
        step()
    synchronize(device)
    profile.stop()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(trace))
        return shares(json.loads(trace.read_text(encoding="utf-8")), steps)


def shares(trace, steps):
    """Milliseconds a step, of all kernels and of each, from a trace in Chrome's format."""
    wanted = ("kernel", "gpu_memcpy", "gpu_memset")
    events = [event for event in trace["traceEvents"] if event.get("cat") in wanted]
    total, calls = defaultdict(float), defaultdict(int)
    for event in events:
        total[event["name"]] += event["dur"] / 1e3 / steps
        calls[event["name"]] += 1
    rows = [[name, ms, calls[name] / steps] for name, ms in sorted(total.items(), key=lambda item: -item[1])]
    span = max((e["ts"] + e["dur"] for e in events), default=0) - min((e["ts"] for e in events), default=0)
    return {
        "busy ms": sum(total.values()),
        "span ms": span / 1e3 / steps,
        "launches": len(events) / steps,
        "kernels": rows,
    }


def by_op(step, device, steps=5):
    """[[op, forward or backward, milliseconds a step]]: time on the GPU from the beginning of an op to its end, waiting
    for the host included, without the ops inside it."""
    from minigrad import op

    watch, records, inner = Stopwatch(device), [], []
    before = {record: (record.forward, record.rules, record.joint) for record in op.REGISTRY.values()}

    def timed(function, label):
        def run(*args, **kwargs):
            entry = [label, watch.mark(), None, []]
            (inner[-1][3] if inner else records).append(entry)
            inner.append(entry)
            try:
                return function(*args, **kwargs)
            finally:
                entry[2] = watch.mark()
                inner.pop()

        return run

    try:
        for record, (forward, rules, joint) in before.items():
            record.forward = timed(forward, f"{record.name}, forward")
            record.rules = [rule and timed(rule, f"{record.name}, backward") for rule in rules]
            record.joint = joint and timed(joint, f"{record.name}, backward")
        for _ in range(2):
            step()
        records.clear()
        first = watch.mark()
        for _ in range(steps):
            step()
        last = watch.mark()
    finally:
        for record, (forward, rules, joint) in before.items():
            record.forward, record.rules, record.joint = forward, rules, joint
    total = defaultdict(float)

    def add(entry):
        label, start, end, inside = entry
        seconds = watch.between(start, end)
        total[label] += seconds - sum(map(add, inside))
        return seconds

    known = sum(map(add, records))
    total["everything else: Adam, sums of gradients, waiting"] = watch.between(first, last) - known
    return [[label, 1e3 * s / steps] for label, s in sorted(total.items(), key=lambda item: -item[1])]


# ---- the parts in processes of their own ----------------------------------------------------------------------------


TF32, FULL32, CUDNN = "TF32 on", "TF32 off", "cuDNN, TF32 on"
SETTINGS = {  # for convolutions, and for CuPy's own products
    TF32: {"MINIGRAD_TF32": "1", "CUPY_TF32": "1", "MINIGRAD_CUDNN": "0"},
    FULL32: {"MINIGRAD_TF32": "0", "CUPY_TF32": "0", "MINIGRAD_CUDNN": "0"},
    CUDNN: {"MINIGRAD_TF32": "1", "CUPY_TF32": "1", "MINIGRAD_CUDNN": "1"},
}


class Part(NamedTuple):
    """A function that measures, and how it is run."""

    function: object
    limit: int  # seconds
    settings: tuple  # a process for each


PARTS = {
    "agreement": Part(agreement, 150, (FULL32, CUDNN)),
    "floor": Part(floor, 40, (TF32, FULL32)),
    "speed": Part(speed, 100, (TF32, FULL32, CUDNN)),
    "kernels": Part(kernels, 60, (TF32,)),
    "suite": Part(suite, 260, (TF32,)),
}


def child(name, device, size, setting, into):
    """Run one part here, and write what it reports into a file each time."""
    from minigrad.saving import replacing

    found = {}

    def report(key, value):
        found[key] = value
        with replacing(into) as file:
            file.write(json.dumps(found).encode())

    options = {"setting": setting} if name in ("agreement", "speed", "kernels") else {}
    PARTS[name].function(report, device, size, **options)


def run_part(name, device, size, setting):
    """What one part reports, run in a process of its own; with "error" if it did not come to its end."""
    part = PARTS[name]
    if setting == CUDNN and importlib.util.find_spec("cudnn") is None:
        return {"seconds in all": 0.0, "error": "nvidia-cudnn-frontend is not installed; left out"}
    environment = os.environ | SETTINGS[setting] | {"PYTHONUNBUFFERED": "1"}
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder) / "report.json"
        command = [
            sys.executable,
            "-m",
            "benchmarks.gpu",
            "--child",
            name,
            "--device",
            device,
            "--size",
            size.name,
            "--setting",
            setting,
            "--into",
            str(into),
        ]
        started, error = time.perf_counter(), None
        try:
            run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=part.limit, env=environment)
            if run.returncode:
                error = f"exit code {run.returncode}: {(run.stderr or run.stdout)[-1500:]}"
        except subprocess.TimeoutExpired:
            error = f"stopped after {part.limit} s"
        found = json.loads(into.read_text(encoding="utf-8")) if into.exists() else {}
        found["seconds in all"] = time.perf_counter() - started
        return found | ({"error": error} if error else {})


def surroundings(device):
    """What the numbers depend on besides the code."""
    from benchmarks.__main__ import surroundings as common
    from minigrad import backend

    described = common()
    with contextlib.suppress(Exception):
        described["device"] = backend.description(device)
    packages = ["cupy-cuda13x", "cupy-cuda12x", "torch", "nvidia-cudnn-cu13", "nvidia-cudnn-frontend", "nvidia-cublas"]
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            described[package] = importlib.metadata.version(package)
    return described


# ---- tables ---------------------------------------------------------------------------------------------------------


def tables(results):
    """The Tables of everything that has been measured; `results` as in the file that --json names."""
    found = []
    for name, make in (("suite", suite_table), ("agreement", agreement_tables), ("kernels", kernel_tables)):
        for part in results.get(name, {}).values():
            found += make(part)
    return [*found, *speed_tables(results)]


def table(title, rows, notes=()):
    return Table(title, list(rows) or [{"": "nothing was measured"}], list(notes))


def with_error(part, table):
    if "error" in part:
        table.notes.append(f"did not come to its end: {part['error'][-600:]}")
    return table


def suite_table(part):
    row = {key: part[key] for key in ("passed", "failed", "skipped", "seconds", "ended") if key in part}
    failures = [f"{f['test']}: {' '.join(f['message'].split())[:160]}" for f in part.get("failures", [])]
    return [with_error(part, table("The tests on this device", [row] if row else [], failures[:30]))]


def agreement_tables(part):
    ops = part.get("operations", [])
    bad = [row for row in ops if not row["agrees"]]
    worst = sorted(ops, key=lambda row: -row.get("difference", math.inf))[: max(5, len(bad))]
    title = (
        f"Operations: this device in float32, the CPU in float64; {len(ops) - len(bad)} of {len(ops)} agree; the worst"
    )
    found = [table(title, map(for_a_table, worst))]
    for key, rows in part.items():
        if key.startswith("training"):
            note = (
                f"relative differences; agrees: {STEPS_AGREE:g} in float64, and in float32 {DRIFT} times that of "
                "the CPU's two ways to compute convolutions"
            )
            found.append(table(f"This device and the CPU, without TF32: {key}", map(for_a_table, rows), [note]))
    return [*found[:-1], with_error(part, found[-1])]


def for_a_table(row):
    return {
        key: (f"{v:.1e}" if isinstance(v, float) else ("yes" if v is True else "NO" if v is False else v))
        for key, v in row.items()
    }


def kernel_tables(part):
    found = []
    for key, value in part.items():
        if isinstance(value, dict) and "kernels" in value:
            busy = value["busy ms"] or math.nan
            rows = [
                {"": re.sub(r"\s+", " ", name)[:90], "ms a step": ms, "%": 100 * ms / busy, "calls": calls}
                for name, ms, calls in value["kernels"][:14]
            ]
            title = (
                f"Kernels of a step, {key}: busy {busy:.2f} ms, from first to last {value['span ms']:.2f} ms, "
                f"{value['launches']:.0f} launches"
            )
            found.append(table(title, rows))
        elif key.startswith("ops"):
            rows = [{"": label, "ms a step": ms} for label, ms in value[:16]]
            found.append(table(f"Ops of a step, minigrad, {key.removeprefix('ops, ')}, by events", rows))
        elif isinstance(value, dict):
            found.append(table(f"Kernels of a step, {key}", [], [value.get("error", "")]))
    if not found:
        found = [table("Kernels", [])]
    return [*found[:-1], with_error(part, found[-1])]


def speed_tables(results):
    """One for each setting of TF32: times, ratios, memory, and how far from the floor."""
    found = []
    for setting, part in results.get("speed", {}).items():
        rates = results.get("floor", {}).get(TF32 if setting == CUDNN else setting, {})
        floors = {row["batch"]: max(row["ms, arithmetic"], row["ms, memory"]) for row in rates.get("step", [])}
        rows = []
        for row in part.get("steps", []):
            times = {name: row[f"{name}: ms"][0] for name in LIBRARIES if f"{name}: ms" in row}
            shown = {"": row["parameterization"], "batch": row["batch"]}
            shown |= {f"{name}: ms": ms for name, ms in times.items()}
            peers = [ms for name, ms in times.items() if not name.startswith("minigrad")]
            for name, short in (("minigrad", ""), ("minigrad, CUDA graph", " (graph)")):
                if name in times:
                    ours = times[name]
                    shown[f"host{short}: ms"] = row[f"{name}: ms of the host"]
                    if peers:
                        shown[f"speed{short} ÷ PyTorch's best"] = min(peers) / ours
                    if row["batch"] in floors:
                        shown[f"÷ floor{short}"] = ours / floors[row["batch"]]
                    shown[f"200 epochs{short}: min"] = 200 * math.ceil(50_000 / row["batch"]) * ours / 6e4
            memory = [row.get(f"{name}: MiB", math.nan) for name in MEASURED]
            if math.isfinite(memory[0]):
                shown["MiB"] = "/".join(f"{mebibytes:.0f}" for mebibytes in memory)
            rows.append(shown)
        notes = [
            f"floor at batch {row['batch']}: arithmetic {row['ms, arithmetic']:.2f} ms, memory "
            f"{row['ms, memory']:.2f} ms"
            for row in rates.get("step", [])
        ]
        if "matrix TFLOP/s" in rates:
            notes.append(
                f"rates: matrix product {rates['matrix TFLOP/s']:.3g} TFLOP/s, copy "
                f"{rates.get('copy GB/s', math.nan):.4g} GB/s read and written"
            )
        notes += sorted(
            {
                f"{key}: {value}"
                for row in part.get("steps", [])
                for key, value in row.items()
                if key.endswith("left out")
            }
        )
        notes.append("MiB: " + " / ".join(MEASURED))
        title = f"Training step of the paper's network, widths {measure.shown(part.get('widths'))}, {setting}"
        found.append(with_error(part, table(title, rows, notes)))
    return found


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"any of: {', '.join(PARTS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer sizes and repeats")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write what was measured there, after each part")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: to see that everything works")
    parser.add_argument("--size", choices=SIZES, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--child", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--setting", choices=SETTINGS, help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    flags = parser.parse_args(arguments)
    size = SIZES[flags.size or ("quick" if flags.quick else "full")]
    if flags.child:
        child(flags.child, flags.device, size, flags.setting, flags.into)
        return 0
    if unknown := [name for name in flags.parts if name not in PARTS]:
        parser.error(f"there is no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    import minigrad as mg

    if not mg.is_available(flags.device):
        print("error: no NVIDIA GPU, or CuPy is not installed (pip install -e '.[gpu]')", file=sys.stderr)
        return 2
    described = surroundings(flags.device) | {"size": size.name}
    print("\n".join(f"{what}: {value}" for what, value in described.items()), flush=True)
    results = {}
    for name in flags.parts or PARTS:
        for setting in PARTS[name].settings:
            part = results.setdefault(name, {})[setting] = run_part(name, flags.device, size, setting)
            print(f"{name}, {setting}: {part['seconds in all']:.0f} s; {part.get('error', 'done')}", flush=True)
            if flags.json:
                document = {"surroundings": described, "results": results}
                flags.json.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for each in tables(results):
        print(f"\n{each}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

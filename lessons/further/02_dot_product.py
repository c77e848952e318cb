r"""The dot-product test: all entries of a gradient at once
=======================================================

A layer of 256 × 256 weights has 65,536 derivatives, and differences need two evaluations for each. So people usually
check a few of them and hope for the best. The dot-product test looks at all of them at once, for two evaluations and
one backward pass, and finds a single wrong one. But it has a trap: build it from parts of one library, and it checks
nothing.

Afterwards you can

- check a gradient of any size for the price of a few evaluations;
- predict how large the alarm is that one wrong entry raises;
- recognize a test whose two sides come from one source.

Read first: lesson 02 (checking gradients), parts 1, 2 and 4.

Claims checked, and where they are made:

- one wrong entry of 65,536, and a flipped sign, change the two sides by what a formula says (part 1);
- with ``mg.jvp`` on one side, the same mistakes pass (part 2);
- which of seven planted mistakes the two versions find (part 3).

Time: quick about 2 s, full about 3 s.
"""

# %%
# Everything here runs on one core of the CPU.

import math
import time

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl

import minigrad as mg
from lessons import COLOURS, Lesson
from minigrad.op import REGISTRY, op

lesson = Lesson(__file__)
BLUE, ORANGE, BLACK, *_ = COLOURS.values()
threadpoolctl.threadpool_limits(1)
STEP = np.finfo(float).eps ** (1 / 3)

# %%
# 1. Two ways through one matrix
# ------------------------------
#
# The Jacobian $J$ is a linear map. Backward multiplies it from the left, $u \mapsto J^\top u$. Moving the input along
# a direction $v$ multiplies it from the right, $v \mapsto J v$. Whatever $u$ and $v$ are,
#
# $$\langle u, J v\rangle = \langle J^\top u, v\rangle ,$$
#
# for both are $u^\top J v$. So take random $u$ and $v$ and compute both sides, one by backward and the other in some
# way that does not use the backward rules: by one central difference along $v$.
#
# For $u$ and $v$ we take vectors of random signs, divided by their length: no entry is small, so none is overlooked.
# The patient is a layer $W \mapsto \tanh(AW)$, once with its right rule, once with *one* of the 65,536 entries doubled,
# and once with the wrong sign.


def along(f, x, v):
    """J v by a central difference; v is a vector of length 1."""
    return (f(x + STEP * v) - f(x - STEP * v)) / (2 * STEP)


def by_engine(f, x, v):
    return mg.jvp(f, [x], [v])[1].data


def random_direction(shape, rng):
    return rng.choice([-1.0, 1.0], shape) / math.sqrt(math.prod(shape))


def planted(forward, *rules):
    function = op("planted", "An op made for this lesson.", forward, *rules)
    del REGISTRY["planted"]
    return function


N = 256
A = lesson.rng(1).normal(size=(64, N)) / math.sqrt(N)
W = lesson.rng(2).normal(size=(N, N))
entry = tuple(lesson.rng(3).integers(0, N, 2))
doubled = np.ones((N, N))
doubled[entry] = 2


def layer_with(times):
    """The layer, with its right gradient multiplied by this."""
    return planted(lambda xp, w: xp.tanh(A @ w), lambda g, y, _w: times * (A.T @ (g * (1 - y * y))))


layers = {"right": layer_with(1), "one entry of 65,536 doubled": layer_with(doubled), "sign flipped": layer_with(-1)}

# %%
# One trial each:


def sides(f, x, rng, push):
    """⟨u, Jv⟩ and ⟨Jᵀu, v⟩, both relative to the lengths of u (1) and Jv; and Jᵀu v, entry by entry, likewise."""
    value, pull_back = mg.vjp(f, x)
    u, v = random_direction(value.shape, rng), random_direction(x.shape, rng)
    pushed, shares = push(f, x, v), pull_back(u).data * v
    return np.sum(u * pushed) / np.linalg.norm(pushed), shares / np.linalg.norm(pushed)


for name, layer in layers.items():
    left, shares = sides(layer, W, lesson.rng(4), along)
    print(f"{name:28} ⟨u, Jv⟩ = {left:.12f}, ⟨Jᵀu, v⟩ = {shares.sum():.12f}, apart by {abs(left - shares.sum()):.0e}")

# %%
# How large should the gap be? If one entry $k$ of $J^\top u$ is doubled, the right-hand side is wrong by the share of
# that entry, $(J^\top u)_k\,v_k$. If the sign is flipped, it is wrong by twice the whole, $2\langle u, Jv\rangle$.
# (Both are compared with $\|Jv\|$. Since $u$ and $Jv$ are nearly orthogonal, like all random directions in a space of
# so many dimensions, the second stays far below 1, too.) Now for more trials, with two ways to compute $Jv$; the
# second, ``mg.jvp``, is the subject of the next part.

TRIALS = 100 if lesson.full else 25
gaps, share_of_entry, whole = {}, [], []
for name, layer in layers.items():
    for push in (along, by_engine):
        trials = [sides(layer, W, lesson.rng(5, i), push) for i in range(TRIALS)]
        gaps[name, push] = np.array([left - shares.sum() for left, shares in trials])
        if name == "right" and push is along:
            share_of_entry = np.array([shares[entry] for _, shares in trials])
            whole = np.array([left for left, _ in trials])
        print(f"{name:28} {push.__name__:10} {abs(gaps[name, push]).min():.0e} to {abs(gaps[name, push]).max():.0e}")
start = time.perf_counter()
along(layers["right"], W, W / np.linalg.norm(W))
pair = time.perf_counter() - start
print(f"one pair of evaluations: {1e3 * pair:.1f} ms; a pair for each entry: {W.size * pair:.0f} s")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* By part 1 of lesson 02 a central difference is off by some $10^{-11}$ of each entry of $f$, which is of
# size 1, so $10^{-11}\,\sqrt{16{,}384} = 10^{-9}$ of $Jv$ in length; seen along one random direction $u$, about
# $10^{-11}/\|Jv\|$ with $\|Jv\| \approx 0.3$. We allow $10^{-9}$, and raise the alarm at $10^{-8}$.

lesson.claim("The right rule: largest gap between ⟨u, Jv⟩, by differences, and ⟨Jᵀu, v⟩",
             abs(gaps["right", along]).max(), below=1e-9)
lesson.claim("One entry doubled: the gap is the share of that entry, (Jᵀu)ₖ vₖ",
             -gaps["one entry of 65,536 doubled", along], predicted=share_of_entry, rtol=1e-6, atol=1e-9)
lesson.claim("Sign flipped: the gap is 2⟨u, Jv⟩", gaps["sign flipped", along], predicted=2 * whole, rtol=1e-6,
             atol=1e-9)
lesson.claim("Share of trials in which one doubled entry of 65,536 raises an alarm, that is, more than 1e-8",
             np.mean(abs(gaps["one entry of 65,536 doubled", along]) > 1e-8), above=0.9)

# %% Drawing tags=["hide-input"]

figure, ax = plt.subplots(figsize=(7.6, 3.6))
for row, (name, push) in enumerate(reversed(gaps)):
    values = np.maximum(abs(gaps[name, push]), 1e-18)
    heights = row + 0.25 * lesson.rng(6).uniform(-1, 1, TRIALS)
    ax.semilogx(values, heights, "o", color=BLUE if push is along else ORANGE, markersize=3.5, alpha=0.7)
ways = {along: "difference along $v$", by_engine: "mg.jvp"}
ax.set_yticks(range(len(gaps)), [f"{name}: {ways[push]}" for name, push in reversed(gaps)])
ax.axvline(1e-8, color=BLACK, linewidth=1, linestyle="--")
ax.annotate("alarm to the right of this", (1e-8, 1), (4, 2), xycoords=("data", "axes fraction"),
            textcoords="offset points", va="bottom", fontsize=9)
ax.set(xlabel=r"$|\langle u, Jv\rangle - \langle J^\top u, v\rangle|\ /\ \Vert Jv\Vert$", ylim=(-0.6, 5.6),
       xlim=(3e-19, 3), xticks=10.0 ** np.arange(-18, 1, 3))
ax.minorticks_off()
lesson.figure(figure, "dot_product", alt="Gap between the two sides of the dot-product test on a logarithmic axis, "
              "for three rules and two ways to compute J v. With a difference, the right rule stays below 1e-9, one "
              "doubled entry lies near 1e-5 and a flipped sign near 1e-2, right of the alarm at 1e-8. With mg.jvp all "
              "three lie near 1e-17.")

# %%
# The difference along $v$ (blue) works. The gap of one wrong entry depends on $u$, and may by chance be small; two or
# three trials make that unlikely. Looking at one entry chosen at random would find it once in 65,536 times.
#
# 2. Two sides from one source
# ----------------------------
#
# ``mg.jvp`` (orange) is a surprise: with it, a flipped sign passes. ``minigrad`` has no rules of its own for $J v$. It
# derives this product: $u \mapsto J^\top u$ is linear in $u$, and differentiating it with respect to $u$ gives
# $v \mapsto J v$ (``transforms.py``). If the rule is wrong, $\tilde J^\top u$ instead of $J^\top u$, the result is
# $\tilde J v$, and $\langle u, \tilde J v\rangle = \langle\tilde J^\top u, v\rangle$ holds perfectly. *A test whose two
# sides come from one source tests nothing but their bookkeeping*: here, that the rule is linear in $u$ and can be
# differentiated. Where the two directions have rules of their own, as with PyTorch's forward mode, it is a real test of
# one against the other.

lesson.claim("With mg.jvp on the left neither a flipped sign nor a doubled entry is seen (largest gap)",
             max(abs(gaps[name, by_engine]).max() for name in layers), below=1e-12)

# %%
# 3. Which mistakes?
# ------------------
#
# Seven mistakes of lesson 02, for both versions of the test.


def constant(x):
    return x.detach() if isinstance(x, mg.Tensor) else x


square, matmul = lambda xp, x: x * x, lambda xp, a, b: a @ b
neighbours = lambda xp, x: x[1:] - x[:-1]
PLANTED = {  # the op with its mistake, and the shapes of its operands
    "sign flipped": (planted(lambda xp, x: xp.cos(x), lambda g, _y, x: g * mg.sin(x)), [(4,)]),
    "factor off by 0.5 %": (planted(square, lambda g, _y, x: g * 2.01 * x), [(4,)]),
    "transposition forgotten": (
        planted(matmul, lambda g, _y, _a, b: g @ b, lambda g, _y, a, _b: a.T @ g), [(3, 3), (3, 3)]),
    "last entry dropped": (
        planted(neighbours, lambda g, _y, _x: (mg.pad(g, ((1, 0),)) - mg.pad(g, ((0, 1),))) * (np.arange(50) < 49)),
        [(50,)]),
    "incoming gradient forgotten": (planted(square, lambda g, _y, x: 2 * x), [(4,)]),
    "wrong at second order only": (planted(square, lambda g, _y, x: g * 2 * constant(x)), [(4,)]),
    "function wrong, rule alike": (planted(lambda xp, x: 1.1 * x * x, lambda g, _y, x: g * 2.2 * x), [(4,)]),
}

# %%
# Now $u$ and $v$ are normal random numbers, with one $v$ for each operand.


def gap(f, args, rng, push):
    value, pull_back = mg.vjp(f, *args)
    u, v = rng.normal(size=value.shape), [rng.normal(size=a.shape) for a in args]
    pulled = pull_back(u)
    pulled = pulled if isinstance(pulled, tuple) else [pulled]
    return abs(np.sum(u * push(f, args, v)) - sum(np.sum(p.data * d) for p, d in zip(pulled, v, strict=True)))


def difference_along(f, args, v):
    above, below = (f(*(a + side * STEP * d for a, d in zip(args, v, strict=True))) for side in (1, -1))
    return (above - below) / (2 * STEP)


found = {}
print(f"{'gap':29} difference       mg.jvp")
for row, (name, (f, shapes)) in enumerate(PLANTED.items()):
    args = [lesson.rng(7, row, i).uniform(0.5, 2, shape) for i, shape in enumerate(shapes)]
    measured = [gap(f, args, lesson.rng(8, row), push)
                for push in (difference_along, lambda f, args, v: mg.jvp(f, args, v)[1].data)]
    found[name] = [bool(g > 1e-6) for g in measured]
    print(f"{name:29} {measured[0]:10.0e} {measured[1]:12.0e}")

# %%
# With a difference, the test finds the first five: like a comparison of every entry, it finds what is wrong at the
# example. It sees neither a rule that is wrong only at second order nor a wrong *function* with a rule that fits it.
# With ``mg.jvp`` it finds the one rule that is not linear in $u$, and no other.

lesson.claim("Of seven mistakes, the dot product with a difference finds the five that are wrong at the example",
             sum(found[name][0] for name in list(PLANTED)[:5]) - sum(found[name][0] for name in list(PLANTED)[5:]),
             near=5, within=0)
lesson.claim("With mg.jvp, mistakes found other than the rule that is not linear in g",
             sum(jvp for name, (_, jvp) in found.items() if name != "incoming gradient forgotten"), near=0, within=0)
lesson.claim("With mg.jvp, the rule that is not linear in g is found", found["incoming gradient forgotten"][1], near=1,
             within=0)

# %%
# Questions
# ---------
#
# 1. In part 1, take $v$ from a normal distribution instead of random signs. How does the smallest gap of the one
#    wrong entry change with the number of trials, and why?
# 2. Second-order checks with central differences take $O(n)$ gradients. Find a dot-product test for the Hessian, from
#    its symmetry, $\langle u, Hv\rangle = \langle v, Hu\rangle$, with ``mg.hvp``. Which of the seven mistakes does it
#    find?

lesson.finish()

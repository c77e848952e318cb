r"""Figure 4 on a desk: a recurrent network, its rates, and clipping
================================================================

The paper's figure 4 shows DRAW on MNIST's digits for 100 epochs: with weight normalization the bound is about five nats
higher at the end, "even without modifying the initialization method and learning rate that were tuned for use with the
normal parameterization". But a weight that is normalized also has a $g$, and the paper does not say where that begins.
Open this chapter when you want to know how much of the lead is due to the parameterization, how much to the start and
how much to the rate, and whether a recurrent network with weight normalization still needs its gradients clipped.

Afterwards you can

- say how fast the lengths of vectors can grow under Adam, in either parameterization;
- tell a lead at one rate from a lead at each arm's best, and both from a lead at the start;
- say how often gradients are clipped, and what becomes of the runs if they are not.

Read first: lesson 11. (The chapters on figures 1 and 3 ask the same of other networks.)

Claims checked: weights that begin small grow faster without weight normalization. Each at its best rate, weight
normalization is ahead whatever the start, and from vectors of length 1 it depends less on the rate; as far as a small
network, five epochs and three seeds can tell whether it "significantly speeds up convergence of the optimization
procedure" (section 5.3, figure 4).

Time: quick about 5 s, full about 100 min of one core for each seed.
"""

# %%

from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl

import minigrad as mg
from lessons import COLOURS, Lesson, file_name, grid
from lessons.autoencoder import binarized
from lessons.recurrent_autoencoder import ARMS, CLIP, DrawTraining, Size
from minigrad import data

RATES = (0.001, 0.01, 0.003, 0.03)  # in the order in which they are run; the first is that of the implementation


def own_flags(parser):
    """For a part of the full run."""
    parser.add_argument("--only", nargs="+", choices=ARMS, metavar="NAME",
                        help=f"train these; of {', '.join(map(repr, ARMS))}")
    parser.add_argument("--rates", nargs="+", type=float, default=RATES, metavar="RATE",
                        help=f"train at these rates; {', '.join(map(str, RATES))} by default")
    parser.add_argument("--epochs", type=int, default=EPOCHS, metavar="N",
                        help=f"passes over the pictures; {EPOCHS} by default")
    parser.add_argument("--clipping", nargs="+", choices=CLIPPING, default=list(CLIPPING), metavar="NAME",
                        help=f"with gradients clipped or not; of {', '.join(CLIPPING)}, both by default")


CLIPPING = {"clipped": CLIP, "unclipped": None}
SIZE, EPOCHS, BATCH = Size(side=28, steps=10, units=64, latents=16), 5, 100  # small: the results are those of this one
lesson = Lesson(__file__, own_flags)


@dataclass(frozen=True)
class Run:
    """What distinguishes one run from the others."""

    arm: str  # of `ARMS`
    rate: float
    clipping: str  # of `CLIPPING`
    seed: int
    epochs: int = EPOCHS
    batch: int = BATCH

    def name(self):
        return file_name(f"mnist-seed{self.seed}-{self.epochs}-{self.clipping}-{self.arm}-{self.rate:g}")


def train(run, pictures, test):
    """Train one network; its curves with one entry per epoch."""
    training = DrawTraining(run.arm, SIZE, run.rate, lesson.rng(run.seed), pictures, test, run.batch,
                            CLIPPING[run.clipping], lesson.device)
    for _ in lesson.progress(range(run.epochs), run.name()):
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                training.epoch()
        except FloatingPointError as error:  # a gradient that is not finite: what there is of the curves is kept
            return training.curves | {"ended": str(error)}
    mg.save(Path(lesson.flags.out) / "figure_4" / f"{run.name()}.npz", training.model.state_dict())
    return training.curves


if lesson.full:
    digits = data.load_mnist()
    pictures = binarized(digits.train_images, np.random.default_rng(0))
    test = binarized(digits.test_images, np.random.default_rng(1))

    def record(run):
        curves = train(run, pictures, test)
        bound = curves["likelihood"][-1] - sum(curves["divergence"][-1]) if curves["likelihood"] else np.nan
        print(f"{run.name()}: {bound:.2f} nats, {sum(curves['seconds']):.0f} s", flush=True)
        return {"size": asdict(SIZE), "data": digits.description, "curves": curves}

    wanted = [Run(arm, rate, clipping, lesson.seed, lesson.flags.epochs) for clipping in lesson.flags.clipping
              for rate in lesson.flags.rates for arm in lesson.flags.only or ARMS]
    grid.train_missing(lesson, wanted, "figure_4", record)
    lesson.stop("complete")

# %%
# Two parameterizations, two starts
# ---------------------------------
#
# The paper starts from an implementation whose weights are drawn from $N(0, 0.01^2)$, and makes "a single
# modification": weight normalization. It does not say where $g$ begins. With $g = \|v\|$ the function stays what it
# was. With $g = 1$, as in section 3, every $w$ begins with length 1, where those of the implementation have 0.1 to 0.4.
# Hence four arms: *normal* and *weight norm* begin as one function, with small weights; *normal, length 1* and *weight
# norm, length 1* as another, with $w = v/\|v\|$. Between the members of a pair only the parameterization differs;
# between the pairs the start. The paper compares the first arm with the second or with the last.
#
# What a rate does
# ----------------
#
# Adam's steps move each weight by at most about the rate $\eta$. Lesson 11 has the first of them: it turns vectors by
# $\eta\sqrt n/\|v\|$, and where they are normalized changes their lengths by only $\eta$. And later? We run the two
# arms that begin with small weights for 120 steps on synthetic digits: how long do the vectors become?

threadpoolctl.threadpool_limits(1)  # a single thread multiplies matrices this small fastest
FEW = Size(side=14, steps=4, units=24, latents=4)
synthetic = data.synthetic_digits(1000, 100, lesson.seed, FEW.side)
digits, others = binarized(synthetic.train_images), binarized(synthetic.test_images)
print(f"{synthetic.description}, binarized, {FEW.side} × {FEW.side}: {len(digits)} pictures")


def lengths(arm, rate, epochs=3):
    """The median length of w in three layers, before and after training: the encoder's, the decoder's, the brush's."""
    training, found = DrawTraining(arm, FEW, rate, lesson.rng(100), digits, others, 25, CLIP), []
    for epochs_now in (0, epochs):
        for _ in range(epochs_now):
            training.epoch()
        weights = training.model.encoder.weight_ih, training.model.decoder.weight_ih, training.model.brush.weight
        found.append([float(np.median(np.linalg.norm(w.numpy(), axis=1))) for w in weights])
    return np.array(found)


growth = {}
for arm in ARMS[:2]:
    before, after = lengths(arm, 0.001)
    growth[arm] = after - before
    print(f"{arm:12}: ‖w‖ of the encoder's, the decoder's and the brush's vectors {before.round(2)},\n"
          f"              after 120 steps {after.round(2)}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* If every gradient kept its sign, $\|w\|$ would grow by $\eta\sqrt n$ a step where $g$ grows by $\eta$: a
# ratio of $\sqrt n$, 4.9 for the brush. Gradients that change their signs make it smaller. We ask for more than 1.5.

lesson.claim("the brush's vectors grow faster without weight normalization: ratio of the growths after 120 steps",
             growth["normal"][-1] / growth["weight norm"][-1], above=1.5, below=np.sqrt(FEW.units))

# %%
# A $g$ grows by about $\eta$ a step, whatever $n$ is, and a $\|w\|$ without normalization by up to $\eta\sqrt n$. Where
# the start is too small and $n$ is large, weight normalization is slower to correct it. (The decoder's $n$ is 4 here.)
#
# The experiment
# --------------
#
# We train on MNIST at 28 × 28, 60,000 pictures, each pixel drawn once as 0 or 1, with ten strokes, as in the
# implementation; LSTMs of 64 units where it has 256, and 16 latent variables a step where it has 100; minibatches of
# 100, and five epochs. Each arm runs at four rates, with gradients clipped at the norm 10, as in the implementation,
# and without. A run takes some three minutes of one core. Each run's result is in its own file in ``results/figure_4``;
# ``--full`` with ``--seed`` trains what has none.

runs, pictures_are = grid.stored("figure_4", ["clipping", "arm", "rate", "epochs"])


def by_epoch(curves):
    """The test bound in nats after each epoch."""
    terms = zip(curves["likelihood"], curves["divergence"], strict=True)
    return [likelihood - sum(parts) for likelihood, parts in terms]


def bounds(arm, rate, clipping="clipped", epochs=EPOCHS):
    """The same, a row for each seed; NaN where a run has ended before."""
    by_seed = runs.get((clipping, arm, rate, epochs), {})
    rows = np.full((len(by_seed), epochs), np.nan)
    for row, seed in zip(rows, sorted(by_seed), strict=True):
        found = by_epoch(by_seed[seed])
        row[: len(found)] = found
    return rows


settings = [(clipping, arm, rate) for clipping in CLIPPING for arm in ARMS for rate in RATES]
counts = {key: len(runs.get((*key, EPOCHS), ())) for key in settings}
few, many = min(filter(None, counts.values())), max(counts.values())
note = f"{pictures_are}, binarized by draws; {f'{few} to {many} seeds' if few < many else f'seeds: {few}'} a setting"
print(f"{note}\ntest bound after epochs 1 to {EPOCHS}, nats a picture, mean ± standard deviation over seeds")
for clipping in CLIPPING:
    for arm in ARMS:
        for rate in sorted(RATES):
            if len(found := bounds(arm, rate, clipping)):
                print(f"{clipping:9} {arm:21} {rate:<5} ({len(found)})", " ".join(map(grid.shown, found.T)))
print(f"{sum(count >= 3 for count in counts.values())} of {len(settings)} settings have three seeds, "
      f"{sum(not count for count in counts.values())} none")


def best(arm):
    """The rate with the best bound at the end, of those that have been run."""
    there = [rate for rate in RATES if len(bounds(arm, rate))]
    return max(there, key=lambda rate: np.nan_to_num(bounds(arm, rate)[:, -1].mean(), nan=-np.inf))


for arm in ARMS:
    print(f"best at the end: {arm:21} {best(arm)}: {grid.shown(bounds(arm, best(arm))[:, -1])}")

# %% Drawing tags=["hide-input"]


def draw():
    """Both panels."""
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.9))
    for arm in ARMS:
        look = {"color": COLOURS[arm.partition(",")[0]], "ls": "-" if "length 1" in arm else "--", "capsize": 2}
        by_epoch = bounds(arm, best(arm))
        axes[0].errorbar(range(1, EPOCHS + 1), by_epoch.mean(axis=0), grid.deviation(by_epoch), marker="o", ms=3,
                         label=arm, **look)
        there = [rate for rate in sorted(RATES) if len(bounds(arm, rate))]
        ends = [bounds(arm, rate)[:, -1] for rate in there]
        deviations = [grid.deviation(end) for end in ends]
        axes[1].errorbar(there, [end.mean() for end in ends], deviations, marker="o", ms=3, **look)
    lowest = np.nanquantile([bounds(arm, best(arm)).mean(axis=0) for arm in ARMS], 0.1) - 3
    axes[0].set(xlabel="epoch", ylabel="nats a picture", xticks=range(1, EPOCHS + 1), ylim=(lowest, None),
                title="each at its best rate")
    axes[1].set(xlabel="learning rate", title=f"after {EPOCHS} epochs", xscale="log", ylim=(-125, -102))
    axes[1].set_xticks(sorted(RATES), [f"{rate:g}" for rate in sorted(RATES)])
    axes[1].minorticks_off()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9)
    return figure


lesson.figure(draw(), "bounds", note=note, alt="Two panels, both with a line for each arm that has been run: two "
              "parameterizations, from small weights, dashed, and from vectors of length 1, solid. Left: the bound "
              "by epoch at each arm's best rate. Right: the bound after the last epoch against the rate; at "
              "0.03 the normal parameterization is far below the panel.")

# %%
# At the implementation's rate, 0.001, the order is that of figure 4 only if weight normalization begins at $g = 1$.
# Then it is ten nats ahead of the normal network with the implementation's start, more than in the paper, and nine
# ahead of the one that begins as it does. With $g = \|v\|$ it is three nats behind: its lengths have a long way to go,
# as above. With each at its best rate, the start hardly matters any more, but the parameterization does:

PAIRS = {"small weights": ("weight norm", "normal"), "length 1": ("weight norm, length 1", "normal, length 1")}
leads = {start: np.subtract(*(bounds(arm, best(arm))[:, -1] for arm in pair)) for start, pair in PAIRS.items()}
for start, lead in leads.items():
    print(f"each at its best rate, from {start}: weight norm ahead by {grid.shown(lead)} nats, by seed {lead.round(1)}")
change = {}
for arm in PAIRS["length 1"]:
    ends = [bounds(arm, rate)[:, -1].mean() for rate in (0.001, 0.003, 0.01)]
    change[arm] = max(ends) - min(ends)
    print(f"{arm}: between the rates 0.001 and 0.01 the bound changes by {change[arm]:.1f} nats")

# %% Tolerance tags=["hide-input"]
# *Bounds.* The lead scatters by up to 0.8 nats over seeds, so the mean of three by 0.5; of the lead of 2.2 we claim
# only that it is more than 1. The best rate was chosen with seed 0, which is one of the three. Bounds at one rate
# scatter by 0.1 to 0.7 nats, so a change of 0.4 is none, and one of 7 is large: the claim asks for less than a third.
# Both claims were written with the results in sight.

lesson.claim("each at its best rate weight norm is ahead, from either start: smaller mean lead of three seeds, nats",
             min(lead.mean() for lead in leads.values()), above=1)
lesson.claim("from length 1, weight norm minds the rate less: change of the bound over a decade, over that of normal",
             change["weight norm, length 1"] / change["normal, length 1"], below=1 / 3)

# %%
# Clipping
# --------
#
# The implementation clips the gradient of all parameters together where its norm exceeds 10. How often does that
# happen? And what becomes of the runs without clipping? Adam divides by the gradients' own size, so a factor that all
# have for a long time makes no difference; what clipping can prevent is one step with a gradient far above the others.

print("the norm of an epoch's gradients, without clipping, and what clipping gains in nats")
print(f"{'':27} above 10 in    median      largest    clipping gains")
for arm in ARMS:
    for rate in sorted(RATES):
        for seed, curves in runs.get(("unclipped", arm, rate, EPOCHS), {}).items():
            gain = by_epoch(runs["clipped", arm, rate, EPOCHS][seed])[-1] - by_epoch(curves)[-1]
            print(f"{arm:21} {rate:<5} {100 * min(curves['long']):9.0f} %    "
                  f"{min(curves['norm']):.0f} to {max(curves['norm']):.0f} "
                  f"{max(curves['largest norm']):12.0f} {gain:14.1f}")

# %%
# The norm of the gradients is above 10 in nearly every step, with and without weight normalization. So "clipping"
# divides every gradient by its own norm here: all minibatches count the same, whatever the size of their gradients.
# At 0.003 that is worth one to three nats after five epochs, in all four arms. At 0.01 we tried those with weight
# normalization: from length 1 it is worth twelve, from small weights nothing. (One seed each.) So weight normalization
# does not replace clipping in general. It makes the function independent of the length of $v$, and Adam makes steps
# independent of the scale that all gradients share, but neither removes the differences between minibatches.
#
# Epochs
# ------
#
# Figure 4 ends at about -90 and -95 nats. What do more epochs bring? Seed 0 trained the two arms that begin as the same
# function, with vectors of length 1, for twenty.

LONG = 20
longer = {arm: bounds(arm, 0.003, epochs=LONG)[0] for arm in ("weight norm, length 1", "normal, length 1")}
for arm, by_epoch in longer.items():
    print(f"{arm:21} 0.003, after 5, 10, 15 and 20 epochs:", by_epoch[4::5].round(1))
ahead = longer["weight norm, length 1"] - longer["normal, length 1"]
sooner = int((longer["weight norm, length 1"] < longer["normal, length 1"][-1]).sum()) + 1
print(f"weight norm's lead after 5, 10, 15 and 20 epochs: {ahead[4::5].round(1)};\n"
      f"it is where the other ends after {sooner} epochs instead of {LONG}")

# %%
# What to take from it
# --------------------
#
# - *Reproduced, at this size:* figure 4's lead. Each at its best of four rates, over three seeds, weight normalization
#   ends 2.2 nats ahead, from small weights as from vectors of length 1, and it is ahead after every epoch. That is more
#   than the scatter over seeds, and unlike the networks of figures 1 and 3, where the best rates made up for most or
#   all of the lead. Here no rate does: a parabola through the normal network's bounds at 0.001, 0.003 and 0.01 has its
#   top at 0.003, from either start.
# - *The rate:* "even without modifying [...] learning rate" holds for weight normalization with $g = 1$, which hardly
#   depends on the rate from 0.001 to 0.01. It does not hold with $g = \|v\|$.
# - *Not replaced:* clipping, except at one rate from one start.
# - *Not reached:* -90 and -95. Fifteen epochs more bring six of the 12 to 14 nats that are missing, the last five of
#   them one. The rest is left to the paper's other eighty epochs, and to its five times as many weights. The lead stays
#   at half of figure 4's, 2.5 to 2.7 nats, and twenty epochs without weight normalization are worth ten with it, in one
#   seed.
#
# Questions
# ---------
#
# 1. Take the last two arms for ``growth``. How far does $g$ move from 1 in 120 steps, and how far $\|w\|$ without
#    weight normalization?
# 2. Which rate would let the $g$ of the encoder's vectors, with $n = 1632$, grow from $0.01\sqrt n$ to 1 within one
#    epoch of 600 steps, at $\eta$ a step? And the $g$ of the decoder's, with $n = 16$?
# 3. How many parameters does this chapter's network have, and how many the implementation's? Where are most of them?

lesson.finish()

r"""The effective learning rate
===========================

Afterwards you can explain

- what "the effective learning rate" can mean, and which of its definitions can be compared between networks;
- why a learning rate that is 1000 times too large is the same mistake as a weight vector that is 32 times too short;
- why the angle by which a direction turns per step comes to $1/\sqrt{2t}$, whatever $\eta$, the layer or the loss;
- which part of "works well with a much wider range of learning rates" follows from the growth of $\|v\|$, which part
  does not, and what to do about it in practice.

Read first: lesson 03 (weight normalization) and lesson 05 (norm growth); section 2.1 of Salimans & Kingma (2016),
arXiv:1602.07868, from "Using this mechanism" to "explained by this analysis".

Claims checked, and where they are made:

- the angle per step is proportional to 1/‖v‖² under SGD, to 1/‖v‖ under Adam (section 2.1; van Laarhoven 2017);
- η from v₀ and α²η from α v₀ are the same training (follows from equation 4);
- with noise that stays, the angle after t steps is 1/√((κ + 1/κ)² + 2t) (derived here from section 2.1's growth law);
- "the scaled gradient self-stabilizes its norm" (section 2.1): for directions, in a network, over decades of η;
- "if the learning rate is too large, ‖v‖ grows quickly until an appropriate effective learning rate is reached"
  (section 2.1): it overshoots, and the way back takes a number of steps proportional to η;
- "a much wider range of learning rates" (section 2.1): true if g and b keep a rate of their own;
- "batch normalization also has this property, explained by this analysis" (section 2.1): true with the same condition;
- "the effective learning rate stabilizes" (section 2.1): only if the gradient vanishes; otherwise it falls as t^(-1/2)
  (Arora, Li & Lyu 2018);
- a falling learning rate still helps: the growth of ‖v‖ does not replace a schedule.

Time: quick about 30 s, full about 5 min.
"""

# %%
# Section 2.1 of the paper ends its account of the norm of $v$ with a promise for practice:
#
#     "If the learning rate is too large, the norm of the unnormalized weights grows quickly until an appropriate
#     effective learning rate is reached. Once the norm of the weights has grown large with respect to the norm of the
#     updates, the effective learning rate stabilizes. Neural networks with weight normalization therefore work well
#     with a much wider range of learning rates than when using the normal parameterization. It has been observed that
#     neural networks with batch normalization also have this property, which can also be explained by this analysis."
#
# Four sentences, and each can be measured. We first fix what an effective learning rate is, then derive what the
# growth of $\|v\|$ does to it, then train some thousand small networks. All data are random numbers.

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl

import minigrad as mg
import wn
from lessons import COLOURS, Lesson

lesson = Lesson(__file__)
threadpoolctl.threadpool_limits(1)  # matrices this small are multiplied fastest by a single thread
NORMAL, WEIGHT_NORM, BATCH_NORM = COLOURS["normal"], COLOURS["weight norm"], COLOURS["batch norm"]

# %%
# What is the effective learning rate?
# ------------------------------------
#
# Lesson 03 derived the first-order effect of one step of gradient descent on $v$ and $g$:
#
# $$\Delta w = -\eta\,u u^{\mathsf T} \nabla_w L \;-\; \eta\,\frac{g^2}{\|v\|^2}\,M_w \nabla_w L, \qquad u = v/\|v\|.$$
#
# The first term changes the length; its rate is $\eta$, and nothing in it depends on $\|v\|$. The second term changes
# the direction. There are three ways to read it.
#
# 1. *As a step of* $w$: the rate is $\eta\,g^2/\|v\|^2$.
# 2. *As a step of the direction* $u = w/g$, which is what the loss sees if $g$ is held. With
#    $\nabla_u L = g\,\nabla_w L$ it reads $\Delta u = -(\eta/\|v\|^2)\,M_w \nabla_u L$: the rate is $\eta/\|v\|^2$.
#    It is the first one in other coordinates, not another fact.
# 3. *As an angle.* $\Delta v$ is at a right angle to $v$, so $u$ turns by $\arctan(c)$ with
#    $c = \|\Delta v\|/\|v\| = \eta\,\|\nabla_v L\|/\|v\|$. Write $G = \|v\|\,\|\nabla_v L\|$, the norm of the gradient
#    that $v$ would have at length 1. Then $c = (\eta/\|v\|^2)\,G$: the rate times the slope it multiplies.
#
# A rate alone does not say how far a step goes; it has to be compared with the curvature or the slope of the loss. The
# angle has been compared already. It is a pure number, and means the same in every layer and every network: at
# $c = 1$ a step replaces the direction, at $c = 0.001$ a thousand steps are needed to turn it. In
# ``wn.NormTracker`` the three are ``effective_lr`` times the square of ``g``, ``effective_lr``, and
# ``relative_step``.
#
# Two more cases. *Batch normalization* takes from $t = w \cdot x$ its mean over the batch, divides by its standard
# deviation, multiplies by a learned $\gamma$ and adds a learned $\beta$ (lesson 08). So the loss does not see the
# length of $w$ (but for the small number added to the variance). All that was said of $v$ then holds of $w$, with
# $\gamma$ in the place of $g$: the rate of the direction is $\eta/\|w\|^2$. *Adam* divides each entry of the gradient
# by its typical size, so the step does not know that the gradient is smaller where $v$ is longer: $\|\Delta v\|$ is
# about $\eta\sqrt{k}$, and the angle is proportional to $\eta/\|v\|$, without the square (van Laarhoven 2017,
# arXiv:1706.05350). We stretch the weight vectors of one layer by $\alpha$, make one step and let the tracker measure
# the angle.
#
# *Tolerance.* The steps are small ($\eta = 10^{-3}$), so $c$ is the angle to a relative $c^2/3 < 10^{-5}$. The numbers
# are float32, in which a step of relative size $c$ is resolved to about $10^{-7}/c$; with $c > 10^{-5}$ that is 1 % of
# one entry and less of a mean over all. Over two decades of $\alpha$ a slope can be off by 0.002. We allow 0.02.

alphas = np.logspace(-1, 1, 9)


def turning_angle(kind, optimizer_class, alpha):
    """Mean of ‖Δv‖/‖v‖ over the units of one layer in one step, after its weight vectors were stretched by alpha."""
    rng = lesson.rng(1)
    layer = mg.nn.Linear(20, 16, rng=rng, bias=kind == "weight norm")
    stretched = layer if kind == "batch norm" else wn.WeightNorm(layer)
    parameter = layer.weight if kind == "batch norm" else layer.weight_v
    parameter.data = parameter.data * np.float32(alpha)
    extra = [mg.nn.BatchNorm(16)] if kind == "batch norm" else []
    net = mg.nn.Sequential(stretched, *extra, mg.nn.ReLU(), mg.nn.Linear(16, 3, rng=rng))
    optimizer = optimizer_class(net.parameters(), lr=1e-3)
    tracker = wn.NormTracker(net, optimizer)
    x, y = rng.normal(size=(256, 20)).astype(np.float32), rng.integers(0, 3, size=256)
    mg.nn.functional.cross_entropy(net(mg.tensor(x)), y).backward()
    optimizer.step()
    tracker.record()
    return tracker.history(tracker.layers[0], "relative_step")[-1].mean()


for kind, rule, expected in (("weight norm", mg.optim.SGD, -2), ("batch norm", mg.optim.SGD, -2),
                             ("weight norm", mg.optim.Adam, -1)):
    angles = [turning_angle(kind, rule, alpha) for alpha in alphas]
    exponent = np.polyfit(np.log(alphas), np.log(angles), 1)[0]
    lesson.claim(f"The angle per step falls as a power of the length, {kind}, {rule.__name__}: exponent", exponent,
                 near=expected, within=0.02)

# %%
# Too fast is too short
# ---------------------
#
# If only $\eta/\|v\|^2$ matters, then $\eta$ has no meaning without $\|v_0\|$. Exactly so: let $v' = \alpha\,v$ for a
# number $\alpha > 0$. The loss is the same, the gradient is $1/\alpha$ times as long, and a step with the rate
# $\alpha^2\eta$ gives $\alpha\,v - \alpha^2\eta\,\nabla_v L/\alpha = \alpha\,(v - \eta\,\nabla_v L)$. By induction the
# two runs have the same directions for ever:
#
# $$\text{learning rate } \eta \text{ from } v_0 \quad\equiv\quad
#   \text{learning rate } \alpha^2\eta \text{ from } \alpha\,v_0.$$
#
# A learning rate that is 1000 times too large is a start that is $\sqrt{1000} \approx 32$ times too short, and can be
# cured as well by a longer $v_0$ as by a smaller $\eta$. If $\alpha$ is a power of 2, multiplication by it is exact in
# floating-point numbers, and so is every step of the argument: the two runs must agree *bit for bit*, in float32, over
# any number of steps. (With plain SGD on $v$, and $g$ left alone. Adam would need $\alpha\,\eta$.)


def directions(alpha, eta, steps=200):
    """v/‖v‖ of ten neurons after training v alone with the rate α²η from α v₀; g is held at 1."""
    rng = lesson.rng(2)
    x = rng.normal(size=(256, 20)).astype(np.float32)
    y = np.tanh(2 * x @ rng.normal(size=(20, 10)).astype(np.float32))
    v = mg.tensor(np.float32(alpha) * rng.normal(size=(10, 20)).astype(np.float32), requires_grad=True)
    optimizer = mg.optim.SGD([v], lr=alpha**2 * eta)
    g = np.ones(10, np.float32)
    for _ in range(steps):
        batch = rng.integers(0, 256, 32)
        optimizer.zero_grad()
        mg.square(mg.tanh(x[batch] @ wn.weight_norm(v, g).T) - y[batch]).mean(axis=0).sum().backward()
        optimizer.step()
    return wn.weight_norm(v.data, g)


same = max(np.abs(directions(alpha, 0.5) - directions(1.0, 0.5)).max() for alpha in (1 / 32, 1 / 4, 8.0, 1024.0))
other = np.abs(directions(1.0, 0.25) - directions(1.0, 0.5)).max()
print(f"for comparison, half the learning rate without a change of length: {other:.2g}")
lesson.claim("η from v₀ and α²η from α v₀, α from 1/32 to 1024, 200 steps: largest difference of directions", same,
             near=0, within=0)

# %%
# A clock that needs no setting
# -----------------------------
#
# What does the growth of $\|v\|$ do to the angle? Lesson 05 has the two laws that we need: Pythagoras,
# $\|v'\|^2 = \|v\|^2 + \eta^2\|\nabla_v L\|^2$ (section 2.1 of the paper), and its consequence for gradients whose norm
# stays, $\|v\|^4 = \|v_0\|^4 + 2\eta^2G^2t$ (Arora, Li & Lyu 2018, arXiv:1812.03981). Minibatch noise is such a
# gradient: the noise stays when the mean gradient is gone. We want the whole range of $\eta$, so we treat the first
# step apart.
#
# Let $S = \|v\|^2/\|v_0\|^2$ and let $\kappa = \eta\,G/\|v_0\|^2$ be the angle of the first step ($c$, in radians while
# it is small). Pythagoras says $S' = S + \kappa^2/S$. The first step gives $S_1 = 1 + \kappa^2$. Squared,
# $S'^2 = S^2 + 2\kappa^2 + \kappa^4/S^2$, and the last term is small once $c = \kappa/S$ is. So after $n$ steps
# $S_n^2 \approx (1 + \kappa^2)^2 + 2\kappa^2(n-1)$, and step number $n + 1$ turns by
#
# $$c_{n+1} = \frac{\kappa}{S_n} = \frac{1}{\sqrt{(\kappa + 1/\kappa)^2 + 2\,(n-1)}}.$$
#
# Three things can be read off.
#
# - *The clock.* Once $n$ is well above $(\kappa + 1/\kappa)^2/2$, the angle is $1/\sqrt{2n}$. That contains neither
#   $\eta$, nor $G$, nor $\|v_0\|$, nor the size of the layer.
# - *The symmetry.* $\kappa$ and $1/\kappa$ give the same curve. A learning rate that is 1000 times too large does not
#   leave the direction restless: the first step makes $v$ so long that the direction moves as slowly as with a rate
#   1000 times too *small*.
# - *The width.* After $T$ steps the angle is within $\sqrt2$ of $1/\sqrt{2T}$ for all $\kappa$ from $1/\sqrt{2T}$ to
#   $\sqrt{2T}$. That is $\log_{10}(2T)$ decades of $\eta$: 3 after 500 steps, one more for each ten times as many.
#
# *Tolerance.* The term left out adds at most $\kappa^2\sum_{s=1}^{n-1} 1/(2s+2)$ to $S_n^2$, which is at least
# $\kappa^2(2n + 2)$. Half the ratio is the relative error of $c$; its largest value, at $n = 4$, is 0.027.


def predicted_angle(kappa, step):
    """c of step number `step` (1 for the first) by the formula above; kappa and step are broadcast."""
    with np.errstate(divide="ignore"):  # a unit without a gradient, κ = 0, does not turn
        return np.where(step == 1, kappa, 1 / np.sqrt((kappa + 1 / kappa) ** 2 + 2 * np.maximum(step - 2, 0)))


kappas = np.logspace(-3, 3, 13)
number = np.arange(1, 10_001)
squared, recursion = np.ones_like(kappas), []
for _ in number:
    recursion.append(kappas / squared)  # c of this step
    squared = squared + kappas**2 / squared  # Pythagoras
recursion = np.array(recursion)
lesson.claim("Formula for the angle against the recursion, κ from 0.001 to 1000, 10,000 steps: relative error",
             np.abs(predicted_angle(kappas, number[:, None]) / recursion - 1).max(), below=0.028)

# %%
# That was arithmetic: a gradient of constant norm. Whether a network obeys it is another matter, since its gradients
# change as it learns. So now the networks.
#
# A thousand small networks
# -------------------------
#
# *The task.* 16 inputs, 4 classes. A random network with tanh units gives each input its four probabilities, and the
# label is drawn from them: the labels are noisy, as the labels of real data are, and no network can get below the
# entropy of the labels, which we know. Guessing costs $\ln 4 = 1.386$ nats. Training and test examples come from the
# same source. *The network.* Two hidden layers of ReLU units, cross-entropy (lesson 04), minibatches of 64.
#
# *The parameterizations.* Normal, weight normalization, and batch normalization, each in every layer, the output
# included, as in the paper's section 5.1. All start from the same random weights, with $\|v\| = g$ and $\gamma = 1$.
# Lesson 03 found in a regression problem that the growth of $\|v\|$ does not protect $g$ and $b$. So there are two
# more: weight normalization with $\eta$ for $v$ and a *fixed* rate for $g$ and $b$; batch normalization with $\eta$ for
# $w$ and the same fixed rate for $\gamma$ and $\beta$. The fixed rate is an ordinary one, 0.1 for SGD.
#
# Many networks train side by side: the first two axes of every array count the problem (its teacher, data and first
# weights) and the learning rate. The optimizers are the library's; their ``lr`` may be an array that is broadcast
# against the parameters. Batch statistics for evaluation are those of the training examples.

if lesson.full:
    problems, per_decade, steps, width, examples = 8, 3, 960, 48, 16_384
else:
    problems, per_decade, steps, width, examples = 5, 3, 320, 32, 4_096
SIZES, TESTED, BATCH = (16, width, width, 4), 2_048, 64
GUESSING = np.log(SIZES[-1])
EPSILON = 1e-5  # added to the variance by batch normalization
RULES = {  # optimizer, and the fixed rate of g, b, γ, β where they have one
    "SGD": (mg.optim.SGD, 0.1),
    "SGD, momentum 0.9": (lambda params, lr: mg.optim.SGD(params, lr, momentum=0.9), 0.01),
    "Adam": (mg.optim.Adam, 0.003),
}
WN_V, BN_W = "weight norm, η for v only", "batch norm, η for w only"
CASES = {"normal": ("normal", False), "weight norm": ("weight norm", False), WN_V: ("weight norm", True),
         "batch norm": ("batch norm", False), BN_W: ("batch norm", True)}


def draw_problem(rng, examples, noisy=True):
    """Inputs, one-hot labels (the last TESTED are for testing), first weights of each layer, entropy of the labels."""
    x = rng.normal(size=(examples + TESTED, SIZES[0]))
    t = np.tanh(2 * x @ rng.normal(size=(SIZES[0], 16)) / np.sqrt(SIZES[0])) @ rng.normal(size=(16, SIZES[-1]))
    t = 2.8 * (t - t.mean(axis=0)) / t.std(axis=0)
    p = np.exp(t - t.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    labels = (rng.uniform(size=(len(p), 1)) > p.cumsum(axis=1)[:, :-1]).sum(axis=1) if noisy else p.argmax(axis=1)
    first = [rng.normal(size=(a, b)) * np.sqrt(2 / a) for a, b in pairwise(SIZES)]
    entropy = -(p * np.log(p)).sum(axis=1).mean()
    return x.astype(np.float32), np.eye(SIZES[-1], dtype=np.float32)[labels], first, entropy


def start_layers(parameterization, firsts, rates):
    """For each layer the parameters, with the axes (problems, rates, inputs or 1, units); the first is v or w."""
    layers = []
    for first in zip(*firsts, strict=True):
        w = np.repeat(np.stack(first)[:, None].astype(np.float32), rates, axis=1)
        g = np.linalg.norm(w, axis=-2, keepdims=True)
        scale = {"normal": [], "weight norm": [g], "batch norm": [np.ones_like(g)]}[parameterization]
        layers.append([mg.tensor(a, requires_grad=True) for a in (w, *scale, np.zeros_like(g))])
    return layers


def logits(parameterization, layers, x, counted):
    """The network's outputs for x; batch normalization takes its statistics from the first `counted` rows."""
    for i, (w, *scale, shift) in enumerate(layers):
        x = mg.relu(x) if i else x
        if parameterization == "weight norm":
            w = w * (scale[0] / mg.norm(w, axis=-2, keepdims=True))  # equation 2
        x = x @ w
        if parameterization == "batch norm":
            rows = x[..., :counted, :]
            mean = rows.mean(axis=-2, keepdims=True)
            variance = mg.square(rows - mean).mean(axis=-2, keepdims=True)
            x = (x - mean) * (scale[0] / mg.sqrt(variance + EPSILON))
        x = x + shift
    return x


def cross_entropy(t, y):
    """Mean over the examples of each network."""
    return (mg.logsumexp(t, axis=-1) - (t * y).sum(axis=-1)).mean(axis=-1)


def angle_between(before, after):
    """The angle between the old and the new direction of each weight vector (the axis before the last), in radians."""
    a, b = (w / np.linalg.norm(w, axis=-2, keepdims=True) for w in (before, after))
    return 2 * np.arcsin(np.minimum(np.linalg.norm(a - b, axis=-2) / 2, 1))


def train(case, etas, steps, rule="SGD", fixed=None, falling=False, reset=False, examples=examples, noisy=True,
          checks=()):
    """Train a network for every problem and every learning rate.

    `fixed` replaces the rule's own fixed rate for g, b, γ, β. `falling` lets all rates fall linearly to zero. `reset`
    gives every v or w its first length back after each step.

    Returns a dict of arrays. "loss": of each minibatch, (steps, problems, rates). "recorded": the steps of which
    "angle" and "length" tell, both (steps, layers) lists of (problems, rates, units). "kappa": ‖Δv‖/‖v₀‖ of the first
    step, (layers) list of the same. "train", "test": the loss after `checks` steps and at the end, (times, problems,
    rates); inf where it is not finite. "entropy": (problems,).
    """
    parameterization, separate = CASES[case]
    make, own_rate = RULES[rule]
    own_rate = own_rate if fixed is None else fixed
    drawn = [draw_problem(lesson.rng(3, i), examples, noisy) for i in range(problems)]
    x, y = (np.stack([d[i] for d in drawn])[:, None] for i in (0, 1))
    layers = start_layers(parameterization, [d[2] for d in drawn], len(etas))
    rate = np.asarray(etas, np.float32)[:, None, None]
    directions = make([parameters[0] for parameters in layers], 0.0)
    others = make([p for parameters in layers for p in parameters[1:]], 0.0)
    recorded = np.unique(np.geomspace(1, steps, 60).round().astype(int))
    seen = np.r_[:TESTED, examples : examples + TESTED] if examples > TESTED else np.arange(examples + TESTED)
    lengths = [np.linalg.norm(parameters[0].data, axis=-2, keepdims=True) for parameters in layers]
    order, losses = lesson.rng(4), []
    result = {"recorded": recorded, "angle": [], "length": [], "train": [], "test": [],
              "entropy": np.array([d[3] for d in drawn])}
    with np.errstate(all="ignore"):  # some of these runs are meant to diverge
        for step in lesson.progress(range(1, steps + 1), f"{rule}, {case}"):
            factor = np.float32(1 - (step - 1) / steps if falling else 1)
            directions.lr, others.lr = rate * factor, (np.float32(own_rate) if separate else rate) * factor
            batch = order.integers(0, examples, BATCH)
            loss = cross_entropy(logits(parameterization, layers, mg.tensor(x[:, :, batch]), BATCH), y[:, :, batch])
            directions.zero_grad()
            others.zero_grad()
            loss.sum().backward()
            before = [parameters[0].data for parameters in layers] if step in recorded else []
            directions.step()
            others.step()
            if reset:
                for (v, *_), length in zip(layers, lengths, strict=True):
                    v.data = v.data * (length / np.linalg.norm(v.data, axis=-2, keepdims=True))
            losses.append(loss.numpy())
            if step in recorded:
                after = [parameters[0].data for parameters in layers]
                result["angle"].append([angle_between(*pair) for pair in zip(before, after, strict=True)])
                result["length"].append([np.linalg.norm(w, axis=-2) for w in after])
            if step == 1:
                result["kappa"] = [np.linalg.norm(a - b, axis=-2) / np.linalg.norm(b, axis=-2)
                                   for a, b in zip(after, before, strict=True)]
            if step in (*checks, steps):
                known = len(seen) - TESTED
                with mg.no_grad():
                    t = logits(parameterization, layers, mg.tensor(x[:, :, seen]), known)
                    for name, rows in (("train", slice(known)), ("test", slice(known, None))):
                        value = cross_entropy(t[:, :, rows], y[:, :, seen[rows]]).numpy()
                        result[name].append(np.where(np.isfinite(value), value, np.inf))
    return result | {"loss": np.array(losses), "train": np.array(result["train"]), "test": np.array(result["test"])}


etas = 10 ** (np.arange(-3 * per_decade, 5 * per_decade + 1) / per_decade)
early = steps // 4
sgd = {case: train(case, etas, steps, checks=(early,)) for case in CASES}
entropy = sgd["normal"]["entropy"]
print(f"{len(CASES) * problems * len(etas)} networks, {steps} steps each; "
      f"entropy of the labels {entropy.mean():.3f} nats (mean over problems), guessing {GUESSING:.3f}")


def at(value):
    """The index of a learning rate."""
    return int(np.abs(np.log(etas / value)).argmin())


# %%
# The clock in the networks
# -------------------------
#
# The formula needs one number per weight vector, $\kappa$, and the first step of training measures it. Everything after
# that is prediction, without a fitted constant. We compare the angle per step near the end (root mean square over the
# units, the problems, and the recorded steps of the last third) with the formula.

late = np.flatnonzero(sgd["normal"]["recorded"] > 0.67 * steps)


def late_angles(result, layer):
    """(measured, predicted) angle per step near the end, each (rates,): root mean square."""
    measured = np.mean([np.square(result["angle"][i][layer]) for i in late], axis=(0, 1, 3))
    kappa = result["kappa"][layer]
    formula = [np.square(np.arctan(predicted_angle(kappa, result["recorded"][i]))) for i in late]
    return np.sqrt(measured), np.sqrt(np.mean(formula, axis=(0, 1, 3)))


clock = np.sqrt(np.mean(1 / (2 * sgd["normal"]["recorded"][late])))  # 1/√(2n), averaged in the same way
middle = slice(at(1), at(100) + 1)
band = slice(at(0.1), at(1000) + 1)
print(f"angle near the end, times √(2n); steps {sgd['normal']['recorded'][late[0]]} to {steps}")
print(f"{'':28} {'layer':>5}  η = " + "".join(f"{10.0**e:>8g}" for e in range(-2, 5)))
for case in (WN_V, BN_W):
    for layer in range(3):
        measured, formula = late_angles(sgd[case], layer)
        shown = [at(10.0**e) for e in range(-2, 5)]
        print(f"{case:28} {layer + 1:>5} measured" + "".join(f"{measured[i] / clock:8.3f}" for i in shown))
        print(f"{'':34} formula " + "".join(f"{formula[i] / clock:8.3f}" for i in shown))

# %%
# *Tolerance.* The formula assumes a gradient of constant norm. In a network $G$ changes as the loss falls and $g$
# grows. If it changes by a factor $q$ after the first step, the angle changes by $q$ on the left flank of the curve
# (where $\|v\|$ does not grow and $c \propto G$), and hardly at its top. The loss falls to about half, so a factor of 2
# it shall be, and only for the first layer. The gradient of the last layer changes more, because the loss acts on it
# directly; and in the second layer of the network with weight normalization some units are dead (more on that below).

for case in (WN_V, BN_W):
    measured, formula = late_angles(sgd[case], 0)
    lesson.claim(f"{case}: first layer's angle near the end, η from 1 to 100, largest / smallest (first step: 100)",
                 measured[middle].max() / measured[middle].min(), below=2)
    off = np.exp(np.abs(np.log(measured / formula))[band].max())
    lesson.claim(f"{case}: that angle against the formula, η from 0.1 to 1000: largest factor between them", off,
                 below=2)

# %%

figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 4.2), sharey=True)
fine = np.unique(np.geomspace(1, 10_000, 200).round())
for exponent in (0, 1, 2, 3):
    fast, slow = (recursion[:, 6 + 2 * sign * exponent] for sign in (1, -1))  # κ = 10^±exponent
    left.loglog(fine, np.arctan(predicted_angle(10.0**-exponent, fine)), "-", color="0.35", lw=1.2,
                label="formula" if exponent == 3 else None)
    dots = np.unique(np.geomspace(1, 10_000, 13).round().astype(int)) - 1
    small, large = dots[::2], dots[[0, *range(1, len(dots), 2)]] if exponent else dots[:0]
    left.loglog(small + 1, np.arctan(slow[small]), "o", color="0.1", ms=5, label="κ ≤ 1" if exponent == 3 else None)
    left.loglog(large + 1, np.arctan(fast[large]), "s", color="0.1", mfc="white", ms=5.5,
                label="κ > 1" if exponent == 3 else None)
    name = f"κ = $10^{{-{exponent}}}$ or $10^{{{exponent}}}$" if exponent else "κ = 1"
    left.annotate(name, (1.25, 0.52 * np.arctan(slow[0])) if exponent else (2.2, 0.7), fontsize=8.5, color="0.2")
left.loglog(fine, 1 / np.sqrt(2 * fine), "--", color="0.15", lw=1.2)
left.annotate("$1/\\sqrt{2n}$", (700, 0.04), color="0.15")
left.legend(fontsize=8.5, loc="lower left", bbox_to_anchor=(0, 0.02), ncols=3, columnspacing=1.0)
left.set(xlabel="step number $n$", ylabel="angle per step (radians)", title="Theory: constant gradient norm",
         xlim=(0.8, 13_000), ylim=(1e-4, 3))
for case, colour in ((WN_V, WEIGHT_NORM), (BN_W, BATCH_NORM)):
    for layer, marker, face, line in ((0, "o", colour, "-"), (2, "D", "white", ":")):
        measured, formula = late_angles(sgd[case], layer)
        name = f"{case[:11].strip(', ')}, {'first' if layer == 0 else 'last'} layer"
        right.loglog(etas, formula, line, color=colour, lw=1.2)
        right.loglog(etas, measured, marker, color=colour, mfc=face, ms=4.5, label=name)
right.axhline(clock, ls="--", color="0.15", lw=1.2)
right.annotate("$1/\\sqrt{2n}$", (etas[0], 1.2 * clock), color="0.15")
right.set(xlabel="learning rate η of the directions", title=f"Networks, near step {steps}")
right.legend(fontsize=8, loc="lower center", title="dots: measured; lines: formula", title_fontsize=8)
lesson.figure(figure, "clock", note=f"synthetic problems: rms over units and {problems} problems")

# %%
# The same over time. Each line is a learning rate. In the normal parameterization the lines stay apart as far as they
# are apart at the start, until the largest rates run off. Where the loss cannot see the length, each line follows the
# step that its own $\eta$ dictates until it meets $1/\sqrt{2n}$, and then goes down with it; those that start far too
# high drop *below* it at the second step, and wait there until the clock has come down to them. From step 3 to about
# 100 the lines in the middle run below the clock, too. For a constant $G$ they could not, since the formula is good to
# 3 %: it is the gradient that falls after the first steps, as the loss does.

figure, axes = plt.subplots(1, 3, figsize=(8.4, 3.9), sharey=True)
for ax, case, colours in zip(axes, ("normal", WN_V, BN_W), ("Blues", "Oranges", "Greys"), strict=True):
    result = sgd[case]
    for exponent in range(-2, 4):
        angle = np.array([a[0][:, at(10.0**exponent)] for a in result["angle"]])
        rms = np.sqrt(np.square(angle).mean(axis=(1, 2)))
        colour = plt.colormaps[colours](0.3 + 0.7 * (exponent + 2) / 5)
        rms = np.where(rms > 0, rms, np.nan)
        ax.loglog(result["recorded"], rms, color=colour, lw=1.7, label=f"$10^{{{exponent}}}$")
    ax.loglog(result["recorded"], 1 / np.sqrt(2 * result["recorded"]), "--", color="0.15", lw=1.2)
    ax.set(xlabel="step number $n$", title=case.replace(", ", ",\n"), ylim=(3e-5, 3))
    ax.title.set_fontsize(10)
    ax.legend(title="η", ncols=3, fontsize=7.5, title_fontsize=8, loc="lower left", handlelength=1.2, columnspacing=0.9)
axes[0].set_ylabel("angle per step, first layer (radians)")
axes[0].annotate("$1/\\sqrt{2n}$", (30, 0.19), color="0.15", fontsize=9)
lesson.figure(figure, "angles", note=f"synthetic problems: rms over units and {problems} problems")

# %%
# So of the candidates for "the" effective learning rate it is the angle that agrees between learning rates once
# training has gone on. The rate $\eta/\|v\|^2 = c/G$ agrees as far as $G$ does.
#
# A learning rate 1000 times too large, step by step
# --------------------------------------------------
#
# 0.1 is a good rate for all five (see the next section). What happens at 100? For the directions we know it:
#
# 1. $v_1 = v_0 - \eta\nabla_v L \approx -\eta\nabla_v L$. The start is *forgotten*: $u_1$ is the direction of the first
#    minibatch's negative gradient, the same for every large $\eta$.
# 2. $\|v_1\| \approx \eta\,\|\nabla_v L\| = \kappa\,\|v_0\|$: the norm overshoots.
# 3. $\eta/\|v_1\|^2 \approx 1/(\eta\,\|\nabla_v L\|^2)$: the effective rate after the step is *small*, and smaller the
#    larger $\eta$ is. "Until an appropriate effective learning rate is reached" (section 2.1) describes a rate that is
#    a little too large. One that is far too large goes past the appropriate one in a single step.
# 4. From there, write $v = \eta\,\tilde v$. By the equivalence above ($\alpha = 1/\eta$), $\tilde v$ learns with the
#    rate $1/\eta$ from a $\tilde v_1 = v_1/\eta$ that does not depend on $\eta$. Steps that small follow the gradient
#    flow, in which only the time $n/\eta$ counts. So the curves for different $\eta$ are the *same curve* over
#    $n/\eta$, and the number of steps to recover is proportional to $\eta$. That is the price of a rate that is too
#    large, and nothing in the growth of $\|v\|$ lowers it: without decay, $\|v\|$ never comes back.
#
# For the lengths nothing of this holds. The logits of a network of three layers are proportional to $g_1 g_2 g_3$, and
# the gradient of each to the product of the other two. A step with a huge $\eta$ makes all three of the size of $\eta$;
# the next gradient is of the size of $\eta^2$ and the next lengths of $\eta^3$: the exponent multiplies at every step,
# and float32 ends at $10^{38}$. Weights without normalization do the same. (A network that stays finite all the same
# has lost all its units, and only the output's $b$ is left to be thrown about.) With batch normalization the scales of
# the hidden layers are divided away by the next layer, only the output's $\gamma$ and $\beta$ count, and the
# cross-entropy's gradient for them is bounded. They jump to the size of $\eta$, but no further: the loss stays finite
# and is proportional to $\eta$.

hundred, told = at(100), np.array([1, 2, 3, 4, 6, 11, 31])


def median_loss(result):
    """The loss of each minibatch at η = 100, median over problems; inf where it is not finite in most of them."""
    loss = result["loss"][:, :, hundred]
    return np.median(np.where(np.isfinite(loss), loss, np.inf), axis=1)


print(f"{'median over problems, η = 100:':34}" + "".join(f"{f'step {n}':>10}" for n in told) + "     end")
for case in CASES:
    values = median_loss(sgd[case])[told - 1]
    end = np.median(sgd[case]["train"][-1][:, hundred])
    print(f"{case:28} loss  " + "".join(f"{value:10.3g}" for value in values) + f"{end:8.3g}")
for case, (_, separate) in CASES.items():
    lesson.claim(f"η = 100, {case}: share of networks that end better than guessing",
                 (sgd[case]["train"][-1][:, hundred] < GUESSING).mean(), near=int(separate), within=0)
large = slice(at(100), None)
bn_loss = sgd["batch norm"]["train"][-1][:, large]
exponent = np.polyfit(np.log(etas[large]), np.log(np.median(bn_loss, axis=0)), 1)[0]
lesson.claim("Batch norm, one η for all, η from 100 to 100,000: final loss as a power of η, exponent", exponent,
             near=1, within=0.25)

# %%
# *Tolerance of the exponent.* The final loss of a network whose output scale is thrown about is a noisy number: over
# the problems it varies by a factor of two or so. The median of a few problems is known to some 50 %, $\ln 1.5 = 0.4$.
# With the 10 or more rates of these three decades, the slope's standard error is 0.4 divided by the root of
# $\sum(\ln\eta - \overline{\ln\eta})^2 \approx 10 \cdot (6.9^2/12)$, which is 0.06. We allow four of them.
#
# Now the way back, for the direction alone: $g$ and $b$ held at their first values. We count the steps until the loss
# (the mean of 20 minibatches) is below 1.2 nats; guessing is 1.386.

back_rates = 10 ** np.arange(0, 5.25 if lesson.full else 4.75, 0.5)
back = train(WN_V, back_rates, 3000 if lesson.full else 1000, fixed=0.0)
sums = np.cumsum(np.concatenate([np.zeros_like(back["loss"][:1]), back["loss"]]), axis=0)
smooth = (sums[20:] - sums[:-20]) / 20  # entry i: steps i + 1 to i + 20
reached = smooth < 1.2
needed = np.median(np.where(reached.any(axis=0), reached.argmax(axis=0) + 10.5, np.inf), axis=0)
kappa = np.median(back["kappa"][1], axis=(0, 2))
print("      η   κ (second layer)   steps until the loss is below 1.2 (medians)")
for row in zip(back_rates, kappa, needed, strict=True):
    print("{:7.0f} {:14.1f} {:22.0f}".format(*row))
fitted = (back_rates > 900) & np.isfinite(needed)
exponent = np.polyfit(np.log(back_rates[fitted]), np.log(needed[fitted]), 1)[0]
lesson.claim("Direction only, η from 1000: the steps to recover as a power of η, exponent", exponent, near=1,
             within=0.35)

# %%
# *Tolerance.* The loss is read from windows of 20 steps, while the shortest recovery in the fit takes some 50: a slope
# over one decade can be 0.1 or 0.2 too small for that. The medians come from a few problems and are known to some 20 %,
# another 0.1.
#
# Note that recovery does not wait for the clock, which for $\kappa = 100$ starts after 5000 steps. Noise alone would
# take of the order of $\kappa^2$ steps of size $1/\kappa$ to turn a direction. The mean gradient adds up, and needs of
# the order of $\kappa$.

figure, axes = plt.subplots(2, 2, figsize=(8.4, 6.8))
(top_left, top_right), (bottom_left, bottom_right) = axes
STYLES = {"normal": (NORMAL, "-", "s"), "weight norm": (WEIGHT_NORM, "-", "o"), WN_V: (WEIGHT_NORM, ":", "^"),
          "batch norm": (BATCH_NORM, "-", "D"), BN_W: (BATCH_NORM, ":", "v")}
number = np.arange(1, steps + 1)
for case, (colour, line, marker) in STYLES.items():
    loss = median_loss(sgd[case])
    last = len(loss) if np.isfinite(loss).all() else int(np.isfinite(loss).argmin())
    shown = {"color": colour, "ls": line, "mfc": "white" if line == ":" else colour, "ms": 4.5, "lw": 1.6}
    marked = [i for i in np.unique(np.geomspace(1, steps, 10).round().astype(int)) - 1 if i < last]
    top_left.loglog(number[:last], loss[:last], marker=marker, markevery=marked, label=case, **shown)
    norm = np.array([np.median(a[0][:, hundred]) for a in sgd[case]["length"]])
    finite = np.isfinite(norm)
    top_right.loglog(np.r_[0.5, sgd[case]["recorded"][finite]],
                     np.r_[np.sqrt(2), norm[finite]], marker=marker, markevery=(0.0, 0.12), **shown)
top_left.axhline(GUESSING, color="0.5", lw=0.9, zorder=0)
top_left.annotate("guessing", (steps, GUESSING), ha="right", va="bottom", fontsize=8, color="0.4")
top_left.set(xlabel="step number $n$", ylabel="loss of the minibatch (nats)", ylim=(0.4, 3e4),
             title="η = 100: the loss")
top_right.set(xlabel="after step $n$ (leftmost: at the start)", ylabel="‖v‖ or ‖w‖, first layer", ylim=(0.8, 3e4),
              title="η = 100: the norm")
shades = plt.colormaps["Oranges"](np.linspace(0.35, 1, 4))
for value, shade in zip((1e3, 10**3.5, 1e4, 10**4.5), shades, strict=True):
    i = int(np.abs(np.log(back_rates / value)).argmin())
    bottom_left.plot((np.arange(len(smooth)) + 10.5) / value, np.median(smooth[:, :, i], axis=1), color=shade,
                     label=f"$10^{{{np.log10(value):g}}}$")
bottom_left.axhline(1.2, color="0.3", lw=0.9, ls="--")
bottom_left.axhline(GUESSING, color="0.5", lw=0.9, zorder=0)
bottom_left.set(xscale="log", xlabel="$n/\\eta$", ylabel="loss, mean of 20 minibatches (nats)", ylim=(0.6, 5.2),
                title="Direction only: one curve over $n/\\eta$")
bottom_left.legend(title="η", fontsize=8.5)
known = np.isfinite(needed)
bottom_right.loglog(back_rates[known], needed[known], "^", color=WEIGHT_NORM, mfc="white", ms=6, label="measured")
guide = needed[fitted][-1] * back_rates / back_rates[fitted][-1]
bottom_right.loglog(back_rates[guide > 3], guide[guide > 3], "-", color="0.3", lw=1.2, label="slope 1")
bottom_right.set(xlabel="learning rate η of the directions", ylabel="steps until the loss is below 1.2",
                 title="Direction only: the way back")
bottom_right.legend()
figure.legend(*top_left.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8.5)
lesson.figure(figure, "recovery", note=f"synthetic problems: medians of {problems}")

# %%
# How wide is the range?
# ----------------------
#
# Now the whole sweep, eight decades of $\eta$. We call a learning rate *usable* if the test loss after training is
# below a mark set between guessing and the entropy of the labels: at least 60 % of what can be learned has been
# learned. The mark belongs to the problem, not to any of the methods, and the width of the range is counted for each
# problem. (In the figure: solid, one $\eta$ for all parameters; dotted, $\eta$ for the directions only.)
#
# Before we look, what should be expected? At the lower end all parameterizations need the same $\eta T$ to get
# anywhere, and $\|v\|$ has no time to grow. The normal parameterization then ends where the curvature ends it, at about
# $2/\lambda_{\max}$, however long the training; its range grows at the lower end only, by $\log_{10} 4 = 0.6$ decades
# if $T$ becomes four times as long. For the directions the upper end is where the way back takes all of $T$, so it
# grows at both ends, by 1.2 decades. And Adam? Its steps do not depend on the size of the gradient, so no parameter can
# run away with an exponent that multiplies; but one that is thrown to 100 by a rate of 100 has to come back.

LEARNED = 0.6
mark = entropy + (1 - LEARNED) * (GUESSING - entropy)


def decades(losses):
    """The width of the usable range for each problem, from losses of shape (problems, rates)."""
    return (losses <= mark[:, None]).sum(axis=1) / per_decade


sweeps = {"SGD": (etas, sgd)}
for rule in ("SGD, momentum 0.9", "Adam") if lesson.full else ("Adam",):
    low, high = (-4, 4) if rule != "Adam" else (-4, 2)
    rates = 10 ** (np.arange(low * per_decade, high * per_decade + 1) / per_decade)
    sweeps[rule] = rates, {case: train(case, rates, steps, rule=rule) for case in CASES}

print(f"{problems} problems, {steps} steps; usable: test loss below {mark.mean():.2f} (mean over problems)")
print(f"{'':45} usable range in decades      best loss (median)")
print(f"{'':45} {'test':>6} {'lowest, highest':>17} {'train':>6} {'test':>6} {'at η =':>8}")
for rule, (rates, results) in sweeps.items():
    for case, result in results.items():
        last = result["test"][-1]
        width, best = decades(last), np.median(last.min(axis=1))
        print(f"{rule:17} {case:27} {np.median(width):6.2f} {width.min():11.2f}, {width.max():.2f} "
              f"{np.median(result['train'][-1].min(axis=1)):7.3f} {best:6.3f} "
              f"{rates[np.median(last, axis=0).argmin()]:8.2g}")
    lesson.measurements[rule] = {case: decades(r["test"][-1]).tolist() for case, r in results.items()}

# %%

HEIGHT = 1.75
figure = plt.figure(figsize=(8.4, 5.6) if len(sweeps) == 2 else (11.4, 5.6))
grid = figure.add_gridspec(2, len(sweeps), height_ratios=[3.1, 1])
for column, (rule, (rates, results)) in enumerate(sweeps.items()):
    above, below = figure.add_subplot(grid[0, column]), figure.add_subplot(grid[1, column])
    for row, (case, (colour, line, marker)) in enumerate(STYLES.items()):
        last = results[case]["test"][-1]
        median = np.median(last, axis=0)
        face = "white" if line == ":" else colour
        above.plot(rates, np.minimum(median, 1e6), line, color=colour, marker=marker, ms=4, mfc=face, lw=1.7,
                   label=case, zorder=3 if line == "-" else 4)
        above.fill_between(rates, last.min(axis=0), np.minimum(last.max(axis=0), 1e6), color=colour, alpha=0.13, lw=0)
        good = rates[median <= np.median(mark)]
        below.plot([good.min(), good.max()], [-row, -row], color=colour, lw=5 if line == "-" else 2.2,
                   solid_capstyle="butt")
        open_end = "≥ " if good.max() == rates[-1] else ""
        below.annotate(f"{open_end}{np.median(decades(last)):.1f}", (good.max(), -row), (6, 0), va="center",
                       textcoords="offset points", fontsize=8.5, color=colour)
    levels = {"guessing": GUESSING, "usable below": np.median(mark), "entropy of the labels": entropy.mean()}
    for name, level in levels.items():
        above.axhline(level, color="0.45", lw=0.9, ls="--" if "usable" in name else "-", zorder=1)
        if column == 0:
            x = {"guessing": 3e3, "usable below": 3e2}.get(name, 3e-2)  # where there is room
            above.annotate(name, (x, level), (0, 2), textcoords="offset points", ha="center", fontsize=8, color="0.35")
    above.set(xscale="log", ylim=(0.5, HEIGHT), xlim=(rates[0] / 1.5, rates[-1] * 4), title=rule)
    above.tick_params(labelbottom=False)
    below.set(xscale="log", xlim=(rates[0] / 1.5, rates[-1] * 4), ylim=(-4.7, 0.7), yticks=[], xlabel="learning rate η")
    below.spines["left"].set_visible(False)
    if column == 0:
        above.set_ylabel("test loss after training (nats)")
        below.set_ylabel("usable range\n(decades)", fontsize=9)
figure.legend(*above.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8.5)
note = f"synthetic problems: median, lowest and highest of {problems}; {steps} steps"
lesson.figure(figure, "learning_rates", note=note)

# %%


def gain(rule, case):
    """Usable decades beyond those of the normal parameterization with the same optimizer: mean over problems."""
    results = sweeps[rule][1]
    return np.mean(decades(results[case]["test"][-1]) - decades(results["normal"]["test"][-1]))


for rule in sweeps:
    for case in ("weight norm", "batch norm"):
        lesson.claim(f"{rule}: {case}, one η for all: the usable range gains, but not much; mean gain in decades",
                     gain(rule, case), above=0, below=2)
    for case in (WN_V, BN_W):
        lesson.claim(f"{rule}: {case}: the usable range gains much; mean gain in decades", gain(rule, case), above=2)

# %%
# By "much" we mean 2 decades, which is about all that the normal parameterization has itself. One $\eta$ for all
# parameters gains less than that, with either normalization and either optimizer. A rate for the directions alone gains
# more. The paper's "much wider range" is true of the part of the network that its argument is about. What one $\eta$
# does gain is no small thing either. Ioffe & Szegedy (2015, arXiv:1502.03167), to whom the paper refers for batch
# normalization, trained with rates 5 and 30 times larger than without: 0.7 and 1.5 decades.
#
# Is it really the growth of $\|v\|$ that does it, or just the split into two rates? Take the growth away: give every
# $v$ its first length back after each step, and leave everything else as it is. Then no step makes the next one
# smaller.

without_growth = train(WN_V, etas, steps, reset=True)["test"][-1]
lost = np.mean(decades(sgd[WN_V]["test"][-1]) - decades(without_growth))
print(f"η for v only, ‖v‖ set back after each step: {np.median(decades(without_growth)):.2f} usable decades (median)")
lesson.claim("SGD, η for v only: decades that are lost if ‖v‖ is set back after each step, mean", lost, above=2)

# %%
# And the prediction about $T$? *Tolerance.* Normal should gain 0.6 decades by four times as many steps, η for $v$ only
# 1.2. Where the curves are steep, a range has sharp ends; but after a quarter of the steps even the bottom of the curve
# of the normal parameterization is close to the mark, and then a little more training counts for more. Widths come in
# steps of a third of a decade. We ask for half of the expected difference.

longer = {case: np.mean(decades(sgd[case]["test"][1]) - decades(sgd[case]["test"][0])) for case in CASES}
print(f"decades gained from step {early} to step {steps}: " + "; ".join(f"{c} {v:+.2f}" for c, v in longer.items()))
lesson.claim("SGD, four times as many steps: decades that the range of η for v only gains more than that of normal",
             longer[WN_V] - longer["normal"], above=0.3)

# %%
# (Seeds 0 to 4 of the quick run give from 0.5 to 1.3: the argument gets the sign and the size, not more.)
#
# Is the best loss better too? The table says: on test examples a little. On training examples, weight normalization
# with one $\eta$ and the normal parameterization are about even.

best = {case: sgd[case]["test"][-1].min(axis=1) for case in CASES}
for case in ("weight norm", "batch norm"):
    lesson.claim(f"SGD: {case}, one η for all, has the lower best test loss: normal minus {case} in nats, mean",
                 np.mean(best["normal"] - best[case]), above=0)

# %%
# *Dead units.* At large $\eta$, weight normalization is a little worse than batch normalization, even with $\eta$ for
# $v$ only. One huge step can turn a ReLU unit of the second layer to where it is negative for every input (those are
# positive, so that takes no more than negative weights). Such a unit has no gradient and never moves again. Batch
# normalization centres the pre-activation, so that each unit stays positive for some inputs; and the first layer's
# inputs have both signs. We count the units whose angle is exactly 0 in all recorded steps of the last third.


def still(case, layer):
    """Share of the units of a layer that do not turn any more, η from 1 to 100."""
    return (np.max([sgd[case]["angle"][i][layer][:, middle] for i in late], axis=0) == 0).mean()


for case in (WN_V, BN_W):
    print(f"{case}: still units in the first hidden layer {still(case, 0):.2f}, in the second {still(case, 1):.2f}")
lesson.claim("Second layer, η from 1 to 100 for v only: share of dead units", still(WN_V, 1), above=0.1)
lesson.claim("Second layer, η from 1 to 100 for w only, batch norm: share of dead units", still(BN_W, 1), below=0.01)

# %%
# Does the effective learning rate stabilize?
# -------------------------------------------
#
# "Once the norm of the weights has grown large with respect to the norm of the updates, the effective learning rate
# stabilizes" (section 2.1). Yes in the sense that it changes by less and less in each step; so does $1/\sqrt t$. Arora,
# Li & Lyu (2018) say what it does in the end. With $\|v\|^4 = \|v_0\|^4 + 2\eta^2\sum_t G_t^2$ (lesson 05), everything
# hangs on the sum. If noise keeps $G$ up, the sum grows like $t$, and $\eta/\|v\|^2$ falls like $t^{-1/2}$, without
# end. If the network comes to fit every example, so that $G$ vanishes faster than $t^{-1/2}$, the sum converges, and
# the effective rate stands still. We make one of each: noisy labels on so many examples that they are seen only a few
# times; and 128 examples with clean labels, which the network fits. First layer, $\eta$ for $v$ only.
#
# *Tolerance.* The slope is $-1/2$ for a constant $G$. If $G^2$ changes like $t^q$, it is $-(1+q)/2$. A $G$ that changes
# by a third over a decade of steps has $|q| = 0.25$; with the wish to see no more than that and some noise, we allow
# 0.2.

long, few_rates = 5000 if lesson.full else 1500, np.array([1.0, 3.0, 10.0, 30.0])
situations = {"noise stays": train(WN_V, few_rates, long, examples=65_536 if lesson.full else 16_384),
              "all examples fitted": train(WN_V, few_rates, long, examples=128, noisy=False)}
figure, axes = plt.subplots(1, 2, figsize=(8.4, 4.0), sharey=True)
slopes = {}
for ax, (name, result) in zip(axes, situations.items(), strict=True):
    number = result["recorded"]
    rates = np.array([np.median(few_rates[:, None] / a[0].astype(float) ** 2, axis=(0, 2)) for a in result["length"]])
    tail = number > long / 8
    slopes[name] = np.polyfit(np.log(number[tail]), np.log(rates[tail]), 1)[0]
    loss = np.median(result["train"][-1], axis=0)
    print(f"{name:20} slopes late, η = 1, 3, 10, 30: {np.round(slopes[name], 3)}; training loss {np.round(loss, 4)}")
    for eta, values, shade in zip(few_rates, rates.T, plt.colormaps["Oranges"](np.linspace(0.4, 1, 4)), strict=True):
        ax.loglog(number, values, color=shade, lw=2, label=f"{eta:g}")
    ax.set(xlabel="step number $n$", title=name.capitalize())
guide = np.array([long / 30, long / 3])
axes[0].loglog(guide, 0.3 * rates[0, 0] * (guide / guide[0]) ** -0.5, "--", color="0.2", lw=1.3)
axes[0].annotate("slope $-1/2$", (guide[0], 0.31 * rates[0, 0]), color="0.2", va="bottom")
axes[0].set_ylabel("$\\eta/\\|v\\|^2$, first layer (median)")
axes[1].legend(title="η for v", ncols=2, fontsize=9)
lesson.figure(figure, "does_it_stabilize", note=f"synthetic problems: median over units and {problems} problems")

lesson.claim("Noise stays, η = 3, 10, 30 for v only: late log-log slope of η/‖v‖², mean",
             slopes["noise stays"][1:].mean(), near=-0.5, within=0.2)
lesson.claim("All examples fitted, the same four rates: steepest late slope", slopes["all examples fitted"].min(),
             above=-0.05)

# %%
# The slope for $\eta = 1$ is smaller because its clock has hardly begun. Both sentences are true, then, each in its
# place: Arora's law where noise stays, which is most of practice; the paper's where the gradient vanishes.
#
# Does a schedule still matter?
# -----------------------------
#
# If the effective rate falls by itself, is there any use in lowering $\eta$? The clock says what it falls to:
# $1/\sqrt{2T}$ per step at the end, and with it the noise of the last steps. A rate that is led to zero ends with no
# noise. It acts, too, on $g$ and $b$, whose effective rate does not fall at all. We let all rates fall linearly from
# their first value to zero, and compare the best test loss over the same $\eta$ from 0.02 to 250.

inside = (etas > 0.02) & (etas < 250)
print(f"{'SGD, best test loss (medians)':30} constant   falling   usable decades: constant, falling")
for case in ("normal", "weight norm", WN_V, "batch norm"):
    constant, falling = sgd[case]["test"][-1][:, inside], train(case, etas[inside], steps, falling=True)["test"][-1]
    lowest = constant.min(axis=1), falling.min(axis=1)
    print(f"{case:30} {np.median(lowest[0]):8.3f} {np.median(lowest[1]):9.3f} {np.median(decades(constant)):23.2f}, "
          f"{np.median(decades(falling)):.2f}")
    lesson.claim(f"SGD, {case}: a falling rate lowers the best test loss; nats, mean over problems",
                 np.mean(lowest[0] - lowest[1]), above=0)

# %%
# What to take from it
# --------------------
#
# - *Give* $g$ *and* $b$ (or $\gamma$ and $\beta$) *a rate of their own*, an ordinary one. It is a second optimizer and
#   two lines, and with it the rate for $v$ hardly needs to be tuned. With one rate for all, tune $\eta$ with weight
#   normalization as you would without: what limits it are the parameters that nothing protects.
# - *Look at the angle*, not at $\eta$: ``NormTracker``'s ``relative_step``, layer by layer. Far below $1/\sqrt{2n}$, a
#   direction is being trained too slowly. A large $\eta$ looks the same there as a small one; the norm tells which it
#   is.
# - *Too large costs as much as too small.* After a step that was far too large, $\|v\|$ does not come back by itself.
#   Either make $v$ short again by hand (the function does not change), or decay it (lesson 05).
# - *Think of* $\eta/\|v_0\|^2$. Two implementations that start $v$ at different lengths need learning rates that differ
#   by the square of the ratio, and only as long as the clock has not begun.
# - *Keep the schedule.*
#
# What the paper says, and what we found
# --------------------------------------
#
# (Numbers of ``--seed 0``: the quick run, and in brackets the full one.)
#
# - "The scaled gradient self-stabilizes its norm." Yes, for directions. With rates from 1 to 100 the first layer's
#   first step differs by a factor of 100 and its step at the end by 1.4 (1.4), with batch normalization 1.7 (1.5). The
#   formula derived from the paper's Pythagoras, without a fitted number, gives the angle within a factor of 1.3 (1.5)
#   over four decades of $\eta$.
# - "If the learning rate is too large, the norm of the unnormalized weights grows quickly until an appropriate
#   effective learning rate is reached." The norm grows in one step, and when the rate is far too large, past the
#   appropriate value. The way back takes a number of steps that grows like $\eta^{0.88}$ (0.96); theory says $\eta^1$.
# - "A much wider range of learning rates." Not with one $\eta$ for all parameters: weight normalization gains 0.4 (0.5)
#   decades with SGD and 1.0 (1.1) with Adam; the full run also has momentum, with 0.9. At 100, a thousand times a good
#   rate, it diverges as the normal parameterization does. With $\eta$ for $v$ only the range gains 3.2 (4.2) decades
#   with SGD and at least 3.1 (3.6) with Adam, and with SGD loses 2.8 (3.6) of them if $\|v\|$ is not allowed to grow.
#   So the mechanism is real and strong, and the sentence leaves out $g$ and $b$.
# - "Batch normalization also has this property, which can also be explained by this analysis." The same picture: $w$
#   obeys the clock, $\gamma$ and $\beta$ do not. With one $\eta$ the gain is 0.7 (0.8) decades with SGD, 1.5 (1.4) with
#   Adam; with $\eta$ for $w$ only 3.9 (4.7) with SGD. What sets batch normalization apart is that its loss stays finite
#   (the median over the problems) at every rate tried.
# - "The effective learning rate stabilizes." Where the gradient vanishes: late slope 0.00 (0.00). With noise that stays
#   it falls with slope -0.49 (-0.60), near the $-1/2$ of Arora, Li & Lyu; steeper in the longer run, which means
#   that $G$ grew.
# - A falling rate lowers the best test loss of all of them: by 0.02 (0.03) nats for the normal parameterization and
#   0.02 (0.01) with weight normalization. In the longer run, then, weight normalization needs the schedule less.
# - Not tested here: large networks, long training, weight decay. The paper's experiments used Adam and Adamax, where
#   one $\eta$ gains most.
#
# Exercises
# ---------
#
# 1. *Where the normal parameterization ends.* Give ``CASES`` an entry for it in which only $w$ has the rate $\eta$ and
#    $b$ a fixed one. Does its range move? What, then, does the control with ``reset`` add?
# 2. *How large may the other rate be?* Replace the fixed 0.1 by values from 0.01 to 10 (``fixed``). Where does the flat
#    curve break off, and is it the same place for $g$ and $b$ as for $\gamma$ and $\beta$?
# 3. *Start longer.* Multiply every $v_0$ by 10 in ``start_layers`` and keep $g$. By the equivalence, where must the
#    curve of "η for v only" go? Why does its lower end move, but the clock not?
# 4. *A clock with decay.* Add weight decay $\lambda$ on $v$ (``mg.optim.SGD`` has it). Replace Pythagoras by
#    $S' = (1 - \eta\lambda)^2 S + \kappa^2/S$ in the recursion, find the angle at which it comes to rest (lesson 05),
#    and how long the way back from $\eta = 1000$ takes then.
# 5. *Leaky units.* Replace ReLU by ``mg.leaky_relu``. How many units are still at the end, and does weight
#    normalization catch up with batch normalization at large $\eta$?

lesson.finish()

r"""Small steps: gradient flow, float32, and what a constant norm does
===================================================================

You log ‖v‖ during training, as lesson 05 told you to, and nothing happens: the norm stays where it is, or even falls a
little. Is the law wrong, or the code? Often neither. Growth is an effect of the *size* of the steps, so small steps
have little of it, and float32 loses what is left in rounding. This chapter says how small is too small. And it shows
that a constant norm has an effect, too: it makes gradient descent prefer short solutions.

Afterwards you can

- say how much growth to expect at a given learning rate, and why there is none in the limit of small steps;
- tell from c alone whether float32 can show the growth of a single step;
- predict which part of a weight vector weight normalization wipes out under gradient flow.

Read first: lesson 05 (norm growth), its first part.

Claims checked, and where they are made:

- under gradient flow ‖v‖ is constant; for small η the growth of ‖v‖² is proportional to η (follows from equation 4);
- in float32 a step shortens v with the probability Φ(-c²/2σ), with the standard deviation σ of the rounding (derived
  here);
- a constant ‖v‖ shrinks the part of w that the data do not determine (Wu et al. 2019, arXiv:1911.07956).

Time: quick about 8 s, full about 40 s.
"""

# %% tags=["hide-input"]
# The network is that of lesson 05: one hidden layer of ReLU units, weight normalization with the length $g = 1$
# fixed, only $v$ learns. Here it learns on all examples at once, none of them mislabelled: the smoothest training
# possible.

import math

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl
from matplotlib.ticker import NullFormatter

import minigrad as mg
import wn
from lessons import COLOURS, Lesson
from minigrad.nn import functional as F

lesson = Lesson(__file__)
threadpoolctl.threadpool_limits(1)  # a single thread multiplies matrices this small fastest
INPUTS, HIDDEN = (50, 128) if lesson.full else (20, 32)
WEIGHT_NORM, THEORY = COLOURS["weight norm"], "0.3"  # measured; computed


def problem(examples=256):
    """Inputs (examples, inputs) and answers (examples, 1): is a random teacher network above its median?"""
    rng = lesson.rng(0)
    x = rng.normal(size=(examples, INPUTS))
    t = np.tanh(2 * x @ rng.normal(size=(INPUTS, 8)) / np.sqrt(INPUTS)) @ rng.normal(size=(8, 1))
    return x, (t > np.median(t)).astype(float)


def network():
    """The network in float64; the same numbers each time."""
    rng = lesson.rng(1)
    net = mg.nn.Sequential(mg.nn.Linear(INPUTS, HIDDEN, rng=rng), mg.nn.ReLU(), mg.nn.Linear(HIDDEN, 1, rng=rng))
    for p in wn.apply_weight_norm(net).parameters():
        p.data = p.data.astype(float)
    for layer in (net[0], net[2]):
        layer.weight_g.data = np.ones_like(layer.weight_g.data)
    return net


# %%
# Growth is a property of the steps, not of the path
# --------------------------------------------------
#
# Make the learning rate smaller and smaller, and let training take correspondingly more steps. The path of $v$
# becomes a smooth curve, the *gradient flow* $dv/dT = -\nabla_v L$ down the loss, where $T = \eta t$ is the learning
# rate times the number of steps. Along the flow $d\|v\|^2/dT = -2\,v \cdot \nabla_v L = 0$: the norm does not grow at
# all.
#
# Gradient descent with a finite $\eta$ follows about the same curve, in straight pieces. Each piece is a tangent, and
# ends a little outside the curve. By Pythagoras
#
# $$\|v\|^2 - \|v_0\|^2 = \sum \eta^2\,\|\nabla_v L\|^2 = \eta \sum \eta\,\|\nabla_v L\|^2
#   \;\approx\; \eta \int_0^T \|\nabla_v L\|^2\,dT :$$
#
# for the same curve, proportional to $\eta$. We train up to $T = 10$, halving $\eta$ each time. The integral comes from
# the run with the smallest $\eta$; it predicts the growth in all the others.


def descend(rate, time=10):
    """Σ ‖v‖² over the units at the start and at the end, and η Σ ‖∇_v L‖²."""
    x, y = problem()
    net = network()
    directions = [net[0].weight_v, net[2].weight_v]
    start, integral = sum(np.sum(v.data**2) for v in directions), 0.0
    optimizer = mg.optim.SGD(directions, lr=rate)
    for _ in range(round(time / rate)):
        net.zero_grad()
        F.binary_cross_entropy_with_logits(net(mg.tensor(x)), y).backward()
        integral += rate * sum(np.sum(v.grad.data**2) for v in directions)
        optimizer.step()
    return start, sum(np.sum(v.data**2) for v in directions), integral


rates = 0.4 / 2.0 ** np.arange(8 if lesson.full else 6)
starts, finals, integrals = np.transpose([descend(rate) for rate in rates])
growth = (finals - starts) / starts
predicted = rates * integrals[-1] / starts
print("     η   steps   growth of Σ‖v‖²   η ∫‖∇‖² dT")
for rate, measured, expected in zip(rates, growth, predicted, strict=True):
    print(f"{rate:6.4f} {round(10 / rate):7} {100 * measured:15.4f} % {100 * expected:10.4f} %")

# %% tags=["hide-input"]
# *Tolerance.* The path itself changes with $\eta$, by a relative amount of order $\eta$ (times the curvature of the
# loss, here of the order of 1). We leave out the two largest rates and allow 5 % for the others, half of the largest.

lesson.claim("Gradient flow keeps ‖v‖: growth of Σ‖v‖² up to T = ηt = 10 is η ∫‖∇_v L‖² dT, η up to 0.1", growth[2:],
             predicted=predicted[2:], rtol=0.05)

# %%
# So half the rate gives half the growth, for the same distance learned. If ‖v‖ does not move in your log, the first
# thing to compare is $\eta\,\|\nabla_v L\|$ with $\|v\|$.
#
# What float32 can see
# --------------------
#
# The relative step $c$ may be small, and the growth of a step is $c^2/2$: for $c = 10^{-4}$ that is
# $5 \cdot 10^{-9}$, far below the precision of float32. In float32 each entry of $v'$ is rounded to the nearest float32
# number. Neighbours are one *ulp* (unit in the last place) apart, so the error is like a random number between -½ and ½
# ulp, with the variance $\mathrm{ulp}^2/12$. An error $z_i$ in entry $i$ changes $\|v\|^2$ by $2 v_i z_i$, hence
# $\|v\|$ relatively by $v_i z_i/\|v\|^2$. For all entries together that is a random number with the standard deviation
#
# $$\sigma = \frac{1}{\|v\|^2} \sqrt{\textstyle\sum_i v_i^2\,\mathrm{ulp}(v_i)^2/12}\;.$$
#
# The result is *shorter* than before when the rounding takes away more than $c^2/2$. If the sum of the errors is close
# to a normal random number, that has the probability $\Phi(-c^2/2\sigma)$, where $\Phi$ is the normal distribution
# function. Below $c \approx \sqrt{2\sigma}$ a single step no longer shows that $v$ grows. We try random vectors with
# $n = 20$ entries, and steps at a right angle to them.

trials, n = 40_000, 20
rng = lesson.rng(3)
v32 = rng.normal(size=(trials, n)).astype(np.float32)
v = v32.astype(float)
lengths = np.linalg.norm(v, axis=1, keepdims=True)
across = rng.normal(size=v.shape)
across -= (across * v).sum(axis=1, keepdims=True) / lengths**2 * v
across /= np.linalg.norm(across, axis=1, keepdims=True)
sigma = np.sqrt(np.sum(v**2 * np.spacing(np.abs(v32)).astype(float) ** 2 / 12, axis=1)) / lengths[:, 0] ** 2


def share_predicted(c):
    """Φ(-c²/2σ), mean over 4000 of the vectors."""
    return np.mean([math.erfc(c**2 / (2 * s) / math.sqrt(2)) / 2 for s in sigma[:4000]])


relative_steps, shrinking = np.logspace(-6, -2, 17), []
for c in relative_steps:
    stepped = v32 - (c * lengths * across).astype(np.float32)
    shrinking.append(np.mean(np.linalg.norm(stepped.astype(float), axis=1) < lengths[:, 0]))
hidden_below = np.sqrt(2 * np.median(sigma))
print(f"σ = {np.median(sigma):.1e}: a single step hides its growth for c < √(2σ) = {hidden_below:.1e}")

# %% tags=["hide-input"]
# *Tolerance.* A share of 40,000 trials has a standard deviation of at most $\sqrt{1/4/40{,}000} = 0.25$ per cent; four
# of them make one. A sum of 20 uniform errors, of which the few largest entries of $v$ have the most weight, is not
# quite normal; for that we allow 1.5 per cent more.

shares_predicted = np.array([share_predicted(c) for c in relative_steps])
lesson.claim("float32: a step of relative size c shortens v with probability Φ(-c²/2σ), c from 1e-6 to 0.01", shrinking,
             predicted=shares_predicted, rtol=0.0, atol=0.025)

# %% tags=["hide-input"]

figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.9))
left.loglog(rates, predicted, "-", color=THEORY, label="$\\eta \\int \\|\\nabla_v L\\|^2 dT$", zorder=0)
left.loglog(rates, growth, "o", color=WEIGHT_NORM, label="measured")
left.set(xlabel="learning rate η", ylabel="growth of $\\sum\\|v\\|^2$ up to $\\eta t = 10$, relative")
left.set_title("Towards gradient flow")
left.set_xticks([0.01, 0.03, 0.1, 0.3], ["0.01", "0.03", "0.1", "0.3"])
left.xaxis.set_minor_formatter(NullFormatter())
left.legend()
fine = np.logspace(-6, -2, 120)
shares = [100 * share_predicted(c) for c in fine]
right.semilogx(fine, shares, "-", color=THEORY, label="$\\Phi(-c^2/2\\sigma)$", zorder=0)
right.semilogx(relative_steps, 100 * np.array(shrinking), "o", color=WEIGHT_NORM, label="measured")
right.axvline(hidden_below, color="0.6", lw=1, ls=":")
right.annotate("$c = \\sqrt{2\\sigma}$", (hidden_below, 40), (8, 0), textcoords="offset points", color="0.35")
right.set(xlabel="relative step $c = \\|\\Delta v\\|/\\|v\\|$", ylabel="steps that shorten v (%)")
right.set_title("Rounding in float32")
right.legend(loc="lower left")
lesson.figure(figure, "small_steps", alt="Left: growth of the squared norm against the learning rate, both "
              "logarithmic; dots on a straight line of slope 1. Right: share of float32 steps that shorten v against "
              "the relative step c; half of them for c below 0.00003, none above 0.0003, with dots on the predicted "
              "curve.")

# %%
# Half of the steps below $c = 3 \cdot 10^{-5}$ shorten $v$: pure chance. The growth is not lost, though. Over many
# steps rounding errors add up like $\sqrt t\,\sigma$, growth like $t\,c^2/2$, so in the long run growth wins. (Lesson
# 05 used float64, and steps at least ten times longer than $\sqrt{2\sigma}$.)
#
# What a constant norm does
# -------------------------
#
# With small steps, then, $\|v\|$ is constant. That too has an effect. Take a linear neuron, $y = w \cdot x$, with fewer
# examples than inputs: infinitely many $w$ fit them. $\nabla_w L$ is a combination of the inputs seen, so gradient
# descent on $w$ never touches $w_\perp$, the part of $w$ that is orthogonal to all of them. That part stays what it was
# at the beginning, and spoils the prediction for new inputs.
#
# With weight normalization it is different. By equation 3, $v_\perp$ has the gradient
# $-(g\,\nabla_g L/\|v\|^2)\,v_\perp$: this comes from the projection, which removes the part along $w$. Under gradient
# flow $dg/dT = -\nabla_g L$, hence
#
# $$\frac{d \ln \|v_\perp\|}{dT} = \frac{g\,\nabla_g L}{\|v\|^2} = -\frac{g}{\|v\|^2}\frac{dg}{dT}, \qquad
#   \|w_\perp\| = \frac{g}{\|v\|}\|v_\perp\|
#   = \|w_{\perp,0}\|\,\frac{g}{g_0}\,\exp\frac{g_0^2 - g^2}{2\|v\|^2}\,,$$
#
# where the constancy of $\|v\|$ was used (Wu et al. 2019, arXiv:1911.07956). Start from a small $g_0$ and a small
# $\|v\|$: then $g$ has to grow, and the exponential wipes $w_\perp$ out. What is left is close to the *shortest* $w$
# that fits. We take ten examples, 20 inputs, $g_0 = \|v_0\|$, and steps so small that they are almost a flow.


def perpendicular_part(length, rate, time=20.0):
    """Train v and g of a linear neuron from ‖v₀‖ = g₀ = length; ‖w⊥‖ by the law, as it is, and for descent on w."""
    rng = lesson.rng(4)
    x, start = rng.normal(size=(10, 20)), rng.normal(size=20)
    y = 3 * x @ rng.normal(size=20) / np.sqrt(20)
    outside = np.eye(20) - np.linalg.pinv(x) @ x  # projects onto what is orthogonal to all inputs seen
    start *= length / np.linalg.norm(start)
    w, v, g = start, start, length
    for _ in range(round(time / rate)):
        w = w - rate * x.T @ (x @ w - y) / 10
        grad_w = x.T @ (x @ (g * v / np.linalg.norm(v)) - y) / 10
        grad_v, grad_g = wn.explicit_gradients(grad_w[None], v[None], np.array([g]))
        v, g = v - rate * grad_v[0], g - rate * grad_g[0]
    first, now = (np.linalg.norm(outside @ a) for a in (start, g * v / np.linalg.norm(v)))
    law = first * g / length * np.exp((length**2 - g**2) / (2 * length**2))
    return law, now, np.linalg.norm(outside @ w), first, g


table = [perpendicular_part(length, 0.0005 * length) for length in (4.0, 2.0, 1.0)]
print("‖v₀‖ = g₀   ‖w⊥‖ at the start   at the end: law   measured   descent on w    g at the end")
for length, (law, now, plain, first, g) in zip((4.0, 2.0, 1.0), table, strict=True):
    print(f"{length:9}{first:20.4f}{law:18.4f}{now:11.4f}{plain:15.4f}{g:16.3f}")

# %% tags=["hide-input"]
# *Tolerance.* A finite $\eta$ makes $\|v\|$ grow a little, in proportion to $\eta$: here by less than one per cent of
# $\|v\|^2$. That changes the exponent by as much, relatively. Where $\|w_\perp\|$ falls to a twentieth the exponent is
# about -3, so we allow 3 per cent. The second claim shows that the error is due to $\eta$: half the $\eta$ halves it,
# except for terms of the next order.

laws, measured, plain, first, _ = np.transpose(table)
lesson.claim("Gradient flow: ‖w⊥‖ by the law of Wu et al. (2019), ‖v₀‖ = 4, 2 and 1, relative to the start",
             measured / first, predicted=laws / first, rtol=0.03)
errors = [abs(np.log(np.divide(*perpendicular_part(2.0, rate)[:2]))) for rate in (0.002, 0.001)]
lesson.claim("Gradient flow: what is missing to that law is due to the finite η; halving η divides it by",
             errors[0] / errors[1], predicted=2, rtol=0.05)
lesson.claim("Gradient descent on w leaves ‖w⊥‖ as it was: largest relative change", np.abs(plain / first - 1).max(),
             below=1e-10)

# %%
# The law holds, and says when it matters. From $\|v_0\| = 4$ hardly anything happens. From $\|v_0\| = 1$, $g$ has to
# grow to almost twice its length, and $w_\perp$, the distance to the shortest solution, falls to half. The exponent has
# $\|v\|^2$ in its denominator: should $\|v\|$ grow in training, with a large $\eta$ and noise, the effect fades.
#
# Questions
# ---------
#
# 1. *Half precision.* Do the calculation of "What float32 can see" for float16, which keeps 11 significant bits instead
#    of 24. Below which $c$ does a single step hide its growth? Check it with ``np.float16``.
# 2. *How long until it shows?* With $c = 10^{-5}$ and $\sigma = 10^{-8}$, after how many steps does growth exceed four
#    standard deviations of the rounding errors?

lesson.finish()

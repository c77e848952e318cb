r"""Weight normalization: length and direction apart
=================================================

A learning rate that is right for one weight vector can be far too large for another that computes the same from inputs
in other units. The two differ in length, and nobody chooses that length with the learning rate in mind. Weight
normalization makes the length a parameter of its own. A few lines of algebra follow from that; with them you can
predict which learning rates a weight vector survives, and which part of a network remains unprotected.

Afterwards you can

- say why a step of gradient descent changes the length and the direction of a weight vector together, and how
  $w = g\,v/\|v\|$ takes the two apart;
- derive the gradients with respect to $v$ and $g$ line by line, and read them as one gradient, split;
- predict the largest learning rate that works, for the length and for the direction;
- explain why $\|v\|$ can only grow under plain gradient descent, and which parameters benefit.

Read first: lesson 01 (tensors and the tape); sections 1 and 2 of Salimans & Kingma (2016), arXiv:1602.07868.

Claims checked, and where the paper makes them:

- ‖w‖ = g, whatever v is (section 2, below equation 2);
- equation 3, against autograd and against central differences (section 2.1);
- ∇_v L is (g/‖v‖) times the projection of ∇_w L away from w (section 2.1, equation 4);
- the conditioning of the problem changes with the parameterization (sections 1 and 2): for better or worse;
- ‖v‖ grows monotonically, by √(1 + c²) per step (section 2.1);
- the growth of ‖v‖ makes training robust to the learning rate (section 2.1): true of the direction, not of g.

Four further chapters take up what this lesson leaves out. Each can be read on its own afterwards:

- ``further/03_cost.py``: you want to know what weight normalization costs in memory and time;
- ``further/03_curvature.py``: you think in Hessians, or have to choose ‖v‖ at the start;
- ``further/03_learning_rates.py``: you ask how much wider the range of learning rates is, with minibatches and noise;
- ``further/03_log_scale.py``: you consider $g = e^s$, which can never become negative.

Time: quick about 5 s, full about 5 s.
"""

# %%
# We follow the paper with the smallest objects that show the effect: one neuron, a plane, and finally a layer.
# All data are random numbers. They are float64 unless a cell says otherwise, so that an identity can be checked to
# about 15 digits.

from itertools import pairwise, product

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl

import minigrad as mg
import wn
from lessons import COLOURS, Lesson

lesson = Lesson(__file__)
threadpoolctl.threadpool_limits(1)  # a single thread multiplies matrices this small fastest
NORMAL, WEIGHT_NORM, THEORY = COLOURS["normal"], COLOURS["weight norm"], "0.3"

# %%
# One neuron
# ----------
#
# The paper starts from one neuron (equation 1):
#
# $$y = \phi(w \cdot x + b)$$
#
# with a weight vector $w$ of $n$ numbers, inputs $x$, a bias $b$, and a nonlinearity $\phi$, such as tanh or the
# rectifier $\max(t, 0)$, called ReLU. The sum $t = w \cdot x + b$ is its *pre-activation*. Write $w$ as a length times
# a direction, $w = \|w\|\,u$ with $\|u\| = 1$. The direction says *which* combination of inputs the neuron looks at;
# the length says *how strongly* it responds. Gradient descent on a loss $L$, $w \leftarrow w - \eta\,\nabla_w L$
# with a *learning rate* $\eta$, knows nothing of these two roles. Take a gradient at a right angle to $w$, of size 1:
# the loss asks for a different direction and says nothing about the length. The effect of one step depends on how long
# $w$ happens to be.

eta = 0.5
print("  ‖w‖    turns by    length changes by")
for length in (0.25, 0.5, 1.0, 2.0, 4.0):
    w = np.array([length, 0.0])
    stepped = w - eta * np.array([0.0, -1.0])
    angle = np.degrees(np.arctan2(stepped[1], stepped[0]))
    print(f"{length:5.2f}  {angle:7.1f}°   {100 * (np.linalg.norm(stepped) / length - 1):+10.1f} %")

# %%
# A short vector is thrown about and stretched; a long one hardly turns. So the length of $w$ acts as a hidden learning
# rate for its direction, and steps meant for the direction change the length. That is the tangle.
#
# Equation 2
# ----------
#
# The paper gives length and direction parameters of their own, a number $g$ and a vector $v$ (equation 2):
#
# $$w = \frac{g}{\|v\|}\,v$$
#
# In the library's ordinary operations that is one line. (``wn.weight_norm_composite`` is the same for many neurons at
# once.)


def weight(v, g):
    """w = g v/‖v‖ for one neuron: v of shape (n,), g a number."""
    return g * v / mg.norm(v)


# %%
# "We now have ‖w‖ = g, independent of the parameters v" (section 2). We try vectors $v$ from a thousandth to a thousand
# times their usual size. A relative error of about $10^{-16}$ per operation is the best that float64 can do; about
# $\sqrt{n}$ of them accumulate in a norm of $n = 20$ numbers, so we allow $10^{-14}$.

rng = lesson.rng(1)
n = 20
lengths, wanted = [], []
for scale in np.logspace(-3, 3, 13):
    v, g = scale * rng.normal(size=n), rng.uniform(0.1, 10)
    lengths.append(np.linalg.norm(weight(v, g)))
    wanted.append(g)
lesson.claim("‖w‖ = g whatever v is (section 2): v of size 0.001 to 1000", lengths, predicted=wanted, rtol=1e-14)

# %%
# One small correction: nothing keeps $g$ positive. The exact statement is $\|w\| = |g|$; when $g$ passes through zero,
# $w$ comes out pointing the other way.
#
# Equation 3, by autograd and by hand
# -----------------------------------
#
# Equation 2 consists of differentiable operations, so autograd needs no help. Here is a neuron with a loss: 64
# examples, 20 inputs, $\phi = \tanh$, half the mean squared error.

x, y = rng.normal(size=(64, n)), rng.normal(size=64)


def loss_of(w):
    """Half the mean squared error of one tanh neuron with weights w."""
    return mg.square(mg.tanh(x @ w) - y).mean() / 2


v = mg.tensor(rng.normal(size=n), requires_grad=True)
g = mg.tensor(rng.uniform(1, 2), dtype=np.float64, requires_grad=True)  # without the dtype, float32: 8 digits fewer
w = weight(v, g)
w.retain_grad()  # we want ∇_w L too, and w is not a leaf
loss_of(w).backward()
grad_w, grad_v, grad_g = w.grad.numpy(), v.grad.numpy(), g.grad.numpy()
print(f"L = {loss_of(w).item():.4f}   ‖∇_w L‖ = {np.linalg.norm(grad_w):.4f}   ∇_g L = {grad_g:+.4f}")

# %%
# Now on paper. Let small changes $dv$ and $dg$ change the weights by $dw$; the gradients are whatever makes
# $dL = \nabla_w L \cdot dw = \nabla_v L \cdot dv + \nabla_g L\,dg$ true for every change. Three steps:
#
# 1. *The norm.* From $\|v\|^2 = v \cdot v$ follows $2\,\|v\|\,d\|v\| = 2\,v \cdot dv$, so
#    $d\|v\| = (v \cdot dv)/\|v\|$.
# 2. *The product.* $w = g \cdot v \cdot \|v\|^{-1}$ has three factors, and each contributes:
#
#    $$dw = \frac{v}{\|v\|}\,dg + \frac{g}{\|v\|}\,dv - \frac{g\,v}{\|v\|^2}\,d\|v\|
#         = \frac{v}{\|v\|}\,dg + \frac{g}{\|v\|}\,dv - \frac{g\,v}{\|v\|^3}\,(v \cdot dv).$$
#
# 3. *The loss.* Multiply by $\nabla_w L$ and collect the terms in $dg$ and $dv$. The factor of $dg$ is
#    $\nabla_w L \cdot v/\|v\|$. The factor of $dv$ is
#    $(g/\|v\|)\,\nabla_w L - (g/\|v\|^3)(\nabla_w L \cdot v)\,v$, where
#    $\nabla_w L \cdot v$ is $\|v\|\,\nabla_g L$.
#
# That is equation 3:
#
# $$\nabla_g L = \frac{\nabla_w L \cdot v}{\|v\|}, \qquad
#   \nabla_v L = \frac{g}{\|v\|}\,\nabla_w L - \frac{g\,\nabla_g L}{\|v\|^2}\,v.$$
#
# As code, four lines. (The sums run over the last axis, so that several vectors can go in at once later, one per row.)


def equation_3(grad_w, v, g):
    """∇_v L and ∇_g L from ∇_w L, for one neuron or for one per row."""
    norm = np.linalg.norm(v, axis=-1, keepdims=True)
    grad_g = np.sum(grad_w * v, axis=-1, keepdims=True) / norm
    grad_v = g / norm * grad_w - g * grad_g / norm**2 * v
    return grad_v, grad_g


# %%
# Three independent ways to the same numbers: autograd through equation 2, the four lines, and central differences,
# which need no formula: change each entry a little, up and down, and divide the change of the loss by that of the
# entry. The library also has the four lines, as ``wn.explicit_gradients``, for the rows of a matrix.

plain_v, plain_g = v.numpy(), g.numpy()
hand_v, hand_g = equation_3(grad_w, plain_v, plain_g)
by_hand = np.append(hand_v, hand_g)
library_v, library_g = wn.explicit_gradients(grad_w[None, :], plain_v[None, :], plain_g[None])


def central_differences(f, p, step=6e-6):
    """The gradient of f at the vector p, entry by entry."""
    return np.array([(f(p + step * e) - f(p - step * e)) / (2 * step) for e in np.eye(len(p))])


both = np.append(plain_v, plain_g)
measured = central_differences(lambda p: loss_of(weight(p[:-1], p[-1])), both)
print("              ∇_g L      the first entries of ∇_v L")
for name, values in (("autograd", np.append(grad_v, grad_g)), ("by hand", by_hand), ("differences", measured)):
    print(f"{name:12}  {values[-1]:.6f}  ", " ".join(f"{entry:+.6f}" for entry in values[:5]))

# %% Tolerance tags=["hide-input"]
# *Tolerances*, measured against the largest term of equation 3, $(g/\|v\|)\,\|\nabla_w L\|$. Autograd and the four
# lines do the same sums in a different order: some 64 · 20 roundings of $10^{-16}$, most of which cancel; we allow
# $10^{-12}$. Central differences with a step of $6 \cdot 10^{-6}$ are off by the step's square times a sixth of the
# third derivative, and by $10^{-16} L$/step from rounding, both near $10^{-11}$. We allow $10^{-8}$, for the size of
# that derivative and for 21 entries.

unit = plain_g / np.linalg.norm(plain_v) * np.linalg.norm(grad_w)
others = [np.append(grad_v, grad_g), np.append(library_v, library_g)]
lesson.claim("Equation 3 by hand = autograd through equation 2, and = wn.explicit_gradients: entries / largest term",
             by_hand / unit, predicted=np.array(others) / unit, rtol=0.0, atol=1e-12)
lesson.claim("Equation 3 by hand = central differences: entries / largest term",
             by_hand / unit, predicted=measured / unit, rtol=0.0, atol=1e-8)

# %%
# What follows from equation 3
# ----------------------------
#
# Call the direction $u = v/\|v\|$. Equation 3 then reads
#
# $$\nabla_g L = \nabla_w L \cdot u, \qquad
#   \nabla_v L = \frac{g}{\|v\|}\,\bigl(\nabla_w L - (\nabla_w L \cdot u)\,u\bigr)
#              = \frac{g}{\|v\|}\,M_w \nabla_w L, \qquad M_w = I - \frac{w w^{\mathsf T}}{\|w\|^2},$$
#
# where the last form is the paper's equation 4, and $M_w$ is the projection that removes from a vector its part along
# $w$. So the gradient with respect to $w$ is *split*: the part along $w$ goes to $g$; the part at right angles to $w$
# goes to $v$, scaled by $g/\|v\|$. Nothing is lost: $\nabla_w L = (\nabla_g L)\,u + (\|v\|/g)\,\nabla_v L$.

u = plain_v / np.linalg.norm(plain_v)
cosine = abs(grad_v @ plain_v) / (np.linalg.norm(grad_v) * np.linalg.norm(plain_v))
lesson.claim("∇_v L is at a right angle to v (section 2.1): cosine of the angle", cosine, below=1e-12)
together = grad_g * u + np.linalg.norm(plain_v) / plain_g * grad_v
lesson.claim("∇_w L = (∇_g L) u + (‖v‖/g) ∇_v L: entries, over ‖∇_w L‖", together / np.linalg.norm(grad_w),
             predicted=grad_w / np.linalg.norm(grad_w), rtol=0.0, atol=1e-12)

# %%
# Stretching $v$ does not change the loss. But it shrinks the gradient: $\nabla_v L$ at $a v$ is $1/a$ times that at
# $v$. A vector twice as long gets half the gradient, and needs twice the step to turn by the same angle: its direction
# learns at a quarter of the rate.

stretches, losses, gradients = np.logspace(-3, 3, 13), [], []
for a in stretches:
    stretched = mg.tensor(a * plain_v, requires_grad=True)
    value = loss_of(weight(stretched, plain_g))
    losses.append(value.item())
    gradients.append(mg.grad(value, stretched).numpy())
lesson.claim("The loss at av is the loss at v, a from 0.001 to 1000", losses, predicted=loss_of(w).item(), rtol=1e-12)
lesson.claim("‖∇_v L‖ at av is 1/a times that at v", np.linalg.norm(gradients, axis=1),
             predicted=np.linalg.norm(grad_v) / stretches, rtol=1e-12)

# %%
# Now put the two parameters' steps together. With $\Delta v = -\eta\,\nabla_v L$ and $\Delta g = -\eta\,\nabla_g L$,
# the $dw$ derived above gives, to first order in $\eta$,
#
# $$\Delta w = -\eta \left( u\,u^{\mathsf T} + \frac{g^2}{\|v\|^2}\,M_w \right) \nabla_w L + O(\eta^2).$$
#
# Weight normalization is gradient descent on $w$ with *two learning rates*: $\eta$ along $w$, and $\eta\,g^2/\|v\|^2$
# across it. If $\|v\| = g$, as it is when a trained or freshly initialized layer is wrapped, the matrix is the identity
# and the first step is the step of the normal parameterization, up to order $\eta^2$. Weight normalization has its
# effect only later: $\|v\|$ and $g$ change, and with them the ratio of the two rates. We check the formula by making
# $\eta$ small: the remainder must fall as $\eta^2$, for any $\|v\|/g$.

rates = np.logspace(-4, -1, 13)
leftover = {}
for ratio in (1 / 3, 1.0, 3.0):
    start = u * plain_g * ratio  # v with ‖v‖/g = ratio
    v_gradient, g_gradient = equation_3(grad_w, start, plain_g)
    along = (grad_w @ u) * u
    first_order = along + (grad_w - along) / ratio**2
    exact = [weight(start - r * v_gradient, plain_g - r * g_gradient) - weight(start, plain_g) for r in rates]
    leftover[ratio] = [np.linalg.norm(d + r * first_order) for d, r in zip(exact, rates, strict=True)]
slopes = [np.polyfit(np.log(rates[:9]), np.log(values[:9]), 1)[0] for values in leftover.values()]
lesson.claim("One step moves w by -η(u uᵀ + (g²/‖v‖²) M_w)∇_w L up to η²: slope of the rest, ‖v‖/g = 1/3, 1, 3",
             slopes, predicted=2, rtol=0.025)

# %% Drawing tags=["hide-input"]
# The left panel draws the split for a weight in the plane; the right panel is the check just made.

figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.9))
w2, down = np.array([2.0, 1.0]), np.array([-1.5, 1.2])  # a weight, and -∇_w L there
u2 = w2 / np.linalg.norm(w2)
along = (down @ u2) * u2


def arrow(axes, start, vector, colour, text, offset):
    """An arrow with its name, in points from its tip."""
    style = {"arrowstyle": "-|>", "color": colour, "lw": 2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", start + vector, start, arrowprops=style)
    axes.annotate(text, start + vector, offset, textcoords="offset points", color=colour, fontsize=10)


turn = np.linspace(0.05, 1.75, 80)
left.plot(np.linalg.norm(w2) * np.cos(turn), np.linalg.norm(w2) * np.sin(turn), ":", color="0.5", lw=1.2)
left.text(2.27, 0.12, "same\nlength", color="0.4", fontsize=8.5)
arrow(left, np.zeros(2), w2, "0.25", "$w = g\\,u$", (4, -8))
arrow(left, w2, down, NORMAL, "$-\\nabla_w L$", (-40, -16))
arrow(left, w2, along, WEIGHT_NORM, "$-(\\nabla_g L)\\,u$", (-14, -18))
arrow(left, w2, down - along, WEIGHT_NORM, "$-(\\|v\\|/g)\\,\\nabla_v L$", (-8, 8))
for start, end in ((w2 + along, w2 + down), (w2 + down - along, w2 + down)):
    left.plot(*np.stack([start, end]).T, "--", color="0.6", lw=1)
left.set(xlabel="$w_1$", ylabel="$w_2$", xlim=(-0.4, 3.1), ylim=(-0.3, 3.0), aspect="equal")
left.set_title("The gradient, split")
for (ratio, values), marker in zip(leftover.items(), "osD", strict=True):
    name = {1 / 3: "1/3", 1.0: "1", 3.0: "3"}[ratio]
    face = WEIGHT_NORM if ratio == 1 else "none"
    right.loglog(rates, values, marker, color=WEIGHT_NORM, mfc=face, label=f"‖v‖/g = {name}")
    line = values[0] * (rates / rates[0]) ** 2
    right.loglog(rates, line, "-", color=THEORY, lw=1, label="slope 2" if ratio == 3 else None, zorder=0)
right.set(xlabel="learning rate η", ylabel="‖Δw − first-order formula‖", title="One step, to first order")
right.legend()
lesson.figure(figure, "gradient_split", alt="Left: a weight vector w in the plane, and at its tip the descent "
              "direction split into a part along w, for g, and a part at a right angle to w, for v. Right: on log-log "
              "axes, the remainder of the first-order formula falls with slope 2 for three ratios of ‖v‖ to g.")

# %%
# In the plane
# ------------
#
# With two weights everything can be drawn. The loss is a long valley with its minimum at $w^*$,
#
# $$L(w) = \tfrac12 (w - w^*)^{\mathsf T} H\,(w - w^*),$$
#
# where $H$ has the eigenvalues 1 across the valley and 0.1 along it. Each step of gradient descent on $w$ multiplies
# the distance from $w^*$ by $1 - \eta h$, for each eigenvalue $h$ in its own direction. So it converges only if
# $|1 - \eta h| < 1$ for both, that is, for $\eta < 2/h_{\max} = 2$. Our first valley runs along $w^*$, so that
# "across" is a matter of direction, and "along" one of length.


def unit_vector(degrees):
    """(cos, sin) of an angle in degrees."""
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])


def valley(degrees):
    """A symmetric matrix with eigenvalue 0.1 in the direction given, and 1 at a right angle to it."""
    a, b = unit_vector(degrees), unit_vector(degrees + 90)
    return 0.1 * np.outer(a, a) + np.outer(b, b)


def value(H, w):
    """The loss at one w, or at each w of an array (…, 2)."""
    return np.sum((w - w_star) @ H * (w - w_star), axis=-1) / 2


w_star = 2 * unit_vector(30)
steep_across, steep_along = valley(30), valley(120)  # steep across w*; steep along w*

# %%
# Gradient descent on $v$ and $g$ needs three choices: the learning rate $\eta$, the length of $v$ at the start, and the
# initial $w$. The rest is equation 3.


def path(eta, length, start, H=steep_across, steps=100, eta_g=None):
    """The path of (v, g) from w = start with ‖v‖ = length: v, g and w after 0, 1, …, steps.

    `g` learns at the rate `eta_g`, if it has one of its own (0: it stays). `start` may have several rows, one per run.
    """
    eta_g = eta if eta_g is None else eta_g
    g = np.linalg.norm(start, axis=-1, keepdims=True)
    v = length * start / g
    w, history = start, [(v, g, start)]
    for _ in range(steps):
        grad_v, grad_g = equation_3((w - w_star) @ H, v, g)
        v, g = v - eta * grad_v, g - eta_g * grad_g
        w = g * v / np.linalg.norm(v, axis=-1, keepdims=True)
        history.append((v, g, w))
    return tuple(np.array(column) for column in zip(*history, strict=True))


def path_normal(eta, start, H=steep_across, steps=100):
    """The path of w under gradient descent on w itself."""
    w = [start]
    for _ in range(steps):
        w.append(w[-1] - eta * (w[-1] - w_star) @ H)
    return np.array(w)


# %%
# *Direction alone.* First hold $g = \|w^*\|$ fixed and train $v$. In the plane of $v$ the loss is constant along
# every ray from the origin: its contours are a fan. The gradient is at a right angle to the rays, so every step is at a
# right angle to $v$, and always leads outward. With a small rate the path is nearly an arc. With a rate that is too
# large it overshoots the valley and lands farther out, where the same change of direction needs a longer step and the
# gradient is smaller. So it overshoots less, and comes to rest. Nobody lowered $\eta$.

slow, fast = (path(eta, 1.0, 2 * unit_vector(115), steps=25, eta_g=0)[0] for eta in (0.12, 1.8))
along_v = []
for eta, v in ((0.12, slow), (1.8, fast)):
    norms = np.linalg.norm(v, axis=1)
    along_v.append(np.abs(np.sum(np.diff(v, axis=0) * v[:-1], axis=1)) / norms[:-1] ** 2)
    print(f"η = {eta}: ‖v‖ from {norms[0]:.2f} to {norms[-1]:.2f}, final loss "
          f"{value(steep_across, 2 * v[-1] / norms[-1]):.1e}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* A step ends at a $v$ at most twice as long, whose entries are rounded by $\varepsilon/2 = 1.1 \cdot
# 10^{-16}$ of their size: that is $\varepsilon\|v\|$. The gradient's own part along $v$ is a few $\varepsilon$ of its
# size, and the step about as long as $v$. We allow $10\,\varepsilon$.

lesson.claim("Each step leaves v at a right angle, η = 0.12 and 1.8: largest part of a step along v, over ‖v‖",
             np.max(along_v), below=10 * np.finfo(float).eps)

# %%
# *Length and direction.* Now $g$ learns as well, from a start off to the side with $\|v\| = g$. We take $\eta = 2.2$,
# ten per cent more than gradient descent on $w$ can tolerate.

start = unit_vector(100)
v, g, w = path(2.2, 1.0, start)
normal = path_normal(2.2, start)
print("step   normal: loss   weight norm: loss     ‖v‖       g")
for t in (0, 1, 2, 3, 5, 10, 20, 50, 100):
    print(f"{t:4} {value(steep_across, normal[t]):14.1e} {value(steep_across, w[t]):19.1e} "
          f"{np.linalg.norm(v[t]):7.3f} {g[t].item():7.3f}")

# %% Drawing tags=["hide-input"]

figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 4.4))
reach = 1.18 * np.abs(fast).max()
grid = np.stack(np.meshgrid(*[np.linspace(-reach, reach, 500)] * 2), axis=-1)
fan = value(steep_across, 2 * grid / np.linalg.norm(grid, axis=-1, keepdims=True))
left.contourf(*np.moveaxis(grid, -1, 0), fan, 24, cmap="Greys", alpha=0.75)
left.plot(*np.stack([np.zeros(2), 3 * reach * unit_vector(30)]).T, "--", color="0.35", lw=1)
for points, marker, label in ((slow, ".", "η = 0.12"), (fast, "o", "η = 1.8")):
    face = "white" if marker == "o" else None
    left.plot(*points.T, "-", marker=marker, color=WEIGHT_NORM, mfc=face, ms=6, label=label)
for before, after in pairwise(fast[:4]):  # a right angle at the foot of each long step
    out, way = before / np.linalg.norm(before), (after - before) / np.linalg.norm(after - before)
    left.plot(*np.stack([np.zeros(2), before]).T, ":", color="0.2", lw=1)
    corner = 0.07 * reach
    corners = [before - corner * out, before - corner * out + corner * way, before + corner * way]
    left.plot(*np.stack(corners).T, color="0.1", lw=1)
left.annotate("$w^*$", 0.98 * reach * unit_vector(30), (-3, 7), textcoords="offset points", color="0.2")
left.set(xlabel="$v_1$", ylabel="$v_2$", aspect="equal", xlim=(-reach / 2, reach), ylim=(-reach / 2, reach))
left.set_title("Loss over v, g fixed: a fan of rays")
left.legend(loc="lower right", frameon=True, framealpha=0.9, title="darker: higher loss", title_fontsize=8.5)
left.grid(False)
grid = np.stack(np.meshgrid(np.linspace(-2.2, 3.4, 300), np.linspace(-2.3, 3.3, 300)), axis=-1)
right.contour(*np.moveaxis(grid, -1, 0), value(steep_across, grid), np.array([0.05, 0.2, 0.5, 1, 2, 4, 7, 11]),
              colors="0.7", linewidths=0.8)
right.plot(*normal[:14].T, "-s", color=NORMAL, ms=4, label="normal: diverges")
right.plot(*w.T, "-o", color=WEIGHT_NORM, ms=4, label="weight norm: settles")
right.plot(*w_star, "*", color="0.1", ms=13, zorder=5)
right.annotate("$w^*$", w_star, (8, 4), textcoords="offset points")
right.plot(*start, "o", color="0.1", ms=7, mfc="none", zorder=5)
right.annotate("start", start, (-9, 7), textcoords="offset points", ha="right")
right.set(xlabel="$w_1$", ylabel="$w_2$", aspect="equal", xlim=(-2.2, 3.4), ylim=(-2.3, 3.3))
right.set_title("Paths of w, both with η = 2.2")
right.legend(loc="lower left", frameon=True, framealpha=0.9)
right.grid(False)
lesson.figure(figure, "plane", alt="Left: the plane of v, shaded in rays from the origin. A path with a small rate "
              "follows an arc to the lightest ray; one with a large rate jumps across it twice, each time at a right "
              "angle to v and farther out, and comes to rest on it. Right: contours of a valley in the plane of w; the "
              "path of gradient descent on w swings across it ever further, that of weight normalization ends at w*.")

# %%
# Two curvatures
# --------------
#
# Why does weight normalization converge where gradient descent on $w$ does not? (In the table $g$ is negative after the
# first step, which was large enough to take it through zero: for one step $w$ points to the lower left, away from
# $w^*$. The direction turned in the same step, so the next one brings $g$ back.) Look at the last steps, close to
# $w^*$, where $\|v\|$ has stopped growing. The error of the length, $g - \|w^*\|$, meets the curvature along $w^*$ at
# the rate $\eta$. The error of the direction meets the curvature across $w^*$ at the rate found above,
# $\eta\,g^2/\|v\|^2$. Hence
#
# $$\text{error of the length} \times (1 - \eta\,h_{\text{along}}), \qquad
#   \text{error of the direction} \times \Bigl(1 - \eta\,\frac{g^2}{\|v\|^2}\,h_{\text{across}}\Bigr)$$
#
# in each step. We put $w$ next to $w^*$, off by a millionth in length and in direction, and take one step, in both
# valleys, for five values of $\|v\|$ and three rates.

OFF = 1e-6
settings, factors, predicted_factors = [], [], []
for name, H, h_along, h_across in (("steep across", steep_across, 0.1, 1.0), ("steep along", steep_along, 1.0, 0.1)):
    for length, eta in product((1.0, 1.5, 2.0, 4.0, 8.0), (0.5, 2.2, 5.0)):
        near = (1 + OFF) * 2 * unit_vector(30 + np.degrees(OFF))
        v, g, _ = path(eta, length, near, H, steps=1)
        angle = np.arctan2(v[1, 1], v[1, 0]) - np.radians(30)
        settings.append((name, length, eta))
        factors.append([(g[1, 0] - 2) / (2 * OFF), angle / OFF])
        predicted_factors.append([1 - eta * h_along, 1 - eta * 4 / length**2 * h_across])
print("valley          ‖v‖     η    length ×   direction ×")
for (name, length, eta), (of_length, of_direction) in zip(settings, factors, strict=True):
    if eta == 2.2:
        print(f"{name:13} {length:5} {eta:5} {of_length:11.4f} {of_direction:13.4f}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* The two formulas are of first order in the errors. Products of errors, a millionth of a millionth, come
# with factors of 20 or so (the largest $\eta g^2/\|v\|^2$); relative to an error of $10^{-6}$ that is
# $2 \cdot 10^{-5}$. We allow $10^{-4}$.

lesson.claim("Close to w*, a step multiplies the errors by 1 - ηh (length) and 1 - ηh g²/‖v‖² (direction)",
             factors, predicted=predicted_factors, rtol=0.0, atol=100 * OFF)

# %%
# So for the length the limit is $\eta < 2/h_{\text{along}}$, and nothing that happens in training moves it. For the
# direction it is $\eta < 2\,\|v\|^2/(g^2 h_{\text{across}})$, and this limit *rises*, because $\|v\|$ grows until
# $\eta$ is below it. Look again at the table of our run: at step 10 $g$ had grown to 1.69 while $\|v\|$ was still 1.49,
# and the limit was 1.54, below $\eta = 2.2$. The direction swung out once more, the loss rose, and $\|v\|$ grew to
# 2.31, where the limit is 2.67 at $g = 2$. From there on the slower of the two errors must set the pace: the loss,
# which is quadratic, falls by the square of the larger factor.

v, g, w = path(2.2, 1.0, start)
per_step = [(value(steep_across, p[60]) / value(steep_across, p[40])) ** (1 / 20) for p in (normal, w)]
factor_length, factor_direction = 1 - 2.2 * 0.1, 1 - 2.2 * 4 / np.sum(v[-1] ** 2)
limit = 2 * np.sum(v**2, axis=1) / g[:, 0] ** 2
print(f"limit for the direction, 2‖v‖²/g²: at first {limit[0]:.2f}, in the end {limit[-1]:.2f}")
print(f"weight norm, in the end: length × {factor_length:.3f}, direction × {factor_direction:.3f}")
lesson.claim("Steep across w*, η = 2.2: factor of the loss per step, late, normal and weight norm",
             per_step, predicted=[(1 - 2.2) ** 2, max(factor_length**2, factor_direction**2)], rtol=1e-3)

# %%
# **The catch.** Turn the valley by 90°, so that its steep direction is along $w^*$. Then the limit for the length is
# $2/h_{\text{along}} = 2$, and $g$ has no mechanism that would move it (nor has a bias $b$). At $\eta = 3$ the run in
# the first valley still comes to rest at $w^*$. The run in the second does not.

print("η = 3             mean loss of steps 500 to 1000 / first loss     ‖v‖ at the end")
for name, H in (("steep across", steep_across), ("steep along", steep_along)):
    v, g, w = path(3.0, 1.0, start, H, steps=1000)
    late = np.mean(value(H, w[500:])) / value(H, start)
    print(f"{name:13} {late:37.1e} {np.linalg.norm(v[-1]):26.3g}")

# %%
# What happens there? Near $w^*$ the length swings more and more; its swings cause large gradients for $v$, which throw
# the direction to where the curvature along $w$ is small enough for $g$ to calm down. From there the direction creeps
# back towards $w^*$, slowly because $\|v\|$ has grown, until the length swings again.
#
# All learning rates
# ------------------
#
# That was one start and two rates. Now 24 starts, in random directions, each with $\|v\| = g = 1$; 25 rates; both
# valleys; and a third way to train: $\eta$ for $v$ only, while $g$ learns at the fixed rate 1. We count the steps until
# the loss is below a millionth of its first value, and stays there. A run that needs more than 500 does not *settle*.

starts = np.stack([unit_vector(degrees) for degrees in lesson.rng(2).uniform(0, 360, 24)])
rates, most = 10 ** (np.arange(-6, 19) / 12), 500
ways = {
    "normal": lambda eta, H: path_normal(eta, starts, H, most),
    "weight norm": lambda eta, H: path(eta, 1.0, starts, H, most)[2],
    "η for v only": lambda eta, H: path(eta, 1.0, starts, H, most, eta_g=1.0)[2],
}


def steps_needed(w, H):
    """For each start, the steps until the loss stays below a millionth of the first; inf where it does not."""
    high = ~(value(H, w) < 1e-6 * value(H, w[0]))  # NaN counts as high
    last = len(w) - 1 - np.argmax(high[::-1], axis=0)
    return np.where(high[-1], np.inf, last + 1.0)


needed = {}  # (valley, way): array of (rates, starts)
with np.errstate(all="ignore"):  # some of these runs are meant to diverge
    for name, H in (("steep across", steep_across), ("steep along", steep_along)):
        for way, run in ways.items():
            needed[name, way] = np.array([steps_needed(run(eta, H), H) for eta in rates])

# %%
# Up to which rate do most starts settle, and how many steps does it take at the best rate? (Each way at the best of
# the 25 rates; mean and standard deviation over the starts.)

limit, fewest, best_rate = {}, {}, {}
print("valley        way            most settle up to η   best η   steps there")
for key, steps in needed.items():
    limit[key] = rates[np.mean(np.isfinite(steps), axis=1) > 0.5].max()
    best = np.argmin(steps.mean(axis=1))
    fewest[key], best_rate[key] = steps[best].mean(), rates[best]
    name, way = key
    print(f"{name:13} {way:14} {limit[key]:19.2f} {rates[best]:8.2f} {fewest[key]:8.0f} ± {steps[best].std():.0f}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* The rates are a factor of 1.21 apart, and the largest that settles is at most one grid step below the
# limit: we compare the middle of that grid step, on a log scale, and allow half of it, 10 %.

HALF_A_STEP = 10 ** (1 / 24)
bound_by_2 = [("steep across", "normal"), ("steep along", "normal"), ("steep along", "weight norm")]
lesson.claim("Largest η that settles = 2/h: normal, h_max = 1, both valleys; weight norm, steep along w*, h_along = 1",
             [limit[key] * HALF_A_STEP for key in bound_by_2], predicted=2, rtol=HALF_A_STEP - 1)
lesson.claim("Steep across w*, weight norm: the largest η at which most starts settle is far beyond 2",
             limit["steep across", "weight norm"], above=3)
above_2 = (rates > 2) & (rates < 11)
lesson.claim("η from 2 to 10 for v only, both valleys: share of runs that settle",
             np.mean([np.isfinite(needed[name, "η for v only"][above_2]) for name in ("steep across", "steep along")]),
             above=0.9)

# %% Drawing tags=["hide-input"]

figure, panels = plt.subplots(1, 2, figsize=(8.6, 4.2), sharey=True)
styles = {"normal": (NORMAL, "-", "s"), "weight norm": (WEIGHT_NORM, "-", "o"), "η for v only": (WEIGHT_NORM, ":", "^")}
for axes, name in zip(panels, ("steep across", "steep along"), strict=True):
    for row, (way, (colour, line, marker)) in enumerate(styles.items()):
        steps = needed[name, way]
        low, middle, high = np.quantile(steps, [0.25, 0.5, 0.75], axis=1, method="nearest")
        shown = np.isfinite(middle)
        face = "white" if line == ":" else None
        label = way if way != "η for v only" else "weight norm, η for v only"
        axes.plot(rates[shown], middle[shown], line, color=colour, marker=marker, ms=4.5, mfc=face, label=label)
        axes.fill_between(rates, low, np.minimum(high, most), where=shown, color=colour, alpha=0.13, lw=0)
        axes.plot(best_rate[name, way], fewest[name, way], "*", color=colour, ms=14, mec="white", zorder=4)
        lost = rates[~shown]
        axes.plot(lost, np.full(len(lost), 0.97 - 0.045 * row), "x", color=colour, ms=5,
                  transform=axes.get_xaxis_transform())
    axes.axvline(2, color=THEORY, lw=1, ls="--")
    axes.annotate("$2/h_{\\max}$", (2, 650), (-4, 0), textcoords="offset points", color=THEORY, ha="right")
    axes.set(xscale="log", yscale="log", xlabel="learning rate η", ylim=(8, 1500), title=f"Valley {name} w*")
    axes.set_xticks([0.3, 1, 3, 10, 30], ["0.3", "1", "3", "10", "30"])
    axes.minorticks_off()
panels[0].set_ylabel("steps until the loss has settled")
panels[0].set_yticks([10, 30, 100, 300], ["10", "30", "100", "300"])
panels[0].plot([], [], "*", color="0.4", ms=11, label="mean at the best rate")
panels[0].legend(loc="lower right", fontsize=8.5)
panels[1].annotate("×: most starts do not settle", (0.97, 0.05), xycoords="axes fraction", fontsize=8.5, color="0.35",
                   ha="right")
lesson.figure(figure, "all_rates", note="median and middle half of 24 random starts", alt="Steps until the loss has "
              "settled against the learning rate, for two valleys. Where the valley is steep across w*, gradient "
              "descent on w ends at rate 2, weight norm goes on beyond 5, and with η for v only beyond 30. Where it is "
              "steep along w*, both end at 2; only η for v alone goes on, more slowly at larger rates. Stars mark the "
              "mean at the best rate of each; in both panels that of gradient descent on w is the lowest.")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* A mean over 24 starts that scatter by 60 % is uncertain by 12 %.

lesson.claim("At its best rate weight norm is no faster here: mean steps / those of normal, the better of both valleys",
             min(fewest[name, "weight norm"] / fewest[name, "normal"] for name in ("steep across", "steep along")),
             above=0.88)

# %%
# So what has been gained? *Not speed:* at the best rate of each (stars), gradient descent on $w$ needs about 34 and 29
# steps; weight normalization needs more on average, and scatters. (Its median can be lower: on the left 30 at its own
# best rate. But then a few starts take very long, and the mean counts them.) For $\|v\|$ grows until the limit of the
# direction is above $\eta$, and stops there, by whatever margin. Where the margin is narrow, the factor of the
# direction is close to -1, and the run takes long to settle. (So do most runs at the peak near $\eta = 0.5$ on the
# left: at $g = 2$ that is the limit for $\|v\| = 1$, with which all of them start. The two curves of weight
# normalization cross at the rate 1, where they are the same training: below it $g$ learns faster with its own rate of
# 1, above it more slowly. On the left $g$ takes the time, on the right the direction does. There weight normalization
# is ahead of gradient descent on $w$ at small rates, since with $g = 2$ and $\|v\| = 1$ the direction learns at
# $4\eta$, and behind at large ones, which make $v$ long.)
#
# *But room:* where the direction limits $\eta$, rates beyond the old limit do as well as the best below it. Where the
# length limits it, nothing is gained. Let $\eta$ act on $v$ alone, and the room is there in both valleys; where the
# valley is flat across $w^*$, the direction then takes its time, since a large first step has made $v$ long. Which of
# the two limits decides in a network? A neuron has one $g$, and as many entries of $v$ as it has inputs.
# ``further/03_learning_rates.py`` finds the same three cases in training with minibatches.
#
# In a layer
# ----------
#
# ``wn.WeightNorm`` replaces the parameter ``weight`` of a layer by ``weight_v`` and ``weight_g``; reading
# ``layer.weight`` computes equation 2. The pair starts as $v = w$, $g = \|w\|$, so the layer computes what it did
# before. ``wn.apply_weight_norm`` does this to every layer of a model; ``wn.remove_weight_norm`` undoes it. Here is a
# network with 10 inputs, 32 ReLU units and one output, in float32 as usual in training.

layer_rng = lesson.rng(3)
net = mg.nn.Sequential(mg.nn.Linear(10, 32, rng=layer_rng), mg.nn.ReLU(), mg.nn.Linear(32, 1, rng=layer_rng))
inputs = layer_rng.normal(size=(512, 10)).astype(np.float32)
targets = np.tanh(2 * inputs @ layer_rng.normal(size=(10, 1)) / np.sqrt(10)).astype(np.float32)
outputs = {"before": net(mg.tensor(inputs)).numpy()}
wn.apply_weight_norm(net)
outputs["wrapped"] = net(mg.tensor(inputs)).numpy()
print("state dict:", {name: array.shape for name, array in net.state_dict().items()})

# %%
# The right angle holds in each of its 33 neurons. So $v$ and its step are the legs of a right triangle, and the new
# $v'$ is the hypotenuse (section 2.1):
#
# $$\|v'\|^2 = \|v\|^2 + \eta^2 \|\nabla_v L\|^2, \qquad \|v'\| = \sqrt{1 + c^2}\,\|v\|
#   \quad\text{with}\quad c = \|\Delta v\|/\|v\|.$$
#
# This is exact for every minibatch (the examples that one step looks at), as long as the optimizer is plain gradient
# descent without momentum or weight decay. We train with minibatches of 32; ``wn.NormTracker`` keeps the record.

optimizer = mg.optim.SGD(net.parameters(), lr=0.3)
tracker = wn.NormTracker(net, optimizer)
for batch in layer_rng.integers(0, len(inputs), size=(300, 32)):
    optimizer.zero_grad()
    mg.nn.functional.mse_loss(net(mg.tensor(inputs[batch])), targets[batch]).backward()
    optimizer.step()
    tracker.record()
norm, c = (np.concatenate([tracker.history(layer, what) for layer in tracker.layers], axis=1)
           for what in ("norm", "relative_step"))  # a row for each step, a column for each neuron
grown = norm[-1] / norm[0]
print(f"300 steps: c from {c[1:].min():.1e} to {c.max():.2f}, ‖v‖/‖v₀‖ from {grown.min():.3f} to {grown.max():.2f}; "
      f"smallest growth in a step {(norm[1:] / norm[:-1] - 1).min():+.0e}")

# %% Tolerance tags=["hide-input"]
# *Tolerances.* A step rounds each entry of $v$ to float32, by $\varepsilon/2 = 6 \cdot 10^{-8}$ of its size at most,
# and the gradient is rounded likewise; we allow $4\,\varepsilon$. An output is a sum of 10 or 32 products, computed
# twice: differences of some $10^{-7}$ of the largest output; we allow $10^{-5}$.

trained = net(mg.tensor(inputs)).numpy()
wn.remove_weight_norm(net)
outputs["trained"], outputs["removed"] = trained, net(mg.tensor(inputs)).numpy()
lesson.claim("‖v'‖ = √(1 + c²) ‖v‖ in each step (section 2.1): ‖v'‖/‖v‖, 33 neurons, 300 steps, float32",
             norm[1:] / norm[:-1], predicted=np.sqrt(1 + c[1:] ** 2), rtol=4 * float(np.finfo(np.float32).eps))
pairs = [(outputs[a] / np.abs(outputs[b]).max(), outputs[b] / np.abs(outputs[b]).max())
         for a, b in (("wrapped", "before"), ("removed", "trained"))]
lesson.claim("Wrapping keeps the function, and removing keeps it again: outputs, over the largest",
             [a for a, _ in pairs], predicted=[b for _, b in pairs], rtol=0.0, atol=1e-5)

# %%
# No step made a $v$ shorter by more than rounding. The larger the rate, the larger $\|v\|$ becomes, and the less
# of that rate is left for the direction: $\eta/\|v\|^2$. Lesson 05 goes on from this triangle: what it leads to after
# many steps, with momentum, with Adam, with weight decay.
#
# A zero vector has no direction. In several libraries it causes a NaN that appears much later and far away; here it is
# refused when the layer is wrapped, and again when a state dict is loaded.

broken, healthy = mg.nn.Linear(20, 16, rng=layer_rng), wn.WeightNorm(mg.nn.Linear(20, 16, rng=layer_rng))
broken.weight.data = np.where(np.arange(16)[:, None] == 5, 0, broken.weight.data).astype(np.float32)
state = healthy.state_dict()
state["weight_v"][3] = 0
refused = 0
for what in (lambda: wn.WeightNorm(broken), lambda: healthy.load_state_dict(state)):
    try:
        what()
    except ValueError as error:
        refused += 1
        print("ValueError:", error)
lesson.claim("A weight vector of zeros is refused, when wrapping and when loading: times out of 2", refused,
             near=2, within=0)

# %%
# What the paper says, and what we found
# --------------------------------------
#
# Quotations from sections 1 to 2.1, numbers from ``--quick --seed 0``.
#
# - "‖w‖ = g, independent of the parameters v": yes, up to the sign of $g$, to $10^{-15}$.
# - Equations 3 and 4: yes, in three independent ways. The gradient with respect to $w$ is split, and none of it is
#   lost.
# - "Improves the conditioning of the optimization problem": it *changes* it. The curvature across $w$ is multiplied by
#   $g^2/\|v\|^2$, that along $w$ is unchanged. In the plane this helped in one valley and not in the other.
# - "The norm of v grows monotonically": yes, by $\sqrt{1 + c^2}$ a step, in a network as in the plane.
# - "A much wider range of learning rates": for what $v$ learns. Most starts settle up to $\eta = 5.6$ instead of 2
#   where the valley is steep across $w^*$; where it is steep along $w^*$, up to 2 as before, unless $g$ has a rate of
#   its own.
#
# The plane is a caricature: two weights, a quadratic loss, no noise. What it shows is which of the two factors,
# $1 - \eta h$ or $1 - \eta h\,g^2/\|v\|^2$, decides.
#
# Questions
# ---------
#
# 1. *Normalize after the step.* Earlier work trained $w$ itself and rescaled it to its old length after each step;
#    section 2 calls that "fundamentally different". Show that to first order in $\eta$ the two methods take the same
#    step when $g$ is fixed and $\|v\| = g$. Then run both in the plane with $\eta = 2.2$ and $g = 2$, from an angle of
#    100°, and say what the older method lacks.
# 2. *Second derivatives.* Use ``mg.testing.check_grads`` with ``order=2`` on ``weight``. Then derive the second
#    derivative of $L$ with respect to $g$ alone, and use it to explain the catch in the plane: for which $\eta$ does
#    $g$ diverge?
# 3. *Pointing away.* Start ``path`` opposite to $w^*$, at angles from 180° to 240° in steps of 5°, with $\eta = 1$ and
#    $\|v\| = 1$. How does the number of steps depend on the angle, and what does $g$ do? Explain the angle of 210°.
# 4. *Momentum.* Repeat the training of the layer with ``momentum=0.9``. Does $\sqrt{1 + c^2}$ still hold, and does
#    monotone growth? Lesson 05 has the formula.

lesson.finish()

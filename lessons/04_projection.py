r"""The projection: gradient noise and conditioning
================================================

Afterwards you can explain

- what the matrix $M_w$ of equation 4 does to a gradient, and why it never has to be formed;
- how the covariance of the gradient changes, from $C$ to $D = (g^2/\|v\|^2)\,M_w C M_w$, and what each of the two
  factors can and cannot do for its condition number;
- when a weight vector is a dominant eigenvector of the covariance of its own gradient, and when it is not;
- why the projection leaves the spectrum of the Hessian as it was, and what the scaling makes of it;
- how to find the largest eigenvalues of a Hessian that is too large to be written down.

Read first: lesson 03; the paper's section 2.1 from equation 4 to its end.

Claims checked, and where the paper makes them:

- ∇_v L = (g/‖v‖) M_w ∇_w L, an orthogonal projection (section 2.1, equation 4);
- the gradient of v has the covariance matrix D = (g²/‖v‖²) M_w C M_w (section 2.1);
- scaling and projecting bring the covariance of the gradient closer to the identity (section 2.1): each does, where
  it has something to work on;
- w is often close to a dominant eigenvector of C (section 2.1): true in two kinds of places, which we can name, and not
  elsewhere;
- the reparameterization improves the conditioning of the problem (introduction, section 2): the projection does
  nothing to the curvature; the growth of ‖v‖ lowers the largest eigenvalue, not reliably the condition number.

Time: quick about 20 s, full about 4 min.
"""

# %%
# Lesson 03 split the gradient of one weight vector into a part along $w$, which becomes the gradient of $g$, and a part
# across it, which becomes the gradient of $v$. This lesson asks what is gained. The paper gives two answers. The noise
# of the gradient is spread more evenly over the directions (section 2.1), and the curvature of the loss as well
# (introduction). Both can be computed exactly for small networks. We do so, and look. (All on the CPU, whatever
# ``--device`` says: the arrays are small.)

import functools
import time
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl
from matplotlib.ticker import FixedLocator, NullFormatter

import minigrad as mg
import wn
from lessons import COLOURS, Lesson
from minigrad import data, nn, optim
from minigrad.nn import functional as F
from wn.covariance import gradient_covariance, lanczos, preconditioned_covariance, tangent_basis

lesson = Lesson(__file__)
threadpoolctl.threadpool_limits(1)  # matrices this small are multiplied fastest by a single thread
NORMAL, WEIGHT_NORM = COLOURS["normal"], COLOURS["weight norm"]

# %%
# 1. What M_w does
# ----------------
#
# Equation 4 writes the gradient of $v$ as
#
# $$\nabla_v L = \frac{g}{\|v\|}\, M_w \nabla_w L, \qquad
#   M_w = I - \frac{w w^{\mathsf T}}{\|w\|^2} = I - u u^{\mathsf T}, \qquad u = \frac{w}{\|w\|}.$$
#
# Take any $x$ apart into a part along $u$ and a rest: $x = (x \cdot u)\,u + x_\perp$. Then $M_w x = x_\perp$. From this
# everything follows. $M_w w = 0$. A second application finds nothing more to take away, so $M_w M_w = M_w$.
# $M_w$ is symmetric; its eigenvalues are 0, once, for $u$, and 1 for the $k - 1$ directions across it. So its
# rank is $k - 1$.
#
# *Tolerance.* All numbers are of order 1; a sum of $k = 50$ products in float64 errs by some
# $\sqrt{50} \cdot 10^{-16}$; we allow $10^{-13}$.

rng = lesson.rng(1)
k = 50
w = rng.normal(size=k)
M = wn.projection_matrix(w)
spectrum = np.linalg.eigvalsh(M)
lesson.claim("M_w is a projection across w (eq. 4): largest entry of M_w M_w - M_w, M_w - M_wᵀ and M_w w",
             max(np.abs(a).max() for a in (M @ M - M, M - M.T, M @ w)), below=1e-13)
lesson.claim("M_w has rank k - 1: largest distance of its eigenvalues from 0 (once) and 1 (k - 1 times)",
             np.abs(spectrum - np.append(0, np.ones(k - 1))).max(), below=1e-13)

# %%
# The matrix has $k^2$ entries, and nobody needs them: $M_w x = x - u\,(u \cdot x)$ takes $4k$ operations. That is
# ``wn.project``, and it is what equation 3 does. For one neuron with 2000 inputs:

large_w, large_x = rng.normal(size=(2, 2000))
for name, function in (("matrix", lambda: wn.projection_matrix(large_w) @ large_x),
                       ("matrix-free", lambda: wn.project(large_w, large_x))):
    times = []
    for _ in range(5):
        started = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - started)
    print(f"{name:12} {1e3 * min(times):7.3f} ms")

# %%
# A neuron to try it on: 50 inputs, $\phi = \tanh$, half the squared error of 200 examples, and a $v$ that is longer
# than $g$. Autograd goes through $w = g\,v/\|v\|$ and knows nothing of equation 4. Since $x_\perp$ and $u$ are at a
# right angle, Pythagoras gives the length of the gradient of $v$ at once:
#
# $$\|\nabla_v L\|^2 = \frac{g^2}{\|v\|^2}\,\bigl(\|\nabla_w L\|^2 - (\nabla_w L \cdot u)^2\bigr).$$

inputs, targets = rng.normal(size=(200, k)), rng.normal(size=200)
v = mg.tensor(3 * w, requires_grad=True)
g = mg.tensor(1.5, dtype=np.float64, requires_grad=True)


def neuron(v, g, rows=slice(None)):
    """w as a Tensor of its own, and the loss of one tanh neuron on some of the examples."""
    w = g * v / mg.norm(v)
    return w, mg.square(mg.tanh(inputs[rows] @ w) - targets[rows]).mean() / 2


w_of_v, loss = neuron(v, g)
grad_w, grad_v = (t.numpy() for t in mg.grad(loss, [w_of_v, v]))
u, ratio = w / np.linalg.norm(w), g.item() / np.linalg.norm(v.numpy())
unit = ratio * np.linalg.norm(grad_w)
worst = max(np.linalg.norm(ratio * (M @ grad_w) - grad_v), np.linalg.norm(ratio * wn.project(w, grad_w) - grad_v))
lesson.claim("∇_v L by autograd = (g/‖v‖) M_w ∇_w L, with the matrix and without (eq. 4): relative difference",
             worst / unit, below=1e-12)
pythagoras = ratio**2 * (grad_w @ grad_w - (grad_w @ u) ** 2)
lesson.claim("‖∇_v‖² = (g²/‖v‖²)(‖∇_w‖² - (∇_w·u)²) (law 1): relative difference",
             abs(pythagoras / (grad_v @ grad_v) - 1), below=1e-12)

# %%
# 2. From C to D
# --------------
#
# Every minibatch gives another gradient. The $n$ gradients of one weight vector are a cloud of points in $k$
# dimensions, with a mean and a covariance matrix
#
# $$C = \frac1n \sum_i (\nabla_i - \bar\nabla)(\nabla_i - \bar\nabla)^{\mathsf T}.$$
#
# $C$ says how much noise there is in which direction: $a^{\mathsf T} C a$ is the variance of the gradient along a unit
# vector $a$, and $\operatorname{tr} C$ is the sum of the variances along all of $k$ perpendicular directions. While $w$
# stays where it is, equation 4 is one linear map, the same for every minibatch. A linear map $A$ turns the covariance
# $C$ into $A C A^{\mathsf T}$. Hence
#
# $$D = \frac{g^2}{\|v\|^2}\, M_w C M_w .$$
#
# We check it with autograd: 400 minibatches of 20 examples, both gradients of each. ``wn.covariance`` has the two
# matrices as ``gradient_covariance`` and ``preconditioned_covariance``. *Tolerance:* as above.

pairs = []
for _ in range(400):
    w_of_v, loss = neuron(v, g, rng.integers(0, len(inputs), 20))
    pairs.append([t.numpy() for t in mg.grad(loss, [w_of_v, v])])
for_w, for_v = (np.array(column) for column in zip(*pairs, strict=True))
C = gradient_covariance(for_w)
D = preconditioned_covariance(C, v.numpy(), g.item())
lesson.claim("The covariance of 400 gradients of v, by autograd, is D = (g²/‖v‖²) M_w C M_w: relative difference",
             np.linalg.norm(gradient_covariance(for_v) - D) / np.linalg.norm(D), below=1e-12)
lesson.claim("There is no noise along v: ‖D v‖ / (‖D‖ ‖v‖)",
             np.linalg.norm(D @ v.numpy()) / np.linalg.norm(D) / np.linalg.norm(v.numpy()), below=1e-12)

# %%
# With two inputs the cloud can be drawn. The noise along $w$ is gone, and what is left lies on a line. In this example
# the noise is largest along $w$, which is the case that the paper has in mind: the neuron is a ReLU, and each example
# consists of 16 pairs of inputs that it sees with the same $w$. Section 3 explains why that matters. Whether it is the
# usual case is the question of section 4.

plane_w = np.array([0.8, 0.6])
plane_x = rng.normal(size=(6400, 16, 2))
plane_delta = rng.normal(size=(6400, 1)) * (plane_x @ plane_w > 0)  # one error for all 16, where the ReLU is active
plane_gradients = (plane_delta[:, :, None] * plane_x).mean(axis=1)
cloud = plane_gradients.reshape(400, 16, 2).mean(axis=1)
halved = 0.5 * wn.project(plane_w, cloud.T).T  # g/‖v‖ = 1/2
figure, axes = plt.subplots(1, 2, figsize=(8.4, 4.4), sharex=True, sharey=True)
circle = np.stack([np.cos(t := np.linspace(0, 2 * np.pi, 100)), np.sin(t)])
for ax, points, colour, name in ((axes[0], cloud, NORMAL, "w"), (axes[1], halved, WEIGHT_NORM, "v")):
    values, vectors = np.linalg.eigh(gradient_covariance(points))
    ellipse = points.mean(axis=0)[:, None] + 2 * (vectors * np.sqrt(np.maximum(values, 0))) @ circle
    ax.plot(*points.T, "o", ms=3, color=colour, alpha=0.5, mew=0)
    ax.plot(*ellipse, "-", color="0.15", lw=1.4)
    ax.annotate("", 0.34 * plane_w, (0, 0),
                arrowprops={"arrowstyle": "-|>", "color": "0.1", "lw": 2, "shrinkA": 0, "shrinkB": 0})
    ax.annotate("direction of $w$", 0.34 * plane_w, (0, 9), textcoords="offset points", ha="center", fontsize=9.5)
    ax.set(aspect="equal", xlim=(-0.42, 0.42), ylim=(-0.38, 0.38), xlabel=f"$(\\nabla_{name} L)_1$")
    ax.set_ylabel(f"$(\\nabla_{name} L)_2$")
axes[0].set_title("Gradients of $w$: covariance $C$")
axes[1].set_title("Gradients of $v$, $g/\\|v\\|$ = 1/2: covariance $D$")
lesson.figure(figure, "cloud", note="400 minibatches of 16 examples; ellipse: two standard deviations")

# %%
# How far is a covariance matrix from the identity? The overall size of the gradient is a matter of the learning rate,
# so what counts is the distance from *a multiple* of the identity, and the measure must not change when the matrix is
# multiplied by a number. We use two such measures of a spectrum $\lambda_1 \le \dots \le \lambda_n$:
#
# - the condition number $\kappa = \lambda_n/\lambda_1$: 1 for a multiple of the identity, without bound above;
# - the participation ratio $(\sum \lambda)^2/(n \sum \lambda^2) = (\operatorname{tr} A)^2/(n \operatorname{tr} A^2)$: 1
#   for a multiple of the identity, and $m/n$ if $m$ directions share all the variance evenly and the others have none.
#
# $\kappa$ looks at the two ends only, the participation ratio at where the variance is. $D$ always has the eigenvalue
# 0, for $v$ itself, and so as a $k \times k$ matrix $\kappa(D) = \infty$. But nothing ever moves along $v$. What
# matters are the other $k - 1$ directions, the tangent space of the sphere on which $u$ lives. Let the columns of $Q$
# be an orthonormal basis of them (``tangent_basis``); then $Q^{\mathsf T} D Q$ has the eigenvalues of $D$ without that
# 0.


def condition(values):
    """The condition number, from eigenvalues in ascending order."""
    return values[-1] / values[0]


def participation(values):
    """The participation ratio, from all eigenvalues."""
    return values.sum() ** 2 / (len(values) * np.square(values).sum())


def without(direction, C):
    """The k - 1 eigenvalues of M C M for the projection M away from a direction, without the 0 along it."""
    Q = tangent_basis(direction)
    return np.linalg.eigvalsh(Q.T @ C @ Q)


# %%
# Three things can be said before any measurement.
#
# 1. *The scaling does nothing here.* $g^2/\|v\|^2$ multiplies all of one neuron's $D$ by one number. It can only change
#    the balance *between* neurons (section 5) and between $v$ and the other parameters (section 6).
# 2. *The projection can do no harm.* By Cauchy's interlacing theorem the eigenvalues $\mu$ of $Q^{\mathsf T} C Q$ lie
#    between those of $C$: $\lambda_1 \le \mu_1 \le \lambda_2 \le \dots \le \mu_{k-1} \le \lambda_k$. Therefore
#    $\kappa(Q^{\mathsf T} C Q) \le \kappa(C)$, always.
# 3. *That is no merit of $w$.* The theorem holds for the projection away from *any* direction. To see whether $w$ is
#    special it must be compared with a random direction, and with the best one, which is an end of the spectrum.

random_direction = rng.normal(size=k)
values, vectors = np.linalg.eigh(C)
for name, spectrum in (("C", values), ("without w", without(w, C)), ("without a random direction",
                       without(random_direction, C)), ("without the leading eigenvector",
                       without(vectors[:, -1], C))):
    print(f"{name:32} κ = {condition(spectrum):6.2f}   participation ratio {participation(spectrum):.3f}")
anywhere = max(condition(without(rng.normal(size=k), C)) for _ in range(300)) / condition(values)
lesson.claim("No projection raises the condition number: largest κ without one of 300 random directions / κ(C)",
             anywhere, below=1)

# %%
# 3. When is w an eigenvector of C?
# ---------------------------------
#
# Consider one neuron with pre-activation $t = w \cdot x$ and write $\delta = \partial L/\partial t$ for one example.
# The gradient of $w$ for this example is $\delta\,x$. (A minibatch of $B$ independent examples averages $B$ of these:
# its covariance is $C/B$, the same up to a factor. So we may take single examples from here on.)
#
# Let the inputs be *white*: $x \sim N(0, I)$. Split them as above, $x = z\,u + x_\perp$ with $z = u \cdot x$. The two
# parts are independent. If $\delta$ depends on the input through $t = \|w\| z$ only, and otherwise on chance, then
# $\delta$ and $x_\perp$ are independent too, and all cross terms vanish:
#
# $$\mathrm E[\delta^2 x x^{\mathsf T}] = \mathrm E[\delta^2 z^2]\; u u^{\mathsf T} + \mathrm E[\delta^2]\; M_w .$$
#
# (For the covariance subtract $\mathrm E[\delta z]^2\,u u^{\mathsf T}$.) So for white inputs **w is exactly an
# eigenvector** of $C$. All other eigenvalues are equal, and $D$ is exactly a multiple of the identity across $w$:
# $\kappa = 1$, the best there is. The paper's idea is right at its root. But is $w$ the *dominant* eigenvector? That
# depends on whether
#
# $$r = \frac{\mathrm E[\delta^2 z^2] - \mathrm E[\delta z]^2}{\mathrm E[\delta^2]}$$
#
# is above or below 1: on whether large $\delta$ come together with large $|t|$ or with small ones. Four kinds of
# neurons, each of length $g = \|w\|$:
#
# - *linear*, squared error, targets $y \sim N(0, 1)$ that $x$ says nothing about: $\delta = t - y$;
# - *ReLU*, whose output's gradient $\epsilon \sim N(0, 1)$ does not depend on $t$: $\delta = \epsilon$ if $t > 0$, else
#   0;
# - *tanh*, squared error, the same targets: $\delta = (\tanh t - y)(1 - \tanh^2 t)$;
# - *logistic*, trained: the label $y$ is 1 with probability $\sigma(t) = 1/(1 + e^{-t})$, else 0, and
#   $\delta = \sigma(t) - y$.
#
# All expectations are integrals over one variable $z$. We do them with 200 Gauss-Hermite points, and compare with
# samples of 200,000 examples in $k = 16$ dimensions.

nodes, quadrature = np.polynomial.hermite_e.hermegauss(200)
quadrature = quadrature / quadrature.sum()  # weights of a standard normal distribution


def sigmoid(t):
    """The logistic function."""
    return 1 / (1 + np.exp(-t))


# E[δ | t] and E[δ² | t], and a draw of δ given t.
KINDS = {
    "linear": (lambda t: t, lambda t: t**2 + 1, lambda t, rng: t - rng.normal(size=t.shape)),
    "ReLU": (lambda t: 0 * t, lambda t: (t > 0) + 0.0, lambda t, rng: (t > 0) * rng.normal(size=t.shape)),
    "tanh": (lambda t: np.tanh(t) * (1 - np.tanh(t) ** 2), lambda t: (np.tanh(t) ** 2 + 1) * (1 - np.tanh(t) ** 2) ** 2,
             lambda t, rng: (np.tanh(t) - rng.normal(size=t.shape)) * (1 - np.tanh(t) ** 2)),
    "logistic": (lambda t: 0 * t, lambda t: sigmoid(t) * (1 - sigmoid(t)),
                 lambda t, rng: sigmoid(t) - (rng.uniform(size=t.shape) < sigmoid(t))),
}


def predicted_ratio(kind, g):
    """r = variance of the gradient along w / variance in any direction across it, by quadrature."""
    mean, square, _ = KINDS[kind]
    along = quadrature @ (square(g * nodes) * nodes**2) - (quadrature @ (mean(g * nodes) * nodes)) ** 2
    return along / (quadrature @ square(g * nodes))


k, n = 16, 200_000
theory_rng = lesson.rng(2)
u = np.eye(k)[0]  # any direction will do: the inputs have none of their own
sampled, deviations, roundness = {}, [], []
for kind, (_, _, draw) in KINDS.items():
    for g in (0.5, 1.0, 2.0, 4.0):
        x = theory_rng.normal(size=(n, k)).astype(np.float32)
        delta = draw(g * x[:, 0].astype(float), theory_rng)
        gradients = delta[:, None] * x
        C = gradient_covariance(gradients)
        spectrum = without(u, C)
        sampled[kind, g] = C[0, 0] / spectrum.mean()
        # r = A/B; A is a mean of n numbers, so its standard error is their deviation over √n. B is known far better.
        error = np.square(gradients[:, 0]).std() / np.sqrt(n) / spectrum.mean()
        error = np.hypot(error, sampled[kind, g] * np.square(delta).std() / np.sqrt(n) / np.square(delta).mean())
        deviations.append((sampled[kind, g] - predicted_ratio(kind, g)) / error)
        effective = n * np.square(delta).mean() ** 2 / (delta**4).mean()
        spread = np.sqrt(k / effective)
        roundness.append(condition(spectrum) / ((1 + spread) / (1 - spread)) ** 2)
    print(f"{kind:9} r = " + ", ".join(f"{sampled[kind, g]:.3f} (theory {predicted_ratio(kind, g):.3f})"
                                       for g in (0.5, 1.0, 2.0, 4.0)) + "  for g = 0.5, 1, 2, 4")

# %%
# *Tolerances.* 16 samples should lie within 4.5 standard errors of theory all but once in 10,000 times; we compute
# the errors from the samples (conservatively, as if numerator and denominator erred independently). The sampled
# eigenvalues across $w$ are not exactly equal: even for a covariance $I$, $n$ samples give a condition number up to
# $((1 + s)/(1 - s))^2$ with $s = \sqrt{k/n}$ (Marchenko and Pastur 1967). Here the examples have unequal weights
# $\delta^2$, which lowers $n$ to about $n\,\mathrm E[\delta^2]^2/\mathrm E[\delta^4]$. We ask that no condition number
# exceeds that bound by more than 10 %.

lesson.claim("White inputs: noise along w / across w as computed, 16 neurons, deviation in standard errors",
             np.abs(deviations).max(), below=4.5)
lesson.claim("White inputs: D is a multiple of the identity across w: largest κ / what sampling alone gives",
             max(roundness), below=1.1)
lesson.claim("A linear neuron far too long (g = 4): w is dominant, r", sampled["linear", 4.0], above=1.5)
lesson.claim("A trained logistic neuron (g = 4): w is the weakest eigenvector, r", sampled["logistic", 4.0], below=0.5)

# %%
# So $w$ is dominant where a neuron's output is *too large*: then the error grows with $|t|$. Where the output
# saturates, or the neuron is sure of itself and right, large $|t|$ mean small gradients, and $w$ has the *least* noise
# of all directions. A ReLU neuron is exactly in between: $r = 1$, because $\mathrm E[z^2 \mid z > 0] = 1$. In each case
# the projection makes the rest perfectly round. It does not matter for that whether the eigenvalue taken out was the
# largest or the smallest.
#
# **Shared weights.** In a convolution the same $w$ looks at many positions $p$ of one picture, and the gradient of
# one example is a *sum*, $\sum_p \delta_p x_p$. The $\delta_p$ of one picture are not independent: they come from
# one loss, and the layers above (pooling, above all) spread it over many positions. Take the extreme: one $\delta$
# for all $P$ positions, times the slope of the activation $\phi$, which is 1 for $t > 0$ and $a$ for $t < 0$
# (leaky ReLU). With $P$ independent white patches,
#
# $$G = \delta \sum_{p=1}^{P} \phi'(t_p)\,x_p, \qquad
#   \mathrm E[\phi'(t)\,x] = \frac{1 - a}{\sqrt{2\pi}}\,u, \qquad \mathrm E[\phi'(t)^2] = \frac{1 + a^2}{2}.$$
#
# The middle formula is the point. *The inputs that a ReLU lets pass have a mean, and it points along* $w$. Random signs
# of $\delta$ turn this mean into noise. Means add up in proportion to $P$, fluctuations only to $\sqrt P$, so
#
# $$r = \frac{P\,(1 + a^2)/2 + P(P-1)\,(1-a)^2/2\pi}{P\,(1 + a^2)/2}
#     = 1 + (P - 1)\,\frac{(1-a)^2}{\pi\,(1 + a^2)} .$$

k = 27  # 3 × 3 pixels of 3 colours
u = np.eye(k)[0]
positions = (1, 4, 16, 64, 256)
shared, cosines = {}, {}
for slope in (0.0, 0.1):
    for P in positions:
        examples = 4000 * max(1, 16 // P)
        total = np.zeros((examples, k))
        for rows in np.array_split(np.arange(examples), max(1, examples * P // 100_000)):
            x = theory_rng.normal(size=(len(rows), P, k)).astype(np.float32)
            total[rows] = (np.where(x[:, :, :1] > 0, 1, slope) * x).sum(axis=1)
        C = gradient_covariance(theory_rng.normal(size=(examples, 1)) * total)
        shared[slope, P] = C[0, 0] / without(u, C).mean()
        cosines[slope, P] = abs(np.linalg.eigh(C)[1][0, -1])


def shared_ratio(P, slope):
    """r for P positions with one δ."""
    return 1 + (P - 1) * (1 - slope) ** 2 / (np.pi * (1 + slope**2))


# %%
# *Tolerance.* $r$ is the ratio of two variances, of which the one along $w$ is the less certain: it comes from one
# direction. There the gradient is $\delta \sim N(0, 1)$ times a sum $S$, and its kurtosis is
# $3\,\mathrm E[S^4]/\mathrm E[S^2]^2$: 18 for one position, 8.3 for four, towards 3 for many. A variance from $n$
# samples of kurtosis $q$ has a relative error of $\sqrt{(q - 1)/n}$. With 4000 examples, and more where there are few
# positions, that is below 4.5 %. Four times that is 18 %.

off = max(abs(shared[key] / shared_ratio(key[1], key[0]) - 1) for key in shared)
lesson.claim("P positions that share δ: r = 1 + (P-1)(1-a)²/(π(1+a²)), largest relative deviation", off, below=0.18)
lesson.claim("64 positions that share δ, leaky ReLU: |cos| between w and the leading eigenvector of C",
             cosines[0.1, 64], above=0.95)

# %%
# How large would $|\cos|$ be by chance? A random direction in $k$ dimensions has
# $\cos^2 \sim \mathrm{Beta}(\tfrac12, \tfrac{k-1}{2})$ with any fixed one: $\cos^2 = a/(a + b)$ with $a \sim \chi^2_1$,
# $b \sim \chi^2_{k-1}$. Its mean is $1/k$, so $|\cos|$ is around $1/\sqrt k$: not small where $k$ is small.


@functools.cache
def chance(k, quantiles=(0.5, 0.99)):
    """Quantiles of |cos| between a random direction in k dimensions and a fixed one, from 100,000 draws."""
    rng = lesson.rng(7)
    a, b = rng.chisquare(1, 100_000), rng.chisquare(k - 1, 100_000)
    return np.quantile(np.sqrt(a / (a + b)), quantiles)


figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 4.0))
lengths = np.linspace(0.02, 5, 120)
places = {"linear": (3.4, 1.98), "ReLU": (3.4, 1.05), "tanh": (1.3, 0.2), "logistic": (2.5, 0.36)}
for (kind, place), style in zip(places.items(), ("-", "--", "-.", ":"), strict=True):
    left.plot(lengths, [predicted_ratio(kind, g) for g in lengths], style, color="0.3")
    left.plot([0.5, 1, 2, 4], [sampled[kind, g] for g in (0.5, 1.0, 2.0, 4.0)], "o", color=NORMAL, ms=5)
    left.text(*place, kind, fontsize=9.5)
left.set(xlabel="length of the weight vector, $g$", ylabel="noise along $w$ / across $w$, $r$", ylim=(0, 2.2),
         title="One position, white inputs")
for slope, marker in ((0.0, "o"), (0.1, "s")):
    right.loglog(positions, [shared_ratio(P, slope) for P in positions], "-", color="0.3", lw=1.2)
    right.loglog(positions, [shared[slope, P] for P in positions], marker, color=NORMAL, ms=6,
                 mfc="white" if slope else NORMAL, label="leaky ReLU, $a$ = 0.1" if slope else "ReLU")
right.axhline(1, color="0.6", lw=1, ls=":")
for P in positions:
    right.annotate(f"{cosines[0.0, P]:.2f}", (P, shared[0.0, P]), (0, 9), textcoords="offset points", ha="center",
                   fontsize=8.5, color="0.35")
right.set(xlabel="positions that share one weight vector, $P$", ylabel="noise along $w$ / across $w$, $r$",
          title="Shared weights, white inputs", ylim=(0.7, 250))
right.legend(loc="upper left", title="gray numbers: |cos| for ReLU", title_fontsize=8.5)
lesson.figure(figure, "theory", note="lines: theory; dots: samples")

# %%
# **Inputs with a mean.** Now let $x = m + \text{noise}$ with a fixed mean $m$, as behind every ReLU. Then
# $\mathrm E[\delta^2 x x^{\mathsf T}]$ contains $\mathrm E[\delta^2]\,m m^{\mathsf T}$, and for a large $\|m\|$ the
# leading eigenvector is $m/\|m\|$, whatever $w$ is. Then $w$ is close to it only if $w$ is close to $m$: if what the
# neuron does is, in the main, to add a *constant*. We come back to this below.
#
# 4. Networks in training
# -----------------------
#
# Gradients of single examples are needed. For a dense layer the gradient of example $i$ is the outer product of its
# $\delta_i$ and its input $x_i$. For a convolution it is the sum of such products over all positions. A forward hook
# keeps each layer's input and pre-activation, and one backward pass brings all the $\delta$.


def per_example_gradients(model, x, y, loss_of=F.cross_entropy, random_signs=None):
    """For each layer: its gradients of shape (units, examples, k), weights (units, k), and g/‖v‖ (units,).

    With a generator as `random_signs` each δ, of each unit at each position, is multiplied by +1 or -1 at random.
    """
    layers, seen = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d))], []

    def keep(layer, inputs, t):
        t.retain_grad()
        seen.append((layer, inputs[0].numpy(), t))

    removals = [layer.register_forward_hook(keep) for layer in layers]
    (loss_of(model(mg.tensor(x)), y) * len(x)).backward()  # the mean becomes a sum, in which each example has its own δ
    for remove in removals:
        remove()
    found = []
    for layer, inputs, t in seen:
        delta = t.grad.numpy()
        if random_signs:
            delta = delta * random_signs.choice(np.float32([-1, 1]), delta.shape)
        if isinstance(layer, nn.Conv2d):
            size, pad = layer.weight.shape[-1], layer.weight.shape[-1] // 2
            padded = np.pad(inputs, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
            patches = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(2, 3))
            patches = patches.transpose(0, 2, 3, 1, 4, 5).reshape(len(x), delta[0, 0].size, -1)
            gradients = delta.reshape(*delta.shape[:2], -1) @ patches
        else:
            gradients = delta[:, :, None] * inputs[:, None, :]
        weights = layer.weight.numpy().reshape(len(delta[0]), -1).astype(float)
        scale = np.ones(len(weights))
        if "weight_v" in layer.state_dict():
            scale = np.abs(layer.weight_g.numpy().ravel()) / np.linalg.norm(
                layer.weight_v.numpy().reshape(weights.shape), axis=1
            )
        found.append((gradients.swapaxes(0, 1).astype(float), weights, scale))
    model.zero_grad()
    return found


# %%
# The first network is a small relative of the paper's for CIFAR-10: four convolutions with leaky ReLU, global average
# pooling (the mean over all positions), a dense layer; data-dependent initialization (equations 5 and 6, lesson 07);
# and Adam, gradient descent with momentum that divides each entry of a step by the typical size of its gradient (lesson
# 05). The pictures are 16 × 16 pixels in three colours, and come to the network either whitened, as in section 5.1 (a
# linear map has made the pixels uncorrelated, of variance 1; lesson 09 says how), or only scaled. The second is a dense
# network with ReLU that learns the classes given by a random network from 32 inputs of variance 1, whose mean is 0 or
# 1; plain SGD. Labels are wrong at random in one of ten cases, so that the gradients do not vanish.
#
# There are ten classes and ten outputs, the *logits* $z$. They stand for the probabilities $e^{z_c}/\sum_j e^{z_j}$
# (*softmax*), and the loss is minus the logarithm of the right class's probability, averaged over the minibatch: the
# *cross-entropy*.

conv_steps, conv_widths, nets = (1500, (16, 32), 3) if lesson.full else (300, (8, 12), 1)
dense_steps = 6000 if lesson.full else 1500
if lesson.data == "cifar10":
    pictures = data.load_cifar10(download=lesson.flags.download)
else:
    pictures = data.synthetic_pictures(train=6000, test=0, seed=lesson.seed)
small = data.scale_pixels(pictures.train_images[:6000]).reshape(-1, 3, 16, 2, 16, 2).mean(axis=(3, 5))
labels = pictures.train_labels[:6000]
images = {"scaled": small / small.std(), "white": data.ZCA.fit(small, epsilon=1e-2)(small)}


def conv_network(x, rng, normalized=True):
    """The convolutional network, initialized on 500 pictures."""
    a, b = conv_widths
    model = nn.Sequential(
        nn.Conv2d(3, a, 3, padding=1, rng=rng), nn.LeakyReLU(0.1), nn.Conv2d(a, a, 3, padding=1, rng=rng),
        nn.LeakyReLU(0.1), nn.MaxPool2d(2), nn.Conv2d(a, b, 3, padding=1, rng=rng), nn.LeakyReLU(0.1),
        nn.Conv2d(b, b, 1, rng=rng), nn.LeakyReLU(0.1), nn.GlobalAvgPool2d(), nn.Linear(b, 10, rng=rng),
    )
    for layer in (m for m in model if isinstance(m, (nn.Conv2d, nn.Linear))):
        layer.weight.data = rng.normal(0, 0.05, layer.weight.shape).astype(np.float32)  # section 3
    wn.data_dependent_init(wn.apply_weight_norm(model), x[:500])
    return model if normalized else wn.remove_weight_norm(model)


def dense_task(mean, rng, n=2000, inputs=32):
    """Inputs of variance 1 around `mean`, and classes."""
    x = rng.normal(size=(n, inputs))
    teacher = np.tanh(2 * x @ rng.normal(size=(inputs, 20)) / np.sqrt(inputs)) @ rng.normal(size=(20, 10))
    y = np.where(rng.uniform(size=n) < 0.1, rng.integers(0, 10, n), teacher.argmax(axis=1))
    return (x + mean).astype(np.float32), y


def dense_network(rng, sizes=(32, 32, 32, 10)):
    """Linear layers with weight normalization and ReLU between them; weights of variance 2/k."""
    layers = []
    for k, units in pairwise(sizes):
        layers += [nn.Linear(k, units, rng=rng), nn.ReLU()]
        layers[-2].weight.data = rng.normal(0, np.sqrt(2 / k), (units, k)).astype(np.float32)
        layers[-2].bias.data = np.zeros(units, np.float32)
    return wn.apply_weight_norm(nn.Sequential(*layers[:-1]))


# %%
# What we measure for each neuron, at the start, after a tenth of the training, and at the end: the angle between $w$
# and the leading eigenvector of $C$; the noise along $w$ relative to the average direction,
# $k\,u^{\mathsf T} C u/\operatorname{tr} C$, which is 1 on average for a direction chosen at random; the participation
# ratio of $C$, of $D$, and without a random direction instead of $w$ (the mean of four); and the total noise. The paper
# does not say whether its covariance is centered, so we also take the angle with the leading eigenvector of the second
# moment $\frac1n \sum_i \nabla_i \nabla_i^{\mathsf T}$.

COLUMNS = ("cos", "along", "part C", "part D", "part random", "tr C", "tr MCM", "tr D", "cos, not centered")


def measure(gradients, weights, scale, rng):
    """One row for each neuron that has any gradients; the columns are COLUMNS."""
    rows = []
    for samples, w, ratio in zip(gradients, weights, scale, strict=True):
        C = gradient_covariance(samples)
        if (trace := np.trace(C)) < 1e-10:  # a ReLU that is never active
            continue
        values, vectors = np.linalg.eigh(C)
        u = w / np.linalg.norm(w)
        across = without(u, C)
        control = np.mean([participation(without(rng.normal(size=len(u)), C)) for _ in range(4)])
        second_moment = np.linalg.eigh(gradient_covariance(samples, centered=False))[1]
        rows.append([abs(vectors[:, -1] @ u), len(u) * (u @ C @ u) / trace, participation(values),
                     participation(across), control, trace, across.sum(),
                     np.trace(preconditioned_covariance(C, w, ratio * np.linalg.norm(w))),
                     abs(second_moment[:, -1] @ u)])
    return np.array(rows)


def train_and_measure(model, optimizer, x, y, steps, batch, rng):
    """Train; return {step: [a table of `measure` per layer]} and the number of inputs k of each layer."""
    tables, probe, control_rng = {}, slice(0, 1000), lesson.rng(8)
    for step in lesson.progress(range(steps + 1), "training"):
        if step in (0, steps // 10, steps):
            found = per_example_gradients(model, x[probe], y[probe])
            tables[step] = [measure(*layer, control_rng) for layer in found]
        rows = rng.integers(0, len(x), batch)
        optimizer.zero_grad()
        F.cross_entropy(model(mg.tensor(x[rows])), y[rows]).backward()
        optimizer.step()
    return tables, [weights.shape[1] for _, weights, _ in found]


results, ks, models = {}, {}, {}


def record(name, model, optimizer, x, y, steps, batch, net):
    """Train one network and put its tables beside those of the other networks of that name."""
    tables, ks[name] = train_and_measure(model, optimizer, x, y, steps, batch, lesson.rng(4, net))
    models[name] = model, x, y
    for step, layers in tables.items():
        before = results.setdefault(name, {}).get(step)
        results[name][step] = [np.concatenate(pair) for pair in zip(before, layers, strict=True)] if before else layers
    with mg.no_grad():
        right = (model(mg.tensor(x[:1000])).numpy().argmax(axis=1) == y[:1000]).mean()
    print(f"{name}: {100 * right:.0f} % of the training examples right")


for net in range(nets):
    for name, kind, normalized in (("conv, white, WN", "white", True), ("conv, white, normal", "white", False),
                                   ("conv, scaled, WN", "scaled", True)):
        model = conv_network(images[kind], lesson.rng(3, net), normalized)
        optimizer = optim.Adam(model.parameters(), 0.003)
        record(name, model, optimizer, images[kind], labels, conv_steps, 50, net)
    for name, mean, rate in (("dense, mean 0, η = 0.5", 0.0, 0.5), ("dense, mean 1, η = 0.5", 1.0, 0.5),
                             ("dense, mean 0, η = 0.03", 0.0, 0.03)):
        x, y = dense_task(mean, lesson.rng(5, net))
        model = dense_network(lesson.rng(6, net))
        record(name, model, optim.SGD(model.parameters(), rate), x, y, dense_steps, 32, net)

# %%
# Is the helper right? The sum of the gradients of single examples must be the gradient that autograd gives. We check it
# in the trained convolutional network, for $v$: equation 4 in every unit of a network. *Tolerance:* float32; sums of
# 1000 examples times up to 256 positions, some $\sqrt{256000} \cdot 6 \cdot 10^{-8} = 3 \cdot 10^{-5}$ of the typical
# terms, which partly cancel in the sum. We allow $10^{-2}$ of the largest gradient of a layer, which no wrong formula
# would meet.

model, x, y = models["conv, white, WN"]
found = per_example_gradients(model, x[:1000], y[:1000])
F.cross_entropy(model(mg.tensor(x[:1000])), y[:1000]).backward()
worst = 0.0
layers = [m for m in model if isinstance(m, (nn.Conv2d, nn.Linear))]
for (gradients, weights, scale), layer in zip(found, layers, strict=True):
    autograd = layer.weight_v.grad.numpy().reshape(weights.shape)
    units = zip(scale, weights, gradients, strict=True)
    ours = np.array([ratio * wn.project(w, samples.mean(axis=0)) for ratio, w, samples in units])
    worst = max(worst, np.abs(ours - autograd).max() / np.abs(autograd).max())
lesson.claim("Eq. 4 in every unit of a trained conv net: per-example gradients, added and projected, against autograd",
             worst, below=1e-2)

# %%
# The answer at the end of training, as medians over the units of a layer. "Above chance" counts the neurons whose
# $|\cos|$ exceeds what 99 % of random directions reach.


def column(name, layer, which, step=-1):
    """One column of the table of a layer; `step` counts the measurements."""
    tables = results[name]
    return tables[sorted(tables)[step]][layer][:, COLUMNS.index(which)]


print(f"{'':26}{'':4} {'|cos|':>6} {'':7} {'above':>7} {'noise':>8} {'participation ratio':>29}")
print(f"{'':26}{'k':>4} {'':>6} {'chance':>7} {'chance':>7} {'along w':>8} {'C':>9} {'D':>9} {'random':>9}")
for name in results:
    for layer, k in enumerate(ks[name]):
        above = (column(name, layer, "cos") > chance(k)[1]).mean()
        numbers = [np.median(column(name, layer, c)) for c in ("cos", "along", "part C", "part D", "part random")]
        print(f"{name:24}{layer + 1:2}{k:4} {numbers[0]:6.2f} {chance(k)[0]:7.2f} {100 * above:6.0f}% "
              f"{numbers[1]:8.2f} {numbers[2]:9.3f} {numbers[3]:9.3f} {numbers[4]:9.3f}")

# %%
# Every neuron, at three times:

figure, axes = plt.subplots(1, 3, figsize=(9.4, 4.1), sharey=True)
shown = [("conv, white, WN", "Convolutions, white pictures"), ("conv, scaled, WN", "Convolutions, scaled pictures"),
         ("dense, mean 0, η = 0.5", "Dense layers, inputs of mean 0")]
scatter = lesson.rng(9)
for ax, (name, title) in zip(axes, shown, strict=True):
    for layer, k in enumerate(ks[name]):
        middle, high = chance(k)
        ax.fill_between([layer - 0.42, layer + 0.42], 0, high, color="0.88", lw=0, zorder=0)
        ax.plot([layer - 0.42, layer + 0.42], [middle, middle], color="0.55", lw=1, zorder=1)
        for time_step, (shift, face) in enumerate(((-0.26, "white"), (0, "#F1B98C"), (0.26, WEIGHT_NORM))):
            values = column(name, layer, "cos", time_step)
            label = None if layer else ("start", "after a tenth", "end")[time_step]
            places = layer + shift + scatter.uniform(-0.07, 0.07, len(values))
            size = 2.5 if lesson.full else 3.8
            ax.plot(places, values, "o", ms=size, mfc=face, mec=WEIGHT_NORM, mew=0.7, label=label)
    ax.set(xticks=range(len(ks[name])), xticklabels=[f"{i + 1}\n{k}" for i, k in enumerate(ks[name])],
           xlabel="layer, and below it $k$", ylim=(0, 1.02))
    ax.set_title(title, fontsize=10)
    ax.grid(axis="x", visible=False)
axes[0].set_ylabel("|cos| between $w$ and the leading eigenvector of $C$")
axes[2].legend(loc="upper right", fontsize=8.5, bbox_to_anchor=(1, 0.88))
axes[2].annotate("gray: 99 % of random directions;\nline: their median", (0.97, 0.97), xycoords="axes fraction",
                 ha="right", va="top", fontsize=8.5, color="0.35")
lesson.figure(figure, "alignment", note=f"pictures: {pictures.description}; a dot for each neuron")

# %%
# The paper's observation is there, plainly, in **one place: the first convolution, on whitened pictures**. Most of its
# neurons lie above what chance gives, already before the first step, and with or without weight normalization. It is
# the case of section 3: inputs without a mean, equal in all directions, and one weight vector shared by 256 positions.
# Is that really the cause? Take the same trained network and the same gradients, and give each position's $\delta$ a
# random sign before adding up. At each single position nothing changes, neither $\delta^2$ nor $x$. Only the coherence
# between positions is destroyed.
#
# *Bounds.* By chance 1 % of the neurons lie beyond the 99 % quantile; that 3 or more of 8 do has a probability of
# $5 \cdot 10^{-5}$. So a share above 0.3 is no chance. Elsewhere a share below 0.1 means: a few neurons, no rule. A
# projection takes one of $k$ directions away, which may change a participation ratio by some $1/k = 4\,\%$ even where
# $w$ is nothing special.

model_white, x, y = models["conv, white, WN"]
coherent, scrambled = [], []
for signs, row in ((None, coherent), (lesson.rng(10), scrambled)):
    first_layer = per_example_gradients(model_white, x[:1000], y[:1000], random_signs=signs)[0]
    row += [np.median(values) for values in measure(*first_layer, lesson.rng(8))[:, :2].T]
for when, step in (("start", 0), ("end", -1)):
    medians = np.array([[np.median(column(name, layer, which, step)) for which in ("cos", "cos, not centered")]
                        for name in results for layer in range(len(ks[name]))])
    changes = np.abs(medians[:, 0] - medians[:, 1])
    print(f"centered or not, {when}: the median |cos| of a layer differs by {np.median(changes):.3f} in the middle, "
          f"{max(changes):.2f} at most")
print(f"first layer: |cos| {coherent[0]:.2f}, noise along w {coherent[1]:.2f}; "
      f"with random signs {scrambled[0]:.2f} and {scrambled[1]:.2f}")
first = [(column(name, 0, "cos") > chance(27)[1]).mean() for name in ("conv, white, WN", "conv, white, normal")]
lesson.claim("w is close to a dominant eigenvector of C (sec. 2.1), first convolution, white pictures: share of "
             "neurons beyond 99 % of chance, the smaller of WN and normal", min(first), above=0.3)
uncentered = (column("conv, white, WN", 0, "cos, not centered") > chance(27)[1]).mean()
lesson.claim("... and of the second moment, not centered: share of neurons with WN beyond 99 % of chance", uncentered,
             above=0.3)
lesson.claim("... and there the noise along w is a multiple of the average, median", coherent[1], above=1.5)
lesson.claim("The cause is coherence over positions: noise along w with random signs / without",
             scrambled[1] / coherent[1], below=0.6)
gain = np.median(column("conv, white, WN", 0, "part D") / column("conv, white, WN", 0, "part C"))
control = np.median(column("conv, white, WN", 0, "part random") / column("conv, white, WN", 0, "part C"))
print(f"participation ratio of D / of C: {gain:.2f}; without a random direction instead: {control:.2f}")
lesson.claim("There D is closer to the identity than C (sec. 2.1): participation ratio of D / of C, median", gain,
             above=1.04)
lesson.claim("... which is not what any projection would do: gain by w / gain by a random direction, median ratios",
             gain / control, above=1.02)
elsewhere = np.concatenate([
    column(name, layer, "cos") > chance(k)[1]
    for name in results for layer, k in enumerate(ks[name]) if not (layer == 0 and "white" in name)
])
lesson.claim(f"Elsewhere w is not close to a dominant eigenvector: share of {len(elsewhere)} neurons beyond 99 % of "
             "chance", elsewhere.mean(), below=0.1)
hidden = np.concatenate([column(name, 1, "along") for name in results if "dense" in name])
lesson.claim("Hidden dense layers: noise along w / noise in the average direction, median", np.median(hidden), below=1)

# %%
# Whether $C$ is centered makes little difference. In the first dense layer, with white inputs and a single position,
# theory has nothing to offer to $w$ either: $r = 1$ for a ReLU whose $\delta$ does not depend on $t$, and less where
# large $t$ mean confident, correct answers.
#
# In the hidden layers the inputs come out of a ReLU: they are positive, their mean $m$ is large, and $m$ is the leading
# eigenvector. A weight vector that began at random has no reason to lie along $m$. The noise along $w$ there is even
# *less* than average in the dense networks: the few dominant directions take most of the variance, and $w$ is nearly
# at a right angle to them.
#
# **Where w learns a constant.** Section 3 said that $w$ can be close to $m$ where the neuron's task is, in the main, to
# add a constant. Consider an output neuron $t = w \cdot h + b$ behind a ReLU layer, and targets around $\mu$. Gradient
# descent puts the constant $\mu$ into $b$ and into $w$ at rates of 1 and $\|m\|^2$: the share of
# $\|m\|^2/(1 + \|m\|^2)$ ends up in $w$, along $m$. With some tens of hidden units $\|m\|^2$ is far above 1. So for
# targets far from zero $w$ should turn towards $m$, and the paper's sentence should hold. Such outputs are not rare:
# the action values of the paper's section 5.4 are an example. We train 16-32-1 networks by SGD on targets of variance 1
# around $\mu$.

offsets, networks = (0.0, 1.0, 3.0, 10.0), 8 if lesson.full else 3
output_cos = {}
for mu in offsets:
    for net in range(networks):
        task_rng = lesson.rng(11, net)
        x = task_rng.normal(size=(1000, 16)).astype(np.float32)
        y = np.tanh(x @ task_rng.normal(size=(16, 8)) / 2) @ task_rng.normal(size=(8, 1))
        y = ((y - y.mean()) / y.std() + 0.3 * task_rng.normal(size=y.shape) + mu).astype(np.float32)
        model = dense_network(task_rng, (16, 32, 1))
        optimizer = optim.SGD(model.parameters(), 0.02)
        for step in range(501):
            if step in (0, 50, 500):
                found = per_example_gradients(model, x, y, F.mse_loss)[-1]
                output_cos.setdefault((mu, step), []).append(measure(*found, task_rng)[0, 0])
            rows = task_rng.integers(0, 1000, 32)
            optimizer.zero_grad()
            F.mse_loss(model(mg.tensor(x[rows])), y[rows]).backward()
            optimizer.step()
print(f"output neuron, |cos| (chance {chance(32)[0]:.2f}, 99 %: {chance(32)[1]:.2f}): medians of {networks} networks")
for mu in offsets:
    print(f"  targets around {mu:4.0f}: " + ", ".join(f"{np.median(output_cos[mu, step]):.2f} after {step} steps"
                                                  for step in (0, 50, 500)))
lesson.claim("Output neuron, targets around 10: w is close to the dominant eigenvector, |cos| after 50 steps, median",
             np.median(output_cos[10.0, 50]), above=0.7)
lesson.claim("Output neuron, targets around 0: it is not, |cos| after 50 steps, median",
             np.median(output_cos[0.0, 50]), below=chance(32)[1])

# %%
# 5. The other factor: g/‖v‖
# --------------------------
#
# "It scales the weight gradient by $g/\|v\|$". Within one neuron that changes no shape. Between neurons it can: if
# noisy neurons get small factors, all neurons have about equally noisy gradients, and the covariance matrix of the
# *whole* gradient comes closer to a multiple of the identity. Is that what happens? At the start $\|v\| = g$ here: all
# factors are 1. Then $\|v\|$ grows, and $\|v\|^2$ by $\eta^2\|\nabla_v L\|^2$ at each step (section 2.1): the more, the
# larger the gradient. Suppose that the gradient is mostly noise of a steady size, $\|\nabla_v L\| = G/\|v\|$. Then
#
# $$\|v_t\|^4 \approx \|v_0\|^4 + 2\eta^2 G^2 t$$
#
# (Arora, Li and Lyu 2018, arXiv:1812.03981; derived in lesson 05). When the growth has outweighed the beginning,
# $\|v\|^2 \propto G$, and the noise of $v$'s gradient is $\operatorname{tr} D = G^2/\|v\|^2 \propto G$. The neurons'
# noise then differs only as $G$, no longer as $G^2$: on a logarithmic scale *the scatter between neurons is halved*,
# whatever it was. And with a small $\eta$, nothing of the kind can happen yet. We take the scatter to be the standard
# deviation of $\log \operatorname{tr}$ within each layer, and average over layers.


def scatter_between(name, which):
    """The standard deviation of the logarithm of a column within each layer at the end, averaged over layers."""
    return np.mean([np.log(column(name, layer, which)).std() for layer in range(len(ks[name]))])


for name in (n for n in results if "dense" in n):
    print(f"{name:24}: scatter of log tr C {scatter_between(name, 'tr C'):.2f}, "
          f"of M C M {scatter_between(name, 'tr MCM'):.2f}, of D {scatter_between(name, 'tr D'):.2f}")
fast, slow = "dense, mean 0, η = 0.5", "dense, mean 0, η = 0.03"
lesson.claim("Projecting alone leaves the scatter between neurons as it was, η = 0.5: of M C M / of C",
             scatter_between(fast, "tr MCM") / scatter_between(fast, "tr C"), near=1, within=0.05)
lesson.claim("Scaling evens out the noise between neurons (sec. 2.1), η = 0.5: scatter of D / of M C M, towards 1/2",
             scatter_between(fast, "tr D") / scatter_between(fast, "tr MCM"), above=0.4, below=0.85)
lesson.claim("With η = 0.03, ‖v‖ has hardly grown and there is no such effect: scatter of D / of M C M",
             scatter_between(slow, "tr D") / scatter_between(slow, "tr MCM"), above=0.9)

# %%

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10.2, 3.9))
gradients, weights, _ = per_example_gradients(model_white, images["white"][:1000], labels[:1000])[0]
of_this_network = column("conv, white, WN", 0, "cos")[-len(weights) :]  # the last one that was trained
neuron_index = np.argsort(of_this_network)[len(weights) // 2]
C = gradient_covariance(gradients[neuron_index])
values, unit_scale = np.linalg.eigvalsh(C)[::-1], np.trace(C) / len(C)
left.semilogy(np.arange(1, 28), values / unit_scale, "o", color=NORMAL, ms=5, label="$C$")
left.semilogy(np.arange(1, 27), without(weights[neuron_index], C)[::-1] / unit_scale, "s", color=WEIGHT_NORM, ms=4.5,
              mfc="white", label="$M_w C M_w$, without the 0")
left.set(xlabel="number of the eigenvalue", ylabel="eigenvalue / mean eigenvalue of $C$",
         title="One neuron, first convolution")
left.legend()
for name, layer, marker, edge, face, label in (
    ("conv, white, WN", 0, "o", WEIGHT_NORM, WEIGHT_NORM, "first conv., white"),
    (fast, 1, "D", "0.6", "none", "hidden dense"),
    ("conv, scaled, WN", 0, "s", "0.1", "none", "first conv., scaled"),
    ("conv, white, WN", 1, "^", "0.1", "0.1", "second conv."),
):
    middle.plot(column(name, layer, "part C"), column(name, layer, "part D"), marker, mec=edge, mfc=face, ms=5,
                label=label)
middle.plot([0, 1], [0, 1], ":", color="0.4", lw=1)
middle.set(xlim=(0, 0.85), ylim=(0, 0.85), aspect="equal", xlabel="participation ratio of $C$",
           ylabel="participation ratio of $D$", title="Closer to the identity?")
middle.legend(fontsize=8, loc="lower right", handletextpad=0.2)
for name, marker, face, label in ((slow, "s", "white", "η = 0.03"), (fast, "o", WEIGHT_NORM, "η = 0.5")):
    noise = [np.concatenate([column(name, layer, which) / np.exp(np.log(column(name, layer, which)).mean())
                             for layer in range(3)]) for which in ("tr MCM", "tr D")]
    right.loglog(*noise, marker, color=WEIGHT_NORM, mfc=face, ms=4, mew=0.8, label=label)
ends = np.array([0.02, 20])
right.loglog(ends, ends, "-", color="0.3", lw=1)
right.loglog(ends, np.sqrt(ends), "--", color="0.3", lw=1)
right.text(11, 17, "slope 1", fontsize=8.5, ha="right")
right.text(19, 2.2, "1/2", fontsize=8.5, ha="right")
right.set(xlabel="noise of a neuron, tr $M_w C M_w$", ylabel="tr $D$ = ($g^2/\\|v\\|^2$) tr $M_w C M_w$",
          title="Noise between neurons")
right.legend(loc="upper left", fontsize=8.5)
lesson.figure(figure, "covariance", note=f"pictures: {pictures.description}; right: relative to the mean of a layer")

# %%
# 6. Curvature
# ------------
#
# The introduction argues with the curvature of the loss: the Hessian's condition number is not invariant under
# reparameterization, and a good parameterization lowers it. Let $p$ be the parameters of a network with ordinary
# weights, and $q$ the $v$, $g$ and $b$ of the same network. By the chain rule
#
# $$\nabla^2_q L = J^{\mathsf T}\,(\nabla^2_p L)\,J + \sum_i \frac{\partial L}{\partial p_i}\,\nabla^2_q\, p_i,
#   \qquad J = \frac{\partial p}{\partial q}.$$
#
# For one weight vector, $dw = u\,dg + \rho\,M_w\,dv$ with $\rho = g/\|v\|$ (lesson 03). $J$ takes a step of $v$ along
# $v$ to 0: that direction is no direction of the network, and we leave it out of $q$, by describing $dv$ in a tangent
# basis $Q$. Then $J$ has the square blocks $R = (\rho\,Q,\; u)$.
#
# Now look at $R$. *If* $\rho = 1$, *its columns are orthonormal.* The new coordinates are then the old ones, rotated:
# the part along $w$ is called $g$, the $k - 1$ others belong to $v$. A rotation changes no eigenvalue. So the first
# term of the Hessian, which is all of it at a minimum, has the same spectrum as with ordinary weights: **the projection
# by itself does nothing to the conditioning of the curvature.** Only the scaling can: $\rho^2$ multiplies the curvature
# of the tangent directions, and leaves that of $g$ and $b$.
#
# The same holds, everywhere and not only at minima, for the *Gauss-Newton matrix* $J_f^{\mathsf T} J_f/N$ of a squared
# error, with $J_f$ the derivatives of the $N$ outputs. (It is the Fisher information under Gaussian noise.) It is
# positive semidefinite, so that its condition number always means something. Away from minima Hessians of networks have
# negative eigenvalues, and then it does not.
#
# The second term, for one weight vector, from the second derivatives of $g\,v/\|v\|$ (exercise 4):
#
# $$-\frac{\rho^2}{g}\,(\nabla_w L \cdot u)\,I \;\text{ within the tangent directions,} \qquad
#   \frac{\rho}{g}\,Q^{\mathsf T}\nabla_w L \;\text{ between them and } g .$$
#
# We check all of this on 6-4-1 tanh networks. The data: 1000 examples, inputs with mean $m$ and variance 1, targets
# from another such network plus noise of deviation 0.3. (Each of that network's units matters to its output, so that
# there is a proper minimum to be found near it.) Several problems and learning rates run side by side, along the first
# axis of every array.

INPUTS, UNITS, EXAMPLES = 6, 4, 1000
problems, small_steps = (16, 6000) if lesson.full else (6, 1500)
MEANS, RATES = (0.0, 1.0), (0.03, 0.1, 0.3, 1.0)
runs = [(m, rate, i) for m in MEANS for rate in RATES for i in range(problems)]


def small_problem(m, i):
    """Inputs, targets, the first weights of both layers, and the network that made the targets as one flat vector."""
    rng = lesson.rng(12, i)
    x = rng.normal(size=(EXAMPLES, INPUTS))
    w1 = 1.5 * rng.normal(size=(UNITS, INPUTS)) / np.sqrt(INPUTS)
    w2 = rng.choice([-1, 1], (1, UNITS)) * rng.uniform(0.7, 1.3, (1, UNITS))
    y = np.tanh(x @ w1.T) @ w2.T
    mean, deviation = y.mean(), y.std()
    y = (y - mean) / deviation + 0.3 * rng.normal(size=y.shape)
    first = rng.normal(size=(UNITS, INPUTS)) / np.sqrt(INPUTS), rng.normal(size=(1, UNITS)) / np.sqrt(UNITS)
    teacher = np.concatenate([w1.ravel(), -m * w1.sum(axis=1), w2[0] / deviation, [-mean / deviation]])
    return x + m, y, *first, teacher


def outputs(x, w1, b1, w2, b2):
    """The network, for one problem or for many side by side."""
    return mg.tanh(x @ w1.swapaxes(-1, -2) + b1) @ w2.swapaxes(-1, -2) + b2


def direction(v):
    """v/‖v‖ along the last axis."""
    return v / mg.norm(v, axis=-1, keepdims=True)


def train_small(steps, snapshots):
    """Train all runs by SGD; {step: [v1, g1, b1, v2, g2, b2]}, starting with ‖v‖ = g."""
    drawn = [small_problem(m, i) for m, _, i in runs]
    x, y, v1, v2 = (np.stack([d[j] for d in drawn]) for j in range(4))
    rate, order = np.array([rate for _, rate, _ in runs])[:, None, None], lesson.rng(13)
    q = [v1, np.linalg.norm(v1, axis=-1, keepdims=True), np.zeros((len(runs), 1, UNITS)),
         v2, np.linalg.norm(v2, axis=-1, keepdims=True), np.zeros((len(runs), 1, 1))]
    kept = {}
    for step in lesson.progress(range(steps + 1), "small networks"):
        if step in snapshots:
            kept[step] = q
        batch = order.integers(0, EXAMPLES, 32)
        leaves = [mg.tensor(a, requires_grad=True) for a in q]
        a1, g1, b1, a2, g2, b2 = leaves
        out = outputs(x[:, batch], g1 * direction(a1), b1, g2 * direction(a2), b2)
        losses = mg.square(out - y[:, batch]).mean(axis=(-2, -1)) / 2
        q = [a - rate * d.data for a, d in zip(q, mg.grad(losses.sum(), leaves), strict=True)]
    return kept


kept = train_small(small_steps, (0, small_steps // 10, small_steps))

# %%
# For one run: the flat vector $p$ of weights and biases, the loss as a function of it, the square matrix $R$ that takes
# (tangent, $g$, $b$) coordinates to $p$, and the Gauss-Newton matrix. Its rows follow from $f = w_2 \cdot h + b_2$,
# $h = \tanh(W_1 x + b_1)$: $\partial f/\partial W_{1} = (w_2 (1 - h^2))\,x^{\mathsf T}$, and so on.

SPLIT = np.cumsum([UNITS * INPUTS, UNITS, UNITS])


def flat_weights(q):
    """p = (W1, b1, w2, b2) in one vector, and ρ of the four hidden weight vectors and of the output's."""
    v1, g1, b1, v2, g2, b2 = q
    scales = np.append(g1.ravel() / np.linalg.norm(v1, axis=-1), g2.ravel() / np.linalg.norm(v2))
    parts = g1 * direction(v1), b1, g2 * direction(v2), b2
    return np.concatenate([a.ravel() for a in parts]), np.abs(scales)


def flat_loss(p, x, y):
    """Half the mean squared error at p."""
    w1, b1, w2, b2 = p[: SPLIT[0]], p[SPLIT[0] : SPLIT[1]], p[SPLIT[1] : SPLIT[2]], p[SPLIT[2] :]
    out = outputs(x, w1.reshape(UNITS, INPUTS), b1, w2.reshape(1, UNITS), b2)
    return mg.square(out - y).mean() / 2


def weight_vectors(p):
    """Each weight vector of p, and where it is."""
    places = [slice(j * INPUTS, (j + 1) * INPUTS) for j in range(UNITS)] + [slice(SPLIT[1], SPLIT[2])]
    return [(p[place], place) for place in places]


def change_of_coordinates(p, scales):
    """R: for each weight vector the columns ρ Q and u; for the biases those of the identity."""
    R = np.eye(len(p))
    for (w, place), scale in zip(weight_vectors(p), scales, strict=True):
        R[place, place] = np.column_stack([scale * tangent_basis(w), w / np.linalg.norm(w)])
    return R


def output_jacobian(p, x):
    """∂f/∂p for each example, (N, len(p))."""
    w1, b1, w2, _ = np.split(p, SPLIT)
    h = np.tanh(x @ w1.reshape(UNITS, INPUTS).T + b1)
    back = w2 * (1 - h**2)
    return np.concatenate([(back[:, :, None] * x[:, None]).reshape(len(x), -1), back, h, np.ones((len(x), 1))], axis=1)


def second_term(p, scales, gradient):
    """The part of the Hessian in (tangent, g, b) coordinates that comes from the curvature of w = g v/‖v‖."""
    extra = np.zeros((len(p), len(p)))
    for (w, place), scale in zip(weight_vectors(p), scales, strict=True):
        g, Q = np.linalg.norm(w), tangent_basis(w)
        tangent, last = slice(place.start, place.stop - 1), place.stop - 1
        extra[tangent, tangent] = -(scale**2) / g * (gradient[place] @ w / g) * np.eye(len(w) - 1)
        extra[tangent, last] = extra[last, tangent] = scale / g * Q.T @ gradient[place]
    return extra


def gradient_at(p, x, y):
    """∇_p L."""
    leaf = mg.tensor(p, requires_grad=True)
    return mg.grad(flat_loss(leaf, x, y), leaf).numpy()


def hessians(p, scales, x, y):
    """The Hessian in p, and in (tangent, g, b)."""
    H, R = mg.hessian(lambda p: flat_loss(p, x, y), p).numpy(), change_of_coordinates(p, scales)
    return H, R.T @ H @ R + second_term(p, scales, gradient_at(p, x, y))


def take(step, run):
    """The parameters of one run at one step."""
    return [a[run] for a in kept[step]]


# %%
# Does the formula give what ``mg.hessian`` finds when it differentiates the weight-normalized network itself, twice? We
# take a partly trained one, where the second term matters. The comparison also shows why the direction of $v$ had to be
# left out. The curvature along it is zero, $v^{\mathsf T} H v = 0$. But away from a minimum $v$ is no eigenvector:
# stretching $v$ shrinks the gradient, so that $H v = -\nabla_v L$ (differentiate
# $\nabla_v L(\alpha v) = \nabla_v L(v)/\alpha$ at $\alpha = 1$). *Tolerance:* second derivatives of order 10 through
# some hundred operations in float64, at $10^{-16}$ each: $10^{-12}$ would do; we allow $10^{-10}$.

x, y, *_ = small_problem(1.0, 0)
p, scales = flat_weights(take(small_steps // 10, runs.index((1.0, 0.3, 0))))
v_and_b, lengths = p.copy(), np.array([np.linalg.norm(w) for w, _ in weight_vectors(p)])
for (w, place), scale in zip(weight_vectors(p), scales, strict=True):
    v_and_b[place] = w / scale  # ‖v‖ = g/ρ
q = np.append(v_and_b, lengths)  # as p, with v in the place of w; then the five g


def loss_of_q(q):
    """The loss of the weight-normalized network."""
    v1, b1, v2, b2, g = q[: SPLIT[0]], q[SPLIT[0] : SPLIT[1]], q[SPLIT[1] : SPLIT[2]], q[SPLIT[2] : len(p)], q[len(p) :]
    w1 = g[:UNITS].reshape(UNITS, 1) * direction(v1.reshape(UNITS, INPUTS))
    return mg.square(outputs(x, w1, b1, g[UNITS:] * direction(v2.reshape(1, UNITS)), b2) - y).mean() / 2


H_q, leaf = mg.hessian(loss_of_q, q).numpy(), mg.tensor(q, requires_grad=True)
gradient_q = mg.grad(loss_of_q(leaf), leaf).numpy()
B = np.eye(len(q), len(p))  # (tangent, g, b) coordinates as vectors in the space of q
worst_curvature = worst_stretch = 0.0
for j, (_, place) in enumerate(weight_vectors(p)):
    v = np.zeros(len(q))
    v[place] = q[place]
    worst_curvature = max(worst_curvature, abs(v @ H_q @ v) / np.linalg.norm(H_q))
    minus_gradient = np.where(v != 0, -gradient_q, 0)
    worst_stretch = max(worst_stretch, np.abs((H_q @ v - minus_gradient)[place]).max() / np.linalg.norm(H_q))
    B[place, place] = np.column_stack([tangent_basis(q[place]), np.zeros(len(q[place]))])
    B[len(p) + j, place.stop - 1] = 1
H_p, H_tangent = hessians(p, scales, x, y)
difference = np.linalg.norm(B.T @ H_q @ B - H_tangent) / np.linalg.norm(H_tangent)
lesson.claim("Hessian in (v, g, b), tangent to each v: RᵀHR + second term = mg.hessian, relative difference",
             difference, below=1e-10)
lesson.claim("Along v there is no curvature, vᵀHv = 0, but H_vv v = -∇_v L: largest deviation, relative",
             max(worst_curvature, worst_stretch), below=1e-10)


def outputs_of_p(p):
    """The network's outputs for 30 examples."""
    w1, b1, w2, b2 = p[: SPLIT[0]], p[SPLIT[0] : SPLIT[1]], p[SPLIT[1] : SPLIT[2]], p[SPLIT[2] :]
    return outputs(x[:30], w1.reshape(UNITS, INPUTS), b1, w2.reshape(1, UNITS), b2)[:, 0]


J = mg.jacobian(outputs_of_p, p).numpy()
lesson.claim("∂f/∂p by hand = mg.jacobian: relative difference",
             np.linalg.norm(output_jacobian(p, x[:30]) - J) / np.linalg.norm(J), below=1e-12)

# %%
# Next, the spectra at the start, after a tenth of the training, and at the end, for this run ($\eta = 0.3$, $m = 1$):
# with ordinary weights, with weight normalization at $\rho = 1$, and at the $\rho$ that training has led to.

ones = np.ones(len(scales))


def gauss_newton(p, scales, x):
    """Eigenvalues of the Gauss-Newton matrix in (tangent, g, b)."""
    J = output_jacobian(p, x) @ change_of_coordinates(p, scales)
    return np.linalg.eigvalsh(J.T @ J / len(x))


print("             parameters           loss   Hessian: largest  smallest  negative   κ of Gauss-Newton")
for step in kept:
    p, scales = flat_weights(take(step, runs.index((1.0, 0.3, 0))))
    H_p, H_one = hessians(p, ones, x, y)
    J = output_jacobian(p, x)
    ordinary = np.linalg.eigvalsh(J.T @ J / len(x))
    H_trained = hessians(p, scales, x, y)[1]
    for name, H, gn in (("w", H_p, ordinary), ("(v, g), ρ = 1", H_one, gauss_newton(p, ones, x)),
                        ("(v, g), ρ as trained", H_trained, gauss_newton(p, scales, x))):
        values = np.linalg.eigvalsh(H)
        print(f"step {step:5}   {name:20} {flat_loss(p, x, y).item():.4f} {values[-1]:14.3f} {values[0]:12.4f} "
              f"{(values < 0).sum():6} of {len(values)} {condition(gn):12.3g}")

# %%
# At $\rho = 1$ the Gauss-Newton matrix has the same condition number to every digit shown. The Hessian differs a
# little, by the second term, in either direction.
#
# At a minimum the second term is zero. SGD does not get there, so we take another way: from the network that made the
# targets, which the noise has moved a little away from the minimum, by damped Gauss-Newton steps (Levenberg 1944,
# Marquardt 1963), $\Delta p = -(J_f^{\mathsf T} J_f/N + \lambda I)^{-1} \nabla_p L$, with $\lambda$ lowered after each
# step that succeeds and raised after each that does not.


def minimum(p, x, y):
    """The minimum near p, and the norm of the gradient there."""
    damping, loss = 1e-2, flat_loss(p, x, y).item()
    for _ in range(400):
        J, gradient = output_jacobian(p, x), gradient_at(p, x, y)
        if np.linalg.norm(gradient) < 1e-10 or damping > 1e6:
            break
        trial = p - np.linalg.solve(J.T @ J / len(x) + damping * np.eye(len(p)), gradient)
        lower = flat_loss(trial, x, y).item()
        if lower <= loss:
            p, loss, damping = trial, lower, damping / 3
        else:
            damping *= 4
    return p, np.linalg.norm(gradient)


common = np.logspace(-1.5, 0.75, 31)  # values of ρ, the same for all weight vectors
minima, curves, knob = {}, {}, {}
for m in MEANS:
    for i in range(problems):
        x, y, *_, teacher = small_problem(m, i)
        p, slope = minimum(teacher, x, y)
        H = mg.hessian(lambda p, x=x, y=y: flat_loss(p, x, y), p).numpy()
        values = np.linalg.eigvalsh(H)
        if slope < 1e-8 and values[0] > 1e-8 * values[-1]:  # a minimum, and not a unit that saturates for ever
            minima[m, i] = values, np.linalg.eigvalsh(hessians(p, ones, x, y)[1])
            curves[m, i] = [condition(np.linalg.eigvalsh(R.T @ H @ R)) / condition(values)
                            for R in (change_of_coordinates(p, r * ones) for r in common)]
print(f"{len(minima)} minima found of {len(MEANS) * problems}; condition numbers of the Hessian with ordinary weights "
      f"from {min(condition(v) for v, _ in minima.values()):.3g} "
      f"to {max(condition(v) for v, _ in minima.values()):.3g}")
for m in MEANS:
    best = [min(curve) for key, curve in curves.items() if key[0] == m]
    at = [common[np.argmin(curve)] for key, curve in curves.items() if key[0] == m]
    knob[m] = np.median(best)
    print(f"inputs of mean {m:.0f}: the best common ρ is {np.median(at):.2f} (median), "
          f"and gives {np.median(best):.2f} of the condition number at ρ = 1")

# %%
# *Tolerance.* Eigenvalues of a symmetric matrix change by no more than the matrix does. The gradient left over is below
# $10^{-8}$; so is the second term. Relative to the largest eigenvalues, which exceed 1, we allow $10^{-7}$.

same = max(np.abs(with_wn - ordinary).max() / ordinary[-1] for ordinary, with_wn in minima.values())
lesson.claim("At minima, ρ = 1: WN leaves all eigenvalues of the Hessian as they were, relative difference",
             same, below=1e-7)
lesson.claim("Minima, white inputs: no common ρ is much better than 1, κ at the best / κ at 1, median", knob[0.0],
             above=0.9)
lesson.claim("Minima, inputs of mean 1: a ρ below 1 is better, κ at the best / κ at 1, median", knob[1.0], below=0.9)

# %%
# When would a smaller $\rho$ help? When the largest eigenvalues belong to tangent directions. Inputs with a mean make
# such eigenvalues: the mean input is one common direction in which all weight vectors can move, nearly at a right angle
# to most of them. White inputs have none.
#
# So everything is in $\rho$. What does training make of it? For every run we compare, at the network that it has
# arrived at, ordinary weights with weight normalization at the trained $\rho$. Two numbers matter: the condition number
# of the Gauss-Newton matrix, and the largest eigenvalue of the Hessian times $\eta$. Gradient descent is stable along
# an eigenvector only if $\eta\lambda < 2$.

ratio, sharp = {}, {}
for (m, rate, i), run in zip(runs, range(len(runs)), strict=True):
    x, y, *_ = small_problem(m, i)
    p, scales = flat_weights(take(small_steps, run))
    ratio.setdefault((m, rate), []).append(condition(gauss_newton(p, scales, x)) / condition(gauss_newton(p, ones, x)))
    sharp.setdefault((m, rate), []).append([rate * np.linalg.eigvalsh(H)[-1] for H in hessians(p, scales, x, y)])
print("inputs     η    median ρ   κ with WN / κ with w (geometric mean, range)      η λ_max with w, with WN (medians)")
for (m, rate), values in ratio.items():
    rho = np.median([flat_weights(take(small_steps, r))[1] for r, key in enumerate(runs) if key[:2] == (m, rate)])
    w_sharp, q_sharp = np.median(sharp[m, rate], axis=0)
    print(f"mean {m:.0f}  {rate:5}  {rho:8.2f} {np.exp(np.mean(np.log(values))):15.2f}   "
          f"({min(values):.2f} to {max(values):.2f}) {w_sharp:27.2f}, {q_sharp:.2f}")


def mean_ratio(m, rates):
    """The geometric mean of κ with WN / κ with w over all problems."""
    return np.exp(np.mean(np.log(np.concatenate([ratio[m, rate] for rate in rates]))))


lesson.claim("White inputs: weight norm does not improve the condition number (introduction), κ with WN / κ with w, "
             "geometric mean of all η", mean_ratio(0.0, RATES), above=1)
lesson.claim("Inputs of mean 1, η = 0.3: it does, κ with WN / κ with w, geometric mean", mean_ratio(1.0, (0.3,)),
             above=0.4, below=0.95)
with_w, with_wn = np.median(sharp[1.0, 1.0], axis=0)
lesson.claim("η = 1, inputs of mean 1: with ordinary weights GD would be unstable at these networks, median η λ_max",
             with_w, above=2)
lesson.claim("... with weight normalization it is stable at the same networks, median η λ_max", with_wn, below=2)

# %%
# The last column is the clearest result of this lesson. Weight normalization trains these networks with a step that is
# too large for them in the coordinates $w$, nearly by a factor of two. In its own coordinates the step is just small
# enough. Nobody arranged that: while $\eta\lambda > 2$ the iteration overshoots, gradients are large, $\|v\|$ grows,
# $\rho$ falls, and the tangent curvature with it, as $\rho^2$. It is the self-stabilization of section 2.1, seen in the
# spectrum. (Ordinary training that survives large steps also ends near $\eta\lambda = 2$, but by going where the loss
# is flatter: Cohen et al. 2021, arXiv:2103.00065. So the column does not say that ordinary training must diverge.)
#
# The condition number is another matter. It improves where the steep directions are tangent ones and $\eta$ is large
# enough to make $\|v\|$ grow. With white inputs the growth shrinks what was not too large, and with small $\eta$ the
# weights $g$ can outgrow $\|v\|$, so that $\rho > 1$: then the condition number gets worse.
#
# **A larger network, with Lanczos.** The Hessian of a network with a few thousand weights is too large to be computed
# entry by entry, but its product with a vector costs only a few gradients: $Hx$ is the gradient of $\nabla L \cdot x$
# (``mg.hvp``; lesson 01, part 7). Lanczos's method turns such products into extreme eigenvalues. From a random $x$ it
# builds an orthonormal basis of $x, Hx, H^2x, \dots$; within that basis $H$ is a small tridiagonal matrix, whose
# eigenvalues $\theta$ are the estimates. Each comes with a bound: $H$ has an eigenvalue within $\beta\,|s|$ of
# $\theta$, where $\beta$ is the length of what the last product added and $s$ the last entry of the small matrix's
# eigenvector. First a check on a Hessian that we know.

x, y, *_ = small_problem(1.0, 0)
p, scales = flat_weights(take(small_steps, runs.index((1.0, 0.3, 0))))
exact = np.linalg.eigvalsh(mg.hessian(lambda p: flat_loss(p, x, y), p).numpy())
lanczos_rng = lesson.rng(14)
for steps in (5, 10, 20):
    values, bounds = lanczos(lambda d: mg.hvp(lambda p: flat_loss(p, x, y), p, d).numpy(),
                             lanczos_rng.normal(size=len(p)), steps)
    print(f"{steps:2} products of 33: largest {values[-1]:.6f} ± {bounds[-1]:.0e} (exact {exact[-1]:.6f}), "
          f"smallest {values[0]:+.6f} ± {bounds[0]:.0e} (exact {exact[0]:+.6f})")
lesson.claim("Lanczos, 20 products: largest eigenvalue against the exact Hessian, relative difference",
             abs(values[-1] / exact[-1] - 1), below=1e-6)
lesson.claim("... and every estimate is within its bound: largest distance to an eigenvalue beyond it",
             (np.abs(values[:, None] - exact).min(axis=1) - bounds).max(), below=1e-12)

# %%
# Now the dense networks of section 4. To stay on the tangent space we start from a vector with no part along any $v$,
# and take that part out of each product. The eigenvalue 0 that this makes is never seen: Lanczos does not leave the
# space that it starts in.


def dense_loss(parameters, x, y, normalized):
    """The loss of a dense network from a list of W, b (or v, g, b) for each layer."""
    size, t = 3 if normalized else 2, x
    for i in range(0, len(parameters), size):
        weight = wn.weight_norm(*parameters[i : i + 2]) if normalized else parameters[i]
        t = (mg.relu(t) if i else t) @ weight.swapaxes(0, 1) + parameters[i + size - 1]
    return F.cross_entropy(t, y)


def extreme_eigenvalues(model, x, y, normalized, steps=30):
    """The largest and smallest eigenvalue of the Hessian of a dense network, and the larger of their bounds."""
    arrays = []
    for layer in (m for m in model if isinstance(m, nn.Linear)):
        weights = [layer.weight_v, layer.weight_g.reshape(-1)] if normalized else [layer.weight]
        arrays += [a.numpy().astype(float) for a in (*weights, layer.bias)]
    ends = np.cumsum([a.size for a in arrays])[:-1]

    def across(vectors):
        """The vectors without their parts along each v."""
        if normalized:
            for i in range(0, len(arrays), 3):
                units = direction(arrays[i])
                vectors[i] = vectors[i] - (vectors[i] * units).sum(axis=1, keepdims=True) * units
        return np.concatenate([a.ravel() for a in vectors])

    def parts(flat):
        return [a.reshape(b.shape) for a, b in zip(np.split(flat, ends), arrays, strict=True)]

    def product(flat):
        return across([t.numpy() for t in mg.hvp(lambda *p: dense_loss(p, x, y, normalized), arrays, parts(flat))])

    start = across(parts(lanczos_rng.normal(size=sum(a.size for a in arrays))))
    values, bounds = lanczos(product, start, steps)
    return values[-1], values[0], max(bounds[0], bounds[-1])


dense_sharp = {}
for name in (n for n in results if "dense" in n):
    model, x, y = models[name]
    x, rate = x[:1000].astype(float), float(name.split("=")[1])
    for normalized in (False, True):
        high, low, bound = extreme_eigenvalues(model, x, y[:1000], normalized)
        dense_sharp[name, normalized] = rate * high
        print(f"{name:24} {'(v, g)' if normalized else 'w':7}: largest {high:7.3f}, smallest {low:+.3f} "
              f"(± {bound:.0e}); η λ_max = {rate * high:.2f}")
lesson.claim("Dense network, mean 1, η = 0.5: growth of ‖v‖ has lowered the largest eigenvalue, with WN / with w",
             dense_sharp["dense, mean 1, η = 0.5", True] / dense_sharp["dense, mean 1, η = 0.5", False],
             below=0.9)

# %%

figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 4.2))
for m, colour, line in ((0.0, "0.55", "-"), (1.0, "0.15", "--")):
    lines = [curve for key, curve in curves.items() if key[0] == m]
    for curve in lines:
        left.loglog(common, curve, line, color=colour, lw=0.6, alpha=0.5)
    left.loglog(common, np.median(lines, axis=0), line, color=colour, lw=2.2, label=f"inputs of mean {m:.0f}")
left.plot(1, 1, "o", color=NORMAL, ms=9, zorder=5)
left.annotate("ordinary weights,\nand WN at $\\|v\\| = g$", (1, 1), (12, -34), textcoords="offset points", fontsize=9)
left.set(xlabel="$\\rho = g/\\|v\\|$ of all weight vectors", ylabel="κ(Hessian) relative to ordinary weights",
         title="At minima: ρ is a knob", ylim=(0.2, 60))
left.legend(loc="upper center")
for which, colour, marker, label in ((0, NORMAL, "s", "ordinary weights"),
                                     (1, WEIGHT_NORM, "o", "weight norm, ρ as trained")):
    for rate in RATES:
        values = np.array(sharp[1.0, rate])[:, which]
        right.loglog(np.full(len(values), rate * (0.93, 1.07)[which]), values, marker, color=colour, ms=4.5, alpha=0.7)
    middle_line = [np.median(np.array(sharp[1.0, rate])[:, which]) for rate in RATES]
    right.loglog(RATES, middle_line, "-", color=colour, label=label)
for axis, ticks in ((right.xaxis, RATES), (right.yaxis, (0.2, 0.5, 1, 2, 5))):
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())
right.axhline(2, color="0.3", lw=1, ls=":")
right.text(0.027, 2.15, "unstable above", fontsize=9, color="0.3")
right.set(xlabel="learning rate η", ylabel="η × largest eigenvalue of the Hessian",
          title="The same networks, in two coordinates")
right.legend(loc="lower right")
lesson.figure(figure, "curvature", note=f"6-4-1 tanh networks, {problems} problems; right: inputs of mean 1")

# %%
# What the paper says, and what we found
# --------------------------------------
#
# The numbers are those of the quick run with seed 0 and synthetic pictures; what they claim held for seeds 0 to 4.
#
# - "It projects the gradient away from the current weight vector" (equation 4): exact, and
#   $D = (g^2/\|v\|^2)\,M_w C M_w$ with it.
# - "Empirically, we find that $w$ is often (close to) a dominant eigenvector of the covariance matrix $C$." In two
#   kinds of places, yes, with reasons that can be computed. (1) The first convolution on whitened pictures: all 8
#   neurons beyond what 99 % of random directions reach (with seeds 1 and 2 no fewer than 5 of 8), the median $|\cos|$
#   0.76 with weight normalization and 0.74 without (chance: 0.13), and most of them before training. One weight vector
#   sees many positions of a picture, its ReLU lets pass inputs whose mean lies along $w$, and the positions share the
#   sign of the error. Random signs destroy the effect (0.24). On photographs it is weaker: with CIFAR-10,
#   JPEG-compressed, 5 of 8 neurons with and 4 of 8 without weight normalization, medians 0.58 and 0.49. (2) Output
#   neurons that have to learn a large constant: 0.89 for targets around 10. Elsewhere, no: 10 of 355 neurons, where
#   chance gives 3 or 4. In hidden dense layers the noise along $w$ is below average (0.47).
# - "Removing that eigenvector then gives a new covariance matrix $D$ that is closer to the identity matrix." True where
#   $w$ stands out: the participation ratio in that first layer rises by 31 % in the median, and by 2 % when a
#   random direction is taken out instead. Elsewhere $D$ is about as far from the identity as $C$. It cannot be farther
#   in terms of the condition number, whatever $w$ is (interlacing). For white inputs and one position per example it is
#   *exactly* round, dominant or not.
# - "Both effects help to bring the covariance matrix of the gradient closer to identity." The projection acts
#   within a neuron, the scaling between neurons. With a learning rate large enough to make $\|v\|$ grow, the scaling
#   evens out the noise of different neurons (the scatter of its logarithm falls to 0.71 of what it was, on its way to
#   one half). With a small one it does not (1.11).
# - "We improve the conditioning of the optimization problem" (abstract), meaning the curvature. The projection does
#   nothing for it: at $\|v\| = g$ the spectrum at a minimum is the same to 11 digits. All is in $\rho = g/\|v\|$. For
#   white inputs the trained $\rho$ made the condition number larger, by 4 to 47 % (geometric means for each $\eta$;
#   after the full run's longer training at $\eta = 1$ even to 2.1 times);
#   for inputs of mean 1 it made it larger or smaller, and smaller where $\eta$ was large: to 66 % of what it was for
#   $\eta = 0.3$, to 79 % for $\eta = 1$. What weight normalization did do, at a large $\eta$, is to keep the
#   *largest* eigenvalue below $2/\eta$: for $\eta = 1$ and mean 1 it is $3.53/\eta$ with ordinary weights and
#   $1.84/\eta$ with weight normalization, at the same networks (medians).
#
# Exercises
# ---------
#
# 1. *Which neurons?* In the first convolution on white pictures a few neurons may have a small $|\cos|$, above all
#    before training. Find them in ``results``, compute their $C$ with ``per_example_gradients``, and look at its whole
#    spectrum. Is $w$ then the second eigenvector, is the leading eigenvalue close to the next one, or neither?
# 2. *Another nonlinearity.* Put ``nn.ELU()`` or no activation at all in the place of ``nn.LeakyReLU(0.1)`` after the
#    first convolution. What does the argument of section 3 predict for $r$ without an activation? Measure the first
#    layer.
# 3. *Mean-only batch normalization.* Insert ``wn.MeanOnlyBatchNorm`` before each leaky ReLU. It centres the
#    pre-activations, but the inputs of the next layer still come out of a ReLU. What do you expect for layers 2 and 3?
#    (Single examples then no longer have gradients of their own: use the gradients of 300 minibatches.)
# 4. *The second term.* Derive it: differentiate $\nabla_v(\gamma \cdot v/\|v\|) = M\gamma/\|v\|$ once more for a fixed
#    vector $\gamma$, multiply by $g$, and restrict the result to directions across $v$. Where does the sign of
#    $\nabla_w L \cdot u$ come from?
# 5. *Turn the knob.* Start the small networks from $\|v\| = g/\rho_0$ for $\rho_0$ from 0.2 to 5, with $\eta = 0.1$ and
#    inputs of mean 1, and plot the loss after 300 steps. Compare with the left panel of the last figure. Then compute
#    $\rho$ at the start of the paper's own initialization ($v$ of deviation 0.05, $g = 1/\sigma[t]$) for layers with
#    $k$ = 27, 864 and 1728 inputs of variance 1.

lesson.finish()

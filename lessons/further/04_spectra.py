r"""Spectra: samples, Fisher information, and the Hessian
=====================================================

Lesson 04 used one number of a spectrum, its condition number. Open this chapter if you work with whole spectra: of
covariances estimated from samples, of the Gauss-Newton matrix, of the Hessian. The paper's introduction promises better
conditioning of the *curvature*. Whether weight normalization keeps that promise is a question about these spectra.

Afterwards you can explain

- how far a sample spreads a spectrum that is really a single point (Marchenko and Pastur's law);
- where the eigenvalues go when one direction is removed (interlacing);
- why the covariance of a gradient is a Hessian, if the loss is a log-likelihood (Fisher information);
- why the projection leaves the spectrum of the Hessian as it was, and what the scale $g/\|v\|$ makes of it.

Read first: lesson 04; ``mg.hessian`` and ``mg.jacobian`` (lesson 01, part 7).

Claims checked: the reparameterization improves the conditioning of the problem (introduction, section 2). The
projection does nothing to the curvature; the growth of $\|v\|$ lowers the largest eigenvalue, but not reliably the
condition number.

Time: quick about 15 s, full about 2 min.
"""

# %%
# What a sample makes of a spectrum
# ---------------------------------
#
# Draw $N$ gradients in $n$ dimensions from a distribution whose covariance is the identity. All its eigenvalues are 1.
# Those of the sample's covariance are not: some directions come out longer by chance, others shorter. Marchenko and
# Pastur (1967) found that for large $n$ and $N$ the eigenvalues fill the interval
#
# $$\bigl[(1 - \sqrt{n/N})^2,\; (1 + \sqrt{n/N})^2\bigr]$$
#
# with a density that depends on $n/N$ alone. (Everything runs on the CPU, whatever ``--device`` says.)

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl
from matplotlib.ticker import FixedLocator, NullFormatter

import minigrad as mg
from lessons import COLOURS, Lesson
from wn.covariance import gradient_covariance, tangent_basis

lesson = Lesson(__file__)
threadpoolctl.threadpool_limits(1)  # matrices this small are multiplied fastest by a single thread
NORMAL, WEIGHT_NORM = COLOURS["normal"], COLOURS["weight norm"]

sample_rng, n = lesson.rng(60), 400
spectra = {N: np.linalg.eigvalsh(gradient_covariance(sample_rng.normal(size=(N, n)))) for N in (800, 4000, 40_000)}
edges = {N: np.array([(1 - np.sqrt(n / N)) ** 2, (1 + np.sqrt(n / N)) ** 2]) for N in spectra}
for N, values in spectra.items():
    print(f"n = {n}, N = {N:6}: {values[0]:.3f} to {values[-1]:.3f}, condition number {values[-1] / values[0]:.2f}")

# %% tags=["hide-input"]
# *Tolerance.* At finite $n$ the outermost eigenvalues lie a little inside the edges and fluctuate by some $n^{-2/3}$ of
# their size. The smallest for $N$ = 800 is the least certain: 4 % above the edge on average, with a standard deviation
# of 4 %. We allow 20 %.

lesson.claim("Marchenko-Pastur: smallest and largest eigenvalue of a sample's covariance, (1 ∓ √(n/N))², three N",
             [spectra[N][[0, -1]] for N in spectra], predicted=[edges[N] for N in spectra], rtol=0.2)

# %%
# So a condition number above 30 from 800 gradients in 400 dimensions means nothing: the truth is 1. A spectrum may be
# called uneven only if it is wider than this interval.
#
# Interlacing
# -----------
#
# Lesson 04 argued that removing a direction cannot raise the condition number. Cauchy's *interlacing theorem* says
# more. Let $\Lambda_1 \le \dots \le \Lambda_n$ be the eigenvalues of $C$, and $\Lambda'_i$ the $n - 1$ eigenvalues of
# $Q^{\mathsf T} C Q$, where the columns of $Q$ are an orthonormal basis of the directions across some vector $w$. Then
#
# $$\Lambda_1 \le \Lambda'_1 \le \Lambda_2 \le \Lambda'_2 \le \dots \le \Lambda'_{n-1} \le \Lambda_n ,$$
#
# whatever $w$ is: between two neighbouring eigenvalues of $C$ there is exactly one of the rest. So the largest
# eigenvalue can fall to the second largest, and no further.


def across(w, C):
    """The n - 1 eigenvalues of M C M across w, in ascending order."""
    Q = tangent_basis(w)
    return np.linalg.eigvalsh(Q.T @ C @ Q)


C = gradient_covariance(sample_rng.normal(size=(100, 30)) * np.geomspace(0.1, 10, 30))
values, vectors = np.linalg.eigh(C)
worst = -np.inf
for w in [*sample_rng.normal(size=(300, 30)), *vectors.T]:
    rest = across(w, C)
    worst = max(worst, (values[:-1] - rest).max() / values[-1], (rest - values[1:]).max() / values[-1])
lesson.claim("Interlacing: how far an eigenvalue of MCM leaves its place between two of C, 330 directions, relative to "
             "the largest", worst, below=1e-13)
lesson.claim("Without the leading eigenvector: largest eigenvalue = second largest of C",
             across(vectors[:, -1], C)[-1], predicted=values[-2], rtol=1e-10)

# %%
# Fisher information
# ------------------
#
# In lesson 04 the covariance of a linear neuron's gradient was a multiple of its Hessian. The reason is general. Let
# the loss be $L = -\log p(y \mid x, w)$, and let the examples really be drawn from $p$. Since $\int p\,dy = 1$ for
# every $w$, its derivatives with respect to $w$ vanish: the first says that the mean gradient is 0, the second that
#
# $$\mathrm E\bigl[\nabla L\,(\nabla L)^{\mathsf T}\bigr] = \mathrm E\bigl[\nabla^2 L\bigr] .$$
#
# Both sides are called the *Fisher information*. At the true parameters the gradient's covariance *is* the mean
# Hessian. We check it for a logistic neuron with four inputs of different size: label 1 with probability $p = 1/(1 +
# e^{-t})$, $t = w \cdot x$. The gradient is $(p - y)\,x$, the Hessian $p(1 - p)\,x x^{\mathsf T}$.

N, w = 200_000, np.array([1.0, -0.5, 0.5, 0.2])
x = sample_rng.normal(size=(N, 4)) * (0.5, 1, 2, 4)
p = 1 / (1 + np.exp(-x @ w))
y = sample_rng.uniform(size=N) < p
fisher = gradient_covariance((p - y)[:, None] * x)
hessian = (x * (p * (1 - p))[:, None]).T @ x / N
lesson.claim("Logistic neuron at the truth: covariance of the gradient = mean Hessian, four variances",
             np.diag(fisher), predicted=np.diag(hessian), rtol=0.03)
untrue = 1 / (1 + np.exp(-x @ (2 * w)))
elsewhere = np.diag((x * (untrue * (1 - untrue))[:, None]).T @ x) / N
print("far from the truth, at 2w, covariance / Hessian:",
      np.round(np.diag(gradient_covariance((untrue - y)[:, None] * x)) / elsewhere, 2))

# %% tags=["hide-input"]
# *Tolerance.* The variances are means of $(p - y)^2 x_i^2$ over 200,000 examples. Its excess kurtosis is moderate, its
# relative standard deviation about 2; so the error is some 0.5 %. We allow 3 %. (The Hessian comes from the same $x$,
# so much of the error cancels.)

# %%
# Curvature and coordinates
# -------------------------
#
# Let $p$ now be the parameters of a network with ordinary weights, and $q$ the $v$, $g$ and $b$ of the same network. By
# the chain rule
#
# $$\nabla^2_q L = J^{\mathsf T}\,(\nabla^2_p L)\,J + \sum_i \frac{\partial L}{\partial p_i}\,\nabla^2_q\, p_i,
#   \qquad J = \frac{\partial p}{\partial q}.$$
#
# For one weight vector, $dw = u\,dg + (g/\|v\|)\,M_w\,dv$ (lesson 03). $J$ maps a step along $v$ to 0: it does not
# change the network, and we leave it out of $q$ by describing $dv$ in a tangent basis $Q$. Then $J$ has the square
# blocks $R = \bigl((g/\|v\|)\,Q,\; u\bigr)$.
#
# *If* $\|v\| = g$, *the columns of* $R$ *are orthonormal.* The new coordinates are then the old ones, rotated. A
# rotation changes no eigenvalue. So the first term of the Hessian, which is all of it at a minimum, has the same
# spectrum as with ordinary weights: **the projection by itself does nothing to the conditioning of the curvature.**
# Only the scaling can. Its square, $g^2/\|v\|^2$, multiplies the curvature of the tangent directions, and leaves that
# of $g$ and $b$.
#
# The same holds, everywhere and not only at minima, for the *Gauss-Newton matrix* $J_f^{\mathsf T} J_f/N$ of a squared
# error, with $J_f$ the derivatives of the $N$ outputs. (It is the Fisher information for targets with Gaussian noise of
# variance 1.) It has no negative eigenvalues, so its condition number $\kappa$ always means something. Away from minima
# the Hessians of networks have negative eigenvalues, and then their condition number does not.
#
# The second term, for one weight vector, from the second derivatives of $g\,v/\|v\|$ (question 1):
#
# $$-\frac{g}{\|v\|^2}\,(\nabla_w L \cdot u)\,I \;\text{ within the tangent directions,} \qquad
#   \frac{1}{\|v\|}\,Q^{\mathsf T}\nabla_w L \;\text{ between them and } g .$$
#
# The networks
# ------------
#
# We check all of this on 6-4-1 tanh networks. The data are 1000 examples: inputs with mean $m$ and variance 1, and
# targets from another such network plus noise of deviation 0.3. (Each unit of that network matters to its output, so
# that there is a proper minimum near it.) Several problems and learning rates $\eta$ run side by side, along the first
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


# %%


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
# For one run: the flat vector $p$ of weights and biases, and the loss as a function of it.

SPLIT = np.cumsum([UNITS * INPUTS, UNITS, UNITS])


def flat_weights(q):
    """p = (W1, b1, w2, b2) in one vector, and g/‖v‖ of the four hidden weight vectors and of the output's."""
    v1, g1, b1, v2, g2, b2 = q
    scales = np.append(g1.ravel() / np.linalg.norm(v1, axis=-1), g2.ravel() / np.linalg.norm(v2))
    parts = g1 * direction(v1), b1, g2 * direction(v2), b2
    return np.concatenate([a.ravel() for a in parts]), np.abs(scales)


def flat_outputs(p, x):
    """The network at p."""
    w1, b1, w2, b2 = p[: SPLIT[0]], p[SPLIT[0] : SPLIT[1]], p[SPLIT[1] : SPLIT[2]], p[SPLIT[2] :]
    return outputs(x, w1.reshape(UNITS, INPUTS), b1, w2.reshape(1, UNITS), b2)


def flat_loss(p, x, y):
    """Half the mean squared error at p."""
    return mg.square(flat_outputs(p, x) - y).mean() / 2


def gradient_at(p, x, y):
    """∇_p L."""
    leaf = mg.tensor(p, requires_grad=True)
    return mg.grad(flat_loss(leaf, x, y), leaf).numpy()


# %%
# The square matrix $R$ takes (tangent, $g$, $b$) coordinates to $p$. The Gauss-Newton matrix needs the derivatives of
# the outputs $f = w_2 \cdot f_1 + b_2$, $f_1 = \tanh(W_1 x + b_1)$: $\partial f/\partial W_1 = (w_2 (1 -
# f_1^2))\,x^{\mathsf T}$, and so on.


def weight_vectors(p):
    """Each weight vector of p, and where it is."""
    places = [slice(j * INPUTS, (j + 1) * INPUTS) for j in range(UNITS)] + [slice(SPLIT[1], SPLIT[2])]
    return [(p[place], place) for place in places]


def change_of_coordinates(p, scales):
    """R: for each weight vector the columns (g/‖v‖) Q and u; for the biases those of the identity."""
    R = np.eye(len(p))
    for (w, place), scale in zip(weight_vectors(p), scales, strict=True):
        R[place, place] = np.column_stack([scale * tangent_basis(w), w / np.linalg.norm(w)])
    return R


def output_jacobian(p, x):
    """∂f/∂p for each example, (N, len(p))."""
    w1, b1, w2, _ = np.split(p, SPLIT)
    f1 = np.tanh(x @ w1.reshape(UNITS, INPUTS).T + b1)
    back = w2 * (1 - f1**2)
    return np.concatenate([(back[:, :, None] * x[:, None]).reshape(len(x), -1), back, f1, np.ones((len(x), 1))], axis=1)


# %%


def second_term(p, scales, gradient):
    """The part of the Hessian in (tangent, g, b) coordinates that comes from the curvature of w = g v/‖v‖."""
    extra = np.zeros((len(p), len(p)))
    for (w, place), scale in zip(weight_vectors(p), scales, strict=True):
        g, Q = np.linalg.norm(w), tangent_basis(w)
        length = g / scale  # ‖v‖
        tangent, last = slice(place.start, place.stop - 1), place.stop - 1
        extra[tangent, tangent] = -g / length**2 * (gradient[place] @ w / g) * np.eye(len(w) - 1)
        extra[tangent, last] = extra[last, tangent] = Q.T @ gradient[place] / length
    return extra


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
# left out. The curvature along it is zero, $v^{\mathsf T} H v = 0$. But away from a minimum $v$ is not an eigenvector:
# stretching $v$ shrinks the gradient, so $H v = -\nabla_v L$ (differentiate $\nabla_v L(a v) = \nabla_v L(v)/a$ with
# respect to $a$ at $a = 1$).

x, y, *_ = small_problem(1.0, 0)
p, scales = flat_weights(take(small_steps // 10, runs.index((1.0, 0.3, 0))))
v_and_b, lengths = p.copy(), np.array([np.linalg.norm(w) for w, _ in weight_vectors(p)])
for (w, place), scale in zip(weight_vectors(p), scales, strict=True):
    v_and_b[place] = w / scale  # ‖v‖ = g/(g/‖v‖)
q = np.append(v_and_b, lengths)  # as p, with v in the place of w; then the five g


def loss_of_q(q):
    """The loss of the weight-normalized network."""
    v1, b1, v2, b2, g = q[: SPLIT[0]], q[SPLIT[0] : SPLIT[1]], q[SPLIT[1] : SPLIT[2]], q[SPLIT[2] : len(p)], q[len(p) :]
    w1 = g[:UNITS].reshape(UNITS, 1) * direction(v1.reshape(UNITS, INPUTS))
    return mg.square(outputs(x, w1, b1, g[UNITS:] * direction(v2.reshape(1, UNITS)), b2) - y).mean() / 2


H_q, leaf = mg.hessian(loss_of_q, q).numpy(), mg.tensor(q, requires_grad=True)
gradient_q = mg.grad(loss_of_q(leaf), leaf).numpy()

# %% tags=["hide-input"]
# *Tolerance.* Second derivatives of order 10 through some hundred operations in float64, at $10^{-16}$ each: $10^{-12}$
# would do; we allow $10^{-10}$.

B = np.eye(len(q), len(p))  # (tangent, g, b) coordinates as vectors in the space of q
stretches, slopes, worst_curvature = [], [], 0.0
for j, (_, place) in enumerate(weight_vectors(p)):
    v = np.zeros(len(q))
    v[place] = q[place]
    worst_curvature = max(worst_curvature, abs(v @ H_q @ v) / np.linalg.norm(H_q))
    stretches.append((H_q @ v)[place])
    slopes.append(gradient_q[place])
    B[place, place] = np.column_stack([tangent_basis(q[place]), np.zeros(len(q[place]))])
    B[len(p) + j, place.stop - 1] = 1
H_p, H_tangent = hessians(p, scales, x, y)
size = 1e-10 * np.abs(H_tangent).max()
lesson.claim("Hessian in (v, g, b), tangent to each v: mg.hessian = RᵀHR + second term, entry by entry",
             B.T @ H_q @ B, predicted=H_tangent, rtol=1e-10, atol=size)
lesson.claim("Along v there is no curvature: |vᵀHv|, relative", worst_curvature, below=1e-10)
lesson.claim("... but v is no eigenvector: H v = -∇_v L, entry by entry", np.concatenate(stretches),
             predicted=-np.concatenate(slopes), rtol=1e-10, atol=size)
J = mg.jacobian(lambda p: flat_outputs(p, x[:30])[:, 0], p).numpy()
lesson.claim("∂f/∂p by hand = mg.jacobian, entry by entry", output_jacobian(p, x[:30]), predicted=J, rtol=1e-12,
             atol=1e-12)

# %%
# Next, the spectra at the start, after a tenth of the training, and at the end, for this run ($\eta = 0.3$, $m = 1$):
# with ordinary weights, with weight normalization at $\|v\| = g$, and with weight normalization at the trained
# $g/\|v\|$.

ones = np.ones(len(scales))


def condition(values):
    """The condition number, from eigenvalues in ascending order."""
    return values[-1] / values[0]


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
    for name, H, gn in (("w", H_p, ordinary), ("(v, g), ‖v‖ = g", H_one, gauss_newton(p, ones, x)),
                        ("(v, g) as trained", H_trained, gauss_newton(p, scales, x))):
        values = np.linalg.eigvalsh(H)
        print(f"step {step:5}   {name:20} {flat_loss(p, x, y).item():.4f} {values[-1]:14.3f} {values[0]:12.4f} "
              f"{(values < 0).sum():6} of {len(values)} {condition(gn):12.3g}")

# %%
# At $\|v\| = g$ the Gauss-Newton matrix has the same condition number to every digit shown. The Hessian differs a
# little, by the second term, in either direction.
#
# At minima
# ---------
#
# At a minimum the second term is zero. SGD does not get there, so we start from the network that made the targets,
# which is a little off the minimum because of the noise, and take damped Gauss-Newton steps (Levenberg 1944, Marquardt
# 1963), $\Delta p = -(J_f^{\mathsf T} J_f/N + d\,I)^{-1} \nabla_p L$. The damping $d$ is lowered after each step that
# succeeds and raised after each that does not.


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


# %%
# There we can turn the knob $g/\|v\|$, the same for all weight vectors, and look at the condition number.

common = np.logspace(-1.5, 0.75, 31)
minima, curves, knob = {}, {}, {}
for m in MEANS:
    for i in range(problems):
        x, y, *_, teacher = small_problem(m, i)
        p, steepness = minimum(teacher, x, y)
        H = mg.hessian(lambda p, x=x, y=y: flat_loss(p, x, y), p).numpy()
        values = np.linalg.eigvalsh(H)
        if steepness < 1e-8 and values[0] > 1e-8 * values[-1]:  # a minimum, and not a unit that saturates for ever
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
    print(f"inputs of mean {m:.0f}: the best common g/‖v‖ is {np.median(at):.2f} (median), "
          f"and gives {np.median(best):.2f} of the condition number at ‖v‖ = g")

# %% tags=["hide-input"]
# *Tolerance.* Eigenvalues of a symmetric matrix change by no more than the matrix does. The gradient left over is below
# $10^{-8}$; so is the second term. Relative to the largest eigenvalues, which exceed 1, we allow $10^{-7}$. The bounds
# on the knob: 0.9 separates "hardly any better" from "better".

ordinary, with_wn = (np.array([pair[j] / pair[0][-1] for pair in minima.values()]) for j in (0, 1))
lesson.claim("At minima, ‖v‖ = g: WN leaves all eigenvalues of the Hessian as they were, relative to the largest",
             with_wn, predicted=ordinary, rtol=1e-7, atol=1e-7)
lesson.claim("Minima, white inputs: no common g/‖v‖ is much better than 1, κ at the best / κ at 1, median", knob[0.0],
             above=0.9)
lesson.claim("Minima, inputs of mean 1: a g/‖v‖ below 1 is better, κ at the best / κ at 1, median", knob[1.0],
             below=0.9)

# %%
# When would a smaller $g/\|v\|$ help? When the largest eigenvalues belong to tangent directions. Inputs with a mean
# make such eigenvalues: the mean input is one common direction in which all weight vectors can move, nearly at a right
# angle to most of them. White inputs have none.
#
# What training makes of it
# -------------------------
#
# For every run we compare, at its final network, ordinary weights with weight normalization at the trained $g/\|v\|$.
# Two numbers matter: the condition number of the Gauss-Newton matrix, and the largest eigenvalue $h_{\max}$ of the
# Hessian times $\eta$. Gradient descent is stable along an eigenvector only if $\eta h < 2$.

ratio, sharp = {}, {}
for (m, rate, i), run in zip(runs, range(len(runs)), strict=True):
    x, y, *_ = small_problem(m, i)
    p, scales = flat_weights(take(small_steps, run))
    ratio.setdefault((m, rate), []).append(condition(gauss_newton(p, scales, x)) / condition(gauss_newton(p, ones, x)))
    sharp.setdefault((m, rate), []).append([rate * np.linalg.eigvalsh(H)[-1] for H in hessians(p, scales, x, y)])
print("inputs     η    median g/‖v‖   κ with WN / κ with w (geometric mean, range)   η h_max with w, with WN (medians)")
for (m, rate), values in ratio.items():
    scale = np.median([flat_weights(take(small_steps, r))[1] for r, key in enumerate(runs) if key[:2] == (m, rate)])
    w_sharp, q_sharp = np.median(sharp[m, rate], axis=0)
    print(f"mean {m:.0f}  {rate:5}  {scale:10.2f} {np.exp(np.mean(np.log(values))):15.2f}   "
          f"({min(values):.2f} to {max(values):.2f}) {w_sharp:27.2f}, {q_sharp:.2f}")


def mean_ratio(m, rates):
    """The geometric mean of κ with WN / κ with w over all problems."""
    return np.exp(np.mean(np.log(np.concatenate([ratio[m, rate] for rate in rates]))))


# %% tags=["hide-input"]
# *Bounds.* These are statements about signs: larger or smaller than with ordinary weights, above or below the limit of
# stability. So the bounds are 1 and 2, with a margin of 5 % where something is said to be better.

lesson.claim("White inputs: weight norm does not improve the condition number (introduction), κ with WN / κ with w, "
             "geometric mean of all η", mean_ratio(0.0, RATES), above=1)
lesson.claim("Inputs of mean 1, η = 0.3: it does, κ with WN / κ with w, geometric mean", mean_ratio(1.0, (0.3,)),
             below=0.95)
with_w, with_wn = np.median(sharp[1.0, 1.0], axis=0)
lesson.claim("η = 1, inputs of mean 1: with ordinary weights GD would be unstable at these networks, median η h_max",
             with_w, above=2)
lesson.claim("... with weight normalization it is stable at the same networks, median η h_max", with_wn, below=2)

# %% tags=["hide-input"]

figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 4.2))
for m, colour, line in ((0.0, "0.55", "-"), (1.0, "0.15", "--")):
    lines = [curve for key, curve in curves.items() if key[0] == m]
    for curve in lines:
        left.loglog(common, curve, line, color=colour, lw=0.6, alpha=0.5)
    left.loglog(common, np.median(lines, axis=0), line, color=colour, lw=2.2, label=f"inputs of mean {m:.0f}")
left.plot(1, 1, "o", color=NORMAL, ms=9, zorder=5)
left.annotate("ordinary weights,\nand WN at $\\|v\\| = g$", (1, 1), (12, -34), textcoords="offset points", fontsize=9)
left.set(xlabel="$g/\\|v\\|$ of all weight vectors", ylabel="κ(Hessian) relative to ordinary weights",
         title="At minima: $g/\\|v\\|$ is a knob", ylim=(0.2, 60))
left.legend(loc="upper center")
for which, colour, marker, label in ((0, NORMAL, "s", "ordinary weights"),
                                     (1, WEIGHT_NORM, "o", "weight norm, as trained")):
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
lesson.figure(figure, "curvature", note=f"6-4-1 tanh networks, {problems} problems; right: inputs of mean 1",
              alt="Left: the condition number of the Hessian at minima against g/‖v‖. For white inputs it is lowest "
                  "at 1; for inputs of mean 1 it is lowest below 1. Right: learning rate times largest eigenvalue "
                  "against the learning rate. With ordinary weights it rises above the limit of stability, 2; with "
                  "weight normalization it stays below.")

# %%
# What we found
# -------------
#
# (Numbers of the quick run, seed 0.)
#
# Weight normalization trains these networks with a step that is too large for them in the coordinates $w$. In its own
# coordinates the step is just small enough. Nobody arranged that: while $\eta h_{\max} > 2$ the iteration overshoots,
# gradients are large, $\|v\|$ grows, $g/\|v\|$ falls, and the tangent curvature with it, as its square. It is the
# self-stabilization of section 2.1, seen in the spectrum. (Ordinary training that survives large steps also ends near
# $\eta h_{\max} = 2$, but by going where the loss is flatter: Cohen et al. 2021, arXiv:2103.00065. So this does not say
# that ordinary training must diverge.)
#
# The condition number is another matter. It improves where the steep directions are tangent ones and $\eta$ is large
# enough to make $\|v\|$ grow. With white inputs the growth shrinks eigenvalues that were not too large, and with small
# $\eta$ the lengths $g$ can outgrow $\|v\|$: then the condition number gets worse. For white inputs it became larger,
# by 4 to 47 % (geometric means for each $\eta$; after the full run's longer training at $\eta = 1$ even 2.1 times); for
# inputs of mean 1 it fell to 66 % for $\eta = 0.3$ and to 79 % for $\eta = 1$. What weight normalization did control is
# $\eta h_{\max}$: for $\eta = 1$ and mean 1 it is 3.53 with ordinary weights and 1.84 with weight normalization, at the
# same networks (medians).
#
# Questions
# ---------
#
# 1. *The second term.* Derive it: differentiate $\nabla_v(c \cdot v/\|v\|) = M c/\|v\|$ once more for a fixed vector
#    $c$, multiply by $g$, and restrict the result to directions across $v$. Where does the sign of
#    $\nabla_w L \cdot u$ come from?
# 2. *Turn the knob.* Start the small networks from $\|v\| = g/d$ for $d$ from 0.2 to 5, with $\eta = 0.1$ and inputs of
#    mean 1, and plot the loss after 300 steps. Compare with the left panel of the figure. Then compute $g/\|v\|$ at the
#    start of the paper's own initialization ($v$ of deviation 0.05, $g = 1/\sigma[t]$, the standard deviation of the
#    pre-activation) for layers with $n$ = 27, 864 and 1728 inputs of variance 1.
# 3. *How many gradients?* How many samples does it take before Marchenko and Pastur's interval for $n = 27$ is narrower
#    than a factor of 1.5 from end to end? Check it with ``gradient_covariance``.

lesson.finish()

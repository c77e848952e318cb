r"""Higher derivatives: the whole Hessian, and the twentieth derivative
==================================================================

A backward pass that is itself recorded can be differentiated again, and so on without end. That is the principle; in
practice the tape grows with every order, and for a function of many inputs so does the result. Open this chapter when
you need more than a gradient: the Hessian of a small model, a derivative in a loss (the slope of a network in a
differential equation, the penalty on a gradient), or the coefficients of a Taylor series.

Afterwards you can

- compute derivatives of any order by repeated reverse mode, and say when to stop;
- build a Hessian from products with vectors, and say what it costs;
- compute twenty derivatives of a function of one variable at the price of a few hundred multiplications.

Read first: lesson 01 (tensors and the tape), parts 3 and 7.

Claims checked, and where they are made:

- four derivatives of a bell curve by repeated reverse mode ("The backward pass, differentiated");
- a Hessian is symmetric and made of products Hv, and so is the change of a gradient ("A whole Hessian");
- Taylor arithmetic gives the same derivatives and many more, with a number of products that grows as the square of
  the order ("Many orders, one input").

Time: quick about 1 s, full about 2 s.
"""

# %%

import math

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl

import minigrad as mg
from lessons import COLOURS, Lesson

lesson = Lesson(__file__)
BLUE, ORANGE, BLACK, *_ = COLOURS.values()
threadpoolctl.threadpool_limits(1)

# %%
# The backward pass, differentiated
# ---------------------------------
#
# Run on tensors instead of arrays, a backward pass leaves a tape of its own: ``create_graph=True``. Nobody wrote a rule
# for second derivatives. The rule of ``sin`` is ``g * cos(x)``; run on tensors, it puts a ``cos`` on the tape, whose
# rule is ``-g * sin(x)``.

x = mg.tensor(np.linspace(0, 1, 5), requires_grad=True)
y = mg.sin(x)
for name in ("cos x", "-sin x"):
    y = mg.grad(y.sum(), x, create_graph=True)
    print(name)
    print(mg.draw.text(y, {"x": x}), "\n")

# %%
# The sum over the entries is there because a backward pass starts from a single number. Since entry $i$ of $y$ depends
# on entry $i$ of $x$ only, the gradient of the sum is the derivative at each of the points. (The constant of 5 entries
# takes 8 bytes in the first table: the derivative of the sum is a 1 for each entry, one number repeated without a copy.
# The last line, ``astype`` to the dtype that the numbers already have, copies them: a gradient that is handed out gets
# its own memory.)
#
# A harder case is the bell curve $f(x) = e^{-x^2/2}$. Its derivatives are known:
# $f^{(k)}(x) = (-1)^k \mathrm{He}_k(x)\, f(x)$ with Hermite's polynomials $\mathrm{He}_1 = x$,
# $\mathrm{He}_2 = x^2 - 1$, $\mathrm{He}_3 = x^3 - 3x$, $\mathrm{He}_4 = x^4 - 6x^2 + 3$.

grid = np.linspace(-4, 4, 401)
bell = np.exp(-(grid**2) / 2)
exact = np.array([np.ones_like(grid), -grid, grid**2 - 1, -(grid**3 - 3 * grid), grid**4 - 6 * grid**2 + 3]) * bell

x = mg.tensor(grid, requires_grad=True)
computed = [mg.exp(-x * x / 2)]
for _ in range(4):
    computed.append(mg.grad(computed[-1].sum(), x, create_graph=True))
for order, derivative in enumerate(computed):
    print(f"derivative {order}: {len(mg.draw.entries(derivative)):4} nodes on its tape")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* The values are of size 3 at most, and sums of terms such as $x^4 f$ and $6x^2 f$, of size up to 5. A few
# hundred roundings of $5\,\varepsilon = 10^{-15}$ each stay below $10^{-12}$.

lesson.claim("four derivatives of a bell curve by the engine, 401 points", [derivative.data for derivative in computed],
             predicted=exact, rtol=0.0, atol=1e-12)

# %% Drawing tags=["hide-input"]

figure, axes = plt.subplots(5, 1, figsize=(7, 7.4), sharex=True)
for order, (ax, by_engine, by_hand) in enumerate(zip(axes, computed, exact, strict=True)):
    ax.plot(grid, by_hand, color=BLACK, linewidth=1.2, label="by hand")
    ax.plot(grid[::10], by_engine.data[::10], "o", color=ORANGE, markersize=4, label="by the engine")
    ax.set_ylabel("$f" + ["", "'", "''", "'''", "^{(4)}"][order] + "(x)$")
axes[0].set_title("$f(x) = e^{-x^2/2}$ and its first four derivatives")
axes[0].legend(loc="upper right")
axes[-1].set_xlabel("$x$")
figure.align_ylabels(axes)
lesson.figure(figure, "four_derivatives", alt="Five plots one above the other: a bell curve and its first four "
              "derivatives between -4 and 4. The dots of the engine lie on the curves computed by hand; each "
              "derivative crosses zero once more than the one before.")

# %%
# The tape grows with each order, since each backward pass adds its own steps to what it goes through. First derivatives
# are cheap, second ones affordable; high orders of large programs are better computed in another way.
#
# A whole Hessian
# ---------------
#
# For a function of $n$ inputs the second derivatives are a matrix $H$ of $n \times n$ numbers. One product $Hv$ costs a
# few times as much as a gradient, whatever $n$ is (lesson 01, part 7), and the product with the $i$-th unit vector is
# column $i$. So a Hessian takes $n$ products: fine for a hundred weights, out of the question for a million. Here is
# the Hessian of a network of 17 weights, with a smooth loss, as a function of all its weights in one vector.

INPUTS, HIDDEN, EXAMPLES = 3, 4, 50
rng = lesson.rng(1)
data, targets = mg.tensor(rng.normal(size=(EXAMPLES, INPUTS))), mg.tensor(rng.normal(size=(EXAMPLES, 1)))
weights = rng.normal(size=INPUTS * HIDDEN + HIDDEN + 1)


def loss(weights):
    W1 = weights[: INPUTS * HIDDEN].reshape(INPUTS, HIDDEN)
    W2 = weights[INPUTS * HIDDEN : -1].reshape(HIDDEN, 1)
    return ((mg.tanh(data @ W1) @ W2 + weights[-1:] - targets) ** 2).mean()


def gradient(weights):
    leaf = mg.tensor(weights, requires_grad=True)
    return mg.grad(loss(leaf), leaf).data


whole = mg.hessian(loss, weights).data
columns = np.stack([mg.hvp(loss, weights, unit).data for unit in np.eye(len(weights))], axis=1)
print(f"{whole.shape[0]} x {whole.shape[1]} second derivatives from {whole[0, 0]:.4f} to {whole[-1, -1]:.4f}; "
      f"columns by mg.hvp differ by {np.abs(whole - columns).max():.1e}")

# %%
# Is it right? It should be symmetric, $\partial^2 L/\partial w_i\,\partial w_j = \partial^2 L/\partial w_j\,\partial
# w_i$. And a small step $hv$ of the weights should change the gradient by $hHv$. We take the central difference of
# *gradients*, which are exact: this loses far fewer digits than a second difference of losses would.

step = np.finfo(float).eps ** (1 / 3)
v = rng.normal(size=len(weights))
change = (gradient(weights + step * v) - gradient(weights - step * v)) / (2 * step)
size = np.abs(whole).max()
print("Hv, first entries:        ", (whole @ v)[:4])
print("from gradients, the same: ", change[:4])

# %% Tolerance tags=["hide-input"]
# *Tolerance.* Rounding, relative to the largest entry: sums over 50 examples, so $10^{-13}$. The difference of
# gradients is off by about $h^2/6$ times fourth derivatives along $v$, where $\|v\|$ is about 4: $h^2\,4^3/6 = 4 \cdot
# 10^{-10}$ times derivatives of size 1 to 10; and by rounding, $\varepsilon/h$ times a few: $10^{-10}$. We allow
# $10^{-7}$ of the largest entry. A forgotten term would show in the first digit.

lesson.claim("a Hessian is symmetric (largest difference, relative to the largest entry)",
             np.abs(whole - whole.T).max() / size, below=1e-13)
lesson.claim("the columns of a Hessian are mg.hvp of the unit vectors (relative to the largest entry)",
             np.abs(whole - columns).max() / size, below=1e-13)
lesson.claim("Hv = change of the gradient along v (relative to the largest entry of H)", change / size,
             predicted=whole @ v / size, rtol=0.0, atol=1e-7)

# %%
# Symmetry is a check that costs nothing, but a weak one: a gradient with a wrong factor throughout has a symmetric
# derivative, too. (Lesson 02 makes use of both.)
#
# Many orders, one input
# ----------------------
#
# Dual numbers carry a value and one derivative. Nothing keeps us from carrying more. A *truncated Taylor series*
# $a(d) = a_0 + a_1 d + \dots + a_m d^m$ is a number with $m + 1$ coefficients, and the arithmetic of series is known:
#
# $$(ab)_k = \sum_{j=0}^k a_j\,b_{k-j}, \qquad
# (e^a)_k = \frac1k \sum_{j=1}^k j\,a_j\,(e^a)_{k-j} .$$
#
# (The second follows from $(e^a)' = a'\,e^a$, coefficient by coefficient.) Start with $x + d$, run the program, and
# the $k$-th derivative at $x$ is $k!$ times the $k$-th coefficient. $m = 1$ is forward mode. A product takes
# $1 + 2 + \dots + (m + 1) = (m + 1)(m + 2)/2$ multiplications, and an exponential, not counting the factors $j$, takes
# $m(m + 1)/2$: the price grows as the square of the order.


class Series:
    """A truncated Taylor series, with coefficients of shape (m + 1, points)."""

    products = 0

    def __init__(self, coefficients):
        self.a = np.asarray(coefficients, float)

    def __mul__(self, other):
        if not isinstance(other, Series):
            return Series(self.a * other)
        rows = []
        for k in range(len(self.a)):
            rows.append(sum(self.a[j] * other.a[k - j] for j in range(k + 1)))
            Series.products += k + 1
        return Series(rows)


def exp(x):
    rows = [np.exp(x.a[0])]
    for k in range(1, len(x.a)):
        rows.append(sum(j * x.a[j] * rows[k - j] for j in range(1, k + 1)) / k)
        Series.products += k
    return Series(rows)


def bell_series(points, order):
    """The bell curve's Taylor coefficients about each of the points, and the products that they took."""
    Series.products = 0
    x = Series([points, np.ones_like(points), *np.zeros((order - 1, len(points)))])
    return exp(x * x * -0.5).a, Series.products


coefficients, _ = bell_series(grid, 4)
for k in range(5):
    by_series = math.factorial(k) * coefficients[k]
    print(f"derivative {k} by series: largest difference {np.abs(by_series - exact[k]).max():.1e}")

# %%
# Twenty derivatives are no trouble. Hermite's polynomials of any order follow from
# $\mathrm{He}_{k+1} = x\,\mathrm{He}_k - k\,\mathrm{He}_{k-1}$.

ORDERS = np.array([1, 2, 5, 10, 20])
hermite = [np.ones_like(grid), grid]
for k in range(1, ORDERS[-1]):
    hermite.append(grid * hermite[k] - k * hermite[k - 1])
counts, series, expected = [], [], []
for order in ORDERS:
    coefficients, products = bell_series(grid, order)
    counts.append(products)
    expected.append((-1) ** order * hermite[order] * bell)
    series.append(math.factorial(order) * coefficients[order])
    print(f"order {order:2}: {products:4} products; derivative up to {np.abs(expected[-1]).max():.3g}, "
          f"off by {np.abs(series[-1] - expected[-1]).max():.1g}")

# %% Tolerance tags=["hide-input"]
# *Tolerance.* Counts with a formula must agree exactly. Relative to the largest value of the derivative, each of some
# $m^2$ products rounds by $\varepsilon$, and at the ends of the grid the terms of a coefficient are larger than their
# sum: the powers of $x = 4$ and $x^2/2 = 8$ add up to about $e^{8}$ times the value $e^{-8}$ before they cancel. With
# $400\,\varepsilon \approx 10^{-13}$ and a reserve of 1000 that makes $10^{-10}$.

scale = np.array([np.abs(row).max() for row in expected])[:, None]
lesson.claim("derivatives 1 to 20 of a bell curve by Taylor arithmetic, relative to the largest", series / scale,
             predicted=expected / scale, rtol=0.0, atol=1e-10)
lesson.claim("products of Taylor arithmetic to order m: (m + 1)(m + 2)/2 + m(m + 1)/2 = (m + 1)²", counts,
             predicted=(ORDERS + 1) ** 2, rtol=0.0)

# %%
# The tape for four derivatives by repeated reverse mode had more nodes than the series has products for six. Series win
# wherever there is one input and many orders. With several inputs, take a series along each of several directions
# (Griewank, Utke & Walther 2000, *Evaluating higher derivative tensors by forward propagation of univariate Taylor
# series*).
#
# Questions
# ---------
#
# 1. Which rule does ``Series`` need for the quotient? Derive it from $(a/b)\,b = a$, and check it on $1/(1 + x^2)$,
#    whose Taylor series about 0 you know.
# 2. A network $t(x)$ of one input is to satisfy $t'' = -t$. Write a loss for that with ``create_graph=True``, add
#    $t(0) = 0$ and $t'(0) = 1$, and train it on the interval from 0 to $\pi$. What should it become?

lesson.finish()

r"""Where is w the dominant eigenvector? Neuron by neuron
=====================================================

Lesson 04 found that the weight vector $w$ is a dominant eigenvector of its gradient's covariance in one place: the
first convolution on whitened pictures. Open this chapter if you want to know about other places. The answer decides
whether the projection can help a given layer at all.

Afterwards you can explain

- for four kinds of neurons, when the noise of the gradient along $w$ is above average, and when below;
- why the inputs' mean takes over as the leading eigenvector after a ReLU;
- which outputs learn to point along that mean, and so fit the paper's sentence after all.

Read first: lesson 04. Adam (lesson 05) and data-dependent initialization (lesson 07) are used, not explained.

Claims checked, all about section 2.1: "we find that w is often (close to) a dominant eigenvector of the covariance
matrix C". True in two kinds of places, which we can name, and not elsewhere.

Time: quick about 15 s, full about 2 min.
"""

# %%
# Four kinds of neurons
# ---------------------
#
# The gradient of a weight vector for one example is $\delta\,x$, where $\delta = \partial L/\partial t$ is the
# derivative of the loss $L$ by the pre-activation $t = w \cdot x$. Lesson 04 showed that for white inputs,
# $x \sim N(0, I)$, the direction $u = w/\|w\|$ is exactly an eigenvector of the gradient's covariance $C$, and that it
# is the dominant one if
#
# $$r = \frac{\mathrm E[\delta^2 z^2] - \mathrm E[\delta z]^2}{\mathrm E[\delta^2]} > 1, \qquad z = u \cdot x .$$
#
# So everything depends on whether large $\delta$ go with large $|t|$ or with small ones. We compare four kinds of
# neurons, each of length $g = \|w\|$:
#
# - *linear*, squared error, targets $y \sim N(0, 1)$ that do not depend on $x$: $\delta = t - y$;
# - *ReLU*, whose output has a gradient $\xi \sim N(0, 1)$ that does not depend on $t$: $\delta = \xi$ if $t > 0$,
#   else 0;
# - *tanh*, squared error, the same targets: $\delta = (\tanh t - y)(1 - \tanh^2 t)$;
# - *logistic*, trained: the label $y$ is 1 with probability $\operatorname{logistic}(t) = 1/(1 + e^{-t})$, else 0, and
#   $\delta = \operatorname{logistic}(t) - y$.
#
# (Everything runs on the CPU, whatever ``--device`` says: the arrays are small.)

import functools
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import threadpoolctl

import minigrad as mg
import wn
from lessons import COLOURS, Lesson
from minigrad import data, nn, optim
from minigrad.nn import functional as F
from wn.covariance import gradient_covariance, tangent_basis

lesson = Lesson(__file__)
threadpoolctl.threadpool_limits(1)  # matrices this small are multiplied fastest by a single thread
NORMAL, WEIGHT_NORM = COLOURS["normal"], COLOURS["weight norm"]


def across(w, C):
    """The n - 1 eigenvalues of M C M across w, in ascending order."""
    Q = tangent_basis(w)
    return np.linalg.eigvalsh(Q.T @ C @ Q)


# %%
# All expectations are integrals over one normal variable $z$. We evaluate them at 200 points with fixed weights
# (Gauss-Hermite quadrature, exact for polynomials up to degree 399), and compare with samples.

nodes, quadrature = np.polynomial.hermite_e.hermegauss(200)
quadrature = quadrature / quadrature.sum()  # weights of a standard normal distribution


def logistic(t):
    return 1 / (1 + np.exp(-t))


# E[δ | t] and E[δ² | t], and a draw of δ given t.
KINDS = {
    "linear": (lambda t: t, lambda t: t**2 + 1, lambda t, rng: t - rng.normal(size=t.shape)),
    "ReLU": (lambda t: 0 * t, lambda t: (t > 0) + 0.0, lambda t, rng: (t > 0) * rng.normal(size=t.shape)),
    "tanh": (lambda t: np.tanh(t) * (1 - np.tanh(t) ** 2), lambda t: (np.tanh(t) ** 2 + 1) * (1 - np.tanh(t) ** 2) ** 2,
             lambda t, rng: (np.tanh(t) - rng.normal(size=t.shape)) * (1 - np.tanh(t) ** 2)),
    "logistic": (lambda t: 0 * t, lambda t: logistic(t) * (1 - logistic(t)),
                 lambda t, rng: logistic(t) - (rng.uniform(size=t.shape) < logistic(t))),
}


def predicted_ratio(kind, g):
    """r = variance of the gradient along w / variance in any direction across it, by quadrature."""
    mean, square, _ = KINDS[kind]
    along = quadrature @ (square(g * nodes) * nodes**2) - (quadrature @ (mean(g * nodes) * nodes)) ** 2
    return along / (quadrature @ square(g * nodes))


# %%
# We draw 200,000 examples in $n = 16$ dimensions for each neuron. Besides $r$ we look at the spectrum across $w$, which
# should be perfectly round.

n, examples, lengths = 16, 200_000, (0.5, 1.0, 2.0, 4.0)
theory_rng = lesson.rng(2)
u = np.eye(n)[0]  # any direction will do: the inputs have none of their own
sampled, deviations, roundness = {}, [], []
for kind, (_, _, draw) in KINDS.items():
    for g in lengths:
        x = theory_rng.normal(size=(examples, n)).astype(np.float32)
        delta = draw(g * x[:, 0].astype(float), theory_rng)
        gradients = delta[:, None] * x
        C = gradient_covariance(gradients)
        spectrum = across(u, C)
        sampled[kind, g] = C[0, 0] / spectrum.mean()
        error = np.square(gradients[:, 0]).std() / np.sqrt(examples) / spectrum.mean()
        error = np.hypot(error, sampled[kind, g] * np.square(delta).std() / np.sqrt(examples) / np.square(delta).mean())
        deviations.append((sampled[kind, g] - predicted_ratio(kind, g)) / error)
        effective = examples * np.square(delta).mean() ** 2 / (delta**4).mean()
        spread = np.sqrt(n / effective)
        roundness.append(spectrum[-1] / spectrum[0] / ((1 + spread) / (1 - spread)) ** 2)
    print(f"{kind:9} r = " + ", ".join(f"{sampled[kind, g]:.3f} (theory {predicted_ratio(kind, g):.3f})"
                                       for g in lengths) + "  for g = 0.5, 1, 2, 4")

# %% tags=["hide-input"]
# *Tolerances.* 16 samples should lie within 4.5 standard errors of theory all but once in 10,000 times; the errors are
# computed from the samples (conservatively, as if numerator and denominator erred independently). They are 2 % at most,
# for tanh with $g = 4$ 5 %, so a relative tolerance of 25 % is no stricter; the test with teeth is the one in standard
# errors, and both must pass. The sampled eigenvalues across $w$ are not exactly equal: even for a covariance $I$, $N$
# samples give a condition number up to $((1 + c)/(1 - c))^2$ with $c = \sqrt{n/N}$ (Marchenko and Pastur 1967; the
# chapter ``04_spectra.py`` shows it). Here the examples have unequal weights $\delta^2$, which lowers $N$ to about
# $N\,\mathrm E[\delta^2]^2/\mathrm E[\delta^4]$. We ask that no condition number exceeds that bound by more than 10 %.

lesson.claim("White inputs: r, the noise along w / across w, of four kinds of neurons and four lengths",
             [[sampled[kind, g] for g in lengths] for kind in KINDS],
             predicted=[[predicted_ratio(kind, g) for g in lengths] for kind in KINDS], rtol=0.25)
lesson.claim("White inputs: r as computed, 16 neurons, largest deviation in standard errors",
             np.abs(deviations).max(), below=4.5)
lesson.claim("White inputs: D is a multiple of the identity across w: largest κ / what sampling alone gives",
             max(roundness), below=1.1)

# %%
# So $w$ is dominant where a neuron's output is *too large*: then the error grows with $|t|$. Where the output
# saturates, or the neuron is confident and right, a large $|t|$ means a small gradient, and $w$ has the *least* noise
# of all directions. A ReLU neuron is exactly in between: $r = 1$, because $\mathrm E[z^2 \mid z > 0] = 1$. In each case
# the projection leaves a perfectly round rest, whether the eigenvalue that it removes is the largest or the smallest.

# %% tags=["hide-input"]

figure, ax = plt.subplots(figsize=(7.0, 4.2))
fine = np.linspace(0.02, 5, 120)
places = {"linear": (3.4, 1.98), "ReLU": (3.4, 1.05), "tanh": (1.3, 0.2), "logistic": (2.5, 0.36)}
for (kind, place), style in zip(places.items(), ("-", "--", "-.", ":"), strict=True):
    ax.plot(fine, [predicted_ratio(kind, g) for g in fine], style, color="0.3")
    ax.plot(lengths, [sampled[kind, g] for g in lengths], "o", color="0.1", ms=5)
    ax.text(*place, kind, fontsize=9.5)
ax.set(xlabel="length of the weight vector, $g$", ylabel="noise along $w$ / across $w$, $r$", ylim=(0, 2.2),
       title="One position, white inputs")
lesson.figure(figure, "kinds", note="lines: theory; dots: samples",
              alt="The ratio r of the noise along w to that across against the length g of w, for four kinds of "
                  "neurons. It rises from 1 to 2 for a linear neuron, stays at 1 for a ReLU, and falls towards 0 for "
                  "tanh and logistic.")

# %%
# Inputs with a mean
# ------------------
#
# Now let $x = m + \text{noise}$ with a fixed mean $m$, as after every ReLU. Then $\mathrm E[\delta^2 x x^{\mathsf T}]$
# contains $\mathrm E[\delta^2]\,m m^{\mathsf T}$, and for a large $\|m\|$ the leading eigenvector is $m/\|m\|$,
# whatever $w$ is. $w$ is close to it only if $w$ is close to $m$: if the neuron's main task is to add a *constant*. We
# come back to this at the end.
#
# How large is $|\cos|$ by chance? A random direction in $n$ dimensions has $\cos^2\theta = c/(c + d)$ with any fixed
# one, where $\theta$ is the angle between them, $c$ is chi-squared with 1 degree of freedom and $d$ with $n - 1$. The
# mean is $1/n$, so $|\cos|$ is around $1/\sqrt n$: not small where $n$ is small.


@functools.cache
def chance(n, quantiles=(0.5, 0.99)):
    """Quantiles of |cos| between a random direction in n dimensions and a fixed one, from 100,000 draws."""
    rng = lesson.rng(7)
    along, rest = rng.chisquare(1, 100_000), rng.chisquare(n - 1, 100_000)
    return np.quantile(np.sqrt(along / (along + rest)), quantiles)


# %%
# Gradients of single examples
# ----------------------------
#
# For a dense layer the gradient of an example is the outer product of its $\delta$ and its input. For a convolution it
# is the sum of such products over all positions. A forward hook keeps each layer's input and pre-activation, and one
# backward pass gives all the $\delta$.


def per_example_gradients(model, x, y, loss_of=F.cross_entropy):
    """For each layer: its gradients of shape (units, examples, n), weights (units, n), and g/‖v‖ (units,)."""
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
        if isinstance(layer, nn.Conv2d):
            gradients = delta.reshape(*delta.shape[:2], -1) @ patches_of(inputs, layer.weight.shape[-1])
        else:
            gradients = delta[:, :, None] * inputs[:, None, :]
        weights = layer.weight.numpy().reshape(delta.shape[1], -1).astype(float)
        found.append((gradients.swapaxes(0, 1).astype(float), weights, factors(layer, len(weights))))
    model.zero_grad()
    return found


# %% tags=["hide-input"]


def patches_of(pictures, size):
    """What each position of a convolution sees: (pictures, positions, channels · size · size)."""
    pad = size // 2
    padded = np.pad(pictures, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    patches = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(2, 3))
    return patches.transpose(0, 2, 3, 1, 4, 5).reshape(len(pictures), pictures[0, 0].size, -1)


def factors(layer, units):
    """g/‖v‖ of each unit; 1 without weight normalization."""
    if "weight_v" not in layer.state_dict():
        return np.ones(units)
    return np.abs(layer.weight_g.numpy().ravel()) / np.linalg.norm(layer.weight_v.numpy().reshape(units, -1), axis=1)


# %%
# Six networks
# ------------
#
# The first is a small relative of the paper's network for CIFAR-10: four convolutions with leaky ReLU, global average
# pooling and a dense layer, with data-dependent initialization and Adam. The pictures are 16 × 16 pixels in three
# colours, either whitened, as in section 5.1 (lesson 09 says how), or only scaled. On whitened pictures it is also
# trained without weight normalization.
#
# The second is a dense ReLU network that learns the classes given by a random network, from 32 inputs of variance 1 and
# mean 0 or 1, by plain SGD with a learning rate η of 0.5 or 0.03. One label in ten is wrong at random, so that the
# gradients do not vanish.

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


# %%


def dense_task(mean, rng, examples=2000, inputs=32):
    """Inputs of variance 1 around `mean`, and classes."""
    x = rng.normal(size=(examples, inputs))
    teacher = np.tanh(2 * x @ rng.normal(size=(inputs, 20)) / np.sqrt(inputs)) @ rng.normal(size=(20, 10))
    y = np.where(rng.uniform(size=examples) < 0.1, rng.integers(0, 10, examples), teacher.argmax(axis=1))
    return (x + mean).astype(np.float32), y


def dense_network(rng, sizes=(32, 32, 32, 10)):
    """Linear layers with weight normalization and ReLU between them; weights of variance 2/n."""
    layers = []
    for n, units in pairwise(sizes):
        layers += [nn.Linear(n, units, rng=rng), nn.ReLU()]
        layers[-2].weight.data = rng.normal(0, np.sqrt(2 / n), (units, n)).astype(np.float32)
        layers[-2].bias.data = np.zeros(units, np.float32)
    return wn.apply_weight_norm(nn.Sequential(*layers[:-1]))


# %%
# For each neuron, at the start, after a tenth of the training, and at the end, we measure
#
# - $|\cos|$ of the angle between $w$ and the leading eigenvector of $C$; the paper does not say whether its covariance
#   is centred, so we also take the second moment $\frac1N \sum_i \nabla_i \nabla_i^{\mathsf T}$;
# - the noise along $w$ relative to the average direction, $n\,u^{\mathsf T} C u/\operatorname{tr} C$, which is 1 on
#   average for a direction at random;
# - the *participation ratio* of $C$, of $D$, and without a random direction in place of $w$. It is
#   $(\operatorname{tr} A)^2/(n \operatorname{tr} A^2)$ for an $n \times n$ matrix $A$: 1 for a multiple of the
#   identity, and $m/n$ if $m$ directions share all the variance evenly and the others have none. The condition number
#   depends only on the two ends of a spectrum; the participation ratio shows where the variance is.

COLUMNS = ("cos", "along", "part C", "part D", "part random", "cos, not centered")


def participation(values):
    """The participation ratio, from all eigenvalues."""
    return values.sum() ** 2 / (len(values) * np.square(values).sum())


def measure(gradients, weights, _, rng):
    """One row for each neuron that has any gradients; the columns are COLUMNS."""
    rows = []
    for samples, w in zip(gradients, weights, strict=True):
        C = gradient_covariance(samples)
        if np.trace(C) < 1e-10:  # a ReLU that is never active
            continue
        values, vectors = np.linalg.eigh(C)
        u = w / np.linalg.norm(w)
        control = np.mean([participation(across(rng.normal(size=len(u)), C)) for _ in range(4)])
        second_moment = np.linalg.eigh(gradient_covariance(samples, centered=False))[1]
        rows.append([abs(vectors[:, -1] @ u), len(u) * (u @ C @ u) / np.trace(C), participation(values),
                     participation(across(u, C)), control, abs(second_moment[:, -1] @ u)])
    return np.array(rows)


# %%


def train_and_measure(model, optimizer, x, y, steps, batch, rng):
    """Train; return {step: [a table of `measure` per layer]} and the number of inputs n of each layer."""
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


results, fan_in, models = {}, {}, {}


def record(name, model, optimizer, x, y, steps, batch, net):
    """Train one network and put its tables beside those of the other networks of that name."""
    tables, fan_in[name] = train_and_measure(model, optimizer, x, y, steps, batch, lesson.rng(4, net))
    models[name] = model, x, y
    for step, layers in tables.items():
        before = results.setdefault(name, {}).get(step)
        results[name][step] = [np.concatenate(pair) for pair in zip(before, layers, strict=True)] if before else layers
    with mg.no_grad():
        right = (model(mg.tensor(x[:1000])).numpy().argmax(axis=1) == y[:1000]).mean()
    print(f"{name}: {100 * right:.0f} % of the training examples right")


# %%

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
# Is the helper right? The gradients of the single examples, added up and multiplied by $(g/\|v\|)\,M_w$, must be the
# gradient of $v$ that autograd gives, in every unit of the network.

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

# %% tags=["hide-input"]
# *Tolerance.* In float32, sums of 1000 examples times up to 256 positions: some
# $\sqrt{256000} \cdot 6 \cdot 10^{-8} = 3 \cdot 10^{-5}$ of the typical terms, which partly cancel in the sum. We allow
# $10^{-3}$ of the largest gradient of a layer.

lesson.claim("Eq. 4 in every unit of a trained conv net: per-example gradients, added and projected, against autograd",
             worst, below=1e-3)

# %%
# The answer at the end of training, as medians over the units of a layer. "Above chance" counts the neurons whose
# $|\cos|$ exceeds what 99 % of random directions reach.


def column(name, layer, which, step=-1):
    """One column of the table of a layer; `step` counts the measurements."""
    tables = results[name]
    return tables[sorted(tables)[step]][layer][:, COLUMNS.index(which)]


print(f"{'':26}{'':4} {'|cos|':>6} {'':7} {'above':>7} {'noise':>8} {'participation ratio':>29}")
print(f"{'':26}{'n':>4} {'':>6} {'chance':>7} {'chance':>7} {'along w':>8} {'C':>9} {'D':>9} {'random':>9}")
for name in results:
    for layer, n in enumerate(fan_in[name]):
        above = (column(name, layer, "cos") > chance(n)[1]).mean()
        numbers = [np.median(column(name, layer, c)) for c in ("cos", "along", "part C", "part D", "part random")]
        print(f"{name:24}{layer + 1:2}{n:4} {numbers[0]:6.2f} {chance(n)[0]:7.2f} {100 * above:6.0f}% "
              f"{numbers[1]:8.2f} {numbers[2]:9.3f} {numbers[3]:9.3f} {numbers[4]:9.3f}")

# %% tags=["hide-input"]

figure, axes = plt.subplots(1, 3, figsize=(9.4, 4.1), sharey=True)
shown = [("conv, white, WN", "Convolutions, white pictures"), ("conv, scaled, WN", "Convolutions, scaled pictures"),
         ("dense, mean 0, η = 0.5", "Dense layers, inputs of mean 0")]
scatter = lesson.rng(9)
for ax, (name, title) in zip(axes, shown, strict=True):
    for layer, n in enumerate(fan_in[name]):
        middle, high = chance(n)
        ax.fill_between([layer - 0.42, layer + 0.42], 0, high, color="0.88", lw=0, zorder=0)
        ax.plot([layer - 0.42, layer + 0.42], [middle, middle], color="0.55", lw=1, zorder=1)
        for time_step, (shift, face) in enumerate(((-0.26, "white"), (0, "#F1B98C"), (0.26, WEIGHT_NORM))):
            values = column(name, layer, "cos", time_step)
            label = None if layer else ("start", "after a tenth", "end")[time_step]
            places = layer + shift + scatter.uniform(-0.07, 0.07, len(values))
            size = 2.5 if lesson.full else 3.8
            ax.plot(places, values, "o", ms=size, mfc=face, mec=WEIGHT_NORM, mew=0.7, label=label)
    ax.set(xticks=range(len(fan_in[name])), xticklabels=[f"{i + 1}\n{n}" for i, n in enumerate(fan_in[name])],
           xlabel="layer, and below it its fan-in $n$", ylim=(0, 1.02))
    ax.set_title(title, fontsize=10)
    ax.grid(axis="x", visible=False)
axes[0].set_ylabel("|cos| between $w$ and the leading eigenvector of $C$")
axes[2].legend(loc="upper right", fontsize=8.5, bbox_to_anchor=(1, 0.88))
axes[2].annotate("gray: 99 % of random directions;\nline: their median", (0.97, 0.97), xycoords="axes fraction",
                 ha="right", va="top", fontsize=8.5, color="0.35")
lesson.figure(figure, "alignment", note=f"pictures: {pictures.description}; a dot for each neuron",
              alt="Three panels of dots, one for each neuron of three networks, by layer and time: the absolute "
                  "cosine between w and the leading eigenvector of C. In the first convolution on white pictures "
                  "nearly all dots lie above the gray band of 99 % of random directions; in all other layers nearly "
                  "all lie within it.")

# %% tags=["hide-input"]
# *Bounds.* By chance 1 % of the neurons lie beyond the 99 % quantile; the probability that 3 or more of 8 do is
# $5 \cdot 10^{-5}$. So a share above 0.3 cannot be put down to chance. Elsewhere a share below 0.1 means a few
# neurons, but no rule. A projection removes one of $n = 27$ directions, which may change a participation ratio by some
# $1/n = 4\,\%$ even where $w$ is nothing special.

for when, step in (("start", 0), ("end", -1)):
    medians = np.array([[np.median(column(name, layer, which, step)) for which in ("cos", "cos, not centered")]
                        for name in results for layer in range(len(fan_in[name]))])
    changes = np.abs(medians[:, 0] - medians[:, 1])
    print(f"centered or not, {when}: the median |cos| of a layer differs by {np.median(changes):.3f} in the middle, "
          f"{max(changes):.2f} at most")
first = [(column(name, 0, "cos") > chance(27)[1]).mean() for name in ("conv, white, WN", "conv, white, normal")]
lesson.claim("First convolution, white pictures: w is close to a dominant eigenvector of C (sec. 2.1), share of "
             "neurons beyond 99 % of chance, the smaller of WN and normal", min(first), above=0.3)
uncentered = (column("conv, white, WN", 0, "cos, not centered") > chance(27)[1]).mean()
lesson.claim("... and of the second moment, not centered: share of neurons with WN beyond 99 % of chance", uncentered,
             above=0.3)
gain = np.median(column("conv, white, WN", 0, "part D") / column("conv, white, WN", 0, "part C"))
control = np.median(column("conv, white, WN", 0, "part random") / column("conv, white, WN", 0, "part C"))
print(f"participation ratio of D / of C: {gain:.2f}; without a random direction instead: {control:.2f}")
lesson.claim("There D is closer to the identity than C (sec. 2.1): participation ratio of D / of C, median", gain,
             above=1.04)
lesson.claim("... which is not what any projection would do: gain by w / gain by a random direction, median ratios",
             gain / control, above=1.02)
elsewhere = np.concatenate([
    column(name, layer, "cos") > chance(n)[1]
    for name in results for layer, n in enumerate(fan_in[name]) if not (layer == 0 and "white" in name)
])
lesson.claim(f"Elsewhere w is not close to a dominant eigenvector: share of {len(elsewhere)} neurons beyond 99 % of "
             "chance", elsewhere.mean(), below=0.1)
hidden = np.concatenate([column(name, 1, "along") for name in results if "dense" in name])
lesson.claim("Hidden dense layers: noise along w / noise in the average direction, median", np.median(hidden), below=1)

# %%
# The paper's observation is there, plainly, in **one place: the first convolution on whitened pictures**. Most of its
# neurons lie above chance, already before the first step, and with or without weight normalization. It is the case of
# lesson 04, part 4: inputs without a mean, equal in all directions, and one weight vector shared by 256 positions.
#
# Whether $C$ is centred makes little difference. In the first dense layer, with white inputs and a single position,
# theory does not favour $w$ either: $r = 1$ for a ReLU whose $\delta$ does not depend on $t$, and less where large $t$
# mean confident, correct answers.
#
# In the hidden layers the inputs come out of a ReLU. They are positive or 0, their mean $m$ is large, and $m$ is the
# leading eigenvector. A weight vector that began at random has no reason to lie along $m$. In the dense networks the
# noise along $w$ is even *less* than average: the few dominant directions take most of the variance, and $w$ is nearly
# at a right angle to them.
#
# Where w learns a constant
# -------------------------
#
# $w$ can be close to $m$ where the neuron's main task is to add a constant. Consider an output neuron
# $t = w \cdot x + b$ after a ReLU layer, and targets around a constant $c$. Gradient descent puts the constant into $b$
# and into $w$ at the rates 1 and $\|m\|^2$: the share $\|m\|^2/(1 + \|m\|^2)$ ends up in $w$, along $m$. With some tens
# of hidden units $\|m\|^2$ is far above 1. So for targets far from zero $w$ should turn towards $m$, and the paper's
# sentence should hold. Such outputs are not rare: the action values of the paper's section 5.4 are an example. We train
# 16-32-1 networks by SGD on targets of variance 1 around $c$.

offsets, networks = (0.0, 1.0, 3.0, 10.0), 8 if lesson.full else 3
output_cos = {}
for c in offsets:
    for net in range(networks):
        task_rng = lesson.rng(11, net)
        x = task_rng.normal(size=(1000, 16)).astype(np.float32)
        y = np.tanh(x @ task_rng.normal(size=(16, 8)) / 2) @ task_rng.normal(size=(8, 1))
        y = ((y - y.mean()) / y.std() + 0.3 * task_rng.normal(size=y.shape) + c).astype(np.float32)
        model = dense_network(task_rng, (16, 32, 1))
        optimizer = optim.SGD(model.parameters(), 0.02)
        for step in range(501):
            if step in (0, 50, 500):
                found = per_example_gradients(model, x, y, F.mse_loss)[-1]
                output_cos.setdefault((c, step), []).append(measure(*found, task_rng)[0, 0])
            rows = task_rng.integers(0, 1000, 32)
            optimizer.zero_grad()
            F.mse_loss(model(mg.tensor(x[rows])), y[rows]).backward()
            optimizer.step()
print(f"output neuron, |cos| (chance {chance(32)[0]:.2f}, 99 %: {chance(32)[1]:.2f}): medians of {networks} networks")
for c in offsets:
    print(f"  targets around {c:4.0f}: " + ", ".join(f"{np.median(output_cos[c, step]):.2f} after {step} steps"
                                                  for step in (0, 50, 500)))

# %%

lesson.claim("Output neuron, targets around 10: w is close to the dominant eigenvector, |cos| after 50 steps, median",
             np.median(output_cos[10.0, 50]), above=0.7)
lesson.claim("Output neuron, targets around 0: it is not, |cos| after 50 steps, median",
             np.median(output_cos[0.0, 50]), below=chance(32)[1])

# %%
# What we found
# -------------
#
# (Numbers of the quick run, seed 0.) $w$ is close to a dominant eigenvector in two kinds of places.
#
# 1. The first convolution on whitened pictures. With Adam and the paper's initialization, all 8 neurons lie beyond what
#    99 % of random directions reach (with seeds 1 and 2, no fewer than 5 of 8). The median $|\cos|$ is 0.76 with weight
#    normalization and 0.74 without (chance: 0.13). The participation ratio rises by 30 % in the median, and by 2 % when
#    a random direction is removed instead. On photographs the effect is weaker: with CIFAR-10, JPEG-compressed, 5 of 8
#    neurons with and 4 of 8 without weight normalization, medians 0.58 and 0.49.
# 2. Output neurons that have to learn a large constant: 0.89 for targets around 10.
#
# Elsewhere, no: 10 of 355 neurons, where chance gives 3 or 4, and $D$ is about as far from the identity as $C$. In
# hidden dense layers the noise along $w$ is about half the average (0.47).
#
# Questions
# ---------
#
# 1. *Which neurons?* In the first convolution on white pictures a few neurons may have a small $|\cos|$, above all
#    before training. Find them in ``results``, compute their $C$ with ``per_example_gradients``, and look at its whole
#    spectrum. Is $w$ then the second eigenvector, is the leading eigenvalue close to the next one, or neither?
# 2. *Another nonlinearity.* Put ``nn.ELU()`` or no activation at all in the place of ``nn.LeakyReLU(0.1)`` after the
#    first convolution. What does lesson 04 predict for $r$ without an activation? Measure the first layer.
# 3. *Mean-only batch normalization* (lesson 08). Insert ``wn.MeanOnlyBatchNorm`` before each leaky ReLU. It centres the
#    pre-activations, but the inputs of the next layer still come out of a ReLU. What do you expect for layers 2 and 3?
#    (Single examples then no longer have gradients of their own: use the gradients of 300 minibatches.)

lesson.finish()

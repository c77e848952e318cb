"""10.1 A divergence in closed form

The bound holds an average over draws from q. One part of it needs no draws if q and p are both normal distributions
with independent entries: the Kullback–Leibler divergence

    KL(q ‖ p) = E_q[log q(z) - log p(z)] ,

which is a sum over the entries of z. The logarithm of a normal density with mean z̄ and standard deviation σ is
-(z - z̄)²/2σ² - log σ - ½ log 2π. Take the average over q by hand, and write what is left. A network returns log σ,
which may have any sign, so that is what your function gets: not σ, not log σ².

    divergence(mean, log_scale, prior_mean, prior_log_scale)
        mean, log_scale : arrays (N, latents), of q for each of N pictures
        prior_mean, prior_log_scale : arrays (latents,), of p
        returns KL(q ‖ p) for each picture, array (N,), in nats

For example, a q that is as wide as p, and one standard deviation of p away in the first entry, and two in the second:

    divergence(np.array([[1.0, 2.0]]), np.zeros((1, 2)), np.zeros(2), np.zeros(2))     # [2.5]
"""

import numpy as np


def divergence(mean, log_scale, prior_mean, prior_log_scale):
    """KL(q ‖ p) of two normal distributions with independent entries, for each picture."""
    # solution
    log_ratio = log_scale - prior_log_scale
    distance = (mean - prior_mean) / np.exp(prior_log_scale)
    return 0.5 * np.sum(np.exp(2 * log_ratio) + distance**2 - 1 - 2 * log_ratio, axis=1)
    # end of solution


# %% Laws

from hypothesis import strategies as st

from lessons.exercises import Exercise, agree, hold, numbers
from lessons.exercises.cases import matrices, vectors

exercise = Exercise(
    __file__,
    'lesson 10, "The bound"',
    hints=[
        "Under q, the average of (z - z̄)² is σ². The average of (z - prior mean)² is larger, by the square of the "
        "distance between the two means.",
        "For one entry that makes log(σ_p/σ) - ½ + (σ² + (z̄ - z̄_p)²)/2σ_p². The ½ log 2π of both cancel.",
        "σ²/σ_p² is `np.exp(2 * (log_scale - prior_log_scale))`. Sum over the entries of a picture, axis 1.",
    ],
)

LOG_SCALES = st.integers(-4, 4).map(lambda k: k / 4)  # σ from 0.37 to 2.7


@st.composite
def cases(draw):
    mean = draw(matrices())
    log_scale = draw(matrices(*mean.shape, elements=LOG_SCALES))
    latents = mean.shape[1]
    return mean, log_scale, draw(vectors(latents)), draw(vectors(latents, LOG_SCALES))


def log_density(z, mean, log_scale):
    return -0.5 * ((z - mean) / np.exp(log_scale)) ** 2 - log_scale - 0.5 * np.log(2 * np.pi)


# Values are at most some hundreds, made of a dozen roundings: 1e-12 of them. agree allows 1e-7.


@exercise.law("each picture has one divergence", cases())
def shape(answer, case):
    numbers("KL(q ‖ p)", answer.divergence(*case), (len(case[0]),))


@exercise.law("it is 0 where q = p", cases())
def nothing_lost(answer, case):
    _, _, mean, log_scale = case
    agree("KL(p ‖ p)", answer.divergence(mean[None], log_scale[None], mean, log_scale), [0.0])


@exercise.law(
    "two distributions of width σ: half the square of their distance in units of σ, over all entries", cases()
)
def as_wide(answer, case):
    mean, log_scale, prior_mean, _ = case
    apart = (mean[:1] - prior_mean) / np.exp(log_scale[:1])
    came = answer.divergence(mean[:1], log_scale[:1], prior_mean, log_scale[0])
    agree("KL(q ‖ p), both of the same width", came, [0.5 * (apart @ apart.T)[0, 0]])


@exercise.law("it is never negative", cases())
def sign(answer, case):
    came = answer.divergence(*case)
    hold((np.asarray(came) >= -1e-9).all(), "KL(q ‖ p)", came, "0 or more")


@exercise.law("both shifted and stretched by the same amounts: the same divergence", cases())
def units(answer, case):
    mean, log_scale, prior_mean, prior_log_scale = case
    came = answer.divergence(2 * mean + 3, log_scale + np.log(2), 2 * prior_mean + 3, prior_log_scale + np.log(2))
    agree("KL(q ‖ p), both stretched by 2 and shifted by 3", came, answer.divergence(*case))


@exercise.law("it is the average of log q(z) - log p(z) over q", cases())
def average(answer, case):
    """The integrand is a square, so three points and weights of Gauss and Hermite give its average exactly."""
    mean, log_scale, prior_mean, prior_log_scale = case
    total = np.zeros(len(mean))
    for xi, weight in zip((-np.sqrt(3), 0.0, np.sqrt(3)), (1 / 6, 2 / 3, 1 / 6), strict=True):
        z = mean + np.exp(log_scale) * xi
        more = log_density(z, mean, log_scale) - log_density(z, prior_mean, prior_log_scale)
        total += weight * more.sum(axis=1)
    agree("KL(q ‖ p)", answer.divergence(*case), total)


@exercise.law("the arguments are left as they were", cases())
def untouched(answer, case):
    given = [a.copy() for a in case]
    answer.divergence(*given)
    for name, before, after in zip(("mean", "log_scale", "prior_mean", "prior_log_scale"), case, given, strict=True):
        agree(f"{name} after the call", after, before)


BODY = "np.exp(2 * log_ratio) + distance**2 - 1 - 2 * log_ratio"
exercise.mistake("the ½ in front is missing.", "0.5 * np.sum(", "np.sum(")
exercise.mistake("the sign is flipped: a divergence is never negative.", "return 0.5", "return -0.5")
exercise.mistake(
    "the -1 is missing, the average of (z - z̄)²/σ² in log q: without it the divergence of p from itself is not 0.",
    BODY,
    "np.exp(2 * log_ratio) + distance**2 - 2 * log_ratio",
)
exercise.mistake(
    "that is KL(p ‖ q): the average is to be one over q.",
    BODY,
    "np.exp(-2 * log_ratio) + ((mean - prior_mean) / np.exp(log_scale)) ** 2 - 1 + 2 * log_ratio",
)
exercise.mistake(
    "log σ is taken for log σ²: e^(log σ) is a standard deviation, and its square a variance.",
    "np.exp(2 * log_ratio) + distance**2 - 1 - 2 * log_ratio",
    "np.exp(log_ratio) + distance**2 * np.exp(prior_log_scale) - 1 - log_ratio",
)
exercise.mistake(
    "the variance of q is missing in log p(z): over q, the average of (z - z̄_p)² is (z̄ - z̄_p)² + σ².",
    BODY,
    "distance**2 - 1 - 2 * log_ratio",
)
exercise.mistake("σ/σ_p stands where its square belongs.", "np.exp(2 * log_ratio)", "np.exp(log_ratio)")
exercise.mistake(
    "the logarithm of σ/σ_p counts half: it is that of the variances, twice as much, that the ½ belongs to.",
    "- 2 * log_ratio",
    "- log_ratio",
)
exercise.mistake("the logarithm has the wrong sign: a narrower q costs more.", "- 2 * log_ratio", "+ 2 * log_ratio")
exercise.mistake("the logarithms of the two deviations are missing.", " - 2 * log_ratio", "")
exercise.mistake("the distance of the means is not squared.", "distance**2", "distance")
exercise.mistake(
    "the distance of the means is not measured in units of the prior's deviation: it is to be divided by σ_p.",
    " / np.exp(prior_log_scale)",
    "",
)
exercise.mistake(
    "the square of the distance is divided by σ_p where σ_p² belongs.",
    "(mean - prior_mean) / np.exp(prior_log_scale)",
    "(mean - prior_mean) / np.exp(prior_log_scale / 2)",
)
exercise.mistake(
    "the distance of the means is divided by q's own deviation; log p(z) has the prior's.",
    "(mean - prior_mean) / np.exp(prior_log_scale)",
    "(mean - prior_mean) / np.exp(log_scale)",
)
exercise.mistake("the distance of the means is missing.", " + distance**2", "")
exercise.mistake(
    "the prior's mean is not used: the distance of the means counts.", "(mean - prior_mean)", "(mean + 0 * prior_mean)"
)
exercise.mistake(
    "p is taken for a standard normal distribution, whatever its mean and deviation are.",
    "log_ratio = log_scale - prior_log_scale",
    "log_ratio = log_scale",
    "(mean - prior_mean) / np.exp(prior_log_scale)",
    "mean",
)
exercise.mistake("it is a mean over the entries; the divergence is their sum.", "0.5 * np.sum(", "0.5 * np.mean(")
exercise.mistake("it is summed over the pictures: each has a divergence of its own.", ", axis=1)", ", axis=0)")
exercise.mistake("it is summed over the pictures as well: each has a divergence of its own.", ", axis=1)", ")")
exercise.mistake(
    "the entries are not summed: a picture has one divergence.",
    "0.5 * np.sum(np.exp(2 * log_ratio) + distance**2 - 1 - 2 * log_ratio, axis=1)",
    "0.5 * (np.exp(2 * log_ratio) + distance**2 - 1 - 2 * log_ratio)",
)
exercise.mistake(
    "σ_p stands where its square belongs, under σ² and under the square of the distance.",
    BODY,
    "np.exp(2 * log_scale - prior_log_scale) + (mean - prior_mean) ** 2 / np.exp(prior_log_scale) - 1 - 2 * log_ratio",
)
exercise.mistake(
    "the ½ that comes from log q is subtracted once; each entry has its own.",
    BODY + ", axis=1)",
    "np.exp(2 * log_ratio) + distance**2 - 2 * log_ratio, axis=1) - 0.5",
)

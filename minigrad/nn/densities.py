"""Log-densities that likelihoods are made of, place by place, and in a form that keeps its digits for every scale.

All are ordinary compositions of ops: they take arrays and Tensors, broadcast, and have derivatives of every order. They
return an array of the arguments' common shape; sum over the axes that make up one example. Logarithms are natural, so
the unit is nats.
"""

import math

from minigrad.ops.elementwise import elu, exp, log, softplus, square, where

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


def normal_log_density(x, mean, log_scale):
    """log N(x; μ, σ²) with σ = exp(log_scale).

    In float32 it is finite while |x - μ|/σ stays below 1e19.
    """
    return -HALF_LOG_TWO_PI - log_scale - 0.5 * square((x - mean) * exp(-1 * log_scale))


def normal_kl(mean, log_scale, prior_mean=0.0, prior_log_scale=0.0):
    """The Kullback–Leibler divergence KL(N(μ, σ²) ‖ N(μ₀, σ₀²)); of N(μ, σ²) from N(0, 1) by default."""
    log_ratio = log_scale - prior_log_scale
    distance = square((mean - prior_mean) * exp(-1 * prior_log_scale))
    return 0.5 * (distance + exp(2 * log_ratio) - 1) - log_ratio


def bernoulli_log_probability(x, logits):
    """log P(x) of x between 0 and 1 with P(1) = 1/(1 + exp(-logits)); for x in between, the expected one."""
    return x * logits - softplus(logits)


def logistic_log_probability(x, mean, log_scale, bin_width=1 / 255, lowest=0.0, highest=1.0):
    """log P of the bin around x, where a logistic distribution of mean μ and scale s = exp(log_scale) falls into bins.

    Values lie `bin_width` apart, from `lowest` to `highest`, the middles of the outermost bins, which have all beyond
    them, too: so probabilities add up to 1. With a and c the upper and the lower edge of x's bin, minus μ, over s,

        σ(a) - σ(c) = σ(a) σ(-c) (1 - exp(c - a)),

    whose three factors have logarithms without cancellation, however narrow or wide the distribution is. Value and
    derivatives to second order are finite for log-scales of ±50 and means that are far away, in float32 too (but a
    second derivative is as large as 1/s², wherever μ lies on the very edge of x's bin).

    Only ratios matter: bytes/255 with bins of 1/255, and (byte + ½)/256 with bins of 1/256, have the same probabilities
    if μ and s are changed along with them.

    Source: Kingma et al. 2016 (arXiv:1606.04934), section 6.2, with bins of 1/256. (Their code leaves the bins at the
    ends as narrow as the others, so its probabilities add up to less than 1.)
    """
    inverse = exp(-1 * log_scale)
    width = bin_width * inverse  # of the bin, in units of s
    upper = (x - mean + 0.5 * bin_width) * inverse
    lower = (x - mean - 0.5 * bin_width) * inverse
    below, above = -softplus(-1 * upper), -softplus(lower)  # log σ(a), log σ(-c)
    inside = below + above + log(-1 * elu(-1 * width))  # 1 - exp(-width), without cancellation
    margin = 0.25 * bin_width
    return where(x < lowest + margin, below, where(x > highest - margin, above, inside))

"""Batch normalization in few passes over memory, which fast/cpu and fast/cuda make each in a way of its own."""

from minigrad import backend
from minigrad.fast.replace import faster, instead
from minigrad.nn.functional import check_channels, inverse_deviation


def faster_batch_norm(device, takes, moments, normalized, normalized_gradients):
    """Put three functions in the place of the plain forms, for arrays (N, C, …) for which `takes(*arrays)` is true."""

    def forward(xp, x, weight, bias, mean, var, eps):
        check_channels(mean, weight, bias)
        return normalized(x, mean, inverse_deviation(var, eps) * weight, bias)

    def gradients(g, _y, x, weight, _bias, mean, var, eps):
        return normalized_gradients(g, x, mean, inverse_deviation(var, eps), weight)

    faster("batch_moments", device, instead(lambda xp, x: xp.stack(moments(x)), lambda xp, x: takes(x)))
    faster(
        "batch_norm",
        device,
        instead(forward, lambda xp, x, weight, bias, *others: takes(x, weight, bias)),
        joint=instead(gradients, lambda g, y, x, *others: backend.is_array(g) and takes(g, x)),
    )

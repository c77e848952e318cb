"""Learning-rate schedules: plain functions from the epoch to a factor."""


def constant_then_linear(epoch: float, epochs: float) -> float:
    """1 for the first half of the epochs, then falling linearly: min(2 - 2·epoch/epochs, 1).

    The schedule of the paper's section 5.1: at `epochs` = 200 the last epoch (index 199) runs at 0.01.
    """
    if not 0 <= epoch < epochs:
        raise ValueError(f"epoch must lie between 0 and {epochs - 1}, got {epoch}")
    return min(2 - 2 * epoch / epochs, 1.0)

"""wn: weight normalization (Salimans & Kingma 2016, arXiv:1602.07868), one file for each idea of the paper."""

from wn.gradients import explicit_gradients, project, projection_matrix
from wn.growth import NormTracker
from wn.initialization import data_dependent_init
from wn.mean_only_batch_norm import MeanOnlyBatchNorm
from wn.reparameterization import WeightNorm, apply_weight_norm, remove_weight_norm, weight_norm

__all__ = [
    "MeanOnlyBatchNorm", "NormTracker", "WeightNorm", "apply_weight_norm", "data_dependent_init", "explicit_gradients",
    "project", "projection_matrix", "remove_weight_norm", "weight_norm",
]  # fmt: skip

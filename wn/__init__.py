"""wn: weight normalization (Salimans & Kingma 2016, arXiv:1602.07868), one file for each idea of the paper."""

import minigrad as mg
from wn.covariance import gradient_covariance, preconditioned_covariance
from wn.equinorm import EquiNormalizer, equi_normalize
from wn.exchange import load_torch_state_dict, to_torch_state_dict
from wn.gradients import explicit_gradients, explicit_gradients_log_scale, project, projection_matrix
from wn.growth import NormTracker
from wn.initialization import data_dependent_init
from wn.mean_only_batch_norm import MeanOnlyBatchNorm, mean_only_gradients
from wn.reparameterization import WeightNorm, apply_weight_norm, remove_weight_norm, weight_norm, weight_norm_composite

__all__ = [
    "EquiNormalizer",
    "MeanOnlyBatchNorm",
    "NormTracker",
    "WeightNorm",
    "apply_weight_norm",
    "data_dependent_init",
    "equi_normalize",
    "explicit_gradients",
    "explicit_gradients_log_scale",
    "gradient_covariance",
    "load_torch_state_dict",
    "mean_only_gradients",
    "preconditioned_covariance",
    "project",
    "projection_matrix",
    "remove_weight_norm",
    "to_torch_state_dict",
    "weight_norm",
    "weight_norm_composite",
]

if not mg.config.plain:
    from wn import fast

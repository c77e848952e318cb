"""Optimizers, one rule a file; schedules, parameter averaging, gradient clipping."""

from minigrad.optim import schedules
from minigrad.optim.adam import Adam, Adamax, AdamW
from minigrad.optim.averaging import ExponentialMovingAverage
from minigrad.optim.clipping import clip_grad_norm
from minigrad.optim.optimizer import Optimizer
from minigrad.optim.rmsprop import RMSprop
from minigrad.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Adamax",
    "ExponentialMovingAverage",
    "Optimizer",
    "RMSprop",
    "clip_grad_norm",
    "schedules",
]

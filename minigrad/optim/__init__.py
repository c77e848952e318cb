"""Optimizers and schedules."""

from minigrad.optim import schedules
from minigrad.optim.optimizer import SGD, Adam, Optimizer

__all__ = ["SGD", "Adam", "Optimizer", "schedules"]

"""Faster forms of named ops, layers and optimizers. They add speed, not meaning: a learner can skip this folder.

`ops/`, `nn/`, `optim/` and `wn/` say what is computed. What is here is put in its place last, when minigrad is imported
(see `replace.py`), and nothing imports it. With MINIGRAD_PLAIN=1 it is left out, and everything works, more slowly.
Tests walk the registry of ops and compare each faster form with the plain one.

`cpu/`: blocks that stay in cache, threads, convolutions by matrix products and Winograd's algorithm.
`cuda/`: kernels, and training steps recorded as CUDA graphs.
"""

from minigrad.fast import cpu, cuda

"""Fast ways to compute what `minigrad.ops` defines. A learner can skip this folder: it adds speed, not meaning."""

"""Hypothesis profiles: the same examples at every run, more of them with HYPOTHESIS_PROFILE=thorough."""

import os

from hypothesis import HealthCheck, settings

for name, examples in {"default": 25, "thorough": 200}.items():
    settings.register_profile(
        name,
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

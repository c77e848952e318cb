"""What you need to test gradients of your own: `check_grads`, and hypothesis strategies for property tests.

`gradient_check.py` compares backward with central differences; when they disagree, `diagnosis.py` looks for the
likely cause. `strategies.py` has `arrays`, `shapes` and `broadcastable_shapes`. Only these need hypothesis, which is
imported when one of them is first asked for. `docs/property_test_template.py` is a test file to copy.
"""

from minigrad.testing.gradient_check import STEP, check_grads

__all__ = ["STEP", "arrays", "broadcastable_shapes", "check_grads", "shapes"]


def __getattr__(name):
    if name in ("arrays", "shapes", "broadcastable_shapes"):
        from minigrad.testing import strategies

        return getattr(strategies, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Prints the list of CuPy's names anew: see names.py."""

from tests.strict_cupy import names

print("\n".join(names.made_anew()))

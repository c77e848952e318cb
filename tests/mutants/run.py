"""Runs tests of the copy of the project in the current directory: python run.py file::name …

The exit status is pytest's, so 1 if a test failed. A counterexample that hypothesis finds is not made smaller, which
would take most of the time. Fails before any test if the packages imported are not those of the copy.
"""

import os
import sys

import pytest

sys.path.insert(0, os.getcwd())


class NoShrinking:
    @staticmethod
    @pytest.hookimpl(tryfirst=True)
    def pytest_collection():  # after conftest.py has chosen a profile, before any test is imported
        import hypothesis  # not at the top: pytest wants to import its plugins itself

        phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
        hypothesis.settings.register_profile("no shrinking", hypothesis.settings.default, phases=phases)
        hypothesis.settings.load_profile("no shrinking")


if __name__ == "__main__":
    import minigrad
    import wn

    for package in (minigrad, wn):
        if not package.__file__.startswith(os.getcwd()):
            sys.exit(f"{package.__name__} comes from {package.__file__}, not from the copy in {os.getcwd()}")
    sys.exit(pytest.main(["-rfE", "--tb=line", "-p", "no:cacheprovider", *sys.argv[1:]], plugins=[NoShrinking]))

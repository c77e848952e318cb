"""How fast it is, and where the time goes. Nothing here is part of the tests."""

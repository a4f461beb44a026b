"""Folders of data that the package carries: each suite's model, rows and reward."""

from pathlib import Path

SUITES = Path(__file__).parents[1] / "suites"
"""One folder a suite, by its name; ``model`` in it has the suite's own start model, ``gold`` its gold reward."""

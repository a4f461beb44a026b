"""Folders of data that the package carries: each suite's model, rows and reward."""

from pathlib import Path

SUITES = Path(__file__).parents[1] / "suites"
"""One folder a suite, by its name; a suite's own start model lies in ``model``, its gold reward in ``gold``."""

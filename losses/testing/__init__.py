"""Property tests of an objective, for built-in ones and for those of plugins."""

from losses.testing.conformance import check_objective

__all__ = ["check_objective"]

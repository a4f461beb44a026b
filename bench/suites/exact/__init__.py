"""The enumerable problem: every completion known, so that each objective has a known optimum."""

"""Comparison with the peers' own code: value and gradient of every loss that they have too."""

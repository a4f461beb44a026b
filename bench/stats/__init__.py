"""Statistics of a comparison: pure functions of numbers."""

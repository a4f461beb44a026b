"""The statistics of a comparison: pure functions of numbers, which know no record and no model."""

"""The step from one value for each item (prompt, pair) to a metric with its standard error."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bench.core.record import Metric

Measured = Mapping[str, tuple[NDArray[np.float64], bool | None]]
"""For each metric's name its value for each item, and whether higher is better (None: neither is)."""


def mean_metrics(measured: Measured, *, task: str, split: str) -> tuple[Metric, ...]:
    """Return the mean of each; its standard error is the standard deviation over items (n − 1) ÷ √n.

    A single item has no standard error: it is None.

    Raises:
        ValueError: nothing was measured under a name.
    """
    metrics = []
    for name, (values, better) in measured.items():
        n = len(values)
        if n == 0:
            raise ValueError(f"metric {task}/{name} has no values: nothing was measured")
        error = float(values.std(ddof=1) / math.sqrt(n)) if n > 1 else None
        metrics.append(
            Metric(
                task=task,
                split=split,
                name=name,
                value=float(values.mean()),
                stderr=error,
                n=n,
                higher_is_better=better,
            )
        )
    return tuple(metrics)

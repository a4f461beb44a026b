"""The budget of a race: how many trainings with fresh seeds it may have, or how long a command may work."""

import math
import re
from dataclasses import dataclass

from bench.errors import UsageError

SECONDS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
MOST = 10**9
"""Seconds or trainings; no budget needs more."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The most that a race may cost; None: no limit.

    Fields:
        runs: trainings with fresh seeds of the whole race, those of earlier commands counted.
        seconds: working time of a command from its beginning; each command has its own.
    """

    runs: int | None = None
    seconds: float | None = None


def read_budget(text: str) -> Budget:
    """Read ``--budget``: ``2h``, ``45m``, ``1h30m``, ``90s``, or ``runs=120``. Raises UsageError for anything else."""
    compact = text.strip().lower().replace(" ", "")
    if match := re.fullmatch(r"runs=([0-9]{1,9})", compact):
        runs = int(match[1])
        if runs > 0:
            return Budget(runs=runs)
    elif re.fullmatch(r"([0-9]{1,9}(\.[0-9]{1,6})?[dhms])+", compact):
        parts = re.findall(r"([0-9.]+)([dhms])", compact)
        seconds = math.fsum(float(number) * SECONDS[unit] for number, unit in parts)
        if 0 < seconds <= MOST:
            return Budget(seconds=seconds)
    raise UsageError(
        f"--budget must be a time above 0, or a number of trainings with fresh seeds (got {text[:60]!r})",
        fix="for example --budget 2h, --budget 1h30m, or --budget runs=120",
    )

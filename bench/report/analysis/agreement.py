"""Agreement of a group's judges on its rows: the ranks that they give, and single answers."""

import itertools
from dataclasses import dataclass

import numpy as np

from bench.core.record import RunRecord, judge_task
from bench.report.analysis.settings import Group, values
from bench.stats.concordance import kendall, kendall_interval, same_side


@dataclass(frozen=True)
class JudgesAgree:
    """Two judges on the rows that both judged on test prompts, the start model left out.

    ``tau``: Kendall's τ-b of the rows' win rates; ``low``, ``high``: its 95 % interval over prompts. ``same``: share of
    the ``shared`` answers whose side both prefer. NaN where it cannot be told.
    """

    first: str
    second: str
    rows: int
    tau: float
    low: float
    high: float
    same: float
    shared: int


def judges_agree(group: Group) -> list[JudgesAgree]:
    """Return the agreement of each two judges of ``group``; none where a reward decides."""
    return [_two(group, first, second) for first, second in itertools.combinations(group.judges, 2)]


def _two(group: Group, first: str, second: str) -> JudgesAgree:
    tasks = [judge_task(name, group.judges) for name in (first, second)]
    rows = [s.test for s in group.settings if all(values(s.test, "win_rate", task=task) for task in tasks)]
    tables = [np.array([_preferences(records, task) for records in rows]) for task in tasks]
    rates = [
        np.array([np.mean([m.value for m in values(records, "win_rate", task=task)]) for records in rows])
        for task in tasks
    ]
    known = all(table.ndim == 2 and table.size for table in tables)
    low, high = kendall_interval(*tables) if known else (np.nan, np.nan)
    same, shared = same_side(*tables) if known else (np.nan, 0)
    return JudgesAgree(first, second, len(rows), kendall(*rates), low, high, same, shared)


def _preferences(records: tuple[RunRecord, ...], task: str) -> list[float]:
    """A row's preference on each prompt, the mean over its seeds."""
    found = [record.scores[task] for record in records if record.status == "completed" and task in record.scores]
    return np.mean(found, axis=0).tolist() if found else []


def agreement_text(found: JudgesAgree) -> str:
    """Return an agreement in a line."""
    text = f"judges {found.first} and {found.second}: "
    if np.isnan(found.tau):
        few = f"too few rows for a rank agreement ({found.rows})"
        return text + (few if found.rows < 2 else f"one of them has all {found.rows} rows alike, so there is no order")
    span = "" if np.isnan(found.low) else f" ({found.low:.2f} to {found.high:.2f})"
    text += f"Kendall τ {found.tau:.2f}{span} over {found.rows} rows"
    return text if np.isnan(found.same) else f"{text}; same side in {100 * found.same:.0f} % of {found.shared} answers"

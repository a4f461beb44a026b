"""Agreement of a group's judges: on the ranks of its settings, and on single answers."""

import itertools
from dataclasses import dataclass

import numpy as np

from bench.core.record import RunRecord, judge_task
from bench.report.analysis.settings import Group, values
from bench.stats.concordance import FEWEST, kendall, kendall_interval, same_side


@dataclass(frozen=True)
class JudgesAgree:
    """Two judges on the rows that both judged on test prompts, the start model left out.

    ``tau``: Kendall's τ-b of the rows' win rates; ``low``, ``high``: its 95 % interval over prompts. ``same``: share of
    the ``shared`` answers whose side both prefer. NaN where there are too few.
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
    scores = [record.scores[task] for record in records if record.status == "completed" and task in record.scores]
    return np.mean(scores, axis=0).tolist() if scores else []


def agreement_text(agreement: JudgesAgree) -> str:
    """Return an agreement in a line."""
    text = f"judges {agreement.first} and {agreement.second}: "
    if np.isnan(agreement.tau):
        few = f"no rank agreement over {_counted(agreement.rows)}: it takes {FEWEST} to be more than luck"
        equal = f"one of them has all {agreement.rows} rows alike, so there is no order"
        return text + (few if agreement.rows < FEWEST else equal) + _same_side(agreement)
    bounds = "" if np.isnan(agreement.low) else f" ({agreement.low:.2f} to {agreement.high:.2f})"
    return f"{text}Kendall τ {agreement.tau:.2f}{bounds} over {agreement.rows} rows{_same_side(agreement)}"


def _same_side(agreement: JudgesAgree) -> str:
    if np.isnan(agreement.same):
        return ""
    return f"; same side in {100 * agreement.same:.0f} % of {agreement.shared} answers"


def _counted(rows: int) -> str:
    return f"{rows} row{'' if rows == 1 else 's'}"

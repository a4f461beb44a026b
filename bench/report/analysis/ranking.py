"""Order of settings by test target, ranks of objectives, and the choice of one protocol."""

import math
from collections.abc import Iterable, Sequence

from bench.core.record import RunRecord
from bench.errors import UsageError
from bench.report.analysis.race import out_at
from bench.report.analysis.settings import Group, Setting, group_records, interval, values

SHORTEST = 4
"""Characters of a protocol's hash that are enough to name it."""


def ranked(group: Group) -> list[Setting]:
    """Return the settings as they are shown: best ones and the start model by test target, then the others.

    After a race, those that it dropped follow those that it did not, the last dropped first: a few lucky seeds of what
    was dropped count for less than many of what was not. The start model follows the last one that is above it.
    """
    dropped = {} if group.race is None else out_at(group.race)
    best = sorted(
        (setting for setting in group.settings if setting.best),
        key=lambda setting: (-dropped.get(setting.objective, math.inf), _by_score(setting)),
    )
    if group.start is not None:
        own = _by_score(group.start)
        above = [place for place, setting in enumerate(best, 1) if _by_score(setting) <= own]
        best.insert(max(above, default=0), group.start)
    return best + [setting for setting in group.settings if not setting.best]


def ranks(group: Group) -> dict[str, int]:
    """Return objective → rank of its best setting by test target, best first; without a test target it has none."""
    tested = (row.objective for row in ranked(group) if row.best and values(row.test, "target"))
    return {objective: rank for rank, objective in enumerate(tested, start=1)}


def choose_groups(records: Iterable[RunRecord], *, protocol: str | None = None) -> list[Group]:
    """Return the groups of one protocol, or of all for None.

    ``protocol``: a hash, its first four characters or more, or the name of a preset that one protocol here has. Raises
    UsageError where that names no protocol, or several.
    """
    groups = group_records(records)
    if protocol is None:
        return groups
    hashed = {g.protocol for g in groups if len(protocol) >= SHORTEST and g.protocol.startswith(protocol)}
    matches = sorted(hashed | {g.protocol for g in groups if g.preset == protocol})
    if len(matches) == 1:
        return [group for group in groups if group.protocol == matches[0]]
    count = f"{len(matches) or 'none'} of the protocols here"
    problem = f"--protocol must name one protocol (got {protocol!r}, which names {count})"
    raise UsageError(problem, fix=f"give one of these: {_listed(groups)}")


def _listed(groups: Sequence[Group]) -> str:
    return ", ".join(f"{g.protocol} ({g.preset or 'no preset'}, {g.suite})" for g in groups) or "none"


def _by_score(setting: Setting) -> tuple[bool, float, float, str]:
    test, validation = interval(setting.test, "target").mean, interval(setting.validation, "target").mean
    unknown = math.isnan(test)
    return (unknown, 0.0 if unknown else -test, math.inf if math.isnan(validation) else -validation, setting.objective)

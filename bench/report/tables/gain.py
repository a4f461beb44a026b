"""The warning that training was for nothing: no objective's target exceeds that of the untrained start model."""

from bench.report.analysis.settings import Group, interval, values
from bench.report.tables.text import number, target_short


def no_gain_text(group: Group) -> str | None:
    """Return a line where no objective's best setting exceeds the start model on test prompts; None where one does.

    Means are compared, whatever their intervals; None, too, where the start model or all of them were not tested.
    """
    tested = [setting for setting in group.settings if setting.best and values(setting.test, "target")]
    if group.start is None or not tested or not values(group.start.test, "target"):
        return None
    start = interval(group.start.test, "target")
    if max(interval(setting.test, "target").mean for setting in tested) > start.mean:
        return None
    return f"no objective exceeds the start model ({target_short(group)} = {number(start, spread=False)})"

"""The numbers of one objective along a swept parameter: means with intervals, seeds, failures, lines."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.analysis.settings import Group, Setting, Split, interval, plotted_split, values
from bench.report.figures.saving import Row

LEVELS = 5
"""Values of a second swept parameter that are drawn as a line each; of more, the best at each place is joined."""
RATE = "learning_rate"


@dataclass(frozen=True)
class SecondParameter:
    """The second parameter of a sweep of two, and its values over all objectives, ascending."""

    name: str
    levels: tuple[float, ...]


def varied_parameters(settings: Sequence[Setting]) -> tuple[str, ...]:
    """Return the parameters that take several values in one objective's settings: β first, the learning rate last."""
    names = {name for setting in settings for name, _ in setting.params} | {RATE}
    varied = [name for name in names if len({axis_value(setting, name) for setting in settings}) > 1]
    return tuple(sorted(varied, key=lambda name: (name != "beta", name == RATE, name)))


def swept_parameters(group: Group) -> dict[str, tuple[str, ...]]:
    """Return parameter → the objectives that sweep it. Where none sweeps any: their β, else the learning rate."""
    own = {name: settings_of(group, name) for name in group.objectives}
    by_parameter: dict[str, list[str]] = {}
    for name, settings in own.items():
        for parameter in varied_parameters(settings):
            by_parameter.setdefault(parameter, []).append(name)
    if not by_parameter:
        for name, settings in own.items():
            parameters = [parameter for parameter, _ in settings[0].params]
            by_parameter.setdefault("beta" if "beta" in parameters else next(iter(parameters), RATE), []).append(name)
    order = sorted(by_parameter, key=lambda name: (name != "beta", name == RATE, name))
    return {parameter: tuple(by_parameter[parameter]) for parameter in order}


def settings_of(group: Group, objective: str) -> list[Setting]:
    """Return the settings of one objective."""
    return [setting for setting in group.settings if setting.objective == objective]


def axis_value(setting: Setting, parameter: str) -> float:
    """Return where a setting stands on the axis of ``parameter``, NaN where it has none."""
    if parameter == RATE:
        return setting.learning_rate
    value = setting.param(parameter)
    return math.nan if value is None else value


def second_parameter(group: Group, objectives: Sequence[str], parameter: str) -> SecondParameter | None:
    """Return what is swept beside ``parameter``, where it is one and the same for all and has few values."""
    others = {name: [p for p in varied_parameters(settings_of(group, name)) if p != parameter] for name in objectives}
    names = {tuple(each) for each in others.values()}
    if len(names) != 1 or len(next(iter(names))) != 1:
        return None
    name = next(iter(names))[0]
    levels = sorted({axis_value(setting, name) for one in objectives for setting in settings_of(group, one)})
    return SecondParameter(name, tuple(levels)) if len(levels) <= LEVELS else None


def rows_of(
    group: Group, objective: str, *, parameter: str, quantity: str, second: SecondParameter | None
) -> list[Row]:
    """Return the numbers of one quantity of one objective: means, seeds, failed settings, the start model.

    ``line`` numbers the line that joins a mean with others: that of its value of ``second``; 0 without a second; −1 for
    a setting that no line goes through.
    """
    split = plotted_split(group)
    own = settings_of(group, objective)
    measured = [setting for setting in own if values(setting.records(split), quantity)]
    joined = _settings_on_line(measured, parameter) if second is None else {}
    same = {"objective": objective, "quantity": quantity, "split": split, "parameter": parameter}
    rows: list[Row] = []
    for setting in sorted(own, key=lambda setting: axis_value(setting, parameter)):
        x = axis_value(setting, parameter)
        at = {**same, "x": x, "setting": setting.params_text, "rate": setting.learning_rate}
        if setting in measured and second is None:
            rows += _measured(setting, split, quantity, at, line=joined.get(id(setting), -1))
        elif setting in measured and second is not None:
            line = second.levels.index(axis_value(setting, second.name))
            rows += _measured(setting, split, quantity, at, line=line)
        elif any(record.status in ("diverged", "failed") for record in setting.records(split)):
            rows.append({**at, "kind": "failed", "y": math.nan})
    start = values(group.start.records(split), quantity) if group.start is not None else []
    return rows + [{**same, "kind": "start", "x": math.nan, "y": metric.value} for metric in start]


def _measured(setting: Setting, split: Split, quantity: str, at: Row, *, line: int) -> list[Row]:
    score = interval(setting.records(split), quantity)
    mean = {"y": score.mean, "low": score.low, "high": score.high, "interval": score.source}
    seeds = values(setting.records(split), quantity) if score.n > 1 else []
    return [
        {**at, "kind": "mean", **mean, "best": setting.best, "line": line},
        *({**at, "kind": "seed", "y": metric.value} for metric in seeds),
    ]


def _settings_on_line(settings: Sequence[Setting], parameter: str) -> dict[int, int]:
    """Return the settings that the one line joins: at each place the one that validation likes best.

    Settings drawn at random in several parameters share no place: a line through them would join what has nothing in
    common, so there is none.
    """
    best: dict[float, Setting] = {}
    for setting in settings:
        x, other = axis_value(setting, parameter), best.get(axis_value(setting, parameter))
        if other is None or _score(setting) > _score(other):
            best[x] = setting
    scattered = len(best) == len(settings) and len(varied_parameters(settings)) > 1
    return {} if scattered else {id(setting): 0 for setting in best.values()}


def _score(setting: Setting) -> float:
    mean = interval(setting.validation, "target").mean
    return -math.inf if math.isnan(mean) else mean

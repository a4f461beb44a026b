"""Groups of records that may be compared, their settings over seeds, and the best setting of each objective."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from bench.core.record import START, Metric, RunRecord
from bench.core.results import record_order
from bench.errors import RunError
from bench.report.analysis.race import replay
from bench.report.analysis.selection import select_setting
from bench.stats.intervals import Interval, mean_interval
from bench.stats.race import Race

Split = Literal["validation", "test"]
Leaf = str | float | None
"""A training field's value; bool and int are float here."""
SettingKey = tuple[str, str, int, tuple[tuple[str, float], ...], float, str]


@dataclass(frozen=True)
class Setting:
    """One objective with all its values; its records differ only in the seed, and are in the seeds' order."""

    objective: str
    objective_version: int
    params: tuple[tuple[str, float], ...]
    train: tuple[tuple[str, Leaf], ...]
    validation: tuple[RunRecord, ...]
    test: tuple[RunRecord, ...]
    best: bool = False

    def records(self, split: Split) -> tuple[RunRecord, ...]:
        """Return the records of one split."""
        return self.test if split == "test" else self.validation

    @property
    def every_record(self) -> tuple[RunRecord, ...]:
        """The records of both splits, those of the validation prompts first."""
        return (*self.validation, *self.test)

    def param(self, name: str) -> float | None:
        """Return the value of an objective's parameter, None where it has none of that name."""
        return dict(self.params).get(name)

    @property
    def learning_rate(self) -> float:
        """The peak learning rate."""
        rate = dict(self.train)["learning_rate"]
        assert rate is not None  # every training has one
        return float(rate)

    @property
    def params_text(self) -> str:
        """The parameters for people, as «beta=0.1 gamma=0.5»."""
        return " ".join(f"{name}={value:g}" for name, value in self.params)


@dataclass(frozen=True)
class Group:
    """The settings that may be compared: one protocol, one suite, one start model, one data set.

    ``tuning`` holds the protocol's terms, as its records do. ``target`` says what ranks, a reward or a win rate;
    ``judges`` are the judges' names, the first one is the target's. Raises ValueError for a record of another protocol.
    """

    protocol: str
    suite: str
    suite_version: int
    run_version: int
    model: str
    model_content: str
    data: str
    data_content: str
    beta0: float
    settings: tuple[Setting, ...]
    start: Setting | None
    differing: tuple[str, ...]
    tuning: Mapping[str, object]
    target: str = "reward"
    judges: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        others = sorted({one.protocol for one in self.records if one.protocol != self.protocol})
        if others:
            raise ValueError(f"a group of protocol {self.protocol} holds records of {', '.join(others)}")

    @cached_property
    def records(self) -> tuple[RunRecord, ...]:
        """The records of all settings and of the start model."""
        settings = (*self.settings, *([self.start] if self.start is not None else []))
        return tuple(record for setting in settings for record in setting.every_record)

    @property
    def preset(self) -> str | None:
        """The name of the protocol's preset, None where it has none."""
        preset = self.tuning.get("preset")
        return None if preset is None else str(preset)

    @cached_property
    def several_rates(self) -> bool:
        """Whether the settings' learning rates differ."""
        return len({setting.learning_rate for setting in self.settings}) > 1

    @cached_property
    def by_objective(self) -> dict[str, tuple[Setting, ...]]:
        """The settings of each objective, the objectives sorted."""
        settings: dict[str, list[Setting]] = defaultdict(list)
        for setting in self.settings:
            settings[setting.objective].append(setting)
        return {name: tuple(settings[name]) for name in sorted(settings)}

    @property
    def objectives(self) -> tuple[str, ...]:
        """The names of the objectives, sorted."""
        return tuple(self.by_objective)

    @cached_property
    def race(self) -> Race | None:
        """The race of the objectives as far as their records carry it, None where the protocol was none."""
        return replay({name: one.test for name in self.objectives if (one := self.best(name)) is not None}, self.tuning)

    def best(self, objective: str) -> Setting | None:
        """Return the setting of ``objective`` that validation chose, None where validation chose none."""
        return next((setting for setting in self.by_objective.get(objective, ()) if setting.best), None)


def group_records(records: Iterable[RunRecord]) -> list[Group]:
    """Return what may be compared with what, in a fixed order whatever the order of ``records``.

    Raises RunError where one run was evaluated twice on one split under one protocol.
    """
    groups: dict[tuple[str, str, int, int, str, str], list[RunRecord]] = defaultdict(list)
    for record in sorted(records, key=record_order):
        spec = record.spec
        key = (record.protocol, spec.suite, spec.suite_version, spec.version, spec.model.content, spec.data.content)
        groups[key].append(record)
    return [_group(members) for _, members in sorted(groups.items())]


def values(records: Sequence[RunRecord], name: str, *, task: str | None = None) -> list[Metric]:
    """Return one metric of every completed record that has a finite value of it, in the seeds' order."""
    metrics = (record.metric(name, task=task) for record in records if record.status == "completed")
    return [metric for metric in metrics if metric is not None and math.isfinite(metric.value)]


def interval(records: Sequence[RunRecord], name: str, *, task: str | None = None) -> Interval:
    """Return the mean over seeds of one metric, with its 95 % interval (see ``stats.mean_interval``)."""
    metrics = values(records, name, task=task)
    return mean_interval([metric.value for metric in metrics], stderrs=[metric.stderr for metric in metrics])


def by_seed(records: Sequence[RunRecord], name: str) -> dict[int, float]:
    """Return seed → value of one metric over the completed records."""
    pairs = ((record.spec.seed, record.metric(name)) for record in records if record.status == "completed")
    return {seed: metric.value for seed, metric in pairs if metric is not None and math.isfinite(metric.value)}


def plotted_split(group: Group) -> Split:
    """Return the split on which settings are shown side by side: test where all have it, else validation."""
    usable = [setting for setting in group.settings if values(setting.validation or setting.test, "target")]
    everywhere = all(values(setting.test, "target") for setting in usable)
    nowhere = not any(values(setting.validation, "target") for setting in usable)
    return "test" if everywhere or nowhere else "validation"


def _group(members: list[RunRecord]) -> Group:
    settings: dict[SettingKey, list[RunRecord]] = defaultdict(list)
    for record in members:
        settings[_setting_key(record)].append(record)
    made = [_setting(seeds) for _, seeds in sorted(settings.items())]
    trained = [setting for setting in made if setting.objective != START]
    start = next((setting for setting in made if setting.objective == START), None)
    tuning = _tuning(members)
    names = sorted({setting.objective for setting in trained})
    chosen = [_choose([one for one in trained if one.objective == name], tuning) for name in names]
    spec = members[0].spec
    return Group(
        protocol=members[0].protocol,
        suite=spec.suite,
        suite_version=spec.suite_version,
        run_version=spec.version,
        model=min(record.spec.model.source for record in members),
        model_content=spec.model.content,
        data=min(record.spec.data.source for record in members),
        data_content=spec.data.content,
        beta0=members[0].evaluation.beta0,
        settings=tuple(setting for setting in (_mark_best(one, chosen) for one in trained) if setting.every_record),
        start=start,
        differing=_differing(trained),
        tuning=tuning,
        target=members[0].evaluation.target,
        judges=tuple(judge.name for judge in members[0].evaluation.judges),
    )


def _tuning(members: list[RunRecord]) -> dict[str, object]:
    """Return the protocol's terms. Raises RunError where two records of one protocol differ in them."""
    first = members[0]
    other = next((record for record in members if record.tuning != first.tuning), None)
    if other is not None:
        names = sorted(n for n in first.tuning | other.tuning if first.tuning.get(n) != other.tuning.get(n))
        raise RunError(
            f"two records of protocol {first.protocol} differ in {', '.join(names)}: "
            f"{first.key}/evals/{first.evaluation_key} and {other.key}/evals/{other.evaluation_key}",
            fix="delete the one of the two evaluation folders that should not count",
        )
    return first.tuning


def _setting_key(record: RunRecord) -> SettingKey:
    spec = record.spec
    if spec.objective == START:
        return ("", START, 0, (), 0.0, "")
    params = tuple(sorted(spec.params.items()))
    train = json.dumps(_flat(spec.train.model_dump(mode="json")), sort_keys=True)
    return ("objective", spec.objective, spec.objective_version, params, spec.train.learning_rate, train)


def _setting(records: list[RunRecord]) -> Setting:
    spec = records[0].spec
    split = {name: _one_each([r for r in records if r.evaluation.split == name]) for name in ("validation", "test")}
    return Setting(
        objective=spec.objective,
        objective_version=spec.objective_version,
        params=tuple(sorted(spec.params.items())),
        train=tuple(sorted(_flat(spec.train.model_dump(mode="json")).items())),
        validation=split["validation"],
        test=split["test"],
    )


def _one_each(records: list[RunRecord]) -> tuple[RunRecord, ...]:
    """Return the records in the seeds' order, one a seed. The start model is one model: its first record stands."""
    if records and records[0].spec.objective == START:
        return (records[0],)
    kept: dict[int, RunRecord] = {}
    for record in records:
        seed = record.spec.seed
        if seed in kept:
            one, other = kept[seed], record
            raise RunError(
                f"{one.spec.objective} with seed {seed} was evaluated twice on {one.evaluation.split} under protocol "
                f"{one.protocol}: {one.key}/evals/{one.evaluation_key} and {other.key}/evals/{other.evaluation_key}",
                fix="delete the one of the two evaluation folders that should not count",
            )
        kept[seed] = record
    return tuple(record for _, record in sorted(kept.items()))


def _choose(settings: list[Setting], tuning: Mapping[str, object]) -> Setting | None:
    """Return the setting of one objective that validation chose (see ``select_setting``)."""
    place = select_setting([setting.validation for setting in settings], tuning).chosen
    return None if place is None else settings[place]


def _mark_best(setting: Setting, chosen: Sequence[Setting | None]) -> Setting:
    """Mark the setting that validation chose; of the others no test record counts.

    They have some where another one was chosen before a setting that had failed was tried again: what is not chosen
    is not reported, whichever way a sweep went.
    """
    if any(setting is one for one in chosen):
        return replace(setting, best=True)
    others = [one for one in chosen if one is not None and one.objective == setting.objective]
    return replace(setting, test=()) if others else setting


def _differing(settings: list[Setting]) -> tuple[str, ...]:
    """Return the training fields, the learning rate aside, that are not the same for all settings."""
    trains = [dict(setting.train) for setting in settings]
    names = {name for train in trains for name in train} - {"learning_rate"}
    return tuple(sorted(name for name in names if len({train.get(name) for train in trains}) > 1))


def _flat(tree: Mapping[str, object], *, prefix: str = "") -> dict[str, Leaf]:
    """Return nested fields by their dotted names. Raises TypeError for a value that is no text, number or None."""
    leaves: dict[str, Leaf] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            leaves |= _flat(value, prefix=f"{prefix}{name}.")
        elif value is None or isinstance(value, str | int | float):
            leaves[f"{prefix}{name}"] = value
        else:
            raise TypeError(f"training field {prefix}{name} must be a text, a number or None (got {value!r})")
    return leaves

"""What a table could have seen, and what it would take to see more: from the records of a folder."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.core.margins import margin_of
from bench.core.record import RunRecord
from bench.errors import UsageError, did_you_mean
from bench.report.analysis.comparison import seed_scores
from bench.report.analysis.settings import Group
from bench.stats.components import (
    ArmComponents,
    arm_components,
    expected_variance,
    other_arms,
    seed_range,
    typical_pair,
    with_noise,
)
from bench.stats.intervals import LEVEL
from bench.stats.mix import Costs, Limits, Mix, cheapest_mix, prompts_without_end
from bench.stats.pairwise import pair_differences, prior_of, summarise
from bench.stats.power import (
    Design,
    Family,
    Variances,
    parts_of,
    seeds_for_equal,
    seeds_needed,
    smallest_difference,
    smallest_seen,
)

Array = NDArray[np.float64]
MORE_PROMPTS = 4
"""Times the table's prompts that a search tries at most where nobody says how many there are."""
MOST_SAMPLES = 8
"""Samples of a prompt that a search tries at most, where records tell what sampling adds."""
SPREAD = 6
"""Variances of pairs at which half-widths are computed; those of the other pairs are interpolated."""


@dataclass(frozen=True)
class MixCost:
    """A design with its cost: trainings of all arms, those of them that are not there yet, device hours."""

    seeds: int
    prompts: int
    samples: int
    trainings: int
    more_trainings: int
    hours: float


@dataclass(frozen=True)
class GroupPower:
    """The power of one group's table.

    ``unit``: «J» or «points». ``samples``: completions of each prompt. ``smallest``: the difference that a typical
    pair's test sees with 80 % power; ``quartiles``: of that over all pairs; ``against_first``: by objective.
    ``components``: by objective, score². ``typical``: a typical pair's variances, ``seed_range`` the 90 % interval of
    its first. ``cheapest``: for the difference ``detect``, None where no mix within the limits sees it; ``as_now``: at
    the table's prompts and samples; ``unlucky``: ``cheapest`` again at the upper end of ``seed_range``.
    ``least_prompts``: what the difference takes with seeds without end. ``equal``: seeds with which two arms are called
    equal within ``detect``, the true difference being none or half of it, with the prompts of ``cheapest``.
    """

    protocol: str
    preset: str | None
    suite: str
    unit: str
    arms: tuple[str, ...]
    seeds: int
    prompts: int
    samples: int
    smallest: float
    quartiles: tuple[float, float, float]
    first: str
    against_first: Mapping[str, float]
    components: Mapping[str, ArmComponents]
    typical: Variances
    seed_range: tuple[float, float]
    costs: Costs
    whole_evaluations: bool
    most_prompts: int
    detect: float
    cheapest: MixCost | None
    unlucky: MixCost | None
    as_now: MixCost | None
    least_prompts: int
    equal: Mapping[str, int | None]

    def as_json(self) -> dict[str, object]:
        """Return everything as plain data."""
        return asdict(self)


def group_power(
    group: Group,
    *,
    detect: float | None = None,
    objectives: Collection[str] = (),
    most_prompts: int | None = None,
) -> GroupPower:
    """Return what the table of ``group`` could have seen, and the cheapest mix that sees ``detect``.

    ``detect``: in the target's unit; None: the suite's margin. ``objectives``: the arms that are compared; empty: all.

    Raises:
        UsageError: an objective that is not in the table, or fewer than two arms, seeds or prompts.
    """
    scores = _arms(group, objectives)
    common = sorted(set.intersection(*map(set, scores.values())))
    tables = np.array([[rows[seed] for seed in common] for rows in scores.values()])
    if len(common) < 2 or tables.shape[2] < 2:
        raise UsageError(
            f"the table of {group.suite} has {len(common)} test seed and {tables.shape[2]} prompts that all its "
            "objectives share: nothing tells how much seeds matter",
            fix="a pilot of two seeds tells it: the same `bench run` with --seeds 2",
        )
    components, samples = _components(group, list(scores), common, tables)
    arms, seeds, prompts = tables.shape
    typical = typical_pair(components, samples=samples)
    family = Family(arms, other_arms(components))
    wanted = detect if detect is not None else margin_of(group.suite, target=group.target)
    costs, whole = run_costs([record for name in scores for record in _test_records(group, name)], group.records)
    most_samples = max(samples, MOST_SAMPLES) if typical.residual_noise > 0 else samples
    limits = Limits(most_prompts or MORE_PROMPTS * prompts, samples=most_samples)
    plan = _Plan(typical, family, costs, limits, wanted, seeds)
    span = seed_range(typical.of(samples), arms=arms, seeds=seeds, prompts=prompts)
    cheapest = plan.cheapest()
    ranked = sorted(scores, key=lambda name: -float(np.mean([np.mean(row) for row in scores[name].values()])))
    pairs = smallest_by_pair(scores)
    return GroupPower(
        protocol=group.protocol,
        preset=group.preset,
        suite=group.suite,
        unit="points" if group.target == "win_rate" else "J",
        arms=tuple(scores),
        seeds=seeds,
        prompts=prompts,
        samples=samples,
        smallest=smallest_difference(Design(seeds, prompts, samples), typical, family),
        quartiles=_quartiles(list(pairs.values())),
        first=ranked[0],
        against_first={name: pairs[frozenset((ranked[0], name))] for name in ranked[1:]},
        components=dict(zip(scores, components, strict=True)),
        typical=typical,
        seed_range=span,
        costs=costs,
        whole_evaluations=whole,
        most_prompts=plan.limits.prompts,
        detect=wanted,
        cheapest=cheapest,
        unlucky=replace(plan, typical=replace(typical, seed=span[1])).cheapest(),
        as_now=plan.as_now(prompts, samples),
        least_prompts=prompts_without_end(wanted, typical, family),
        equal={
            name: seeds_for_equal(
                wanted,
                share * wanted,
                typical,
                family,
                prompts=prompts if cheapest is None else cheapest.prompts,
                samples=samples if cheapest is None else cheapest.samples,
            )
            for name, share in (("none", 0.0), ("half", 0.5))
        },
    )


@dataclass(frozen=True)
class _Plan:
    typical: Variances
    family: Family
    costs: Costs
    limits: Limits
    detect: float
    present: int

    def cheapest(self) -> MixCost | None:
        mix = cheapest_mix(self.detect, self.typical, self.family, self.costs, self.limits)
        return None if mix is None else self._cost(mix)

    def as_now(self, prompts: int, samples: int) -> MixCost | None:
        seeds = seeds_needed(self.detect, self.typical, self.family, prompts=prompts, samples=samples)
        if seeds is None:
            return None
        seconds = self.family.arms * seeds * self.costs.run(prompts, samples)
        return self._cost(Mix(Design(seeds, prompts, samples), seconds))

    def _cost(self, mix: Mix) -> MixCost:
        arms, design = self.family.arms, mix.design
        return MixCost(
            seeds=design.seeds,
            prompts=design.prompts,
            samples=design.samples,
            trainings=arms * design.seeds,
            more_trainings=arms * max(0, design.seeds - self.present),
            hours=mix.seconds / 3600,
        )


def smallest_by_pair(scores: Mapping[str, Mapping[int, Sequence[float]]]) -> dict[frozenset[str], float]:
    """Return the smallest difference that each pair's test sees with 80 % power, by the pair's own variances.

    A pair's variance between seeds is what the moderated test counts it as.
    """
    tables = {pair: table for pair, (table, _) in pair_differences(scores).items() if len(table) > 1}
    differences, prior = summarise(list(tables.values())), prior_of(scores)
    totals = np.maximum(expected_variance(differences.seed, differences.seeds - 1, prior, arms=2), differences.residual)
    prompts, p = differences.prompts, (1 - LEVEL) / len(tables)
    others = np.median(totals - differences.residual) / 2
    result: dict[frozenset[str], float] = {}
    for seeds in sorted({int(each) for each in differences.seeds}):
        places = [place for place in range(len(tables)) if differences.seeds[place] == seeds]
        low, high = float(totals[places].min()), float(totals[places].max())
        grid = np.geomspace(low, high, SPREAD) if 0 < low < high else np.array([high])
        residual = np.minimum(grid, float(np.median(differences.residual)))
        part = parts_of(seeds, grid, residual, np.full(len(scores) - 2, max(others, 0.0)), p=p)
        for place in places:
            rest = float(differences.residual[place])
            pair = Variances(
                max(float(totals[place]) - rest, 0.0), float(differences.prompt[place]) * prompts, rest * prompts
            )
            result[frozenset(list(tables)[place])] = smallest_seen(part, pair, prompts)
    return result


def run_costs(records: Sequence[RunRecord], all_records: Sequence[RunRecord]) -> tuple[Costs, bool]:
    """Return the mean costs of a run, and whether all of an evaluation is counted as growing with prompts.

    What tasks of lm-eval cost is known where evaluations without any are among the records. Else evaluations count
    whole, which makes prompts look dearer than they are.
    """
    training = float(np.mean([record.cost.train_seconds * (record.cost.devices or 1) for record in records]))
    by_prompt = [_by_sample(record) for record in records]
    plain = [_by_sample(record) for record in all_records if not record.evaluation.lm_eval]
    if not any(record.evaluation.lm_eval for record in records):
        return Costs(training, 0.0, float(np.mean(by_prompt))), False
    if not plain:
        return Costs(training, 0.0, float(np.mean(by_prompt))), True
    sample = min(float(np.mean(plain)), float(np.mean(by_prompt)))
    samples = float(np.mean([record.evaluation.prompts * record.evaluation.samples for record in records]))
    return Costs(training, (float(np.mean(by_prompt)) - sample) * samples, sample), False


def _by_sample(record: RunRecord) -> float:
    return record.cost.evaluate_seconds / (record.evaluation.prompts * record.evaluation.samples)


def _components(
    group: Group, names: Sequence[str], seeds: Sequence[int], tables: Array
) -> tuple[list[ArmComponents], int]:
    """Return the arms' components, with sampling noise where every run has the same several samples, and how many."""
    components = arm_components(tables)
    counts = {record.evaluation.samples for name in names for record in _test_records(group, name)}
    if counts == {1} or len(counts) != 1:
        return components, 1
    (samples,) = counts
    each = (seed_scores(group, name=f"target_sample_{number}") for number in range(1, samples + 1))
    single = np.array([[[scores[name][seed] for seed in seeds] for name in names] for scores in each])
    return with_noise(components, single), samples


def _arms(group: Group, objectives: Collection[str]) -> dict[str, dict[int, list[float]]]:
    scores = seed_scores(group)
    for name in objectives:
        if name not in scores:
            raise UsageError(f"objective {name!r} has no test scores in this table", fix=did_you_mean(name, scores))
    chosen = {name: rows for name, rows in scores.items() if not objectives or name in objectives}
    lone = [name for name, rows in chosen.items() if len(rows) < 2]
    if len(chosen) < 2:
        raise UsageError(
            f"the table of {group.suite} has test scores of {len(chosen)} objectives; power is of two or more",
            fix="bench run --loss dpo,ipo --seeds 2",
        )
    if lone:
        raise UsageError(
            f"{', '.join(lone)} {'has' if len(lone) == 1 else 'have'} one test seed: nothing tells how much another "
            "one would differ",
            fix="a pilot of two seeds tells it: the same `bench run` with --seeds 2; or leave it out with --objectives",
        )
    return chosen


def _test_records(group: Group, objective: str) -> Sequence[RunRecord]:
    best = group.best(objective)
    return () if best is None else best.test


def _quartiles(numbers: Sequence[float]) -> tuple[float, float, float]:
    low, middle, high = np.quantile([one for one in numbers if math.isfinite(one)], [0.25, 0.5, 0.75])
    return float(low), float(middle), float(high)

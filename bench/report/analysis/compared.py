"""The analysis of a group: each objective's best setting against the others, and what its sweep says."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from bench.core.record import RunRecord
from bench.errors import RunError, UsageError, did_you_mean
from bench.report.analysis.ranking import ranks
from bench.report.analysis.settings import Group, Setting, by_seed, interval, values
from bench.stats.budget import Sensitivity, hypervolume, reward_at_kl, sensitivity
from bench.stats.crossed import Components, crossed_interval, variance_components
from bench.stats.importance import importances
from bench.stats.intervals import LEVEL, Interval, mean_interval
from bench.stats.letters import compact_letters
from bench.stats.paired import PairedTest, holm, paired_tests, probability_of_improvement

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BASELINE = "dpo"

SEED = 1952

NONE = Interval(math.nan, math.nan, math.nan, "none", 0)

UNTESTED = PairedTest(NONE, math.nan)

ROUND = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""KL budgets, nats, of which a group's three largest are reported."""

Scores = dict[int, list[float]]

Pair = tuple[str, str]


@dataclass(frozen=True)
class Row:
    """What the comparison says of one objective; NaN and None where its runs cannot tell.

    ``mean``, ``iqm``: test target of its best setting. ``improvement``: probability that it beats the baseline on a
    prompt. ``to_first``: its test target minus the first row's, paired, with Holm's p over all pairs. ``letters``: rows
    that share one are not told apart. ``sensitivity``, ``hypervolume``, ``reward_at_kl``, ``importances``: of its
    sweep, on validation prompts.
    """

    objective: str
    rank: int | None
    mean: Interval
    iqm: Interval
    improvement: Interval
    to_first: PairedTest
    letters: str
    components: Components | None
    sensitivity: Sensitivity
    hypervolume: float
    reward_at_kl: tuple[float, ...]
    importances: dict[str, float]


@dataclass(frozen=True)
class Compared:
    """A group with its comparison: rows by objective, best first; what they are held against; KL budgets, nats."""

    group: Group
    rows: dict[str, Row]
    baseline: str | None
    budgets: tuple[float, float, float]


def compare_group(group: Group, *, baseline: str | None = None) -> Compared:
    """Return what the records say of each objective of ``group``, equal for equal records.

    ``baseline``: the objective that the others' probability of improvement is over; dpo where it was tested, else the
    first row. Differences are paired over the seeds that both objectives have and their prompts; without scores of
    prompts, over seeds alone. Raises UsageError for a baseline that has no test score.
    """
    places = ranks(group)
    scores = seed_scores(group)
    chosen = _baseline(baseline, list(places))
    tests = _tests(group, list(places), scores)
    adjusted = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
    different = {frozenset(pair) for pair, p in adjusted.items() if p < 1 - LEVEL}
    letters = compact_letters(list(places), different) if tests else {}
    budgets = kl_budgets(group)

    def row(name: str) -> Row:
        best = group.best(name)
        pair = (next(iter(places), name), name)
        table = list(scores.get(name, {}).values())
        swept = [setting for setting in group.settings if setting.objective == name]
        points = [(validation(one, "kl"), validation(one, "gold_reward")) for one in swept]
        return Row(
            objective=name,
            rank=places.get(name),
            mean=score_interval(best.test) if best else NONE,
            iqm=crossed_interval(table, statistic="iqm") if table else NONE,
            improvement=_improvement(name, chosen, scores),
            to_first=_turned(tests[pair], p=adjusted[pair]) if pair in tests else UNTESTED,
            letters=letters.get(name, ""),
            components=variance_components(table) if table else None,
            sensitivity=sensitivity([validation(one, "target") for one in swept]),
            hypervolume=hypervolume(points, kl_max=budgets[-1], reward_min=_reward_at_start(group)),
            reward_at_kl=tuple(reward_at_kl(points, budgets)),
            importances=_importances(swept),
        )

    untested = [name for name in group.objectives if name not in places]
    return Compared(group, {name: row(name) for name in [*places, *untested]}, chosen, budgets)


def score_interval(records: Sequence[RunRecord], *, name: str = "target") -> Interval:
    """Return the mean of one score with its 95 % interval, over seeds and prompts where all runs have both."""
    table = list(scores_of(records, name=name).values())
    if table and len(table) == len(values(records, name)) and len({len(row) for row in table}) == 1:
        return crossed_interval(table)
    return interval(records, name)


def validation(setting: Setting, name: str) -> float:
    """Return the mean of one metric on validation prompts; NaN unless each of the setting's runs completed."""
    if any(record.status != "completed" for record in setting.validation):
        return math.nan
    return interval(setting.validation, name).mean


def kl_budgets(group: Group) -> tuple[float, float, float]:
    """Return the three KL budgets, nats, at which rewards are compared: 2, 5 and 10 where a setting goes that far.

    Else they are the three largest of the series 1, 2, 5, 10, … that some setting's KL on validation prompts reaches.
    """
    found = [validation(setting, "kl") for setting in group.settings]
    reach = max((kl for kl in found if math.isfinite(kl)), default=ROUND[-1])
    at = max(3, sum(budget <= reach for budget in ROUND))
    return ROUND[at - 3], ROUND[at - 2], ROUND[at - 1]


def _baseline(given: str | None, tested: list[str]) -> str | None:
    if given is None:
        return BASELINE if BASELINE in tested else next(iter(tested), None)
    if given not in tested:
        raise UsageError(f"baseline {given!r} has no test score", fix=did_you_mean(given, tested))
    return given


def _improvement(name: str, baseline: str | None, scores: dict[str, Scores]) -> Interval:
    if baseline is None or name == baseline or not {name, baseline} <= scores.keys():
        return NONE
    first, second = scores[name], scores[baseline]
    seeds = sorted(first.keys() & second.keys())
    return probability_of_improvement([first[s] for s in seeds], [second[s] for s in seeds]) if seeds else NONE


def _tests(group: Group, names: list[str], scores: dict[str, Scores]) -> dict[Pair, PairedTest]:
    """Return the test of each pair, the higher rank first; pairs without common seeds or intervals are left out."""
    targets = {name: by_seed(best.test, "target") for name in names if (best := group.best(name)) is not None}
    tables: dict[Pair, tuple[list[list[float]], list[list[float]]]] = {}
    for pair in combinations(names, 2):
        first, second = (scores.get(name, {}) for name in pair)
        if seeds := sorted(first.keys() & second.keys()):
            tables[pair] = [first[seed] for seed in seeds], [second[seed] for seed in seeds]
    by_prompt = dict(zip(tables, paired_tests(list(tables.values())), strict=True))
    tests = {
        pair: by_prompt[pair] if pair in by_prompt else _seed_test(targets[pair[0]], targets[pair[1]])
        for pair in combinations(names, 2)
    }
    return {pair: test for pair, test in tests.items() if not math.isnan(test.p)}


def _seed_test(first: dict[int, float], second: dict[int, float]) -> PairedTest:
    """Return Student's paired test over common seeds, for scores of which the prompts are not known."""
    from scipy.special import stdtr

    gaps = [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]
    found = mean_interval(gaps)
    if len(gaps) < 2:
        return PairedTest(found, math.nan)
    error = math.sqrt(math.fsum((gap - found.mean) ** 2 for gap in gaps) / (len(gaps) - 1) / len(gaps))
    p = 2 * float(stdtr(len(gaps) - 1, -abs(found.mean) / error)) if error else float(found.mean == 0)
    return PairedTest(found, p)


def _turned(test: PairedTest, *, p: float) -> PairedTest:
    gap = test.difference
    return PairedTest(Interval(-gap.mean, -gap.high, -gap.low, gap.source, gap.n), p)


def _reward_at_start(group: Group) -> float:
    """Return the start model's reward, above which a frontier counts; without one, the lowest that a setting has."""
    start = validation(group.start, "gold_reward") if group.start is not None else math.nan
    if math.isfinite(start):
        return start
    found = (validation(setting, "gold_reward") for setting in group.settings)
    return min((reward for reward in found if math.isfinite(reward)), default=0.0)


def _importances(swept: Sequence[Setting]) -> dict[str, float]:
    points = [{**dict(one.params), "learning_rate": one.learning_rate} for one in swept]
    targets = [validation(one, "target") for one in swept]
    varied = {name for point in points for name in point if len({other.get(name) for other in points}) > 1}
    if not varied or sum(map(math.isfinite, targets)) < 2:
        return {}
    rows = [{name: point[name] for name in sorted(varied)} for point in points]
    return importances(rows, targets, seed=SEED)


def matched(group: Group, *, name: str = "target") -> "dict[str, NDArray[np.float64]]":
    """Return objective → test scores ``name`` of its best setting, (seeds, prompts), in the objectives' order.

    All arrays have the same seeds in their rows, those that every objective here has, and the same prompts in their
    columns, so entries at one place are paired. An objective without test scores is left out; without a seed that all
    have, nothing is left. Raises RunError where two runs were scored on different numbers of prompts.
    """
    import numpy as np

    found = seed_scores(group, name=name)
    common = set.intersection(*map(set, found.values())) if found else set()
    return {one: np.array([rows[seed] for seed in sorted(common)]) for one, rows in found.items() if common}


def seed_scores(group: Group, *, name: str = "target") -> dict[str, dict[int, list[float]]]:
    """Return objective → seed → test scores ``name`` over the prompts, for each best setting that has any.

    Raises RunError where two runs were scored on different numbers of prompts.
    """
    found = {}
    for objective in group.objectives:
        best = group.best(objective)
        rows = scores_of(best.test, name=name) if best is not None else {}
        if rows:
            found[objective] = rows
    sizes = sorted({len(row) for rows in found.values() for row in rows.values()})
    if len(sizes) > 1:
        raise RunError(
            f"runs of protocol {group.protocol} were scored on {' and '.join(map(str, sizes))} test prompts",
            fix="score them on the same prompts: `bench run` with the same suite and data",
        )
    return found


def scores_of(records: Sequence[RunRecord], *, name: str) -> dict[int, list[float]]:
    """Return seed → scores ``name`` over the prompts, of the completed records that have finite ones for each."""
    found = ((record.spec.seed, record.scores.get(name)) for record in records if record.status == "completed")
    return {seed: row for seed, row in found if row and all(map(math.isfinite, row))}

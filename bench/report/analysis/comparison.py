"""Comparison of the objectives of a group: verdicts on their best settings, and statistics of their sweeps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.core.record import RunRecord
from bench.errors import UsageError, did_you_mean
from bench.report.analysis.differences import against_first, group_margin, group_verdicts
from bench.report.analysis.prompt_scores import one_size, scores_of
from bench.report.analysis.race import out_at
from bench.report.analysis.ranking import ranks
from bench.report.analysis.settings import Group, Setting, interval, values
from bench.report.analysis.tasks import TaskComparison, compare_tasks
from bench.report.analysis.verdict import Standing, Verdict, verdict_of
from bench.stats.budget import Sensitivity, hypervolume, reward_at_kl, sensitivity
from bench.stats.crossed import Components, crossed_interval, variance_components
from bench.stats.importance import importances
from bench.stats.intervals import Interval, bare
from bench.stats.paired import probability_of_improvement
from bench.stats.race import UNKNOWN
from bench.stats.verdicts import PairVerdict, Verdicts, Word

BASELINE = "dpo"
SEED = 1952
NONE = bare(math.nan)
ROUND = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""KL budgets, nats, of which a group's three largest are reported."""

Scores = dict[int, list[float]]


@dataclass(frozen=True)
class ObjectiveResult:
    """The result of one objective; NaN and None where its runs do not suffice.

    ``mean``, ``iqm``: test target of its best setting. ``improvement``: probability that it beats the baseline on a
    prompt. ``to_first``, ``to_start``: its test target minus the first row's, and minus the start model's, with their
    words; in a race minus the first of the last look that it was in, and ``out_at`` the seeds at which it was dropped.
    ``sensitivity``, ``hypervolume``, ``reward_at_kl``, ``importances``: of its sweep, on validation prompts; ``swept``
    are its settings.
    """

    objective: str
    rank: int | None
    mean: Interval
    iqm: Interval
    improvement: Interval
    to_first: PairVerdict
    to_start: PairVerdict
    out_at: int | None
    components: Components | None
    sensitivity: Sensitivity
    hypervolume: float
    reward_at_kl: tuple[float, ...]
    swept: tuple[Setting, ...]

    @property
    def word(self) -> Word | None:
        """Its word against the first row; None for the first row, and without a test score."""
        return self.to_first.word if self.rank is not None and self.rank > 1 else None

    @cached_property
    def importances(self) -> dict[str, float]:
        """The share of the target's variance over the sweep that each varied parameter explains."""
        # half a second for each objective, and the page has no use for it
        return _importances(self.swept)


@dataclass(frozen=True)
class Comparison:
    """A group's results by objective, best first, and what they say together.

    ``baseline``: of the improvements. ``budgets``: KL, nats. ``verdicts``: on each pair, and against the start model.
    ``verdict``: the answer in a sentence.
    """

    group: Group
    results: dict[str, ObjectiveResult]
    baseline: str | None
    budgets: tuple[float, float, float]
    verdicts: Verdicts
    verdict: Verdict

    def result(self, setting: Setting) -> ObjectiveResult | None:
        """Return the result of the setting's objective where validation chose that setting, else None."""
        return self.results[setting.objective] if setting.best else None

    @property
    def first(self) -> Setting | None:
        """The best setting of the objective with the highest test target, None where nothing was tested."""
        name = next((name for name, result in self.results.items() if result.rank == 1), None)
        return None if name is None else self.group.best(name)

    @cached_property
    def tasks(self) -> TaskComparison:
        """The paired tests on lm-eval's tasks."""
        return compare_tasks(self.group, order=list(self.results))


def compare_group(group: Group, *, baseline: str | None = None, margin: float | None = None) -> Comparison:
    """Return the comparison of the objectives of ``group``, equal for equal records.

    Differences are paired over the seeds that both objectives have and their prompts; without scores of prompts, over
    seeds alone. Raises UsageError for a baseline that has no test score, and for a margin that is not above 0.

    Args:
        baseline: the objective that the others' probability of improvement is over; by default dpo, else the first row.
        margin: differences below it do not matter, in the target's unit; by default that of the suite.
    """
    check_margin(margin)
    ranking = ranks(group)
    scores = seed_scores(group)
    chosen = _baseline(baseline, list(ranking))
    verdicts = group_verdicts(group, list(ranking), margin=group_margin(group, margin))
    to_first = against_first(group, verdicts, next(iter(ranking), ""))
    dropped = {} if group.race is None else out_at(group.race)
    budgets, at_start = kl_budgets(group), _reward_at_start(group)

    def result(name: str) -> ObjectiveResult:
        best = group.best(name)
        table = list(scores.get(name, {}).values())
        swept = group.by_objective[name]
        points = [(validation(one, "kl"), validation(one, "gold_reward")) for one in swept]
        return ObjectiveResult(
            objective=name,
            rank=ranking.get(name),
            mean=score_interval(best.test) if best else NONE,
            iqm=crossed_interval(table, statistic="iqm") if table else NONE,
            improvement=_improvement(name, chosen, scores),
            to_first=to_first.get(name, UNKNOWN),
            to_start=verdicts.fixed.get(name, UNKNOWN),
            out_at=dropped.get(name),
            components=variance_components(table) if table else None,
            sensitivity=sensitivity([validation(one, "target") for one in swept]),
            hypervolume=hypervolume(points, kl_max=budgets[-1], reward_min=at_start),
            reward_at_kl=tuple(reward_at_kl(points, budgets)),
            swept=swept,
        )

    untested = [name for name in group.objectives if name not in ranking]
    results = {name: result(name) for name in [*ranking, *untested]}
    standings = [_standing(group, results[name], started=name in verdicts.fixed) for name in ranking]
    verdict = verdict_of(standings, verdicts, rate=group.target == "win_rate")
    return Comparison(group, results, chosen, budgets, verdicts, verdict)


def check_margin(margin: float | None) -> None:
    """Raise UsageError for a margin that is not above 0."""
    if margin is not None and not 0 < margin < math.inf:
        raise UsageError(f"--margin must be above 0 (got {margin:g})", fix="--margin 0.1, in the target's unit")


def _standing(group: Group, result: ObjectiveResult, *, started: bool) -> Standing:
    best = group.best(result.objective)
    assert best is not None  # it has a test score
    runs = [record for record in best.test if record.status == "completed"]
    seconds = math.fsum(record.cost.train_seconds + record.cost.evaluate_seconds for record in runs) / len(runs)
    kl = interval(best.test, "kl").mean
    return Standing(
        result.objective,
        result.mean.mean,
        len(runs),
        result.to_first,
        result.to_start if started else None,
        kl,
        seconds,
    )


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
    kls = [validation(setting, "kl") for setting in group.settings]
    reach = max((kl for kl in kls if math.isfinite(kl)), default=ROUND[-1])
    count = max(3, sum(budget <= reach for budget in ROUND))
    return ROUND[count - 3], ROUND[count - 2], ROUND[count - 1]


def _baseline(name: str | None, tested: list[str]) -> str | None:
    if name is None:
        return BASELINE if BASELINE in tested else next(iter(tested), None)
    if name not in tested:
        raise UsageError(f"baseline {name!r} has no test score", fix=did_you_mean(name, tested))
    return name


def _improvement(name: str, baseline: str | None, scores: dict[str, Scores]) -> Interval:
    if baseline is None or name == baseline or not {name, baseline} <= scores.keys():
        return NONE
    first, second = scores[name], scores[baseline]
    seeds = sorted(first.keys() & second.keys())
    return probability_of_improvement([first[s] for s in seeds], [second[s] for s in seeds]) if seeds else NONE


def _reward_at_start(group: Group) -> float:
    """Return the start model's reward, above which a frontier counts; without one, the lowest that a setting has."""
    start = validation(group.start, "gold_reward") if group.start is not None else math.nan
    if math.isfinite(start):
        return start
    rewards = (validation(setting, "gold_reward") for setting in group.settings)
    return min((reward for reward in rewards if math.isfinite(reward)), default=0.0)


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
    scores = seed_scores(group, name=name)
    common = set.intersection(*map(set, scores.values())) if scores else set()
    return {one: np.array([rows[seed] for seed in sorted(common)]) for one, rows in scores.items() if common}


def seed_scores(group: Group, *, name: str = "target") -> dict[str, dict[int, list[float]]]:
    """Return objective → seed → test scores ``name`` over the prompts, for each best setting that has any.

    Raises RunError where two runs were scored on different numbers of prompts.
    """
    scores = {}
    for objective in group.objectives:
        best = group.best(objective)
        rows = scores_of(best.test, name=name) if best is not None else {}
        if rows:
            scores[objective] = rows
    one_size(scores, protocol=group.protocol)
    return scores

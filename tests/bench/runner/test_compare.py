"""Selection: on validation, over all seeds of a setting, diverged settings out."""

from bench.core.record import Cost, Metric, RunRecord
from bench.core.specs import EvaluationSpec
from bench.report.analysis.selection import select_setting
from tests.bench.conftest import tiny_spec

EVALUATION = EvaluationSpec(split="validation", prompts=8, tokens=8, seed=0, pairs=8, beta0=0.1)
COST = Cost(
    train_seconds=1, evaluate_seconds=1, reference_seconds=0, tokens=1, forward_tokens=1, flops=1, peak_memory_bytes=1,
    device="cpu",
)  # fmt: skip


def record(beta: float, seed: int, target: float | None) -> RunRecord:
    spec = tiny_spec("dpo", params={"beta": beta}, seed=seed)
    metrics = () if target is None else (
        Metric(task="generation", split="validation", name="target", value=target, n=8),
    )  # fmt: skip
    return RunRecord(
        key=spec.key, evaluation_key=EVALUATION.digest(), protocol="p", spec=spec, evaluation=EVALUATION,
        status="diverged" if target is None else "completed", tuning={}, metrics=metrics, scores={}, curves={},
        cost=COST, provenance={},
    )  # fmt: skip


def select(records):
    """A record of the setting that is chosen, None where none is."""
    settings: dict[float, list] = {}
    for each in records:
        settings.setdefault(each.spec.params["beta"], []).append(each)
    place = select_setting(list(settings.values()), {}).chosen
    return None if place is None else list(settings.values())[place][0]


def test_the_highest_mean_over_seeds_wins_not_the_luckiest_seed():
    records = [record(0.1, 0, 9.0), record(0.1, 1, -9.0), record(0.3, 0, 1.0), record(0.3, 1, 1.0)]
    assert select(records).spec.params == {"beta": 0.3}


def test_a_setting_that_diverged_on_one_seed_is_not_chosen():
    records = [record(0.1, 0, 9.0), record(0.1, 1, None), record(0.3, 0, 1.0), record(0.3, 1, 1.0)]
    assert select(records).spec.params == {"beta": 0.3}


def test_nothing_is_chosen_where_everything_diverged():
    assert select([record(0.1, 0, None)]) is None

"""Details of each run for the page: numbers, specs, costs, and sampled completions, as plain JSON."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.core.record import START, Metric, RunRecord, named_measurement
from bench.core.samples import SampleRow, read_samples
from bench.errors import RunError
from bench.report.analysis.costs import total_cost
from bench.report.analysis.ranking import ranked
from bench.report.analysis.settings import Group, Setting
from bench.report.page.rows import PageRow
from bench.report.tables.text import reward_label, setting_text, target_label

PROMPTS = 12
"""Prompts whose completions are shown: the first ones of the split, so that nothing is picked by its looks."""
SAMPLED = 100
"""Settings of a group whose completions are shown, in the leaderboard's order."""
LONGEST = 1500
"""Characters of a text that are shown."""
SAMPLES = "samples.jsonl.gz"


@dataclass
class Pool:
    """Values that many runs share, each stored once; a run refers to them by their index."""

    values: list[object] = field(default_factory=list)
    indices: dict[str, int] = field(default_factory=dict)

    def index(self, value: object) -> int:
        """Return the index of ``value``, which is added if it is new."""
        text = json.dumps(value, sort_keys=True)
        if text not in self.indices:
            self.indices[text] = len(self.values)
            self.values.append(plain(value))
        return self.indices[text]


def group_data(group: Group, rows: Sequence[PageRow], pool: Pool, *, results: Path) -> dict[str, object]:
    """Return what the rows of one group show when they are opened, as plain JSON; ``rows`` are those of its table."""
    settings = ranked(group)
    starts = _start_samples(group, results)
    made: list[dict[str, object]] = []
    for index, (setting, row) in enumerate(zip(settings, rows, strict=True)):
        records = (*setting.test, *setting.validation)
        cost = asdict(total_cost(setting))
        made.append(
            {
                "id": row.name,
                "objective": setting.objective,
                "colour": row.colour,
                "mark": row.mark,
                "best": setting.best,
                "text": "untrained" if setting.objective == START else setting_text(setting, group),
                "notes": row.notes,
                "cost": {name: plain(value) for name, value in cost.items()},
                "runs": [_run(record, pool) for record in records],
                "samples": _samples(setting, starts, pool, results=results, include=index < SAMPLED),
            }
        )
    return {
        "settings": made,
        "beta0": group.beta0,
        "heads": {"target": target_label(group), "reward": reward_label(group)},
        "tuning": plain(dict(group.tuning)),
        "protocol": group.protocol,
    }


def plain(value: object) -> object:
    """Return ``value`` as JSON that every reader takes: what is not finite becomes null, floats have nine digits."""
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    return value


def _run(record: RunRecord, pool: Pool) -> dict[str, object]:
    spec = record.spec.model_dump(mode="json")
    judges = [judge.name for judge in record.evaluation.judges]
    return {
        "key": record.key,
        "evaluation": record.evaluation_key,
        "split": record.evaluation.split,
        "seed": record.spec.seed,
        "learning_rate": None if record.spec.objective == START else record.spec.train.learning_rate,
        "params": pool.index(spec["params"]),
        "status": record.status,
        "error": None if record.error is None else cut(record.error)[0],
        "target": _number(record.metric("target")),
        "gold_reward": _number(record.metric("gold_reward")),
        "kl": _number(record.metric("kl")),
        "seconds": plain(record.cost.train_seconds),
        "spec": {name: pool.index(value) for name, value in spec.items()},
        "evaluation_spec": pool.index(record.evaluation.model_dump(mode="json")),
        "provenance": {name: pool.index(value) for name, value in record.provenance.items()},
        "metrics": [_measured(metric, judges, pool) for metric in record.metrics],
    }


def _measured(metric: Metric, judges: Sequence[str], pool: Pool) -> list[float | None]:
    return [
        pool.index(list(named_measurement(metric.task, metric.name, judges))),
        _short(metric.value),
        _short(metric.stderr),
        metric.n,
    ]


def _number(metric: Metric | None) -> list[float | None] | None:
    return None if metric is None else [_short(metric.value), _short(metric.stderr)]


def _short(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def cut(text: str) -> tuple[str, int]:
    """Return the first ``LONGEST`` characters of ``text``, and how many were left out."""
    return text[:LONGEST], max(0, len(text) - LONGEST)


def _start_samples(group: Group, results: Path) -> dict[str, list[SampleRow]]:
    records = (*group.start.test, *group.start.validation) if group.start is not None else ()
    return {record.evaluation.split: _read(record, results)[0] for record in records}


def _samples(
    setting: Setting, starts: dict[str, list[SampleRow]], pool: Pool, *, results: Path, include: bool
) -> dict[str, object]:
    """Return the completions of a setting's first completed test run, else validation run, beside the start model's."""
    record = next((r for r in (*setting.test, *setting.validation) if r.status == "completed"), None)
    if record is None:
        return {"why": "No run of this setting was completed, so there are no completions."}
    if not include:
        return {"why": f"Completions are shown for the first {SAMPLED} settings of a table; they are in {SAMPLES}."}
    rows, why = _read(record, results)
    if why:
        return {"why": why}
    start = [] if setting.objective == START else starts.get(record.evaluation.split, [])
    return {
        "split": record.evaluation.split,
        "seed": record.spec.seed,
        "of": len(rows),
        "rows": [
            {
                "prompt": pool.index(cut(row.prompt)),
                "own": _completion(row),
                "start": pool.index(_completion(_same(row, index, start))),
            }
            for index, row in enumerate(rows[:PROMPTS])
        ],
    }


def _same(row: SampleRow, index: int, start: Sequence[SampleRow]) -> SampleRow | None:
    """Return the start model's completion of the same prompt: at the same index, or at that prompt's."""
    if index < len(start) and start[index].prompt_ids == row.prompt_ids:
        return start[index]
    return next((other for other in start if other.prompt_ids == row.prompt_ids), None)


def _completion(row: SampleRow | None) -> list[object] | None:
    return None if row is None else [*cut(row.text), _short(row.gold), _short(row.kl), row.ended]


def _read(record: RunRecord, results: Path) -> tuple[list[SampleRow], str]:
    path = results / "runs" / record.key / "evals" / record.evaluation_key / SAMPLES
    if not path.exists():
        return [], f"There are no completions: {SAMPLES} is not beside the record."
    try:
        rows = read_samples(path)
    except RunError:
        # what the error says names the folder, and a page must not depend on the place of its records
        return [], f"The completions cannot be shown: {SAMPLES} is damaged. `bench verify` names the file."
    return rows, "" if rows else "This evaluation samples no completions."

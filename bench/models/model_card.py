"""Model card of an exported run: start model, data, settings and measurements."""

import json
from collections.abc import Sequence

from bench.core.record import RunRecord, named_measurement
from bench.core.specs import RunSpec

LEADING = ("gold_reward", "kl", "target", "length", "win_rate", "lc_win_rate", "reward_accuracy", "acc", "acc_norm")
"""Metrics that come first in the card's table, as far as they were measured."""


def card(spec: RunSpec, key: str, records: Sequence[RunRecord], *, kind: str, dtype: str, base: str) -> str:
    """Return ``README.md`` with the header that a hub reads. The licence is the user's to say, so its line is empty.

    Args:
        kind: ``merged`` or ``adapter``.
        base: the start model's name, without a path of this machine.
    """
    library = "peft" if kind == "adapter" else "transformers"
    header = [
        "---",
        "# license: say it here; the start model's licence and that of the data bind it",
        f"base_model: {json.dumps(base, ensure_ascii=False)}",
        f"library_name: {library}",
        "pipeline_tag: text-generation",
        "tags:",
        *(f"- {json.dumps(tag)}" for tag in ("lossbench", spec.objective, *(["lora"] if spec.train.lora else []))),
        "---",
    ]
    what = "The adapter (LoRA) of a model" if kind == "adapter" else "A model"
    lines = [
        *header,
        "",
        f"# {base}, trained by {spec.objective}",
        "",
        f"{what} trained by lossbench, run `{key}`, weights in {dtype}.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {_cell(value)} |" for name, value in _facts(spec, base)),
        *_measured(records),
        "",
    ]
    return "\n".join(lines)


def _facts(spec: RunSpec, base: str) -> list[tuple[str, object]]:
    train, data = spec.train, spec.data
    params = ", ".join(f"{name} = {value:g}" for name, value in spec.params.items()) or "none"
    return [
        ("start model", base),
        ("its content (SHA-256)", f"`{spec.model.content}`"),
        ("data", data.source.replace("\\", "/").rpartition("/")[2]),
        ("its content (SHA-256)", f"`{data.content}`"),
        ("rows", f"{data.rows:,} {data.kind}"),
        ("objective", f"{spec.objective}, version {spec.objective_version}"),
        ("parameters", params),
        ("steps, batch", f"{train.steps}, {train.batch}"),
        ("learning rate", f"{train.learning_rate:g}, {train.lr_schedule}, warm-up {train.warmup:g}"),
        ("longest row", f"{train.max_length} tokens"),
        ("precision", train.precision),
        ("LoRA", _lora(spec)),
        ("seed", spec.seed),
    ]


def _lora(spec: RunSpec) -> str:
    lora = spec.train.lora
    if lora is None:
        return "none"
    bits = "" if lora.quantize is None else f", on layers rounded to {lora.quantize}"
    return f"rank {lora.rank}, α {lora.alpha:g}, dropout {lora.dropout:g}{bits}"


def _measured(records: Sequence[RunRecord]) -> list[str]:
    rows = []
    for record in sorted(records, key=lambda each: (each.evaluation.split, each.evaluation_key)):
        metrics = sorted(record.metrics, key=lambda m: LEADING.index(m.name) if m.name in LEADING else len(LEADING))
        judges = [judge.name for judge in record.evaluation.judges]
        for metric in metrics:
            task, name = named_measurement(metric.task, metric.name, judges)
            error = "" if metric.stderr is None else f"{metric.stderr:.4g}"
            cells = (_cell(task), metric.split, _cell(name), f"{metric.value:.4g}", error, metric.n)
            rows.append(f"| {' | '.join(map(str, cells))} |")
    if not rows:
        return []
    head = [
        "",
        "## Measured",
        "",
        "| task | split | metric | value | standard error | n |",
        "|---|---|---|---|---|---|",
    ]
    return [*head, *dict.fromkeys(rows)]


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")

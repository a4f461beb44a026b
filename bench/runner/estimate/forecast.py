"""Forecast of a plan: what each objective takes, what comes once for all, and the time that passes."""

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bench.core.specs import RunSpec, without_sources
from bench.runner.compare import workers_for
from bench.runner.estimate.amounts import Amounts, Drawn, extra_forwards
from bench.runner.estimate.memory import Memory, memory_of, resident_bytes
from bench.runner.estimate.outline import Outline
from bench.runner.estimate.probe import Rates
from bench.runner.estimate.seconds import (
    LIBRARIES,
    REPORT,
    REPORT_OBJECTIVE,
    Timing,
    measure,
)
from bench.runner.resources import Workers, this_machine
from bench.runner.search import Search, finished_runs

SURE, LESS_SURE = 0.3, 0.5
"""How far a time may be off, as a share: where the probe has the model's own widths (docs/benchmarks.md), and where it
took a narrower model for it."""
FORWARD, BACKWARD, INPUTS_ONLY = 2.0, 4.0, 2.0
"""Operations by parameter and token; the backward pass without gradients of weights, as under LoRA."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One objective. ``seconds`` of one worker, None where there is nothing to measure with; ``operations`` of
    training; ``memory`` of one process while it trains."""

    search: Search
    runs: int
    done: int
    steps: int
    tokens: float
    operations: float
    training: float | None
    evaluation: float | None
    memory: Memory

    @property
    def seconds(self) -> float | None:
        """Training and evaluation."""
        if self.training is None or self.evaluation is None:
            return None
        return self.training + self.evaluation


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a plan takes.

    Fields:
        start: seconds of the start model's evaluations; ``evaluation`` of one run's on test prompts.
        reference: completions that the reference scores, and ``reference_seconds``.
        before, after: seconds of loading and encoding, and of tables, figures and page.
        work: seconds of all workers together; None: unknown. ``wall``: time that passes, shortest and longest.
        off: how far a time may be off, as a share.
        unknown: what cannot be known here.
    """

    outline: Outline
    crew: Workers
    rates: Rates | None
    rows: tuple[Row, ...]
    start: float | None
    evaluation: float | None
    reference: Drawn | None
    reference_seconds: float | None
    before: float
    after: float
    work: float | None
    wall: float | None
    memory: Memory
    off: float
    unknown: tuple[str, ...]


def forecast(outline: Outline, *, started: float) -> Forecast:
    """Return what a plan takes, measured on this machine where it has the device.

    Args:
        started: CPU seconds of this process when the plan was begun, which a run spends as well.
    """
    plan, amounts = outline.plan, Amounts(outline)
    base = resident_bytes()
    device, unknown = device_of(plan.workspace.execution.device)
    gpu = device is None or device.type == "cuda"
    crew = workers_for(plan, machine=replace(this_machine(), cuda=gpu), parameters=outline.shape.parameters)
    rates = None
    if device is not None:
        torch.set_num_threads(crew.threads)
        rates = measure(amounts, device=device, workers=crew.workers)
    timing = None if rates is None else Timing(amounts, rates)
    memories = [
        memory_of(amounts, rates, (search,), base=base, workers=crew.workers, gpu=gpu) for search in plan.searches
    ]
    rows = tuple(_row(*each, amounts, timing) for each in zip(plan.searches, memories, strict=True))
    drawn = amounts.reference
    splits = ("validation", "test") if plan.final_seeds else ("validation",)
    left = sum(row.runs - row.done for row in rows)
    start = reference_seconds = evaluation = work = wall = None
    python = 0.02 if rates is None else rates.python
    samples = plan.workspace.evaluator.samples and left > 0
    before = started + outline.loading + outline.row_seconds * (outline.raw - outline.read)
    before += LIBRARIES * python * samples
    after = (REPORT + REPORT_OBJECTIVE * len(rows)) * python
    if timing is not None and rates is not None:
        each = [timing.evaluation(split) for split in splits]
        start = sum(one.start + one.reference for one in each) if left or not _any_done(rows) else 0.0
        evaluation = each[-1].run
        reference_seconds = 0.0
        if drawn is not None and left:
            reference_seconds = timing.forward(drawn.drawn * drawn.tokens + drawn.mismatched * drawn.seen)
            reference_seconds += timing.check
            # What finished runs read is there.
            reference_seconds *= left / sum(row.runs for row in rows)
        runs = sum(row.seconds or 0.0 for row in rows)
        slower = rates.contention if crew.workers > 1 else 1.0
        work = before + after + reference_seconds + (start + runs) * slower
        wall = before + after + reference_seconds / (crew.workers if crew.workers > 1 else 1)
        wall += _shared(rows, crew.workers, start) * slower
    unknown += _unknown(amounts)
    return Forecast(
        outline=outline,
        crew=crew,
        rates=rates,
        rows=rows,
        start=start,
        evaluation=evaluation,
        reference=drawn,
        reference_seconds=reference_seconds,
        before=before,
        after=after,
        work=work,
        wall=wall,
        memory=memory_of(amounts, rates, plan.searches, base=base, workers=crew.workers, gpu=gpu),
        off=SURE if rates is not None and rates.like and not outline.sampled else LESS_SURE,
        unknown=unknown,
    )


def _row(search: Search, memory: Memory, amounts: Amounts, timing: Timing | None) -> Row:
    plan = amounts.plan
    tried_seeds = (*plan.seeds, *plan.further_seeds)
    tried = len(search.points) * len(tried_seeds)
    runs = tried + len(plan.final_seeds)
    done_tried, done_finals = _done(search, amounts, tried_seeds)
    left = runs - done_tried - done_finals
    steps = left * plan.workspace.train.steps
    tokens = steps * amounts.step_tokens
    lora = plan.workspace.train.lora is not None
    operations = (
        FORWARD + (INPUTS_ONLY if lora else BACKWARD) + FORWARD * extra_forwards(search.objective, plan, search)
    )
    operations += FORWARD * plan.workspace.execution.gradient_checkpointing
    training = evaluation = None
    if timing is not None:
        training = timing.training(search) * left
        evaluation = timing.evaluation("validation").run * (tried - done_tried)
        if plan.final_seeds:
            evaluation += timing.evaluation("test").run * (len(plan.final_seeds) - done_finals)
    return Row(
        search=search,
        runs=runs,
        done=done_tried + done_finals,
        steps=steps,
        tokens=tokens,
        operations=operations * amounts.outline.shape.parameters * tokens,
        training=training,
        evaluation=evaluation,
        memory=memory,
    )


def _done(search: Search, amounts: Amounts, tried_seeds: Collection[int]) -> tuple[int, int]:
    """Return how many runs of a search are finished: by their keys where these are known, else by what was named."""
    plan, folder = amounts.plan, amounts.plan.workspace.results / "runs"
    if not folder.is_dir():
        return 0, 0
    if amounts.outline.exact:
        return finished_runs(search, plan.workspace, seeds=tuple(tried_seeds), final_seeds=plan.final_seeds)
    known = _named_runs(folder)

    def is_there(point: dict[str, float], seed: int) -> bool:
        return _named(search.spec(plan.workspace, point, seed=seed)) in known

    tried = sum(is_there(dict(point), seed) for point in search.points for seed in tried_seeds)
    finals = sum(any(is_there(dict(point), seed) for point in search.points) for seed in plan.final_seeds)
    return tried, finals


def _named_runs(folder: Path) -> set[str]:
    names = set()
    for path in folder.glob("[!.]*/spec.json"):
        if (path.parent / "manifest.json").is_file():
            try:
                names.add(_named(RunSpec.model_validate_json(path.read_text(encoding="utf-8"))))
            except (OSError, ValueError):
                continue
    return names


def _named(spec: RunSpec) -> str:
    """Return all that decides a run but the contents of model and data, by their names instead."""
    values = spec.model_dump(mode="json")
    source = [spec.model.source, spec.data.source]
    for name in ("model", "data"):
        values.pop(name)
    return json.dumps([source, without_sources(values)], sort_keys=True)


def _any_done(rows: Collection[Row]) -> bool:
    return any(row.done for row in rows)


def _shared(rows: Collection[Row], workers: int, start: float) -> float:
    """Return the time in which workers do all runs: the work by their number, and what the last ones wait for."""
    runs = [(row.seconds or 0.0, row.runs - row.done) for row in rows]
    total = sum(seconds for seconds, _ in runs) + start
    if workers == 1:
        return total
    longest = max((seconds / count for seconds, count in runs if count), default=0.0)
    # At the end of the trials and of the finals some workers have nothing to do, half of them on average.
    return max(total / workers, longest + start) + longest * (workers - 1) / workers


def device_of(name: str | None) -> tuple[torch.device | None, tuple[str, ...]]:
    """Return the device that a run would take; None, and why, where this machine has none of that kind."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu"), ()
    kind = name.partition(":")[0]
    if kind == "cuda" and not torch.cuda.is_available():
        return None, (f"time: this machine has no {name} to measure on",)
    if kind == "mps" and not torch.backends.mps.is_available():
        return None, (f"time: this machine has no {name} to measure on",)
    return torch.device(name), ()


def _unknown(amounts: Amounts) -> tuple[str, ...]:
    lines: list[str] = []
    tasks = amounts.tasks
    if tasks is not None and tasks.tokens is None:
        lines.append(f"lm-eval's {', '.join(tasks.names)}: its documents are counted when it runs; add its time")
    inputs = amounts.plan.workspace.judge_inputs
    judges = [] if inputs is None else list(inputs["test"].judges)
    if remote := [judge.name for judge in judges if judge.cost is not None]:
        lines.append(f"judge {', '.join(remote)}: how fast its address answers")
    if amounts.plan.request.pruner != "none":
        lines.append(f"pruner {amounts.plan.request.pruner}: runs that it ends early take less")
    return tuple(lines)

"""The reference stage: which completions trainings need log-probs of the start model for, and where they lie."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from bench.core.artifacts import Note
from bench.core.specs import RunSpec
from bench.data.collate import TokenRow, longest_of
from bench.models.logprobs import CompletionLogProbs
from bench.models.reference_cache import open_reference
from bench.models.reference_parts import Scoring, missing_share, open_parts
from bench.runner.hooks import Hooks
from bench.runner.plan import Plan
from bench.runner.workspace import Workspace
from bench.train.drawn_rows import MISMATCHED, Need, completions_of, joined, needs_of
from bench.train.sampler import schedule_at
from bench.train.training_reference import blocks_of, needs_of_run, open_references
from bench.utils.progress import clock
from losses import ReferenceSchedule

BATCH = 64
DISPLAY_SECONDS = 1.0
"""So often at most is told how far the scoring is."""


def planned_needs(plan: Plan, *, most: bool = False, rows: int | None = None) -> tuple[Need, ...]:
    """Return what the trainings read that a plan is sure to have: of all settings' seeds, and of the fresh ones.

    Where a sampler chooses the settings, the objectives' defaults stand for them.

    Args:
        most: with all seeds that a race can ask for.
        rows: of the data, where those that are here are a sample of so many.
    """
    workspace = plan.workspace
    here = len(workspace.data.rows)
    rows = here if rows is None else rows
    seeds = (*plan.seeds, *plan.further_seeds, *plan.final_seeds) if most else (*plan.seeds, *plan.sure_seeds)
    needs: list[Need] = []
    for search in plan.searches:
        points = search.params.values() or (search.objective.resolve(dict(search.fixed)),)
        schedules = {schedule_at(search.objective, point, sets=workspace.data_spec.sets) for point in points}
        for seed in seeds:
            for schedule in sorted(schedules, key=str):
                needs += needs_of(
                    search.objective, _scaled(schedule, rows / max(1, here)), workspace.train, seed=seed,
                    rows=rows, paired=workspace.data.kind == "pairs",
                )  # fmt: skip
    return joined(needs)


def _scaled(schedule: ReferenceSchedule, by: float) -> ReferenceSchedule:
    """Return the schedule of so many times as many rows: its stages are sets of rows."""
    if by == 1 or not schedule.shares:
        return schedule
    return replace(schedule, shares=tuple(max(1, round(each * by)) for each in schedule.shares))


def open_planned(plan: Plan, hooks: Hooks) -> None:
    """Compute what is missing of ``planned_needs``, but for mismatched completions, which their trainings add."""
    workspace = plan.workspace
    needs = [need for need in planned_needs(plan) if need.kind != MISMATCHED]
    missing = _missing(needs, workspace, hooks)
    scoring = scoring_of(workspace, hooks, needs=missing)
    for need in missing:
        open_parts(blocks_of(need, workspace.data), scoring)


def _missing(needs: Iterable[Need], workspace: Workspace, hooks: Hooks, spec: RunSpec | None = None) -> list[Need]:
    """Return what has to be computed of these needs, each with the completions that are missing."""
    scoring = scoring_of(workspace, hooks)
    shares = [(need, missing_share(blocks_of(need, workspace.data, spec), scoring)) for need in needs]
    return [replace(need, completions=round(share * need.completions)) for need, share in shares if share > 0]


def shared_parts(plan: Plan) -> tuple[Path, ...]:
    """Return the parts that hold all rows of the data, where trainings read them: workers share them in memory."""
    workspace = plan.workspace
    whole = [need for need in planned_needs(plan) if need.kind != MISMATCHED and need.seed is None]
    if len(whole) != 1:
        return ()
    # Computed a moment ago: what is missing after all is left to the workers.
    scoring = scoring_of(workspace, Hooks(step=lambda *_: None, note=lambda text: None, should_stop=lambda: False))
    each = blocks_of(whole[0], workspace.data)
    return () if missing_share(each, scoring) else open_parts(each, scoring)


def training_entries(workspace: Workspace, spec: RunSpec, hooks: Hooks) -> tuple[Path, ...]:
    """Return the parts of the reference that training ``spec`` reads, computing what is missing."""
    needs = needs_of_run(workspace.data, spec)
    if not needs:
        return ()
    threads = torch.get_num_threads()
    # Whichever training of a seed comes first computes: with as many threads as any other one.
    hooks.place(0, 0)
    try:
        missing = _missing(needs, workspace, hooks, spec)
        return open_references(workspace.data, spec, scoring_of(workspace, hooks, needs=missing))
    finally:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def scoring_of(workspace: Workspace, hooks: Hooks, *, needs: Iterable[Need] = ()) -> Scoring:
    """Return how completions are scored; ``needs``: what for, which progress is told of."""
    progress = _Progress(workspace, hooks, tuple(needs))

    def load() -> CompletionLogProbs:
        progress.begin()
        return CompletionLogProbs(
            workspace.start_model.to(workspace.device),
            packed=workspace.execution.layout == "packed",
            longest=workspace.train.max_length,
        )

    return Scoring(
        model_content=workspace.model_spec.content,
        precision=workspace.train.precision,
        layout=workspace.execution.layout,
        folder=workspace.results / "reference",
        load=load,
        pad_id=workspace.data.pad_id,
        note=lambda text: hooks.note(f"reference log-probs of the training data: {text}"),
        scored=progress.scored,
        should_stop=hooks.should_stop,
    )


class _Progress:
    """How far the scoring is, for people: a line at its start, and how much is done now and then."""

    def __init__(self, workspace: Workspace, hooks: Hooks, needs: Sequence[Need]) -> None:
        self._workspace, self._hooks, self._needs = workspace, hooks, needs
        self._done, self._started, self._displayed = 0, 0.0, 0.0

    def begin(self) -> None:
        """Say what is to be scored, once."""
        if self._started:
            return
        self._started = self._displayed = time.monotonic()
        data = self._workspace.data
        total = len(data.rows) * data.width
        drawn = [need for need in self._needs if need.kind != MISMATCHED]
        others = [need for need in self._needs if need.kind == MISMATCHED]
        parts = []
        if drawn:
            seeds = sorted({need.seed for need in drawn if need.seed is not None})
            which = f" (drawn by seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))})" if seeds else ""
            parts.append(f"{completions_of(drawn):,} of {total:,} completions{which}")
        if others:
            parts.append(f"{completions_of(others):,} mismatched ones")
        self._hooks.note(f"reference log-probs: {', '.join(parts)}")

    def scored(self, completions: int) -> None:
        """Count completions."""
        self._done += completions
        now, most = time.monotonic(), completions_of(self._needs)
        if now - self._displayed < DISPLAY_SECONDS or self._done >= most:
            return
        self._displayed = now
        left = (now - self._started) / self._done * (most - self._done)
        self._hooks.doing(f"reference log-probs · {self._done:,}/{most:,} completions · {clock(left)} left")


def open_rows(workspace: Workspace, rows: Sequence[TokenRow], *, precision: str, what: str, note: Note) -> Path:
    """Return the cache entry that holds ``rows``, as held-out pairs are, computing what is missing."""
    return open_reference(
        rows,
        model_content=workspace.model_spec.content,
        precision=precision,
        folder=workspace.results / "reference",
        load=lambda: CompletionLogProbs(
            workspace.start_model.to(workspace.device),
            packed=workspace.execution.layout == "packed",
            longest=longest_of(rows),
        ),
        pad_id=workspace.data.pad_id,
        batch=BATCH,
        note=lambda text: note(f"reference log-probs of the {what}: {text}"),
    )

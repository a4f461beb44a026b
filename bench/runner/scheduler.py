"""The order of a worker's tasks: a free setting of any search, else a seed of any final, else a pause."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from bench.core.manifest import is_complete
from bench.core.record import START, RunRecord
from bench.core.specs import RunSpec
from bench.runner.hooks import Hooks
from bench.runner.keys import evaluation_key, start_spec
from bench.runner.plan import Plan
from bench.runner.run import try_run
from bench.runner.search import Search
from bench.runner.storage import posts_storage, shared_storage, storage_faults
from bench.runner.study_manifest import post_plan
from bench.runner.trial import evaluator, failures_of, join, may_be_pruned
from sweeps.outcome import TrialResult
from sweeps.worker import Sweep, settled, take


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits after which a worker stops early: ``most`` settings and finals, or ``idle`` seconds of wait."""

    most: int | None = None
    idle: float | None = None

    def share(self, place: int, *, workers: int) -> "Limits":
        """Return the limits of one of several processes: its part of ``most``, and the same ``idle``."""
        if self.most is None:
            return self
        return replace(self, most=self.most // workers + (place < self.most % workers))


NO_LIMITS = Limits()

PAUSE_SECONDS = 0.2

Retry = Sequence[frozenset[int]]
"""For each search, the failed trials of earlier commands that this one tries again."""


@dataclass(frozen=True)
class Piece:
    """A run to be brought to its record, and the split that the record is about."""

    spec: RunSpec
    split: str

    @cached_property
    def name(self) -> tuple[str, str]:
        """What tells two pieces apart."""
        return self.spec.key, self.split


@dataclass(kw_only=True)
class Schedule:
    """A plan as one process sees it. What settled once, or was found on disk once, is not looked up again.

    By the place of a search in the plan: ``results``, the runs that it ``tried``, its ``finals``.
    """

    plan: Plan
    hooks: Hooks
    sweeps: tuple[Sweep, ...]
    results: dict[int, list[TrialResult]] = field(default_factory=dict)
    tried: dict[int, list[Piece]] = field(default_factory=dict)
    finals: dict[int, list[Piece]] = field(default_factory=dict)
    present: set[tuple[str, str]] = field(default_factory=set)

    @property
    def retry(self) -> Retry:
        """What the workers of one command share (see ``join_study``)."""
        return [sweep.ledger.settled_before for sweep in self.sweeps]


def open_schedule(plan: Plan, hooks: Hooks, *, retry: Retry | None) -> Schedule:
    """Open or join the studies of a plan; ``retry`` is None where no other process has opened them for this command."""
    each: Sequence[frozenset[int] | None] = [None] * len(plan.searches) if retry is None else retry
    storage = shared_storage(plan.request, hooks)
    pairs = zip(plan.searches, each, strict=True)
    with storage_faults():
        sweeps = tuple(join(plan, search, hooks, storage=storage, retry=known) for search, known in pairs)
        if retry is None and plan.request.study is not None:
            post_plan(plan, posts_storage(plan.request, hooks, storage))
    return Schedule(plan=plan, hooks=hooks, sweeps=sweeps)


def work(agenda: Schedule, limits: Limits = NO_LIMITS) -> bool:
    """Do what is free, and wait where only others can go on, until every result and record is there.

    Returns:
        Whether the plan is done; False where a limit came first.

    Raises:
        KeyboardInterrupt: the user asked to stop, between two pieces of work.
        RunError: the storage was away for longer than the request has patience.
    """
    done, last = 0, time.monotonic()
    while limits.most is None or done < limits.most:
        if agenda.hooks.should_stop():
            raise KeyboardInterrupt
        started = time.monotonic()
        with storage_faults():
            did = _next_piece(agenda)
        if did:
            last = time.monotonic()
            agenda.hooks.busy(started, last)
            done += did != START
        elif is_done(agenda):
            return True
        elif limits.idle is not None and time.monotonic() - last > limits.idle:
            return False
        else:
            time.sleep(PAUSE_SECONDS)
    return is_done(agenda)


def is_done(agenda: Schedule) -> bool:
    """Say whether every result and record is there."""
    with storage_faults():
        pieces, everything = _open_pieces(agenda)
    return everything and all(_is_present(agenda, piece) for piece in pieces)


def gather(agenda: Schedule) -> tuple[list[RunRecord], list[str]]:
    """Return the records of a finished agenda in the plan's order, and a line for each setting that failed."""
    plan = agenda.plan
    start = start_spec(plan.workspace)
    records = [_record(agenda, Piece(start, split)) for split in splits_of(plan)]
    failures: list[str] = []
    assert is_done(agenda)
    for place, search in enumerate(plan.searches):
        records += [_record(agenda, piece) for piece in (*agenda.tried[place], *agenda.finals[place])]
        failed = failures_of(search, agenda.results[place])
        for line in failed:
            agenda.hooks.note(line)
        if plan.final_seeds and not agenda.finals[place]:
            agenda.hooks.note(f"{search.objective.name}: no setting completed, so there is none to retrain")
        failures += failed
    return records, failures


def select(records: Sequence[RunRecord]) -> RunRecord | None:
    """Return a record of the setting with the highest mean target over its seeds; None where every setting diverged."""
    settings: dict[str, list[RunRecord]] = {}
    for record in records:
        settings.setdefault(record.spec.model_copy(update={"seed": 0}).canonical(), []).append(record)
    means: dict[str, float] = {}
    for setting, group in settings.items():
        targets = [metric.value for record in group if (metric := record.metric("target")) is not None]
        if len(targets) == len(group):
            means[setting] = sum(targets) / len(targets)
    return settings[max(means, key=means.__getitem__)][0] if means else None


def splits_of(plan: Plan) -> tuple[str, ...]:
    """Return the splits that the start model is measured on."""
    return ("validation", "test") if plan.final_seeds else ("validation",)


def _next_piece(agenda: Schedule) -> str | None:
    """Do one piece of work and say of which objective, of the start model too; None where nothing is free.

    Trials of all searches come first: finals have to wait for trials, so they are what fills the time in which a
    worker would wait for the last trials of others.
    """
    plan = agenda.plan
    agenda.hooks.place(0, 0)
    if _did(agenda, Piece(start_spec(plan.workspace), "validation")):
        return START
    for place, (search, sweep) in enumerate(zip(plan.searches, agenda.sweeps, strict=True)):
        if place not in agenda.results and take(sweep, evaluator(plan, search, sweep, agenda.hooks)):
            return search.objective.name
    pieces, _ = _open_pieces(agenda)
    return next((piece.spec.objective for piece in pieces if _did(agenda, piece)), None)


def _open_pieces(agenda: Schedule) -> tuple[list[Piece], bool]:
    """Return all runs but trials, done or not, and whether nothing else will be added to them."""
    start = start_spec(agenda.plan.workspace)
    pieces = [Piece(start, split) for split in splits_of(agenda.plan)]
    everything = True
    for place in range(len(agenda.plan.searches)):
        if place not in agenda.finals and not _choose_finals(agenda, place):
            # A settled search lacks a record only where somebody removed it.
            pieces, everything = [*pieces, *agenda.tried.get(place, ())], False
        else:
            pieces += agenda.finals[place]
    return pieces, everything


def _choose_finals(agenda: Schedule, place: int) -> bool:
    """Select on the records of a search; False while it is not settled, or a record is not there."""
    if place not in agenda.results:
        results = settled(agenda.sweeps[place])
        if results is None:
            return False
        agenda.results[place], agenda.tried[place] = results, _tried(agenda.plan, agenda.plan.searches[place], results)
    if not all(_is_present(agenda, piece) for piece in agenda.tried[place]):
        return False
    chosen = select([_record(agenda, piece) for piece in agenda.tried[place]])
    seeds = agenda.plan.final_seeds if chosen is not None else ()
    specs = [chosen.spec.model_copy(update={"seed": seed}) for seed in seeds if chosen is not None]
    agenda.finals[place] = [Piece(spec, "test") for spec in specs]
    return True


def _did(agenda: Schedule, piece: Piece) -> bool:
    """Bring a run to its record; False where it has one, or another process is at it."""
    return not _is_present(agenda, piece) and _bring(agenda, piece, wait=False) is not None


def _record(agenda: Schedule, piece: Piece) -> RunRecord:
    record = _bring(agenda, piece, wait=True)
    assert record is not None
    return record


def _bring(agenda: Schedule, piece: Piece, *, wait: bool) -> RunRecord | None:
    plan = agenda.plan
    if piece.split == "test" and piece.spec.objective != START:
        searches, seeds = [search.objective.name for search in plan.searches], plan.final_seeds
        position = searches.index(piece.spec.objective) * len(seeds) + seeds.index(piece.spec.seed)
        agenda.hooks.place(position, len(searches) * len(seeds))
    # Whatever the pruner would say now, the study has its result.
    prune = (lambda step, score: False) if may_be_pruned(plan, piece.spec, piece.split) else None
    return try_run(
        plan.workspace,
        piece.spec,
        piece.split,
        agenda.hooks,
        tuning=plan.protocol,
        files=plan.request.loss_files,
        wait=wait,
        prune=prune,
    )


def _is_present(agenda: Schedule, piece: Piece) -> bool:
    if piece.name not in agenda.present:
        plan = agenda.plan
        evaluation = plan.workspace.evaluation.model_copy(update={"split": piece.split})
        place = f"evals/{evaluation_key(evaluation, plan.protocol)}"
        pruned = [piece.spec.pruned_key(plan.protocol.hash)] if may_be_pruned(plan, piece.spec, piece.split) else []
        runs = plan.workspace.results / "runs"
        if any(is_complete(runs / key / place) for key in (piece.spec.key, *pruned)):
            agenda.present.add(piece.name)
    return piece.name in agenda.present


def _tried(plan: Plan, search: Search, results: Sequence[TrialResult]) -> list[Piece]:
    """Return the runs of a settled search: every seed of each setting, of a pruned one the first."""
    seeds = {"completed": plan.seeds, "diverged": plan.seeds, "pruned": plan.seeds[:1], "failed": ()}
    return [
        Piece(search.spec(plan.workspace, result.params, seed=seed), "validation")
        for result in results
        for seed in seeds[result.status]
    ]

"""The order of a worker's tasks: a free setting of any search, else a seed of any final, else a pause."""

import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.core.manifest import is_complete
from bench.core.record import START, RunRecord
from bench.core.results import read_record
from bench.report.analysis.selection import select_setting
from bench.runner.hooks import Hooks
from bench.runner.keys import evaluation_key, start_spec
from bench.runner.piece import Piece
from bench.runner.plan import Plan
from bench.runner.race import Racing, advance, end_text, look_text, open_racing
from bench.runner.race_history import history_path, write_history
from bench.runner.run import try_run
from bench.runner.search import Search
from bench.runner.storage import posts_storage, shared_storage, storage_faults
from bench.runner.study_manifest import post_plan
from bench.runner.trial import evaluator, failures_of, join, may_be_pruned
from sweeps.outcome import TrialResult
from sweeps.worker import Sweep, settled, take


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits after which a worker stops early: ``most`` settings and finals, or ``idle`` seconds of wait.

    ``deadline``: the moment of the monotonic clock, one for all processes of a machine, at which the work has to be
    over: what would not be finished by then is not begun.
    """

    most: int | None = None
    idle: float | None = None
    deadline: float | None = None

    def share(self, place: int, *, workers: int) -> "Limits":
        """Return the limits of one of several processes: its part of ``most``, and the rest as it is."""
        if self.most is None:
            return self
        return replace(self, most=self.most // workers + (place < self.most % workers))


NO_LIMITS = Limits()

PAUSE_SECONDS = 0.2
RECENT = 8
"""Pieces of work whose mean duration tells whether the next one fits into the time that is left."""

Retry = Sequence[frozenset[int]]
"""For each search, the failed trials of earlier commands that this one tries again."""


@dataclass(kw_only=True)
class Schedule:
    """A plan as one process sees it. What settled once, or was found on disk once, is not looked up again.

    By the place of a search in the plan: ``results``, the runs that it ``tried``, its ``finals``. ``racing``: the race
    over these, once every search has chosen. ``folders``: of the records in ``present``, by their pieces' names.
    ``positions``: of the race's pieces, in the look that they are for, and how many that one has.
    """

    plan: Plan
    hooks: Hooks
    sweeps: tuple[Sweep, ...]
    results: dict[int, list[TrialResult]] = field(default_factory=dict)
    tried: dict[int, list[Piece]] = field(default_factory=dict)
    finals: dict[int, list[Piece]] = field(default_factory=dict)
    folders: dict[tuple[str, str], Path] = field(default_factory=dict)
    racing: Racing | None = None
    positions: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    out_of_time: bool = False

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
    durations: deque[float] = deque(maxlen=RECENT)
    while limits.most is None or done < limits.most:
        if agenda.hooks.should_stop():
            raise KeyboardInterrupt
        started = time.monotonic()
        if limits.deadline is not None and started + _usual_seconds(agenda, durations) > limits.deadline:
            agenda.out_of_time = not is_done(agenda)
            return not agenda.out_of_time
        with storage_faults():
            did = _next_piece(agenda)
        if did:
            last = time.monotonic()
            agenda.hooks.busy(started, last)
            if did != START:
                done += 1
                durations.append(last - started)
        elif is_done(agenda):
            return True
        elif limits.idle is not None and time.monotonic() - last > limits.idle:
            return False
        else:
            time.sleep(PAUSE_SECONDS)
    return is_done(agenda)


def _usual_seconds(agenda: Schedule, durations: Collection[float]) -> float:
    """Return what a piece of work takes: the mean of the last ones, else of the race's trainings; 0 where none was."""
    known = list(durations)
    if not known and (racing := agenda.racing) is not None:
        known = [racing.seconds(arm, seed) for arm, records in racing.records.items() for seed in records]
    return sum(known) / max(1, len(known))


def is_done(agenda: Schedule) -> bool:
    """Say whether every result and record is there."""
    with storage_faults():
        pieces, everything = _open_pieces(agenda)
    return everything and all(_is_present(agenda, piece) for piece in pieces)


def gather(agenda: Schedule) -> tuple[list[RunRecord], list[str]]:
    """Return the records of an agenda in the plan's order, and a line for each setting that failed.

    It is finished, or its time was over; then those records are left out that are not there.
    """
    plan = agenda.plan
    assert is_done(agenda) or agenda.out_of_time
    pieces, _ = _open_pieces(agenda)
    wanted = {piece.name for piece in pieces}
    records = [_record(agenda, piece) for piece in pieces if piece.spec.objective == START and _there(agenda, piece)]
    failures: list[str] = []
    for place, search in enumerate(plan.searches):
        finals = [piece for piece in agenda.finals.get(place, ()) if piece.name in wanted]
        pieces = [*agenda.tried.get(place, ()), *finals]
        records += [_record(agenda, piece) for piece in pieces if _there(agenda, piece)]
        failed = failures_of(search, agenda.results.get(place, ()))
        for line in failed:
            agenda.hooks.note(line)
        if plan.final_seeds and place in agenda.finals and not agenda.finals[place]:
            agenda.hooks.note(f"{search.objective.name}: no setting completed, so there is none to retrain")
        failures += failed
    if (ending := _end(agenda)) is not None:
        agenda.hooks.note(ending)
    return records, failures


def _there(agenda: Schedule, piece: Piece) -> bool:
    return not agenda.out_of_time or _is_present(agenda, piece)


def _end(agenda: Schedule) -> str | None:
    """Return how the race ended, or how far the budget carried it; None where the plan has no race."""
    if agenda.racing is not None:
        return end_text(agenda.racing, out_of_time=agenda.out_of_time)
    if not agenda.out_of_time:
        return None
    settled_ones, searches = len(agenda.results), len(agenda.plan.searches)
    return (
        f"budget spent before the race: {settled_ones} of {searches} objectives have tried all their settings; "
        "the same command goes on"
    )


def _by_setting(records: Sequence[RunRecord]) -> list[list[RunRecord]]:
    settings: dict[str, list[RunRecord]] = {}
    for record in records:
        settings.setdefault(record.spec.model_copy(update={"seed": 0}).canonical(), []).append(record)
    return list(settings.values())


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
            pieces += agenda.finals[place][: len(agenda.plan.sure_seeds)]
    if agenda.plan.race is None or not everything:
        return pieces, everything
    racing = _replayed(agenda)
    return [*(piece for piece in pieces if piece.spec.objective == START), *racing.open], racing.is_over


def _replayed(agenda: Schedule) -> Racing:
    """Return the race as far as records are there; what is new in it goes to the user and into its history."""
    plan = agenda.plan
    racing, first = agenda.racing, agenda.racing is None
    if racing is None:
        # One objective may stand in a plan twice; its trainings are the same.
        finals = {search.objective.name: agenda.finals[place] for place, search in enumerate(plan.searches)}
        racing = agenda.racing = open_racing(plan, finals)
    was = racing.race
    new = advance(racing, is_present=lambda piece: _is_present(agenda, piece), read=lambda piece: _read(agenda, piece))
    if racing.race is was and not first:
        return racing
    for stage in racing.stages[1:]:
        agenda.positions |= {piece.name: (place, len(stage)) for place, piece in enumerate(stage)}
    path = history_path(plan.workspace.results, plan.protocol.hash)
    write_history(path, racing, protocol=plan.protocol.hash, folder_of=agenda.folders)
    count = len(racing.race.looks) - len(new)
    for number, (_, missing) in enumerate(new, count + 1):
        agenda.hooks.milestone(look_text(racing.race, number), missing)
    return racing


def _read(agenda: Schedule, piece: Piece) -> RunRecord:
    """Return a record that is there. Raises RunError where it is damaged."""
    return read_record(agenda.folders[piece.name])


def _choose_finals(agenda: Schedule, place: int) -> bool:
    """Select on the records of a search; False while it is not settled, or a record is not there.

    Settings that may be the best get further seeds, where the protocol has some: these are pieces that it ``tried``.
    """
    plan = agenda.plan
    if place not in agenda.results:
        results = settled(agenda.sweeps[place])
        if results is None:
            return False
        agenda.results[place], agenda.tried[place] = results, _tried(plan, plan.searches[place], results)
    while all(_is_present(agenda, piece) for piece in agenda.tried[place]):
        settings = _by_setting([_record(agenda, piece) for piece in agenda.tried[place]])
        selection = select_setting(settings, plan.protocol.model_dump(mode="json"))
        chosen = None if selection.chosen is None else settings[selection.chosen][0].spec
        if not selection.needs:
            seeds = plan.final_seeds if chosen is not None else ()
            specs = [chosen.model_copy(update={"seed": seed}) for seed in seeds if chosen is not None]
            agenda.finals[place] = [Piece(spec, "test") for spec in specs]
            return True
        specs = [settings[at][0].spec.model_copy(update={"seed": selection.seed}) for at in selection.needs]
        pieces = [Piece(spec, "validation") for spec in specs]
        agenda.tried[place] += pieces
        missing = sum(not _is_present(agenda, piece) for piece in pieces)
        name, count = plan.searches[place].objective.name, len(settings)
        text = f"{name}: {len(pieces)} of {count} settings may be the best: seed {selection.seed} for each of them"
        agenda.hooks.milestone(text, missing)
    return False


def _did(agenda: Schedule, piece: Piece) -> bool:
    """Bring a run to its record; False where it has one, or another process is at it."""
    return not _is_present(agenda, piece) and _bring(agenda, piece, wait=False) is not None


def _record(agenda: Schedule, piece: Piece) -> RunRecord:
    record = _bring(agenda, piece, wait=True)
    assert record is not None
    return record


def _bring(agenda: Schedule, piece: Piece, *, wait: bool) -> RunRecord | None:
    plan = agenda.plan
    if piece.name in agenda.positions:
        agenda.hooks.place(*agenda.positions[piece.name])
    elif piece.split == "test" and piece.spec.objective != START:
        searches, seeds = [search.objective.name for search in plan.searches], plan.sure_seeds
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
    if piece.name not in agenda.folders:
        plan = agenda.plan
        evaluation = plan.workspace.evaluation.model_copy(update={"split": piece.split})
        place = f"evals/{evaluation_key(evaluation, plan.protocol)}"
        pruned = [piece.spec.pruned_key(plan.protocol.hash)] if may_be_pruned(plan, piece.spec, piece.split) else []
        runs = plan.workspace.results / "runs"
        folders = (runs / key / place for key in (piece.spec.key, *pruned))
        if (folder := next(filter(is_complete, folders), None)) is not None:
            agenda.folders[piece.name] = folder
    return piece.name in agenda.folders


def _tried(plan: Plan, search: Search, results: Sequence[TrialResult]) -> list[Piece]:
    """Return the runs of a settled search: every seed of each setting, of a pruned one the first."""
    seeds = {"completed": plan.seeds, "diverged": plan.seeds, "pruned": plan.seeds[:1], "failed": ()}
    return [
        Piece(search.spec(plan.workspace, result.params, seed=seed), "validation")
        for result in results
        for seed in seeds[result.status]
    ]

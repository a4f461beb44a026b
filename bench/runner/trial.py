"""One trial: the study that it belongs to, the runs that it is made of, and when it may end early."""

import logging
from collections.abc import Callable, Sequence

from optuna.storages import BaseStorage

from bench.core.record import START
from bench.core.specs import RunSpec
from bench.errors import RunError
from bench.runner.hooks import Hooks
from bench.runner.plan import Plan
from bench.runner.run import run
from bench.runner.search import Search
from bench.runner.storage import patience_of
from bench.utils.event_log import bound, log_event
from bench.utils.redact import redact
from sweeps.errors import StorageAwayError
from sweeps.outcome import Outcome, TrialEvent, TrialResult
from sweeps.pruning import report_rung
from sweeps.storage import open_storage
from sweeps.study import open_study
from sweeps.worker import Sweep, join_study


def join(
    plan: Plan, search: Search, hooks: Hooks, *, storage: BaseStorage | None, retry: frozenset[int] | None
) -> Sweep:
    """Open or join the study of a search; ``retry`` as in ``join_study``. Without a storage it has its own journal."""
    request, name = plan.request, plan.study_name(search)
    if storage is None:
        journal = request.results / "studies" / name / "journal.log"
        storage = open_storage(f"journal:{journal}", patience=patience_of(request, hooks))
    study = open_study(name, storage=storage, sampler=request.sampler, seed=0, protocol=plan.protocol, **search.design)
    sweep = join_study(
        study,
        trials=None if request.sampler == "grid" else plan.trials,
        retry=retry,
        on_event=trial_log(name),
        lease_seconds=request.lease,
        **search.design,
    )
    log_retried(name, sweep, first=retry is None)
    return sweep


def evaluator(plan: Plan, search: Search, sweep: Sweep, hooks: Hooks) -> Callable[[dict[str, float], int], Outcome]:
    """Return what runs one trial: every seed of a setting, on validation prompts."""
    workspace, tuning, files = plan.workspace, plan.protocol, plan.request.loss_files

    def evaluate(point: dict[str, float], number: int) -> Outcome:
        try:
            return evaluated(point, number)
        except Exception as error:
            message = redact(str(error))
            if message == str(error):
                raise
        # What a study stores of a failure is the message with its traceback: neither may hold a key or a password.
        raise RunError(message)

    def evaluated(point: dict[str, float], number: int) -> Outcome:
        def prune(step: int, score: float) -> bool:
            try:
                return report_rung(sweep.ledger.study, number, step=step, score=score)
            except StorageAwayError:
                # Told to stop while the storage is away: the training goes on to where it saves its state.
                if hooks.should_stop():
                    return False
                raise

        # What a sampler chose has no place of its own: nobody knows which trial is the last one.
        if point in search.points:
            before = sum(other.trials for other in plan.searches[: plan.searches.index(search)])
            total = sum(other.trials for other in plan.searches)
            hooks.place(before + search.points.index(point), total)
        records = []
        for seed in plan.seeds:
            spec = search.spec(workspace, point, seed=seed)
            run_prune = prune if may_be_pruned(plan, spec, "validation") else None
            records.append(run(workspace, spec, "validation", hooks, tuning=tuning, files=files, prune=run_prune))
            if records[-1].status == "pruned":
                return Outcome(status="pruned", target=None, run_key=records[-1].key, error=None)
        diverged = [record for record in records if record.status != "completed"]
        if diverged:
            return Outcome(status="diverged", target=None, run_key=diverged[0].key, error=diverged[0].error)
        targets = [metric.value for record in records if (metric := record.metric("target")) is not None]
        return Outcome(status="completed", target=sum(targets) / len(targets), run_key=records[0].key, error=None)

    return logged_trial(plan.study_name(search), evaluate)


def may_be_pruned(plan: Plan, spec: RunSpec, split: str) -> bool:
    """Say whether a run can be ended early: the first seed of a trial alone, so that trials compare like with like."""
    tuned = split == "validation" and spec.objective != START
    return plan.request.pruner != "none" and tuned and spec.seed == plan.seeds[0]


def failures_of(search: Search, results: Sequence[TrialResult]) -> list[str]:
    """Return a line for each setting of a search that failed."""
    return [
        f"{search.objective.name} {result.params}: failed: {(result.error or 'no reason given').splitlines()[0]}"
        for result in results
        if result.status == "failed"
    ]


NAMES = {"started": "trial_claimed", "finished": "trial_settled", "lost": "trial_lost", "waiting": "trial_waiting"}

Evaluate = Callable[[dict[str, float], int], Outcome]


def trial_log(study: str) -> Callable[[TrialEvent], None]:
    """Return a callback that writes the events of a study's trials into the log."""

    def write(event: TrialEvent) -> None:
        fields: dict[str, object] = {"study": study, "trial": event.number, "params": event.params}
        level = logging.WARNING if event.kind == "lost" else logging.INFO
        if (result := event.result) is not None:
            fields |= {"status": result.status, "target": result.target, "run": result.run_key}
            fields |= {"seconds": result.seconds, "error": result.error}
            level = logging.ERROR if result.status == "failed" else level
        log_event(NAMES[event.kind], {**fields, "settled": event.settled, "of": event.total}, level=level)

    return write


def log_retried(study: str, sweep: Sweep, *, first: bool) -> None:
    """Log which failed trials a command tries again; only the process that read them (``first``) does so."""
    if first and sweep.ledger.settled_before:
        log_event("trials_retried", {"study": study, "trials": sorted(sweep.ledger.settled_before)})


def logged_trial(study: str, evaluate: Evaluate) -> Evaluate:
    """Return ``evaluate`` with study and trial in every event of its time."""

    def logged(params: dict[str, float], number: int) -> Outcome:
        with bound({"study": study, "trial": number}):
            return evaluate(params, number)

    return logged

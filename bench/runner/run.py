"""The stages of one run: reference → train → evaluate → record. A stage whose output lies whole is skipped."""

import copy
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.core.artifacts import verify_folder, write_whole
from bench.core.manifest import is_complete
from bench.core.record import START, RunRecord
from bench.core.results import read_record
from bench.core.samples import write_samples
from bench.core.specs import EvaluationSpec, RunSpec
from bench.errors import RunError
from bench.evaluate.checkpoint import EvaluationResult
from bench.evaluate.tasks.scored_documents import write_documents
from bench.models.adapters import load_trained
from bench.models.matmul import current_route
from bench.models.packed.kernels import kernels
from bench.runner.cost import cost_of
from bench.runner.evaluation_log import follow_evaluation
from bench.runner.hooks import Hooks
from bench.runner.keys import evaluation_key, start_spec
from bench.runner.measure import SAMPLES, measure, training_metrics
from bench.runner.pruning import rung_scorer
from bench.runner.reference import training_entries
from bench.runner.reuse import reissue
from bench.runner.training_result import read_training_result
from bench.runner.workspace import Workspace
from bench.train.distributed.launcher import launch
from bench.train.early_stop import EarlyStop, Prune
from bench.train.energy import start_meter
from bench.train.job import Inputs, TrainJob, lease
from bench.train.training_log import track_record, track_training
from bench.utils.environment import environment
from bench.utils.event_log import stage
from bench.utils.process import give_back_memory
from losses import get
from losses.fingerprint import fingerprint
from sweeps.heartbeat import worker_id
from sweeps.protocol import TuningProtocol


def run(
    workspace: Workspace,
    spec: RunSpec,
    split: str,
    hooks: Hooks,
    *,
    tuning: TuningProtocol,
    files: Sequence[Path] = (),
    prune: Prune | None = None,
    first: Workspace | None = None,
) -> RunRecord:
    """Bring one run to its record on one split, doing only what is missing. Returns the record."""
    record = try_run(workspace, spec, split, hooks, tuning=tuning, files=files, wait=True, prune=prune, first=first)
    assert record is not None
    return record


def try_run(
    workspace: Workspace,
    spec: RunSpec,
    split: str,
    hooks: Hooks,
    *,
    tuning: TuningProtocol,
    files: Sequence[Path],
    wait: bool,
    prune: Prune | None = None,
    first: Workspace | None = None,
) -> RunRecord | None:
    """Do as ``run``; without ``wait``, leave a run that another process is at to it, and return None.

    Args:
        prune: called at each of the protocol's rungs; None: the run goes to its end, as a final does.
        first: whose start model the run is measured against, and has as its reference if the spec names one; None:
            its own.
    """
    evaluation = workspace.evaluation.model_copy(update={"split": split})
    if first is not None:
        evaluation = evaluation.model_copy(update={"against": first.model_spec.content})
    job = TrainJob(
        spec=spec,
        execution=workspace.execution,
        model=workspace.model.resolve(),
        data=workspace.data_folder.resolve(),
        references=(),
        results=workspace.results.resolve(),
        objective_files=tuple(path.resolve() for path in files),
        pruning=tuning.hash if prune is not None else None,
    )
    name = evaluation_key(evaluation, tuning)
    if job.finished is not None and is_complete(job.finished / "evals" / name):
        return read_record(job.finished / "evals" / name)
    with lease(job, wait=wait) as acquired:
        if not acquired:
            return None
        if job.finished is None:
            with stage("train", {"run": spec.key, "objective": spec.objective, "seed": spec.seed}):
                _train(workspace, job, hooks, tuning=tuning, prune=prune, first=first)
        elif problems := verify_folder(job.finished):
            raise RunError(
                f"run {job.finished.name} is damaged: {problems[0]}", fix=f"remove {job.finished} and run again"
            )
        assert job.finished is not None
        place = job.finished / "evals" / name
        give_back_memory()
        if not is_complete(place) and not reissue(place, evaluation, tuning):
            with stage("evaluate", {"run": spec.key, "objective": spec.objective, "split": split}):
                _evaluate(workspace, job, evaluation, place, hooks, tuning=tuning, first=first or workspace)
    return read_record(place)


def _train(
    workspace: Workspace,
    job: TrainJob,
    hooks: Hooks,
    *,
    tuning: TuningProtocol,
    prune: Prune | None,
    first: Workspace | None,
) -> None:
    if job.spec.objective == START:
        text = job.spec.model_dump_json(indent=2) + "\n"

        def write(partial: Path) -> None:
            (partial / "spec.json").write_text(text, encoding="utf-8")

        write_whole(job.run, write, stage="train")
        return
    source = workspace
    if job.spec.reference is not None and first is not None:
        source = replace(workspace, model=first.model, model_spec=first.model_spec)
    entries = training_entries(source, job.spec, hooks)
    ready = job.model_copy(update={"references": tuple(path.resolve() for path in entries)})
    rungs = None
    if prune is not None:
        rungs = EarlyStop(steps=tuning.rungs, score=rung_scorer(workspace, job.spec), prune=prune)
    with track_training(ready, trackers=hooks.trackers, worker=worker_id()) as track:

        def report(step: int, row: dict[str, float | None]) -> None:
            track(step, row)
            hooks.step(job.spec, step, row)

        def should_stop() -> bool:
            # Called after each step: from the first on there is something to save.
            hooks.stop.training = True
            return hooks.should_stop()

        try:
            launch(
                ready,
                report=report,
                should_stop=should_stop,
                inputs=lambda job: _resident(workspace, job),
                rungs=rungs,
                note=hooks.note,
            )
        finally:
            hooks.stop.training = False
    if hooks.stop.requested:  # while the finished run was written; what follows does not look at it
        raise KeyboardInterrupt


def _resident(workspace: Workspace, job: TrainJob) -> Inputs:
    """Return what a job trains from, taken from memory: loaded once a process, or once for all by a fork."""
    return Inputs(
        model=copy.deepcopy(workspace.start_model),
        tokenizer=workspace.tokenizer,
        data=workspace.data,
        reference=workspace.training_references(job.references),
    )


def _evaluate(
    workspace: Workspace,
    job: TrainJob,
    evaluation: EvaluationSpec,
    place: Path,
    hooks: Hooks,
    *,
    tuning: TuningProtocol,
    first: Workspace,
) -> None:
    """Measure the checkpoint and write its record. A run that diverged or was pruned has none, and stays as such."""
    spec, trained = job.spec, read_training_result(job)
    baseline = None
    if spec.objective != START and trained["status"] == "completed":
        # Only now: another worker may well have measured the start model while this run trained.
        baseline = run(first, start_spec(first), evaluation.split, hooks, tuning=tuning)
    started, meter = time.monotonic(), start_meter(workspace.device)
    evaluated = EvaluationResult()
    if trained["status"] == "completed":
        start = workspace.start_model
        model = start if spec.objective == START else load_trained(job.run, start, spec=spec)
        model = model.to(workspace.device)
        with follow_evaluation(
            job.work, spec, split=evaluation.split, worker=worker_id(), show=hooks.doing
        ) as progress:
            evaluated = measure(
                model,
                first,
                spec=spec,
                evaluation=evaluation,
                baseline=baseline,
                note=hooks.note,
                progress=progress,
            )
    curves = workspace.evaluator.frontiers() if spec.objective == START else None
    record = RunRecord(
        key=place.parent.parent.name,
        evaluation_key=place.name,
        protocol=tuning.hash,
        status=trained["status"],
        error=trained["error"],
        spec=spec,
        evaluation=evaluation,
        tuning=tuning.model_dump(mode="json"),
        metrics=(*evaluated.metrics, *training_metrics(spec, evaluation, trained)),
        scores=dict(evaluated.scores),
        outcomes=dict(evaluated.tasks.outcomes),
        curves=trained["curves"],
        cost=cost_of(workspace, spec, trained, evaluate_seconds=time.monotonic() - started, meter=meter),
        provenance={
            **environment(),
            "fp32_matmul": current_route(),
            "kernels": "torch" if kernels() is None or workspace.device.type != "cpu" else "C",
            "layout": trained.get("layout"),
            "loss_fingerprint": None if spec.objective == START else fingerprint(get(spec.objective).bind(spec.params)),
            "lm_eval_tasks": _task_versions(first, evaluated),
            **({"rungs": trained["rungs"]} if trained.get("rungs") else {}),
            **({"frontier": curves} if curves else {}),
            **({"lm_eval_notes": list(evaluated.tasks.notes)} if evaluated.tasks.notes else {}),
            **({"lm_eval_uncompared": list(evaluated.tasks.uncompared)} if evaluated.tasks.uncompared else {}),
        },
    )

    def write(partial: Path) -> None:
        (partial / "record.json").write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
        write_samples(partial / SAMPLES, evaluated.rows)
        write_documents(partial, evaluated.tasks.documents)

    write_whole(place, write, stage="evaluate")
    track_record(record, results=workspace.results, trackers=hooks.trackers)


def _task_versions(workspace: Workspace, evaluated: EvaluationResult) -> dict[str, str]:
    """Return the version of each lm-eval task and group that was measured; none for a run without metrics."""
    tasks = workspace.tasks if workspace.evaluator.samples and evaluated.metrics else None
    return {} if tasks is None else dict(tasks.versions)

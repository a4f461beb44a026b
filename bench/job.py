"""Owns one training job: what it needs, written to a work folder, run here or by many ranks, kept whole when done.

``torchrun --nproc_per_node 2 -m bench.job WORK_DIR`` or ``accelerate launch -m bench.job WORK_DIR`` run it on ranks.
"""

import contextlib
import fcntl
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from bench.errors import BenchError, RunError
from bench.logs import join_log
from bench.report.store import is_complete, write_text_whole, write_whole
from bench.spec import Execution, RunSpec

if TYPE_CHECKING:
    from bench.data.tokens import Encoded
    from bench.rungs import Rungs

Report = Callable[[int, dict[str, float | None]], None]


class TrainJob(BaseModel):
    """A run's spec and where its inputs lie. Paths are here and never in the spec."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: RunSpec
    execution: Execution
    model: Path
    data: Path
    references: tuple[Path, ...]
    results: Path
    objective_files: tuple[Path, ...] = ()
    pruning: str | None = None

    @property
    def run(self) -> Path:
        """Where the finished run lies."""
        return self.results / "runs" / self.spec.key

    @property
    def pruned_run(self) -> Path | None:
        """Where the run lies if ``pruning``, the protocol of that hash, ended it."""
        return None if self.pruning is None else self.results / "runs" / self.spec.pruned_key(self.pruning)

    @property
    def finished(self) -> Path | None:
        """Where the run lies whole, ended early or not; None where it does not."""
        places = (self.pruned_run, self.run)
        return next((place for place in places if place is not None and is_complete(place)), None)

    @property
    def work(self) -> Path:
        """Where the unfinished run keeps its lease and its state."""
        return self.results / "work" / self.spec.key


@contextlib.contextmanager
def lease(job: TrainJob, *, wait: bool) -> Iterator[bool]:
    """Hold the run's lease: of two processes that meet at one run, one trains and the other finds it done.

    The lease is a file lock, so a killed process gives it back. Yields False where ``wait`` is off and it is taken.
    """
    job.work.mkdir(parents=True, exist_ok=True)
    with (job.work / "lease").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
        if job.finished is not None:
            shutil.rmtree(job.work, ignore_errors=True)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a job trains from. ``model`` is the job's own, to be changed; the rest is only read."""

    model: Any
    tokenizer: Any
    data: "Encoded"
    reference: Any


def read_inputs(job: TrainJob) -> Inputs:
    """Read everything from disk, as ranks do that other processes start."""
    from bench.data.table import read_encoded
    from bench.model import load_model, load_tokenizer
    from bench.reference import read_references

    return Inputs(
        model=load_model(job.model),
        tokenizer=load_tokenizer(job.model),
        data=read_encoded(job.data),
        reference=read_references(job.references) if job.references else None,
    )


def run_job(
    job: TrainJob,
    *,
    report: Report,
    should_stop: Callable[[], bool],
    inputs: Callable[[TrainJob], Inputs] = read_inputs,
    rungs: "Rungs | None" = None,
) -> None:
    """Train in this process (one of the ranks, where there are several) and write the run's folder whole.

    Args:
        inputs: gives what the job trains from; a process that has it in memory need not read it again.
        rungs: where the run may be ended early; None: nowhere.

    Raises:
        RunError: the step-0 parity gate failed, a cache row is missing, or the world size is not the one asked for.
    """
    import torch
    from accelerate import Accelerator

    from bench.checkpoint import save_checkpoint
    from bench.energy import energy_of, start_meter
    from bench.model import with_lora
    from bench.train import train
    from losses import get, register_file

    for path in job.objective_files:
        register_file(path)
    # Without a GPU accelerate joins the ranks only where it is told that they are on the CPU.
    accelerator = Accelerator(cpu=job.execution.device == "cpu" or not torch.cuda.is_available())
    if accelerator.num_processes != job.execution.processes:
        raise RunError(
            f"{job.execution.processes} processes were asked for, {accelerator.num_processes} are running",
            fix="start with torchrun --nproc_per_node N, and give the same N to --processes",
        )
    spec = job.spec
    torch.manual_seed(spec.seed)
    given = inputs(job)
    model = given.model
    if spec.train.lora is not None:
        model = with_lora(model, spec.train.lora, seed=spec.seed)
    objective = get(spec.objective)
    meter = start_meter(job.execution, accelerator.device)
    progress = train(
        model.to(accelerator.device),
        spec=spec,
        objective=objective,
        data=given.data,
        reference=given.reference,
        execution=job.execution,
        accelerator=accelerator,
        state=job.work,
        report=report if accelerator.is_main_process else lambda step, row: None,
        should_stop=should_stop,
        ends_early=lambda step: rungs is not None and rungs.ends(step, model),
    )
    if accelerator.is_main_process:
        energy = energy_of(meter, seconds=progress.seconds).model_dump(mode="json")
        trained = {**vars(progress), "rungs": {} if rungs is None else rungs.scores, "energy": energy}
        place = job.pruned_run if progress.status == "pruned" else job.run
        assert place is not None

        def write(partial: Path) -> None:
            (partial / "spec.json").write_text(spec.model_dump_json(indent=2) + "\n", encoding="utf-8")
            (partial / "train.json").write_text(json.dumps(trained, indent=1) + "\n", encoding="utf-8")
            rows = [dict(zip(progress.curves, row, strict=True)) for row in zip(*progress.curves.values(), strict=True)]
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (partial / "metrics.jsonl").write_text(lines, encoding="utf-8")
            if progress.status == "completed":
                save_checkpoint(model, given.tokenizer, partial / "checkpoint")

        write_whole(place, write, stage="train")
    accelerator.wait_for_everyone()


def write_job(job: TrainJob) -> Path:
    """Write the job into its work folder, for ranks that other processes start."""
    job.work.mkdir(parents=True, exist_ok=True)
    write_text_whole(job.work / "job.json", job.model_dump_json(indent=1) + "\n")
    return job.work


def main(arguments: list[str]) -> int:
    """Run the job in the work folder that the command line names; progress goes to its ``progress.jsonl``."""
    if len(arguments) != 1:
        print("usage: torchrun --nproc_per_node N -m bench.job WORK_DIR", file=sys.stderr)
        return 2
    from bench.matmul import take_fastest_route

    work = Path(arguments[0])
    take_fastest_route()
    join_log()
    try:
        job = TrainJob.model_validate_json((work / "job.json").read_text(encoding="utf-8"))
        with (work / "progress.jsonl").open("a", encoding="utf-8") as lines:

            def report(step: int, row: dict[str, float | None]) -> None:
                print(json.dumps(row), file=lines, flush=True)

            run_job(job, report=report, should_stop=lambda: (work / "stop").exists())
    except KeyboardInterrupt:
        return 130
    except BenchError as error:
        (work / "error.txt").write_text(str(error), encoding="utf-8")
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

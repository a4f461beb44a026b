"""A training job: its inputs on disk, its run in this process or by many ranks, and the folder that it leaves."""

import contextlib
import fcntl
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from bench.core.artifacts import write_whole
from bench.core.manifest import is_complete
from bench.core.record import Energy
from bench.core.specs import Execution, RunSpec
from bench.utils.files import write_text_whole

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from bench.data.tokens import Encoded
    from bench.train.early_stop import EarlyStop
    from bench.train.progress import Progress
    from bench.train.training_reference import TrainingReference

Report = Callable[[int, dict[str, float | None]], None]


class TrainJob(BaseModel):
    """A run's spec and the paths of its inputs. Paths are here and never in the spec."""

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
        """Folder of the finished run."""
        return self.results / "runs" / self.spec.key

    @property
    def pruned_run(self) -> Path | None:
        """Folder of the run if ``pruning``, the protocol of that hash, ended it."""
        return None if self.pruning is None else self.results / "runs" / self.spec.pruned_key(self.pruning)

    @property
    def finished(self) -> Path | None:
        """Folder of the complete run, ended early or not; None where there is none."""
        folders = (self.pruned_run, self.run)
        return next((folder for folder in folders if folder is not None and is_complete(folder)), None)

    @property
    def work(self) -> Path:
        """Folder of the unfinished run's lease and state."""
        return self.results / "work" / self.spec.key


@contextlib.contextmanager
def lease(job: TrainJob, *, wait: bool, name: str = "lease") -> Iterator[bool]:
    """Hold the run's lease: of two processes that meet at one run, one trains and the other finds it done.

    The lease is a file lock, so a killed process gives it back. Yields False where ``wait`` is off and it is taken.

    Args:
        name: of the file. The process that ranks work for holds ``lease``, the first rank itself ``ranks``.
    """
    job.work.mkdir(parents=True, exist_ok=True)
    with (job.work / name).open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
        if name == "lease" and job.finished is not None:
            shutil.rmtree(job.work, ignore_errors=True)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a job trains from. ``model`` is the job's own, to be changed; the rest is only read."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    data: "Encoded"
    reference: "TrainingReference | None"


def read_inputs(job: TrainJob) -> Inputs:
    """Read everything from disk, as ranks do that other processes start."""
    from bench.data.table import read_encoded
    from bench.models.loading import load_model, load_tokenizer
    from bench.train.training_reference import read_training_reference

    return Inputs(
        model=load_model(job.model),
        tokenizer=load_tokenizer(job.model),
        data=read_encoded(job.data),
        reference=read_training_reference(job.references),
    )


def run_job(
    job: TrainJob,
    *,
    report: Report,
    should_stop: Callable[[], bool],
    inputs: Callable[[TrainJob], Inputs] = read_inputs,
    rungs: "EarlyStop | None" = None,
) -> None:
    """Train in this process (one of the ranks, where there are several) and write the run's folder whole.

    Args:
        inputs: gives what the job trains from; a process that has it in memory need not read it again.
        rungs: where the run may be ended early; None: nowhere.

    Raises:
        RunError: the step-0 parity gate failed, a cache row is missing, or the world size is not the one asked for.
    """
    import torch
    from accelerate.utils import gather_object

    from bench.train import energy
    from bench.train.distributed.parallelize import join_ranks, sharing_of
    from bench.train.distributed.sharding import gathered, named_weights
    from bench.train.loop import Callbacks, train
    from losses import register_file

    for path in job.objective_files:
        register_file(path)
    accelerator = join_ranks(job.execution)
    sharing = sharing_of(accelerator, job.execution)
    sharded = sharing in ("fsdp2", "deepspeed")
    spec = job.spec
    torch.manual_seed(spec.seed)
    loaded = inputs(job)
    model = _start(job, loaded, device=accelerator.device)
    # What a training used before it was interrupted is not known, and half of it would pass for the whole.
    resumed = any(job.work.glob("state-*/manifest.json"))
    meter = energy.start_meter(accelerator.device)
    progress = train(
        # A model that is sharded may be larger than a device: its layers go there one by one.
        model if sharing == "fsdp2" else model.to(accelerator.device),
        spec=spec,
        data=loaded.data,
        reference=loaded.reference,
        execution=job.execution,
        accelerator=accelerator,
        state=job.work,
        callbacks=Callbacks(
            report=report if accelerator.is_main_process else lambda step, row: None,
            should_stop=should_stop,
            ends_early=lambda step: rungs is not None and rungs.ends(step, model),
        ),
    )
    whole = gathered(dict(named_weights(model))) if sharded and progress.status == "completed" else {}
    measured = energy.total_energy(gather_object([energy.energy_of(meter)]))
    if accelerator.is_main_process:
        if whole:
            model = _start(job, inputs(job), device=accelerator.device)
            for name, parameter in model.named_parameters():
                parameter.data.copy_(whole[name])
        _write_run(
            job,
            progress,
            model,
            loaded.tokenizer,
            scores={} if rungs is None else rungs.scores,
            measured=None if resumed else measured,
        )
    accelerator.wait_for_everyone()


def _write_run(
    job: TrainJob,
    progress: "Progress",
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    *,
    scores: Mapping[int, float],
    measured: Energy | None,
) -> None:
    """Write the run's folder whole: spec, progress, curves, and the weights of a completed training."""
    from bench.models.adapters import save_trained

    stored = None if measured is None else measured.model_dump(mode="json")
    trained = {**vars(progress), "rungs": dict(scores), "energy": stored}
    folder = job.pruned_run if progress.status == "pruned" else job.run
    assert folder is not None

    def write(partial: Path) -> None:
        (partial / "spec.json").write_text(job.spec.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (partial / "train.json").write_text(json.dumps(trained, indent=1) + "\n", encoding="utf-8")
        rows = [dict(zip(progress.curves, row, strict=True)) for row in zip(*progress.curves.values(), strict=True)]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (partial / "metrics.jsonl").write_text(lines, encoding="utf-8")
        if progress.status == "completed":
            save_trained(model, tokenizer, partial, spec=job.spec, start=job.model)

    write_whole(folder, write, stage="train")


def _start(job: TrainJob, loaded: Inputs, *, device: "torch.device") -> "PreTrainedModel":
    from bench.models.loading import with_lora
    from bench.models.quantize import load_four_bits

    lora = job.spec.train.lora
    if lora is None:
        return loaded.model
    model = loaded.model if lora.quantize is None else load_four_bits(job.model, job.spec.train, device=device)
    return with_lora(model, lora, seed=job.spec.seed)


def write_job(job: TrainJob) -> Path:
    """Write the job into its work folder, for ranks that other processes start."""
    job.work.mkdir(parents=True, exist_ok=True)
    write_text_whole(job.work / "job.json", job.model_dump_json(indent=1) + "\n")
    return job.work

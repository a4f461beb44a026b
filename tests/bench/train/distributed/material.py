"""Jobs on a tiny model that lie on disk whole, and real ranks that torchrun starts on them."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench.core.specs import Execution, LoraSpec, RunSpec
from bench.data.table import write_encoded
from bench.models.matmul import ROUTE
from bench.train.job import TrainJob, write_job
from tests.bench.conftest import tiny_model, tiny_pairs, tiny_reference, tiny_spec
from tests.bench.tiny_tokenizer import tiny_tokenizer
from tests.bench.train.distributed.many import train_all

ENVIRONMENT = {"OMP_NUM_THREADS": "1", ROUTE: "none"}
DEEPSPEED = {
    "ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2", "DS_ACCELERATOR": "cpu",
}  # fmt: skip
"""What ``accelerate launch`` tells its ranks of a configuration with DeepSpeed."""
PATIENCE_SECONDS = 1800


@dataclass(frozen=True)
class Kind:
    """How many processes train, and how they share the policy."""

    name: str
    processes: int
    sharing: str

    @property
    def deepspeed(self) -> bool:
        """Whether it is the launcher that decides."""
        return self.sharing == "deepspeed"

    @property
    def execution(self) -> dict[str, Any]:
        """Fields of ``Execution``; the whole batch at once where one process has it."""
        if self.processes == 1:
            return {"micro_batch": 8}
        return {"processes": 2, "micro_batch": 2, "shard": "fsdp2" if self.sharing == "fsdp2" else "ddp"}


ONE, DDP = Kind("1 process", 1, "alone"), Kind("2 × DDP", 2, "ddp")
FSDP2, ZERO = Kind("2 × FSDP2", 2, "fsdp2"), Kind("2 × ZeRO-2", 2, "deepspeed")


def spec_of(objective: str, **changes: Any) -> RunSpec:
    """A run of few steps at a learning rate at which rounding is not blown up by Adam's division.

    ``lora``, a dropout, trains adapters; ``params`` are the objective's.
    """
    if (dropout := changes.pop("lora", None)) is not None:
        changes["lora"] = LoraSpec(rank=4, dropout=dropout)
    return tiny_spec(objective, **{"learning_rate": 1e-3, "steps": 6} | changes)


def job(folder: Path, spec: RunSpec, *, results: str = "results", **execution: Any) -> TrainJob:
    """A job with all that it reads below ``folder``, which may hold it already, for the same spec."""
    model = folder / "model"
    if not model.exists():
        data, start = tiny_pairs(), tiny_model()
        start.save_pretrained(model)
        tiny_tokenizer().save_pretrained(model)
        (folder / "data").mkdir()
        write_encoded(data, folder / "data")
        tiny_reference(start, data, spec, folder / "reference")
    return TrainJob(
        spec=spec,
        execution=Execution(device="cpu", **{"micro_batch": 2} | execution),
        model=model,
        data=folder / "data",
        references=tuple(sorted((folder / "reference").iterdir())),
        results=folder / results,
    )


def command(module: str, arguments: Sequence[str | Path], *, ranks: int) -> list[str]:
    """The line that starts a module in this many ranks, or alone."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"] if ranks > 1 else []
    return [sys.executable, *torchrun, "-m", module, *map(str, arguments)]


def started(
    module: str, arguments: Sequence[str | Path], *, ranks: int, environment: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    """Start a module and wait for its end."""
    return subprocess.run(
        command(module, arguments, ranks=ranks),
        capture_output=True, text=True, timeout=PATIENCE_SECONDS, env={**os.environ, **ENVIRONMENT, **environment},
        check=False,
    )  # fmt: skip


def run_many(jobs: Sequence[tuple[TrainJob, Kind]], *, stop_at: int | None = None) -> None:
    """Train several jobs, each to its end or to a step: here, and those of two processes all by the same ranks."""
    train_all([each for each, kind in jobs if kind.processes == 1], stop_at=stop_at)
    extra = [] if stop_at is None else [f"--stop-at={stop_at}"]
    for deepspeed in (False, True):
        folders = [write_job(each) for each, kind in jobs if kind.processes == 2 and kind.deepspeed == deepspeed]
        if folders:
            environment = DEEPSPEED if deepspeed else {}
            done = started("tests.bench.train.distributed.many", [*extra, *folders], ranks=2, environment=environment)
            assert done.returncode == 0, done.stderr[-5000:]


def trained(finished: TrainJob) -> dict[str, Any]:
    """What a finished run left besides its weights."""
    return json.loads((finished.run / "train.json").read_text())

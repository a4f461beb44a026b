"""Jobs on a tiny model that lie on disk whole, and real ranks that torchrun starts on them."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.data.table import write_encoded
from bench.job import TrainJob, write_job
from bench.rank import ROUTE
from bench.spec import Execution, LoraSpec, RunSpec
from tests.bench.conftest import tiny_model, tiny_pairs, tiny_reference, tiny_spec
from tests.bench.tiny_tokenizer import tiny_tokenizer
from tests.ranks.many import train_all

ENVIRONMENT = {"OMP_NUM_THREADS": "1", ROUTE: "none"}
PATIENCE_SECONDS = 900


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


def started(module: str, arguments: Sequence[str | Path], *, ranks: int) -> subprocess.CompletedProcess[str]:
    """Start a module and wait for its end."""
    return subprocess.run(
        command(module, arguments, ranks=ranks),
        capture_output=True, text=True, timeout=PATIENCE_SECONDS, env={**os.environ, **ENVIRONMENT}, check=False,
    )  # fmt: skip


def run_many(jobs: Sequence[TrainJob], *, stop_at: int | None = None) -> None:
    """Train several jobs, each to its end or to a step: here, and those of two processes all by the same ranks."""
    train_all([each for each in jobs if each.execution.processes == 1], stop_at=stop_at)
    if folders := [write_job(each) for each in jobs if each.execution.processes == 2]:
        extra = [] if stop_at is None else [f"--stop-at={stop_at}"]
        done = started("tests.ranks.many", [*extra, *folders], ranks=2)
        assert done.returncode == 0, done.stderr[-5000:]


def trained(finished: TrainJob) -> dict[str, Any]:
    """What a finished run left besides its weights."""
    return json.loads((finished.run / "train.json").read_text())

"""Trains several jobs in one go, for starting ranks takes longer than training on a tiny model.

``torchrun … -m tests.bench.train.distributed.many [--stop-at=STEP] WORK_DIR …``
"""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from bench.train.job import TrainJob, run_job
from bench.train.loop import Interrupted


def stop_after(step: int | None) -> Callable[[], bool]:
    """Says yes once it was asked ``step`` times; it is asked after each step."""
    asked = iter(range(1, 1_000_000))
    return lambda: next(asked) == step


def train_all(jobs: Iterable[TrainJob], *, stop_at: int | None = None) -> None:
    """Run each job to its end, or to where it is stopped."""
    for job in jobs:
        try:
            run_job(job, report=lambda step, row: None, should_stop=stop_after(stop_at))
        except Interrupted:
            assert stop_at is not None


def main(arguments: list[str]) -> None:
    """Run the jobs of the command line."""
    stop_at = next((int(each.partition("=")[2]) for each in arguments if each.startswith("--stop-at=")), None)
    folders = [Path(each) for each in arguments if not each.startswith("--")]
    jobs = [TrainJob.model_validate_json((each / "job.json").read_text(encoding="utf-8")) for each in folders]
    train_all(jobs, stop_at=stop_at)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1:])

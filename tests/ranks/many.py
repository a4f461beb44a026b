"""Trains several jobs in one go, for starting ranks takes longer than training on a tiny model.

``torchrun … -m tests.ranks.many [--stop-at=STEP] WORK_DIR …``
"""

import sys
from collections.abc import Callable
from pathlib import Path

import torch

from bench.job import TrainJob, run_job
from bench.train import Interrupted


def stop_after(step: int | None) -> Callable[[], bool]:
    """Says yes once it was asked ``step`` times; it is asked after each step."""
    asked = iter(range(1, 1_000_000))
    return lambda: next(asked) == step


def main(arguments: list[str]) -> None:
    """Run each job of the command line to its end, or to where it is stopped."""
    stop_at = next((int(each.partition("=")[2]) for each in arguments if each.startswith("--stop-at=")), None)
    for folder in (each for each in arguments if not each.startswith("--")):
        job = TrainJob.model_validate_json((Path(folder) / "job.json").read_text(encoding="utf-8"))
        try:
            run_job(job, report=lambda step, row: None, should_stop=stop_after(stop_at))
        except Interrupted:
            assert stop_at is not None
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1:])

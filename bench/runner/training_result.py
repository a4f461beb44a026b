"""The result of a finished training, as its folder keeps it: how it ended, its counts and curves."""

import json
from typing import Literal, NotRequired, TypedDict

from bench.train.job import TrainJob


class TrainingResult(TypedDict):
    """The file ``train.json``. Folders of older versions lack the last four fields."""

    status: Literal["completed", "pruned", "diverged", "failed"]
    error: str | None
    steps: int
    tokens: int
    forward_tokens: int
    clipped_steps: int
    seconds: float
    curves: dict[str, list[float | None]]
    layout: NotRequired[str]
    world_size: NotRequired[int]
    rungs: NotRequired[dict[str, float]]
    energy: NotRequired[dict[str, object] | None]


def read_training_result(job: TrainJob) -> TrainingResult:
    """Return the result of a finished job; a start model, which was not trained, counts as completed in no steps."""
    assert job.finished is not None
    path = job.finished / "train.json"
    if not path.exists():
        return {
            "status": "completed",
            "error": None,
            "steps": 0,
            "tokens": 0,
            "forward_tokens": 0,
            "clipped_steps": 0,
            "seconds": 0,
            "curves": {},
        }
    return json.loads(path.read_text(encoding="utf-8"))

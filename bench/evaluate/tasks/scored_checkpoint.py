"""What tasks of lm-eval gave a checkpoint, and the file that keeps the numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from bench.core.task_outcomes import TaskOutcomes
from bench.evaluate.tasks.scored_documents import DocumentRow


class TaskScore(TypedDict):
    """One number of lm-eval, as the file stores it.

    ``n``: documents scored, of the ``of`` that there are. ``differs``: what sets the task apart from lm-eval's.
    """

    task: str
    version: str
    n_shot: int | None
    split: str | None
    filter: str
    metric: str
    value: float
    stderr: float | None
    n: int
    of: int | None
    higher_is_better: bool | None
    differs: str | None


@dataclass(frozen=True, kw_only=True)
class ScoredCheckpoint:
    """What tasks gave a checkpoint: how it was scored, its numbers, its documents, and outcomes for paired tests."""

    settings: Mapping[str, object]
    rows: Sequence[TaskScore]
    documents: Mapping[str, Sequence[DocumentRow]]
    outcomes: Mapping[str, TaskOutcomes]
    uncompared: Sequence[str]


def write_scores(path: Path, content: Mapping[str, object]) -> None:
    """Write what was measured, and what it was measured with, as JSON."""
    from bench.utils.environment import environment
    from bench.utils.files import write_text_whole

    write_text_whole(path, json.dumps({**content, "environment": environment()}, indent=1, ensure_ascii=False) + "\n")

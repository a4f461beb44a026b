"""Owns what ``bench evaluate`` does: which of its kinds was asked for, and that nothing asked for is left undone."""

from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError, did_you_mean

JOINS = ("position", "index")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The options of ``bench evaluate``, as given."""

    checkpoint: str | None = None
    tasks: str | None = None
    judgements: tuple[Path, ...] = ()
    difficulty: Path | None = None
    gamed: Path | None = None
    join: str = "position"
    judges: tuple[str, ...] = ()
    out: Path = Path("results")


def evaluate_command(request: Evaluation) -> None:
    """``bench evaluate``. Raises UsageError: nothing to do, or options that do not go together."""
    if request.tasks is not None:
        from bench.evaluate_tasks import evaluate_tasks

        if request.checkpoint is None:
            raise UsageError("--tasks needs a model", fix="bench evaluate run:KEY --tasks hellaswag")
        evaluate_tasks(request.checkpoint, tasks=request.tasks, out=request.out)
        return
    if request.judgements:
        from bench.evaluate_judgements import evaluate_judgements

        if request.join not in JOINS:
            raise UsageError(f"--join {request.join!r}", fix=did_you_mean(request.join, JOINS))
        evaluate_judgements(
            request.judgements,
            difficulty=request.difficulty,
            gamed=request.gamed,
            by_index=request.join == "index",
            out=request.out,
        )
        return
    raise UsageError("nothing to evaluate", fix="give --tasks, --judgements or --judge; `bench evaluate -h` shows how")

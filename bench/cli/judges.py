"""The command ``bench judges``: how good a judge is, and a cheap judge corrected by a strong one."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import Cache, DryRun, MaxCost, Questions, app
from bench.evaluate.judges.registry import FORMS

judges_app = typer.Typer(
    help="Correct a cheap judge by a strong one, test a judge again, compare it with people.", no_args_is_help=True
)
app.add_typer(judges_app, name="judges")

Seed = Annotated[int, typer.Option("--seed", help="Of the random part and of the orders. Example: --seed 1")]
Judge = Annotated[
    list[str] | None,
    typer.Option("--judge", help=f"{FORMS}. Example: --judge api:llama@http://localhost:8000/v1"),
]
OutFolder = Annotated[Path, typer.Option("--out", help="Folder for tables and verdicts. Example: --out judged")]


@judges_app.command("draw")
def draw(
    judgements: Annotated[Path, typer.Argument(help="Judgements of a cheap judge: CSV, or annotations.json.")],
    out: Annotated[Path, typer.Option("--out", help="The CSV to fill in. Example: --out to-judge.csv")],
    share: Annotated[float, typer.Option("--share", help="Share of the questions. Example: --share 0.1")] = 0.2,
    seed: Seed = 0,
    judge: Annotated[str, typer.Option("--name", help="Who will judge. Example: --name mary")] = "person",
) -> None:
    """Draw the random part of the questions that a person, or any other strong judge, is to decide.

    Fill in the column preference: 1 the first answer is better, 2 the second, 1.5 a tie; between them how sure you are.
    The part is the same for all models, and a larger share with the same seed adds questions to it.

    Examples:

        bench judges draw judged/annotations.json --share 0.2 --out to-judge.csv
    """
    from bench.cli.judges_correct import draw_command

    draw_command(judgements, out=out, share=share, seed=seed, judge=judge)


@judges_app.command("correct")
def correct(
    cheap: Annotated[Path, typer.Argument(help="A cheap judge's judgements of all questions: CSV or JSON.")],
    strong: Annotated[Path, typer.Argument(help="A strong judge's judgements of a random part of them.")],
    width: Annotated[
        float | None,
        typer.Option(
            "--half-width",
            help="Percent points that an interval shall be wide to either side: how many strong verdicts does that "
            "take? Example: --half-width 3",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", help="What is written: the table (.csv) or a folder. Example: --out corrected.csv")
    ] = Path("results"),
) -> None:
    """Correct a cheap judge's win rates by a strong judge's verdicts on a random part (prediction-powered inference).

    The result is the win rate by the strong judge, with an interval that is narrower than its verdicts alone give.

    Examples:

        bench judges correct judged/annotations.json to-judge.csv

        bench judges correct by-fitted.csv by-gpt4.csv --half-width 3 --out corrected.csv
    """
    from bench.cli.judges_correct import correct_command

    correct_command(cheap, strong, half=width, out=out)


@judges_app.command("retest")
def retest(
    outputs: Annotated[
        list[Path], typer.Option("--outputs", help="Models' answers, JSON or JSON lines. Example: --outputs mine.json")
    ],
    baseline: Annotated[
        Path, typer.Option("--baseline", help="The answers to compare with. Example: --baseline start.json")
    ],
    judge: Judge = None,
    questions: Questions = None,
    share: Annotated[
        float, typer.Option("--share", help="Share of the questions, drawn at random. Example: --share 0.2")
    ] = 1.0,
    seed: Seed = 0,
    cache: Cache = None,
    dry_run: DryRun = False,
    max_cost: MaxCost = None,
    out: OutFolder = Path("results"),
) -> None:
    """Ask a judge three times: as always, with the answers in the other order, and as always once more.

    Examples:

        bench judges retest --judge api:llama@http://localhost:8000/v1 --outputs mine.json --baseline start.json

        bench judges retest --judge lm:judge-model --outputs mine.json --baseline start.json --share 0.2
    """
    from bench.cli.evaluate_options import Evaluation
    from bench.cli.judges_ask import retest_command

    request = Evaluation(
        judges=tuple(judge or ()),
        outputs=tuple(outputs),
        baseline=baseline,
        questions=questions,
        seed=seed,
        cache=cache,
        dry_run=dry_run,
        max_cost=max_cost,
        out=out,
    )
    retest_command(request, share=share)


@judges_app.command("agree")
def agree(
    votes: Annotated[Path, typer.Argument(help="People's votes: CSV or JSON; the column annotator names the person.")],
    judge: Judge = None,
    judgements: Annotated[
        list[Path] | None,
        typer.Option("--judgements", help="A judge's stored judgements of these pairs. Example: --judgements gpt4.csv"),
    ] = None,
    both_orders: Annotated[
        bool, typer.Option("--both-orders", help="Show each pair in both orders, not by a coin. Example: --both-orders")
    ] = False,
    seed: Seed = 0,
    cache: Cache = None,
    dry_run: DryRun = False,
    max_cost: MaxCost = None,
    out: OutFolder = Path("results"),
) -> None:
    """Compare judges with people, and people with one another, on pairs of answers that people voted on.

    A row of VOTES is a vote: instruction, output_1, output_2, model, preference (1 the first is better, 2 the second,
    1.5 a tie), annotator.

    Examples:

        bench judges agree votes.csv --judge lm:judge-model --judge fitted:prefs.jsonl

        bench judges agree votes.csv --judgements judged/annotations.json
    """
    from bench.cli.evaluate_options import Evaluation
    from bench.cli.judges_ask import agree_command

    request = Evaluation(
        judges=tuple(judge or ()),
        judgements=tuple(judgements or ()),
        both_orders=both_orders,
        seed=seed,
        cache=cache,
        dry_run=dry_run,
        max_cost=max_cost,
        out=out,
    )
    agree_command(votes, request)

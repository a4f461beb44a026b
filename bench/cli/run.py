"""The command ``bench run``: train, sweep, score and compare objectives."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import Columns, DataFormat, Out, Storage, Tracker, Winner, app

NOT_OF_A_REQUEST = ("recipe", "part", "settings", "data_format", "columns", "winner", "dry_run", "open_only", "debug")
"""Options that are no field of ``RunRequest`` by their own name."""


@app.command()
def run(
    loss: Annotated[
        str | None,
        typer.Option(
            "--loss",
            help="Objectives, separated by commas; composed with +; FILE.py:NAME for your own; or all. "
            "Example: --loss dpo,ipo,kto,sdpo or --loss dpo,dpo+nll",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            help="A published experiment (`bench recipes`). Options you give override the recipe's. "
            "Example: --recipe hf-blog",
        ),
    ] = None,
    part: Annotated[
        str | None, typer.Option("--part", help="One part of the recipe. Example: --recipe hf-blog --part zephyr")
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option(
            "--sweep",
            help="Parameters to sweep, over their own space or over values; own is an objective's main parameter. "
            "Example: --sweep beta, --sweep own,lr, --sweep beta=0.01,0.1,1",
        ),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            "--suite", help="Data, start model and scores to compare on; default: sentiment. Example: --suite exact"
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="Start model: a folder, FILE.gguf, or run:KEY. Example: --model run:3f9c --model ./my-sft"
        ),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            "--data",
            help="Preferences: a file, a folder, or a data set of the hub, in any known format. Repeat it for "
            "several in order: the stages of sdpo. Example: --data prefs.jsonl, --data org/name:train",
        ),
    ] = None,
    judge: Annotated[
        list[str] | None,
        typer.Option(
            "--judge",
            help="Suite chat: a judge of answers against the start model's; the first one selects. fitted, start, or "
            "as in bench evaluate. Example: --judge fitted --judge lm:./judge",
        ),
    ] = None,
    strong: Annotated[
        str | None,
        typer.Option(
            "--strong",
            help="Suite chat: a judge that is asked about a random fifth of the test prompts "
            "(--set strong_share=0.2), and corrects the first judge's win rate. Example: --strong gpt.toml",
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            "--prompts",
            help="Suite chat: instructions to report on, instead of the data's test prompts. "
            "Example: --prompts alpaca_eval.json",
        ),
    ] = None,
    chat_template: Annotated[
        str | None,
        typer.Option(
            "--chat-template",
            help="How messages become text: own, chatml, llama-3, zephyr, alpaca, plain, or a Jinja file. "
            "Example: --chat-template chatml",
        ),
    ] = None,
    data_format: DataFormat = None,
    columns: Columns = None,
    winner: Winner = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            help="How much is searched, tried and repeated: quick, standard or paper. Example: --protocol standard",
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option("--trials", min=1, max=100_000, help="Settings to try for each objective. Example: --trials 9"),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds",
            min=0,
            max=10_000,
            help="Fresh seeds for the best setting, scored on test prompts; with --until the most that one gets "
            "(default: 32). Example: --seeds 5",
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            help="decided: a race. Fresh seeds go to objectives that may still be best, until the first is decided "
            "(docs/racing.md). Example: --until decided",
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            "--margin",
            help="Of a race: differences of the target below it do not matter; default: the suite's. "
            "Example: --until decided --margin 0.1",
        ),
    ] = None,
    select_seeds: Annotated[
        int | None,
        typer.Option(
            "--select-seeds",
            min=1,
            max=10_000,
            help="Of a race: as many seeds at most choose between settings that may be an objective's best "
            "(default: 3). Example: --until decided --select-seeds 1",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            help="Of a race: the time that this command may work, or trainings with fresh seeds of the whole race. "
            "Example: --until decided --budget 2h, --budget runs=120",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Set a parameter, or any field of the spec. "
            "Example: --set beta=0.05 --set lr=1e-4 --set train.steps=100",
        ),
    ] = None,
    out: Out = Path("results"),
    study: Annotated[
        str | None, typer.Option("--study", help="Name of the Optuna study to open or join. Example: --study night")
    ] = None,
    storage: Storage = None,
    patience: Annotated[
        float | None,
        typer.Option(
            "--patience",
            min=0,
            help="Seconds to wait for a storage that does not answer; default: 300. Example: --patience 600",
        ),
    ] = None,
    lease: Annotated[
        float | None,
        typer.Option(
            "--lease",
            min=1,
            help="Seconds without a sign of life after which a worker counts as gone; default: 120. "
            "Example: --lease 60",
        ),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            "--sampler",
            help="How settings are chosen: grid (default), tpe or random. Example: --sampler tpe --trials 20",
        ),
    ] = None,
    workers: Annotated[
        str,
        typer.Option(
            "--workers",
            help="Processes that share the work; auto: as many as are worthwhile here. Example: --workers 2",
        ),
    ] = "auto",
    pruner: Annotated[
        str | None,
        typer.Option(
            "--pruner",
            help="Rule that stops hopeless trials at a quarter and half of their steps: none (default), median, "
            "halving. Example: --pruner halving",
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            "--processes",
            min=1,
            max=4096,
            help="Ranks of each training, started by torchrun; default: 1. Example: --processes 2",
        ),
    ] = None,
    loss_file: Annotated[
        list[Path] | None,
        typer.Option("--loss-file", help="Python file with your own objective. Example: --loss-file my_loss.py"),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume/--no-resume", help="Reuse finished runs, or compute them again. Example: --no-resume"),
    ] = True,
    tracker: Tracker = "tensorboard",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan with its cost and stop. Example: --dry-run")
    ] = False,
    open_only: Annotated[
        bool, typer.Option("--open", help="Open the study for `bench worker` and stop. Example: --study night --open")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks. Example: --debug")] = False,
) -> None:
    """Train objectives, sweep their parameters, score every checkpoint, and write leaderboard and figures.

    Finished work is never done twice: the same command again does only what is missing.

    Examples:

        bench run --loss ipo --sweep beta

        bench run --loss dpo,ipo,kto,sdpo --sweep beta --seeds 5

        bench run --loss all --suite exact --protocol standard

        bench run --loss dpo,ipo,kto,sdpo,simpo,orpo --until decided --budget 2h

        bench run --loss "dpo,dpo+nll(0.2),0.8*dpo+0.2*bco_pair" --seeds 5

        bench run --loss dpo,ipo --sweep beta --suite chat --model ./instruct-model --data prefs.jsonl

        bench run --loss dpo --model ./my-sft-model --data prefs.jsonl --set beta=0.05

        bench run --loss dpo --data votes.jsonl --columns prompt=question,first=answer_a,second=answer_b,winner=vote
        --winner A=first,B=second,tie=tie

        bench run --loss dpo,sdpo --data easy.jsonl --data hard.jsonl

        bench run --loss sft && bench run --loss dpo --sweep beta --model run:KEY

        bench run --recipe sentiment-quick
    """
    options = dict(locals())  # every option, so that a new one cannot be left out below
    from bench.cli.execute import open_command, run_command
    from bench.core.request import RunRequest, data_settings
    from bench.errors import UsageError
    from bench.train.trackers import read_trackers

    request = RunRequest.from_options(
        {
            **{name: value for name, value in options.items() if name not in NOT_OF_A_REQUEST},
            "set": (*data_settings(data_format, columns, winner), *(settings or ())),
            "tracker": read_trackers(tracker),
        }
    )
    if recipe is not None:
        from bench.cli.recipes import run_recipe

        run_recipe(recipe, request, part=part, dry_run=dry_run, open_only=open_only)
    elif part is not None:
        raise UsageError(f"--part {part} needs the recipe that it is a part of", fix="--recipe NAME")
    elif open_only:
        open_command(request)
    else:
        run_command(request, dry_run=dry_run)

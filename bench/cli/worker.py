"""The command ``bench worker``: join a study that ``bench run`` opened."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import Storage, Tracker, app


@app.command()
def worker(
    study: Annotated[
        str, typer.Option("--study", help="Study to join, as `bench run --study` named it. Example: --study night")
    ],
    storage: Storage = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="The path of the shared results folder on this machine. Example: --out /shared/results"
        ),
    ] = None,
    workers: Annotated[
        str,
        typer.Option(
            "--workers", help="Processes on this machine; auto: as many as are worthwhile. Example: --workers 4"
        ),
    ] = "auto",
    max_trials: Annotated[
        int | None,
        typer.Option("--max-trials", min=1, help="Leave after this many settings and finals. Example: --max-trials 10"),
    ] = None,
    idle: Annotated[
        float | None,
        typer.Option(
            "--idle", min=0, help="Leave after this many seconds with nothing to do; default: stay. Example: --idle 60"
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="The path of the same start model on this machine. Example: --model ./my-sft"),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", help="The path of the same preferences on this machine. Example: --data prefs.jsonl"),
    ] = None,
    loss_file: Annotated[
        list[Path] | None,
        typer.Option(
            "--loss-file", help="The path of the same own objective on this machine. Example: --loss-file my_loss.py"
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="How this machine computes. Example: --set execution.micro_batch=2"),
    ] = None,
    tracker: Tracker = "tensorboard",
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks. Example: --debug")] = False,
) -> None:
    """Join a study that `bench run` opened, from any machine, and work until it is done.

    The study's storage has the plan. All workers share the storage and the results folder (docs/workers.md).

    Examples:

        bench worker --study night --storage postgresql://bench@head/bench --out /shared/results

        bench worker --study night --out /shared/results --max-trials 10
    """
    from bench.core.request import RunRequest
    from bench.runner.join_study import join_command
    from bench.train.trackers import read_trackers

    own = RunRequest.from_options(
        {
            "study": study,
            "storage": storage,
            "out": out,
            "workers": workers,
            "model": model,
            "data": data,
            "loss_file": loss_file,
            "set": settings,
            "tracker": read_trackers(tracker),
        }
    )
    join_command(own, most=max_trials, idle=idle)

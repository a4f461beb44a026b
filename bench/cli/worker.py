"""The options of ``bench worker``."""

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
        typer.Option("--out", help="The shared results folder, where it lies here. Example: --out /shared/results"),
    ] = None,
    workers: Annotated[
        str,
        typer.Option("--workers", help="Processes on this machine; auto: as many as pay here. Example: --workers 4"),
    ] = "auto",
    max_trials: Annotated[
        int | None,
        typer.Option("--max-trials", min=1, help="Leave after so many settings and finals. Example: --max-trials 10"),
    ] = None,
    idle: Annotated[
        float | None,
        typer.Option(
            "--idle", min=0, help="Leave after so many seconds with nothing to do; default: stay. Example: --idle 60"
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="The same start model, where it lies here. Example: --model ./my-sft")
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", help="The same preferences, where they lie here. Example: --data prefs.jsonl"),
    ] = None,
    loss_file: Annotated[
        list[Path] | None,
        typer.Option("--loss-file", help="The same own objective, where it lies here. Example: --loss-file my_loss.py"),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="How this machine computes. Example: --set execution.micro_batch=2"),
    ] = None,
    tracker: Tracker = "tensorboard",
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks. Example: --debug")] = False,
) -> None:
    """Join a study that `bench run` opened, from any machine, and work until it is done.

    The study's storage says what is to be trained. Shared are the storage and the results folder (docs/workers.md).

    Examples:

        bench worker --study night --storage postgresql://bench@head/bench --out /shared/results

        bench worker --study night --out /shared/results --max-trials 10
    """
    from bench.core.request import worker_count
    from bench.runner.join import Joining, join_command
    from bench.train.trackers import read_trackers

    join_command(
        Joining(
            study=study,
            storage=storage,
            results=out,
            workers=worker_count(workers),
            most=max_trials,
            idle=idle,
            model=model,
            data=tuple(data or ()),
            loss_files=tuple(loss_file or ()),
            settings=tuple(settings or ()),
            trackers=read_trackers(tracker),
        )
    )

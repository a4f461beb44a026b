"""The options of ``bench inspect``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import Out, app
from bench.utils.event_log import command_log


@app.command()
def inspect(
    models: Annotated[
        list[str],
        typer.Argument(help="Trained models: run:KEY, or local folders. Example: bench inspect run:3f9c run:a41e"),
    ],
    against: Annotated[
        str | None,
        typer.Option("--against", help="Their start model; default: what the runs say. Example: --against ./my-sft"),
    ] = None,
    probe: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            "--probe", help="Two classes of texts, JSON lines. Example: --probe positive.jsonl negative.jsonl"
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Preferences to take texts from. Example: --data prefs.jsonl"),
    ] = None,
    suite: Annotated[
        str | None, typer.Option("--suite", help="Suite to take texts from. Example: --suite sentiment")
    ] = None,
    texts: Annotated[
        int, typer.Option("--texts", min=8, max=100_000, help="Texts that are measured. Example: --texts 64")
    ] = 256,
    layer: Annotated[
        int | None,
        typer.Option("--layer", min=1, help="Layer after which the probe reads; default: the last. Example: --layer 4"),
    ] = None,
    patch: Annotated[
        bool, typer.Option("--patch/--no-patch", help="Whether activations are patched. Example: --no-patch")
    ] = True,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu or cuda; default: what is there. Example: --device cpu")
    ] = None,
    out: Out = Path("results"),
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks. Example: --debug")] = False,
) -> None:
    """Show what a loss did inside the model: weights, activations, neuron groups, activation patching.

    Each model is compared with its start model (docs/inspect.md). Nothing is computed twice.

    Examples:

        bench inspect run:3f9c run:a41e

        bench inspect ./my-dpo --against ./my-sft --probe positive.jsonl negative.jsonl --texts 64
    """
    with command_log(out, "inspect", arguments=sys.argv[1:]):
        from bench.inspect.command import inspect_command
        from bench.inspect.resolve import InspectRequest

        inspect_command(
            InspectRequest(
                models=tuple(models),
                against=against,
                probe=probe,
                data=data,
                suite=suite,
                texts=texts,
                layer=layer,
                patch=patch,
                device=device,
                results=out,
            )
        )

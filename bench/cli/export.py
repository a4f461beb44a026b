"""The options of ``bench export``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import Out, app


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="The run, or best: the first row of the table. Example: run:3f9c")],
    to: Annotated[Path, typer.Option("--to", help="A folder that is not there. Example: --to my-dpo-model")],
    adapter: Annotated[
        bool, typer.Option("--adapter/--merged", help="LoRA's adapter for peft, or the plain model. Example: --adapter")
    ] = False,
    dtype: Annotated[
        str, typer.Option("--dtype", help="Of the weights: float32, bfloat16. Example: --dtype bfloat16")
    ] = "float32",
    out: Out = Path("results"),
) -> None:
    """Write a run's model as plain transformers, peft, lm-eval and vLLM load it, with tokenizer, template and a card.

    Examples:  bench export best --to my-model · bench export run:3f9c --to my-adapter --adapter
    """
    from bench.cli.closing import BEST, best_run
    from bench.models.export import export as write
    from bench.utils.event_log import command_log
    from bench.utils.process import quiet_libraries
    from bench.utils.redact import for_terminal

    quiet_libraries()
    with command_log(out, "export", arguments=sys.argv[1:]):
        if run == BEST:
            record, sentence = best_run(out)
            run = f"run:{record.key}"
            print(for_terminal(f"{record.spec.objective}, seed {record.spec.seed}, {run}. {sentence}"))
        folder = write(run, to, results=out, kind="adapter" if adapter else "merged", dtype=dtype, note=print)
        print(f"  {folder}")

"""The options of ``bench data``."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import Columns, DataFormat, app

data_app = typer.Typer(help="Describe preference data, or write it in the plain form.", no_args_is_help=True)
app.add_typer(data_app, name="data")

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="How the data are read and what is left out. Example: --set form=text --set drop_faulty=true "
        "--set duplicates=drop --set min_margin=1",
    ),
]


@data_app.command("describe")
def describe(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="A file, a folder, or a data set of the hub.")],
    data_format: DataFormat = None,
    columns: Columns = None,
    settings: Settings = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", help="Model folder whose tokenizer counts. Example: --model ./my-sft-model"),
    ] = None,
    max_length: Annotated[
        int | None, typer.Option("--max-length", min=2, help="Tokens that a model is to see. Example: --max-length 512")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option("--against", help="Prompts of an evaluation, looked for in these. Example: --against eval.jsonl"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The card as .json, .md or .html. Example: --out card.html")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option("--figures", help="Folder for a picture of the lengths. Example: --figures figures")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks. Example: --debug")] = False,
) -> None:
    """Show what a data set holds: rows, lengths, bias of length, duplicates, ties, faults, known evaluation prompts.

    Examples:

        bench data describe prefs.jsonl

        bench data describe prefs.jsonl --model ./my-sft-model --max-length 512 --out card.html

        bench data describe train.jsonl test.jsonl --against alpaca_eval.jsonl
    """
    from bench.cli.data_command import describe_data, read_options

    describe_data(
        [Path(file) for file in files],
        options=read_options(data_format, columns, settings or []),
        model=model,
        max_length=max_length,
        against=against,
        out=out,
        figures=figures,
    )


@data_app.command("convert")
def convert(
    file: Annotated[str, typer.Argument(help="A file, a folder, or a data set of the hub.")],
    out: Annotated[Path, typer.Option("--out", help="Where the rows go. Example: --out prefs.jsonl")],
    data_format: DataFormat = None,
    columns: Columns = None,
    settings: Settings = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks. Example: --debug")] = False,
) -> None:
    """Write a data set in the plain form: prompt, chosen, rejected, or prompt, completion, label, one row a line.

    Examples:

        bench data convert hh-rlhf/test.jsonl.gz --out prefs.jsonl --set drop_faulty=true
    """
    from bench.cli.data_command import convert_data, read_options

    convert_data(Path(file), options=read_options(data_format, columns, settings or []), out=out)

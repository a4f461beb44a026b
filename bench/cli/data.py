"""The command ``bench data``: describe data sets, or write them in the plain form."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.app import Columns, DataFormat, app
from bench.errors import UsageError
from bench.utils.console import say

if TYPE_CHECKING:
    from rich.console import Console
    from transformers import PreTrainedTokenizerBase

    from bench.core.data_options import DataOptions
    from bench.data.card import Card, Lengths
    from bench.data.contamination import EvaluationPrompts
    from bench.data.filters import PreferenceRow
    from bench.data.preferences import Reading

data_app = typer.Typer(help="Describe preference data, or write it in the plain form.", no_args_is_help=True)
app.add_typer(data_app, name="data")

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="How the data are read, and which rows are left out. Example: --set form=text --set drop_faulty=true "
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
        typer.Option("--model", help="Model folder whose tokenizer counts the tokens. Example: --model ./my-sft-model"),
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option("--max-length", min=2, help="The longest row of a training, in tokens. Example: --max-length 512"),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against", help="Prompts of an evaluation, to be searched for in the data. Example: --against eval.jsonl"
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The card as .json, .md or .html. Example: --out card.html")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option("--figures", help="Folder for a picture of the lengths. Example: --figures figures")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks. Example: --debug")] = False,
) -> None:
    """Show what a data set has: rows, lengths, bias of length, duplicates, ties, faults, known evaluation prompts.

    Examples:

        bench data describe prefs.jsonl

        bench data describe prefs.jsonl --model ./my-sft-model --max-length 512 --out card.html

        bench data describe train.jsonl test.jsonl --against alpaca_eval.jsonl
    """
    from rich.console import Console
    from rich.text import Text

    from bench.cli.data_card import check_suffix, render_card, write_cards
    from bench.data.card import shared_prompts
    from bench.data.contamination import prompts_in
    from bench.data.encoded_splits import turns_if_templated
    from bench.data.preferences import scan
    from bench.models.loading import load_tokenizer
    from bench.utils.redact import for_terminal

    options = read_options(data_format, columns, settings or ())
    if out is not None:
        check_suffix(out)
    if max_length is not None and model is None:
        raise UsageError(f"--max-length {max_length} counts tokens, which needs a tokenizer", fix="add --model FOLDER")
    tokenizer = None if model is None else load_tokenizer(model)
    if tokenizer is not None:
        options = turns_if_templated(options, tokenizer)
    questions = None if against is None else prompts_in(against)
    console = Console()
    cards: "list[Card]" = []
    parts: dict[str, "Sequence[PreferenceRow]"] = {}
    for file in map(Path, files):
        for split, part in _parts(file, options):
            name = f"{file} ({split})" if split else str(file)
            reading = scan(file, part)
            card, lengths = _card(reading, name, tokenizer=tokenizer, max_length=max_length, questions=questions)
            if against is not None and questions is not None:
                card = replace(card, against=against.name, against_unread=questions.unread)
            cards.append(card)
            parts[name] = reading.rows
            console.print(render_card(cards[-1]))
            if figures is not None:
                _draw(lengths, figures / f"lengths-{len(cards)}", console)
    for (one, two), count in shared_prompts(parts).items():
        console.print(Text(for_terminal(f"{count} prompts are in both {one} and {two}")), soft_wrap=True)
    if out is not None:
        write_cards(cards, out)
        say(console, f"  {out}")


@data_app.command("convert")
def convert(
    file: Annotated[str, typer.Argument(help="A file, a folder, or a data set of the hub.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write. Example: --out prefs.jsonl")],
    data_format: DataFormat = None,
    columns: Columns = None,
    settings: Settings = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks. Example: --debug")] = False,
) -> None:
    """Write a data set in the plain form: prompt, chosen, rejected, or prompt, completion, label, one row a line.

    Examples:

        bench data convert hh-rlhf/test.jsonl.gz --out prefs.jsonl --set drop_faulty=true
    """
    from rich.console import Console

    from bench.data.preferences import read_preferences
    from bench.utils.files import write_text_whole

    if not out.name.endswith(".jsonl"):
        raise UsageError(f"--out must end in .jsonl (got {out})", fix="for example --out prefs.jsonl")
    reading = read_preferences(Path(file), read_options(data_format, columns, settings or ()))
    write_text_whole(out, "".join(json.dumps(canonical(row), ensure_ascii=False) + "\n" for row in reading.rows))
    reasons = ", ".join(f"{count} × {reason}" for reason, count in reading.dropped.items())
    left_out = f"; left out: {reasons}" if reasons else ""
    say(Console(), f"{out}: {len(reading.rows)} rows, {reading.kind}, from {reading.format}{left_out}")


def read_options(data_format: str | None, columns: str | None, settings: Sequence[str]) -> "DataOptions":
    """Return the options of ``--data-format``, ``--columns`` and ``--set NAME=VALUE`` (or ``data.NAME=VALUE``).

    Raises UsageError for an unknown option, or a value that it does not accept.
    """
    from bench.core.data_options import AS_IT_IS
    from bench.core.request import apply, data_settings, read_settings

    named = [text if text.strip().startswith("data.") else f"data.{text.strip()}" for text in settings]
    values = read_settings([*data_settings(data_format, columns), *named], params=())
    return apply(AS_IT_IS, values.sections["data"], section="data")


def canonical(row: "PreferenceRow") -> dict[str, object]:
    """Return a row in the plain form, as ``read_preferences`` reads it back."""
    from bench.data.rows import Pair

    if isinstance(row, Pair):
        scores = {"chosen_score": row.chosen_score, "rejected_score": row.rejected_score}
        known = {name: score for name, score in scores.items() if score is not None}
        return {"prompt": row.prompt, "chosen": row.chosen, "rejected": row.rejected, **known}
    return {"prompt": row.prompt, "completion": row.completion, "label": row.label}


def _parts(file: Path, options: "DataOptions") -> "list[tuple[str, DataOptions]]":
    """Return each split of a folder by itself; a file, or the split that the options name, as it is."""
    from bench.data.files import splits

    if not file.is_dir() or options.split is not None:
        return [("", options)]
    names = list(splits(file))
    return [(name if len(names) > 1 else "", options.model_copy(update={"split": name})) for name in names]


def _card(
    reading: "Reading",
    name: str,
    *,
    tokenizer: "PreTrainedTokenizerBase | None",
    max_length: int | None,
    questions: "EvaluationPrompts | None",
) -> "tuple[Card, dict[str, Lengths]]":
    from bench.data.card import describe as describe_card
    from bench.data.card import row_lengths
    from bench.data.contamination import contamination, user_text
    from bench.data.preferences import preferences_in

    if not reading.rows and reading.faults:
        position, fault = reading.faults[0]
        raise UsageError(f"{position}: {fault.problem} (no row of {reading.raw} can be read)", fix=fault.fix)
    tokens = None
    if tokenizer is not None:
        from bench.data.encoded_splits import token_lengths

        tokens = token_lengths(preferences_in(reading, source=name), tokenizer)
    overlap = None
    if questions is not None:
        overlap = contamination((user_text(row.prompt) for row in reading.rows), questions.prompts)
    card = describe_card(reading, source=name, tokens=tokens, max_length=max_length, contaminated=overlap)
    lengths = row_lengths(reading.rows, tokens)
    return card, lengths


def _draw(lengths: "dict[str, Lengths]", stem: Path, console: "Console") -> None:
    from bench.cli.data_card import draw_lengths
    from bench.report.figures.saving import save

    unit = "tokens" if "tokens" in lengths else "words"
    stem.parent.mkdir(parents=True, exist_ok=True)
    for path in save(draw_lengths(lengths, unit=unit), stem, formats=("png", "svg")):
        say(console, f"  {path}")

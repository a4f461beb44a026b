"""The command ``bench data``: describe data sets, or write them in the plain form."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.app import Columns, DataFormat, Winner, app
from bench.errors import UsageError
from bench.utils.console import say

if TYPE_CHECKING:
    from rich.console import Console

    from bench.cli.data_next import Described
    from bench.cli.data_tokens import TokenRule
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
    winner: Winner = None,
    settings: Settings = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="The start model, as in bench run: its tokenizer and chat template count the tokens. "
            "Example: --model ./my-sft-model",
        ),
    ] = None,
    chat_template: Annotated[
        str | None,
        typer.Option("--chat-template", help="As in bench run, with --model. Example: --chat-template chatml"),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            "--suite",
            help="With --model: the suite of the run, which decides what becomes turns and how long a row is; "
            "default: chat. Example: --suite sentiment",
        ),
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(
            "--max-length",
            min=2,
            help="With --model: the longest row of a training, in tokens; default: the suite's. "
            "Example: --max-length 256",
        ),
    ] = None,
    results: Annotated[
        Path, typer.Option("--results", help="Results folder that --model run:KEY is in. Example: --results results")
    ] = Path("results"),
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

    With --model, tokens are counted as the run will encode them, and the last line is that run.

    Examples:

        bench data describe prefs.jsonl

        bench data describe prefs.jsonl --model ./my-instruct-model --out card.html

        bench data describe reviews.jsonl --model ./my-sft-model --suite sentiment --max-length 64

        bench data describe votes.jsonl --columns prompt=question,first=answer_a,second=answer_b,winner=vote
        --winner A=first,B=second,tie=tie

        bench data describe train.jsonl test.jsonl --against alpaca_eval.jsonl
    """
    from rich.console import Console
    from rich.text import Text

    from bench.cli.data_card import check_suffix, render_card, render_next, write_cards
    from bench.cli.data_next import next_step
    from bench.data.card import shared_prompts
    from bench.data.contamination import prompts_in
    from bench.utils.redact import for_terminal

    options = read_options(data_format, columns, settings or (), winner)
    if out is not None:
        check_suffix(out)
    rule = _rule(
        model, options, suite=suite, chat_template=chat_template, max_length=max_length, results=results, files=files
    )
    questions = None if against is None else prompts_in(against)
    console = Console()
    cards: "list[Card]" = []
    parts: dict[str, "Sequence[PreferenceRow]"] = {}
    for file in map(Path, files):
        described = _describe_file(file, options, rule, questions=questions, against=against)
        for one in described:
            cards.append(one.card)
            parts[one.card.source] = one.rows
            console.print(render_card(one.card))
            if figures is not None:
                _draw(one.lengths, figures / f"lengths-{len(cards)}", console)
        step = next_step(_whole(file, described), options, rule, results=results)
        cards[-1] = replace(cards[-1], advice=step.lines, command=step.command)
        console.print(render_next(cards[-1]), soft_wrap=True)
    for (one_name, two_name), count in shared_prompts(parts).items():
        console.print(Text(for_terminal(f"{count} prompts are in both {one_name} and {two_name}")), soft_wrap=True)
    if out is not None:
        write_cards(cards, out)
        say(console, f"  {out}")


@data_app.command("convert")
def convert(
    file: Annotated[str, typer.Argument(help="A file, a folder, or a data set of the hub.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write. Example: --out prefs.jsonl")],
    data_format: DataFormat = None,
    columns: Columns = None,
    winner: Winner = None,
    settings: Settings = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks. Example: --debug")] = False,
) -> None:
    """Write a data set in the plain form: prompt, chosen, rejected, or prompt, completion, label, one row a line.

    Examples:

        bench data convert hh-rlhf/test.jsonl.gz --out prefs.jsonl --set drop_faulty=true

        bench data convert shp.jsonl --out prefs.jsonl --winner 1=first,0=second
        --columns prompt=history,first=human_ref_A,second=human_ref_B,winner=labels
    """
    from rich.console import Console

    from bench.data.column_account import listed_unread
    from bench.data.preferences import read_preferences
    from bench.utils.files import write_text_whole

    if not out.name.endswith(".jsonl"):
        raise UsageError(f"--out must end in .jsonl (got {out})", fix="for example --out prefs.jsonl")
    reading = read_preferences(Path(file), read_options(data_format, columns, settings or (), winner))
    write_text_whole(out, "".join(json.dumps(canonical(row), ensure_ascii=False) + "\n" for row in reading.rows))
    reasons = ", ".join(f"{count} × {reason}" for reason, count in reading.dropped.items())
    left_out = f"; left out: {reasons}" if reasons else ""
    say(Console(), f"{out}: {len(reading.rows)} rows, {reading.kind}, from {reading.format}{left_out}")
    if unread := reading.columns.not_read():
        say(Console(), f"columns that are not read, nor written: {listed_unread(unread)}")


def read_options(
    data_format: str | None, columns: str | None, settings: Sequence[str], winner: str | None = None
) -> "DataOptions":
    """Return the options of ``--data-format``, ``--columns``, ``--winner`` and ``--set NAME=VALUE`` (``data.NAME``).

    Raises UsageError for an unknown option, or a value that it does not accept.
    """
    from bench.core.data_options import AS_IT_IS
    from bench.core.request import apply, data_settings, read_settings

    named = [text if text.strip().startswith("data.") else f"data.{text.strip()}" for text in settings]
    values = read_settings([*data_settings(data_format, columns, winner), *named], params=())
    return apply(AS_IT_IS, values.sections["data"], section="data")


def canonical(row: "PreferenceRow") -> dict[str, object]:
    """Return a row in the plain form, as ``read_preferences`` reads it back."""
    from bench.data.rows import Pair

    if isinstance(row, Pair):
        numbers = {
            "chosen_score": row.chosen_score,
            "rejected_score": row.rejected_score,
            "agreement": row.agreement,
        }
        known = {name: number for name, number in numbers.items() if number is not None}
        return {"prompt": row.prompt, "chosen": row.chosen, "rejected": row.rejected, **known}
    return {"prompt": row.prompt, "completion": row.completion, "label": row.label}


def _parts(file: Path, options: "DataOptions") -> "list[tuple[str, DataOptions]]":
    """Return each split of a folder by itself; a file, or the split that the options name, as it is."""
    from bench.data.files import splits

    if not file.is_dir() or options.split is not None:
        return [("", options)]
    names = list(splits(file))
    return [(name if len(names) > 1 else "", options.model_copy(update={"split": name})) for name in names]


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A split of a file, described: its card, its rows, what the figure draws, and why a run would refuse it."""

    card: "Card"
    rows: "Sequence[PreferenceRow]"
    lengths: "dict[str, Lengths]"
    refusal: UsageError | None
    longest_prompt: int | None


def _rule(
    model: str | None,
    options: "DataOptions",
    *,
    suite: str | None,
    chat_template: str | None,
    max_length: int | None,
    results: Path,
    files: Sequence[str],
) -> "TokenRule | None":
    """Return how a run with this model counts tokens; None without a model.

    Raises UsageError for what needs one, and as ``token_rule``.
    """
    from bench.cli.data_tokens import token_rule

    if model is not None:
        return token_rule(
            model,
            options,
            suite=suite or "chat",
            chat_template=chat_template,
            max_length=max_length,
            results=results,
            data=[Path(file) for file in files],
        )
    needs = {
        "--max-length": max_length,
        "--chat-template": chat_template,
        "--suite": suite,
        "--set max_prompt_tokens": options.max_prompt_tokens,
        "--set max_tokens": options.max_tokens,
    }
    for option, value in needs.items():
        if value is not None:
            raise UsageError(f"{option} {value} is about tokens, which needs a tokenizer", fix="add --model FOLDER")
    return None


def _describe_file(
    file: Path,
    options: "DataOptions",
    rule: "TokenRule | None",
    *,
    questions: "EvaluationPrompts | None",
    against: Path | None,
) -> list[_Part]:
    """Return the parts of a file or a folder, read and counted as a run with ``rule`` would do it."""
    from bench.data.preferences import scan

    described = []
    for split, part in _parts(file, options if rule is None else rule.options):
        one = _part(scan(file, part), f"{file} ({split})" if split else str(file), rule=rule, questions=questions)
        if against is not None and questions is not None:
            one = replace(one, card=replace(one.card, against=against.name, against_unread=questions.unread))
        described.append(one)
    return described


def _part(reading: "Reading", name: str, *, rule: "TokenRule | None", questions: "EvaluationPrompts | None") -> _Part:
    from bench.data.card import describe as describe_card
    from bench.data.card import row_lengths
    from bench.data.contamination import contamination, user_text

    if not reading.rows and reading.faults:
        position, fault = reading.faults[0]
        raise UsageError(f"{position}: {fault.problem} (no row of {reading.raw} can be read)", fix=fault.fix)
    tokens = refusal = None
    if rule is not None:
        from bench.cli.data_tokens import count_tokens

        counted = count_tokens(rule, reading, source=name)
        reading, tokens, refusal = counted.reading, counted.tokens, counted.refusal
    overlap = None
    if questions is not None:
        overlap = contamination((user_text(row.prompt) for row in reading.rows), questions.prompts)
    card = describe_card(
        reading,
        source=name,
        tokens=tokens,
        max_length=None if rule is None else rule.max_length,
        contaminated=overlap,
    )
    if rule is not None and tokens is not None:
        card = replace(card, token_rule=rule.sentence(turns=card.form == "messages"))
    return _Part(
        card=card,
        rows=reading.rows,
        lengths=row_lengths(reading.rows, tokens),
        refusal=refusal,
        longest_prompt=None if tokens is None else max(row[0] for row in tokens),
    )


def _whole(file: Path, parts: Sequence[_Part]) -> "Described":
    from bench.cli.data_next import Described

    longest = [part.longest_prompt for part in parts if part.longest_prompt is not None]
    return Described(
        file=file,
        cards=[part.card for part in parts],
        refusals=[part.refusal for part in parts if part.refusal is not None],
        longest_prompt=max(longest, default=None),
    )


def _draw(lengths: "dict[str, Lengths]", stem: Path, console: "Console") -> None:
    from bench.cli.data_card import draw_lengths
    from bench.report.figures.saving import save

    unit = "tokens" if "tokens" in lengths else "words"
    stem.parent.mkdir(parents=True, exist_ok=True)
    for path in save(draw_lengths(lengths, unit=unit), stem, formats=("png", "svg")):
        say(console, f"  {path}")

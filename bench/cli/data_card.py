"""Display of a data card: terminal, JSON, Markdown, HTML, and a figure of the lengths."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text as RichText

from bench.data.card import LEVELS, Card, Lengths, Spread
from bench.data.column_account import percent
from bench.data.contamination import MOSTLY
from bench.data.row_errors import by_kind, listed
from bench.errors import UsageError
from bench.utils.files import write_text_whole
from bench.utils.redact import for_terminal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".json", ".md", ".html")

_HTML = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
body { font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: .5rem 0 } h2 { font-size: 1.1rem; margin: 1.6rem 0 .3rem }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #ddd; vertical-align: top }
th:first-child, td:first-child, .texts th, .texts td { text-align: left; white-space: pre-wrap }
p { color: #555; margin: .3rem 0 }
</style></head><body>
{% for card in cards %}{% for table in card %}
<h2>{{ table.title }}</h2>
<table{% if table.texts %} class="texts"{% endif %}>
{% if table.columns | select | list %}<tr>{% for name in table.columns %}<th>{{ name }}</th>{% endfor %}</tr>{% endif %}
{% for row in table.rows %}<tr>{% for cell in row %}<td>{{ cell | for_terminal }}</td>{% endfor %}</tr>
{% endfor %}</table>
{% if table.note %}<p>{{ table.note }}</p>{% endif %}
{% endfor %}{% endfor %}</body></html>
"""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells as they are read by people; the first column is text, others are numbers unless ``texts``."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    texts: bool = False


WORDS_ARE = (
    "words: runs of letters, digits and underscores, case and compatible characters evened out; a script without "
    "spaces has few"
)
"""What ``bench.data.near_duplicates.words`` counts."""
LONGEST = 300
"""Characters of a text that a sample row shows."""


def render_card(card: Card) -> RenderableType:
    """Return the card for a terminal; texts of the data are shown without what a terminal would act on."""
    parts: list[RenderableType] = []
    for table in tables(card):
        grid = RichTable(box=SIMPLE_HEAD, show_header=any(table.columns), pad_edge=False)
        for index, name in enumerate(table.columns):
            left = table.texts or index == 0
            grid.add_column(_cell(name), justify="left" if left else "right", overflow="fold")
        for row in table.rows:
            grid.add_row(*map(_cell, row))
        parts += [RichText(for_terminal(table.title), style="bold"), grid]
        parts += [RichText(for_terminal(table.note), style="dim"), RichText("")] if table.note else []
    return Group(*parts)


def render_next(card: Card) -> RichText:
    """Return what to do with the data, and the command in one line, to be printed without wrapping."""
    lines = [f"  {line}" for line in card.advice] + ([f"  {card.command}"] if card.command is not None else [])
    return RichText("\n".join(map(for_terminal, lines)) + "\n")


def check_suffix(path: Path) -> None:
    """Raise UsageError for a file name that says no form of a card."""
    if path.suffix not in SUFFIXES:
        names = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
        raise UsageError(f"--out must end in {names} (got {path})", fix="for example --out card.html")


def write_cards(cards: Sequence[Card], path: Path) -> None:
    """Write cards whole as .json, .md or .html. Raises UsageError for another suffix, RunError where it cannot."""
    check_suffix(path)
    if path.suffix == ".json":
        text = json.dumps([{**card.as_json(), "percentiles": LEVELS} for card in cards], indent=1, ensure_ascii=False)
    elif path.suffix == ".md":
        text = "\n".join(markdown(table) for card in cards for table in with_next(card))
    else:
        environment = Environment(autoescape=True, trim_blocks=True)
        environment.filters["for_terminal"] = for_terminal
        text = environment.from_string(_HTML).render(title="Data card", cards=[with_next(card) for card in cards])
    write_text_whole(path, text.rstrip("\n") + "\n")


def markdown(table: Table) -> str:
    """Return one table as Markdown."""
    rule = [":--" if table.texts or index == 0 else "--:" for index in range(len(table.columns))]
    lines = [_line(table.columns), _line(rule), *map(_line, table.rows)]
    note = f"\n{table.note}\n" if table.note else ""
    return f"## {table.title}\n\n" + "\n".join(lines) + f"\n{note}"


def draw_lengths(lengths: Mapping[str, Lengths], *, unit: str) -> "Figure":
    """Return the picture: how long prompts and answers are, and by how much the preferred answer is longer."""
    from bench.report.figures.style import BLUE, GREY, ORANGE, VERMILLION, house, new_figure, style_of

    fields = lengths[unit]
    colours = {"prompt": GREY, "chosen": BLUE, "rejected": VERMILLION, "wanted": BLUE, "unwanted": VERMILLION}
    style = style_of("paper")
    with house(style):
        pairs = "chosen" in fields
        figure = new_figure(style, height=2.4, columns=2)
        panels = figure.subplots(1, 2 if pairs else 1, squeeze=False)[0]
        for name, numbers in fields.items():
            ordered = sorted(numbers)
            shares = [(index + 1) / len(ordered) for index in range(len(ordered))]
            panels[0].step(ordered, shares, where="post", color=colours[name], label=name)
        panels[0].set(xscale="symlog", xlim=(0, None), ylim=(0, 1), xlabel=f"length, {unit}", ylabel="share of rows")
        panels[0].legend(loc="lower right")
        if pairs:
            gaps = [one - two for one, two in zip(fields["chosen"], fields["rejected"], strict=True)]
            widest = max(1, sorted(map(abs, gaps))[int(0.99 * (len(gaps) - 1))])
            # Bins of a whole, odd width around zero: others would hold now more, now fewer of the whole lengths.
            width = 2 * (widest // 40) + 1
            reach = -(-widest // width)
            edges = [width * (index - 0.5) for index in range(-reach, reach + 2)]
            panels[1].hist(gaps, bins=edges, color=ORANGE)
            panels[1].axvline(0, color=GREY, linewidth=style.line)
            panels[1].set(xlabel=f"chosen less rejected, {unit}", ylabel="pairs")
    return figure


def _cell(text: str) -> RichText:
    return RichText(for_terminal(text.replace("\t", " ")))


def _line(cells: Sequence[str]) -> str:
    texts = (escape(for_terminal(cell.replace("\r", "")), quote=False) for cell in cells)
    escaped = (cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", "<br>") for cell in texts)
    return f"| {' | '.join(escaped)} |"


def tables(card: Card) -> list[Table]:
    """Return all that a card says, in the order in which it is read."""
    sections = [_what(card)]
    if card.faults:
        more = f"{by_kind(card.fault_kinds)}; --set drop_faulty=true leaves them out"
        rows = tuple((fault,) for fault in card.faults)
        sections.append(Table(title="Faulty rows", columns=("the first ones",), rows=rows, note=more, texts=True))
    if card.not_read:
        sections.append(_not_read(card))
    sections += [_lengths(unit, fields, note=_counted(unit, card)) for unit, fields in card.lengths.items()]
    if card.bias:
        sections.append(_bias(card))
    if card.margins is not None:
        columns, row = _columns("scores"), ("chosen less rejected", *_spread(card.margins))
        sections.append(Table(title="Score margins", columns=columns, rows=(row,)))
    if card.contamination is not None:
        sections.append(_contamination(card))
    sections.append(_samples(card))
    return sections


def with_next(card: Card) -> list[Table]:
    """Return the tables of a card in a file: what the terminal prints after them is the last one."""
    lines = (*card.advice, *(() if card.command is None else (card.command,)))
    if not lines:
        return tables(card)
    rows = tuple((line,) for line in lines)
    return [*tables(card), Table(title="What to type", columns=("",), rows=rows, texts=True)]


def number(value: float) -> str:
    """Return a number as a table has it: whole ones whole, others to four digits."""
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.4g}"


def _what(card: Card) -> Table:
    left_out = sum(card.dropped.values())
    rows = [
        ("format", f"{card.format}, {card.form}"),
        (
            "rows",
            f"{card.rows} {'pairs' if card.kind == 'pairs' else 'labelled answers'} from {card.in_file} in the file",
        ),
        ("distinct prompts", str(card.prompts)),
        *((f"prompts of {name}", str(count)) for name, count in card.turns.items()),
        *((f"{name} answers", str(count)) for name, count in card.labels.items()),
        *((f"left out: {name}", str(count)) for name, count in card.dropped.items()),
        ("faulty rows", str(card.faulty)),
        ("duplicates", f"{card.duplicates} rows repeat an earlier one"),
        ("contradictions", f"{card.contradictions} prompts whose answers were judged both ways"),
    ]
    if card.template_marks.rows:
        marks = card.template_marks
        rows.append(("chat templates in texts", f"{marks.rows} rows: {', '.join(marks.marks)}; {marks.first}"))
        if marks.written:
            text = f"{marks.written} rows; a model with a chat template gets their turns (--set form=messages)"
            rows.append(("prompts that are whole templates", text))
    if card.margins is not None:
        rows += [("ties", f"{card.ties} pairs of equal scores"), ("reversed", f"{card.reversed_scores} pairs")]
    if card.too_long is not None:
        rows += [
            (f"prompt too long for {card.max_length} tokens", f"{card.too_long} rows, which would be refused"),
            (f"cut at {card.max_length} tokens", f"{card.cut} rows lose the end of an answer"),
        ]
    rows.append(("content", card.content_hash[:16]))
    note = "" if left_out or card.faulty else "Every row of the file was read."
    return Table(title=card.source, columns=("", ""), rows=tuple(rows), note=note, texts=True)


def _columns(unit: str) -> tuple[str, ...]:
    names = {0: "least", 50: "median", 100: "most"}
    return (unit, "mean", *(names.get(level, f"{level} %") for level in LEVELS))


def _spread(spread: Spread) -> tuple[str, ...]:
    return (number(round(spread.mean, 1)), *map(number, spread.percentiles))


def _not_read(card: Card) -> Table:
    rows = tuple((each.name, str(each.rows), percent(each.share)) for each in card.not_read)
    read = [name for name, state in card.columns.items() if state == "read"]
    return Table(
        title="Columns that are not read",
        columns=("column", "rows that have it", "share"),
        rows=rows,
        note=f"Read: {listed(read)}.",
    )


def _lengths(unit: str, fields: Mapping[str, Spread], *, note: str) -> Table:
    rows = tuple((name, *_spread(each)) for name, each in fields.items())
    return Table(title=f"Lengths in {unit}", columns=_columns(unit), rows=rows, note=note)


def _counted(unit: str, card: Card) -> str:
    """Return in words what one of a unit is, where that is not plain."""
    if unit == "words":
        return WORDS_ARE
    return f"tokens: {card.token_rule}" if unit == "tokens" and card.token_rule is not None else ""


def _bias(card: Card) -> Table:
    rows = []
    for unit, bias in card.bias.items():
        share = "–" if bias.share is None else f"{bias.share:.1%} ({bias.low:.1%} to {bias.high:.1%})"
        rows.append((unit, share, str(bias.equal), f"{bias.difference:+g}" if bias.difference else "0"))
    return Table(
        title="Is the preferred answer the longer one?",
        columns=("in", "of pairs that differ (95 %)", "equal", "median difference"),
        rows=tuple(rows),
        note="50 % is no bias of length. A model can learn a share far from it in place of the preference.",
    )


def _contamination(card: Card) -> Table:
    overlap = card.contamination
    assert overlap is not None
    whole = max(1, overlap.evaluation)
    rows = (
        ("prompts there", str(overlap.evaluation), ""),
        ("equal to a training prompt", str(overlap.exact), f"{overlap.exact / whole:.2%}"),
        (f"equal, or {MOSTLY:.0%} of their runs found", str(overlap.mostly), f"{overlap.mostly / whole:.2%}"),
        ("equal, or one run found", str(overlap.touched), f"{overlap.touched / whole:.2%}"),
    )
    unread = f" {card.against_unread} rows there could not be read." if card.against_unread else ""
    return Table(
        title=f"Prompts of {card.against} among these",
        columns=("", "prompts", "share"),
        rows=rows,
        note=f"Runs of {overlap.run} words, case and punctuation evened out; {overlap.short} prompts are shorter than "
        f"a run and are compared as a whole.{unread}",
    )


def _samples(card: Card) -> Table:
    names: Sequence[str] = list(dict.fromkeys(name for sample in card.samples for name in sample))
    rows = tuple(tuple(_cut(sample.get(name, "")) for name in names) for sample in card.samples)
    return Table(title="Samples", columns=tuple(names), rows=rows, texts=True)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 60]} … {text[-50:]}"

"""Owns how a data card is shown: on the terminal, as JSON, Markdown, HTML, and its picture of the lengths."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text as RichText

from bench.data.card import LEVELS, Card, Lengths
from bench.data.card_tables import Table, tables
from bench.errors import UsageError, plain
from bench.report.whole import write_text_whole

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
{% for row in table.rows %}<tr>{% for cell in row %}<td>{{ cell | plain }}</td>{% endfor %}</tr>
{% endfor %}</table>
{% if table.note %}<p>{{ table.note }}</p>{% endif %}
{% endfor %}{% endfor %}</body></html>
"""


def shown(card: Card) -> RenderableType:
    """Return the card for a terminal; texts of the data are shown without what a terminal would act on."""
    parts: list[RenderableType] = []
    for table in tables(card):
        grid = RichTable(box=SIMPLE_HEAD, show_header=any(table.columns), pad_edge=False)
        for place, name in enumerate(table.columns):
            left = table.texts or place == 0
            grid.add_column(_cell(name), justify="left" if left else "right", overflow="fold")
        for row in table.rows:
            grid.add_row(*map(_cell, row))
        parts += [RichText(plain(table.title), style="bold"), grid]
        parts += [RichText(plain(table.note), style="dim"), RichText("")] if table.note else []
    return Group(*parts)


def write_cards(cards: Sequence[Card], path: Path) -> None:
    """Write cards whole as .json, .md or .html. Raises UsageError for another suffix, RunError where it cannot."""
    if path.suffix not in SUFFIXES:
        raise UsageError(f"--out {path} is of no known kind", fix=f"end it in one of {', '.join(SUFFIXES)}")
    if path.suffix == ".json":
        text = json.dumps([{**asdict(card), "percentiles": LEVELS} for card in cards], indent=1, ensure_ascii=False)
    elif path.suffix == ".md":
        text = "\n".join(markdown(table) for card in cards for table in tables(card))
    else:
        environment = Environment(autoescape=True, trim_blocks=True)
        environment.filters["plain"] = plain
        text = environment.from_string(_HTML).render(title="Data card", cards=[tables(card) for card in cards])
    write_text_whole(path, text.rstrip("\n") + "\n")


def markdown(table: Table) -> str:
    """Return one table as Markdown."""
    rule = [":--" if table.texts or place == 0 else "--:" for place in range(len(table.columns))]
    lines = [_line(table.columns), _line(rule), *map(_line, table.rows)]
    note = f"\n{table.note}\n" if table.note else ""
    return f"## {table.title}\n\n" + "\n".join(lines) + f"\n{note}"


def draw_lengths(lengths: Mapping[str, Lengths], *, unit: str) -> "Figure":
    """Return the picture: how long prompts and answers are, and by how much the preferred answer is longer."""
    from bench.report.style import BLUE, GREY, ORANGE, VERMILLION, house, new_figure, style_of

    fields = lengths[unit]
    colours = {"prompt": GREY, "chosen": BLUE, "rejected": VERMILLION, "wanted": BLUE, "unwanted": VERMILLION}
    style = style_of("paper")
    with house(style):
        pairs = "chosen" in fields
        figure = new_figure(style, height=2.4, columns=2)
        panels = figure.subplots(1, 2 if pairs else 1, squeeze=False)[0]
        for name, numbers in fields.items():
            ordered = sorted(numbers)
            shares = [(place + 1) / len(ordered) for place in range(len(ordered))]
            panels[0].step(ordered, shares, where="post", color=colours[name], label=name)
        panels[0].set(xscale="symlog", xlim=(0, None), ylim=(0, 1), xlabel=f"length, {unit}", ylabel="share of rows")
        panels[0].legend(loc="lower right")
        if pairs:
            gaps = [one - two for one, two in zip(fields["chosen"], fields["rejected"], strict=True)]
            widest = max(1, sorted(map(abs, gaps))[int(0.99 * (len(gaps) - 1))])
            # Bins of a whole, odd width around zero: others would hold now more, now fewer of the whole lengths.
            width = 2 * (widest // 40) + 1
            reach = -(-widest // width)
            edges = [width * (place - 0.5) for place in range(-reach, reach + 2)]
            panels[1].hist(gaps, bins=edges, color=ORANGE)
            panels[1].axvline(0, color=GREY, linewidth=style.line)
            panels[1].set(xlabel=f"chosen less rejected, {unit}", ylabel="pairs")
    return figure


def _cell(text: str) -> RichText:
    return RichText(plain(text.replace("\t", " ")))


def _line(cells: Sequence[str]) -> str:
    told = (escape(plain(cell.replace("\r", "")), quote=False) for cell in cells)
    escaped = (cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", "<br>") for cell in told)
    return f"| {' | '.join(escaped)} |"

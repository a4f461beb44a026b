"""Owns the tables of a data card: one list of them for the terminal, for Markdown and for HTML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.data.card import LEVELS, Card, Spread
from bench.data.contamination import MOSTLY

LONGEST = 300
"""Characters of a text that a sample row shows."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells as they are read by people; the first column is text, others are numbers unless ``texts``."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    texts: bool = False


def tables(card: Card) -> list[Table]:
    """Return all that a card says, in the order in which it is read."""
    found = [_what(card)]
    if card.faults:
        more = f"{card.faulty} rows in all" if card.faulty > len(card.faults) else ""
        rows = tuple((fault,) for fault in card.faults)
        found.append(Table(title="Faulty rows", columns=("the first ones",), rows=rows, note=more, texts=True))
    found += [_lengths(unit, fields) for unit, fields in card.lengths.items()]
    if card.bias:
        found.append(_bias(card))
    if card.margins is not None:
        columns, row = _columns("scores"), ("chosen less rejected", *_spread(card.margins))
        found.append(Table(title="Score margins", columns=columns, rows=(row,)))
    if card.contamination is not None:
        found.append(_contamination(card))
    found.append(_samples(card))
    return found


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


def _spread(found: Spread) -> tuple[str, ...]:
    return (number(round(found.mean, 1)), *map(number, found.percentiles))


def _lengths(unit: str, fields: Mapping[str, Spread]) -> Table:
    rows = tuple((name, *_spread(each)) for name, each in fields.items())
    return Table(title=f"Lengths in {unit}", columns=_columns(unit), rows=rows)


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
    found = card.contamination
    assert found is not None
    whole = max(1, found.evaluation)
    rows = (
        ("prompts there", str(found.evaluation), ""),
        ("equal to a training prompt", str(found.exact), f"{found.exact / whole:.2%}"),
        (f"equal, or {MOSTLY:.0%} of their runs found", str(found.mostly), f"{found.mostly / whole:.2%}"),
        ("equal, or one run found", str(found.touched), f"{found.touched / whole:.2%}"),
    )
    unread = f" {card.against_unread} rows there could not be read." if card.against_unread else ""
    return Table(
        title=f"Prompts of {card.against} among these",
        columns=("", "prompts", "share"),
        rows=rows,
        note=f"Runs of {found.run} words, case and punctuation evened out; {found.short} prompts are shorter than a "
        f"run and are compared as a whole.{unread}",
    )


def _samples(card: Card) -> Table:
    names: Sequence[str] = list(dict.fromkeys(name for sample in card.samples for name in sample))
    rows = tuple(tuple(_cut(sample.get(name, "")) for name in names) for sample in card.samples)
    return Table(title="Samples", columns=tuple(names), rows=rows, texts=True)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 60]} … {text[-50:]}"

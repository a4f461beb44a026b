"""Owns the table of docs/benchmarks.md: records of ``steps`` and ``sweep`` become its rows, between two markers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.utils.files import write_text_whole

BEGIN, END = "<!-- peers:begin -->", "<!-- peers:end -->"
COLUMNS = (
    "model", "objective", "what", "TRL's setting", "TRL [s]", "ours fp32 [s]", "ratio", "ours bf16 [s]", "ratio",
    "ratios, our reference pass counted", "tokens/s: TRL, fp32, bf16", "share of peak", "peak memory [GB]",
    "losses within",
)  # fmt: skip
SIDES = ("trl", "ours-fp32", "ours-bf16")


def update(files: Sequence[Path], document: Path) -> None:
    """Write the table of these records between the markers of the document.

    Raises UsageError for a record whose losses disagree, and for a document without the two markers.
    """
    text = document.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise UsageError(f"{document} has not once {BEGIN} and after it {END}", fix="write both where the table goes")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    records = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    write_text_whole(document, f"{before}{BEGIN}\n{render(records)}{END}{after}")


def render(records: Sequence[dict[str, Any]]) -> str:
    """The table, and below it each machine with its versions. Raises UsageError where a record's losses disagree."""
    machines: dict[str, list[dict[str, Any]]] = {}
    rows = []
    for record in records:
        told = _machine(record)
        machines.setdefault(told, []).append(record)
        for row in record["rows"]:
            if not row["equal"]:
                raise UsageError(
                    f"{row['size']} {row['objective']} {row['setting']}: the losses differ by {row['difference']:.2g}",
                    fix="the two sides did not compute the same: the times mean nothing; find out why",
                )
            rows.append((list(machines).index(told), _cells(record, row)))
    several = len(machines) > 1
    columns = (*COLUMNS, *(("machine",) if several else ()))
    lines = [_line(columns), _line("---" for _ in columns)]
    lines += [_line((*cells, *((str(number + 1),) if several else ()))) for number, cells in rows]
    lines.append("")
    for number, (told, theirs) in enumerate(machines.items(), start=1):
        lines.append(f"{f'{number}. ' if several else ''}{told}{_peaks(theirs)}")
    return "\n".join(lines) + "\n"


def _cells(record: dict[str, Any], row: dict[str, Any]) -> tuple[str, ...]:
    steps = record["kind"] == "steps"
    pairs = record["protocol"]["batch"] if steps else row["pairs"]
    what = f"step of {pairs} pairs" if steps else f"sweep of {len(row['betas'])} β, {pairs} pairs"
    seconds = [_spread(row[side]["seconds"]) for side in SIDES]
    ratios = [_spread(row[side]["ratio"], unit="×") for side in SIDES[1:]]
    return (
        row["size"],
        row["objective"],
        what,
        row["setting"],
        seconds[0],
        seconds[1],
        ratios[0],
        seconds[2],
        ratios[1],
        ", ".join(f"{row[side]['ratio_with_reference']['median']:.1f}×" for side in SIDES[1:]) if steps else "–",
        ", ".join(f"{row[side]['tokens_per_second']:,.0f}" for side in SIDES) if steps else "–",
        ", ".join(f"{row[side]['share_of_peak']:.0%}" for side in SIDES) if steps else "–",
        _memory(row),
        f"{row['difference']:.0e}",
    )


def _memory(row: dict[str, Any]) -> str:
    found = row.get("peak_bytes")
    if found is None:
        return "–"
    return ", ".join(f"{found[side] / 1e9:.2f}" for side in (f"trl-{row['setting']}", *SIDES[1:]))


def _spread(values: dict[str, float], *, unit: str = "") -> str:
    """The median in bold where it is a ratio, and the quartiles where there are any."""
    middle = f"**{values['median']:.1f}{unit}**" if unit else f"{values['median']:.3g}"
    if values["low"] == values["high"]:
        return middle
    digits = ".1f" if unit else ".3g"
    return f"{middle} ({values['low']:{digits}}–{values['high']:{digits}})"


def _machine(record: dict[str, Any]) -> str:
    machine = record["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads, Python {machine['python']}, "
        f"{packages}"
    )


def _peaks(records: Sequence[dict[str, Any]]) -> str:
    """The best matrix products of any record: what the shares are shares of, but for noise."""
    known = [record["peaks"] for record in records if "peaks" in record]
    if not known:
        return ""
    best = ", ".join(f"{name} {max(each[name] for each in known) / 1e9:,.0f} GF/s" for name in ("fp32", "bf16"))
    return f"; best matrix products: {best}"


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"

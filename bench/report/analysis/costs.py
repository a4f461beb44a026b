"""Costs by setting, objective and protocol: device hours, tokens, FLOPs, memory, energy, money."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.record import RunRecord
from bench.report.analysis.settings import Setting
from bench.utils.files import write_text_whole

if TYPE_CHECKING:
    from rich.table import Table

JOULES_PER_KWH = 3.6e6
ALL = "all"
FILE = "cost.md"
NAMES = ("protocol", "objective", "runs", "device h", "tokens", "PFLOP", "peak", "kWh", "how known", "€")


@dataclass(frozen=True, kw_only=True)
class SettingCost:
    """The cost of all runs of a setting together; fields as those of a record's cost."""

    train_seconds: float
    evaluate_seconds: float
    reference_seconds: float
    tokens: float
    forward_tokens: float
    flops: float
    peak_memory_bytes: int
    runs: int
    device: str


def total_cost(setting: Setting) -> SettingCost:
    """Return the cost of all runs of ``setting`` together; a run that was evaluated twice was trained once."""
    runs = list({record.key: record.cost for record in setting.every_record}.values())
    return SettingCost(
        train_seconds=math.fsum(cost.train_seconds for cost in runs),
        evaluate_seconds=math.fsum(record.cost.evaluate_seconds for record in setting.every_record),
        reference_seconds=math.fsum(cost.reference_seconds for cost in runs),
        tokens=math.fsum(cost.tokens for cost in runs),
        forward_tokens=math.fsum(cost.forward_tokens for cost in runs),
        flops=math.fsum(cost.flops for cost in runs),
        peak_memory_bytes=max(cost.peak_memory_bytes for cost in runs),
        runs=len(runs),
        device=", ".join(sorted({cost.device for cost in runs})),
    )


@dataclass(frozen=True, kw_only=True)
class CostRow:
    """What the runs of one objective cost under one protocol; ``objective`` «all»: those of the whole protocol.

    ``device_hours``: of training and evaluation, times the devices of a run. ``kwh``: over the runs whose energy was
    measured, None where none was; ``unknown_energy`` counts the others. ``reference_seconds``: of the cache, which
    objectives share, so that it stands in the row of the whole protocol alone. ``price``: euro.
    """

    protocol: str
    preset: str
    suite: str
    objective: str
    runs: int
    device_hours: float
    reference_seconds: float | None
    tokens: int
    flops: float
    peak_memory_bytes: int
    devices: str
    kwh: float | None
    energy: str
    unknown_energy: int
    price: float | None

    def as_json(self) -> dict[str, object]:
        """Return the row as plain data."""
        return asdict(self)


def costs_of(records: Iterable[RunRecord], *, price: float | None = None) -> list[CostRow]:
    """Return a row for each protocol, suite and objective, and one for the whole of each protocol and suite.

    A run that several protocols share was trained once, and stands under each of them.

    Args:
        price: euro per device hour.
    """
    groups: dict[tuple[str, str], dict[str, list[RunRecord]]] = {}
    for record in records:
        group = groups.setdefault((record.protocol, record.spec.suite), {})
        group.setdefault(record.spec.objective, []).append(record)
    rows = []
    for _, group in sorted(groups.items()):
        rows += [_row(name, own, price=price) for name, own in sorted(group.items())]
        rows.append(_row(ALL, [record for own in group.values() for record in own], price=price))
    return rows


def cost_tables(rows: Sequence[CostRow]) -> "list[Table]":
    """Return the costs as tables for a terminal, one for each protocol and suite."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    names = _names(rows)[1:]
    tables: dict[str, Table] = {}
    for row in rows:
        cells = _cells(row)
        title = cells["protocol"]
        if title not in tables:
            tables[title] = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), title=title)
            for name in names:
                left = name in ("objective", "how known")
                tables[title].add_column(name, justify="left" if left else "right", overflow="fold")
        tables[title].add_row(*(cells[name] for name in names), style="bold" if row.objective == ALL else None)
    return list(tables.values())


def costs_markdown(rows: Sequence[CostRow]) -> str:
    """Return the costs as Markdown, with what the columns mean."""
    if not rows:
        return "# Cost\n\nThere are no finished runs yet. `bench run` makes one.\n"
    names = _names(rows)
    rule = "|".join("---" if name in ("protocol", "objective", "how known") else "---:" for name in names)
    lines = [f"| {' | '.join(names)} |", f"|{rule}|"]
    lines += [f"| {' | '.join(cells[name] for name in names)} |" for cells in map(_cells, rows)]
    notes = (
        "- device hours: training and evaluation, times the devices (ranks) of a run. A CPU worker is one.\n"
        "- kWh: of the runs whose energy the machine's counters measured (`docs/observability.md`); a dash where none\n"
        "  did. Estimates in records of older versions are left out.\n"
    )
    return "# Cost\n\n" + "\n".join(lines) + "\n\n" + notes


def write_costs(results: Path, rows: Sequence[CostRow]) -> Path:
    """Write ``cost.md`` under ``results``. Raises RunError for a full disk and the like."""
    write_text_whole(results / FILE, costs_markdown(rows))
    return results / FILE


def _row(objective: str, records: Sequence[RunRecord], *, price: float | None) -> CostRow:
    first = records[0]
    runs = {record.key: record for record in records}
    evaluated: dict[str, float] = {}
    for record in records:
        evaluated[record.key] = evaluated.get(record.key, 0.0) + record.cost.evaluate_seconds
    seconds = math.fsum(run.cost.train_seconds * (run.cost.devices or 1) + evaluated[key] for key, run in runs.items())
    energies = [run.cost.energy for run in runs.values()]
    joules = [energy.joules for energy in energies if energy is not None and energy.source == "measured"]
    hours = seconds / 3600
    return CostRow(
        protocol=first.protocol,
        preset=str(first.tuning.get("preset", "")),
        suite=first.spec.suite,
        objective=objective,
        runs=len(runs),
        device_hours=hours,
        reference_seconds=max(run.cost.reference_seconds for run in runs.values()) if objective == ALL else None,
        tokens=sum(run.cost.tokens for run in runs.values()),
        flops=math.fsum(run.cost.flops for run in runs.values()),
        peak_memory_bytes=max(run.cost.peak_memory_bytes for run in runs.values()),
        devices=", ".join(sorted({run.cost.device for run in runs.values()})),
        kwh=math.fsum(joules) / JOULES_PER_KWH if joules else None,
        energy="measured" if joules else "unknown",
        unknown_energy=len(runs) - len(joules),
        price=None if price is None else hours * price,
    )


def _names(rows: Sequence[CostRow]) -> list[str]:
    return [name for name in NAMES if name != "€" or any(row.price is not None for row in rows)]


def _cells(row: CostRow) -> dict[str, str]:
    missing = f", {row.unknown_energy} runs unknown" if row.unknown_energy and row.kwh is not None else ""
    cells = (
        f"{row.preset or 'protocol'} {row.protocol[:12]}, {row.suite}",
        row.objective,
        str(row.runs),
        f"{row.device_hours:.4f}",
        f"{row.tokens:,}",
        f"{row.flops / 1e15:.3g}",
        f"{row.peak_memory_bytes / 1e6:,.0f} MB",
        "–" if row.kwh is None else f"{row.kwh:.2g}",
        f"{row.energy}{missing}",
        "–" if row.price is None else f"{row.price:.2f}",
    )
    return dict(zip(NAMES, cells, strict=True))

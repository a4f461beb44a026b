"""Table of a forecast, and the lines below it."""

from collections.abc import Iterator

from rich import box
from rich.table import Table

from bench.runner.estimate.forecast import Forecast, Row
from bench.runner.search import points_text

UNKNOWN = "?"
PETA, GIGA, MEGA = 1e15, 1e9, 1e6


def plan_table(forecast: Forecast) -> Table:
    """Return what a command would do: one row an objective, the sum below."""
    workspace, outline = forecast.outline.plan.workspace, forecast.outline
    about = "about " if outline.sampled else ""
    table = Table(
        "objective",
        "settings",
        "runs",
        "done",
        "steps",
        "policy\ntokens",
        "time",
        "memory",
        "device\nh",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
        title=f"Plan: suite {workspace.suite.name}, {about}{outline.rows:,} {workspace.data_spec.kind}, "
        f"model {workspace.model_spec.source}",
    )
    table.columns[0].no_wrap, table.columns[1].min_width = True, 10
    for column in table.columns[2:]:
        column.justify, column.no_wrap = "right", True
    for row in forecast.rows:
        table.add_row(
            row.search.objective.name,
            points_text(row.search.points),
            str(row.runs),
            str(row.done),
            str(row.steps),
            f"{row.tokens:,.0f}",
            clock(row.seconds),
            _bytes(row.memory.device or row.memory.process),
            _hours(forecast, row.seconds),
        )
    table.add_section()
    table.add_row(
        "all",
        "",
        *_sums(forecast),
        _bytes(forecast.memory.device or forecast.memory.process),
        _hours(forecast, _seconds(forecast.rows)),
    )
    return table


def plan_lines(forecast: Forecast) -> Iterator[str]:
    """Yield what comes besides the rows of the table, how sure it is, and what is not known."""
    plan, crew, outline = forecast.outline.plan, forecast.crew, forecast.outline
    if forecast.reference is not None:
        drawn = forecast.reference
        more = f", and {drawn.mismatched:,} prompts with another one's answer" if drawn.mismatched else ""
        yield (
            f"reference log-probs: {drawn.drawn:,} of {drawn.all:,} completions{more}, "
            f"{clock(forecast.reference_seconds)}"
        )
    yield (
        f"start model's evaluation: {clock(forecast.start)}; each run's: {clock(forecast.evaluation)}; "
        f"before and after (loading, tables, figures): {clock(forecast.before + forecast.after)}"
    )
    workers = f"{_counted(crew.workers, 'worker')} of {_counted(crew.threads, 'thread')}"
    if forecast.wall is not None:
        low, high = forecast.wall * (1 - forecast.off), forecast.wall * (1 + forecast.off)
        yield f"the whole command: {clock(forecast.wall)} on {workers}, from {clock(low)} to {clock(high)}"
    else:
        work = sum(row.operations for row in forecast.rows) / PETA
        yield f"trainings: {work:,.3g} PFLOP; each PFLOP takes 10 s where 100 TFLOP/s are reached"
    where = "one device" if forecast.memory.device else "the largest process"
    together = f", {_bytes(forecast.memory.all)} of all {crew.workers} workers" if crew.workers > 1 else ""
    yield f"memory: {_bytes(forecast.memory.device or forecast.memory.process)} of {where} at its peak{together}"
    if forecast.rates is not None:
        yield (
            f"measured on {_counted(forecast.rates.threads, 'thread')} in {forecast.rates.seconds:.1f} s, on a model "
            f"of the same kind with fewer layers; rows are {forecast.rates.layout}"
        )
    yield from _race(forecast)
    if outline.sampled:
        yield (
            f"read: the first {outline.read:,} of {outline.raw:,} rows. Faulty rows after them, duplicates and overlap "
            "are looked for when it runs"
        )
    if not outline.exact and any(row.done for row in forecast.rows):
        yield "done: by the names of model and data; their contents are compared when it runs"
    for line in forecast.unknown:
        yield f"not known: {line}"
    if plan.workspace.train.lora is not None and plan.workspace.train.lora.quantize is not None:
        yield "not checked: whether four bits can be trained on here"


def _race(forecast: Forecast) -> Iterator[str]:
    """Yield what is to say of a race: the rows are the most that it can cost, and its first look comes anyway."""
    plan = forecast.outline.plan
    if plan.race is None:
        return
    arms, first = len(plan.searches), len(plan.sure_seeds)
    trainings = [row.seconds / max(1, row.runs - row.done) for row in forecast.rows if row.seconds is not None]
    each = sum(trainings) / len(trainings) if trainings else None
    looks = ", ".join(map(str, plan.race.looks))
    budget = "" if plan.request.budget is None else f", budget {plan.request.budget}"
    further = len(plan.further_seeds)
    choice = f" and {further} more for each setting that may be the best" if further else ""
    yield (
        f"race: all rows are the most, {len(plan.final_seeds)} fresh seeds each{choice}; the first look takes "
        f"{first} of each, {arms * first} trainings, {clock(None if each is None else arms * first * each)}; looks at "
        f"{looks} seeds, margin {plan.race.margin:g}{budget}"
    )


def clock(seconds: float | None) -> str:
    """Return a time for people."""
    if seconds is None:
        return UNKNOWN
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def _sums(forecast: Forecast) -> tuple[str, ...]:
    rows = forecast.rows
    return (
        str(sum(row.runs for row in rows)),
        str(sum(row.done for row in rows)),
        str(sum(row.steps for row in rows)),
        f"{sum(row.tokens for row in rows):,.0f}",
        clock(_seconds(rows)),
    )


def _seconds(rows: tuple[Row, ...]) -> float | None:
    known = [row.seconds for row in rows if row.seconds is not None]
    return sum(known) if len(known) == len(rows) else None


def _hours(forecast: Forecast, seconds: float | None) -> str:
    """Return the hours of all devices: each rank of a training has one."""
    if seconds is None:
        return UNKNOWN
    return f"{seconds / 3600 * forecast.outline.plan.workspace.execution.processes:.3f}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count > 1 else ''}"


def _bytes(count: float) -> str:
    return f"{count / GIGA:.1f} GB" if count >= GIGA else f"{count / MEGA:.0f} MB"

"""Display of a results folder's state: a few tables that fit a terminal."""

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.runner.race_history import RaceHistory
from bench.runner.status.overview import Overview, Worker
from bench.runner.status.studies import SETTLED, Failure, Study
from bench.runner.status.trainings import Training

NOTHING = "–"
FEW_FAILURES = 5
"""As many failed trials are shown without ``--verbose``."""
ORDER = (*SETTLED, "running", "lost")
Cells = Sequence[str]


def render_status(overview: Overview, *, verbose: bool = False) -> RenderableType:
    """Return an overview as tables: studies, workers, unfinished trainings, what failed, what is damaged."""
    parts: list[RenderableType] = [Text(_head(overview), style="bold")]
    parts += _studies(overview.studies)
    parts += [Text(line) for race in overview.races for line in _race(race)]
    parts += _workers(overview.workers)
    parts += _trainings(overview.trainings)
    parts.append(Text(_left(overview)))
    parts += _failures([failure for study in overview.studies for failure in study.failures], verbose=verbose)
    parts += [Text(f"damaged: {line}", style="red") for line in overview.problems]
    return Group(*parts)


def clock(seconds: float | None) -> str:
    """Return «41 s», «3 min 05 s», «2 h 07 min»; a dash for an unknown time."""
    if seconds is None:
        return NOTHING
    whole = round(max(0.0, seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(count: int) -> str:
    """Return a number of bytes, «41.2 MB»."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def setting(params: Mapping[str, float]) -> str:
    """Return «beta=0.1 lr=0.0003»."""
    return " ".join(f"{name}={value:g}" for name, value in params.items()) or "defaults"


def _head(overview: Overview) -> str:
    disk = ", ".join(f"{place} {size(count)}" for place, count in list(overview.disk.items())[:4])
    whole = f"{size(sum(overview.disk.values()))} on disk" + (f" ({disk})" if disk else "")
    return f"{overview.folder} · {overview.time} · {overview.runs} finished runs, {overview.records} records · {whole}"


def _studies(studies: Sequence[Study]) -> list[RenderableType]:
    if not studies:
        return [Text("no study here")]
    rows = []
    for study in studies:
        counts = [f"{study.counts[name]} {name}" for name in ORDER if study.counts.get(name)]
        free = study.total - sum(study.counts.values())
        best = NOTHING if study.best is None else f"{study.best.value:.4g} at {setting(study.best.params)}"
        protocol = [str(study.protocol.get(name)) for name in ("preset", "hash", "sampler") if study.protocol.get(name)]
        pruner = study.protocol.get("pruner", "none")
        protocol += [f"pruner {pruner}"] if pruner != "none" else []
        rows.append(
            [
                study.name,
                " ".join(protocol) or "no protocol",
                f"{study.settled}/{study.total}",
                ", ".join([*counts, *([f"{free} free"] if free > 0 else [])]),
                best,
            ]
        )
    return [_table(("study", "protocol", "settled", "settings", "best so far"), rows)]


def _race(race: RaceHistory) -> list[str]:
    """Return a line on a race as a whole, and one on each look."""
    racing, looks = len(race.racing), len(race.looks)
    state = f"{looks} of at most {len(race.looks_at)} looks, {race.trainings} trainings, margin {race.margin:g}"
    if race.end is not None:
        state += f": {race.end}, {racing} of {len(race.arms)} arms left"
    else:
        state += f": {racing} of {len(race.arms)} arms in the race, next look at {race.needs} seeds"
    lines = [f"race of protocol {race.protocol}: {state}"]
    for look in race.looks:
        words = [word for arm, word in look.words.items() if arm not in look.dropped]
        counts = [f"{words.count(word)} {word}" for word in ("equal", "undecided") if word in words]
        dropped = [f"{', '.join(look.dropped)} dropped"] if look.dropped else []
        result = "; ".join([f"{look.first} first", *dropped, *counts])
        lines.append(f"  look {look.look}, {look.seeds} seeds, {look.time[:16].replace('T', ' ')}: {result}")
    return lines


def _workers(workers: Sequence[Worker]) -> list[RenderableType]:
    if not workers:
        return [Text("no worker holds a trial")]
    rows = []
    for worker in workers:
        heard = f"{clock(worker.beat)} ago" if worker.beat is not None else NOTHING
        state = "gone or silent" if worker.stale else "at work"
        rows.append([f"{worker.host} {worker.pid}", state, worker.at, heard])
    return [_table(("worker", "state", "at", "last heard of"), rows, marked=[worker.stale for worker in workers])]


def _trainings(trainings: Sequence[Training]) -> list[RenderableType]:
    if not trainings:
        return []
    rows = []
    for one in trainings:
        saved = "" if one.saved is None or one.state == "at work" else f", goes on from step {one.saved}"
        rows.append(
            [
                one.run,
                f"{one.objective} {setting(one.params)} seed {one.seed}",
                NOTHING if one.evaluating is not None and not one.step else f"{one.step}/{one.steps}",
                NOTHING if one.tokens_per_second is None else f"{one.tokens_per_second:,.0f}",
                NOTHING if one.loss is None else f"{one.loss:.4g}",
                f"{_phase(one) if one.state == 'at work' else one.state}{saved}",
            ]
        )
    names = ("run", "training", "step", "tokens/s", "loss", "state")
    return [_table(names, rows, marked=[one.state != "at work" for one in trainings])]


def _phase(training: Training) -> str:
    one = training.evaluating
    return training.phase if one is None else f"evaluating {one.split}: {one.part} {one.done}/{one.total}"


def _left(overview: Overview) -> str:
    missing = sum(study.total - study.settled for study in overview.studies)
    if not missing:
        return "every setting has a result" if overview.studies else ""
    if overview.seconds_left is None:
        why = (
            "nobody is at work"
            if not any(not worker.stale for worker in overview.workers)
            else "no training has come far enough"
        )
        return f"{missing} settings have no result yet; time left unknown: {why}"
    finals = f", then {clock(overview.finals_seconds)} of fresh seeds" if overview.finals_seconds else ""
    return f"{missing} settings have no result yet: about {clock(overview.seconds_left)} left{finals}"


def _failures(failures: Sequence[Failure], *, verbose: bool) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for failure in failures if verbose else failures[:FEW_FAILURES]:
        error = failure.error if verbose else failure.error.splitlines()[0]
        lines.append(Text(f"failed: {failure.study} trial {failure.number}, {setting(failure.params)}: {error}"))
    if len(failures) > len(lines):
        lines.append(Text(f"… and {len(failures) - len(lines)} more failed trials: --verbose"))
    return lines


def _table(names: Cells, rows: Sequence[Cells], *, marked: Sequence[bool] = ()) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for name in names:
        table.add_column(name, overflow="fold", justify="right" if name in ("step", "tokens/s", "loss") else "left")
    for place, row in enumerate(rows):
        table.add_row(*map(Text, row), style="yellow" if marked and marked[place] else None)
    return table

"""The history of a race, ``races/PROTOCOL/race.json``: what was looked at and when. For people; records decide."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict

from bench.runner.piece import Piece
from bench.runner.race import Racing
from bench.utils.event_log import log_event
from bench.utils.files import write_text_whole

FOLDER = "races"
FILE = "race.json"
VERSION = 1


class LookHistory(TypedDict):
    """One look: ``time`` is when its last record was there; ``trainings`` and their ``seconds`` are what it added."""

    look: int
    time: str
    seeds: int
    level: float
    arms: list[str]
    first: str
    words: dict[str, str]
    dropped: list[str]
    trainings: int
    seconds: float


class RaceHistory(TypedDict):
    """A race so far: its terms, the arms in it (``needs`` seeds each at the next look), and how it ended."""

    version: int
    protocol: str
    arms: list[str]
    looks_at: list[int]
    levels: list[float]
    margin: float
    seeds: list[int]
    looks: list[LookHistory]
    racing: list[str]
    needs: int | None
    end: str | None


def history_path(results: Path, protocol: str) -> Path:
    """Return where the history of a protocol's race lies."""
    return results / FOLDER / protocol / FILE


def record_history(path: Path, racing: Racing, *, protocol: str, folder_of: Mapping[tuple[str, str], Path]) -> None:
    """Write the history where it is not what is there, and log the looks that are new in it.

    Args:
        folder_of: by the name of a piece, the folder of its record, which tells when it was there.
    """
    known = read_history(path)
    history = _history(racing, protocol, folder_of, earlier=known["looks"] if known is not None else ())
    if known == history or (known is not None and _goes_on(known, history)):
        return
    write_text_whole(path, json.dumps(history, indent=1) + "\n")
    for look in history["looks"][len(known["looks"]) if known is not None else 0 :]:
        log_event("race_look", {"protocol": protocol, **look})
    if history["end"] is not None:
        log_event("race_ended", {"protocol": protocol, "end": history["end"], "racing": history["racing"]})


def read_history(path: Path) -> RaceHistory | None:
    """Return the history in a file; None where there is none that can be read: it is made again from records."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("version") != VERSION or content.keys() != _FIELDS:
        return None
    return RaceHistory(**content)  # type: ignore[typeddict-item]


def read_histories(results: Path) -> tuple[RaceHistory, ...]:
    """Return the histories of a folder's races, by protocol."""
    every = (read_history(path) for path in sorted(results.glob(f"{FOLDER}/*/{FILE}")))
    return tuple(history for history in every if history is not None)


_FIELDS = RaceHistory.__annotations__.keys()


def _history(
    racing: Racing, protocol: str, folder_of: Mapping[tuple[str, str], Path], *, earlier: Sequence[LookHistory]
) -> RaceHistory:
    race = racing.race
    looks: list[LookHistory] = []
    for number, (look, stage) in enumerate(zip(race.looks, racing.stages, strict=False), 1):
        made = LookHistory(
            look=number,
            time=_time(stage, folder_of),
            seeds=look.seeds,
            level=look.level,
            arms=list(look.arms),
            first=look.first,
            words={arm: verdict.word for arm, verdict in look.against_first.items()},
            dropped=list(look.dropped),
            trainings=len(stage),
            seconds=round(sum(_seconds(racing, piece) for piece in stage), 3),
        )
        # A copied folder has the copy's times: what was written at the look stands.
        if number <= len(earlier) and {**earlier[number - 1], "time": ""} == {**made, "time": ""}:
            made = earlier[number - 1]
        looks.append(made)
    return RaceHistory(
        version=VERSION,
        protocol=protocol,
        arms=list(racing.pieces),
        looks_at=list(race.terms.looks),
        levels=list(race.terms.levels),
        margin=race.terms.margin,
        seeds=list(racing.order),
        looks=looks,
        racing=list(race.arms),
        needs=race.needs,
        end=race.end,
    )


def _goes_on(known: RaceHistory, history: RaceHistory) -> bool:
    """Say whether another process has seen later looks of the same race."""
    count = len(history["looks"])
    return len(known["looks"]) > count and known["looks"][:count] == history["looks"]


def _seconds(racing: Racing, piece: Piece) -> float:
    return racing.seconds[piece.spec.objective].get(piece.spec.seed, 0.0)


def _time(stage: Sequence[Piece], folder_of: Mapping[tuple[str, str], Path]) -> str:
    times = [(folder_of[piece.name] / "manifest.json").stat().st_mtime for piece in stage]
    return datetime.fromtimestamp(max(times), UTC).isoformat(timespec="seconds")

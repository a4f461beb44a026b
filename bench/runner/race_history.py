"""The history of a race, ``races/PROTOCOL/race.json``: what was looked at and when. For people; records decide."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import TypeAdapter, ValidationError

from bench.utils.event_log import log_event
from bench.utils.files import write_text_whole

if TYPE_CHECKING:  # `bench status` reads histories without torch
    from bench.runner.piece import Piece
    from bench.runner.race import Racing

FOLDER = "races"
FILE = "race.json"


@dataclass(frozen=True, kw_only=True)
class LookHistory:
    """One look: ``time`` is when its last record was there; ``trainings`` and their ``seconds`` are what it added."""

    look: int
    time: str
    seeds: int
    level: float
    arms: tuple[str, ...]
    first: str
    words: dict[str, str]
    dropped: tuple[str, ...]
    trainings: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RaceHistory:
    """A race so far: its terms, the arms still ``racing`` (``needs`` seeds each at the next look), how it ended."""

    version: Literal[1] = 1
    protocol: str
    arms: tuple[str, ...]
    looks_at: tuple[int, ...]
    levels: tuple[float, ...]
    margin: float
    seeds: tuple[int, ...]
    looks: tuple[LookHistory, ...]
    racing: tuple[str, ...]
    needs: int | None
    end: str | None

    @property
    def trainings(self) -> int:
        """The trainings of all looks so far."""
        return sum(look.trainings for look in self.looks)


def history_path(results: Path, protocol: str) -> Path:
    """Return where the history of a protocol's race lies."""
    return results / FOLDER / protocol / FILE


def read_history(path: Path) -> RaceHistory | None:
    """Return the history in a file; None where there is none that can be read: it is made again from records."""
    try:
        return TypeAdapter(RaceHistory).validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def read_histories(results: Path) -> tuple[RaceHistory, ...]:
    """Return the histories of a folder's races, by protocol."""
    every = (read_history(path) for path in sorted(results.glob(f"{FOLDER}/*/{FILE}")))
    return tuple(history for history in every if history is not None)


def write_history(path: Path, racing: "Racing", *, protocol: str, folder_of: Mapping[tuple[str, str], Path]) -> None:
    """Write the history where it is not what is there, and log the looks that are new in it.

    Args:
        folder_of: by the name of a piece, the folder of its record, which tells when it was there.
    """
    known = read_history(path)
    earlier = known.looks if known is not None else ()
    history = _history(racing, protocol, folder_of, earlier=earlier)
    further = len(earlier) > len(history.looks) and earlier[: len(history.looks)] == history.looks
    if known == history or further:  # another process may have seen later looks
        return
    write_text_whole(path, json.dumps(asdict(history), indent=1) + "\n")
    for look in history.looks[len(earlier) :]:
        log_event("race_look", {"protocol": protocol, **asdict(look)})
    if history.end is not None:
        log_event("race_ended", {"protocol": protocol, "end": history.end, "racing": history.racing})


def _history(
    racing: "Racing", protocol: str, folder_of: Mapping[tuple[str, str], Path], *, earlier: Sequence[LookHistory]
) -> RaceHistory:
    race = racing.race
    looks: list[LookHistory] = []
    for number, (look, stage) in enumerate(zip(race.looks, racing.stages, strict=False), 1):
        made = LookHistory(
            look=number,
            time=_time(stage, folder_of),
            seeds=look.seeds,
            level=look.level,
            arms=look.arms,
            first=look.first,
            words={arm: verdict.word for arm, verdict in look.against_first.items()},
            dropped=look.dropped,
            trainings=len(stage),
            seconds=round(sum(racing.seconds(piece.spec.objective, piece.spec.seed) for piece in stage), 3),
        )
        # A copied folder has the copy's times: what was written at the look stands.
        if number <= len(earlier) and replace(earlier[number - 1], time=made.time) == made:
            made = earlier[number - 1]
        looks.append(made)
    return RaceHistory(
        protocol=protocol,
        arms=tuple(racing.pieces),
        looks_at=race.terms.looks,
        levels=race.terms.levels,
        margin=race.terms.margin,
        seeds=racing.order,
        looks=tuple(looks),
        racing=race.arms,
        needs=race.needs,
        end=race.end,
    )


def _time(stage: "Sequence[Piece]", folder_of: Mapping[tuple[str, str], Path]) -> str:
    times = [(folder_of[piece.name] / "manifest.json").stat().st_mtime for piece in stage]
    return datetime.fromtimestamp(max(times), UTC).isoformat(timespec="seconds")

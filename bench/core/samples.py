"""Sampled completions, and the file that keeps them with their texts, gold reward and KL."""

import gzip
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from bench.errors import RunError
from bench.utils.files import write_bytes_whole

FIX = "remove the file and evaluate again"


@dataclass(frozen=True, kw_only=True)
class Samples:
    """One completion for each prompt, as token ids.

    A completion that ended by itself has the end token as its last id and ``ended`` True; any other was cut.
    """

    prompts: tuple[tuple[int, ...], ...]
    completions: tuple[tuple[int, ...], ...]
    ended: tuple[bool, ...]


def spoken(samples: Samples) -> list[list[int]]:
    """Return each completion's ids but for its end token, which no text shows, be it a special token or not."""
    return [list(ids[:-1] if ended else ids) for ids, ended in zip(samples.completions, samples.ended, strict=True)]


@dataclass(frozen=True, kw_only=True)
class SampleRow:
    """One sampled completion as it is kept: ids, texts, gold reward (None: nothing scores it), KL from the reference.

    KL is in nats. ``prompt`` is what a judge is shown: the prompt's text, or the turns of its dialogue.
    """

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    ended: bool
    prompt: str
    text: str
    gold: float | None
    kl: float


def write_samples(path: Path, rows: Sequence[SampleRow]) -> None:
    """Write one JSON object a row (gzip), whole or not at all; equal rows give equal bytes.

    Raises:
        RunError: the file cannot be written.
    """
    text = "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)
    # No time stamp in the gzip header: the bytes depend on the rows alone.
    write_bytes_whole(path, gzip.compress(text.encode(), mtime=0))


def read_samples(path: Path) -> list[SampleRow]:
    """Read what ``write_samples`` wrote; floats come back as they were.

    Raises:
        RunError: the file is absent, cut off, or a line is not one row.
    """
    try:
        # Not splitlines(): a text may hold other line separators of Unicode, which JSON leaves as they are.
        lines = gzip.decompress(path.read_bytes()).decode().split("\n")
    except (EOFError, ValueError, zlib.error, gzip.BadGzipFile) as error:
        raise RunError(f"samples {path} are damaged: {error}", fix=FIX) from error
    except OSError as error:
        raise RunError(f"samples {path} cannot be read: {error.strerror or error}", fix=FIX) from error
    return [_parse(line, path=path, number=number) for number, line in enumerate(lines, 1) if line]


def _parse(line: str, *, path: Path, number: int) -> SampleRow:
    try:
        read = json.loads(line)
    except ValueError as error:
        raise RunError(f"samples {path}, line {number}: not JSON ({error})", fix=FIX) from error
    names = [field.name for field in fields(SampleRow)]
    if not isinstance(read, dict) or set(read) != set(names):
        keys = ", ".join(sorted(read)) if isinstance(read, dict) else type(read).__name__
        raise RunError(f"samples {path}, line {number}: needs {', '.join(names)}; holds {keys}", fix=FIX)
    ids = {name: tuple(read[name]) for name in ("prompt_ids", "completion_ids")}
    return SampleRow(**(read | ids))

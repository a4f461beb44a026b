"""Owns sampled completions and the file that keeps them with their text, gold reward and KL."""

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import RunError
from bench.report.whole import write_bytes_whole

FIX = "remove the file and evaluate again"


@dataclass(frozen=True, kw_only=True)
class Samples:
    """One completion for each prompt, as token ids.

    A completion that ended by itself has the end token as its last id and ``ended`` True; any other was cut.
    """

    prompts: tuple[tuple[int, ...], ...]
    completions: tuple[tuple[int, ...], ...]
    ended: tuple[bool, ...]


@dataclass(frozen=True, kw_only=True)
class ScoredSamples:
    """Samples with, for each: the completion's text, its gold reward, its KL from the reference in nats."""

    samples: Samples
    texts: tuple[str, ...]
    gold: tuple[float, ...]
    kl: tuple[float, ...]


def write_samples(
    path: Path, samples: Samples, *, texts: Sequence[str], gold: Sequence[float], kl: Sequence[float]
) -> None:
    """Write one JSON object a prompt (gzip), whole or not at all; equal samples give equal bytes.

    Raises:
        ValueError: texts, gold or kl have another length than the samples. RunError: the file cannot be written.
    """
    columns = zip(samples.prompts, samples.completions, samples.ended, texts, gold, kl, strict=True)
    lines = [
        json.dumps(
            {
                "prompt": list(prompt),
                "completion": list(completion),
                "ended": ended,
                "text": text,
                "gold": float(reward),
                "kl": float(divergence),
            },
            ensure_ascii=False,
        )
        for prompt, completion, ended, text, reward, divergence in columns
    ]
    # No time stamp in the gzip header: the bytes depend on the samples alone.
    write_bytes_whole(path, gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0))


def read_samples(path: Path) -> ScoredSamples:
    """Read what ``write_samples`` wrote; floats come back as they were.

    Raises:
        RunError: the file is absent, cut off, or a line is not one sample.
    """
    try:
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    except OSError as error:
        raise RunError(f"samples {path} cannot be read: {error.strerror or error}", fix=FIX) from error
    except (EOFError, ValueError) as error:
        raise RunError(f"samples {path} are damaged: {error}", fix=FIX) from error
    rows = [_parse(line, path=path, number=number) for number, line in enumerate(lines, 1)]
    return ScoredSamples(
        samples=Samples(
            prompts=tuple(tuple(row["prompt"]) for row in rows),
            completions=tuple(tuple(row["completion"]) for row in rows),
            ended=tuple(row["ended"] for row in rows),
        ),
        texts=tuple(row["text"] for row in rows),
        gold=tuple(row["gold"] for row in rows),
        kl=tuple(row["kl"] for row in rows),
    )


def _parse(line: str, *, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise RunError(f"samples {path}, line {number}: not JSON ({error})", fix=FIX) from error
    fields = ("prompt", "completion", "ended", "text", "gold", "kl")
    absent = [field for field in fields if not isinstance(row, dict) or field not in row]
    if absent:
        raise RunError(f"samples {path}, line {number}: lacks {', '.join(absent)}", fix=FIX)
    return row

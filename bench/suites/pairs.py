"""The prompts, the scored completions and the preference pairs of the sentiment suite, and their files."""

import gzip
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import RunError, UsageError, did_you_mean

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One prompt and its completions: token ids, gold rewards (nats), and whether each ended by itself (its last id
    is then the end-of-text token)."""

    prompt_ids: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]
    scores: tuple[float, ...]
    ended: tuple[bool, ...]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One preference: token ids, and the gold rewards (nats) of the two completions after the prompt."""

    prompt_ids: tuple[int, ...]
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]
    chosen_score: float
    rejected_score: float


def load_pairs(folder: Path, split: str) -> list[Pair]:
    """Read the pairs of one split: every two completions of a prompt, the higher gold reward chosen, ties left out.

    The order is that of the file: prompt by prompt, so pairs of one prompt are neighbours; shuffle before training.

    Raises:
        UsageError: no such split. RunError: the file is absent or damaged.
    """
    return make_pairs(load_scored(folder, split))


def load_prompts(folder: Path, split: str) -> list[list[int]]:
    """Read the prompts of one split as token ids; each starts with the end-of-text token, which also begins a text.

    Raises:
        UsageError: no such split. RunError: the file is absent or damaged.
    """
    path = folder / prompts_file(split)
    try:
        rows = json.loads(path.read_bytes())
        return [[int(token) for token in row] for row in rows]
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(path, error) from error


def load_scored(folder: Path, split: str) -> list[Scored]:
    """Read what the pairs are made from: the completions of each prompt with their gold rewards.

    Raises:
        UsageError: no such split. RunError: the file is absent or damaged.
    """
    path = folder / completions_file(split)
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            return [_scored(json.loads(line)) for line in lines]
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error


def make_pairs(rows: Sequence[Scored]) -> list[Pair]:
    """Make every pair of completions of each prompt, the higher gold reward chosen; equal rewards make no pair."""
    pairs = []
    for row in rows:
        for i, j in itertools.combinations(range(len(row.completions)), 2):
            if row.scores[i] == row.scores[j]:
                continue
            chosen, rejected = (i, j) if row.scores[i] > row.scores[j] else (j, i)
            pairs.append(
                Pair(
                    prompt_ids=row.prompt_ids,
                    chosen_ids=row.completions[chosen],
                    rejected_ids=row.completions[rejected],
                    chosen_score=row.scores[chosen],
                    rejected_score=row.scores[rejected],
                )
            )
    return pairs


def bradley_terry(pairs: Sequence[Pair], *, temperature: float, seed: int) -> list[Pair]:
    """Relabel pairs by the Bradley-Terry model: P(a preferred to b) = σ((r_a − r_b) / temperature).

    ``temperature`` is in nats of gold reward; towards 0 the labels become those of the gold reward. A pair's fields
    ``chosen_*`` then hold the preferred completion, which may have the lower gold reward.

    Raises:
        UsageError: the temperature is not a positive finite number.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise UsageError(f"temperature must be a positive number of nats (got {temperature})", fix="1.0")
    draws = np.random.default_rng(seed).random(len(pairs))
    return [
        pair if draw < _sigmoid((pair.chosen_score - pair.rejected_score) / temperature) else _swapped(pair)
        for pair, draw in zip(pairs, draws, strict=True)
    ]


def write_prompts(path: Path, prompts: Sequence[Sequence[int]]) -> None:
    """Write prompts as JSON, one prompt a line."""
    lines = ",\n".join(json.dumps(list(prompt), separators=(",", ":")) for prompt in prompts)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def write_scored(path: Path, rows: Sequence[Scored]) -> None:
    """Write completions as gzipped JSON lines; the bytes depend on the rows alone (no time stamp in the file)."""
    lines = [
        json.dumps(
            {"prompt_ids": row.prompt_ids, "completions": row.completions, "scores": row.scores, "ended": row.ended},
            separators=(",", ":"),
        )
        for row in rows
    ]
    path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode(), mtime=0))


def completions_file(split: str) -> str:
    """Return the name of the file of scored completions of a split."""
    return f"pairs-{check_split(split)}.jsonl.gz"


def prompts_file(split: str) -> str:
    """Return the name of the file of prompts of a split."""
    return f"prompts-{check_split(split)}.json"


def check_split(split: str) -> str:
    """Return the name of a split. Raises UsageError where there is no such split."""
    if split not in SPLITS:
        raise UsageError(f"unknown split {split!r}", fix=did_you_mean(split, SPLITS))
    return split


def _scored(row: Mapping[str, Any]) -> Scored:
    scored = Scored(
        prompt_ids=tuple(row["prompt_ids"]),
        completions=tuple(tuple(ids) for ids in row["completions"]),
        scores=tuple(row["scores"]),
        ended=tuple(row["ended"]),
    )
    if not len(scored.completions) == len(scored.scores) == len(scored.ended):
        raise ValueError("completions, scores and ended differ in number")
    return scored


def _swapped(pair: Pair) -> Pair:
    return Pair(
        prompt_ids=pair.prompt_ids,
        chosen_ids=pair.rejected_ids,
        rejected_ids=pair.chosen_ids,
        chosen_score=pair.rejected_score,
        rejected_score=pair.chosen_score,
    )


def _sigmoid(value: float) -> float:
    return 0.5 * (1.0 + math.tanh(0.5 * value))


def _damaged(path: Path, error: Exception) -> RunError:
    return RunError(f"{path} cannot be read: {error}", fix="restore the suite's assets (reinstall, or rebuild them)")

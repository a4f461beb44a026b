"""The gold reward: a stored TF-IDF + logistic-regression classifier, read and scored with numpy alone."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from bench.errors import RunError

DESCRIPTION = "classifier.json"
WEIGHTS = "classifier.safetensors"
FORMAT = 1


class Description(TypedDict):
    """``classifier.json``: how texts become n-grams, the n-grams by column, and SHA-256 by file name."""

    token_pattern: str
    lowercase: bool
    ngram_range: list[int]
    vocabulary: list[str]
    sha256: dict[str, str]


@dataclass(frozen=True, kw_only=True, eq=False)
class Gold:
    """A word n-gram TF-IDF (sublinear tf, l2 norm) and a logistic regression on it.

    ``columns`` maps an n-gram (words joined by one space) to its column; ``idf`` and ``weight`` have shape
    ``[features]``; ``bias`` is the logit of a text without any known n-gram.
    """

    columns: dict[str, int]
    token: re.Pattern[str]
    lowercase: bool
    ngrams: tuple[int, int]
    idf: NDArray[np.float64]
    weight: NDArray[np.float64]
    bias: float

    def score(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the reward of each text: log P(positive) − log P(negative), in nats, shape ``[texts]``, float64.

        A text's reward depends on nothing but the text: not on its neighbours, their order or their number.
        """
        hits = [self._columns_in(text) for text in texts]
        rows = np.repeat(np.arange(len(hits)), [len(columns) for columns in hits])
        flat = np.fromiter((column for columns in hits for column in columns), dtype=np.int64, count=len(rows))
        width = len(self.weight)
        keys, counts = np.unique(rows * width + flat, return_counts=True)
        row, column = keys // width, keys % width
        value = (1.0 + np.log(counts)) * self.idf[column]
        norm = np.sqrt(np.bincount(row, weights=value**2, minlength=len(hits)))
        raw = np.bincount(row, weights=value * self.weight[column], minlength=len(hits))
        return np.divide(raw, norm, out=np.zeros(len(hits)), where=norm > 0) + self.bias

    def _columns_in(self, text: str) -> list[int]:
        words = self.token.findall(text.lower() if self.lowercase else text)
        columns: list[int] = []
        for size in range(self.ngrams[0], self.ngrams[1] + 1):
            grams = words if size == 1 else map(" ".join, zip(*(words[shift:] for shift in range(size)), strict=False))
            columns.extend(column for gram in grams if (column := self.columns.get(gram)) is not None)
        return columns


def load_gold(folder: Path) -> Gold:
    """Read ``classifier.json`` and ``classifier.safetensors``.

    Raises:
        RunError: a file is absent, unreadable, of another format, or the two do not belong together.
    """
    description = _read_description(folder / DESCRIPTION)
    try:
        return _assemble(folder, description)
    except (KeyError, TypeError, ValueError, IndexError, re.error) as error:
        raise _damaged(folder / DESCRIPTION, f"has a field that cannot be right ({error!r})") from error


def vocabulary_digest(vocabulary: Sequence[str]) -> str:
    """Return the SHA-256 of the n-grams joined by line feeds (no n-gram holds one)."""
    return hashlib.sha256("\n".join(vocabulary).encode()).hexdigest()


def _assemble(folder: Path, description: Description) -> Gold:
    tensors = _read_weights(folder / WEIGHTS, expected=description["sha256"][WEIGHTS])
    vocabulary = description["vocabulary"]
    if vocabulary_digest(vocabulary) != description["sha256"]["vocabulary"]:
        raise _damaged(folder / DESCRIPTION, "its vocabulary does not match the SHA-256 that it states")
    for name in ("idf", "weight"):
        if tensors[name].shape != (len(vocabulary),):
            raise _damaged(
                folder / WEIGHTS,
                f"{name} has shape {list(tensors[name].shape)}, the vocabulary has {len(vocabulary)} entries",
            )
    return Gold(
        columns={gram: column for column, gram in enumerate(vocabulary)},
        token=re.compile(description["token_pattern"]),
        lowercase=description["lowercase"],
        ngrams=(description["ngram_range"][0], description["ngram_range"][1]),
        idf=tensors["idf"].astype(np.float64),
        weight=tensors["weight"].astype(np.float64),
        bias=float(tensors["bias"][0]),
    )


def _read_description(path: Path) -> Description:
    try:
        read = json.loads(path.read_bytes())
    except OSError as error:
        raise _damaged(path, f"cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise _damaged(path, f"is not JSON ({error})") from error
    if not isinstance(read, dict) or read.get("format") != FORMAT:
        stated = read.get("format") if isinstance(read, dict) else None
        raise _damaged(path, f"states format {stated!r}, this version reads format {FORMAT}")
    absent = [field for field in Description.__annotations__ if field not in read]
    if absent:
        raise _damaged(path, f"lacks {', '.join(absent)}")
    return Description(
        token_pattern=read["token_pattern"],
        lowercase=read["lowercase"],
        ngram_range=read["ngram_range"],
        vocabulary=read["vocabulary"],
        sha256=read["sha256"],
    )


def _read_weights(path: Path, *, expected: str) -> dict[str, NDArray[np.generic]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _damaged(path, f"cannot be read ({error.strerror})") from error
    if (digest := hashlib.sha256(content).hexdigest()) != expected:
        raise _damaged(path, f"SHA-256 is {digest[:16]}…, {DESCRIPTION} states {expected[:16]}…")
    try:
        tensors = load_tensors(content)
    except SafetensorError as error:
        raise _damaged(path, f"is not a safetensors file ({error})") from error
    absent = [name for name in ("idf", "weight", "bias") if name not in tensors]
    if absent:
        raise _damaged(path, f"lacks the tensor {', '.join(absent)}")
    return tensors


def _damaged(path: Path, fault: str) -> RunError:
    return RunError(
        f"gold reward: {path}: {fault}",
        fix=f"restore {DESCRIPTION} and {WEIGHTS} together from one build (reinstall, or rebuild the suite's assets)",
    )

"""The movie-review corpus: reading, cleaning, de-duplicating and splitting it."""

import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError

FILES = ("train.jsonl.gz", "test.jsonl.gz", "unsup.jsonl.gz")


@dataclass(frozen=True, kw_only=True)
class Review:
    """One review: its id in the corpus, its sentiment (1 positive, 0 negative, None unlabelled) and clean text."""

    id: str
    label: int | None
    text: str


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The three parts of the Large Movie Review Dataset (Maas et al. 2011), and the SHA-256 of each file read."""

    train: tuple[Review, ...]
    test: tuple[Review, ...]
    unsup: tuple[Review, ...]
    hashes: dict[str, str]


def clean(text: str) -> str:
    """Replace the HTML line breaks that the corpus carries by spaces and fold white space."""
    return " ".join(text.replace("<br />", " ").replace("<br/>", " ").split())


def read_corpus(folder: Path) -> Corpus:
    """Read ``train``, ``test`` and ``unsup`` (``.jsonl.gz`` with ``id``, ``label``, ``text``) and drop repeated texts.

    A text that stands in several parts stays in ``test`` first, so that nothing held out is trained on.

    Raises:
        UsageError: a file is absent, or a row lacks a field.
    """
    hashes = {}
    for name in FILES:
        path = folder / name
        if not path.is_file():
            raise UsageError(
                f"corpus folder {folder} lacks {name}",
                fix=f"put {', '.join(FILES)} there: one JSON object a line with id, label and text",
            )
        hashes[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    seen: set[str] = set()
    test = tuple(_fresh(_rows(folder / "test.jsonl.gz"), seen))
    train = tuple(_fresh(_rows(folder / "train.jsonl.gz"), seen))
    unsup = tuple(_fresh(_rows(folder / "unsup.jsonl.gz"), seen))
    return Corpus(train=train, test=test, unsup=unsup, hashes=hashes)


def _rows(path: Path) -> Iterator[Review]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            row = json.loads(line)
            if "id" not in row or "text" not in row:
                raise UsageError(f"{path}, row {number}: id or text is missing", fix="give each row id, label and text")
            label = row.get("label")
            yield Review(id=row["id"], label=label if label in (0, 1) else None, text=clean(row["text"]))


def _fresh(reviews: Iterator[Review], seen: set[str]) -> Iterator[Review]:
    for review in reviews:
        if review.text and review.text not in seen:
            seen.add(review.text)
            yield review

"""Verdicts kept on disk, one file each, named by all that decides them: nothing is asked or paid twice."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from bench.evaluate.judges.base import AnswerPair, Messages, Verdict
from bench.utils.files import write_text_whole

_FIELDS = {"said": "text"}
"""Names in stored files that differ from the fields of ``Verdict``: verdicts that users paid for stay readable."""


def key_of(identity: str, query: AnswerPair | Messages) -> str:
    """Return the SHA-256 of the judge's identity and what it is shown, in that order of the answers."""
    content = [query.instruction, query.first, query.second] if isinstance(query, AnswerPair) else query
    return hashlib.sha256(
        json.dumps([identity, content], ensure_ascii=False).encode(errors="surrogatepass")
    ).hexdigest()


def kept(folder: Path, key: str) -> Verdict | None:
    """Return the verdict kept under ``key``; None where there is none, or a file that is not whole."""
    try:
        stored = json.loads(_path(folder, key).read_bytes())
        return Verdict(**{_FIELDS.get(name, name): value for name, value in stored.items()})
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def keep(folder: Path, key: str, verdict: Verdict) -> None:
    """Keep a verdict, whole or not at all. One that failed is not kept: it is asked for again.

    Raises RunError: it cannot be written.
    """
    if verdict.outcome != "failed":
        write_text_whole(_path(folder, key), json.dumps(_stored(verdict), ensure_ascii=True) + "\n")


def _stored(verdict: Verdict) -> dict[str, object]:
    names = {field: name for name, field in _FIELDS.items()}
    return {names.get(field, field): value for field, value in asdict(verdict).items()}


def _path(folder: Path, key: str) -> Path:
    return folder / key[:2] / f"{key}.json"

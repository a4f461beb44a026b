"""Verdicts kept on disk, one file each, named by all that decides them: nothing is asked or paid twice."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from bench.evaluate.judges.base import Messages, Pair, Verdict
from bench.utils.files import write_text_whole


def key_of(identity: str, asked: Pair | Messages) -> str:
    """Return the SHA-256 of the judge's identity and what it is shown, in that order of the answers."""
    shown = [asked.instruction, asked.first, asked.second] if isinstance(asked, Pair) else asked
    return hashlib.sha256(json.dumps([identity, shown], ensure_ascii=False).encode(errors="surrogatepass")).hexdigest()


def kept(folder: Path, key: str) -> Verdict | None:
    """Return the verdict kept under ``key``; None where there is none, or a file that is not whole."""
    try:
        return Verdict(**json.loads(_path(folder, key).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def keep(folder: Path, key: str, verdict: Verdict) -> None:
    """Keep a verdict, whole or not at all. One that failed is not kept: it is asked for again.

    Raises RunError: it cannot be written.
    """
    if verdict.outcome != "failed":
        write_text_whole(_path(folder, key), json.dumps(asdict(verdict), ensure_ascii=True) + "\n")


def _path(folder: Path, key: str) -> Path:
    return folder / key[:2] / f"{key}.json"

"""Owns results folders that cannot be right: each file of a real one replaced by what it cannot be."""

import functools
import gzip
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bad_inputs.command_lines import SMALL
from tests.bad_inputs.trying import Case, Told, bench

RUN = ("run", "--loss", "dpo", "--sweep", "beta=0.1,0.3", *SMALL, "--seeds", "1")
FILES = (
    "runs/*/manifest.json", "runs/*/spec.json", "runs/*/train.json", "runs/*/metrics.jsonl", "runs/*/checkpoint/config.json",
    "runs/*/evals/*/record.json", "runs/*/evals/*/manifest.json", "runs/*/evals/*/samples.jsonl.gz",
    "reference/*/manifest.json", "reference/*/about.json", "reference/*/logps.safetensors", "data/*/manifest.json",
    "data/*/rows.parquet", "models/*/manifest.json", "models/*/config.json", "studies/*/journal.log", "written.json",
    "records.jsonl.gz",
)  # fmt: skip


def cases() -> Iterator[Case]:
    """Each file in each way: what the readers say, and whether the same command goes on or says what to delete."""
    for place in FILES:
        for name, change in CHANGES.items():
            yield _read(place, name, change)
        # Half of a journal has a trial that this very process was at and, being alive, still holds.
        if not place.startswith("studies"):
            yield _run_again(place, "half", CHANGES["half"])


def _deep(content: bytes) -> bytes:
    return b"[" * 20_000 + b"]" * 20_000


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "null": lambda content: b"null",
    "a list": lambda content: b"[]",
    "an object": lambda content: b"{}",
    "a number": lambda content: b"1",
    "deep nesting": _deep,
    "not UTF-8": lambda content: content.replace(b'"', b'"\xff', 1),
    "NUL bytes": lambda content: bytes(len(content)),
    "twice": lambda content: content * 2,
    "gzip of a list": lambda content: gzip.compress(b"[]\n"),
    "other names": lambda content: content.replace(b"sha256", b"sha512").replace(b"version", b"vers10n"),
    "paths outside": lambda content: content.replace(b'": {', b'/../../../x": {', 3),
    "a later version": lambda content: content.replace(b'version": 1', b'version": 99').replace(
        b'version":2', b'version":99'
    ),
}


@functools.cache
def finished() -> Path:
    """A real results folder in small, made once a process; the bundle beside it is its own."""
    folder = Path(tempfile.mkdtemp(prefix="bad-inputs-"))
    assert bench(*RUN, "--out", folder / "out").code == 0
    assert bench("publish", folder / "published", "--out", folder / "out").code == 0
    return folder


def _copied(folder: Path, place: str) -> tuple[Path, Path]:
    source = "published" if place == "records.jsonl.gz" else "out"
    # not «out»: there the campaign looks for what is left behind
    results = Path(shutil.copytree(finished() / source, folder / "results"))
    return results, sorted(results.glob(place))[0]


def _read(place: str, name: str, change: Callable[[bytes], bytes]) -> Case:
    def attempt(folder: Path) -> Told:
        results, victim = _copied(folder, place)
        before = victim.read_bytes()
        victim.write_bytes(change(before))
        if change(before) == before:
            return Told(code=1, out="", err="→ this change changes nothing of this file")
        verified = bench("verify", "--out", results)
        if str(victim.parent) not in verified.err and not (place.startswith("studies") and name == "twice"):
            return Told(
                code=verified.code, out="", err=f"→ verify does not name {victim}: {verified.err}", raised="verify"
            )
        # What these two read: the others are checked by verify alone.
        commands = ("leaderboard", "page") if "evals" in place or "records" in place else ()
        boards = [bench(command, "--out", results) for command in commands]
        return next((told for told in boards if told.raised or "--debug" in told.err), verified)

    journal = place.startswith("studies") and name == "twice"
    return Case(kind="results file", name=f"{place}: {name}", attempt=attempt, codes=(0,) if journal else (1,))


def _run_again(place: str, name: str, change: Callable[[bytes], bytes]) -> Case:
    def attempt(folder: Path) -> Told:
        results, victim = _copied(folder, place)
        victim.write_bytes(change(victim.read_bytes()))
        return bench(*RUN, "--out", results)

    return Case(kind="results file", name=f"the command again, {place}: {name}", attempt=attempt, codes=(0, 1))

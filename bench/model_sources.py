"""Owns what ``--model`` may name: a folder, a GGUF file, another run. Each becomes one folder of transformers'."""

from pathlib import Path

from bench.gguf import converted, gguf_file
from bench.model import find_model
from bench.prepared import Note, silent


def resolve_model(given: str, *, results: Path, note: Note = silent) -> Path:
    """Return the folder of the model that ``given`` names, made under ``results/models`` where it has to be made.

    Args:
        given: a folder, a GGUF file or a folder with one, or ``run:KEY``.
        note: told what was made, and where.

    Raises:
        UsageError: there is no such model, or it is none that is read. RunError: a damaged file, a full disk.
    """
    if not given.startswith("run:") and (file := gguf_file(Path(given))) is not None:
        return converted(file, results=results, note=note)
    return find_model(given, results=results)

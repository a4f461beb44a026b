"""Owns what ``--model`` may name: a folder, a GGUF file, another run. Each becomes one folder of transformers'."""

from pathlib import Path

from bench.chat_templates.derive import templated
from bench.gguf import converted, gguf_file
from bench.model import find_model
from bench.prepared import Note, silent


def resolve_model(given: str, *, results: Path, chat_template: str | None = None, note: Note = silent) -> Path:
    """Return the folder of the model that ``given`` names, made under ``results/models`` where it has to be made.

    Args:
        given: a folder, a GGUF file or a folder with one, or ``run:KEY``.
        chat_template: another one than the model's own, as ``with_template`` takes it.
        note: told what was made, and where.

    Raises:
        UsageError: there is no such model, or it is none that is read. RunError: a damaged file, a full disk.
    """
    if not given.startswith("run:") and (file := gguf_file(Path(given))) is not None:
        folder = converted(file, results=results, note=note)
    else:
        folder = find_model(given, results=results)
    return with_template(folder, chat_template, results=results, note=note)


def with_template(folder: Path, chat_template: str | None, *, results: Path, note: Note = silent) -> Path:
    """Return a folder of the same model with a chat template by name or file; the folder itself for None and ``own``.

    Raises UsageError: no such template, or one that does not part question and answer at a token.
    """
    return folder if chat_template is None else templated(folder, chat_template, results=results, note=note)

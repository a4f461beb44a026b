"""Resolution of ``--model``: a folder, a GGUF file, a hub model or another run becomes one plain folder."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from bench.core.artifacts import Note, silent
from bench.core.assets import SUITES
from bench.core.specs import RunSpec
from bench.errors import BenchError, UsageError
from bench.models.adapters import ADAPTER, CHECKPOINT, START, is_start, merged_run, read_run
from bench.models.chat_templates.apply import OWN, templated
from bench.models.gguf import converted_folder, gguf_file, outline
from bench.models.hub import is_hub_name, snapshot
from bench.models.loading import find_model

RUN = "run:"
TEMPLATE = ", chat template "
"""Between a model's name and that of another chat template, in ``ModelSpec.source``."""


class Source(NamedTuple):
    """A folder of transformers, and what a person may call the model: a model on a hub with its commit."""

    folder: Path
    name: str


def resolve_model(source: str, *, results: Path, chat_template: str | None = None, note: Note = silent) -> Path:
    """Return the folder alone of what ``find_source`` finds."""
    return find_source(source, results=results, chat_template=chat_template, note=note).folder


def find_source(source: str, *, results: Path, chat_template: str | None = None, note: Note = silent) -> Source:
    """Return the folder of the model that ``source`` names, made under ``results/models`` where it has to be made.

    Args:
        source: a folder, a GGUF file or a folder with one, ``run:KEY`` for what another run trained, or
            ``OWNER/NAME[@REVISION]`` for a model on a hub.
        chat_template: another one than the model's own, by name or file; None and ``own``: that one.
        note: called with what was made, and where.

    Raises:
        UsageError: there is no such model, or it is none that is read. RunError: a damaged file, a full disk.
    """
    name = source
    if source.startswith(RUN):
        folder = run_model(find_run(source.removeprefix(RUN), results), results=results, note=note)
    elif (file := gguf_file(Path(source))) is not None:
        folder = converted_folder(file, results=results, note=note)
    elif is_hub_name(source):
        hub_snapshot = snapshot(source)
        folder, name = find_model(str(hub_snapshot.folder)), hub_snapshot.source
    else:
        folder = find_model(source)
    return with_template(Source(folder, name), chat_template, results=results, note=note)


def outline_source(source: str, *, results: Path, scratch: Path, chat_template: str | None = None) -> Source:
    """Return a folder with configuration and tokenizer of the model that ``source`` names, for a plan.

    No weights are read, converted, merged or downloaded; what has to be made is made in ``scratch``. Arguments and
    errors as those of ``find_source``, as far as they need no weights.
    """
    name = source
    if source.startswith(RUN):
        run = find_run(source.removeprefix(RUN), results)
        spec = read_run(run)
        adapted = (run / ADAPTER).is_dir()
        folder = start_folder(run, spec, results=results) if adapted else run / CHECKPOINT
    elif (file := gguf_file(Path(source))) is not None:
        folder = scratch / "gguf"
        folder.mkdir(parents=True, exist_ok=True)
        outline(file, folder)
    elif is_hub_name(source):
        hub_snapshot = snapshot(source, weights=False)
        folder, name = hub_snapshot.folder, hub_snapshot.source
    else:
        folder = find_model(source)
    if chat_template is None or chat_template == OWN:
        return Source(folder, name)
    folder = templated(folder, chat_template, results=scratch, note=silent, weights=False)
    return Source(folder, f"{name}{TEMPLATE}{chat_template}")


def with_template(source: Source, chat_template: str | None, *, results: Path, note: Note = silent) -> Source:
    """Return a source with another chat template than its own, by name or file; None and ``own``: as it is.

    Raises:
        UsageError: there is no such template. RunError: a full disk and the like.
    """
    if chat_template is None or chat_template == OWN:
        return source
    folder = templated(source.folder, chat_template, results=results, note=note)
    return Source(folder, f"{source.name}{TEMPLATE}{chat_template}")


def base_of(source: str) -> str:
    """Return what was given as ``--model`` of a ``ModelSpec.source``."""
    return source.partition(TEMPLATE)[0]


def find_run(key: str, results: Path) -> Path:
    """Return the folder of the finished run whose key begins with ``key``. Raises UsageError: none, or several."""
    # A key is digits: whatever else could name a place outside of the runs.
    runs = sorted((results / "runs").glob(f"{key}*/manifest.json")) if re.fullmatch("[0-9a-f]{1,16}", key) else []
    folders = [path.parent for path in runs]
    if not folders:
        raise UsageError(
            f"model 'run:{key}': no finished run of that key in {results / 'runs'}",
            fix="`bench leaderboard` lists the runs; --out names their folder",
        )
    if len(folders) > 1:
        raise UsageError(
            f"model 'run:{key}' matches {len(folders)} runs", fix=f"one of: {', '.join(p.name for p in folders[:5])}"
        )
    return folders[0]


def run_model(run: Path, *, results: Path, note: Note = silent) -> Path:
    """Return a folder with the plain model of a finished run; an adapter is merged into its start model first.

    Raises:
        UsageError: it diverged, or its start model is not here any more. RunError: its files are damaged.
    """
    spec = read_run(run)
    if not (run / ADAPTER).is_dir():
        return run / CHECKPOINT
    start = start_folder(run, spec, results=results, note=note)
    return merged_run(run, results=results, start=start, spec=spec, note=note)


def start_folder(run: Path, spec: RunSpec, *, results: Path, note: Note = silent) -> Path:
    """Return the folder of a run's start model, by content: where it was, what the user gave, or what was prepared.

    Raises:
        UsageError: it is nowhere.
    """
    for folder in _candidates(run, spec, results, note):
        if is_start(folder, spec):
            return folder
    raise UsageError(
        f"run {run.name}: its start model ({spec.model.source!r}, content {spec.model.content[:12]}) is not found",
        fix=f"put it where it was, or into a folder under {results / 'models'}",
    )


def _candidates(run: Path, spec: RunSpec, results: Path, note: Note) -> Iterator[Path]:
    with suppress(OSError, ValueError, KeyError, TypeError):
        yield Path(json.loads((run / ADAPTER / START).read_text(encoding="utf-8"))["folder"])
    yield from sorted(SUITES.glob("*/model"), key=lambda path: (path.parent.name != spec.suite, path))
    yield from sorted(path for path in (results / "models").glob("[!.]*") if path.is_dir())
    with suppress(BenchError, OSError):
        yield resolve_model(base_of(spec.model.source), results=results, note=note)

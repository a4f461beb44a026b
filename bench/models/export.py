"""Export of a run's model or adapter, with a model card, for transformers and peft."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from bench.core.artifacts import Note, finished
from bench.core.results import read_record
from bench.core.specs import RunSpec
from bench.errors import UsageError
from bench.models.adapters import ADAPTER, CHECKPOINT, CONFIG, WEIGHTS, load_trained, read_run
from bench.models.end_tokens import end_ids, end_ids_of_settings
from bench.models.files import GENERATION, copy_named_templates, copy_tokenizer
from bench.models.hub import NAME
from bench.models.loading import load_model, load_tokenizer, save_model
from bench.models.model_card import card
from bench.models.sources import RUN, base_of, find_run, start_folder
from bench.utils.files import naming_disk_errors, sibling_of, sync

Kind = Literal["merged", "adapter"]
DTYPES = ("float32", "bfloat16")


def export(source: str, to: Path, *, results: Path, kind: Kind, dtype: str, note: Note) -> Path:
    """Write a finished run's model to a folder of its own, whole or not at all; return the folder.

    Args:
        source: ``run:KEY``.
        to: a folder that is not there, or is empty.
        kind: the plain model, or LoRA's adapter for peft.
        dtype: of the weights.

    Raises:
        UsageError: no such run, one without weights or without an adapter, or ``to`` holds something. RunError: damage,
            or a full disk.
    """
    if not source.startswith(RUN):
        raise UsageError(f"bench export takes a run (got {source!r})", fix="bench export best --to FOLDER, or run:KEY")
    if dtype not in DTYPES:
        raise UsageError(f"--dtype must be {' or '.join(DTYPES)} (got {dtype!r})", fix=f"--dtype {DTYPES[0]}")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UsageError(f"--to must be a new or empty folder (got {to}, which holds something)", fix="name another")
    run = find_run(source.removeprefix(RUN), results)
    spec = read_run(run)
    lora = (run / ADAPTER).is_dir()
    if kind == "adapter" and not lora:
        raise UsageError(
            f"run {run.name} has no adapter: " + ("it was saved merged" if spec.train.lora else "all weights trained"),
            fix="leave --adapter out",
        )
    start = start_folder(run, spec, results=results, note=note) if lora else None
    kept = run / (ADAPTER if lora else CHECKPOINT)

    def write(partial: Path) -> None:
        if kind == "adapter":
            assert start is not None
            _write_adapter(kept, partial, base=base_name(spec, start), dtype=dtype)
        else:
            _write_merged(run, spec, start, partial, dtype=dtype)
        _write_tokenizer(kept, partial)
        if start is not None:
            copy_named_templates(start, partial)  # which older runs did not keep
        if kind == "merged":
            _write_ends(partial)
        records = [read_record(evaluation) for evaluation in finished(run, "evals/*")]
        text = card(spec, run.name, records, kind=kind, dtype=dtype, base=model_name(spec))
        (partial / "README.md").write_text(text, encoding="utf-8")

    _whole(to, write)
    return to


def base_name(spec: RunSpec, start: Path) -> tuple[str, str | None]:
    """Return what a program can load as an adapter's base, and its revision: a hub's model, else the folder here."""
    match = NAME.fullmatch(base_of(spec.model.source))
    whole = spec.train.lora is None or spec.train.lora.quantize is None
    if whole and match is not None and match["revision"] is not None:
        return match["repo"], match["revision"]
    return str(start.resolve()), None


def model_name(spec: RunSpec) -> str:
    """Return what a person calls the start model: a hub's name, else the last part of a path."""
    base = base_of(spec.model.source)
    match = NAME.fullmatch(base)
    return match["repo"] if match is not None and match["revision"] is not None else Path(base).name


def _write_merged(run: Path, spec: RunSpec, start: Path | None, folder: Path, *, dtype: str) -> None:
    import torch

    if start is None:
        model, settings = load_model(run / CHECKPOINT), run / CHECKPOINT
    else:
        model, settings = load_trained(run, load_model(start), spec=spec), start
    save_model(model.to(getattr(torch, dtype)), folder, start=settings)


def _write_ends(folder: Path) -> None:
    """Let the generation settings name every token that ended the run's samples, so that other programs end there."""
    tokenizer = load_tokenizer(folder)
    ends, path = end_ids(folder, tokenizer), folder / GENERATION
    if ends == end_ids_of_settings(folder):
        return
    settings = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    settings["eos_token_id"] = sorted(ends, key=lambda token: (token != tokenizer.eos_token_id, token))
    path.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_adapter(kept: Path, folder: Path, *, base: tuple[str, str | None], dtype: str) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder.mkdir(exist_ok=True)
    weights = load_file(kept / WEIGHTS)
    save_file(
        {name: each.to(getattr(torch, dtype)) for name, each in weights.items()},
        folder / WEIGHTS,
        metadata={"format": "pt"},
    )
    settings = json.loads((kept / CONFIG).read_text(encoding="utf-8"))
    settings["base_model_name_or_path"], settings["revision"] = base
    (folder / CONFIG).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _write_tokenizer(kept: Path, folder: Path) -> None:
    copy_tokenizer(kept, folder)
    config = folder / "tokenizer_config.json"
    settings = json.loads(config.read_text(encoding="utf-8"))
    # How it was loaded on this machine means nothing elsewhere.
    settings = {
        name: value for name, value in settings.items() if name not in ("is_local", "local_files_only", "name_or_path")
    }
    if settings.get("tokenizer_class") == "TokenizersBackend":
        # The same class under the name that programs with transformers 4 know too.
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        settings.pop("backend", None)
    config.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _whole(to: Path, write: Callable[[Path], None]) -> None:
    temporary = sibling_of(to.absolute())
    with naming_disk_errors(to, "write"):
        try:
            temporary.mkdir(parents=True)
            write(temporary)
            for path in sorted(temporary.rglob("*")):
                path.chmod(0o755 if path.is_dir() else 0o644)
                sync(path)
            if to.is_dir():
                to.rmdir()
            temporary.rename(to)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

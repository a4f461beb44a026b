"""Owns what ``bench inspect`` does: who is compared with whom on which texts, and nothing twice."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from rich.console import Console
from safetensors.numpy import save

from bench.errors import RunError, UsageError
from bench.inspect.anatomy import Anatomy, anatomy_of
from bench.inspect.inspection import Setup, Subject, inspect_model, units
from bench.inspect.probe import train_probe
from bench.inspect.show import tables
from bench.inspect.texts import Material, file_material, own_preferences, run_preferences, suite_material
from bench.model import find_model, load_model, load_tokenizer, merged, model_hash
from bench.progress import Progress
from bench.quiet import quiet_libraries
from bench.report.inspected import write_inspected
from bench.report.inspection import FILE, VERSION, Inspection, read_inspection
from bench.report.store import is_complete, verify_folder, write_whole
from bench.report.written import remember
from bench.spec import KEY_LENGTH, RunSpec
from bench.suites.suite import Suite, get_suite, suite_names
from bench.workspace import same_tokenizer

FOLDER = "inspect"
STAGE = "inspect"


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of ``bench inspect``, as given. ``layer``: where the probe reads; None: after the last one."""

    models: tuple[str, ...]
    against: str | None = None
    probe: tuple[Path, Path] | None = None
    data: Path | None = None
    suite: str | None = None
    texts: int = 256
    layer: int | None = None
    patch: bool = True
    device: str | None = None
    results: Path = Path("results")


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A model to inspect: as it was named, where it lies, and its run's spec, None for a folder."""

    given: str
    folder: Path
    content: str
    spec: RunSpec | None


def inspect_command(request: Request) -> None:
    """``bench inspect``: inspect each model that is not yet, then write the tables and the figure over all of them.

    Raises:
        UsageError: a model, its start model or the texts cannot be right, said before anything is computed where that
            can be known. RunError: damaged files.
    """
    quiet_libraries()
    console = Console()
    device = _device(request.device)
    found = {one.content: one for one in (_trained(given, request.results) for given in request.models)}
    models = list(found.values())
    start = _start(models, request)
    tokenizer = load_tokenizer(start)
    material = _material(models, start, tokenizer, request)
    subjects = [_subject(one, model_hash(start), material, request) for one in models]
    places = [request.results / FOLDER / subject.key for subject in subjects]
    missing = [at for at, place in enumerate(places) if not _whole(place)]
    if missing:
        anatomy = _open(start, device)
        setup, w = _setup(anatomy, material, request, eos_id=tokenizer.eos_token_id)
        with Progress(console, total=len(missing) * units(setup), unit="texts") as progress:
            for at in missing:
                text = f"{subjects[at].label}: "
                other = _open(models[at].folder, device, like=anatomy)
                inspection = inspect_model(
                    subjects[at],
                    anatomy,
                    other,
                    setup,
                    tick=lambda count, what, text=text: progress.advance(count, text + what),  # type: ignore[misc]
                )
                _write(places[at], inspection, w)
    inspections = [read_inspection(place) for place in places]
    written = write_inspected(request.results / FOLDER, inspections)
    remember(request.results, written)
    for shown in tables(inspections):
        console.print(shown)
    for path in (*(place / FILE for place in places), *(p for p in written if p.suffix in (".csv", ".png"))):
        console.print(f"  {path}", highlight=False, markup=False, soft_wrap=True)


def _trained(given: str, results: Path) -> Trained:
    folder = find_model(given, results=results)
    spec = None
    if given.startswith("run:"):
        path = next((results / "runs").glob(f"{given.removeprefix('run:')}*/spec.json"), folder / "spec.json")
        try:
            spec = RunSpec.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise RunError(f"{path} cannot be read: {error}", fix=f"remove {path.parent} and run it again") from error
    return Trained(given=given, folder=folder, content=model_hash(folder), spec=spec)


def _start(models: Sequence[Trained], request: Request) -> Path:
    """The one start model of all: as given, else that which the runs name."""
    if request.against is not None:
        return find_model(request.against, results=request.results)
    for one in models:
        if one.spec is None:
            raise UsageError(f"{one.given} is no run: what it started from is not known", fix="--against START")
    contents = {one.spec.model.content for one in models if one.spec is not None}
    if len(contents) > 1:
        raise UsageError(
            "the runs have different start models, so their numbers do not compare", fix="inspect them one by one"
        )
    assert models[0].spec is not None
    source = models[0].spec.model.source
    if source.startswith("suite "):
        folder = get_suite(source.removeprefix("suite ")).folder / "model"
        if not folder.is_dir():
            raise UsageError(
                f"{models[0].given}: {source} trains a table of logits, which has no layers",
                fix="inspect runs of a language model",
            )
    else:
        folder = find_model(source, results=request.results)
    if model_hash(folder) not in contents:
        raise UsageError(f"{folder} is not what the runs started from any more", fix="--against START")
    return folder


def _material(models: Sequence[Trained], start: Path, tokenizer: Any, request: Request) -> Material:
    """The texts: what the options name, else those of the runs' suite, else the runs' own data."""
    texts = _own_texts(models, start, tokenizer, request)
    if request.probe is None:
        if texts is None:
            raise UsageError(
                "there are no texts: a folder does not say what it was trained on",
                fix="--probe POSITIVE NEGATIVE, --data PREFERENCES, or --suite sentiment",
            )
        return texts
    files = file_material(*request.probe, tokenizer, count=request.texts)
    if texts is None:
        return files
    return replace(files, texts=texts.texts, source=texts.source, behaviour=texts.behaviour)


def _own_texts(models: Sequence[Trained], start: Path, tokenizer: Any, request: Request) -> Material | None:
    if request.data is not None:
        return own_preferences(request.data, tokenizer, count=request.texts)
    if suite := _suite(models, request):
        if not same_tokenizer(start, suite.folder / "model"):
            raise UsageError(f"suite {suite.name} has samples for its own tokenizer only", fix="--data, or --probe")
        return suite_material(suite, tokenizer, count=request.texts)
    specs = {one.spec.data.content: one.spec for one in models if one.spec is not None}
    if len(specs) > 1 and request.probe is None:
        raise UsageError("the runs have different data", fix="name the texts: --data FILE, or --probe")
    for content, spec in specs.items():
        return run_preferences(content, spec.data.source, results=request.results, count=request.texts)
    return None


def _suite(models: Sequence[Trained], request: Request) -> Suite | None:
    """The suite whose samples are read: the one that is named, or on whose own data all models were trained."""
    sources = {one.spec.data.source if one.spec is not None else "" for one in models}
    own = next(iter(sources)) if len(sources) == 1 else ""
    named = [name for name in suite_names() if own == f"suite {name}"]
    name = request.suite or next(iter(named), None)
    if name is None:
        return None
    suite = get_suite(name)
    if not (suite.folder / "gold").is_dir():
        raise UsageError(f"suite {name} has no samples of a language model", fix="--suite sentiment, --data or --probe")
    return suite


def _subject(one: Trained, start_content: str, material: Material, request: Request) -> Subject:
    said = [VERSION, one.content, start_content, material.digest(), request.layer, request.patch]
    spec = one.spec
    name = one.folder.resolve().name
    label = name if spec is None else " ".join([spec.objective, *(f"{k}={v:g}" for k, v in spec.params.items())])
    return Subject(
        key=hashlib.sha256(json.dumps(said).encode()).hexdigest()[:KEY_LENGTH],
        model=one.given if spec is None else f"run:{spec.key}",
        label=label,
        objective=None if spec is None else spec.objective,
        seed=None if spec is None else spec.seed,
        start_content=start_content,
        trained_content=one.content,
    )


def _setup(anatomy: Anatomy, material: Material, request: Request, *, eos_id: int) -> tuple[Setup, bytes]:
    direction = train_probe(anatomy, material.probe, layer=request.layer)
    texts = material.texts or tuple(material.probe[at] for at in direction.held_out[: request.texts])
    setup = Setup(
        direction=direction,
        probe_source=f"{request.probe[0].name} against {request.probe[1].name}" if request.probe else material.source,
        texts=texts,
        source=material.source,
        behaviour=material.behaviour,
        eos_id=eos_id,
        patch=request.patch,
    )
    return setup, save({"w": direction.w})


def _open(folder: Path, device: torch.device, *, like: Anatomy | None = None) -> Anatomy:
    """Load a model and find its neurons; refuse one whose weights have other names or shapes than ``like``'s."""
    model: Any = merged(load_model(folder))
    found = anatomy_of(model.to(device), name=f"model {folder}")
    if like is not None:
        shapes = [{n: tuple(p.shape) for n, p in one.causal.named_parameters()} for one in (like, found)]
        if shapes[0] != shapes[1]:
            raise UsageError(f"model {folder} is of another shape than its start model", fix="--against its own START")
    return found


def _write(place: Path, inspection: Inspection, w: bytes) -> None:
    def write(partial: Path) -> None:
        (partial / FILE).write_text(inspection.model_dump_json(indent=1) + "\n", encoding="utf-8")
        (partial / "probe.safetensors").write_bytes(w)

    write_whole(place, write, stage=STAGE)


def _whole(place: Path) -> bool:
    return is_complete(place) and not verify_folder(place, stage=STAGE)


def _device(given: str | None) -> torch.device:
    if given is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:[0-9]{1,3})?", given):
        raise UsageError(f"--device {given!r} cannot be used here", fix="cpu, cuda or cuda:1")
    if given.startswith("cuda") and int(given.partition(":")[2] or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {given}: this machine has {torch.cuda.device_count()} such devices", fix="cpu")
    return torch.device(given)

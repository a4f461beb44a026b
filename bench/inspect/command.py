"""The command ``bench inspect``: comparison of trained models with their start model."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from safetensors.numpy import save

from bench.core.artifacts import verify_folder, write_whole
from bench.core.inspection import FILE, VERSION, Inspection, read_inspection
from bench.core.manifest import is_complete
from bench.core.outputs import remember
from bench.core.specs import KEY_LENGTH
from bench.errors import UsageError
from bench.inspect.decoder import Decoder, decoder_of
from bench.inspect.inspect_model import Setup, Subject, inspect_model, texts_to_read
from bench.inspect.probe import train_probe
from bench.inspect.resolve import InspectRequest, Trained, find_material, find_start, find_trained
from bench.inspect.tables import tables
from bench.inspect.texts import Material
from bench.models.end_tokens import end_ids
from bench.models.loading import load_model, load_tokenizer, merged, model_hash
from bench.report.figures.inspected import write_inspected
from bench.utils.console import say
from bench.utils.process import quiet_libraries
from bench.utils.progress import Progress

FOLDER = "inspect"
STAGE = "inspect"


def inspect_command(request: InspectRequest) -> None:
    """Inspect each model that has no inspection yet, then write tables and figure of all of them.

    Raises:
        UsageError: a model, its start model or the texts do not suit; raised before any computation where possible.
        RunError: damaged files.
    """
    quiet_libraries()
    console = Console()
    device = _device(request.device)
    by_content = {one.content: one for one in (find_trained(name, request.results) for name in request.models)}
    models = list(by_content.values())
    start = find_start(models, request)
    tokenizer = load_tokenizer(start)
    material = find_material(models, start, tokenizer, request)
    ends = end_ids(start, tokenizer)
    more = [] if ends == {tokenizer.eos_token_id} else [sorted(ends)]
    subjects = [_subject(one, model_hash(start), material, request, more) for one in models]
    folders = [request.results / FOLDER / subject.key for subject in subjects]
    missing = [index for index, folder in enumerate(folders) if not _is_sound(folder)]
    if missing:
        decoder = _load_decoder(start, device)
        setup, w = _setup(decoder, material, request, ends=ends)
        with Progress(console, total=len(missing) * texts_to_read(setup), unit="texts") as progress:
            for index in missing:
                text = f"{subjects[index].label}: "
                other = _load_decoder(models[index].folder, device, like=decoder)
                inspection = inspect_model(
                    subjects[index],
                    decoder,
                    other,
                    setup,
                    tick=lambda count, what, text=text: progress.advance(count, text + what),  # type: ignore[misc]
                )
                _write(folders[index], inspection, w)
    inspections = [read_inspection(folder) for folder in folders]
    written = write_inspected(request.results / FOLDER, inspections)
    remember(request.results, written)
    for table in tables(inspections):
        console.print(table)
    for path in (*(folder / FILE for folder in folders), *(p for p in written if p.suffix in (".csv", ".png"))):
        say(console, f"  {path}")


def _subject(
    one: Trained, start_content: str, material: Material, request: InspectRequest, more: Sequence[object]
) -> Subject:
    """Return a model's names; ``more`` is what else decides the numbers, none where a text ends at EOS alone."""
    identity = [VERSION, one.content, start_content, material.digest(), request.layer, request.patch, *more]
    spec = one.spec
    name = one.folder.resolve().name
    label = name if spec is None else " ".join([spec.objective, *(f"{k}={v:g}" for k, v in spec.params.items())])
    return Subject(
        key=hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:KEY_LENGTH],
        model=one.name if spec is None else f"run:{spec.key}",
        label=label,
        objective=None if spec is None else spec.objective,
        seed=None if spec is None else spec.seed,
        start_content=start_content,
        trained_content=one.content,
    )


def _setup(
    decoder: Decoder, material: Material, request: InspectRequest, *, ends: frozenset[int]
) -> tuple[Setup, bytes]:
    direction = train_probe(decoder, material.probe, layer=request.layer)
    texts = material.texts or tuple(material.probe[index] for index in direction.held_out[: request.texts])
    setup = Setup(
        direction=direction,
        probe_source=f"{request.probe[0].name} against {request.probe[1].name}" if request.probe else material.source,
        texts=texts,
        source=material.source,
        behaviour=material.behaviour,
        end_ids=ends,
        patch=request.patch,
    )
    return setup, save({"w": direction.w})


def _load_decoder(folder: Path, device: torch.device, *, like: Decoder | None = None) -> Decoder:
    """Load a model. Raise UsageError if its weights have other names or shapes than those of ``like``."""
    decoder = decoder_of(merged(load_model(folder)).to(device), name=f"model {folder}")
    if like is not None:
        shapes = [{n: tuple(p.shape) for n, p in one.causal.named_parameters()} for one in (like, decoder)]
        if shapes[0] != shapes[1]:
            raise UsageError(
                f"model {folder} has another shape than its start model", fix="--against the model it started from"
            )
    return decoder


def _write(folder: Path, inspection: Inspection, w: bytes) -> None:
    def write(partial: Path) -> None:
        (partial / FILE).write_text(inspection.model_dump_json(indent=1) + "\n", encoding="utf-8")
        (partial / "probe.safetensors").write_bytes(w)

    write_whole(folder, write, stage=STAGE)


def _is_sound(folder: Path) -> bool:
    return is_complete(folder) and not verify_folder(folder, stage=STAGE)


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:[0-9]{1,3})?", name):
        raise UsageError(f"--device must be cpu or a CUDA device (got {name!r})", fix="--device cpu, cuda or cuda:1")
    if name.startswith("cuda") and int(name.partition(":")[2] or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices", fix="--device cpu"
        )
    return torch.device(name)

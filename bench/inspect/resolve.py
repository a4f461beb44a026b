"""Models and texts of ``bench inspect``, resolved from its options."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from bench.core.artifacts import silent
from bench.core.manifest import is_complete
from bench.core.specs import RunSpec
from bench.data.table import data_folder
from bench.errors import UsageError
from bench.inspect.texts import (
    LONGEST,
    Material,
    file_material,
    own_preferences,
    run_preferences,
    suite_material,
)
from bench.models.adapters import read_run
from bench.models.embedding_rows import embedding_rows
from bench.models.files import same_tokenizer
from bench.models.loading import context_of, model_hash
from bench.models.sources import RUN, find_run, resolve_model, start_folder
from bench.suites.protocol import suite_module
from bench.suites.settings import Suite, get_suite, suite_names


@dataclass(frozen=True, kw_only=True)
class InspectRequest:
    """Options of ``bench inspect``. ``layer``: after which the probe reads; None: the last one."""

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
    """A model to inspect: its name on the command line, its folder, and its run's spec, None for a plain folder."""

    name: str
    folder: Path
    content: str
    spec: RunSpec | None
    run: Path | None = None


def find_trained(name: str, results: Path) -> Trained:
    """Return the model that ``name`` names, with its spec where it is a run. Raises UsageError, RunError."""
    folder = resolve_model(name, results=results)
    run = find_run(name.removeprefix(RUN), results) if name.startswith(RUN) else None
    spec = None if run is None else read_run(run)
    return Trained(name=name, folder=folder, content=model_hash(folder), spec=spec, run=run)


def find_start(models: Sequence[Trained], request: InspectRequest) -> Path:
    """Return the folder of the common start model: the requested one, else that of the runs.

    Raises:
        UsageError: it is unknown, has changed since, or differs between runs.
    """
    if request.against is not None:
        return resolve_model(request.against, results=request.results)
    for one in models:
        if one.spec is None:
            raise UsageError(
                f"{one.name} is a folder, which does not record what it started from", fix="--against START"
            )
    contents = {one.spec.model.content for one in models if one.spec is not None}
    if len(contents) > 1:
        raise UsageError(
            "the runs have different start models, so their numbers do not compare", fix="inspect them one by one"
        )
    assert models[0].spec is not None
    source = models[0].spec.model.source
    if source.startswith("suite "):
        suite = get_suite(source.removeprefix("suite "))
        folder = None
        if suite.problem is None:
            folder = suite_module(suite).start_model(suite, results=request.results, note=silent)
        if folder is None:
            raise UsageError(
                f"{models[0].name}: {source} trains a table of logits, which has no layers",
                fix="inspect runs of a language model",
            )
    else:
        folder = start_folder(models[0].run or Path(), models[0].spec, results=request.results)
    if model_hash(folder) not in contents:
        raise UsageError(f"{folder} has changed since the runs started from it", fix="--against START")
    return folder


def find_material(
    models: Sequence[Trained], start: Path, tokenizer: PreTrainedTokenizerBase, request: InspectRequest
) -> Material:
    """Return the texts that the options name, else those of the runs' suite, else the runs' own data.

    Raises:
        UsageError: there are none, or they differ between runs. RunError: damaged data.
    """
    longest = min(LONGEST, context_of(start) or LONGEST)
    embeddings = embedding_rows(start)
    texts = _own_texts(models, start, tokenizer, request, longest=longest, embeddings=embeddings)
    if request.probe is None:
        if texts is None:
            raise UsageError(
                "no texts to read: a folder does not record what it was trained on",
                fix="--probe POSITIVE NEGATIVE, --data PREFERENCES, or --suite sentiment",
            )
        return texts
    files = file_material(*request.probe, tokenizer, count=request.texts, longest=longest, embeddings=embeddings)
    if texts is None:
        return files
    return replace(files, texts=texts.texts, source=texts.source, behaviour=texts.behaviour)


def _own_texts(
    models: Sequence[Trained],
    start: Path,
    tokenizer: PreTrainedTokenizerBase,
    request: InspectRequest,
    *,
    longest: int,
    embeddings: int,
) -> Material | None:
    if request.data is not None:
        return own_preferences(request.data, tokenizer, count=request.texts, longest=longest, embeddings=embeddings)
    if suite := _suite(models, request):
        if not same_tokenizer(start, suite.folder / "model"):
            raise UsageError(f"suite {suite.name} has samples for its own tokenizer only", fix="--data, or --probe")
        return suite_material(suite, tokenizer, count=request.texts, embeddings=embeddings)
    specs = {one.spec.data.content: one.spec for one in models if one.spec is not None}
    if len(specs) > 1 and request.probe is None:
        raise UsageError("the runs have different data", fix="name the texts: --data FILE, or --probe")
    content, spec = next(iter(specs.items()), ("", None))
    there = is_complete(data_folder(content, results=request.results))
    if spec is None or (request.probe is not None and (len(specs) > 1 or not there)):
        return None  # the probe's own held-out texts are measured
    return run_preferences(content, spec.data.source, results=request.results, count=request.texts)


def _suite(models: Sequence[Trained], request: InspectRequest) -> Suite | None:
    """Return the suite whose samples are read: the requested one, or that on whose own data all models were trained."""
    sources = {one.spec.data.source if one.spec is not None else "" for one in models}
    own = next(iter(sources)) if len(sources) == 1 else ""
    named = [name for name in suite_names() if own == f"suite {name}"]
    name = request.suite or next(iter(named), None)
    if name is None:
        return None
    suite = get_suite(name)
    if suite.gold_folder is None:
        raise UsageError(f"suite {name} has no samples of a language model", fix="--suite sentiment, --data or --probe")
    return suite

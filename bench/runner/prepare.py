"""Preparation of a command: suite, start model and preference data resolved, checked, encoded and stored."""

from contextlib import nullcontext
from pathlib import Path

from bench.core.artifacts import Note, make_sound, silent
from bench.core.specs import EvaluationSpec, Execution, ModelSpec, TrainSpec
from bench.data.table import data_folder, write_encoded
from bench.data.tokens import Encoded
from bench.errors import escape_unprintable
from bench.evaluate.judges.loading import shapes_alone
from bench.models.adapters import check_lora
from bench.models.architecture import check_architecture
from bench.models.embedding_rows import embedding_rows
from bench.models.end_tokens import end_ids_kept
from bench.models.loading import find_model, load_tokenizer, model_hash
from bench.models.quantize import check_quantize, rounded_folder
from bench.models.sources import Source, find_source, outline_source, with_template
from bench.runner.workspace import Workspace
from bench.suites.build.assets import check_assets
from bench.suites.inputs import UserInputs
from bench.suites.protocol import StartModel, suite_module
from bench.suites.settings import Suite


def open_workspace(
    suite: Suite,
    inputs: UserInputs,
    *,
    results: Path,
    train: TrainSpec,
    evaluation: EvaluationSpec,
    execution: Execution,
    note: Note = silent,
    scratch: Path | None = None,
) -> Workspace:
    """Resolve and check the model and the data of a command.

    Nothing is trained. Only ``results/data`` is written, and ``results/models`` where a model has to be made.

    Args:
        note: gets a line for each damaged artifact that is made again, and for rows of the data that are left out.
        scratch: for a plan that nobody runs: a folder for what has to be made. No weights are read then, nor hashed
            where they are large, and nothing is written to ``results``.

    Raises:
        UsageError: the model, the data or their combination cannot be right. RunError: the suite's assets are damaged.
    """
    module = suite_module(suite)
    module.check_request(suite, inputs, train=train, evaluation=evaluation)
    check_assets(suite.folder)
    made = results if scratch is None else scratch
    own = module.start_model(suite, results=made, note=note)
    if scratch is None:
        folder, model = _start_model(suite, inputs, own, results=results, train=train, execution=execution, note=note)
    else:
        folder, model = _outlined_model(suite, inputs, own, results=results, scratch=scratch, train=train)
    tokenizer = load_tokenizer(folder)
    with nullcontext() if scratch is None else shapes_alone():
        loaded = module.load(
            suite,
            inputs,
            StartModel(
                folder=folder, tokenizer=tokenizer, max_length=train.max_length, embeddings=embedding_rows(folder)
            ),
            evaluation=evaluation,
            results=made,
            note=note,
        )
    evaluation = loaded.evaluation
    for name, prompts in loaded.prompts.items():
        if len(prompts) < evaluation.prompts:
            most = evaluation.prompts
            note(f"there are {len(prompts)} {name} prompts, and evaluation.prompts asks for {most}: all are used")
    if loaded.evaluator.samples:
        evaluation = evaluation.model_copy(update={"ends": end_ids_kept(folder, tokenizer)})
    return Workspace(
        suite=suite,
        results=results,
        model=folder,
        model_spec=model,
        tokenizer=tokenizer,
        data=loaded.data,
        data_spec=loaded.data_spec,
        data_folder=_store(loaded.data, results, note) if scratch is None else scratch,
        held_out=loaded.held_out,
        prompts=loaded.prompts,
        train=train,
        evaluation=evaluation,
        execution=execution,
        evaluator=loaded.evaluator,
        prompt_texts=loaded.prompt_texts,
    )


def _start_model(
    suite: Suite,
    inputs: UserInputs,
    own: Path | None,
    *,
    results: Path,
    train: TrainSpec,
    execution: Execution,
    note: Note,
) -> tuple[Path, ModelSpec]:
    """Return folder and identity of the user's model, or of the suite's ``own`` where the user names none."""
    if inputs.model is None:
        # A path, not a name that the user typed: a results folder may be called as a run or a hub's model is.
        own_source = Source(find_model(str(own)), f"suite {suite.name}")
        folder, name = with_template(own_source, inputs.chat_template, results=results, note=note)
    else:
        folder, name = find_source(inputs.model, results=results, chat_template=inputs.chat_template, note=note)
    check_architecture(folder)
    check_quantize(train.lora, execution)
    check_lora(folder, train.lora)
    if train.lora is not None and train.lora.quantize is not None:
        folder = rounded_folder(folder, results=results, note=note)
    return folder, ModelSpec(source=escape_unprintable(name), content=model_hash(folder))


LARGEST_HASHED = 1 << 28
"""Bytes of weights up to which a plan hashes them, to know which runs are done."""
UNKNOWN = "0" * 64
"""Content of a model whose weights a plan does not read."""


def _outlined_model(
    suite: Suite, inputs: UserInputs, own: Path | None, *, results: Path, scratch: Path, train: TrainSpec
) -> tuple[Path, ModelSpec]:
    """Return folder and identity of the start model as a plan needs them: configuration and tokenizer."""
    source = inputs.model if inputs.model is not None else str(own)
    folder, name = outline_source(source, results=results, scratch=scratch, chat_template=inputs.chat_template)
    if inputs.model is None:
        name = name.replace(source, f"suite {suite.name}", 1)
    check_architecture(folder)
    check_lora(folder, train.lora)
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    whole = 0 < weights <= LARGEST_HASHED and (train.lora is None or train.lora.quantize is None)
    return folder, ModelSpec(source=escape_unprintable(name), content=model_hash(folder) if whole else UNKNOWN)


def _store(rows: Encoded, results: Path, note: Note) -> Path:
    """Write the encoded rows into the folder named by their content, and return that folder."""
    folder = data_folder(rows.content_hash, results=results)
    make_sound(folder, lambda partial: write_encoded(rows, partial), note=note)
    return folder

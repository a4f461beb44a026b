"""Owns the prepare stage: suite, start model and preference data resolved, checked, encoded and hashed."""

import hashlib
import json
from pathlib import Path

from bench.contents import of_problem, of_suite, of_user
from bench.data.table import write_encoded
from bench.data.tokens import Encoded
from bench.errors import UsageError, shown
from bench.exact.problem import Problem, make_problem
from bench.exact.table_model import write_start_model
from bench.execution import Execution
from bench.given import Brought
from bench.model import load_tokenizer, model_hash
from bench.model_sources import find_source
from bench.prepared import Note, make_sound, silent
from bench.quantize import check_quantize, rounded
from bench.spec import EvaluationSpec, ModelSpec, TrainSpec
from bench.suites.build.assets import check_assets
from bench.suites.suite import Suite
from bench.workspace import Workspace

VERSION = 1


def open_workspace(
    suite: Suite,
    brought: Brought,
    *,
    results: Path,
    train: TrainSpec,
    evaluation: EvaluationSpec,
    execution: Execution,
    note: Note = silent,
) -> Workspace:
    """Resolve and check everything that a command names. Nothing is trained, and only ``results/data`` is written, and
    ``results/models`` where a model has to be made from what the user gave.

    Args:
        note: told where something on disk was damaged and is made again, and what of the data was left out.

    Raises:
        UsageError: the model, the data or their combination cannot be right. RunError: the suite's assets are damaged.
    """
    _refuse(suite, brought, train, evaluation)
    problem = None if suite.problem is None else make_problem(suite.problem)
    if problem is None:
        folder, model = _start_model(suite, brought, results=results, train=train, execution=execution, note=note)
    else:
        folder, model = _table_model(suite, problem, results=results, note=note)
    tokenizer, length = load_tokenizer(folder), train.max_length
    if problem is not None:
        found = of_problem(suite, problem, evaluation=evaluation)
    elif suite.given:
        found = of_user(
            suite, brought, folder, tokenizer, max_length=length, evaluation=evaluation, results=results, note=note
        )
    else:
        found = of_suite(suite, brought, folder, tokenizer, max_length=length, evaluation=evaluation, note=note)
    return Workspace(
        suite=suite,
        results=results,
        model=folder,
        model_spec=model,
        tokenizer=tokenizer,
        data=found.data,
        data_spec=found.data_spec,
        data_folder=_keep(found.data, results, note),
        held_out=found.held_out,
        prompts=found.prompts,
        train=train,
        evaluation=found.evaluation,
        execution=execution,
        problem=problem,
        asked=found.asked,
        words=found.words,
    )


def _start_model(
    suite: Suite, brought: Brought, *, results: Path, train: TrainSpec, execution: Execution, note: Note
) -> tuple[Path, ModelSpec]:
    """The folder and the name of the model that was brought, or of the suite's own."""
    if not suite.given:
        check_assets(suite.folder)
    own = (str(suite.folder / "model"), f"suite {suite.name}")
    given, called = own if brought.model is None else (brought.model, None)
    folder, name = find_source(given, called=called, results=results, chat_template=brought.chat_template, note=note)
    check_quantize(train.lora, execution)
    if train.lora is not None and train.lora.quantize is not None:
        folder = rounded(folder, results=results, note=note)
    _check_context(folder, train)
    return folder, ModelSpec(source=shown(name), content=model_hash(folder))


def _table_model(suite: Suite, problem: Problem, *, results: Path, note: Note) -> tuple[Path, ModelSpec]:
    """The folder and the name of the table that an enumerable problem starts from."""
    folder = results / "models" / f"{suite.name}-{problem.spec.digest()}"
    make_sound(folder, lambda partial: write_start_model(problem, partial), note=note)
    return folder, ModelSpec(source=f"suite {suite.name}", content=model_hash(folder))


def _refuse(suite: Suite, brought: Brought, train: TrainSpec, evaluation: EvaluationSpec) -> None:
    """Raise UsageError where the suite has no use for what the user brings, or lacks what it has to be brought."""
    if suite.given:
        if brought.model is None:
            raise UsageError(f"suite {suite.name} brings no model", fix="--model FOLDER")
        if not brought.data:
            raise UsageError(f"suite {suite.name} brings no preferences", fix="--data FILE")
    elif brought.judges or brought.prompts is not None:
        option = f"--judge {brought.judges[0]}" if brought.judges else f"--prompts {brought.prompts}"
        raise UsageError(f"{option}: suite {suite.name} has its own reward and prompts", fix="--suite chat")
    if not suite.given and evaluation.target != "reward":
        raise UsageError(
            f"evaluation.target={evaluation.target}: suite {suite.name} has a reward of its own",
            fix="leave it out, or --suite chat",
        )
    if suite.problem is None:
        return
    data = brought.data[0] if brought.data else None
    for option, given in (("--model", brought.model), ("--data", data), ("--chat-template", brought.chat_template)):
        if given is not None:
            raise UsageError(
                f"{option} {given}: suite {suite.name} makes model and data from its problem",
                fix="leave it out, or turn a dial such as --set problem.flips=0.2",
            )
    if train.lora is not None:
        raise UsageError(f"suite {suite.name} trains a table, which has no layer for LoRA", fix="leave lora out")


def data_folder(content: str, *, results: Path) -> Path:
    """Where encoded rows of that content hash lie, or would lie."""
    return results / "data" / hashlib.sha256(f"{VERSION} {content}".encode()).hexdigest()[:16]


def _keep(rows: Encoded, results: Path, note: Note) -> Path:
    """Write the encoded rows under their content's name; return where they lie."""
    folder = data_folder(rows.content_hash, results=results)
    make_sound(folder, lambda partial: write_encoded(rows, partial), note=note)
    return folder


def _check_context(folder: Path, train: TrainSpec) -> None:
    context = context_of(folder)
    if context is not None and train.max_length > context:
        raise UsageError(
            f"train.max_length={train.max_length} is more than the {context} tokens of context that {folder.name} has",
            fix=f"--set train.max_length={context}",
        )


def context_of(folder: Path) -> int | None:
    """The longest text that the model of a folder can read, tokens; None where its config does not say."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config.get("max_position_embeddings")

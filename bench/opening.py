"""Owns the prepare stage: suite, start model and preference data resolved, checked, encoded and hashed."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.data.encode import encode_ids
from bench.data.sets import Split
from bench.data.table import write_encoded
from bench.data.tokens import Encoded
from bench.errors import UsageError, shown
from bench.evaluate.checkpoint import Asked
from bench.exact.labels import encode_problem
from bench.exact.problem import make_problem
from bench.exact.table_model import write_start_model
from bench.given import Brought, content_of, judges_of, questions_of, target_of, tell_overlap
from bench.model import load_tokenizer, model_hash
from bench.model_sources import find_source
from bench.prepared import Note, make_sound, silent
from bench.quantize import check_quantize, rounded
from bench.spec import DataSpec, EvaluationSpec, Execution, JudgedBy, ModelSpec, ProblemSpec, TrainSpec
from bench.suites.build.assets import check_assets
from bench.suites.pairs import load_pairs, load_prompts
from bench.suites.suite import Suite
from bench.workspace import SPLITS, Workspace

VERSION = 1
VERDICTS = "verdicts"


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
    _refuse(suite, brought, train)
    if not suite.given and evaluation.target != "reward":
        raise UsageError(
            f"evaluation.target={evaluation.target}: suite {suite.name} has a reward of its own",
            fix="leave it out, or --suite chat",
        )
    if suite.problem is not None:
        return _open_problem(
            suite, suite.problem, results=results, train=train, evaluation=evaluation, execution=execution, note=note
        )
    if not suite.given:
        check_assets(suite.folder)
    own = (str(suite.folder / "model"), f"suite {suite.name}")
    given, called = own if brought.model is None else (brought.model, None)
    folder, name = find_source(given, called=called, results=results, chat_template=brought.chat_template, note=note)
    check_quantize(train.lora, execution)
    if train.lora is not None and train.lora.quantize is not None:
        folder = rounded(folder, results=results, note=note)
    model = ModelSpec(source=shown(name), content=model_hash(folder))
    tokenizer = load_tokenizer(folder)
    _check_context(folder, train)
    opening = _open_given if suite.given else _open_assets
    return opening(
        suite,
        brought,
        folder,
        tokenizer,
        model=model,
        results=results,
        train=train,
        evaluation=evaluation,
        execution=execution,
        note=note,
    )


def _open_assets(
    suite: Suite,
    brought: Brought,
    folder: Path,
    tokenizer: Any,
    *,
    model: ModelSpec,
    results: Path,
    train: TrainSpec,
    evaluation: EvaluationSpec,
    execution: Execution,
    note: Note,
) -> Workspace:
    """The workspace of a suite with prompts and a gold reward of its own; model and data may be the user's."""
    own = same_tokenizer(folder, suite.folder / "model")
    if brought.data:
        split, source = brought.read(tokenizer, max_length=train.max_length, note=note).split, brought.data_name
    else:
        pairs = {name: _suite_pairs(suite, name, tokenizer, own, train.max_length) for name in ("train", *SPLITS)}
        split, source = Split(parts=pairs, sets=()), f"suite {suite.name}"
    rows = split.parts["train"]
    return Workspace(
        suite=suite,
        results=results,
        model=folder,
        model_spec=model,
        tokenizer=tokenizer,
        data=rows,
        data_spec=_data_spec(split, source=source),
        data_folder=_keep(rows, results, note),
        held_out={name: split.parts[name] for name in SPLITS if rows.kind == "pairs" and split.parts[name].rows},
        prompts={name: _prompts(suite, name, tokenizer, own)[: evaluation.prompts] for name in SPLITS},
        train=train,
        evaluation=evaluation,
        execution=execution,
    )


def _open_given(
    suite: Suite,
    brought: Brought,
    folder: Path,
    tokenizer: Any,
    *,
    model: ModelSpec,
    results: Path,
    train: TrainSpec,
    evaluation: EvaluationSpec,
    execution: Execution,
    note: Note,
) -> Workspace:
    """The workspace of a user's own model and data: held-out prompts are the data's, and judges are asked."""
    parts = brought.as_turns(tokenizer).read(tokenizer, max_length=train.max_length, note=note)
    questions = questions_of(parts, tokenizer, prompts=brought.prompts)
    tell_overlap(parts, questions, note=note)
    rows, names = parts.split.parts["train"], brought.judges or suite.judges
    judges = judges_of(names, model=folder, train=rows, tokenizer=tokenizer, source=brought.data_name)
    judged_by = tuple(
        JudgedBy(source=shown(name), name=judge.name, identity=judge.identity)
        for name, judge in zip(names, judges, strict=True)
    )
    asked = {split: each.first(evaluation.prompts) for split, each in questions.items()}
    decided = {"judges": judged_by, "content": content_of(parts, questions)}
    decided["target"] = target_of(evaluation.target, judges)
    return Workspace(
        suite=suite,
        results=results,
        model=folder,
        model_spec=model,
        tokenizer=tokenizer,
        data=rows,
        data_spec=_data_spec(parts.split, source=brought.data_name),
        data_folder=_keep(rows, results, note),
        held_out={split: parts.split.parts[split] for split in SPLITS if rows.kind == "pairs"},
        prompts={split: each.prompts for split, each in asked.items()},
        train=train,
        evaluation=evaluation.model_copy(update=decided),
        execution=execution,
        asked={
            split: Asked(
                judges=judges,
                instructions=each.instructions,
                held_out=each.held_out,
                verdicts=results / VERDICTS,
            )
            for split, each in asked.items()
        },
        words=parts.words,
    )


def _open_problem(
    suite: Suite,
    dials: ProblemSpec,
    *,
    results: Path,
    train: TrainSpec,
    evaluation: EvaluationSpec,
    execution: Execution,
    note: Note,
) -> Workspace:
    """The workspace of an enumerable problem: its start model and its pairs are made from its dials."""
    problem = make_problem(dials)
    folder = results / "models" / f"{suite.name}-{dials.digest()}"
    make_sound(folder, lambda partial: write_start_model(problem, partial), note=note)
    parts = {split: encode_problem(problem, split) for split in ("train", *SPLITS)}
    rows = parts["train"]
    prompts = {split: tuple(map(problem.prompt, problem.contexts(split))) for split in SPLITS}
    source = f"suite {suite.name}"
    return Workspace(
        suite=suite,
        results=results,
        model=folder,
        model_spec=ModelSpec(source=source, content=model_hash(folder)),
        tokenizer=load_tokenizer(folder),
        data=rows,
        data_spec=DataSpec(
            kind=rows.kind, source=source, content=rows.content_hash, rows=len(rows.rows), problem=dials
        ),
        data_folder=_keep(rows, results, note),
        held_out={split: parts[split] for split in SPLITS},
        prompts=prompts,
        train=train,
        evaluation=evaluation.model_copy(update={"prompts": len(prompts["validation"])}),
        execution=execution,
        problem=problem,
    )


def _refuse(suite: Suite, brought: Brought, train: TrainSpec) -> None:
    """Raise UsageError where the suite has no use for what the user brings, or lacks what it has to be brought."""
    if suite.given:
        if brought.model is None:
            raise UsageError(f"suite {suite.name} brings no model", fix="--model FOLDER")
        if not brought.data:
            raise UsageError(f"suite {suite.name} brings no preferences", fix="--data FILE")
    elif brought.judges or brought.prompts is not None:
        option = f"--judge {brought.judges[0]}" if brought.judges else f"--prompts {brought.prompts}"
        raise UsageError(f"{option}: suite {suite.name} has its own reward and prompts", fix="--suite chat")
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


def _data_spec(split: Split, *, source: str) -> DataSpec:
    rows = split.parts["train"]
    if not rows.rows:
        raise UsageError(f"{source} leaves no prompt to train on", fix="give at least ten rows with different prompts")
    return DataSpec(kind=rows.kind, source=source, content=split.content, rows=len(rows.rows), sets=split.sets)


def data_folder(content: str, *, results: Path) -> Path:
    """Where encoded rows of that content hash lie, or would lie."""
    return results / "data" / hashlib.sha256(f"{VERSION} {content}".encode()).hexdigest()[:16]


def _keep(rows: Encoded, results: Path, note: Note) -> Path:
    """Write the encoded rows under their content's name; return where they lie."""
    folder = data_folder(rows.content_hash, results=results)
    make_sound(folder, lambda partial: write_encoded(rows, partial), note=note)
    return folder


def _suite_pairs(suite: Suite, split: str, tokenizer: Any, own: bool, max_length: int) -> Encoded:
    pairs = load_pairs(suite.folder / "data", split)
    if own:
        return encode_ids(pairs, tokenizer, max_length=max_length, source=f"suite {suite.name}")
    raise UsageError(
        f"suite {suite.name} has preference data for its own tokenizer only",
        fix="give --data FILE with preferences in text, or leave --model out",
    )


def _prompts(suite: Suite, split: str, tokenizer: Any, own: bool) -> tuple[tuple[int, ...], ...]:
    """The suite's prompts as the model's token ids; another tokenizer gets them as text."""
    rows: Sequence[Sequence[int]] = load_prompts(suite.folder / "data", split)
    if own:
        return tuple(tuple(row) for row in rows)
    texts = load_tokenizer(suite.folder / "model").batch_decode(rows, skip_special_tokens=True)
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    return tuple(tuple(begin + tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)


def same_tokenizer(folder: Path, other: Path) -> bool:
    """Whether two model folders have one tokenizer, so that token ids of the one are the other's."""
    one, two = folder / "tokenizer.json", other / "tokenizer.json"
    return one.is_file() and two.is_file() and one.read_bytes() == two.read_bytes()


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

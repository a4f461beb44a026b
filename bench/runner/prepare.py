"""Owns the prepare stage: suite, start model and preference data resolved, checked, encoded and hashed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.core.artifacts import Note, make_sound, silent
from bench.core.specs import DataSpec, EvaluationSpec, Execution, JudgedBy, ModelSpec, TrainSpec
from bench.data.encode import encode_ids
from bench.data.sets import Split
from bench.data.table import data_folder, write_encoded
from bench.data.tokens import Encoded
from bench.errors import UsageError, escape_unprintable
from bench.evaluate.checkpoint import JudgeInputs
from bench.models.files import same_tokenizer
from bench.models.loading import context_of, load_tokenizer, model_hash
from bench.models.quantize import check_quantize, rounded
from bench.models.sources import find_source
from bench.runner.user_inputs import UserInputs, content_of, judges_of, questions_of, target_of, tell_overlap
from bench.runner.workspace import SPLITS, Workspace
from bench.suites.build.assets import check_assets
from bench.suites.exact.labels import encode_problem
from bench.suites.exact.problem import Problem, make_problem
from bench.suites.exact.start_model import write_start_model
from bench.suites.pairs import load_pairs, load_prompts
from bench.suites.suite import Suite


def open_workspace(
    suite: Suite,
    brought: UserInputs,
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
        judge_inputs=found.judge_inputs,
        words=found.words,
    )


def _start_model(
    suite: Suite, brought: UserInputs, *, results: Path, train: TrainSpec, execution: Execution, note: Note
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
    return folder, ModelSpec(source=escape_unprintable(name), content=model_hash(folder))


def _table_model(suite: Suite, problem: Problem, *, results: Path, note: Note) -> tuple[Path, ModelSpec]:
    """The folder and the name of the table that an enumerable problem starts from."""
    folder = results / "models" / f"{suite.name}-{problem.spec.digest()}"
    make_sound(folder, lambda partial: write_start_model(problem, partial), note=note)
    return folder, ModelSpec(source=f"suite {suite.name}", content=model_hash(folder))


def _refuse(suite: Suite, brought: UserInputs, train: TrainSpec, evaluation: EvaluationSpec) -> None:
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


VERDICTS = "verdicts"


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Rows to train on, pairs and prompts of each held-out split, and who is asked about them, as in ``Workspace``.

    ``evaluation`` is what was asked for, with what the data and the judges decide of it.
    """

    data: Encoded
    data_spec: DataSpec
    held_out: Mapping[str, Encoded]
    prompts: Mapping[str, tuple[tuple[int, ...], ...]]
    evaluation: EvaluationSpec
    judge_inputs: Mapping[str, JudgeInputs] | None = None
    words: Mapping[tuple[int, ...], str] = field(default_factory=dict)


def of_suite(
    suite: Suite,
    brought: UserInputs,
    folder: Path,
    tokenizer: Any,
    *,
    max_length: int,
    evaluation: EvaluationSpec,
    note: Note,
) -> Contents:
    """Contents of a suite with prompts and a gold reward of its own; model and data may be the user's.

    Raises:
        UsageError: the data cannot be right, or are the suite's own under another tokenizer.
    """
    own = same_tokenizer(folder, suite.folder / "model")
    if brought.data:
        split, source = brought.read(tokenizer, max_length=max_length, note=note).split, brought.data_source
    else:
        pairs = {name: _suite_pairs(suite, name, tokenizer, own, max_length) for name in ("train", *SPLITS)}
        split, source = Split(parts=pairs, sets=()), f"suite {suite.name}"
    rows = split.parts["train"]
    return Contents(
        data=rows,
        data_spec=_data_spec(split, source=source),
        held_out={name: split.parts[name] for name in SPLITS if rows.kind == "pairs" and split.parts[name].rows},
        prompts={name: _prompts(suite, name, tokenizer, own)[: evaluation.prompts] for name in SPLITS},
        evaluation=evaluation,
    )


def of_user(
    suite: Suite,
    brought: UserInputs,
    folder: Path,
    tokenizer: Any,
    *,
    max_length: int,
    evaluation: EvaluationSpec,
    results: Path,
    note: Note,
) -> Contents:
    """Contents of a user's own model and data: held-out prompts are the data's, and judges are asked.

    Raises:
        UsageError: data or judges cannot be right.
    """
    parts = brought.as_turns(tokenizer).read(tokenizer, max_length=max_length, note=note)
    questions = questions_of(parts, tokenizer, prompts=brought.prompts)
    tell_overlap(parts, questions, note=note)
    rows, names = parts.split.parts["train"], brought.judges or suite.judges
    judges = judges_of(names, model=folder, train=rows, tokenizer=tokenizer, source=brought.data_name)
    judged_by = tuple(
        JudgedBy(source=escape_unprintable(name), name=judge.name, identity=judge.identity)
        for name, judge in zip(names, judges, strict=True)
    )
    decided = {
        "judges": judged_by,
        "content": content_of(parts, questions),
        "target": target_of(evaluation.target, judges),
    }
    few = {split: each.first(evaluation.prompts) for split, each in questions.items()}
    return Contents(
        data=rows,
        data_spec=_data_spec(parts.split, source=brought.data_source),
        held_out={split: parts.split.parts[split] for split in SPLITS if rows.kind == "pairs"},
        prompts={split: each.prompts for split, each in few.items()},
        evaluation=evaluation.model_copy(update=decided),
        judge_inputs={
            split: JudgeInputs(
                judges=judges, instructions=each.instructions, held_out=each.held_out, verdicts=results / VERDICTS
            )
            for split, each in few.items()
        },
        words=parts.words,
    )


def of_problem(suite: Suite, problem: Problem, *, evaluation: EvaluationSpec) -> Contents:
    """Contents of an enumerable problem: its pairs are made from its dials, its prompts are all it has."""
    parts = {split: encode_problem(problem, split) for split in ("train", *SPLITS)}
    prompts = {split: tuple(map(problem.prompt, problem.contexts(split))) for split in SPLITS}
    rows = parts["train"]
    return Contents(
        data=rows,
        data_spec=DataSpec(
            kind=rows.kind,
            source=f"suite {suite.name}",
            content=rows.content_hash,
            rows=len(rows.rows),
            problem=problem.spec,
        ),
        held_out={split: parts[split] for split in SPLITS},
        prompts=prompts,
        evaluation=evaluation.model_copy(update={"prompts": len(prompts["validation"])}),
    )


def _data_spec(split: Split, *, source: str) -> DataSpec:
    rows = split.parts["train"]
    if not rows.rows:
        raise UsageError(f"{source} leaves no prompt to train on", fix="give at least ten rows with different prompts")
    return DataSpec(kind=rows.kind, source=source, content=split.content, rows=len(rows.rows), sets=split.sets)


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

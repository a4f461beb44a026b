"""Owns what is trained on, held out and asked: of a suite's own, of what a user brings, of an enumerable problem."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.data.encode import encode_ids
from bench.data.sets import Split
from bench.data.tokens import Encoded
from bench.errors import UsageError, shown
from bench.evaluate.checkpoint import Asked
from bench.exact.labels import encode_problem
from bench.exact.problem import Problem
from bench.given import Brought, content_of, judges_of, questions_of, target_of, tell_overlap
from bench.model import load_tokenizer
from bench.model_files import same_tokenizer
from bench.prepared import Note
from bench.spec import DataSpec, EvaluationSpec, JudgedBy
from bench.suites.pairs import load_pairs, load_prompts
from bench.suites.suite import Suite
from bench.workspace import SPLITS

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
    asked: Mapping[str, Asked] | None = None
    words: Mapping[tuple[int, ...], str] = field(default_factory=dict)


def of_suite(
    suite: Suite,
    brought: Brought,
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
    brought: Brought,
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
        JudgedBy(source=shown(name), name=judge.name, identity=judge.identity)
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
        asked={
            split: Asked(
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

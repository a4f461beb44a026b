"""Owns the prepare stage: suite, start model and preference data resolved, checked, encoded and hashed."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from bench.data.options import AS_IT_IS, DataOptions
from bench.data.encode import Encoded, encode_ids
from bench.data.table import write_encoded
from bench.errors import UsageError, shown
from bench.evaluate.checkpoint import Asked
from bench.evaluate.gold import Gold, load_gold
from bench.evaluate.lm_tasks import ReadyTasks, Seeds, ready_tasks
from bench.evaluate.preflight import reader_of
from bench.exact.labels import encode_problem
from bench.exact.problem import Problem, make_problem
from bench.exact.table_model import write_start_model
from bench.given import FRACTIONS, judges_of, part_given
from bench.model import load_model, load_tokenizer, model_hash
from bench.model_sources import resolve_model
from bench.prepared import Note, make_sound, silent
from bench.spec import DataSpec, EvaluationSpec, Execution, JudgedBy, ModelSpec, ProblemSpec, TrainSpec
from bench.suites.build.assets import check_assets
from bench.suites.pairs import load_pairs, load_prompts
from bench.suites.suite import Suite

VERSION = 1
SPLITS = ("validation", "test")
KEPT_REFERENCES = 4
"""Sets of reference log-probs in memory: training data, both held-out splits, and a KL baseline."""


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """All that runs of one command share. ``held_out`` has pairs for each split, none where the data is unpaired.

    ``problem`` is the enumerable problem that model and data come from, None where they are files. ``asked`` has the
    judges of each split with what they are shown, None where the suite has a gold reward of its own.
    """

    suite: Suite
    results: Path
    model: Path
    model_spec: ModelSpec
    tokenizer: Any
    data: Encoded
    data_spec: DataSpec
    data_folder: Path
    held_out: Mapping[str, Encoded]
    prompts: Mapping[str, tuple[tuple[int, ...], ...]]
    train: TrainSpec
    evaluation: EvaluationSpec
    execution: Execution
    problem: Problem | None = None
    asked: Mapping[str, Asked] | None = None

    @cached_property
    def gold(self) -> Gold | None:
        """The suite's gold reward, None where it has none: its reward is enumerated, or judges are asked."""
        return None if self.problem is not None or self.asked is not None else load_gold(self.suite.folder / "gold")

    @cached_property
    def tasks(self) -> ReadyTasks | None:
        """The evaluation's tasks of lm-eval, made ready once for all checkpoints; None: there are none."""
        evaluation = self.evaluation
        if not evaluation.lm_eval:
            return None
        return ready_tasks(
            evaluation.lm_eval,
            include=self.suite.folder,
            num_fewshot=evaluation.lm_eval_fewshot,
            limit=evaluation.lm_eval_limit,
            seeds=Seeds.all(evaluation.seed),
            reader=reader_of(self.model),
        )

    @cached_property
    def device(self) -> Any:
        """Where models are scored: what ``execution.device`` says, else the first GPU, else the CPU."""
        import torch

        return torch.device(self.execution.device or ("cuda" if torch.cuda.is_available() else "cpu"))

    @cached_property
    def start_model(self) -> Any:
        """The start model, loaded once."""
        return load_model(self.model)

    @cached_property
    def references(self) -> Callable[[tuple[Path, ...]], Any]:
        """Reads reference log-probs; the entries that were read last stay in memory, shared by every run on them."""
        from bench.reference import read_references

        return lru_cache(maxsize=KEPT_REFERENCES)(read_references)


def open_workspace(
    suite: Suite,
    *,
    model: str | None,
    data: Path | None,
    results: Path,
    train: TrainSpec,
    evaluation: EvaluationSpec,
    execution: Execution,
    judges: Sequence[str] = (),
    prompts: Path | None = None,
    chat_template: str | None = None,
    data_options: DataOptions = AS_IT_IS,
    note: Note = silent,
) -> Workspace:
    """Resolve and check everything that a command names. Nothing is trained, and only ``results/data`` is written.

    Args:
        judges: who compares answers, where the suite leaves it to the user; none: the suite's own.
        prompts: a file of instructions to report on, likewise.
        chat_template: another one than the start model's own, by name or file.
        data_options: how ``data`` is read and what is left out of it.
        note: told where something on disk was damaged and is made again, and what of the data was left out.

    Raises:
        UsageError: the model, the data or their combination cannot be right. RunError: the suite's assets are damaged.
    """
    if not suite.given and (judges or prompts is not None):
        option = f"--judge {judges[0]}" if judges else f"--prompts {prompts}"
        raise UsageError(f"{option}: suite {suite.name} has its own reward and prompts", fix="--suite chat")
    if suite.problem is not None:
        _refuse_files(suite, model, data, chat_template)
        if train.lora is not None:
            raise UsageError(f"suite {suite.name} trains a table, which has no layer for LoRA", fix="leave lora out")
        return _open_problem(
            suite, suite.problem, results=results, train=train, evaluation=evaluation, execution=execution, note=note
        )
    if suite.given:
        return _open_given(
            suite,
            model,
            data,
            results=results,
            train=train,
            evaluation=evaluation,
            execution=execution,
            judges=judges or suite.judges,
            prompts=prompts,
            chat_template=chat_template,
            note=note,
        )
    check_assets(suite.folder)
    given = str(suite.folder / "model") if model is None else model
    folder = resolve_model(given, results=results, chat_template=chat_template, note=note)
    tokenizer = load_tokenizer(folder)
    _check_context(folder, train)
    own = _same_tokenizer(folder, suite.folder / "model")
    if data is None:
        parts = {split: _suite_pairs(suite, split, tokenizer, own, train.max_length) for split in ("train", *SPLITS)}
        source = f"suite {suite.name}"
    else:
        parts = encoded_parts(
            data, data_options, tokenizer, max_length=train.max_length, fractions=FRACTIONS, note=note
        )
        source = shown(data.name)
    rows = parts["train"]
    if not rows.rows:
        raise UsageError(f"{source} leaves no prompt to train on", fix="give at least ten rows with different prompts")
    return Workspace(
        suite=suite,
        results=results,
        model=folder,
        model_spec=ModelSpec(source=shown(model or f"suite {suite.name}"), content=model_hash(folder)),
        tokenizer=tokenizer,
        data=rows,
        data_spec=DataSpec(kind=rows.kind, source=source, content=rows.content_hash, rows=len(rows.rows)),
        data_folder=_keep(rows, results, note),
        held_out={split: parts[split] for split in SPLITS if rows.kind == "pairs" and parts[split].rows},
        prompts={split: _prompts(suite, split, tokenizer, own)[: evaluation.prompts] for split in SPLITS},
        train=train,
        evaluation=evaluation,
        execution=execution,
    )


def _open_given(
    suite: Suite,
    model: str | None,
    data: Path | None,
    *,
    results: Path,
    train: TrainSpec,
    evaluation: EvaluationSpec,
    execution: Execution,
    judges: Sequence[str],
    prompts: Path | None,
    chat_template: str | None,
    note: Note,
) -> Workspace:
    """The workspace of a user's own model and data."""
    if model is None or data is None:
        missing = "model: --model FOLDER" if model is None else "preferences: --data FILE"
        raise UsageError(f"suite {suite.name} brings no {missing.split(':')[0]}", fix=missing.split(": ")[1])
    folder = resolve_model(model, results=results, chat_template=chat_template, note=note)
    tokenizer = load_tokenizer(folder)
    _check_context(folder, train)
    preferences = read_preferences(data)
    tell_borders(preferences, tokenizer, note=note, template=chat_template)
    given = part_given(preferences, tokenizer, max_length=train.max_length, test_prompts=prompts)
    rows, source = given.parts["train"], shown(data.name)
    made = judges_of(judges, model=folder, train=rows, tokenizer=tokenizer, source=source)
    judged_by = tuple(
        JudgedBy(source=shown(name), name=judge.name, identity=judge.identity)
        for name, judge in zip(judges, made, strict=True)
    )
    most = evaluation.prompts
    return Workspace(
        suite=suite,
        results=results,
        model=folder,
        model_spec=ModelSpec(source=shown(model), content=model_hash(folder)),
        tokenizer=tokenizer,
        data=rows,
        data_spec=DataSpec(kind=rows.kind, source=source, content=rows.content_hash, rows=len(rows.rows)),
        data_folder=_keep(rows, results, note),
        held_out={split: given.parts[split] for split in SPLITS if rows.kind == "pairs"},
        prompts={split: given.prompts[split][:most] for split in SPLITS},
        train=train,
        evaluation=evaluation.model_copy(update={"judges": judged_by, "content": given.content}),
        execution=execution,
        asked={
            split: Asked(
                judges=made,
                instructions=given.instructions[split][:most],
                held_out=given.held_out[split][:most],
                verdicts=results / "verdicts",
            )
            for split in SPLITS
        },
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


def _refuse_files(suite: Suite, model: str | None, data: Path | None, chat_template: str | None) -> None:
    for option, given in (("--model", model), ("--data", data), ("--chat-template", chat_template)):
        if given is not None:
            raise UsageError(
                f"{option} {given}: suite {suite.name} makes model and data from its problem",
                fix="leave it out, or turn a dial such as --set problem.flips=0.2",
            )


def _keep(rows: Encoded, results: Path, note: Note) -> Path:
    """Write the encoded rows under their content's name; return where they lie."""
    key = hashlib.sha256(f"{VERSION} {rows.content_hash}".encode()).hexdigest()[:16]
    folder = results / "data" / key
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


def _same_tokenizer(folder: Path, other: Path) -> bool:
    one, two = folder / "tokenizer.json", other / "tokenizer.json"
    return one.is_file() and two.is_file() and one.read_bytes() == two.read_bytes()


def _check_context(folder: Path, train: TrainSpec) -> None:
    context = _context(folder)
    if context is not None and train.max_length > context:
        raise UsageError(
            f"train.max_length={train.max_length} is more than the {context} tokens of context that {folder.name} has",
            fix=f"--set train.max_length={context}",
        )


def _context(folder: Path) -> int | None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config.get("max_position_embeddings")

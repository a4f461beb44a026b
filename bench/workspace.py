"""Owns the prepare stage: suite, start model and preference data resolved, checked, encoded and hashed."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from bench.data.encode import Encoded, encode, encode_ids, split_by_prompt
from bench.data.preferences import read_preferences
from bench.data.table import write_encoded
from bench.errors import UsageError, shown
from bench.evaluate.gold import Gold, load_gold
from bench.evaluate.lm_tasks import ReadyTasks, Seeds, ready_tasks
from bench.evaluate.preflight import reader_of
from bench.exact.labels import encode_problem
from bench.exact.problem import Problem, make_problem
from bench.exact.table_model import write_start_model
from bench.model import find_model, load_model, load_tokenizer, model_hash
from bench.report.store import is_complete, verify_folder, write_whole
from bench.spec import DataSpec, EvaluationSpec, Execution, ModelSpec, ProblemSpec, TrainSpec
from bench.suites.build.assets import check_assets
from bench.suites.pairs import load_pairs, load_prompts
from bench.suites.suite import Suite

VERSION = 1
SPLITS = ("validation", "test")
KEPT_REFERENCES = 4
"""Sets of reference log-probs in memory: training data, both held-out splits, and a KL baseline."""
# Share of a user's own prompts that is trained on, selected by and reported on.
FRACTIONS = (0.8, 0.1, 0.1)
Note = Callable[[str], None]


def _silent(text: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """All that runs of one command share. ``held_out`` has pairs for each split, none where the data is unpaired.

    ``problem`` is the enumerable problem that model and data come from, None where they are files.
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

    @cached_property
    def gold(self) -> Gold:
        """The suite's gold reward."""
        return load_gold(self.suite.folder / "gold")

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
    note: Note = _silent,
) -> Workspace:
    """Resolve and check everything that a command names. Nothing is trained, and only ``results/data`` is written.

    Args:
        note: told where something on disk was damaged and is made again.

    Raises:
        UsageError: the model, the data or their combination cannot be right. RunError: the suite's assets are damaged.
    """
    if suite.problem is not None:
        _refuse_files(suite, model, data)
        if train.lora is not None:
            raise UsageError(f"suite {suite.name} trains a table, which has no layer for LoRA", fix="leave lora out")
        return _open_problem(
            suite, suite.problem, results=results, train=train, evaluation=evaluation, execution=execution, note=note
        )
    check_assets(suite.folder)
    folder = suite.folder / "model" if model is None else find_model(model, results=results)
    tokenizer = load_tokenizer(folder)
    context = context_of(folder)
    if context is not None and train.max_length > context:
        raise UsageError(
            f"train.max_length={train.max_length} is more than the {context} tokens of context that {folder.name} has",
            fix=f"--set train.max_length={context}",
        )
    own = same_tokenizer(folder, suite.folder / "model")
    if data is None:
        parts = {split: _suite_pairs(suite, split, tokenizer, own, train.max_length) for split in ("train", *SPLITS)}
        source = f"suite {suite.name}"
    else:
        encoded = encode(read_preferences(data), tokenizer, max_length=train.max_length)
        train_part, validation, test = split_by_prompt(encoded, fractions=FRACTIONS, seed=0)
        parts = {"train": train_part, "validation": validation, "test": test}
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
    _make_sound(folder, lambda partial: write_start_model(problem, partial), note=note)
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


def _refuse_files(suite: Suite, model: str | None, data: Path | None) -> None:
    for option, given in (("--model", model), ("--data", data)):
        if given is not None:
            raise UsageError(
                f"{option} {given}: suite {suite.name} makes model and data from its problem",
                fix="leave it out, or turn a dial such as --set problem.flips=0.2",
            )


def data_folder(content: str, *, results: Path) -> Path:
    """Where encoded rows of that content hash lie, or would lie."""
    return results / "data" / hashlib.sha256(f"{VERSION} {content}".encode()).hexdigest()[:16]


def _keep(rows: Encoded, results: Path, note: Note) -> Path:
    """Write the encoded rows under their content's name; return where they lie."""
    folder = data_folder(rows.content_hash, results=results)
    _make_sound(folder, lambda partial: write_encoded(rows, partial), note=note)
    return folder


def _make_sound(folder: Path, write: Callable[[Path], None], *, note: Note) -> None:
    """Write a folder of the prepare stage where it is not there, or not what was written."""
    if is_complete(folder):
        problems = verify_folder(folder, stage="prepare")
        if not problems:
            return
        note(f"{problems[0]}: damaged, so {folder} is made again")
    write_whole(folder, write, stage="prepare")


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


def context_of(folder: Path) -> int | None:
    """The longest text that the model of a folder can read, tokens; None where its config does not say."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config.get("max_position_embeddings")

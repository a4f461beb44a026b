"""Amounts of a plan: steps, tokens, reference completions, and what one evaluation measures."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.core.specs import RunSpec
from bench.data.collate import TokenRow
from bench.evaluate.tasks.prefix_tree import branch
from bench.runner.estimate.outline import Outline
from bench.runner.plan import Plan
from bench.runner.reference import planned_needs
from bench.runner.search import Search
from bench.train.drawn_rows import MISMATCHED, completions_of
from bench.train.objective_batch import rows_of
from bench.train.sampler import schedule_of
from losses import Objective, Requires

TASK_DOCUMENTS = 64
"""Documents of a task of lm-eval whose lengths are counted."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Completions that the reference is asked for: ``drawn`` by all seeds, of ``all`` of the data; ``tokens`` that a
    pass reads for one on average. ``mismatched``: those of KTO's baseline, each a prompt with another one's answer;
    ``seen`` tokens of one of these."""

    drawn: int
    all: int
    tokens: float
    mismatched: int
    seen: float


@dataclass(frozen=True, kw_only=True)
class Tasks:
    """What lm-eval asks on one evaluation; None where it is not known without loading the tasks."""

    names: tuple[str, ...]
    requests: int | None
    tokens: float | None


class Amounts:
    """Counts over an outline; a sample of the rows stands for all of them."""

    def __init__(self, outline: Outline) -> None:
        self.outline, self.plan = outline, outline.plan
        self.rows = rows_of(self.plan.workspace.data.rows)
        self.packed = self.plan.workspace.execution.layout == "packed"

    @cached_property
    def seen(self) -> float:
        """Tokens of a unit of the batch, each completion with its prompt."""
        return tokens_of(self.rows) / max(1, len(self.plan.workspace.data.rows))

    @property
    def step_tokens(self) -> float:
        """Tokens of one optimiser step, on all ranks."""
        return self.seen * self.plan.workspace.train.batch

    @cached_property
    def completion(self) -> float:
        """Tokens of a completion on average, an evaluation's longest at most."""
        most = self.plan.workspace.evaluation.tokens
        return sum(min(len(c), most) for _, c in self.rows) / max(1, len(self.rows))

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return max(len(prompt) + len(completion) for prompt, completion in self.rows)

    @cached_property
    def reference(self) -> Drawn | None:
        """The completions whose log-probs the reference is asked for; None where no objective asks for stored ones."""
        workspace = self.plan.workspace
        needs = planned_needs(self.plan, most=True, rows=self.outline.rows)
        if not needs:
            return None
        mismatched = completions_of(need for need in needs if need.kind == MISMATCHED)
        whole = completions_of(need for need in needs if need.kind != MISMATCHED and need.seed is None)
        by_seed = completions_of(need for need in needs if need.kind != MISMATCHED and need.seed is not None)
        # Of all rows equal completions are scored once, and rows of one prompt side by side; of drawn ones a pair is.
        distinct = len(dict.fromkeys(self.rows)) / max(1, len(self.rows))
        seen = tokens_of(self.rows) / max(1, len(self.rows))
        alone = sum(work_tokens(rows_of([row]), packed=self.packed) for row in workspace.data.rows) / len(self.rows)
        drawn = whole * distinct + by_seed
        tokens = (whole * distinct * self.packed_row + by_seed * alone) / drawn if drawn else seen
        return Drawn(
            drawn=round(drawn),
            all=self.outline.rows * workspace.data.width,
            tokens=tokens,
            mismatched=mismatched,
            seen=seen,
        )

    @cached_property
    def packed_row(self) -> float:
        """Tokens that a pass without gradient reads for a completion: rows of one prompt share it where packed."""
        return work_tokens(list(dict.fromkeys(self.rows)), packed=self.packed) / len(dict.fromkeys(self.rows))

    def prompts(self, split: str) -> Sequence[Sequence[int]]:
        """Return the prompts of a split."""
        return self.plan.workspace.prompts[split]

    def pairs(self, split: str) -> list[TokenRow]:
        """Return the rows of a split's held-out pairs that an evaluation scores, each once."""
        held_out = self.plan.workspace.held_out.get(split)
        if held_out is None:
            return []
        return list(dict.fromkeys(rows_of(held_out.rows[: self.plan.workspace.evaluation.pairs])))

    @cached_property
    def tasks(self) -> Tasks | None:
        """What lm-eval asks: counted from the suite's own documents; None where there are no tasks."""
        evaluation = self.plan.workspace.evaluation
        if not evaluation.lm_eval or not self.plan.workspace.evaluator.samples:
            return None
        folder = self.plan.workspace.suite.folder
        texts = [_choices(folder / name / f"{name}.jsonl") for name in evaluation.lm_eval]
        if any(each is None for each in texts):
            return Tasks(names=evaluation.lm_eval, requests=None, tokens=None)
        requests, tokens = 0, 0.0
        for documents in texts:
            assert documents is not None
            limit = evaluation.lm_eval_limit
            kept = len(documents) if limit is None else round(limit * len(documents) if limit < 1 else limit)
            few = [text for document in documents[:TASK_DOCUMENTS] for text in document]
            ids = self.plan.workspace.tokenizer(few, add_special_tokens=False)["input_ids"]
            read = sum(row.tokens for row in branch([[0, *each][:-1] for each in ids], longest=1 << 20))
            requests += sum(map(len, documents[:kept]))
            tokens += read / max(1, len(few)) * sum(map(len, documents[:kept]))
        return Tasks(names=evaluation.lm_eval, requests=requests, tokens=tokens)


def extra_forwards(objective: Objective, plan: Plan, search: Search) -> float:
    """Return the passes without gradient that a step makes besides forward and backward, each over its tokens."""
    requires, execution = objective.requires, plan.workspace.execution
    passes = 0.0
    if Requires.KL_BASELINE in requires:
        passes += 1
    if requires & (Requires.VOCAB_KL | Requires.ENTROPY):
        passes += 1
    if Requires.WHOLE_BATCH in requires and plan.workspace.train.batch > execution.micro_batch * execution.processes:
        passes += 1
    return passes + moved_share(plan, search)


def moved_share(plan: Plan, search: Search) -> float:
    """Return the share of steps that ask a reference which has moved since the cache was made."""
    schedule, steps = schedule_of(search.objective, first_spec(plan, search)), plan.workspace.train.steps
    if schedule.is_frozen or Requires.REFERENCE not in search.objective.requires:
        return 0.0
    first = next((step for step in range(1, steps + 1) if schedule.weight_after(step, steps) > 0), steps)
    return (steps - first) / steps


def tokens_of(rows: Sequence[TokenRow]) -> int:
    """Return the tokens of rows, each completion with its prompt."""
    return sum(len(prompt) + len(completion) for prompt, completion in rows)


def work_tokens(rows: Sequence[TokenRow], *, packed: bool) -> int:
    """Return the tokens that a pass over rows reads: each prompt once where they are packed."""
    if not packed:
        return tokens_of(rows)
    return sum(map(len, {prompt for prompt, _ in rows})) + sum(len(completion) for _, completion in rows)


def first_spec(plan: Plan, search: Search) -> RunSpec:
    """Return the run of a search's first setting; a sampler's have no values yet: the defaults stand for them."""
    point = search.points[0] if search.distributions is None else {}
    return search.spec(plan.workspace, point, seed=0)


def _choices(file: Path) -> list[list[str]] | None:
    """Return the texts of each document of a suite's own task; None where it has no such file."""
    if not file.is_file():
        return None
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [[str(row["sentence_good"]), str(row["sentence_bad"])] for row in rows if "sentence_good" in row] or None

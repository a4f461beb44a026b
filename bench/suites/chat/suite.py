"""The chat suite: the user's model and preferences, held-out prompts of that data, and judges."""

from __future__ import annotations

from pathlib import Path

from bench.core.artifacts import Note
from bench.core.specs import EvaluationSpec, JudgedBy, TrainSpec
from bench.errors import UsageError, escape_unprintable
from bench.evaluate.checkpoint import JudgeInputs
from bench.evaluate.tasks.prompts import decide_template
from bench.suites.chat.held_out import content_of, evaluation_prompts, note_overlap
from bench.suites.chat.judges import check_judges, make_judges, target_of
from bench.suites.inputs import UserInputs
from bench.suites.protocol import EVALUATION_SPLITS, StartModel, SuiteData, check_context, data_spec_of, refuse_samples
from bench.suites.sampling import SamplingEvaluator
from bench.suites.settings import Suite

VERDICTS = "verdicts"


def check_request(suite: Suite, inputs: UserInputs, *, train: TrainSpec, evaluation: EvaluationSpec) -> None:
    """Raise UsageError without a model or without preference data."""
    if inputs.model is None:
        raise UsageError(f"suite {suite.name} has no model of its own", fix="--model FOLDER")
    if not inputs.data:
        raise UsageError(f"suite {suite.name} has no preferences of its own", fix="--data FILE")
    refuse_samples(
        suite, evaluation, reason="judges one answer a prompt", fix="more prompts: --set evaluation.prompts=…"
    )
    if inputs.strong is None and "strong_share" in evaluation.model_dump():
        raise UsageError(
            f"evaluation.strong_share={evaluation.strong_share:g}: there is no strong judge", fix="--strong JUDGE"
        )


def start_model(suite: Suite, *, results: Path, note: Note) -> None:
    """Return None: the model is the user's."""


def load(
    suite: Suite,
    inputs: UserInputs,
    start: StartModel,
    *,
    evaluation: EvaluationSpec,
    results: Path,
    note: Note,
) -> SuiteData:
    """Read and encode the user's data, split by prompt, and make the judges.

    Raises:
        UsageError: data or judges do not suit.
    """
    check_context(start)
    tokenizer = start.tokenizer
    parts = inputs.read(suite, tokenizer, max_length=start.max_length, embeddings=start.embeddings, note=note)
    prompts = evaluation_prompts(
        parts, tokenizer, prompts=inputs.prompts, embeddings=start.embeddings, most=evaluation.prompts
    )
    note_overlap(parts, prompts, note=note)
    rows, names = parts.split.parts["train"], inputs.judges or suite.judges
    names = (*names, *([] if inputs.strong is None else [inputs.strong]))
    every = make_judges(names, model=start.folder, train=rows, tokenizer=tokenizer, source=inputs.data_name, note=note)
    judged_by = tuple(
        JudgedBy(source=escape_unprintable(name), name=judge.name, identity=judge.identity)
        for name, judge in zip(names, every, strict=True)
    )
    judges, strong = (every, None) if inputs.strong is None else (every[:-1], every[-1])
    trained_by = f"suite {suite.name}" if evaluation.lm_eval and inputs.options.form != "text" else None
    decided = {
        # Plain text is what evaluations were before there was a choice, and has their key.
        "apply_chat_template": decide_template(evaluation.apply_chat_template, tokenizer, trained_by=trained_by)
        or None,
        "judges": judged_by[: len(judges)],
        "strong": None if strong is None else judged_by[-1],
        "content": content_of(parts, prompts),
        "target": target_of(evaluation.target, judges),
    }
    first = {split: each.first(evaluation.prompts) for split, each in prompts.items()}
    check_judges(every, tuple(first.values()), tokens=evaluation.tokens, tokenizer=tokenizer)
    return SuiteData(
        data=rows,
        data_spec=data_spec_of(parts.split, source=inputs.data_source),
        held_out={split: parts.split.parts[split] for split in EVALUATION_SPLITS if rows.kind == "pairs"},
        prompts={split: each.prompts for split, each in first.items()},
        evaluation=evaluation.model_copy(update=decided),
        evaluator=SamplingEvaluator(
            judge_inputs={
                split: JudgeInputs(
                    judges=judges,
                    instructions=each.instructions,
                    held_out=each.held_out,
                    verdicts=results / VERDICTS,
                    strong=strong,
                )
                for split, each in first.items()
            }
        ),
        prompt_texts=parts.words,
    )

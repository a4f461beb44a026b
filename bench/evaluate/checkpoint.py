"""The evaluation of one checkpoint: samples, held-out pairs, judges and lm-eval tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from bench.core.record import JUDGE, Metric, judge_task
from bench.core.samples import SampleRow, Samples, spoken
from bench.core.specs import EvaluationSpec
from bench.data.collate import longest_of
from bench.data.tokens import Encoded, pairs_in
from bench.evaluate.gold_reward import Gold
from bench.evaluate.judges.alpaca_eval import judge_metrics, win_rate
from bench.evaluate.judges.base import AnswerPair, Judge
from bench.evaluate.judges.corrected_samples import corrected_samples
from bench.evaluate.judges.win_rate import held_out_accuracy, judge_samples, with_rewards
from bench.evaluate.metrics.generation import by_sample, generation_metrics, per_prompt
from bench.evaluate.metrics.kl import sequence_kl
from bench.evaluate.metrics.preference import preference_metrics
from bench.evaluate.progress import Report, counted, silent
from bench.evaluate.sampling import sample_with_states
from bench.evaluate.tasks.load import ReadyTasks
from bench.evaluate.tasks.run import TasksOutcome, run_lm_eval
from bench.models.logprobs import CompletionLogProbs
from bench.models.reference_cache import ReferenceLogProbs, compute

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """What a checkpoint is measured against: the start model, its outputs, the gold reward, prompts and held-out pairs.

    ``baseline`` has the start model's samples on the same prompts; None while the start model itself is measured.
    ``gold`` is None where the reward is known for every completion, and nothing is sampled. ``tasks`` of lm-eval, None
    where there are none. ``packed``: how held-out pairs are laid out; as ``reference`` was, so that of the start model
    the log-ratios are zero to the bit. ``judge_inputs``: judges and what they see, where the prompts are the user's.
    ``progress`` gets each part of the evaluation as it goes on.
    """

    start: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    gold: Gold | None
    prompts: Sequence[Sequence[int]]
    held_out: Encoded | None
    reference: ReferenceLogProbs | None
    baseline: Sequence[SampleRow] | None
    tasks: ReadyTasks | None
    packed: bool
    judge_inputs: "JudgeInputs | None" = None
    progress: Report = silent


@dataclass(frozen=True, kw_only=True)
class JudgeInputs:
    """Judges and their inputs: each prompt's words, and the held-out pairs (preferred answer first).

    The first judge chooses, so validation uses no other; ``verdicts`` is the folder of verdicts. ``strong`` sees a part
    of the test prompts and is corrected by the first judge.
    """

    judges: Sequence[Judge]
    instructions: Sequence[str]
    held_out: Sequence[AnswerPair]
    verdicts: Path
    strong: Judge | None = None


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """What was measured: metrics, the per-prompt values that some are means of (in the prompts' order), the samples (of
    all prompts the first, then the second, …), and what tasks of lm-eval gave; their metrics are among ``metrics``."""

    metrics: tuple[Metric, ...] = ()
    scores: Mapping[str, list[float]] = field(default_factory=dict)
    rows: tuple[SampleRow, ...] = ()
    tasks: TasksOutcome = field(default_factory=TasksOutcome)


def evaluate_checkpoint(
    model: PreTrainedModel, yardstick: Yardstick, *, spec: EvaluationSpec, reward: str
) -> EvaluationResult:
    """Measure a causal LM as ``spec`` says.

    Args:
        reward: the objective's definition of the implicit reward (``log_ratio``, ``mean_policy``, …).
    """
    rows = sample_rows(model, yardstick, spec=spec)
    judging: list[Metric] = []
    preferred: dict[str, NDArray[np.float64]] = {}
    target = None
    if yardstick.judge_inputs is not None:
        rows, judging, target, preferred = _run_judges(rows, yardstick, yardstick.judge_inputs, spec=spec)
    metrics = list(generation_metrics(rows, split=spec.split, beta0=spec.beta0, target=target, samples=spec.samples))
    if yardstick.held_out is not None and yardstick.reference is not None:
        metrics += preference(model, yardstick, spec=spec, reward=reward)
    tasks = TasksOutcome()
    if yardstick.tasks is not None:
        tasks = run_lm_eval(
            model,
            yardstick.tokenizer,
            yardstick.tasks,
            progress=counted(yardstick.progress, "lm-eval", yardstick.tasks.requests),
        )
        metrics += tasks.metrics
    if yardstick.judge_inputs is None and spec.judge and yardstick.baseline is not None:
        metrics += _win_rates(rows, yardstick.baseline, spec=spec)
    scores = per_prompt(rows, beta0=spec.beta0, target=target, samples=spec.samples) | preferred
    return EvaluationResult(
        metrics=(*metrics, *judging),
        scores={name: values.tolist() for name, values in scores.items()},
        rows=tuple(rows),
        tasks=tasks,
    )


def _run_judges(
    rows: Sequence[SampleRow], yardstick: Yardstick, inputs: JudgeInputs, *, spec: EvaluationSpec
) -> tuple[list[SampleRow], list[Metric], NDArray[np.float64] | None, dict[str, NDArray[np.float64]]]:
    """Return the samples with the first judge's rewards, all that judges say, the target where it is a win rate, and
    each judge's preferences by prompt."""
    metrics: list[Metric] = []
    preferences: dict[str, NDArray[np.float64]] = {}
    target = None
    names = [judge.name for judge in inputs.judges]
    for index, judge in enumerate(inputs.judges if spec.split == "test" else inputs.judges[:1]):
        task = judge_task(judge.name, names)
        result = judge_samples(
            judge, rows, yardstick.baseline, task=task, split=spec.split, seed=spec.seed, verdicts=inputs.verdicts,
            progress=partial(yardstick.progress, f"judge {judge.name}"),
        )  # fmt: skip
        metrics += result.metrics
        preferences[task] = result.preferences
        if index == 0 and spec.target == "win_rate":
            target = result.target
        if yardstick.baseline is None and judge.cost is None:
            yardstick.progress(f"judge {judge.name} on held-out pairs", 0, len(inputs.held_out))
            # A judge's accuracy is measured once, with the start model, and only where its verdicts are free.
            metrics += held_out_accuracy(
                judge, inputs.held_out, task=task, split=spec.split, seed=spec.seed, verdicts=inputs.verdicts
            )
    if inputs.strong is not None and spec.split == "test":
        task = judge_task(inputs.strong.name, names)
        yardstick.progress(f"strong judge {inputs.strong.name}", 0, len(rows))
        corrected = corrected_samples(
            inputs.strong, inputs.judges[0], rows, yardstick.baseline, preferences=preferences[JUDGE],
            share=spec.strong_share, task=task, split=spec.split, seed=spec.seed, verdicts=inputs.verdicts,
        )  # fmt: skip
        metrics += corrected.metrics
        preferences[task] = corrected.preferences
    return with_rewards(inputs.judges[0], rows), metrics, target, preferences


def _win_rates(rows: Sequence[SampleRow], baseline: Sequence[SampleRow], *, spec: EvaluationSpec) -> list[Metric]:
    """Return alpaca-eval's rates over the start model's samples; the mean of those of each sample of the prompts.

    The standard error is that of one sample a prompt, which is an upper bound for more.
    """
    each = [
        judge_metrics(
            win_rate(
                instructions=[row.prompt for row in own],
                outputs=[row.text for row in own],
                references=[row.text for row in theirs],
                output_scores=_gold(own),
                reference_scores=_gold(theirs),
            ),
            split=spec.split,
        )
        for own, theirs in zip(by_sample(rows, spec.samples), by_sample(baseline, spec.samples), strict=True)
    ]
    return list(each[0]) if len(each) == 1 else [_mean_metric(same) for same in zip(*each, strict=True)]


def _mean_metric(metrics: Sequence[Metric]) -> Metric:
    errors = [metric.stderr for metric in metrics if metric.stderr is not None]
    error = float(np.mean(errors)) if len(errors) == len(metrics) else None
    mean = float(np.mean([metric.value for metric in metrics]))
    return metrics[0].model_copy(update={"value": mean, "stderr": error})


def _gold(rows: Sequence[SampleRow]) -> list[float]:
    return [float("nan") if row.gold is None else row.gold for row in rows]


def sample_rows(model: PreTrainedModel, yardstick: Yardstick, *, spec: EvaluationSpec) -> list[SampleRow]:
    """Sample completions (the same noise for every model), score them, and measure KL to the start model.

    The first completion of every prompt, then the second of every prompt, …: ``spec.samples`` of each.
    """
    return [row for index in range(spec.samples) for row in _sample_rows(model, yardstick, spec=spec, index=index)]


def _sample_rows(model: PreTrainedModel, yardstick: Yardstick, *, spec: EvaluationSpec, index: int) -> list[SampleRow]:
    eos = yardstick.tokenizer.eos_token_id
    which = f" {index + 1} of {spec.samples}" if spec.samples > 1 else ""
    samples, states = sample_with_states(
        model,
        yardstick.prompts,
        max_tokens=spec.tokens,
        temperature=spec.temperature,
        seed=spec.seed,
        end_ids=frozenset([eos] if spec.ends is None else spec.ends),
        index=index,
        progress=lambda done: yardstick.progress(f"generation{which}", done, len(yardstick.prompts)),
    )
    # The start model's own KL is zero to the last bit only where both sides are computed in one way.
    states = None if model is yardstick.start else states
    kl = sequence_kl(model, yardstick.start, samples, batch=BATCH, states=states,
        progress=counted(yardstick.progress, f"KL{which}", len(yardstick.prompts)))  # fmt: skip
    prompts, texts, scores = _texts(samples, yardstick)
    return [
        SampleRow(
            prompt_ids=tuple(samples.prompts[i]),
            completion_ids=tuple(samples.completions[i]),
            ended=samples.ended[i],
            prompt=prompts[i],
            text=texts[i],
            gold=None if scores is None else float(scores[i]),
            kl=float(kl[i]),
        )
        for i in range(len(texts))
    ]


def _texts(samples: Samples, yardstick: Yardstick) -> tuple[Sequence[str], Sequence[str], NDArray[np.float64] | None]:
    """Return each sample's prompt and its own text, and the gold reward of both together where there is one."""
    decode = yardstick.tokenizer.batch_decode
    if yardstick.judge_inputs is not None:
        # A template's words between the turns are part neither of the question nor of the answer.
        answers = decode(spoken(samples), skip_special_tokens=True)
        return yardstick.judge_inputs.instructions, [answer.strip() for answer in answers], None
    prompts = decode([list(ids) for ids in samples.prompts], skip_special_tokens=True)
    whole = decode([[*p, *c] for p, c in zip(samples.prompts, spoken(samples), strict=True)], skip_special_tokens=True)
    assert yardstick.gold is not None
    texts = [one.removeprefix(prompt) for one, prompt in zip(whole, prompts, strict=True)]
    return prompts, texts, yardstick.gold.score(whole)


@torch.no_grad()
def preference(
    model: PreTrainedModel, yardstick: Yardstick, *, spec: EvaluationSpec, reward: str
) -> tuple[Metric, ...]:
    """Measure held-out pairs: reward accuracy and margin, and how far chosen and rejected moved from the reference."""
    assert yardstick.held_out is not None
    assert yardstick.reference is not None
    pairs = pairs_in(yardstick.held_out.rows)[: spec.pairs]
    rows = [(p.prompt_ids, p.chosen_ids) for p in pairs] + [(p.prompt_ids, p.rejected_ids) for p in pairs]
    distinct = list(dict.fromkeys(rows))
    yardstick.progress("held-out pairs", 0, len(distinct))
    log_probs = compute(
        distinct,
        CompletionLogProbs(model, packed=yardstick.packed, longest=longest_of(distinct)),
        pad_id=yardstick.held_out.pad_id,
        precision="fp32",
        batch=BATCH,
    )
    policy = dict(zip(distinct, (float(x.double().sum()) for x in log_probs), strict=True))
    known = {row: float(yardstick.reference.row(row).double().sum()) for row in distinct}
    sides = {"chosen": rows[: len(pairs)], "rejected": rows[len(pairs) :]}
    arrays = {
        f"{name}_{what}": np.array([values[row] for row in side])
        for name, side in sides.items()
        for what, values in (("policy", policy), ("reference", known))
    }
    lengths = {f"{name}_length": np.array([len(row[1]) for row in side]) for name, side in sides.items()}
    return preference_metrics(**arrays, **lengths, reward=reward, split=spec.split)

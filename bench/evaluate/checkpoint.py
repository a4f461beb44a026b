"""Owns the evaluation of one checkpoint: which measures are taken, in which order, on which split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from bench.data.tokens import Encoded, pairs_in
from bench.evaluate.divergence import sequence_kl
from bench.evaluate.generation import generation_metrics, per_prompt
from bench.evaluate.gold import Gold
from bench.evaluate.harness import run_lm_eval
from bench.evaluate.judge import judge_metrics, win_rate
from bench.evaluate.lm_tasks import ReadyTasks
from bench.evaluate.preference import preference_metrics
from bench.evaluate.samples import SampleRow
from bench.evaluate.sampling import sample_with_states
from bench.logprobs import CompletionLogProbs
from bench.reference import ReferenceLogProbs, compute
from bench.report.record import Metric
from bench.spec import EvaluationSpec

BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """What a checkpoint is measured against: the start model, its outputs, the gold reward, prompts and held-out pairs.

    ``baseline`` has the start model's samples on the same prompts; None while the start model itself is measured.
    ``gold`` is None where the reward is known for every completion, and nothing is sampled. ``tasks`` of lm-eval, None
    where there are none. ``packed``: how held-out pairs are laid out; as ``reference`` was, so that of the start model
    the log-ratios are zero to the bit.
    """

    start: Any
    tokenizer: Any
    gold: Gold | None
    prompts: Sequence[Sequence[int]]
    held_out: Encoded | None
    reference: ReferenceLogProbs | None
    baseline: Sequence[SampleRow] | None
    tasks: ReadyTasks | None
    packed: bool


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What was measured: metrics, the per-prompt values that some are means of (in the prompts' order), and one
    sample a prompt."""

    metrics: tuple[Metric, ...] = ()
    scores: Mapping[str, list[float]] = field(default_factory=dict)
    rows: tuple[SampleRow, ...] = ()


def evaluate_checkpoint(model: Any, yardstick: Yardstick, *, spec: EvaluationSpec, reward: str) -> Evaluated:
    """Measure a causal LM as ``spec`` says.

    Args:
        reward: the objective's definition of the implicit reward (``log_ratio``, ``mean_policy``, …).
    """
    rows = sample_rows(model, yardstick, spec=spec)
    metrics = list(generation_metrics(rows, split=spec.split, beta0=spec.beta0))
    if yardstick.held_out is not None and yardstick.reference is not None:
        metrics += preference(model, yardstick, spec=spec, reward=reward)
    if yardstick.tasks is not None:
        metrics += run_lm_eval(model, yardstick.tokenizer, yardstick.tasks)
    if spec.judge and yardstick.baseline is not None:
        metrics += judge_metrics(
            win_rate(
                instructions=[row.prompt for row in rows],
                outputs=[row.text for row in rows],
                references=[row.text for row in yardstick.baseline],
                output_scores=[row.gold for row in rows],
                reference_scores=[row.gold for row in yardstick.baseline],
            ),
            split=spec.split,
        )
    return Evaluated(
        metrics=tuple(metrics),
        scores={name: values.tolist() for name, values in per_prompt(rows, beta0=spec.beta0).items()},
        rows=tuple(rows),
    )


def sample_rows(model: Any, yardstick: Yardstick, *, spec: EvaluationSpec) -> list[SampleRow]:
    """Sample one completion a prompt (the same noise for every model), score it, and measure KL to the start model."""
    samples, states = sample_with_states(
        model,
        yardstick.prompts,
        max_tokens=spec.tokens,
        temperature=spec.temperature,
        seed=spec.seed,
        eos_id=yardstick.tokenizer.eos_token_id,
    )
    # The start model's own KL is zero to the last bit only where both sides are computed in one way.
    states = None if model is yardstick.start else states
    kl = sequence_kl(model, yardstick.start, samples, batch=BATCH, states=states)
    prompts = yardstick.tokenizer.batch_decode([list(ids) for ids in samples.prompts], skip_special_tokens=True)
    whole = yardstick.tokenizer.batch_decode(
        [[*p, *c] for p, c in zip(samples.prompts, samples.completions, strict=True)], skip_special_tokens=True
    )
    assert yardstick.gold is not None
    scores = yardstick.gold.score(whole)
    return [
        SampleRow(
            prompt_ids=tuple(samples.prompts[i]),
            completion_ids=tuple(samples.completions[i]),
            ended=samples.ended[i],
            prompt=prompts[i],
            text=whole[i].removeprefix(prompts[i]),
            gold=float(scores[i]),
            kl=float(kl[i]),
        )
        for i in range(len(whole))
    ]


@torch.no_grad()
def preference(model: Any, yardstick: Yardstick, *, spec: EvaluationSpec, reward: str) -> tuple[Metric, ...]:
    """Held-out pairs: reward accuracy and margin, and how far chosen and rejected moved from the reference."""
    assert yardstick.held_out is not None
    assert yardstick.reference is not None
    pairs = pairs_in(yardstick.held_out.rows)[: spec.pairs]
    rows = [(p.prompt_ids, p.chosen_ids) for p in pairs] + [(p.prompt_ids, p.rejected_ids) for p in pairs]
    distinct = list(dict.fromkeys(rows))
    found = compute(
        distinct,
        CompletionLogProbs(model, packed=yardstick.packed),
        pad_id=yardstick.held_out.pad_id,
        precision="fp32",
        batch=BATCH,
    )
    policy = dict(zip(distinct, (float(x.double().sum()) for x in found), strict=True))
    known = {row: float(yardstick.reference.row(row).double().sum()) for row in distinct}
    sides = {"chosen": rows[: len(pairs)], "rejected": rows[len(pairs) :]}
    arrays = {
        f"{name}_{what}": np.array([values[row] for row in side])
        for name, side in sides.items()
        for what, values in (("policy", policy), ("reference", known))
    }
    lengths = {f"{name}_length": np.array([len(row[1]) for row in side]) for name, side in sides.items()}
    return preference_metrics(**arrays, **lengths, reward=reward, split=spec.split)

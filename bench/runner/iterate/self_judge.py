"""The policy as its own judge (self-rewarding, arXiv 2401.10020): an additive score of 0 to 5 points.

The rubric says in our words what Figure 2 of that paper asks for: a point each for relevance, coverage, usefulness,
clear and complete writing to the asker, and an answer of an expert without anything too much.
"""

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.data.collate import longest_of
from bench.data.embedded_ids import refuse_beyond
from bench.data.tokens import Ids
from bench.errors import UsageError
from bench.evaluate.judges.base import Verdict
from bench.evaluate.judges.templates import FIELDS, prompt_ids
from bench.models.context import context_length
from bench.models.embedding_rows import embedded
from bench.runner.iterate.labels import ScoreAnswers, stated_score

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

RUBRIC = """\
Grade the answer to the request. Start at 0 and add a point for each line that holds:
1. it has to do with the request, even if not whole or with more beside;
2. it covers much of what was asked, if not all;
3. it gives what is needed in the main, and is of use;
4. it is written to the asker, clear, complete and well ordered, with little to better;
5. it fits the asker exactly, with real knowledge and nothing too much.

Request: {instruction}

Answer: {output_1}

"""
REASONS = 'Give your reasons in up to 100 words. End with "Score: N", N from 0 to 5.'
AT_ONCE = "The sum of the points, from 0 to 5:"
ANSWER = "Score:"
POINTS = 6
SCORE = re.compile(r"score:\W*([0-5](?:\.\d+)?)(?![\d.]*\d)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class SelfJudging:
    """How a policy judges itself.

    ``judgements``: sampled ones of each answer, whose mean is its score; 0: none is sampled, and the score is the
    expectation over the six digits' probabilities after «Score:». ``tokens``: the longest judgement.
    """

    judgements: int = 3
    temperature: float = 0.7
    tokens: int = 192

    @property
    def identity(self) -> str:
        """Hash of all that decides a score but the policy and the noise."""
        template = RUBRIC + (REASONS if self.judgements else AT_ONCE)
        parts = f"{template}\0{self.judgements}\0{self.temperature}\0{self.tokens}"
        return hashlib.sha256(parts.encode()).hexdigest()


def self_scores(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", judging: SelfJudging, *, seed: Sequence[int]
) -> ScoreAnswers:
    """Return how ``model`` scores answers.

    Args:
        seed: whole numbers that name the noise of sampled judgements.

    Raises:
        UsageError: the tokenizer does not tell the digits apart.
    """
    digits = None if judging.judgements else _digit_tokens(tokenizer)

    def score(part: Sequence[tuple[str, str]], number: int) -> list[Verdict]:
        prompts = [_judge_prompt(tokenizer, one, answer, reasons=digits is None) for one, answer in part]
        for place, ids in enumerate(prompts, start=1):
            where = f"the policy as judge, part {number}, answer {place}"
            refuse_beyond(ids, tokenizer, embedded(model), where=where)
        if digits is not None:
            return _expected(model, prompts, *digits)
        return _sampled(model, tokenizer, prompts, judging, seed=[*seed, number])

    return score


def read_score(judgement: str) -> float | None:
    """Return the last «Score: N» of a judgement, 0 to 5; None where it says none."""
    scores = [float(number) for number in SCORE.findall(judgement)]
    return scores[-1] if scores and scores[-1] < POINTS - 1 + 1e-9 else None


def _judge_prompt(tokenizer: "PreTrainedTokenizerBase", request: str, answer: str, *, reasons: bool) -> list[int]:
    values = {"instruction": request, "output_1": answer}
    text = FIELDS.sub(lambda match: values[match.group(1)], RUBRIC) + (REASONS if reasons else AT_ONCE)
    return prompt_ids(tokenizer, (("user", text),))


def _digit_tokens(tokenizer: "PreTrainedTokenizerBase") -> tuple[Ids, list[Ids]]:
    """Return what «Score: 0» … «Score: 5» all begin with, and how each goes on: a digit may be several tokens."""
    texts = [f"{ANSWER} {points}" for points in range(POINTS)]
    each = [tuple(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    shared = 0
    while all(len(ids) > shared and ids[shared] == each[0][shared] for ids in each):
        shared += 1
    ends = [ids[shared:] for ids in each]
    if len(set(ends)) < POINTS or not all(ends):
        raise UsageError("the policy's tokenizer does not tell the digits 0 to 5 apart", fix="--judgements 3")
    return each[0][:shared], ends


def _expected(model: "PreTrainedModel", prompts: Sequence[list[int]], begin: Ids, ends: Sequence[Ids]) -> list[Verdict]:
    """Score each prompt by the mean of the digits, weighted by the probability that the model goes on with each."""
    from bench.models.logprobs import CompletionLogProbs
    from bench.models.reference_cache import compute

    beginnings = [(*ids, *begin) for ids in prompts]
    fits = [len(prompt) + max(map(len, ends)) <= _context(model) for prompt in beginnings]
    rows = [(prompt, end) for prompt, fit in zip(beginnings, fits, strict=True) if fit for end in ends]
    scored = CompletionLogProbs(model, packed=True, longest=longest_of(rows))
    logps = [float(x.double().sum()) for x in compute(rows, scored, pad_id=0, precision="fp32", batch=8 * POINTS)]
    verdicts, at = [], 0
    for prompt, fit in zip(beginnings, fits, strict=True):
        if not fit:
            verdicts.append(_too_long(len(prompt), model))
            continue
        chances = np.exp(np.array(logps[at : at + POINTS]))
        at += POINTS
        value = float((chances * np.arange(POINTS)).sum() / chances.sum()) if chances.sum() > 0 else math.nan
        verdicts.append(
            Verdict(first_better=None, outcome="failed", text=stated_score(None, "the log-probs are no numbers"))
            if math.isnan(value)
            else Verdict(
                first_better=None, text=stated_score(value), mass=float(chances.sum()), prompt_tokens=len(prompt)
            )
        )
    return verdicts


def _sampled(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[list[int]],
    judging: SelfJudging,
    *,
    seed: Sequence[int],
) -> list[Verdict]:
    from bench.core.samples import spoken
    from bench.evaluate.sampling import sample
    from bench.models.end_tokens import end_ids

    fits = [len(ids) + judging.tokens <= _context(model) for ids in prompts]
    rows = [ids for ids, fit in zip(prompts, fits, strict=True) if fit for _ in range(judging.judgements)]
    judgements: list[str] = []
    lengths: list[int] = []
    if rows:
        drawn = sample(
            model,
            rows,
            max_tokens=judging.tokens,
            temperature=judging.temperature,
            seed=int(np.random.default_rng(list(seed)).integers(2**62)),
            end_ids=end_ids(model, tokenizer),
            batch=64,
        )
        judgements = tokenizer.batch_decode(spoken(drawn), skip_special_tokens=True)
        lengths = [len(ids) for ids in drawn.completions]
    verdicts, at = [], 0
    for ids, fit in zip(prompts, fits, strict=True):
        if not fit:
            verdicts.append(_too_long(len(ids), model, more=judging.tokens))
            continue
        own = slice(at, at + judging.judgements)
        verdicts.append(_mean(judgements[own], prompt_tokens=len(ids) * judging.judgements, written=sum(lengths[own])))
        at += judging.judgements
    return verdicts


def _mean(judgements: Sequence[str], *, prompt_tokens: int, written: int) -> Verdict:
    """Return the mean of the judgements that end in a score; malformed where none does."""
    scores = [score for score in map(read_score, judgements) if score is not None]
    value = math.fsum(scores) / len(scores) if scores else None
    return Verdict(
        first_better=None,
        outcome="malformed" if value is None else "judged",
        text=stated_score(value, judgements[0]),
        prompt_tokens=prompt_tokens,
        completion_tokens=written,
    )


def _context(model: "PreTrainedModel") -> float:
    return context_length(model.config) or math.inf


def _too_long(tokens: int, model: "PreTrainedModel", *, more: int = 1) -> Verdict:
    words = f"{tokens} tokens and a judgement of {more} exceed the context of {_context(model):g}"
    return Verdict(first_better=None, outcome="failed", text=stated_score(None, words))

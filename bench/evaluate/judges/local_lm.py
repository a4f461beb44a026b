"""Judge by a local causal LM with a prompt template: the probabilities of the two answers' tokens."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.embedded_ids import refuse_beyond
from bench.errors import UsageError
from bench.evaluate.judges.base import AnswerPair, Judge, Messages, Verdict, Window
from bench.evaluate.judges.config import JudgeSpec
from bench.evaluate.judges.loading import local_causal, model_identity
from bench.evaluate.judges.mt_bench import TOKENS
from bench.evaluate.judges.soft_verdict import VERSION, answer_tokens
from bench.evaluate.judges.templates import Template, fill_template, prompt_ids, read_words, template_of
from bench.evaluate.sampling import context_length
from bench.models.embedding_rows import embedded
from bench.models.end_tokens import end_ids, end_ids_of_settings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

EXPLANATION = 256
"""Tokens that an explanation with its verdict needs at least; where the context has more, it may have them."""


def language_model_judge(folder: Path, spec: JudgeSpec) -> Judge:
    """Return a causal LM as judge: P(first word is the first answer) among the two, or its words read after greedy
    generation where the template lets it explain first.

    Raises:
        UsageError: not a model's folder, or answers that the tokenizer does not tell apart at their first token; later
            a text with a token that the model has no embedding for.
        RunError: the model cannot be loaded.
    """
    template = template_of(spec.template, answers=spec.answers)
    model, tokenizer = local_causal(folder)
    embeddings = embedded(model)
    limit, grade_limit = spec.max_tokens or template.tokens, spec.max_tokens or TOKENS
    tokens = _answer_tokens(model, tokenizer, template) if template.direct else None

    def compare(pairs: Sequence[AnswerPair]) -> Iterator[tuple[int, Verdict]]:
        for number, pair in enumerate(pairs):
            ids = prompt_ids(tokenizer, fill_template(template, pair))
            refuse_beyond(ids, tokenizer, embeddings, where=f"judge {folder.name}, pair {number + 1}")
            if tokens is not None:
                yield number, _by_probability(model, ids, tokens)
            else:
                spoken = _spoken(model, tokenizer, ids, limit=limit)
                yield number, spoken if spoken.outcome == "failed" else read_words(spoken.text, template)

    def grade(prompts: Sequence[Messages]) -> Iterator[tuple[int, Verdict]]:
        for number, messages in enumerate(prompts):
            ids = prompt_ids(tokenizer, messages)
            refuse_beyond(ids, tokenizer, embeddings, where=f"judge {folder.name}, prompt {number + 1}")
            yield number, _spoken(model, tokenizer, ids, limit=grade_limit)

    def taken(pair: AnswerPair) -> int:
        own = 1 if template.direct else min(limit, EXPLANATION)
        return len(prompt_ids(tokenizer, fill_template(template, pair))) + own

    parts = ["lm", model_identity(folder), template.messages, template.answers, limit]
    parts += [VERSION] if template.direct else []
    ends = end_ids(model, tokenizer)
    if ends != end_ids_of_settings(model):
        parts.append(sorted(ends))
    return Judge(
        name=spec.name or folder.name,
        identity=hashlib.sha256(json.dumps(parts).encode()).hexdigest(),
        ordered=True,
        compare=compare,
        grade=grade,
        soft=template.direct,
        grade_limit=grade_limit,
        window=Window(context=context_length(model), tokens=taken),
    )


def _answer_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, template: Template
) -> tuple[list[int], list[int]]:
    """Return the tokens that carry each answer; where none is the whole word, the first one of how it is written."""
    whole = answer_tokens(tokenizer.get_vocab(), template.answers, size=model.config.get_text_config().vocab_size)
    first, second = (
        ids or tokenizer(answer, add_special_tokens=False)["input_ids"][:1]
        for ids, answer in zip(whole, template.answers, strict=True)
    )
    if not first or not second or set(first) & set(second):
        raise UsageError(
            f"the judge's tokenizer does not tell the answers {template.answers} apart at their first token",
            fix='choose others with answers = ["A", "B"] in the TOML file, and a template that asks for them',
        )
    return first, second


def _by_probability(model: PreTrainedModel, ids: list[int], tokens: tuple[list[int], list[int]]) -> Verdict:
    import torch

    if too_long := _too_long(model, ids, more=1):
        return too_long
    with torch.no_grad():
        logits = model(torch.tensor([ids], device=model.device), logits_to_keep=1).logits[0, -1].float()
    logps = logits.log_softmax(-1).double()
    chances = torch.stack([logps[of_one].logsumexp(0) for of_one in tokens])
    value = float((chances[0] - chances[1]).sigmoid())
    if math.isnan(value):
        return Verdict(first_better=None, outcome="failed", text="the model's logits are NaN")
    return Verdict(first_better=value, mass=float(chances.exp().sum()), prompt_tokens=len(ids))


def _spoken(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ids: list[int], *, limit: int) -> Verdict:
    import torch

    if too_long := _too_long(model, ids, more=min(limit, EXPLANATION)):
        return too_long
    limit = int(min(limit, context_length(model) - len(ids)))
    input_ids, ends = torch.tensor([ids], device=model.device), end_ids(model, tokenizer)
    with torch.no_grad():
        made = model.generate(
            input_ids,
            attention_mask=torch.ones_like(input_ids),
            max_new_tokens=limit,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=sorted(ends),
        )[0, len(ids) :].tolist()
    text = tokenizer.decode(made[:-1] if made and made[-1] in ends else made, skip_special_tokens=True)
    return Verdict(first_better=None, text=text, prompt_tokens=len(ids), completion_tokens=len(made))


def _too_long(model: PreTrainedModel, ids: list[int], *, more: int) -> Verdict | None:
    context = context_length(model)
    if len(ids) + more <= context:
        return None
    return Verdict(
        first_better=None, outcome="failed", text=f"{len(ids)} tokens and an answer of {more} exceed its {context}"
    )

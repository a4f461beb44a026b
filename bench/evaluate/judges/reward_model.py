"""Judges that score each text by itself: the suite's gold reward, and a reward model in a folder."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.core.assets import SUITES
from bench.data.embedded_ids import refuse_beyond
from bench.errors import UsageError
from bench.evaluate.judges.base import AnswerPair, Judge, Verdict, Window
from bench.evaluate.sampling import context_length
from bench.models.embedding_rows import embedded

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Score = Callable[[Sequence[tuple[str, str]]], NDArray[np.float64]]
"""Scores of (instruction, answer), ``[answers]``; NaN where one cannot be scored."""


def gold_judge(*, name: str | None = None) -> Judge:
    """Return the gold reward of suite sentiment: the instruction is a beginning, the answer how it goes on.

    Raises RunError: the installed gold reward is damaged.
    """
    from bench.evaluate.gold_reward import load_gold

    folder = SUITES / "sentiment" / "gold"
    gold = load_gold(folder)

    def score(texts: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
        return gold.score([instruction + answer for instruction, answer in texts])

    stored = hashlib.sha256((folder / "classifier.safetensors").read_bytes()).hexdigest()
    return scored_judge(name or "gold", score, identity=f"gold\0{stored}", soft=False)


def reward_judge(folder: Path, *, name: str | None = None, text: str, soft: bool = False) -> Judge:
    """Return a reward model: a sequence classifier of transformers with one output, or two (the second is «good»).

    With a chat template it reads a dialogue of one question and its answer, else ``text`` with {instruction} and
    {output} filled in. The better score wins outright, equal ones tie; ``soft``: σ(difference), as Bradley and Terry.

    Raises:
        UsageError: not a folder of such a model, or a text without both fields; later a text with a token that the
            model has no embedding for.
    """
    from bench.evaluate.judges.loading import local_classifier, model_identity

    if "{output}" not in text or "{instruction}" not in text:
        raise UsageError(f"reward model {folder}: text {text!r} lacks a field", fix="'{instruction}\\n\\n{output}'")
    model, tokenizer = local_classifier(folder)
    embeddings = embedded(model)
    templated = getattr(tokenizer, "chat_template", None) is not None

    def score(texts: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
        scores = []
        for number, pair in enumerate(texts, start=1):
            ids = _input_ids(tokenizer, text, *pair, templated=templated)
            refuse_beyond(ids[0].tolist(), tokenizer, embeddings, where=f"judge {folder.name}, text {number}")
            scores.append(_score_one(model, ids))
        return np.array(scores)

    def taken(pair: AnswerPair) -> int:
        sides = ((pair.instruction, answer) for answer in (pair.first, pair.second))
        return max(_input_ids(tokenizer, text, *side, templated=templated).shape[1] for side in sides)

    identity = "\0".join(("reward", model_identity(folder), "" if templated else text, str(soft)))
    judge = scored_judge(name or folder.name, score, identity=identity, soft=soft)
    return replace(judge, window=Window(context=context_length(model), tokens=taken, answers=1))


def scored_judge(name: str, score: Score, *, identity: str, soft: bool = False) -> Judge:
    """Return the judge that prefers what ``score`` gives more; ``soft``: by σ(difference). Equal scores tie."""

    def compare(pairs: Sequence[AnswerPair]) -> Iterator[tuple[int, Verdict]]:
        for number, pair in enumerate(pairs):
            first, second = score([(pair.instruction, pair.first), (pair.instruction, pair.second)])
            yield number, _verdict(float(first - second), soft=soft)

    return Judge(
        name=name,
        identity=hashlib.sha256(identity.encode()).hexdigest(),
        ordered=False,
        compare=compare,
        score=score,
    )


def _verdict(difference: float, *, soft: bool) -> Verdict:
    if math.isnan(difference):
        return Verdict(first_better=None, outcome="failed", text="no score: longer than the model's context, or NaN")
    if soft:
        return Verdict(first_better=0.5 * (1.0 + math.tanh(difference / 2.0)))
    return Verdict(first_better=0.5 + 0.5 * float(np.sign(difference)))


def _input_ids(
    tokenizer: PreTrainedTokenizerBase, text: str, instruction: str, answer: str, *, templated: bool
) -> Tensor:
    """Return the token ids of an instruction and its answer, ``[1, tokens]``."""
    if templated:
        messages = [{"role": "user", "content": instruction}, {"role": "assistant", "content": answer}]
        encoded = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, return_tensors="pt")
        return encoded["input_ids"]
    head, _, tail = text.partition("{instruction}")
    whole = head.replace("{output}", answer) + instruction + tail.replace("{output}", answer)
    return tokenizer(whole, return_tensors="pt")["input_ids"]


def _score_one(model: PreTrainedModel, input_ids: Tensor) -> float:
    import torch

    if input_ids.shape[1] > context_length(model):
        return math.nan
    with torch.no_grad():
        logits = model(input_ids=input_ids.to(model.device)).logits[0].float()
    return float(logits[0] if len(logits) == 1 else logits[1] - logits[0])

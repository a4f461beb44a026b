"""Held-out prompts and pairs of the user's data, as judges see them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.artifacts import Note
from bench.data.contamination import contamination
from bench.data.embedded_ids import refuse_beyond
from bench.data.encoded_splits import EncodedSplits
from bench.data.rows import Message
from bench.data.template import prompt_messages_ids, text_ids, with_bos
from bench.data.template_tokens import refuse_template_tokens, template_tokens
from bench.data.tokens import EncodedPair, Ids, pairs_in
from bench.errors import UsageError
from bench.evaluate.judges.answers import read_records
from bench.evaluate.judges.base import AnswerPair
from bench.suites.protocol import EVALUATION_SPLITS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class EvaluationPrompts:
    """One held-out split: distinct prompts as token ids and as text, and pairs of answers as text.

    The preferred answer of a pair is the first one; unpaired data have no pairs.
    """

    prompts: tuple[Ids, ...]
    instructions: tuple[str, ...]
    held_out: tuple[AnswerPair, ...]

    def first(self, count: int) -> EvaluationPrompts:
        """Return the first ``count`` of each."""
        return EvaluationPrompts(
            prompts=self.prompts[:count],
            instructions=self.instructions[:count],
            held_out=self.held_out[:count],
        )


def evaluation_prompts(
    parts: EncodedSplits, tokenizer: PreTrainedTokenizerBase, *, prompts: Path | None, embeddings: int
) -> dict[str, EvaluationPrompts]:
    """Return the prompts and pairs of validation and test.

    Args:
        prompts: a file of instructions to report on, in place of the data's own test prompts.
        embeddings: how many token ids the model reads.

    Raises:
        UsageError: a part without rows, or a file without instructions.
    """
    rows = {split: parts.split.parts[split].rows for split in ("train", *EVALUATION_SPLITS)}
    empty = [split for split, of_split in rows.items() if not of_split]
    if empty:
        raise UsageError(
            f"the data leave no prompt for {' and '.join(empty)}", fix="give at least ten rows with different prompts"
        )
    splits = {}
    for split in EVALUATION_SPLITS:
        texts = {row.prompt_ids: parts.words[row.prompt_ids] for row in rows[split]}
        if split == "test" and prompts is not None:
            texts = _from_file(prompts, tokenizer, embeddings)
        splits[split] = EvaluationPrompts(
            prompts=tuple(texts),
            instructions=tuple(texts.values()),
            held_out=_answer_pairs(pairs_in(rows[split]), parts.words, tokenizer),
        )
    return splits


def note_overlap(parts: EncodedSplits, prompts: Mapping[str, EvaluationPrompts], *, note: Note) -> None:
    """Report how many test prompts share runs of words with training prompts; report nothing where none do."""
    trained_on = dict.fromkeys(row.prompt_ids for row in parts.split.parts["train"].rows)
    overlap = contamination([parts.words[ids] for ids in trained_on], prompts["test"].instructions)
    if overlap.touched:
        counts = f"{overlap.exact} are training prompts, {overlap.mostly} mostly so (by runs of {overlap.run} words)"
        note(
            f"contamination: of {overlap.evaluation} test prompts {counts}, {overlap.touched} share a run with one; "
            "`bench data describe --against` shows them"
        )


def content_of(parts: EncodedSplits, prompts: Mapping[str, EvaluationPrompts]) -> str:
    """Return the SHA-256 of everything held out."""
    content = [[prompts[split].prompts, parts.split.parts[split].content_hash] for split in EVALUATION_SPLITS]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def answer_texts(answers: Sequence[Ids], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return answers as text, stripped as sampled answers are: the template's tokens after them do not count."""
    if not answers:  # of no rows transformers makes one text
        return []
    return [text.strip() for text in tokenizer.batch_decode(list(map(list, answers)), skip_special_tokens=True)]


def _answer_pairs(
    pairs: Sequence[EncodedPair], texts: Mapping[Ids, str], tokenizer: PreTrainedTokenizerBase
) -> tuple[AnswerPair, ...]:
    better = answer_texts([pair.chosen_ids for pair in pairs], tokenizer)
    worse = answer_texts([pair.rejected_ids for pair in pairs], tokenizer)
    return tuple(
        AnswerPair(instruction=texts[pair.prompt_ids], first=one, second=other)
        for pair, one, other in zip(pairs, better, worse, strict=True)
    )


def _from_file(path: Path, tokenizer: PreTrainedTokenizerBase, embeddings: int) -> dict[Ids, str]:
    """Return the instructions of a file by token ids: as a user's one turn, or as plain text without a template."""
    instructions: dict[Ids, str] = {}
    marks = template_tokens(tokenizer)
    for number, record in enumerate(read_records(path), start=1):
        text = record.get("instruction", record.get("prompt"))
        where = f"{path}, record {number}"
        if not isinstance(text, str) or not text.strip():
            raise UsageError(f"{where}: it has no instruction", fix='write {"instruction": "…"} a record')
        if getattr(tokenizer, "chat_template", None) is None:
            ids = with_bos(text_ids([text], tokenizer)[text], tokenizer, where=where)
        else:
            turn: Message = {"role": "user", "content": text}
            refuse_template_tokens([turn], marks, where=where)
            ids = prompt_messages_ids([turn], tokenizer, where=where)
        refuse_beyond(ids, tokenizer, embeddings, where=where)
        instructions.setdefault(ids, text)
    return instructions

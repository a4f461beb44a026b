"""Held-out prompts and pairs of the user's data, as judges see them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.core.artifacts import Note
from bench.data.cache import remembered
from bench.data.contamination import MOSTLY, RUN, Sought, contamination
from bench.data.crew import crew_size, in_order
from bench.data.digests import first_places
from bench.data.embedded_ids import refuse_beyond
from bench.data.encoded_splits import EncodedSplits
from bench.data.near_duplicates import normalised
from bench.data.rows import Message, words_of
from bench.data.stored_rows import RowChunk
from bench.data.stored_tokens import TokenRows
from bench.data.template import prompt_messages_ids, text_ids, with_bos
from bench.data.template_tokens import refuse_template_tokens, template_tokens
from bench.data.tokens import Encoded, EncodedPair, Ids, pairs_in
from bench.data.watch import watched
from bench.errors import UsageError
from bench.evaluate.judges.answers import read_records
from bench.evaluate.judges.base import AnswerPair
from bench.suites.protocol import EVALUATION_SPLITS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class EvaluationPrompts:
    """One held-out split: distinct prompts as token ids and as text, and pairs of answers as text.

    The preferred answer of a pair is the first one; unpaired data have no pairs. ``own``: the prompts are the data's.
    """

    prompts: tuple[Ids, ...]
    instructions: tuple[str, ...]
    held_out: tuple[AnswerPair, ...]
    own: bool = True

    def first(self, count: int) -> EvaluationPrompts:
        """Return the first ``count`` of each."""
        return EvaluationPrompts(
            prompts=self.prompts[:count],
            instructions=self.instructions[:count],
            held_out=self.held_out[:count],
            own=self.own,
        )


def evaluation_prompts(
    parts: EncodedSplits, tokenizer: PreTrainedTokenizerBase, *, prompts: Path | None, embeddings: int, most: int
) -> dict[str, EvaluationPrompts]:
    """Return the prompts and pairs of validation and test.

    Args:
        most: prompts and pairs that are used of a part that lies on disk; of others all are returned.
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
        part = rows[split]
        pairs = pairs_in(part[:most] if isinstance(part, TokenRows) else part)
        if isinstance(part, TokenRows):
            part = part.take(first_places(part.group)[:most])
        texts = {row.prompt_ids: parts.words[row.prompt_ids] for row in part}
        if split == "test" and prompts is not None:
            texts = _from_file(prompts, tokenizer, embeddings)
        splits[split] = EvaluationPrompts(
            prompts=tuple(texts),
            instructions=tuple(texts.values()),
            held_out=_answer_pairs(pairs, parts.words, tokenizer),
            own=split != "test" or prompts is None,
        )
    return splits


def note_overlap(parts: EncodedSplits, prompts: Mapping[str, EvaluationPrompts], *, note: Note) -> None:
    """Report how many test prompts share runs of words with training prompts; report nothing where none do."""
    train, instructions = parts.split.parts["train"].rows, prompts["test"].instructions
    if isinstance(train, TokenRows):
        overlap = _overlap_on_disk(parts, train, instructions)
    else:
        trained_on = dict.fromkeys(row.prompt_ids for row in train)
        whole = contamination([parts.words[ids] for ids in trained_on], instructions)
        overlap = (whole.evaluation, whole.exact, whole.mostly, whole.touched)
    evaluation, exact, mostly, touched = overlap
    if touched:
        counts = f"{exact} are training prompts, {mostly} mostly so (by runs of {RUN} words)"
        note(
            f"contamination: of {evaluation} test prompts {counts}, {touched} share a run with one; "
            "`bench data describe --against` shows them"
        )


def content_of(parts: EncodedSplits, prompts: Mapping[str, EvaluationPrompts]) -> str:
    """Return the SHA-256 of everything held out."""
    held_out = {split: parts.split.parts[split] for split in EVALUATION_SPLITS}
    if not any(isinstance(each.rows, TokenRows) for each in held_out.values()):
        return _content(held_out, prompts)
    key = [text for split in EVALUATION_SPLITS for text in (held_out[split].content_hash, str(prompts[split].prompts))]
    return remembered("held-out", key, lambda: _content(held_out, prompts))


def _content(held_out: Mapping[str, Encoded], prompts: Mapping[str, EvaluationPrompts]) -> str:
    """Hash a JSON list of each split's prompts and content hash, one prompt after another."""
    digest = hashlib.sha256()
    before = "["
    for split in EVALUATION_SPLITS:
        part = held_out[split]
        ids: Iterable[Ids] = prompts[split].prompts
        if prompts[split].own and isinstance(part.rows, TokenRows):
            ids = (row.prompt_ids for row in part.rows.take(first_places(part.rows.group)))
        digest.update(f"{before}[[".encode())
        for place, each in enumerate(ids):
            digest.update(f"{', ' if place else ''}{json.dumps(each)}".encode())
        digest.update(f"], {json.dumps(part.content_hash)}]".encode())
        before = ", "
    digest.update(b"]")
    return digest.hexdigest()


def _overlap_on_disk(parts: EncodedSplits, train: TokenRows, instructions: Sequence[str]) -> tuple[int, int, int, int]:
    """Return the counts of a ``Contamination``: evaluation, exact, mostly, touched; remembered for the same rows."""
    key = [parts.split.parts["train"].content_hash, json.dumps(instructions)]
    text = remembered("overlap", key, lambda: json.dumps(_count_overlap(parts, train, instructions)))
    evaluation, exact, mostly, touched = json.loads(text)
    return evaluation, exact, mostly, touched


def _count_overlap(parts: EncodedSplits, train: TokenRows, instructions: Sequence[str]) -> list[int]:
    sought = Sought(instructions)
    equal: set[str] = set()
    runs: set[tuple[str, ...]] = set()
    total = len(np.unique(train.group))
    with watched("test prompts among training prompts", total=total) as progress:
        for rows in parts.on_disk.rows_of(train):
            for count, own, hits in in_order(_hits, sought, rows.chunks(), processes=crew_size()):
                progress.advance(count)
                equal |= own
                runs |= hits
    shares = [(len(own & runs) / len(own) if own else 0.0) for own in sought.runs_of]
    mostly = sum(text in equal or share >= MOSTLY for text, share in zip(sought.prompts, shares, strict=True))
    touched = sum(text in equal or share > 0 for text, share in zip(sought.prompts, shares, strict=True))
    return [len(sought.prompts), len(equal), mostly, touched]


def _hits(sought: Sought, chunk: RowChunk) -> tuple[int, frozenset[str], set[tuple[str, ...]]]:
    texts = [normalised(words_of(row.prompt)) for row in chunk.rows()]
    return len(texts), sought.texts & set(texts), {run for text in texts for run in sought.runs_in(text)}


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

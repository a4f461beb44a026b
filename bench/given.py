"""Owns what a user brings to a suite without assets of its own: data parted by prompt, and what judges are shown."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bench.data.encode import Encoded, encode, split_by_prompt
from bench.data.preferences import Preferences, Single
from bench.data.rows import Message, Text
from bench.data.template import prompt_messages_ids, text_ids, with_bos
from bench.data.tokens import pairs_in, singles_in
from bench.errors import UsageError
from bench.judges.fitted import Labelled, fitted_judge
from bench.judges.specification import JudgeSpec, judge_of, judge_spec
from bench.judges.verdict import Judge
from bench.judges.verdict import Pair as Shown

FRACTIONS = (0.8, 0.1, 0.1)
"""Share of a user's own prompts that is trained on, selected by and reported on."""
SPLITS = ("train", "validation", "test")
OWN_JUDGES = ("fitted", "start")
"""Judges that a run brings itself: a reward fitted on its training data, and its start model."""
Prompts = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Given:
    """The user's data in three parts, and the distinct prompts of each held-out part: token ids and words.

    ``held_out`` are the held-out pairs in words, the preferred answer first; none where the data is unpaired.
    ``content`` is the SHA-256 of everything held out.
    """

    parts: Mapping[str, Encoded]
    prompts: Mapping[str, Prompts]
    instructions: Mapping[str, tuple[str, ...]]
    held_out: Mapping[str, tuple[Shown, ...]]
    content: str


def part_given(preferences: Preferences, tokenizer: Any, *, max_length: int, test_prompts: Path | None) -> Given:
    """Part preferences by prompt (80 : 10 : 10) and encode each part.

    Args:
        test_prompts: a file of instructions to report on, in place of the data's own test prompts.

    Raises:
        UsageError: as ``encode``; or too few prompts for three parts.
    """
    raw = dict(zip(SPLITS, split_by_prompt(preferences, fractions=FRACTIONS, seed=0), strict=True))
    short = [split for split in SPLITS if not raw[split].rows]
    if short:
        raise UsageError(
            f"{preferences.source} leaves no prompt for {' and '.join(short)}",
            fix="give at least ten rows with different prompts",
        )
    parts = {split: encode(part, tokenizer, max_length=max_length) for split, part in raw.items()}
    found = {split: _distinct(raw[split], parts[split]) for split in SPLITS[1:]}
    if test_prompts is not None:
        found["test"] = _from_file(test_prompts, tokenizer)
    held_out = {split: _shown(raw[split]) for split in SPLITS[1:]}
    content = [[found[split], parts[split].content_hash] for split in SPLITS[1:]]
    return Given(
        parts=parts,
        prompts={split: tuple(ids for ids, _ in each) for split, each in found.items()},
        instructions={split: tuple(text for _, text in each) for split, each in found.items()},
        held_out=held_out,
        content=hashlib.sha256(json.dumps(content).encode()).hexdigest(),
    )


def words_of(prompt: Text) -> str:
    """What a judge is shown of a prompt: a single question as it is, a longer dialogue turn by turn."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return prompt[0]["content"]
    return "\n\n".join(f"{turn['role'].capitalize()}: {turn['content']}" for turn in prompt)


def judges_of(names: Sequence[str], *, model: Path, train: Encoded, tokenizer: Any, source: str) -> tuple[Judge, ...]:
    """Make judges from their names: ``fitted``, ``start``, or as ``bench evaluate --judge`` takes them.

    Raises:
        UsageError: no judge, one that cannot be made, or two of one name.
    """
    if not names:
        raise UsageError("there is no judge", fix="--judge fitted")
    made = []
    for name in names:
        if name == "fitted":
            made.append(fitted_judge(_labelled(train, tokenizer), source=source))
        elif name == "start":
            made.append(judge_of(JudgeSpec(kind="lm", folder=model, name="start")))
        else:
            made.append(judge_of(judge_spec(name)))
    called = [judge.name for judge in made]
    double = next((name for name in called if called.count(name) > 1), None)
    if double is not None:
        raise UsageError(f"two judges are called {double!r}", fix="give one of them a name in a TOML file")
    return tuple(made)


def _labelled(train: Encoded, tokenizer: Any) -> Labelled:
    def texts(ids: Sequence[Sequence[int]]) -> list[str]:
        return [text.strip() for text in tokenizer.batch_decode(list(map(list, ids)), skip_special_tokens=True)]

    pairs, singles = pairs_in(train.rows), singles_in(train.rows)
    if pairs:
        return Labelled(
            prompts=[pair.group for pair in pairs],
            better=texts([pair.chosen_ids for pair in pairs]),
            worse=texts([pair.rejected_ids for pair in pairs]),
        )
    return Labelled(
        prompts=[single.group for single in singles],
        better=texts([single.completion_ids for single in singles]),
        desirable=[single.desirable for single in singles],
    )


def _distinct(raw: Preferences, encoded: Encoded) -> list[tuple[tuple[int, ...], str]]:
    """Each prompt once, in order: its ids, and its words."""
    words = (words_of(one.prompt) for one in raw.rows)
    return list(dict(zip((row.prompt_ids for row in encoded.rows), words, strict=True)).items())


def _shown(raw: Preferences) -> tuple[Shown, ...]:
    return tuple(
        Shown(instruction=words_of(row.prompt), first=words_of(row.chosen), second=words_of(row.rejected))
        for row in raw.rows
        if not isinstance(row, Single)
    )


def _from_file(path: Path, tokenizer: Any) -> list[tuple[tuple[int, ...], str]]:
    """Instructions of a file of records, encoded as a user's one turn, or as plain text without a chat template."""
    from bench.judges.answers import read_records

    found: dict[tuple[int, ...], str] = {}
    for number, record in enumerate(read_records(path), start=1):
        text = record.get("instruction", record.get("prompt"))
        where = f"{path}, record {number}"
        if not isinstance(text, str) or not text.strip():
            raise UsageError(f"{where}: it has no instruction", fix='write {"instruction": "…"} a record')
        if getattr(tokenizer, "chat_template", None) is None:
            ids = with_bos(text_ids([text], tokenizer)[text], tokenizer, where=where)
        else:
            turn = cast(Message, {"role": "user", "content": text})
            ids = prompt_messages_ids([turn], tokenizer, where=where)
        found.setdefault(ids, text)
    return list(found.items())

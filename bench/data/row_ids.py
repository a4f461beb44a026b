"""Token ids of preference rows, a few hundred at once: plain texts, and dialogues through a chat template."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from jinja2 import TemplateError

from bench.data.crew import parts
from bench.data.filled_templates import TemplateText, odd_dialogues
from bench.data.filters import PreferenceRow
from bench.data.rows import Message, Pair, completions_of
from bench.data.template import Tokenizer, answer_ids, ended, prompt_messages_ids, refuse_double_bos, text_ids, with_bos
from bench.data.template_tokens import AddedToken, refuse_template_tokens, template_tokens
from bench.data.tokens import Ids
from bench.errors import UsageError

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Tokenizers
    from transformers import PreTrainedTokenizerBase

AT_ONCE = 256
CHECKED = 4
"""Rows of each set that are also encoded in the slow way: one that differs sends all that way."""
_AS_TEXT = "; --set data.form=text trains the text as it stands"
Messages = tuple[Message, ...]


@dataclass(frozen=True, kw_only=True)
class RowIds:
    """One row in ids, of any length. ``completions`` are by field name; ``label`` is None for a pair.

    ``where`` names file and row in errors.
    """

    where: str
    prompt: Ids
    completions: Mapping[str, Ids]
    label: bool | None
    score_gap: float | None


class RowEncoder:
    """Encodes rows of one source, all plain text or all messages. Raises UsageError as ``bench.data.encode`` says."""

    def __init__(self, tokenizer: Tokenizer, *, source: str, in_text: bool) -> None:
        assert tokenizer.eos_token_id is not None
        self._tokenizer = tokenizer
        self._source = source
        self._in_text = in_text
        # What a template writes after another end of a turn stays, as in TRL: a policy is trained on the text as it is.
        self._ends = frozenset([tokenizer.eos_token_id])
        self._marks = () if in_text else template_tokens(tokenizer)
        self._batch: _Dialogues | None = None
        self._begun = False

    def encode(self, rows: Sequence[PreferenceRow]) -> Iterator[RowIds]:
        """Yield the ids of each row, in order."""
        for some in parts(rows, AT_ONCE):
            if self._in_text:
                yield from self._texts(some)
            else:
                yield from self._dialogues(some)

    def _where(self, row: PreferenceRow) -> str:
        return place_of(row, source=self._source)

    def _texts(self, rows: Sequence[PreferenceRow]) -> Iterator[RowIds]:
        texts = [cast(str, text) for row in rows for text in (row.prompt, *completions_of(row).values())]
        known = text_ids(texts, self._tokenizer)
        for row in rows:
            where = self._where(row)
            completions = {
                name: self._ended_text(known[cast(str, text)], where=f"{where}, field '{name}'")
                for name, text in completions_of(row).items()
            }
            prompt = with_bos(known[cast(str, row.prompt)], self._tokenizer, where=where)
            yield _row(row, where=where, prompt=prompt, completions=completions)

    def _ended_text(self, ids: Ids, *, where: str) -> Ids:
        if not ids:
            raise UsageError(f"{where}: the tokenizer makes no token of the text", fix="remove the row")
        if ids[0] == self._tokenizer.bos_token_id:
            raise UsageError(
                f"{where}: the completion begins with BOS (id {ids[0]})", fix="take BOS out of the completion's text"
            )
        return ended(ids, self._tokenizer, ends=self._ends, templated=False, where=where)

    def _dialogues(self, rows: Sequence[PreferenceRow]) -> Iterator[RowIds]:
        if not self._begun:
            self._begun = True
            self._batch = self._checked_batch(rows[:CHECKED])
        if self._batch is not None:
            try:
                yield from self._in_batch(rows, self._batch)
                return
            except (UsageError, TemplateError, ValueError, TypeError, KeyError):
                pass  # the slow way names the first row that is at fault, as it always did
        for row in rows:
            yield self._one_dialogue(row)

    def _checked_batch(self, rows: Sequence[PreferenceRow]) -> "_Dialogues | None":
        """Return the encoder of many dialogues at once, where it agrees with the slow way; else None."""
        try:
            batch = _Dialogues(self._tokenizer)
            slow = [self._one_dialogue(row) for row in rows]
            return batch if slow == self._in_batch(rows, batch) and batch.agrees() else None
        except (UsageError, TemplateError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def _in_batch(self, rows: Sequence[PreferenceRow], batch: "_Dialogues") -> list[RowIds]:
        self._refuse_marks(rows)
        answers = [completions_of(row) for row in rows]
        dialogues = [
            (cast(Messages, row.prompt), [cast(Messages, answer) for answer in each.values()])
            for row, each in zip(rows, answers, strict=True)
        ]
        encoded = []
        for row, each, (prompt, completions) in zip(rows, answers, batch.encode(dialogues), strict=True):
            where = self._where(row)
            refuse_double_bos(prompt, self._tokenizer, where=where)
            named = {
                name: ended(ids, self._tokenizer, ends=self._ends, templated=True, where=f"{where}, field '{name}'")
                for name, ids in zip(each, completions, strict=True)
            }
            encoded.append(_row(row, where=where, prompt=prompt, completions=named))
        return encoded

    def _one_dialogue(self, row: PreferenceRow) -> RowIds:
        self._refuse_marks([row])
        where, turns = self._where(row), cast(Messages, row.prompt)
        prompt = prompt_messages_ids(turns, self._tokenizer, where=where)
        completions = {}
        for name, answer in completions_of(row).items():
            field = f"{where}, field '{name}'"
            ids = answer_ids(turns, cast(Messages, answer), prompt, self._tokenizer, where=field)
            completions[name] = ended(ids, self._tokenizer, ends=self._ends, templated=True, where=field)
        return _row(row, where=where, prompt=prompt, completions=completions)

    def _refuse_marks(self, rows: Sequence[PreferenceRow]) -> None:
        for row in rows:
            for name, text in {"prompt": row.prompt, **completions_of(row)}.items():
                where = f"{self._where(row)}, field '{name}'"
                refuse_template_tokens(cast(Messages, text), self._marks, where=where, fix=_AS_TEXT)


class _Dialogues:
    """Templated dialogues encoded many at once, each prompt once: its ids begin those of the whole dialogues.

    A special token of the template parts the text, so that what stands after its last one in the prompt can be encoded
    without what stands before it. ``agrees`` compares that with whole dialogues.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._text = TemplateText(cast("PreTrainedTokenizerBase", tokenizer))
        self._borders = _borders(tokenizer)

    def encode(self, dialogues: Sequence[tuple[Messages, Sequence[Messages]]]) -> list[tuple[Ids, list[Ids]]]:
        """Return the ids of each prompt, and after it those of each answer.

        Raises ValueError where a templated prompt is not the beginning of its templated dialogue, and what the
        template raises.
        """
        prompts = self._text.render([prompt for prompt, _ in dialogues], generation=True)
        wholes = self._text.render(
            [(*prompt, *answer) for prompt, answers in dialogues for answer in answers], generation=False
        )
        texts: list[str] = []
        whole = iter(wholes)
        for prompt, (_, answers) in zip(prompts, dialogues, strict=True):
            border = max((prompt.rfind(token) + len(token) for token in self._borders if token in prompt), default=0)
            texts += [prompt[:border], prompt[border:]]
            for _ in answers:
                text = next(whole)
                if not text.startswith(prompt[:border]):
                    raise ValueError("the prompt is not the beginning of the dialogue")
                texts.append(text[border:])
        distinct = list(dict.fromkeys(texts))
        known = dict(zip(distinct, self._ids(distinct), strict=True))
        return list(_cut(iter(texts), known, [len(answers) for _, answers in dialogues]))

    def _ids(self, texts: list[str]) -> Iterator[Ids]:
        backend: "Tokenizers | None" = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is not None and backend.truncation is None and backend.padding is None:
            # The same ids, without the place of each in the text.
            return (tuple(each.ids) for each in backend.encode_batch_fast(texts, add_special_tokens=False))
        return map(tuple, self._tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"])

    def agrees(self) -> bool:
        """Say whether dialogues of odd texts have the same ids as whole ones, encoded one by one."""
        for user, reply, answer in odd_dialogues(("user", "assistant", "assistant")):
            prompt: Messages = (user, reply, user)
            if self._outcome(prompt, (answer,)) != _slow_outcome(prompt, (answer,), self._tokenizer):
                return False
        return True

    def _outcome(self, prompt: Messages, answer: Messages) -> tuple[Ids, Ids] | None:
        try:
            (start, ends), *_ = self.encode([(prompt, [answer])])
        except ValueError:  # no token separates the two
            return None
        return start, ends[0]


def _slow_outcome(prompt: Messages, answer: Messages, tokenizer: Tokenizer) -> tuple[Ids, Ids] | None:
    start = prompt_messages_ids(prompt, tokenizer, where="")
    try:
        return start, answer_ids(prompt, answer, start, tokenizer, where="")
    except UsageError:
        return None


def _cut(texts: Iterator[str], known: Mapping[str, Ids], answers: Sequence[int]) -> Iterator[tuple[Ids, list[Ids]]]:
    for count in answers:
        before, lead = known[next(texts)], known[next(texts)]
        ends = [known[next(texts)] for _ in range(count)]
        if any(end[: len(lead)] != lead for end in ends):
            raise ValueError("no token separates prompt and completion")
        yield (*before, *lead), [end[len(lead) :] for end in ends]


def _borders(tokenizer: Tokenizer) -> list[str]:
    """Return the special tokens at which a text may be parted: each is split off by itself, wherever it stands."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or '"prepend_scheme":"first"' in backend.to_str():
        return []
    added: Mapping[int, AddedToken] = getattr(tokenizer, "added_tokens_decoder", None) or {}
    tokens = list(added.values())
    return [
        token.content
        for token in tokens
        if token.special
        and not (token.lstrip or token.rstrip or token.single_word or token.normalized)
        and not any(other is not token and _overlap(token.content, other.content) for other in tokens)
    ]


def _overlap(one: str, two: str) -> bool:
    """Say whether two tokens can stand in a text with letters in common."""
    ends = range(1, min(len(one), len(two)))
    return one in two or two in one or any(one[-n:] == two[:n] or two[-n:] == one[:n] for n in ends)


def place_of(row: PreferenceRow, *, source: str) -> str:
    """Return how messages name a row: its file and its number there."""
    return f"{source}{f'/{row.shard}' if row.shard else ''}, row {row.id}"


def gap_of(chosen: float | None, rejected: float | None) -> float | None:
    """Return the difference of two scores, None where there is none."""
    return None if chosen is None or rejected is None else chosen - rejected


def _row(row: PreferenceRow, *, where: str, prompt: Ids, completions: dict[str, Ids]) -> RowIds:
    return RowIds(
        where=where,
        prompt=prompt,
        completions=completions,
        label=None if isinstance(row, Pair) else row.label,
        score_gap=gap_of(row.chosen_score, row.rejected_score) if isinstance(row, Pair) else None,
    )

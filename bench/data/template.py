"""Token ids of one row's text or messages, and the check that a token separates prompt and completion."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from jinja2 import TemplateError

from bench.data.end_of_turn import turn_end
from bench.data.rows import Message, shared_length
from bench.data.tokens import Ids
from bench.errors import UsageError
from bench.utils.templates import TemplateLimitError


class Tokenizer(Protocol):
    """What is used of a Hugging Face tokenizer."""

    bos_token_id: int | None
    eos_token_id: int | None
    pad_token_id: int | None

    def __len__(self) -> int: ...

    def __call__(
        self, text: list[str], *, add_special_tokens: bool, verbose: bool
    ) -> Mapping[str, Sequence[Sequence[int]]]:
        """Return ``input_ids`` of each text."""
        ...

    def apply_chat_template(
        self, conversation: list[Message], *, add_generation_prompt: bool, tokenize: bool, return_dict: bool
    ) -> Sequence[int]:
        """Return the ids of a dialogue."""
        ...

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool = False) -> str:
        """Return the text of ids."""
        ...


def text_ids(texts: Iterable[str], tokenizer: Tokenizer) -> dict[str, Ids]:
    """Map each distinct text to its ids, no special token added."""
    distinct = list(dict.fromkeys(texts))
    token_ids = tokenizer(distinct, add_special_tokens=False, verbose=False)["input_ids"]
    return {text: tuple(ids) for text, ids in zip(distinct, token_ids, strict=True)}


def with_bos(ids: Ids, tokenizer: Tokenizer, *, where: str) -> Ids:
    """Begin a plain prompt with BOS, if the tokenizer has one and the text does not write it itself."""
    bos = tokenizer.bos_token_id
    begun = ids if bos is None or ids[:1] == (bos,) else (bos, *ids)
    refuse_double_bos(begun, tokenizer, where=where)
    return begun


def refuse_double_bos(ids: Ids, tokenizer: Tokenizer, *, where: str) -> None:
    """Raise UsageError where the first two ids are both BOS."""
    bos = tokenizer.bos_token_id
    if bos is not None and ids[:2] == (bos, bos):
        raise UsageError(
            f"{where}, field 'prompt': it begins with two BOS tokens (id {bos})",
            fix="take BOS out of the prompt's text, or out of the chat template",
        )


def prompt_messages_ids(messages: Sequence[Message], tokenizer: Tokenizer, *, where: str) -> Ids:
    """Return the templated prompt, up to where the assistant's answer begins."""
    ids = _templated(messages, tokenizer, generation=True, where=f"{where}, field 'prompt'")
    refuse_double_bos(ids, tokenizer, where=where)
    return ids


def answer_ids(
    prompt: Sequence[Message], answer: Sequence[Message], prompt_ids: Ids, tokenizer: Tokenizer, *, where: str
) -> Ids:
    """Return the ids that the templated dialogue has after ``prompt_ids``; ``where`` names the row and the field.

    Raises UsageError unless the templated prompt is, token by token, the beginning of the templated dialogue.
    """
    whole = _templated([*prompt, *answer], tokenizer, generation=False, where=where)
    if whole[: len(prompt_ids)] == prompt_ids:
        return whole[len(prompt_ids) :]
    place = shared_length(prompt_ids, whole)
    one, two = (_token_text(ids, place, tokenizer) for ids in (prompt_ids, whole))
    raise UsageError(
        f"{where}: the chat template's prompt is not the beginning of its dialogue: token {place + 1} is {one} in the "
        f"prompt alone and {two} with the answer, so no token separates prompt and completion",
        fix="use a template whose generation prompt is what it writes before an answer, ending in a special token or "
        "a line break",
    )


def ends_of(tokenizer: Tokenizer) -> frozenset[int]:
    """Return the tokens that end a completion: EOS, and the one with which the chat template ends an answer.

    Raises UsageError where there is no EOS.
    """
    if tokenizer.eos_token_id is None:
        raise UsageError("the tokenizer has no EOS token, so a completion could not end", fix="set its eos_token")
    own = turn_end(tokenizer)
    return frozenset([tokenizer.eos_token_id]) if own is None else frozenset([tokenizer.eos_token_id, own])


def ended(ids: Ids, tokenizer: Tokenizer, *, ends: frozenset[int], templated: bool, where: str) -> Ids:
    """Return a completion that ends once, with the first of ``ends``; to plain text without one EOS is added.

    White space and special tokens that a template writes after it are cut off, since generation stops there (TRL keeps
    them). A template that ends its turns with none of them is left as it is. Raises UsageError for an end token inside
    a completion.
    """
    eos = tokenizer.eos_token_id
    assert eos is not None
    place = min((ids.index(token) for token in ends if token in ids), default=None)
    if place is None:
        return ids if templated else (*ids, eos)
    rest, by_template = ids[place + 1 :], templated or ids[place] != eos
    if place == 0 or (rest and not (by_template and not _words(rest, tokenizer))):
        token = tokenizer.decode([ids[place]])
        name = "EOS" if ids[place] == eos else f"{token!r}, the template's end of a turn"
        raise UsageError(
            f"{where}: the completion's token {place + 1} of {len(ids)} is {name}, which may only end it",
            fix=f"take {token!r} out of the text; it is added where a completion ends",
        )
    return ids[: place + 1]


def _words(ids: Ids, tokenizer: Tokenizer) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=True)).strip()


def _templated(messages: Sequence[Message], tokenizer: Tokenizer, *, generation: bool, where: str) -> Ids:
    if getattr(tokenizer, "chat_template", None) is None:
        raise UsageError(
            f"{where}: messages need a chat template, and the tokenizer has none",
            fix="use the tokenizer of a chat model, or write prompt and completions as strings "
            "(--set data.form=text does so for prompts of a single turn, and for dialogues in text)",
        )
    try:
        ids = tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=generation, tokenize=True, return_dict=False
        )
    except TemplateLimitError as error:
        raise UsageError(
            f"{where}: the chat template is stopped: {error}", fix="use another template: --chat-template NAME or FILE"
        ) from error
    except (TemplateError, ValueError, TypeError) as error:
        roles = ", ".join(message["role"] for message in messages)
        raise UsageError(
            f"{where}: the chat template refuses messages of {roles}: {error}",
            fix="give the order of roles that the model's template expects",
        ) from error
    return tuple(ids)


def _token_text(ids: Ids, place: int, tokenizer: Tokenizer) -> str:
    return repr(tokenizer.decode([ids[place]])) if place < len(ids) else "missing"

"""Tokens that a chat template writes, and the refusal of texts that carry them already."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from jinja2 import TemplateError

from bench.data.rows import Message
from bench.data.template import Tokenizer
from bench.errors import UsageError

SYSTEM: Message = {"role": "system", "content": "Speak of the weather."}
QUESTION: Message = {"role": "user", "content": "How far is the moon?"}
ANSWER: Message = {"role": "assistant", "content": "Farther than the sea."}


class AddedToken(Protocol):
    """What is used of a token that was added to a vocabulary: it is split off whatever text it stands in."""

    content: str
    special: bool
    lstrip: bool
    rstrip: bool
    single_word: bool
    normalized: bool


def template_tokens(tokenizer: Tokenizer) -> tuple[str, ...]:
    """Return the texts of the added tokens that the tokenizer's chat template writes around messages.

    They are read off rendered dialogues. Of tokens that are not special only those around earlier turns count: marks of
    reasoning, which a template writes (or leaves to the model) in the last answer alone, may be words of an answer.
    Tokens of white space, of letters alone or of signs alone are words of any text.
    """
    added: Mapping[int, AddedToken] = getattr(tokenizer, "added_tokens_decoder", None) or {}
    if not added or getattr(tokenizer, "chat_template", None) is None:
        return ()
    earlier = _written([QUESTION, ANSWER, QUESTION], tokenizer, generation=False)
    last = {
        token
        for messages, generation in (
            ([QUESTION], True),
            ([QUESTION, ANSWER], False),
            ([SYSTEM, QUESTION, ANSWER, QUESTION], True),
        )
        for token in _written(messages, tokenizer, generation=generation)
        if token in added and added[token].special
    }
    texts = {added[token].content for token in (earlier & added.keys()) | last}
    return tuple(sorted(text for text in texts if _is_mark(text)))


def refuse_template_tokens(messages: Iterable[Message], tokens: Sequence[str], *, where: str, fix: str = "") -> None:
    """Raise UsageError where a message contains one of a template's tokens; ``where`` names the row and the field."""
    for message in messages:
        token = next((token for token in tokens if token in message["content"]), None)
        if token is not None:
            raise UsageError(
                f"{where}: the text of its {message['role']} message contains {token!r}, a token that the model's chat "
                "template writes around messages, so the text would be templated twice",
                fix="take the template's tokens out of the text, so that the words alone are left" + fix,
            )


def _written(messages: list[Message], tokenizer: Tokenizer, *, generation: bool) -> set[int]:
    try:
        return set(
            tokenizer.apply_chat_template(messages, add_generation_prompt=generation, tokenize=True, return_dict=False)
        )
    except (TemplateError, ValueError, TypeError):  # it knows no such dialogue
        return set()


def _is_mark(text: str) -> bool:
    letters = [sign.isalnum() for sign in text.strip()]
    return any(letters) and not all(letters)

"""The token with which a chat template ends an answer, read off a dialogue that it writes."""

from typing import TYPE_CHECKING

from jinja2 import TemplateError

from bench.data.rows import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

QUESTION: tuple[Message, ...] = ({"role": "user", "content": "How far is the moon?"},)
ANSWER: tuple[Message, ...] = ({"role": "assistant", "content": "Farther than the sea."},)


def turn_end(tokenizer: object) -> int | None:
    """Return the id of the first token that the template writes after an answer; None where it writes no such token.

    White space before it is passed over. Text is no end of a turn: only EOS and tokens that were added to the
    vocabulary as a whole, special or not, can never come from the words of an answer. EOS ends it after text as well.
    """
    if getattr(tokenizer, "chat_template", None) is None:
        return None
    known: PreTrainedTokenizerBase = tokenizer
    tail = after_answer(known)
    if tail is None:
        return None
    eos, tokens = known.eos_token, {str(token): number for number, token in known.added_tokens_decoder.items()}
    first = max((token for token in tokens if token and tail.lstrip().startswith(token)), key=len, default=eos)
    if first is None or first not in tail:
        return None
    return tokens.get(first, known.eos_token_id)


def after_answer(tokenizer: "PreTrainedTokenizerBase") -> str | None:
    """Return what the template writes after an answer's words; None where it does not write the words as they are."""
    words, text = ANSWER[0]["content"], rendered(tokenizer, [*QUESTION, *ANSWER])
    return None if text is None or words not in text else text.rpartition(words)[2]


def rendered(tokenizer: "PreTrainedTokenizerBase", messages: list[Message]) -> str | None:
    """Return a dialogue as the template writes it; None where it refuses the dialogue."""
    try:
        return str(tokenizer.apply_chat_template(messages, add_generation_prompt=False, tokenize=False))
    except (TemplateError, ValueError, TypeError):
        return None

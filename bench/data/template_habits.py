"""Side effects of a chat template: a default system prompt, stripped white space, turns without EOS."""

from typing import TYPE_CHECKING

from jinja2 import TemplateError

from bench.data.rows import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

QUESTION: tuple[Message, ...] = ({"role": "user", "content": "How far is the moon?"},)
ANSWER: tuple[Message, ...] = ({"role": "assistant", "content": "Farther than the sea."},)
SYSTEM = "Speak of the weather."
LONGEST = 80
"""Characters of a system prompt that a note shows."""


def habits(tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    """Return a sentence for each thing that the tokenizer's chat template does unasked; none without a template."""
    if getattr(tokenizer, "chat_template", None) is None:
        return []
    sentences = []
    if default := default_system(tokenizer):
        excerpt = default if len(default) <= LONGEST else default[: LONGEST - 1] + "…"
        sentences.append(f"the chat template writes a system prompt where a dialogue has none: {excerpt!r}")
    if stripped := [role for role, cut in _strips(tokenizer).items() if cut]:
        sentences.append(
            f"the chat template cuts off white space around the messages of {' and '.join(stripped)}; "
            "prompts and completions are as it writes them"
        )
    if _ends_otherwise(tokenizer):
        sentences.append(
            f"the chat template ends an answer without EOS ({tokenizer.eos_token}), "
            "so sampled completions end at another token only by chance, or at the limit"
        )
    return sentences


def default_system(tokenizer: "PreTrainedTokenizerBase") -> str | None:
    """Return the system prompt that the template writes by itself; None where it has none, or takes none at all."""
    alone = _text(tokenizer, list(QUESTION))
    with_system = _text(tokenizer, [{"role": "system", "content": SYSTEM}, *QUESTION])
    content = QUESTION[0]["content"]
    if alone is None or with_system is None or SYSTEM not in with_system or content not in alone:
        return None
    before, after = with_system[: with_system.index(content)].split(SYSTEM, 1)
    head = alone[: alone.index(content)]
    if len(head) <= len(before) + len(after) or not head.startswith(before) or not head.endswith(after):
        return None
    return head[len(before) : len(head) - len(after)].strip() or None


def _strips(tokenizer: "PreTrainedTokenizerBase") -> dict[str, bool]:
    spaced = "  a word  "
    question: list[Message] = [{"role": "user", "content": spaced}]
    dialogue: list[Message] = [*QUESTION, {"role": "assistant", "content": spaced}]
    texts = {"the user": _text(tokenizer, question), "the assistant": _text(tokenizer, dialogue)}
    return {role: text is not None and spaced not in text for role, text in texts.items()}


def _ends_otherwise(tokenizer: "PreTrainedTokenizerBase") -> bool:
    text = _text(tokenizer, [*QUESTION, *ANSWER])
    if text is None or ANSWER[0]["content"] not in text:
        return False
    return str(tokenizer.eos_token) not in text.rpartition(ANSWER[0]["content"])[2]


def _text(tokenizer: "PreTrainedTokenizerBase", messages: list[Message]) -> str | None:
    try:
        return str(tokenizer.apply_chat_template(messages, add_generation_prompt=False, tokenize=False))
    except (TemplateError, ValueError, TypeError):
        return None

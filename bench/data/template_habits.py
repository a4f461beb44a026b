"""Side effects of a chat template: a default system prompt, stripped white space, turns without EOS."""

from typing import TYPE_CHECKING

from bench.data.end_of_turn import QUESTION, after_answer, rendered, turn_end
from bench.data.rows import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

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
    end = turn_end(tokenizer)
    if end is None and after_answer(tokenizer) is not None:
        sentences.append(
            f"the chat template ends an answer without EOS ({tokenizer.eos_token}) or another token of its own, "
            "so sampled completions end by chance, or at the limit"
        )
    elif end is not None and end != tokenizer.eos_token_id:
        sentences.append(
            f"the chat template ends an answer with {tokenizer.decode([end])!r} (id {end}), and so do completions, of "
            f"the data and sampled ones; EOS is {tokenizer.eos_token!r}"
        )
    return sentences


def default_system(tokenizer: "PreTrainedTokenizerBase") -> str | None:
    """Return the system prompt that the template writes by itself; None where it has none, or takes none at all."""
    alone = rendered(tokenizer, list(QUESTION))
    with_system = rendered(tokenizer, [{"role": "system", "content": SYSTEM}, *QUESTION])
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
    texts = {"the user": rendered(tokenizer, question), "the assistant": rendered(tokenizer, dialogue)}
    return {role: text is not None and spaced not in text for role, text in texts.items()}

"""Prompts of lm-eval tasks: by the chat template or as plain text, the system instruction, and examples as turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING

from bench.core.specs import EvaluationSpec
from bench.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Render = Callable[..., str]
PROBE = "?"
"""A user's turn that shows how a template treats a system message before it."""


@dataclass(frozen=True, kw_only=True)
class Prompting:
    """Options of the same names as lm-eval's; None: as lm-eval without the option, but see ``decide_template``.

    Attributes:
        apply_chat_template: prompts are a user's turn (and earlier turns) of the model's chat template.
        system_instruction: text before a task's own description, as the system message where there is a template.
        fewshot_as_multiturn: examples are turns of their own; else they stand in the one user's turn. Only with a
            template.
    """

    apply_chat_template: bool | None = None
    system_instruction: str | None = None
    fewshot_as_multiturn: bool | None = None

    @property
    def multiturn(self) -> bool:
        """Whether examples are turns: lm-eval's default is what it does where a template is applied."""
        return self.fewshot_as_multiturn is not False

    def check(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Raise UsageError for options that the tokenizer, or lm-eval, cannot follow."""
        if self.apply_chat_template and not has_template(tokenizer):
            raise UsageError(
                "apply_chat_template: the model's tokenizer has no chat template",
                fix="leave the option out, or give the model a template (docs/models.md)",
            )
        if self.fewshot_as_multiturn and not self.apply_chat_template:
            raise UsageError(
                "fewshot_as_multiturn: examples are turns only where a chat template is applied",
                fix="set apply_chat_template too, or leave it out",
            )

    def by_hand(self) -> list[str]:
        """Return lm-eval's own options for the same prompts."""
        words = ["--apply_chat_template"] if self.apply_chat_template else []
        if self.system_instruction is not None:
            words += ["--system_instruction", self.system_instruction]
        if self.apply_chat_template and self.fewshot_as_multiturn is not None:
            words += ["--fewshot_as_multiturn", str(self.fewshot_as_multiturn).lower()]
        return words


PLAIN = Prompting()
"""Prompts as plain text, as lm-eval writes them where nothing is asked."""


def prompting_of(evaluation: EvaluationSpec) -> Prompting:
    """Return how an evaluation's tasks are asked."""
    return Prompting(
        apply_chat_template=evaluation.apply_chat_template,
        system_instruction=evaluation.system_instruction,
        fewshot_as_multiturn=evaluation.fewshot_as_multiturn,
    )


def has_template(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether a tokenizer has a chat template."""
    return getattr(tokenizer, "chat_template", None) is not None


def decide_template(requested: bool | None, tokenizer: PreTrainedTokenizerBase, *, trained_by: str | None) -> bool:
    """Return whether tasks are asked by the chat template.

    Args:
        trained_by: what trained the model by its template («suite chat»); None: nothing that is known.
    """
    return requested if requested is not None else trained_by is not None and has_template(tokenizer)


def reason_of(requested: bool | None, tokenizer: PreTrainedTokenizerBase, *, trained_by: str | None) -> str:
    """Return a line that says whether tasks are asked by the chat template, and why."""
    applied = decide_template(requested, tokenizer, trained_by=trained_by)
    what = f"lm-eval tasks: {'by the chat template' if applied else 'as plain text'}"
    if requested is not None:
        return f"{what}, as requested"
    if applied:
        return f"{what}, since {trained_by} trains by it (apply_chat_template=false for plain text)"
    if not has_template(tokenizer):
        return f"{what}, since the model has no chat template"
    return f"{what}, as lm_eval does by itself; the model has a chat template, and apply_chat_template=true uses it"


def renderer(tokenizer: PreTrainedTokenizerBase) -> Render:
    """Return what lm-eval's own model renders a dialogue by."""
    from lm_eval.models.huggingface import HFLM

    return partial(HFLM.apply_chat_template, SimpleNamespace(tokenizer=tokenizer, chat_template_args={}))


def notice_of(prompting: Prompting, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return what to know of a system instruction that the template leaves out, as it does in lm-eval; else None."""
    text = prompting.system_instruction
    if not text or not prompting.apply_chat_template:
        return None
    messages = [{"role": "system", "content": text}, {"role": "user", "content": PROBE}]
    if text.strip() in renderer(tokenizer)(messages):
        return None
    return "system_instruction: the model's chat template shows no system message, so no prompt has it (as in lm_eval)"

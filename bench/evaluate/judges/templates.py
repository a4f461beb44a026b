"""Prompts of a language model as a judge, and how its answer is read as a verdict."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UsageError
from bench.evaluate.judges.base import AnswerPair, Messages, Verdict

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> list[int]:
    """Return the dialogue's ids up to where the model answers; texts one after the other without a chat template.

    A template that knows no system message gets it at the beginning of the first message.
    """
    from jinja2 import TemplateError

    if getattr(tokenizer, "chat_template", None) is None:
        ids = tokenizer("\n\n".join(text for _, text in messages) + "\n", add_special_tokens=False)["input_ids"]
        begin = tokenizer.bos_token_id
        return list(ids) if begin is None else [begin, *ids]
    chat = [{"role": role, "content": text} for role, text in messages]
    try:
        return list(_templated(tokenizer, chat))
    except TemplateError:
        if messages[0][0] != "system" or len(messages) < 2:
            raise
        joined = [{"role": messages[1][0], "content": f"{messages[0][1]}\n\n{messages[1][1]}"}, *chat[2:]]
        return list(_templated(tokenizer, joined))


def _templated(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]]) -> list[int]:
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)


ALPACA_EVAL = "alpaca_eval"

PAIR = "pair-v2"

CHATML = re.compile(r"<\|im_start\|>(\w+)\n(.*?)\n?<\|im_end\|>", re.DOTALL)

FIELDS = re.compile(r"\{(instruction|output_1|output_2)\}")

QUOTES = " \t\r\n\"'`*.,:;!()[]"


@dataclass(frozen=True, kw_only=True)
class Template:
    """Messages with {instruction}, {output_1}, {output_2}, and the words that stand for either answer and for a tie.

    ``tokens``: as many as the answer may take. ``direct``: the answer is the first word, so that its probability can
    be read off; else it comes last, after an explanation.
    """

    name: str
    messages: Messages
    answers: tuple[str, str]
    tie: str | None
    tokens: int
    direct: bool


def template_of(name: str, *, answers: tuple[str, str] | None = None) -> Template:
    """Return a template: ``alpaca_eval`` (AlpacaEval 2's), ``pair-v2`` (MT-Bench's), or a file of yours.

    A file is one user message, or messages as ``<|im_start|>role … <|im_end|>``; it asks for a single word, by default
    m for the first answer and M for the second.

    Raises:
        UsageError: no such template, one without all three fields, or answers of which one begins the other.
    """
    if name == PAIR:
        from bench.evaluate.judges.mt_bench import TOKENS, pair_prompt

        return Template(
            name=PAIR, messages=pair_prompt(), answers=("[[A]]", "[[B]]"), tie="[[C]]", tokens=TOKENS, direct=False
        )
    text = _alpaca_eval() if name == ALPACA_EVAL else _file(Path(name))
    absent = {"instruction", "output_1", "output_2"} - set(FIELDS.findall(text))
    if absent:
        raise UsageError(f"template {name}: lacks {{{'}, {'.join(sorted(absent))}}}", fix="it must show all three")
    words = answers or ("m", "M")
    if any(len(word.split()) != 1 for word in words):
        raise UsageError(f"template {name}: the answers {words} are not single words", fix="take words like m and M")
    if words[0].startswith(words[1]) or words[1].startswith(words[0]):
        raise UsageError(f"template {name}: one of the answers {words} begins the other", fix="take words like m and M")
    turns: list[tuple[str, str]] = CHATML.findall(text)
    messages = tuple((role, body) for role, body in turns) if turns else (("user", text),)
    return Template(
        name=name if name == ALPACA_EVAL else Path(name).stem,
        messages=messages,
        answers=words,
        tie=None,
        tokens=16,
        direct=True,
    )


def fill_template(template: Template, pair: AnswerPair) -> Messages:
    """Return the messages for one pair. What stands in an answer is never read as a field."""
    values = {"instruction": pair.instruction, "output_1": pair.first, "output_2": pair.second}
    return tuple((role, FIELDS.sub(lambda m: values[m.group(1)], text)) for role, text in template.messages)


def read_words(text: str, template: Template) -> Verdict:
    """Read the judge's words: judged, or malformed where neither answer (or more than one) was named."""
    value = _direct(text, template) if template.direct else _as_fastchat(text, template)
    return Verdict(first_better=value, outcome="malformed" if value is None else "judged", text=text)


def _direct(text: str, template: Template) -> float | None:
    # what a model that thinks aloud put before its answer is no answer
    words = {word.strip(QUOTES) for word in text.rpartition("</think>")[2].split()}
    values = {template.answers[0].strip(): 1.0, template.answers[1].strip(): 0.0}
    named = [value for word, value in values.items() if word in words]
    return named[0] if len(named) == 1 else None


def _as_fastchat(text: str, template: Template) -> float | None:
    """Return the first verdict of A, B, tie that occurs anywhere: FastChat looks for them in this order."""
    values = {template.answers[0]: 1.0, template.answers[1]: 0.0}
    if template.tie is not None:
        values[template.tie] = 0.5
    return next((value for word, value in values.items() if word in text), None)


def _alpaca_eval() -> str:
    # the package's file, without the seconds that importing the package takes
    spec = importlib.util.find_spec("alpaca_eval")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    path = Path(*folders[:1]) / "evaluators_configs" / "alpaca_eval_clf_gpt4_turbo" / "alpaca_eval_clf.txt"
    return _file(path)


def _file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"template {path}: cannot be read ({error})", fix=f"{ALPACA_EVAL}, {PAIR}, or a text file"
        ) from error

"""Text form of composed objectives, ``0.8*dpo(beta=0.1)+sft+nll(0.2)``: split, parse, format. No torch.

    expression = term ("+" term)*
    term       = [weight "*"] name ["(" value ("," value)* ")"]
    value      = [parameter "="] (number | schedule)        schedule = ("linear" | "cosine") "(" number "," number ")"

Terms apply from the left: an objective adds its loss, a modifier changes the sum of what stands before it. A schedule
goes from its first number at the first optimiser step to its second at the last.
"""

import math
import re
from dataclasses import dataclass, replace

from losses.schedule import ValueSchedule, parse_schedule

EXAMPLE = "for example 'dpo+nll(0.2)', 'ipo+wpo' or '0.8*dpo(beta=0.1)+0.2*bco_pair+sft'"
EXPRESSIONS = "correct the expression; `bench losses` lists the objectives, `bench losses show NAME` their parameters"
"""What to do about any ``ExpressionError``."""
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_INSIDE = r"(?:[^()]|\([^()]*\))*"
_TERM = re.compile(rf"\s*(?:({_NUMBER})\s*\*)?\s*([A-Za-z_]\w*)\s*(?:\(({_INSIDE})\))?\s*")
_VALUE = re.compile(rf"\s*(?:([A-Za-z_]\w*)\s*=)?\s*({_NUMBER}|(?:linear|cosine)\s*\([^()]*\))\s*")
Value = float | ValueSchedule


class ExpressionError(ValueError):
    """A text that is no expression, or one whose parts do not go together."""


@dataclass(frozen=True)
class Term:
    """One term: the weight of an objective, its name, and values by position (key None) or by parameter name."""

    weight: float
    name: str
    values: tuple[tuple[str | None, Value], ...]

    def __str__(self) -> str:
        inside = ",".join(_text(value) if key is None else f"{key}={_text(value)}" for key, value in self.values)
        weight = "" if self.weight == 1 else f"{_text(self.weight)}*"
        return f"{weight}{self.name}{f'({inside})' if inside else ''}"

    @property
    def is_timed(self) -> bool:
        """Whether a value changes over the run."""
        return any(isinstance(value, ValueSchedule) for _, value in self.values)

    def at(self, step: int, steps: int) -> "Term":
        """The term with its values at optimiser step ``step`` (1-based) of ``steps``."""
        now = ((key, float(v.at(step, steps)) if isinstance(v, ValueSchedule) else v) for key, v in self.values)
        return replace(self, values=tuple(now))


def is_expression(text: str) -> bool:
    """Whether the text is more than a name."""
    return any(sign in text for sign in "+*(")


def split_expressions(text: str) -> tuple[str, ...]:
    """Split at commas outside parentheses: ``"dpo,ipo+wpo,dpo+humanline(-1,1.5)"`` holds three."""
    parts, depth, start = [], 0, 0
    for place, sign in enumerate(text):
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if sign == "," and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    return tuple(part.strip() for part in (*parts, text[start:]) if part.strip())


def parse(text: str) -> tuple[Term, ...]:
    """Read an expression; ``format_terms`` gives the same text back, without spaces and needless digits.

    Raises:
        ExpressionError: where the text breaks off, with what was expected there.
    """
    terms, place = [], 0
    while True:
        match = _TERM.match(text, place)
        if match is None:
            raise ExpressionError(f"cannot read {text!r} at {text[place:]!r}: a name is expected there; {EXAMPLE}")
        weight, name, inside = match.groups()
        values = tuple(_read(part, text) for part in split_expressions(inside or ""))
        if weight is not None and not math.isfinite(float(weight)):
            raise ExpressionError(f"cannot read {text!r}: the weight {weight[:20]} is no finite number; {EXAMPLE}")
        terms.append(Term(1.0 if weight is None else float(weight), name, values))
        place = match.end()
        if place == len(text):
            return tuple(terms)
        if text[place] != "+":
            raise ExpressionError(f"cannot read {text!r} at {text[place:]!r}: '+' is expected there; {EXAMPLE}")
        place += 1


def format_terms(terms: tuple[Term, ...]) -> str:
    """Return the canonical text."""
    return "+".join(map(str, terms))


def _read(part: str, text: str) -> tuple[str | None, Value]:
    wanted = f"cannot read {part!r} in {text!r}: a number, a schedule or parameter=number is expected; {EXAMPLE}"
    match = _VALUE.fullmatch(part)
    if match is None:
        raise ExpressionError(wanted)
    key, value = match.groups()
    if not value.endswith(")"):
        if not math.isfinite(float(value)):
            raise ExpressionError(wanted)
        return key, float(value)
    try:
        return key, parse_schedule(value)
    except ValueError as error:
        raise ExpressionError(f"{text!r}: {error}") from error


def _text(value: Value) -> str:
    if isinstance(value, ValueSchedule):
        return f"{value.kind}({_text(float(value.start))},{_text(float(value.end))})"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)

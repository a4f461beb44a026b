"""Soft verdicts: the probabilities of the two answers, from every token that carries one of their words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.evaluate.judges.templates import QUOTES

VERSION = 2
"""Of how tokens are read: it is part of a judge's identity, so that verdicts of two ways are never mixed."""
MARKS = {"Ġ": " ", "▁": " ", "Ċ": "\n", "ĉ": "\t"}
"""How vocabularies write spaces and line ends; some servers show tokens so."""
BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
ESCAPED = re.compile(r"bytes:((?:\\x[0-9A-Fa-f]{2})+)")
"""Tokens of bytes, as SentencePiece and OpenAI's older interface write them."""


@dataclass(frozen=True, kw_only=True)
class Position:
    """One place of an answer: what was written there, its probability, and what could have been, with probabilities."""

    text: str
    chance: float
    others: Sequence[tuple[str, float]]


@dataclass(frozen=True, kw_only=True)
class SoftVerdict:
    """``first``: P(first answer) among the two; ``mass``: probability of either answer."""

    first: float
    mass: float


def token_text(token: str, written: Sequence[int] | None = None) -> str:
    """Return what a token writes: by its bytes where they are known, else by how vocabularies write it."""
    text = bytes(written).decode("utf-8", errors="replace") if written else token
    if match := BYTE.fullmatch(text):
        return bytes([int(match[1], 16)]).decode("utf-8", errors="replace")
    if match := ESCAPED.fullmatch(text):
        return bytes.fromhex(match[1].replace("\\x", "")).decode("utf-8", errors="replace")
    return "".join(MARKS.get(character, character) for character in text)


def answer_in(text: str, answers: tuple[str, str]) -> int | None:
    """Return which answer a token's text carries, 0 or 1; None: neither.

    Spaces, quotes and full stops around it do not count; nor does case, where the answers do not differ by it alone.
    """
    word = text.strip(QUOTES)
    wanted = [answer.strip() for answer in answers]
    if word in wanted:
        return wanted.index(word)
    folded = [answer.casefold() for answer in wanted]
    return folded.index(word.casefold()) if folded[0] != folded[1] and word.casefold() in folded else None


def begins_answer(text: str, answers: tuple[str, str]) -> int | None:
    """Return which answer, and only which, a token begins that is no whole answer."""
    word = text.strip(QUOTES)
    begun = [number for number, answer in enumerate(answers) if word and answer.strip().startswith(word)]
    return begun[0] if len(begun) == 1 else None


def soft_verdict(positions: Sequence[Position], answers: tuple[str, str], *, named: float | None) -> SoftVerdict | None:
    """Return the verdict of the place where the answer stands; None where no token there carries either answer.

    That place is the first one; after tokens without a word (a line end, a quote) the next one as well, by the chance
    of these. Where neither answer could stand there, it is the last place that names the answer which the words do.

    Args:
        named: how the words were read: 1 the first answer, 0 the second; None: neither.
    """
    sums, path = [0.0, 0.0], 1.0
    for position in positions:
        for number, chance in enumerate(_chances(position.others, answers)):
            sums[number] += path * chance
        if position.text.strip(QUOTES):
            break
        path *= position.chance
    if sum(sums) == 0.0 and named is not None:
        place = next((p for p in reversed(positions) if answer_in(p.text, answers) == int(1 - named)), None)
        sums = _chances(place.others, answers) if place is not None else sums
    mass = sum(sums)
    return SoftVerdict(first=sums[0] / mass, mass=min(1.0, mass)) if mass > 0.0 else None


def _chances(tokens: Iterable[tuple[str, float]], answers: tuple[str, str]) -> list[float]:
    """Return each answer's probability: of tokens that carry it, or else of tokens that begin it."""
    tokens = list(tokens)
    for carries in (answer_in, begins_answer):
        sums = [0.0, 0.0]
        for text, chance in tokens:
            number = carries(text, answers)
            if number is not None:
                sums[number] += chance
        if sum(sums) > 0.0:
            return sums
    return [0.0, 0.0]


def answer_tokens(vocabulary: Mapping[str, int], answers: tuple[str, str], *, size: int) -> tuple[list[int], list[int]]:
    """Return the ids below ``size`` of all tokens that carry the first and the second answer."""
    ids: tuple[list[int], list[int]] = ([], [])
    for token, number in vocabulary.items():
        which = answer_in(token_text(token), answers) if number < size else None
        if which is not None:
            ids[which].append(number)
    return ids

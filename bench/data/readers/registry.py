"""Registry of formats: how each is recognised by its columns, and its reader."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from bench.core.data_options import VERDICTS, DataOptions
from bench.data.readers import chat, dialogues, plain, ranked_answers, verdicts
from bench.data.readers.messages import ASSISTANT
from bench.data.row_errors import RowError
from bench.data.rows import Dropped, Pair, Single
from bench.data.side_names import SIDES
from bench.errors import UsageError

Reader = Callable[[Mapping[str, object], DataOptions, int], Iterable[Pair | Single | Dropped]]
T = TypeVar("T")
Row = Mapping[str, object]


def _has(raw: Row, *names: str) -> bool:
    return all(name in raw for name in names)


def _sides(raw: Row, kind: type[T]) -> list[T]:
    """Return chosen and rejected, where both are of that kind, else nothing."""
    sides = [raw.get("chosen"), raw.get("rejected")]
    alike = [side for side in sides if isinstance(side, kind)]
    return alike if len(alike) == len(sides) else []


def _is_dialogues(raw: Row) -> bool:
    sides = _sides(raw, list)
    if not sides or not all(sides):
        return False
    prompt = raw.get("prompt")
    if isinstance(prompt, list):
        return all(len(side) > len(prompt) and side[: len(prompt)] == prompt for side in sides)
    # One message a side repeats no prompt: turns in another column are that.
    return isinstance(prompt, str) or (prompt is None and all(len(side) > 1 for side in sides))


def _has_sides(raw: Row) -> bool:
    """Say whether a row has both answers, by any of their names."""
    return any(_has(raw, *names) for names in SIDES)


def _is_plain(raw: Row) -> bool:
    if raw.get("prompt") is None:
        return False
    paired = raw.get("chosen") is not None or raw.get("rejected") is not None or _has_sides(raw)
    labelled = "label" in raw and (raw.get("completion") is not None or raw.get("label") is not None)
    return paired or (labelled and raw.get("messages") is None)


def _is_orca(raw: Row) -> bool:
    if not _has_sides(raw):
        return False
    if _has(raw, "question"):
        return True
    # A dialogue in text has its question in itself; `system` may be a column without a value, and left out for that.
    spoken = ASSISTANT in str(raw.get("chosen"))
    return isinstance(raw.get("input"), str) and not _has(raw, "instruction") and (_has(raw, "system") or not spoken)


def _is_swift(raw: Row) -> bool:
    if not _has(raw, "messages"):
        return _has(raw, "query", "response", "rejected_response")
    # Without these two a file of pairs would be taken for demonstrations.
    return "rejected_response" in raw or any(raw.get(name) for name in ("rejected_messages", "rejected_images"))


def _is_kto(raw: Row) -> bool:
    return _has(raw, "label") and (
        _has(raw, "messages") or _has(raw, "conversations") or _has(raw, "query", "response")
    )


def _is_sharegpt(raw: Row) -> bool:
    return (_has(raw, "conversations") or _has(raw, "messages")) and _has(raw, "chosen", "rejected")


def _is_demonstration(raw: Row) -> bool:
    return (
        raw.get("messages") is not None
        or raw.get("conversations") is not None
        or _has(raw, "instruction", "output")
        or (_has(raw, "prompt", "completion") and "label" not in raw)
    )


# The first that fits names the format: a format of more columns, or recognised by what is in them, comes first.
_KNOWN: tuple[tuple[str, Callable[[Row], bool], Reader], ...] = (
    (VERDICTS, verdicts.fits, verdicts.read),
    ("dialogues", _is_dialogues, dialogues.read_messages),
    ("plain", _is_plain, plain.read),
    ("openai", lambda raw: _has(raw, "preferred_output", "non_preferred_output"), chat.read_openai),
    ("sharegpt", _is_sharegpt, chat.read_sharegpt),
    ("swift", _is_swift, chat.read_swift),
    ("orca", _is_orca, chat.read_orca),
    ("alpaca", lambda raw: _has(raw, "instruction") and _has_sides(raw), ranked_answers.read_alpaca),
    ("alpacafarm", lambda raw: _has(raw, "instruction", "output_1", "output_2"), ranked_answers.read_alpacafarm),
    ("saferlhf", lambda raw: _has(raw, "prompt", "response_0", "response_1"), ranked_answers.read_saferlhf),
    (
        "ranked_text",
        lambda raw: isinstance(raw.get("text"), list) and _has(raw, "score"),
        ranked_answers.read_ranked_text,
    ),
    ("scored", ranked_answers.is_scored, ranked_answers.read_scored),
    ("hh", lambda raw: bool(_sides(raw, str)), dialogues.read_text),
    ("kto", _is_kto, chat.read_kto),
    ("demonstrations", _is_demonstration, chat.read_demonstrations),
)
_READERS: dict[str, Reader] = {name: reader for name, _, reader in _KNOWN}
DECIDED_BY_SCORES = frozenset((VERDICTS, "scored", "ranked_text"))
"""The formats whose readers compare the scores: what they read has the better one first."""
JUDGED = frozenset((VERDICTS, "alpacafarm"))
"""The formats that have a verdict, whose values ``data.winner`` explains."""


def recognise(raw: Row) -> str:
    """Return the name of the format that a row's columns make. Raises RowError where they make none."""
    for name, fits, _ in _KNOWN:
        if fits(raw):
            return name
    plain.refuse(raw)
    raise RowError("no format fits", fix="name it: --data-format")


def named_format(options: DataOptions) -> str | None:
    """Return the format that the user named, also by columns that only one has; None where rows have to tell.

    Raises UsageError for columns of another format than the one that was named.
    """
    judged = "first" in options.columns or "answers" in options.columns
    if judged and options.format not in (None, VERDICTS):
        raise UsageError(
            f"--columns first=…,second=… are of the format {VERDICTS}, and --data-format is {options.format}",
            fix="leave --data-format out",
        )
    return VERDICTS if judged else options.format


def reader_for(name: str, options: DataOptions) -> Reader:
    """Return the reader of a format by its name. Raises UsageError for an option that it would pass over."""
    if options.winner and name not in JUDGED:
        raise UsageError(
            f"--winner explains the values of a verdict, and rows of format {name} have none",
            fix="name the columns: --columns prompt=NAME,first=NAME,second=NAME,winner=NAME; or leave --winner out",
        )
    return _READERS[name]

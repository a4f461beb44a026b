"""The judge's interface: an instruction with two answers goes in, a verdict or none comes out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from _typeshed import DataclassInstance
    from numpy.typing import NDArray

Outcome = Literal["judged", "refused", "malformed", "failed"]
STORED_NAMES = {"text": "said"}
"""Names in stored files that differ from the fields here: verdicts that users paid for stay readable."""


@dataclass(frozen=True, kw_only=True)
class AnswerPair:
    """An instruction and two answers to it, in the order in which the judge sees them."""

    instruction: str
    first: str
    second: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A judge's verdict on one pair.

    ``first_better``: probability that the first answer shown is the better one; None unless ``outcome`` is judged.
    ``outcome``: refused: the judge declined; malformed: it answered something else; failed: it did not answer.
    ``text``: its words, or why it failed. ``mass``: probability of either answer together, None where it is unknown.
    """

    first_better: float | None
    outcome: Outcome = "judged"
    text: str = ""
    mass: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What asking will take at most. ``money`` in the unit of the prices given, None without prices."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    counted_by: str
    money: float | None


@dataclass(frozen=True, kw_only=True)
class Window:
    """What a judge can read. ``context``: tokens at most, its own answer included.

    ``tokens``: how many tokens a pair takes, with the judge's words around it and room for its answer. ``answers``: how
    many answers it reads at a time.
    """

    context: float
    tokens: "Callable[[AnswerPair], int]"
    answers: int = 2


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A judge.

    ``identity``: hash of all that decides its verdicts (weights or model name, template, settings; never a key).
    ``ordered``: whether the order of the answers can matter to it. ``compare`` yields each pair's number with its
    verdict, as they come. ``grade`` answers a prompt in words, None where it cannot. ``cost``: None where it is free.
    ``score`` gives each (instruction, answer) a reward in nats, ``[answers]``, NaN where it cannot; None for a judge
    that only compares. ``soft``: verdicts are meant to be probabilities; one without ``mass`` was read from words.
    ``grade_limit``: tokens that a grade may take. ``window``: None where it is not known what the judge can read;
    ``find_window`` then asks its server, None where that does not say so.
    """

    name: str
    identity: str
    ordered: bool
    compare: Callable[[Sequence[AnswerPair]], Iterator[tuple[int, Verdict]]]
    grade: "Callable[[Sequence[Messages]], Iterator[tuple[int, Verdict]]] | None" = None
    cost: "Callable[[Sequence[Messages], int], Cost] | None" = None
    prompt: "Callable[[AnswerPair], Messages] | None" = None
    limit: int = 0
    score: "Callable[[Sequence[tuple[str, str]]], NDArray[np.float64]] | None" = None
    soft: bool = False
    grade_limit: int = 0
    window: Window | None = None
    find_window: "Callable[[], Window | None] | None" = None


Messages = tuple[tuple[str, str], ...]
"""A dialogue: (role, text) of each message."""


def stored_fields(judged: "DataclassInstance") -> dict[str, object]:
    """Return the fields of a verdict or a grade as files have them."""
    return {STORED_NAMES.get(name, name): value for name, value in asdict(judged).items()}

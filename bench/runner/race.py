"""A race as one process sees it: replayed from the records on disk, and the trainings that it needs next.

Every process computes the same from the same records, so workers on any machines agree without a dispatcher, and a
race that was interrupted anywhere goes on as if it had not been.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.core.record import RunRecord
from bench.report.analysis.race import replay
from bench.runner.piece import Piece
from bench.runner.plan import Plan
from bench.stats.race import Look, Race

MOST_NAMES = 6
"""As many arms are named in a line; of more the number stands."""


@dataclass(kw_only=True)
class Racing:
    """A race and what it was replayed from.

    Fields:
        pieces: by arm, its trainings in the order of the seeds; the arms are those that have chosen a setting.
        race: as far as the records carry it.
        tuning: the protocol's terms, as records hold them.
        most: trainings with fresh seeds that the budget allows; None: as many as it takes.
        records: by arm and seed, those that were read; one that diverged has no scores.
        spent: whether the next look takes more trainings than the budget allows.
    """

    order: tuple[int, ...]
    pieces: Mapping[str, Sequence[Piece]]
    race: Race
    tuning: Mapping[str, object]
    most: int | None
    records: dict[str, dict[int, RunRecord]]
    spent: bool = False

    def seconds(self, arm: str, seed: int) -> float:
        """Return what a training took with its evaluation; 0 before its record was read."""
        record = self.records[arm].get(seed)
        return 0.0 if record is None else record.cost.train_seconds + record.cost.evaluate_seconds

    @property
    def stages(self) -> list[list[Piece]]:
        """The trainings that each look added, those of the next look last, by seed and then by arm."""
        stages, before = [], 0
        wanted = [(look.seeds, look.arms) for look in self.race.looks]
        if self.race.needs is not None:
            wanted.append((self.race.needs, self.race.arms))
        for seeds, arms in wanted:
            inside = [pieces for arm, pieces in self.pieces.items() if arm in arms]
            stages.append([pieces[place] for place in range(before, seeds) for pieces in inside])
            before = seeds
        return stages

    @property
    def open(self) -> list[Piece]:
        """The trainings of the race so far and, where the budget allows it, of the next look."""
        stages = self.stages[:-1] if self.spent else self.stages
        return [piece for stage in stages for piece in stage]

    @property
    def is_over(self) -> bool:
        """Whether no training will be added: the race has ended, or the budget is spent."""
        return self.race.needs is None or self.spent


def open_racing(plan: Plan, finals: Mapping[str, Sequence[Piece]]) -> Racing:
    """Return the race of a plan before its first look.

    Args:
        finals: by objective, all trainings that it may get; none where it has chosen no setting.
    """
    assert plan.race is not None
    pieces = {arm: finals[arm] for arm in plan.arms if finals[arm]}
    return Racing(
        order=plan.final_seeds,
        pieces=pieces,
        race=Race(plan.race, (), tuple(pieces), plan.race.looks[0] if pieces else None, None),
        tuning=plan.protocol.model_dump(mode="json"),
        most=plan.request.limit.runs,
        records={arm: {} for arm in pieces},
    )


def advance(
    racing: Racing, *, is_present: Callable[[Piece], bool], read: Callable[[Piece], RunRecord]
) -> list[tuple[Look, int]]:
    """Replay the race as far as records are there. Returns the looks that are new, each with what is missing next.

    Args:
        is_present: whether a training has its record.
        read: returns that record.
    """
    new: list[tuple[Look, int]] = []
    while racing.race.needs is not None:
        missing = [piece for piece in racing.stages[-1] if not is_present(piece)]
        if missing:
            break
        for arm in racing.race.arms:
            known = racing.records[arm]
            wanted = racing.pieces[arm][: racing.race.needs]
            known |= {piece.spec.seed: read(piece) for piece in wanted if piece.spec.seed not in known}
        before = len(racing.race.looks)
        replayed = replay({arm: list(known.values()) for arm, known in racing.records.items()}, racing.tuning)
        assert replayed is not None  # these are the terms of a race
        racing.race = replayed
        after = [piece for piece in racing.stages[-1] if not is_present(piece)] if racing.race.needs else []
        new += [(look, len(after)) for look in racing.race.looks[before:]]
    racing.spent = _is_spent(racing, is_present)
    return new


def _is_spent(racing: Racing, is_present: Callable[[Piece], bool]) -> bool:
    """Say whether the next look takes more trainings than the budget allows; one that is trained already is free."""
    if racing.most is None or racing.race.needs is None:
        return False
    stages = racing.stages
    return sum(map(len, stages)) > racing.most and not all(map(is_present, stages[-1]))


def look_text(race: Race, number: int) -> str:
    """Return what a look said, in a line: «look 2, 5 seeds: slic, orpo dropped; 9 undecided»."""
    look = race.looks[number - 1]
    left = {arm: verdict.word for arm, verdict in look.against_first.items() if arm not in look.dropped}
    parts = [f"{_listed(look.dropped)} dropped"] if look.dropped else []
    for word in ("equal", "undecided"):
        count = sum(one == word for one in left.values())
        parts += [f"{count} {word}"] if count else []
    if not left:
        parts.append(f"{look.first} alone is left")
    return f"look {number}, {look.seeds} seeds: {'; '.join(parts)}"


def end_text(racing: Racing, *, out_of_time: bool = False) -> str | None:
    """Return how a race ended, or how far the budget carried it, in a line; None where it goes on."""
    race = racing.race
    if race.end is None and not (racing.spent or out_of_time):
        return None
    if not race.looks:
        missing = len(racing.stages[-1]) if race.needs is not None else 0
        return f"budget spent before the first look, which takes {missing} trainings: nothing is decided"
    look, count = race.looks[-1], len(race.looks)
    words = {arm: verdict.word for arm, verdict in look.against_first.items()}
    equal = [arm for arm, word in words.items() if word == "equal"]
    open_arms = [arm for arm, word in words.items() if word == "undecided"]
    runs = len([piece for stage in racing.stages[:count] for piece in stage])
    where = f"after look {count}, {look.seeds} seeds, {runs} trainings"
    result = f"{look.first} is first"
    result += f"; equal to it within {race.terms.margin:g}: {_listed(equal)}" if equal else ""
    if race.end == "decided":
        return f"race decided {where}: {result}; {len(racing.pieces) - 1 - len(equal)} worse"
    result += f"; {len(open_arms)} undecided: {_listed(open_arms)}"
    if race.end == "out of seeds":
        return f"race out of seeds {where}: {result}"
    following = racing.stages[-1]
    more = f"look {count + 1} takes {len(following)} trainings more"
    fix = f"--budget runs={runs + len(following)}" if racing.spent else "the same command goes on"
    return f"budget spent {where}: {result}; {more}: {fix}"


def _listed(arms: Sequence[str]) -> str:
    return ", ".join(arms) if len(arms) <= MOST_NAMES else f"{len(arms)} arms"

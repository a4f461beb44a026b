"""Race of a group's objectives, replayed from the records of its fresh seeds."""

from collections.abc import Mapping, Sequence

from bench.core.record import RunRecord
from bench.errors import RunError
from bench.report.analysis.prompt_scores import comparable
from bench.stats.race import Race, RaceTerms, run_race

FIX = "delete the evaluation folders of this protocol and run the same command again"


def replay(tests: Mapping[str, Sequence[RunRecord]], tuning: Mapping[str, object]) -> Race | None:
    """Return the race that the records of ``tests`` (objective → its chosen setting's test runs) carry.

    None where the protocol's terms (``tuning``) have no «race». «arms» of the terms race, over the seeds of
    «final_seeds» in their order; a run that ended without a score counts as ended. Raises RunError for terms that are
    no terms of a race.
    """
    if "race" not in tuning:
        return None
    terms, order = _terms(tuning), seed_order(tuning)
    arms = tuning.get("arms")
    if isinstance(arms, list | tuple):
        tests = {name: tests[name] for name in map(str, arms) if name in tests}
    scored = comparable(tests)
    scores = {name: scored.get(name, {}) for name in tests}
    ended = {name: {record.spec.seed for record in records} for name, records in tests.items()}
    return run_race(scores, terms, order=order, ended=ended)


def out_at(race: Race) -> dict[str, int]:
    """Return arm → the number of seeds at which it was dropped, of those that were."""
    return {arm: look.seeds for look in race.looks for arm in look.dropped}


def seed_order(tuning: Mapping[str, object]) -> list[int]:
    """Return the fresh seeds in the order in which all arms take them. Raises RunError for terms without these."""
    seeds = tuning.get("final_seeds")
    if not isinstance(seeds, list | tuple) or not all(isinstance(seed, int) for seed in seeds):
        raise RunError(f"a race needs its seeds in order; the records' terms have final_seeds={seeds!r}", fix=FIX)
    return [int(seed) for seed in seeds]


def _terms(tuning: Mapping[str, object]) -> RaceTerms:
    race = tuning["race"]
    try:
        if not isinstance(race, Mapping):
            raise TypeError("looks, levels and margin are needed")
        looks, levels = tuple(map(int, race["looks"])), tuple(map(float, race["levels"]))
        return RaceTerms(looks, levels, float(race["margin"]))
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"the records' terms are no race: {error!s} (race={race!r})", fix=FIX) from error

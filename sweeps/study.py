"""Terms of a study: its storage, its sampler and pruner, and who may join."""

import json
import time
from collections.abc import Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import BaseStorage

from sweeps.errors import StudyError
from sweeps.protocol import Direction, SamplerName, TuningProtocol
from sweeps.pruning import build_pruner
from sweeps.storage import open_storage

__all__ = ["TERMS", "Direction", "SamplerName", "TuningProtocol", "build_sampler", "open_study"]

TERMS = "terms"
STARTUP_TRIALS = 5
_TERMS_PATIENCE_SECONDS = 10.0


def open_study(
    name: str,
    *,
    storage: str | BaseStorage,
    sampler: SamplerName,
    seed: int,
    direction: Direction = "maximize",
    points: Sequence[Mapping[str, float]] | None = None,
    distributions: Mapping[str, BaseDistribution] | None = None,
    protocol: TuningProtocol | None = None,
) -> optuna.Study:
    """Make the study ``name``, or join the one that is there if it was made on the same terms.

    ``storage``: a URL (see ``open_storage``), or a storage that is open already, which studies of one process share.
    The terms are all the other arguments; the protocol names the pruner.

    Raises:
        StudyError: for a storage that does not open, or a study made on other terms.
    """
    terms = _terms(sampler, seed, direction, points, distributions, protocol)
    opened = open_storage(storage) if isinstance(storage, str) else storage
    choosing = build_sampler(sampler, seed=seed)
    try:
        study = optuna.load_study(study_name=name, storage=opened, sampler=choosing)
    except KeyError:
        study = _create(name, opened, direction, terms, sampler=choosing)
    # Set apart from the sampler's calls: without a protocol nothing is pruned, whatever Optuna's default is.
    study.pruner = build_pruner(protocol)
    stored = _stored_terms(study, name)
    if stored is None:
        study.set_user_attr(TERMS, terms)
    elif stored != terms:
        raise StudyError(
            f"study {name!r} was made on other terms: {'; '.join(_differences(stored, terms))}",
            fix="give the same terms to join it, or another study name for a new one",
        )
    return study


def build_sampler(name: SamplerName, *, seed: int) -> optuna.samplers.BaseSampler:
    """Return Optuna's sampler; a grid samples nothing, so it gets the random one."""
    if name == "tpe":
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
    return optuna.samplers.RandomSampler(seed=seed)


def _terms(
    sampler: SamplerName,
    seed: int,
    direction: Direction,
    points: Sequence[Mapping[str, float]] | None,
    distributions: Mapping[str, BaseDistribution] | None,
    protocol: TuningProtocol | None,
) -> dict[str, object]:
    terms = {
        "sampler": sampler,
        "seed": seed,
        "direction": direction,
        "points": None if points is None else [dict(point) for point in points],
        "distributions": None
        if distributions is None
        else {name: json.loads(distribution_to_json(item)) for name, item in distributions.items()},
        "protocol": None if protocol is None else {**protocol.model_dump(mode="json"), "hash": protocol.hash},
    }
    return json.loads(_canonical(terms))


def _create(
    name: str,
    storage: BaseStorage,
    direction: Direction,
    terms: dict[str, object],
    *,
    sampler: optuna.samplers.BaseSampler,
) -> optuna.Study:
    try:
        study = optuna.create_study(study_name=name, storage=storage, sampler=sampler, direction=direction)
    except optuna.exceptions.DuplicatedStudyError:
        return optuna.load_study(study_name=name, storage=storage, sampler=sampler)
    study.set_user_attr(TERMS, terms)
    return study


def _stored_terms(study: optuna.Study, name: str) -> dict[str, object] | None:
    """Return the study's terms; None where whoever made it died before it wrote them."""
    deadline = time.monotonic() + _TERMS_PATIENCE_SECONDS
    while TERMS not in study.user_attrs:
        if study.get_trials(deepcopy=False):
            raise StudyError(
                f"study {name!r} holds trials but no terms: another program made it",
                fix="give another study name or another storage",
            )
        # Making a study and writing its terms are two steps; only its maker takes the second.
        if time.monotonic() > deadline:
            return None
        time.sleep(0.05)
    return study.user_attrs[TERMS]


def _differences(stored: Mapping[str, object], terms: Mapping[str, object]) -> list[str]:
    lines = []
    for key in sorted(stored.keys() | terms.keys()):
        old, new = stored.get(key), terms.get(key)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            lines += [f"{key}.{line}" for line in _differences(old, new)]
        else:
            lines.append(f"{key} was {_short(old)}, now {_short(new)}")
    return lines


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:100]}… ({len(text)} characters)"


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))

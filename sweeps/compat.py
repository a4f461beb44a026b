"""Private names of Optuna that the sweeps need, each in one small function; checked with Optuna 5.0."""

from typing import TYPE_CHECKING

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial

if TYPE_CHECKING:
    from optuna.study._frozen import FrozenStudy


def storage_of(study: optuna.Study) -> BaseStorage:
    """Return a study's storage, which alone can write to a trial from another thread or after its worker's death."""
    return study._storage


def trial_id(trial: FrozenTrial) -> int:
    """Return the number by which a storage knows a trial; ``trial.number`` counts within its study."""
    return trial._trial_id


def study_id(study: "optuna.Study | FrozenStudy") -> int:
    """Return the number by which a storage knows a study."""
    return study._study_id


def cached_storage(storage: RDBStorage) -> BaseStorage:
    """Return a database's storage with the cache of finished trials that Optuna itself puts before one."""
    return optuna.storages._CachedStorage(storage)

"""What one worker leaves in a storage for all others to read: posts under a name, no trials."""

import optuna
from optuna.storages import BaseStorage

from sweeps.errors import StudyError, did_you_mean

_BOARD = "{}/posts"
"""The study that posts hang on. No study of trials has a slash in its name."""


def post(storage: BaseStorage, name: str, key: str, value: object) -> None:
    """Leave ``value``, which JSON can hold, under ``name`` and ``key``, where it replaces what was there."""
    board = _BOARD.format(name)
    try:
        number = storage.get_study_id_from_name(board)
    except KeyError:
        try:
            number = storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], board)
        except optuna.exceptions.DuplicatedStudyError:
            number = storage.get_study_id_from_name(board)
    storage.set_study_user_attr(number, key, value)


def is_board(study: str) -> bool:
    """Say whether a study is none, but what posts hang on."""
    return study.endswith(_BOARD.format(""))


def posts(storage: BaseStorage, name: str) -> dict[str, object]:
    """Return all that was left under ``name``.

    Raises:
        StudyError: nothing was.
    """
    try:
        values = storage.get_study_user_attrs(storage.get_study_id_from_name(_BOARD.format(name)))
    except KeyError:
        values = {}
    if not values:
        end = _BOARD.format("")
        names = [study.study_name for study in storage.get_all_studies()]
        known = [board.removesuffix(end) for board in names if board.endswith(end)]
        raise StudyError(
            f"the storage knows no study {name!r}",
            fix=f"open it with `bench run … --study {name}`; {did_you_mean(name, known)}",
        )
    return values

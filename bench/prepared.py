"""Owns folders of the prepare stage: made where they are not there, or are not what was written."""

from collections.abc import Callable
from pathlib import Path

from bench.report.store import is_complete, verify_folder, write_whole

Note = Callable[[str], None]


def silent(text: str) -> None:
    """Tell nobody."""


def make_sound(folder: Path, write: Callable[[Path], None], *, note: Note) -> None:
    """Write a folder where it is not there, or not what was written; ``note`` is told of the second.

    Raises RunError (full disk, permission, …), and what ``write`` raises.
    """
    if is_complete(folder):
        problems = verify_folder(folder, stage="prepare")
        if not problems:
            return
        note(f"{problems[0]}: damaged, so {folder} is made again")
    write_whole(folder, write, stage="prepare")

"""Owns the list of all bad inputs."""

from collections.abc import Iterator

from tests.bad_inputs import command_lines, data_files, environments, folders, results_files, texts
from tests.bad_inputs.trying import Case


def all_cases() -> Iterator[Case]:
    """Every case of every kind."""
    yield from data_files.cases()
    yield from command_lines.cases()
    yield from texts.cases()
    yield from folders.cases()
    yield from results_files.cases()
    yield from environments.cases()

"""Settings of a suite, read from its ``suite.toml``: training, evaluation and presets."""

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from bench.core.assets import SUITES
from bench.core.manifest import first_fault
from bench.core.specs import EvaluationSpec, Execution, ProblemSpec, Spec, TrainSpec
from bench.errors import RunError, UsageError, did_you_mean


class Preset(Spec):
    """Named tuning protocol, the same for every objective: the searched axes and the budget."""

    axes: Annotated[tuple[str, ...], Field(description="what is searched; «own» is an objective's main parameter")]
    trials: Annotated[int, Field(gt=0, description="settings an objective gets in a sweep")]
    seeds: Annotated[int, Field(gt=0, description="training seeds of each setting, scored on validation prompts")]
    final_seeds: Annotated[int, Field(ge=0, description="fresh seeds of the best setting, scored on test prompts")]


class Suite(Spec):
    """Settings of one suite; training, evaluation and preset are the same for every objective that it compares.

    ``problem``: the dials of an enumerable problem, None for any other suite.
    """

    name: str
    version: int
    title: str
    description: str
    learning_rates: Annotated[tuple[float, float], Field(description="what a sweep of lr covers")]
    presets: Annotated[dict[str, Preset], Field(min_length=1, description="the first one is the default")]
    train: TrainSpec
    evaluation: EvaluationSpec
    execution: Annotated[Execution, Field(description="where the user says nothing")] = Execution()
    problem: ProblemSpec | None = None
    judges: Annotated[tuple[str, ...], Field(description="judges, where the user names none")] = ()
    turns: Annotated[
        bool, Field(description="plain strings of the user's data are turns, if the model has a chat template")
    ] = False

    @property
    def folder(self) -> Path:
        """Folder of the suite's code and assets."""
        return SUITES / self.name

    @property
    def gold_folder(self) -> Path | None:
        """Folder of the gold reward that the suite carries, None where it carries none."""
        folder = self.folder / "gold"
        return folder if folder.is_dir() else None

    def preset(self, name: str | None) -> tuple[str, Preset]:
        """Return a preset with its name; the default one for None.

        Raises:
            UsageError: there is no such preset.
        """
        chosen = next(iter(self.presets)) if name is None else name
        if chosen not in self.presets:
            raise UsageError(f"suite {self.name} has no protocol {name!r}", fix=did_you_mean(chosen, self.presets))
        return chosen, self.presets[chosen]


def suite_names() -> list[str]:
    """Return the names of the installed suites."""
    return sorted(path.parent.name for path in SUITES.glob("*/suite.toml"))


def get_suite(name: str) -> Suite:
    """Return a suite by name.

    Raises:
        UsageError: there is no such suite. RunError: its file is damaged.
    """
    path = SUITES / name / "suite.toml"
    if name not in suite_names():
        raise UsageError(f"unknown suite {name!r}", fix=did_you_mean(name, suite_names()))
    return read_suite(path)


def read_suite(path: Path) -> Suite:
    """Return the suite that a ``suite.toml`` describes. Raises RunError where it is damaged."""
    fix = "correct the file, or install lossbench again"
    try:
        suite = Suite.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise RunError(f"{path} is damaged: {first_fault(error)}", fix=fix) from error
    except (OSError, ValueError, RecursionError) as error:  # invalid TOML and UTF-8 are ValueErrors
        raise RunError(f"{path} is damaged: {error}", fix=fix) from error
    # The name is part of paths: the folder of the assets, and folders in the results.
    if suite.name != path.parent.name:
        raise RunError(f"{path} is damaged: name is {suite.name!r}, its folder is {path.parent.name!r}", fix=fix)
    return suite

"""Owns what a suite is: data, start model, evaluations and protocol, read from one TOML file and its assets."""

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from bench.errors import RunError, UsageError, did_you_mean
from bench.spec import EvaluationSpec, Spec, TrainSpec

HERE = Path(__file__).parent


class Suite(Spec):
    """One suite. The protocol (steps, batch, trials, seeds) is the same for every objective that it compares."""

    name: str
    version: int
    title: str
    description: str
    trials: Annotated[int, Field(gt=0, description="settings an objective gets in a sweep")]
    seeds: Annotated[int, Field(gt=0, description="training seeds of each setting, scored on validation prompts")]
    final_seeds: Annotated[int, Field(ge=0, description="fresh seeds of the best setting, scored on test prompts")]
    train: TrainSpec
    evaluation: EvaluationSpec

    @property
    def folder(self) -> Path:
        """Where the suite's assets lie."""
        return HERE / self.name


def suite_names() -> list[str]:
    """Names of the suites that this installation carries."""
    return sorted(path.parent.name for path in HERE.glob("*/suite.toml"))


def get_suite(name: str) -> Suite:
    """Return a suite by name.

    Raises:
        UsageError: there is no such suite. RunError: its file is damaged.
    """
    path = HERE / name / "suite.toml"
    if name not in suite_names():
        raise UsageError(f"unknown suite {name!r}", fix=did_you_mean(name, suite_names()))
    try:
        return Suite.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise RunError(f"{path} is damaged: {error}", fix="install lossbench again") from error

"""The request of ``bench run``; ``--set`` and ``--sweep`` texts become checked values before anything runs."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from bench.core.data_options import DataOptions
from bench.core.specs import EvaluationSpec, Execution, LoraSpec, ProblemSpec, TrainSpec
from bench.errors import UsageError, did_you_mean

Model = TypeVar("Model", bound=BaseModel)
SamplerName = Literal["grid", "tpe", "random"]
PrunerName = Literal["none", "median", "halving"]
LEARNING_RATE = "lr"
AUTO = "auto"
LARGEST = 2**53
"""The largest whole number that ``--set`` takes: a float still tells it from its neighbours."""
MOST_WORKERS = 1024
SECTIONS: dict[str, type[BaseModel]] = {
    "train": TrainSpec,
    "evaluation": EvaluationSpec,
    "execution": Execution,
    "lora": LoraSpec,
    "problem": ProblemSpec,
    "data": DataOptions,
}


@dataclass(frozen=True, kw_only=True)
class Request:
    """One ``bench run``, as typed. ``workers`` is None for as many as pay on this machine.

    ``data``: files of preferences, in order; None for the suite's own.
    ``patience``: seconds for which a storage may be away. ``lease``: seconds without a heartbeat after which a worker
    counts as gone.
    """

    losses: tuple[str, ...]
    suite: str
    results: Path
    sweep: str | None = None
    model: str | None = None
    data: tuple[Path, ...] | None = None
    protocol: str | None = None
    trials: int | None = None
    seeds: int | None = None
    settings: tuple[str, ...] = ()
    study: str | None = None
    storage: str | None = None
    sampler: SamplerName = "grid"
    workers: int | None = None
    processes: int = 1
    resume: bool = True
    loss_files: tuple[Path, ...] = ()
    pruner: PrunerName = "none"
    patience: float = 300.0
    lease: float = 120.0
    trackers: tuple[str, ...] = ()
    judges: tuple[str, ...] = ()
    prompts: Path | None = None
    chat_template: str | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What ``--set`` said: values for sections of the spec, and values for parameters of the objectives."""

    sections: Mapping[str, Mapping[str, Any]]
    params: Mapping[str, float]


def read_settings(texts: Sequence[str], *, params: Sequence[str]) -> Settings:
    """Read ``key=value`` texts: ``beta=0.05``, ``lr=1e-4``, ``train.steps=100``, ``lora.rank=8``, ``train.lora=true``.

    A name without a section is a parameter of the objectives first, then a field of train, evaluation, execution or
    problem.

    Args:
        params: the parameter names that the chosen objectives have.

    Raises:
        UsageError: no «=», or a name that nothing has.
    """
    sections: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    values: dict[str, float] = {}
    for text in texts:
        name, equals, given = text.partition("=")
        name = name.strip()
        if not equals or not name or not given.strip():
            raise UsageError(
                f"--set {text!r} is no key=value", fix="for example --set beta=0.05 or --set train.steps=100"
            )
        value = _value(given.strip(), text)
        if name == LEARNING_RATE:
            name = "train.learning_rate"
        if name in params:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise UsageError(f"--set {text}: {given.strip()!r} is no number", fix=f"for example --set {name}=0.1")
            values[name] = float(value)
            continue
        section, field = _field(name, text, params)
        if (section, field) == ("train", "lora"):
            sections["lora"] = sections["lora"] if isinstance(value, bool) else _whole(value, text)
            sections["train"]["lora"] = value is not False
            continue
        sections[section][field] = value
    return Settings(sections=sections, params=values)


def data_settings(data_format: str | None, columns: str | None) -> tuple[str, ...]:
    """Return ``--data-format`` and ``--columns`` as the settings that they are short for."""
    given = (("format", data_format), ("columns", columns))
    return tuple(f"data.{name}={value}" for name, value in given if value is not None)


def worker_count(text: str) -> int | None:
    """Read ``--workers``: a number, or None for «auto». Raises UsageError for anything else."""
    if text == AUTO:
        return None
    # Not isdigit(): it takes ² for a digit, and int() does not.
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= MOST_WORKERS:
        raise UsageError(
            f"--workers {text!r} is neither auto nor a number of processes from 1 to {MOST_WORKERS}",
            fix="--workers auto, or 2",
        )
    return int(text)


def apply(base: Model, changes: Mapping[str, Any], *, section: str) -> Model:
    """Return ``base`` with changes, checked again.

    Raises:
        UsageError: naming the field, the value, and what would be right.
    """
    try:
        return type(base).model_validate({**base.model_dump(), **changes})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"{section}.{field}={first['input']!r}: {first['msg'].lower()}", fix="see `bench run --help`"
        ) from error


def _field(name: str, text: str, params: Sequence[str]) -> tuple[str, str]:
    section, dot, field = name.partition(".")
    if dot and section in SECTIONS and field in SECTIONS[section].model_fields:
        return section, field
    if not dot:
        for candidate in ("train", "evaluation", "execution", "problem"):
            if name in SECTIONS[candidate].model_fields:
                return candidate, name
    known = [*params, LEARNING_RATE, *(f"{s}.{f}" for s, model in SECTIONS.items() for f in model.model_fields)]
    raise UsageError(f"--set {text}: nothing is called {name!r}", fix=did_you_mean(name, known))


def _value(given: str, text: str) -> Any:
    try:
        value = json.loads(given)
    except json.JSONDecodeError:
        return given
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets without end
        raise UsageError(
            f"--set {text[:60]}…: {str(error).split(';')[0]}", fix="give a number, a word or a list"
        ) from error
    if isinstance(value, int) and abs(value) > LARGEST:
        raise UsageError(f"--set {text[:60]}: nothing takes so large a number", fix=f"give at most {LARGEST}")
    return value


def _whole(value: Any, text: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"--set {text}: lora is true, false, or its fields", fix="for example --set lora.rank=8")
    return value

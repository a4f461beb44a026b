"""The request of a run: every option of ``bench run``, declared and checked once."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from bench.core.budget import Budget, read_budget
from bench.core.data_options import DataOptions
from bench.core.specs import STATED_POWERS, EvaluationSpec, Execution, LoraSpec, ProblemSpec, TrainSpec
from bench.errors import UsageError, did_you_mean
from losses.grammar import split_expressions

Model = TypeVar("Model", bound=BaseModel)
SamplerName = Literal["grid", "tpe", "random"]
PrunerName = Literal["none", "median", "halving"]
UntilName = Literal["decided"]
Text = Annotated[str, Field(min_length=1)]
LEARNING_RATE = "lr"
AUTO = "auto"
LARGEST = 2**53
"""The largest whole number that ``--set`` takes: a float still tells it from its neighbours."""
MOST_WORKERS = 1024
LONGEST_STUDY = 64
"""Characters of a study's name; file systems take 255 for name, objective and hash together."""
NAMED = {"sampler": SamplerName, "pruner": PrunerName, "until": UntilName}
"""The fields that take one of a few names."""
SECTIONS: Mapping[str, type[BaseModel]] = {
    "train": TrainSpec,
    "evaluation": EvaluationSpec,
    "execution": Execution,
    "lora": LoraSpec,
    "problem": ProblemSpec,
    "data": DataOptions,
}


@dataclass(frozen=True, kw_only=True)
class Option:
    """Who may set a field of ``RunRequest`` besides ``bench run``, and whether a study stores it.

    Fields:
        recipe: a recipe may set it.
        worker: ``bench worker`` may set it, because it is a path on this machine or says how this machine computes.
        stored: the study stores it for the workers that join; False for what each machine has of its own.
        later: it came when there were stored studies: at its default it is left out, so that these stay as they were.
    """

    recipe: bool = False
    worker: bool = False
    stored: bool = True
    later: bool = False


class RunRequest(BaseModel):
    """One ``bench run``: the options of a command line, a recipe, or the study that a worker joins.

    Fields that were set go before those of another request (``over``), so a request with few of them is an overlay.
    A field whose option has another name reads that name too: ``loss`` for ``losses``.

    Fields:
        data: files of preferences, in order; None for the suite's own.
        seeds: fresh seeds of the best setting; in a race at most so many.
        until: «decided» for a race over fresh seeds; None for as many of each objective.
        margin: of a race: the difference of the target below which objectives count as equal; None: the suite's.
        select_seeds: of a race: seeds that a setting which may be the best gets on validation prompts, at most.
        budget: of a race, as ``read_budget`` reads it; part of no key.
        workers: processes on this machine; None for as many as pay here.
        patience: seconds for which a storage may be away.
        lease: seconds without a heartbeat after which a worker counts as gone.

    Raises:
        UsageError: a sampler, pruner, study or number that does not exist or is out of range.
        ValidationError: a field of another type, or one that does not exist.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)

    losses: Annotated[tuple[Text, ...], Field(validation_alias="loss"), Option(recipe=True)] = ()
    sweep: Annotated[Text | None, Option(recipe=True)] = None
    suite: Annotated[Text, Option(recipe=True)] = "sentiment"
    model: Annotated[Text | None, Option(recipe=True, worker=True)] = None
    chat_template: Annotated[Text | None, Option(recipe=True)] = None
    data: Annotated[tuple[Path, ...] | None, Option(recipe=True, worker=True)] = None
    judges: Annotated[tuple[Text, ...], Field(validation_alias="judge"), Option(recipe=True)] = ()
    strong: Annotated[Text | None, Option(recipe=True, later=True)] = None
    prompts: Annotated[Path | None, Option(recipe=True)] = None
    protocol: Annotated[Text | None, Option(recipe=True)] = None
    trials: Annotated[int | None, Field(ge=1), Option(recipe=True)] = None
    seeds: Annotated[int | None, Field(ge=0), Option(recipe=True)] = None
    until: Annotated[UntilName | None, Option(recipe=True, later=True)] = None
    margin: Annotated[float | None, Option(recipe=True, later=True)] = None
    select_seeds: Annotated[int | None, Field(ge=1), Option(recipe=True, later=True)] = None
    budget: Annotated[str | None, Option(recipe=True, later=True)] = None
    settings: Annotated[tuple[str, ...], Field(validation_alias="set"), Option(recipe=True, worker=True)] = ()
    results: Annotated[Path, Field(validation_alias="out"), Option(worker=True)] = Path("results")
    study: Annotated[str | None, Option(worker=True, stored=False)] = None
    storage: Annotated[str | None, Option(worker=True, stored=False)] = None
    sampler: Annotated[SamplerName, Option()] = "grid"
    pruner: Annotated[PrunerName, Option()] = "none"
    patience: Annotated[float, Option()] = 300.0
    lease: Annotated[float, Option()] = 120.0
    workers: Annotated[int | None, Option(worker=True, stored=False)] = None
    processes: Annotated[int, Field(ge=1), Option()] = 1
    loss_files: Annotated[tuple[Path, ...], Field(validation_alias="loss_file"), Option(worker=True)] = ()
    resume: Annotated[bool, Option(stored=False)] = True
    trackers: Annotated[tuple[str, ...], Field(validation_alias="tracker"), Option(worker=True, stored=False)] = ()

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> "RunRequest":
        """Return the request of options by name; None and empty lists count as left out.

        Raises:
            UsageError: an option that cannot be right.
        """
        try:
            return cls.model_validate({name: value for name, value in options.items() if value not in (None, (), [])})
        except ValidationError as error:
            first = error.errors()[0]
            option = str(first["loc"][0]).replace("_", "-")
            raise UsageError(
                f"--{option}: {first['msg'].lower()} (got {first['input']!r})", fix="see `bench run --help`"
            ) from error

    @model_validator(mode="before")
    @classmethod
    def _losses(cls, values: object) -> object:
        """Split comma-separated losses; ``my_loss.py:my_loss`` is the loss ``my_loss`` of the file ``my_loss.py``."""
        if not isinstance(values, Mapping) or not (name := next((n for n in ("loss", "losses") if n in values), "")):
            return values
        texts = split_expressions(values[name]) if isinstance(values[name], str) else values[name]
        if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
            return values
        matches = [re.fullmatch(r"(.+\.py):(\w.*)", text) for text in texts]
        losses = tuple(text if match is None else match[2] for text, match in zip(texts, matches, strict=True))
        files = [Path(match[1]) for match in matches if match is not None]
        if not files:
            return {**values, name: losses}
        key = "loss_file" if "loss_file" in values else "loss_files"
        return {**values, name: losses, key: tuple(dict.fromkeys((*map(Path, values.get(key, ())), *files)))}

    @field_validator("sampler", "pruner", "until", mode="before")
    @classmethod
    def _known(cls, value: object, info: ValidationInfo) -> object:
        known = get_args(NAMED[str(info.field_name)])
        if isinstance(value, str) and value not in known:
            raise UsageError(f"unknown {info.field_name} {value!r}", fix=did_you_mean(value, known))
        return value

    @field_validator("margin")
    @classmethod
    def _margin(cls, value: float | None) -> float | None:
        if value is not None and not (math.isfinite(value) and value > 0):
            raise UsageError(
                f"--margin must be a difference of the target above 0 (got {value:g})", fix="for example --margin 0.1"
            )
        return value

    @field_validator("budget")
    @classmethod
    def _budget(cls, value: str | None) -> str | None:
        if value is not None:
            read_budget(value)
        return value

    @field_validator("patience", "lease")
    @classmethod
    def _seconds(cls, value: float, info: ValidationInfo) -> float:
        name = str(info.field_name)
        least = 0 if name == "patience" else 1
        if not (math.isfinite(value) and value >= least):
            raise UsageError(
                f"--{name} must be a finite number of seconds ≥ {least} (got {value:g})",
                fix=f"for example --{name} {cls.model_fields[name].default:g}",
            )
        return value

    @field_validator("workers", mode="before")
    @classmethod
    def _workers(cls, value: object) -> object:
        return worker_count(value) if isinstance(value, str) else value

    @field_validator("study")
    @classmethod
    def _study(cls, value: str | None) -> str | None:
        if value is not None:
            check_study_name(value)
        return value

    @property
    def limit(self) -> Budget:
        """What a race may cost."""
        return Budget() if self.budget is None else read_budget(self.budget)

    def changed(self, changes: Mapping[str, object]) -> "RunRequest":
        """Return the request with other values of some fields, checked as a new one."""
        fields = {name: getattr(self, name) for name in self.model_fields_set}
        return RunRequest.model_validate({**fields, **changes})

    def over(self, base: "RunRequest") -> "RunRequest":
        """Return ``base`` with every field that is set here in place of its own; ``settings`` are added to its own."""
        fields = {name: getattr(self, name) for name in self.model_fields_set}
        settings = (*base.settings, *self.settings)
        if "processes" in fields:  # among the settings of ``base`` may be execution.processes
            settings = (*settings, f"execution.processes={self.processes}")
        return base.changed({**fields, "settings": settings})

    def stored(self) -> dict[str, object]:
        """Return the fields that a study stores, by name."""
        values = {name: getattr(self, name) for name in fields_where(stored=True)}
        later = fields_where(later=True)
        return {k: v for k, v in values.items() if k not in later or v != type(self).model_fields[k].default}


def fields_where(
    *, recipe: bool | None = None, worker: bool | None = None, stored: bool | None = None, later: bool | None = None
) -> list[str]:
    """Return the fields of ``RunRequest`` whose ``Option`` has these values; None: whichever."""
    wanted = {"recipe": recipe, "worker": worker, "stored": stored, "later": later}
    return [
        name
        for name, option in _options()
        if all(value is None or getattr(option, key) == value for key, value in wanted.items())
    ]


def option_of(field: str) -> str:
    """Return the name of a field's option, as a keyword: ``loss`` for ``losses``, ``chat_template`` as it is."""
    return str(RunRequest.model_fields[field].validation_alias or field)


def _options() -> Iterable[tuple[str, Option]]:
    for name, field in RunRequest.model_fields.items():
        (option,) = (each for each in field.metadata if isinstance(each, Option))
        yield name, option


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The values of ``--set``: for sections of the spec, and for parameters of the objectives."""

    sections: Mapping[str, Mapping[str, object]]
    params: Mapping[str, float]


def read_settings(texts: Sequence[str], *, params: Sequence[str]) -> Settings:
    """Read ``key=value`` texts: ``beta=0.05``, ``lr=1e-4``, ``train.steps=100``, ``lora.rank=8``, ``train.lora=true``.

    A name without a section is a parameter of the objectives first, then a field of train, evaluation, execution or
    problem.

    Args:
        params: the parameter names that the chosen objectives have.

    Raises:
        UsageError: no «=», an unknown name, or a parameter that is not a number.
    """
    sections: dict[str, dict[str, object]] = {name: {} for name in SECTIONS}
    values: dict[str, float] = {}
    for text in texts:
        name, equals, right = (part.strip() for part in text.partition("="))
        if not (equals and name and right):
            raise UsageError(
                f"--set must have the form NAME=VALUE (got {text!r})",
                fix="for example --set beta=0.05 or --set train.steps=100",
            )
        value = _value(right, text)
        if name == LEARNING_RATE:
            name = "train.learning_rate"
        if name in params:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise UsageError(f"--set: {name} must be a number (got {right!r})", fix=f"for example --set {name}=0.1")
            values[name] = float(value)
            continue
        section, field = _field(name, params)
        if (section, field) == ("train", "lora"):
            sections["lora"] = sections["lora"] if isinstance(value, bool) else _lora(value, text)
            sections["train"]["lora"] = value is not False
            continue
        sections[section][field] = value
    return Settings(sections=sections, params=values)


def data_settings(data_format: str | None, columns: str | None, winner: str | None) -> tuple[str, ...]:
    """Return ``--data-format``, ``--columns`` and ``--winner`` as the settings that they are short for."""
    values = (("format", data_format), ("columns", columns), ("winner", winner))
    return tuple(f"data.{name}={value}" for name, value in values if value is not None)


def worker_count(text: str) -> int | None:
    """Read ``--workers``: a number, or None for «auto». Raises UsageError for anything else."""
    if text == AUTO:
        return None
    # Not isdigit(): it takes ² for a digit, and int() does not.
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= MOST_WORKERS:
        raise UsageError(
            f"--workers must be auto, or a number of processes from 1 to {MOST_WORKERS} (got {text!r})",
            fix="--workers auto, or 2",
        )
    return int(text)


def check_study_name(name: str) -> None:
    """Refuse a study's name that is not a plain file name, because studies are folders too. Raises UsageError."""
    if not re.fullmatch(rf"[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{LONGEST_STUDY - 1}}}", name):
        raise UsageError(
            f"--study must be a plain file name (got {name[:80]!r})",
            fix=f"up to {LONGEST_STUDY} letters, digits, and _ . - after the first, as in --study night",
        )


def apply(base: Model, changes: Mapping[str, object], *, section: str) -> Model:
    """Return ``base`` with changes, checked again.

    Raises:
        UsageError: naming the field, the value, and what would be right.
    """
    try:
        return type(base).model_validate({**base.model_dump(), **changes})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        # The rest as it is: it may quote names of columns, whose capitals matter.
        message = first["msg"].removeprefix("Value error, ")
        message = message[:1].lower() + message[1:]
        raise UsageError(f"{section}.{field}={first['input']!r}: {message}", fix="see `bench run --help`") from error


def _field(name: str, params: Sequence[str]) -> tuple[str, str]:
    section, dot, field = name.partition(".")
    if dot and section in SECTIONS and field in SECTIONS[section].model_fields:
        return section, field
    if not dot:
        for candidate in ("train", "evaluation", "execution", "problem"):
            if name in SECTIONS[candidate].model_fields:
                return candidate, name
    if name.removeprefix("execution.") in STATED_POWERS:
        raise UsageError(f"--set: {name} was removed: energy is measured or unknown", fix="leave it out")
    known = [*params, LEARNING_RATE, *(f"{s}.{f}" for s, model in SECTIONS.items() for f in model.model_fields)]
    raise UsageError(f"--set: unknown setting {name!r}", fix=did_you_mean(name, known))


def _value(right: str, text: str) -> object:
    try:
        value = json.loads(right)
    except json.JSONDecodeError:
        return right
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets without end
        raise UsageError(
            f"--set {text[:60]}…: {str(error).split(';')[0]}", fix="give a number, a word or a list"
        ) from error
    if isinstance(value, int) and abs(value) > LARGEST:
        raise UsageError(f"--set: a whole number must be at most {LARGEST} (got {text[:60]})", fix="give less")
    return value


def _lora(value: object, text: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise UsageError(
            f"--set: train.lora must be true, false, or an object of its fields (got {text})",
            fix="for example --set lora.rank=8",
        )
    return value

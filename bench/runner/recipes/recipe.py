"""Recipes: published experiments as options of ``bench run``, read from TOML files."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bench.core.request import RunRequest, Text, fields_where, option_of
from bench.errors import RunError, UsageError, did_you_mean

HERE = Path(__file__).parent
OPTIONS = {option_of(field): field for field in fields_where(recipe=True)}
"""The options of ``bench run`` that a recipe may set, and their fields."""
Whole = Annotated[int, Field(gt=0)]


class Read(BaseModel):
    """Base of what is read here: frozen, no unknown fields, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Estimate(Read):
    """What a part costs is computed from: the shape of its model, the size of its data, the device that is assumed."""

    parameters: Annotated[float, Field(gt=0, description="of the model, embedding and head counted once where tied")]
    layers: Whole
    hidden: Whole
    vocabulary: Whole
    tied: Annotated[bool, Field(description="embedding and head are one matrix")] = False
    pairs: Annotated[int, Field(gt=0, description="that are trained on")]
    prompt: Annotated[int, Field(gt=0, description="mean tokens of a prompt")]
    answer: Annotated[int, Field(gt=0, description="mean tokens of one answer")]
    device: Text
    peak: Annotated[float, Field(gt=0, description="of one device, TFLOP/s, as its maker states")]
    share: Annotated[float, Field(gt=0, le=1, description="of the peak that is assumed to be reached")]


class Part(Read):
    """One command of a recipe: its name, what its cost is computed from, and options of ``bench run`` by their names.

    ``request`` has the options that the file sets, and nothing else; any field with ``Option(recipe=True)`` is allowed.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    estimate: Estimate
    request: RunRequest

    @model_validator(mode="before")
    @classmethod
    def _options(cls, values: object) -> object:
        """Gather the options into ``request``."""
        if not isinstance(values, Mapping) or "request" in values:
            return values
        options = {name: value for name, value in values.items() if name in OPTIONS}
        rest = {name: value for name, value in values.items() if name not in OPTIONS}
        if "loss" not in options:
            raise ValueError("loss is missing")
        return {**rest, "request": options}

    @property
    def command(self) -> list[str]:
        """The words that a person would type."""
        words = ["bench", "run"]
        for option, field in OPTIONS.items():
            if field not in self.request.model_fields_set:
                continue
            value = getattr(self.request, field)
            values = (",".join(value),) if option == "loss" else value if isinstance(value, tuple) else (value,)
            for each in values:
                words += [f"--{option.replace('_', '-')}", str(each)]
        return words


class Recipe(Read):
    """One published experiment. ``expect``: what was published, with its source; ``differs``: what is not as there."""

    title: Text
    source: Annotated[tuple[Text, ...], Field(min_length=1)]
    asks: Text
    expect: Text
    differs: Text
    part: Annotated[tuple[Part, ...], Field(min_length=1)]

    def parts(self, name: str | None) -> tuple[Part, ...]:
        """Return the part of a name, or all for None. Raises UsageError: there is no such part."""
        parts = tuple(part for part in self.part if name in (None, part.name))
        if not parts:
            known = [part.name for part in self.part]
            raise UsageError(f"--part {name}: the recipe has no such part", fix=did_you_mean(str(name), known))
        return parts

    def requests(self, typed: RunRequest, *, part: str | None) -> tuple[tuple[Part, RunRequest], ...]:
        """Return each part, or the one of a name, with its request, in which the typed options replace the recipe's.

        Raises:
            UsageError: there is no such part.
        """
        requests = []
        for each in self.parts(part):
            request = typed.over(each.request)
            if typed.study is not None and len(self.part) > 1:
                # Two parts may have the same objective on other data, which is another study.
                request = request.changed({"study": f"{typed.study}-{each.name}"})
            requests.append((each, request))
        return tuple(requests)


def recipe_names() -> list[str]:
    """Return the names of the recipes of this installation."""
    return sorted(path.stem for path in HERE.glob("*.toml"))


def get_recipe(name: str) -> Recipe:
    """Return a recipe by name. Raises UsageError: there is no such recipe. RunError: its file is damaged."""
    if name not in recipe_names():
        raise UsageError(f"unknown recipe {name!r}", fix=did_you_mean(name, recipe_names()))
    return read_recipe(HERE / f"{name}.toml")


def read_recipe(path: Path) -> Recipe:
    """Return the recipe that a file describes.

    Raises:
        RunError: the file cannot be read, is not TOML, or has an unknown, missing or wrong field.
    """
    fix = "correct the file, or install lossbench again"
    try:
        recipe = Recipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(name) for name in first["loc"] if name != "request")
        known = f"; known: {', '.join(['name', 'estimate', *OPTIONS])}" if first["type"] == "extra_forbidden" else ""
        raise RunError(f"{path} is damaged: {field}: {first['msg'].lower()}{known}", fix=fix) from error
    except UsageError as error:  # an option that no request accepts
        raise RunError(f"{path} is damaged: {error.problem}", fix=fix) from error
    except (OSError, ValueError, RecursionError) as error:  # among them what TOML and UTF-8 refuse
        raise RunError(f"{path} is damaged: {error}", fix=fix) from error
    names = [part.name for part in recipe.part]
    if double := next((each for each in names if names.count(each) > 1), None):
        raise RunError(f"{path} is damaged: part: two have the name {double!r}", fix=fix)
    return recipe

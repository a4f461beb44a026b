"""Recipes: their fields, and the TOML file that each is read from."""

import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.errors import RunError, UsageError, did_you_mean

HERE = Path(__file__).parent
Text = Annotated[str, Field(min_length=1)]
Whole = Annotated[int, Field(gt=0)]
Amount = Annotated[float, Field(gt=0)]


class Read(BaseModel):
    """Base of what is read here: frozen, no unknown fields, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Options(Read):
    """Options of ``bench run`` by their own names; None and empty: not given."""

    loss: Text | None = None
    sweep: Text | None = None
    suite: Text | None = None
    model: Text | None = None
    chat_template: Text | None = None
    data: tuple[Text, ...] = ()
    judge: tuple[Text, ...] = ()
    prompts: Text | None = None
    protocol: Text | None = None
    trials: Annotated[int | None, Field(ge=1)] = None
    seeds: Annotated[int | None, Field(ge=0)] = None
    set: tuple[Text, ...] = ()

    def under(self, typed: "Options") -> "Options":
        """Return these options with those that were typed in their place; ``set`` has both, what was typed last."""
        given = {name: value for name, value in typed.given().items() if name != "set"}
        return self.model_copy(update={**given, "set": (*self.set, *typed.set)})

    def given(self) -> dict[str, Any]:
        """The options that say something, by name."""
        named = {name: getattr(self, name) for name in Options.model_fields}
        return {name: value for name, value in named.items() if value is not None and value != ()}


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


class Part(Options):
    """One command of a recipe."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    loss: Text
    estimate: Estimate

    @property
    def command(self) -> list[str]:
        """The words that a person would type."""
        words = ["bench", "run"]
        for name, value in self.given().items():
            for each in value if isinstance(value, tuple) else (value,):
                words += [f"--{name.replace('_', '-')}", str(each)]
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
        found = tuple(part for part in self.part if name in (None, part.name))
        if not found:
            known = [part.name for part in self.part]
            raise UsageError(f"--part {name}: the recipe has no such part", fix=did_you_mean(str(name), known))
        return found


def recipe_names() -> list[str]:
    """Names of the recipes that this installation carries."""
    return sorted(path.stem for path in HERE.glob("*.toml"))


def get_recipe(name: str) -> Recipe:
    """Return a recipe by name. Raises UsageError: there is no such recipe. RunError: its file is damaged."""
    if name not in recipe_names():
        raise UsageError(f"unknown recipe {name!r}", fix=did_you_mean(name, recipe_names()))
    return read_recipe(HERE / f"{name}.toml")


def read_recipe(path: Path) -> Recipe:
    """Return the recipe that a file describes.

    Raises:
        RunError: the file cannot be read, is no TOML, or a field of it is unknown, missing or wrong.
    """
    fix = "correct the file, or install lossbench again"
    try:
        recipe = Recipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        known = f"; known: {', '.join(Part.model_fields)}" if first["type"] == "extra_forbidden" else ""
        raise RunError(f"{path} is damaged: {field}: {first['msg'].lower()}{known}", fix=fix) from error
    except (OSError, ValueError, RecursionError) as error:  # among them what TOML and UTF-8 refuse
        raise RunError(f"{path} is damaged: {error}", fix=fix) from error
    called = [part.name for part in recipe.part]
    if double := next((each for each in called if called.count(each) > 1), None):
        raise RunError(f"{path} is damaged: part: two are called {double!r}", fix=fix)
    return recipe

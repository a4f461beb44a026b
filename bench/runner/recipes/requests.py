"""The way from options to requests: those of a recipe under those that were typed, or typed ones alone."""

from dataclasses import replace
from pathlib import Path

from bench.core.request import Request
from bench.runner.recipes.recipe import Options, Part, Recipe
from losses.grammar import split_expressions

SUITE = "sentiment"
"""The suite where neither the command line nor a recipe names one."""


def requests_of(recipe: Recipe, typed: Options, base: Request, *, part: str | None) -> tuple[tuple[Part, Request], ...]:
    """Return each part of a recipe, or the one that is named, with the request that it is.

    Raises:
        UsageError: there is no such part.
    """
    parts = recipe.parts(part)
    if base.study is None or len(recipe.part) == 1:
        return tuple((each, as_request(each.under(typed), base)) for each in parts)
    # Two parts may have the same objective on other data, which is another study.
    return tuple(
        (each, as_request(each.under(typed), replace(base, study=f"{base.study}-{each.name}"))) for each in parts
    )


def as_request(options: Options, base: Request) -> Request:
    """Return ``base`` with these options."""
    return replace(
        base,
        losses=split_expressions(options.loss or ""),
        sweep=options.sweep,
        suite=SUITE if options.suite is None else options.suite,
        model=options.model,
        data=tuple(map(Path, options.data)) or None,
        protocol=options.protocol,
        trials=options.trials,
        seeds=options.seeds,
        settings=options.set,
        judges=options.judge,
        prompts=None if options.prompts is None else Path(options.prompts),
        chat_template=options.chat_template,
    )

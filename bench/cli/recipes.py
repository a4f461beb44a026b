"""The options of ``bench recipes``."""

from typing import Annotated

import typer

from bench.cli.app import app

recipes_app = typer.Typer(help="List the recipes, or show one.", invoke_without_command=True)
app.add_typer(recipes_app, name="recipes")


@recipes_app.callback()
def recipes(context: typer.Context) -> None:
    """List the recipes: published experiments that `bench run --recipe NAME` runs again.

    Examples:  bench recipes · bench recipes show hf-blog · bench run --recipe hf-blog --dry-run
    """
    if context.invoked_subcommand is None:
        from bench.cli.recipes_command import list_recipes

        list_recipes()


@recipes_app.command("show")
def show_recipe(name: Annotated[str, typer.Argument(help="Example: bench recipes show simpo-table")]) -> None:
    """Show one recipe: its commands, what was published, and what differs here.  Example: bench recipes show hf-blog"""
    from bench.cli.recipes_command import show_recipe as show

    show(name)

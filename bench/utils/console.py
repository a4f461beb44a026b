"""Plain text on a console."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def say(console: "Console", text: str, *, style: str | None = None) -> None:
    """Print a text exactly as it is: no markup, no highlighting, and no line breaks of rich's own."""
    console.print(text, highlight=False, markup=False, soft_wrap=True, style=style)

"""Progress of an evaluation: its parts, and how far each of them is."""

from collections.abc import Callable

Report = Callable[[str, int, int], None]
"""Called with a part's name, and how many of how many items of it are done."""


def silent(part: str, done: int, total: int) -> None:
    """Report nothing."""


def counted(report: Report, part: str, total: int) -> Callable[[int], None]:
    """Return what counts items of a part that are done, and reports their sum."""
    done = 0

    def count(items: int) -> None:
        nonlocal done
        done = min(total, done + items)
        report(part, done, total)

    report(part, 0, total)
    return count

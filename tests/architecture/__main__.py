"""A table of a tree's measures: ``python -m tests.architecture [ROOT …]``; several roots stand side by side."""

import sys
from dataclasses import fields
from pathlib import Path

from tests.architecture.measures import Measures, measure

HERE = Path(__file__).parents[2]


def main(roots: list[Path]) -> None:
    """Print one row for each measure, one column for each tree."""
    trees = [measure(root) for root in roots]
    print("| measure |" + "".join(f" {root.name} |" for root in roots))
    print("|---|" + "---|" * len(roots))
    for field in fields(Measures):
        values = (getattr(tree, field.name) for tree in trees)
        print(f"| {field.name.replace('_', ' ')} |" + "".join(f" {_cell(value)} |" for value in values))


def _cell(value: object) -> str:
    if not isinstance(value, tuple):
        return str(value)
    if value and isinstance(value[0], tuple):
        return f"{len(value)} ({', '.join(str(len(circle)) for circle in value)} modules)"
    return " ".join(map(str, value)) or "0"


if __name__ == "__main__":
    main([Path(each) for each in sys.argv[1:]] or [HERE])

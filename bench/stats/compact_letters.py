"""Compact letter display: names that share a letter do not differ significantly."""

from collections.abc import Collection, Iterator, Sequence
from itertools import chain, count
from string import ascii_letters


def compact_letters(names: Sequence[str], different: Collection[frozenset[str]]) -> dict[str, str]:
    """Return the letters of each name (best first), so that two share one exactly where they are not different.

    ``different`` holds the pairs that a test told apart. Insert-and-absorb (Piepho 2004, J. Comput. Graph. Stat. 13,
    456): one letter for all at first; each pair that differs splits the letters that hold both, and a letter whose
    names another one holds is dropped. The best name has «a».
    Raises ValueError for a repeated name, and for a pair of other names.
    """
    position = {name: index for index, name in enumerate(names)}
    if len(position) != len(names):
        raise ValueError(f"names must be distinct, best first; got {list(names)}")
    pairs = sorted(sorted(position[name] for name in _known(pair, position)) for pair in different)
    columns = {frozenset(position.values())}
    for one, other in pairs:
        split = {column for column in columns if one in column and other in column}
        parts = {column - {gone} for column in split for gone in (one, other)}
        kept = columns - split
        # a part is within a column that was split, so no column that was kept is within a part
        columns = kept | {part for part in parts if not any(part < column for column in kept | parts)}
    letters = dict(zip(sorted(columns, key=sorted), _alphabet(), strict=False))
    return {
        name: "".join(letter for column, letter in letters.items() if index in column)
        for name, index in position.items()
    }


def _known(pair: frozenset[str], position: dict[str, int]) -> frozenset[str]:
    if len(pair) != 2 or not pair <= position.keys():
        raise ValueError(f"a difference must be between two of the names {list(position)}; got {sorted(pair)}")
    return pair


def _alphabet() -> Iterator[str]:
    """Yield a to z, A to Z, then the letters from Ā on."""
    return chain(ascii_letters, filter(str.isalpha, map(chr, count(0x100))))

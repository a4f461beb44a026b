"""The words of prompts by their token ids: what a judge is shown of them."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from bench.data.digests import Digests, first_places, ids_digests
from bench.data.preferences import Preferences
from bench.data.rows import words_of
from bench.data.stored_rows import StoredRows
from bench.data.stored_tokens import TokenFile, TokenRows
from bench.data.tokens import Encoded, Ids


class PromptWords(Mapping[Ids, str]):
    """Words of the prompts of data sets on disk, read from the rows when they are asked for.

    Of rows with the same ids the last one counts, of sets the one that was added last. Iteration goes over all rows.
    """

    def __init__(self) -> None:
        self._sets: list[tuple[Preferences, Encoded, Digests, NDArray[np.int64]]] = []

    def add(self, preferences: Preferences, encoded: Encoded, prompts: Digests) -> None:
        """Add the prompts of rows; ``encoded`` are their ids and ``prompts`` the digests of these."""
        order = np.lexsort((prompts["low"], prompts["high"]))
        self._sets.append((preferences, encoded, prompts[order], order))

    def __getitem__(self, ids: Ids) -> str:
        wanted = ids_digests([ids])[0]
        for preferences, _, prompts, order in reversed(self._sets):
            high = prompts["high"]
            start, end = int(np.searchsorted(high, wanted["high"])), int(np.searchsorted(high, wanted["high"], "right"))
            same = start + np.flatnonzero(prompts["low"][start:end] == wanted["low"])
            if len(same):
                return words_of(preferences.rows[int(order[same].max())].prompt)
        raise KeyError(ids)

    def rows_of(self, part: TokenRows) -> Iterator[StoredRows]:
        """Yield the rows that the distinct prompts of encoded rows first stand in, set by set."""
        firsts = first_places(part.group)
        for number, file in enumerate(part.files):
            here = firsts[part.file[firsts] == number]
            rows = next((rows for rows, encoded in self._rows() if encoded.folder == file.folder), None)
            if rows is not None and len(here):
                yield rows.take(part.place[here])

    def _rows(self) -> Iterator[tuple[StoredRows, TokenFile]]:
        """Yield the rows of each set as its file of ids numbers them."""
        for preferences, encoded, _, _ in self._sets:
            rows, ids = preferences.rows, encoded.rows
            assert isinstance(rows, StoredRows)
            assert isinstance(ids, TokenRows)
            whole = StoredRows(rows.folder)
            yield (whole if len(whole) == len(ids.files[0]) else rows), ids.files[0]

    def __iter__(self) -> Iterator[Ids]:
        return iter(dict.fromkeys(row.prompt_ids for _, encoded, _, _ in self._sets for row in encoded.rows))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return bool(self._sets)

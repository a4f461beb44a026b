"""Rows of an Arrow file, batch by batch: one row where it is asked for, or all of them in order."""

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

FILE = "rows.arrow"


class ArrowBatches:
    """The Arrow file of a folder, and the JSON beside it: what all rows share, and the size of each batch.

    Another process gets it by the names alone.
    """

    def __init__(self, folder: Path, about: str) -> None:
        self.folder = folder
        self._name = about

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getstate__(self) -> dict[str, object]:
        return {"folder": self.folder, "_name": self._name}

    @cached_property
    def about(self) -> dict[str, object]:
        """What all rows share."""
        about: dict[str, object] = json.loads((self.folder / self._name).read_text(encoding="utf-8"))
        return about

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """The first row of each batch, and the number of all rows."""
        return np.cumsum([0, *cast(list[int], self.about["batches"])])

    def at(self, row: int) -> tuple["pa.RecordBatch", int]:
        """Return the batch that has a row, and the row's place in it; mapped: what is not read is not in memory."""
        batch = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self._mapped.get_batch(batch), row - int(self.starts[batch])

    def read(self) -> Iterator[tuple[int, int, "pa.RecordBatch"]]:
        """Yield (first row, row after the last, batch); read and not mapped, so that they leave the memory again."""
        import pyarrow as pa

        with pa.OSFile(str(self.folder / FILE)) as file:
            reader = pa.ipc.open_file(file)
            for number in range(reader.num_record_batches):
                start, end = map(int, self.starts[number : number + 2])
                yield start, end, reader.get_batch(number)

    @cached_property
    def _mapped(self) -> "pa.ipc.RecordBatchFileReader":
        import pyarrow as pa

        return pa.ipc.open_file(pa.memory_map(str(self.folder / FILE)))

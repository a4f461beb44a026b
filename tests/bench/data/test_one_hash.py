"""The same rows have one content hash, whatever the container, the order of columns and of keys, and absent nulls."""

import csv
import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from bench.core.data_options import DataOptions
from bench.data.preferences import read_preferences

from .conftest import CHAT, PAIR, SINGLE
from .test_formats import FILES, HERE, options_of, raw
from .test_system_column import CASES as FORMATS

SCORED = PAIR | {"chosen_score": 2, "rejected_score": 0.5}
ROWS = [("plain", row) for row in (PAIR, SINGLE, CHAT, SCORED)] + FORMATS


def shuffled(value: Any, order: random.Random) -> Any:
    """Return a value with the keys of every object in another order."""
    if isinstance(value, dict):
        keys = list(value)
        order.shuffle(keys)
        return {key: shuffled(value[key], order) for key in keys}
    return [shuffled(each, order) for each in value] if isinstance(value, list) else value


def written(folder: Path, rows: list[dict]) -> list[Path]:
    """Write rows into every container that holds them."""
    import pyarrow as pa
    from pyarrow import ipc, parquet

    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "a.jsonl").write_text(lines, encoding="utf-8")
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (folder / "c.json").write_text(json.dumps(rows))
    (folder / "d.jsonl").write_bytes(lines.replace("\n", "\r\n").encode())
    paths = [folder / name for name in ("a.jsonl", "b.jsonl.gz", "c.json", "d.jsonl")]
    table = pa.Table.from_pylist(rows, schema=pa.Table.from_pylist([dict.fromkeys(names), *rows]).schema)
    parquet.write_table(table, folder / "e.parquet", row_group_size=2)
    with ipc.new_file(folder / "f.arrow", table.schema) as file:
        file.write_table(table)
    with ipc.new_stream(folder / "g.arrow", table.schema) as stream:
        stream.write_table(table)
    for name, sign in (("h.csv", ","), ("i.csv", ";"), ("j.csv", "\t")):
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter=sign)
            writer.writerow(names)
            writer.writerows([_cell(row.get(name)) for name in names] for row in rows)
    return [*paths, *(folder / name for name in ("e.parquet", "f.arrow", "g.arrow", "h.csv", "i.csv", "j.csv"))]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@pytest.mark.parametrize("form", ["messages", "auto"])
@pytest.mark.parametrize(("name", "row"), ROWS)
def test_rows_have_one_hash_in_every_container_and_order(tmp_path, name, row, form):
    order = random.Random(0)
    beside = {"id": "é1", "topic": None, "metadata": {"b": 1, "a": [1, 2]}}
    rows = [row | beside, row | beside | {"system": " "}, row | beside]
    plain = read_preferences(written(tmp_path, rows)[0], DataOptions(form=form))
    assert plain.format == name or "query" in row
    for _ in range(2):
        for path in written(tmp_path, [shuffled(each, order) for each in rows]):
            read = read_preferences(path, DataOptions(form=form))
            assert (path.name, read.content_hash, read.format) == (path.name, plain.content_hash, plain.format)
            assert read.rows == plain.rows
            assert set(read.columns.columns) == set(plain.columns.columns)


@pytest.mark.parametrize("name", FILES)
def test_published_rows_have_one_hash_with_their_keys_shuffled_and_their_nulls_left_out(tmp_path, name):
    rows = [shuffled(row, random.Random(1)) for row in raw(name)]
    whole = read_preferences(HERE / name, options_of(name))
    for each in (rows, [{key: value for key, value in row.items() if value is not None} for row in rows]):
        path = tmp_path / "a.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in each))
        assert read_preferences(path, options_of(name)).content_hash == whole.content_hash


def test_orca_rows_without_their_empty_system_column_are_what_they_are_with_it(tmp_path):
    row = {"input": "Name a prime.", "chosen": "11", "rejected": "12"}
    hashes = set()
    for beside in ({"system": None}, {"system": ""}, {}):
        path = tmp_path / "a.jsonl"
        path.write_text(json.dumps(row | beside) + "\n")
        read = read_preferences(path)
        hashes.add((read.format, read.content_hash))
    assert len(hashes) == 1

"""Files that cannot be read are refused by name, row and place: absent, empty, truncated, damaged, not UTF-8."""

import gzip
import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from bench.data.preferences import read_preferences
from bench.errors import UsageError

from .conftest import PAIR, write_rows


def test_an_absent_file_suggests_its_sibling(tmp_path):
    write_rows(tmp_path / "train_pairs.jsonl", [PAIR])
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UsageError, match=r"train_pair\.jsonl does not exist") as caught:
        read_preferences(tmp_path / "train_pair.jsonl")
    assert "did you mean 'train_pairs.jsonl'?" in str(caught.value)
    assert "notes" not in str(caught.value)
    with pytest.raises(UsageError, match="nor does its directory"):
        read_preferences(tmp_path / "no" / "a.jsonl")
    with pytest.raises(UsageError, match="is a directory without rows"):
        read_preferences(tmp_path.joinpath("empty").mkdir() or tmp_path / "empty")


def test_a_directory_of_many_files_is_not_listed_whole(tmp_path):
    for number in range(50):
        (tmp_path / f"part-{number:02}.jsonl").touch()
    with pytest.raises(UsageError, match=r"and 40 more") as caught:
        read_preferences(tmp_path / "part-7.jsonl")
    assert "did you mean 'part-" in str(caught.value)


@pytest.mark.parametrize("name", ["a.tsv", "a.txt", "a", "a.parquet.gz", "a.tar.gz"])
def test_an_unknown_suffix_is_refused_with_the_known_ones(tmp_path, name):
    (tmp_path / name).write_text("x")
    with pytest.raises(UsageError, match="suffix") as caught:
        read_preferences(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert ".jsonl, .jsonl.gz, .json, .json.gz, .parquet, .arrow, .csv, .csv.gz" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b""),
        ("b.jsonl", b"\n \n"),
        ("c.json", b"[]"),
        ("d.json", b" \n"),
        ("e.jsonl.gz", gzip.compress(b"")),
        ("f.jsonl", b"\xef\xbb\xbf"),
    ],
)
def test_a_file_without_rows_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=f"{name} is empty"):
        read_preferences(tmp_path / name)


def test_a_parquet_file_without_rows_is_refused(tmp_path):
    parquet.write_table(pa.table({name: pa.array([], pa.string()) for name in PAIR}), tmp_path / "a.parquet")
    with pytest.raises(UsageError, match=r"a\.parquet is empty"):
        read_preferences(tmp_path / "a.parquet")


def test_a_line_that_breaks_off_is_named_by_row_and_column(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(PAIR) + "\n" + json.dumps(PAIR)[:40])
    with pytest.raises(UsageError, match=r"a\.jsonl, row 2: invalid JSON at column \d+: .*near .*\n.*breaks off"):
        read_preferences(path)


@pytest.mark.parametrize("line", ["{'prompt': 'x'}", '{"prompt": "x",}', "nonsense", "[" * 100_000, "9" * 5_000])
def test_invalid_json_is_told_apart_from_rows_around_it(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([json.dumps(PAIR), line, json.dumps(PAIR)]))
    with pytest.raises(UsageError, match=r"row 2: invalid JSON"):
        read_preferences(path)


def test_an_invalid_json_file_is_named_by_line_and_column(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("[\n" + json.dumps(PAIR) + ",\n{]")
    with pytest.raises(UsageError, match=r"a\.json: invalid JSON at line 3, column 2"):
        read_preferences(path)
    path.write_text(json.dumps(PAIR))
    with pytest.raises(UsageError, match=r"one JSON object.*\n.*list of rows"):
        read_preferences(path)
    path.write_text(json.dumps(PAIR) + "\n" + json.dumps(PAIR))
    with pytest.raises(UsageError, match=r"name the file \.jsonl"):
        read_preferences(path)


@pytest.mark.parametrize("keep", [0.2, 0.6, 0.95])
def test_a_truncated_gzip_file_is_refused_with_the_last_good_row(tmp_path, keep):
    rows = [PAIR | {"prompt": f"{i * 7919 % 10007}"} for i in range(3000)]
    whole = write_rows(tmp_path / "a.jsonl.gz", rows).read_bytes()
    path = tmp_path / "b.jsonl.gz"
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(UsageError, match=r"b\.jsonl\.gz, row \d+: the gzip stream is broken after row \d+"):
        read_preferences(path)


def test_damaged_and_mislabelled_gzip_files_are_refused(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_text(json.dumps(PAIR))
    with pytest.raises(UsageError, match="gzip stream is broken after row 0"):
        read_preferences(path)
    whole = bytearray(gzip.compress((json.dumps(PAIR) + "\n").encode() * 100))
    whole[len(whole) // 2] ^= 0xFF
    path.write_bytes(whole)
    with pytest.raises(UsageError, match=r"a\.jsonl\.gz, row \d+"):
        read_preferences(path)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_corrupt_parquet_file_is_refused(tmp_path, keep):
    path = write_rows(tmp_path / "a.parquet", [PAIR] * 50)
    path.write_bytes(path.read_bytes()[:keep] or b"PAR1")
    with pytest.raises(UsageError, match=r"a\.parquet: not a readable parquet file.*\n.*truncated or damaged"):
        read_preferences(path)


def test_a_parquet_file_damaged_in_a_page_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.Table.from_pylist([PAIR | {"chosen": f"x{i}"} for i in range(5000)])
    parquet.write_table(table, path, compression="zstd")
    data = bytearray(path.read_bytes())
    data[200:2000] = bytes(1800)
    path.write_bytes(data)
    with pytest.raises(UsageError, match=r"a\.parquet.*not a readable parquet file"):
        read_preferences(path)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_bytes_that_are_not_utf8_are_named_by_row_and_offset(tmp_path, name, mark):
    line = json.dumps(PAIR).encode()
    bad = line.replace(b"ran", b"r\xe9n")
    parts = (b"", b"\n", b"") if name == "a.jsonl" else (b"[", b",\n", b"]")
    content = mark + parts[0] + line + parts[1] + bad + parts[2]
    (tmp_path / name).write_bytes(content)
    offset = content.index(b"\xe9")
    where = "row" if name == "a.jsonl" else "line"
    with pytest.raises(UsageError, match=rf"{name}, {where} 2: byte 0xe9 at offset {offset} is not UTF-8\n.*iconv"):
        read_preferences(tmp_path / name)


def test_parquet_strings_that_are_not_utf8_are_refused(tmp_path):
    column = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(bytes([0, 0, 0, 0, 2, 0, 0, 0])), pa.py_buffer(b"\xe9x")]
    )
    parquet.write_table(pa.table({"prompt": column, "chosen": ["a"], "rejected": ["b"]}), tmp_path / "a.parquet")
    with pytest.raises(UsageError, match=r"a\.parquet.*not UTF-8"):
        read_preferences(tmp_path / "a.parquet")

"""A data set may lie in any container, in one file or many: the rows and their hash are the same."""

import csv
import gzip
import json

import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict

from bench.core.data_options import DataOptions
from bench.data.files import TEST, TRAIN, VALIDATION, splits
from bench.data.hub import hub_id
from bench.data.preferences import read_preferences
from bench.errors import UsageError

from .conftest import CHAT, PAIR, SINGLE, write_rows

ROWS = [PAIR | {"prompt": f"Row {number}, «é»\n"} for number in range(7)]


def write_arrow(path, rows, *, stream):
    table = pa.Table.from_pylist(rows)
    opened = pa.ipc.new_stream if stream else pa.ipc.new_file
    with path.open("wb") as file, opened(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    return path


def write_csv(path, rows):
    opened = gzip.open if path.name.endswith(".gz") else open
    with opened(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def saved(folder, rows):
    Dataset.from_list(rows).save_to_disk(folder, num_shards=3)
    return folder


def hashed(path, **options):
    return read_preferences(path, DataOptions(**options)).content_hash


@pytest.mark.parametrize("rows", [ROWS, [CHAT] * 3], ids=["text", "messages"])
def test_every_container_of_the_same_rows_reads_alike(tmp_path, rows):
    expected = hashed(write_rows(tmp_path / "a.jsonl", rows))
    held = tmp_path / "held.json"
    held.write_text(json.dumps({"version": 1, "data": rows}))
    packed = tmp_path / "a.json.gz"
    packed.write_bytes(gzip.compress(json.dumps(rows).encode()))
    for path in (
        held,
        packed,
        write_arrow(tmp_path / "file.arrow", rows, stream=False),
        write_arrow(tmp_path / "stream.arrow", rows, stream=True),
        saved(tmp_path / "saved", rows),
    ):
        assert hashed(path) == expected, path


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_csv_file_has_strings_labels_and_scores(tmp_path, name):
    scored = [row | {"chosen_score": 2, "rejected_score": 0.5} for row in ROWS]
    assert hashed(write_csv(tmp_path / name, scored)) == hashed(write_rows(tmp_path / "b.jsonl", scored))
    labelled = [SINGLE, SINGLE | {"label": False, "prompt": "5"}]
    assert hashed(write_csv(tmp_path / name, labelled)) == hashed(write_rows(tmp_path / "c.jsonl", labelled))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("prompt,chosen,rejected\na,b,c\na,b,c,d\n", r"a\.csv, row 2: it has more cells than the header"),
        ("prompt,chosen,rejected\na,b\n", r"a\.csv, row 1: field 'rejected' is missing"),
        ('prompt,chosen,rejected\na,"b"x,c\n', r"a\.csv, row 1: no readable CSV"),
        ("prompt,prompt,rejected\na,b,c\n", r"a\.csv: column 'prompt' stands twice"),
        ("prompt,completion,label\na,b,maybe\n", r"a\.csv, row 1: field 'label': 'maybe'"),
        ("prompt,completion,label\na,b,\n", r"a\.csv, row 1: field 'label' is missing"),
        ("prompt,chosen,rejected\n", r"a\.csv is empty"),
    ],
)
def test_a_csv_file_that_cannot_be_right_is_refused(tmp_path, content, said):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(UsageError, match=said):
        read_preferences(tmp_path / "a.csv")


def test_csv_bytes_that_are_not_utf8_are_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"prompt,chosen,rejected\n\xe9,b,c\n")
    with pytest.raises(UsageError, match="0xe9 is not UTF-8"):
        read_preferences(tmp_path / "a.csv")


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_truncated_arrow_file_is_refused(tmp_path, keep):
    for stream in (True, False):
        path = write_arrow(tmp_path / "a.arrow", ROWS * 100, stream=stream)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
        with pytest.raises(UsageError, match=r"a\.arrow.*: not a readable Arrow file"):
            read_preferences(path)


def test_a_truncated_packed_list_is_refused(tmp_path):
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(json.dumps(ROWS * 100).encode())[:-20])
    with pytest.raises(UsageError, match=r"a\.json\.gz: the gzip stream is broken"):
        read_preferences(path)


def test_an_object_of_messages_is_no_file_of_rows(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"messages": CHAT["prompt"], "label": True}))
    with pytest.raises(UsageError, match="one JSON object"):
        read_preferences(path)


def test_shards_are_read_in_the_order_of_their_names_and_a_fault_names_its_shard(tmp_path):
    for number in (1, 0, 2):
        write_rows(tmp_path / f"part-{number:05}-of-00003.parquet", ROWS[2 * number : 2 * number + 2])
    assert hashed(tmp_path) == hashed(write_rows(tmp_path.parent / "all.jsonl", ROWS[:6]))
    write_rows(tmp_path / "part-00001-of-00003.parquet", [PAIR, PAIR | {"chosen": " "}])
    with pytest.raises(UsageError, match=r"part-00001-of-00003\.parquet, row 2: field 'chosen'"):
        read_preferences(tmp_path)


def test_files_named_after_splits_are_those_splits(tmp_path):
    for name, rows in (("train-0.jsonl", ROWS[:2]), ("train-1.jsonl", ROWS[2:4]), ("dev.jsonl", ROWS[4:5])):
        write_rows(tmp_path / name, rows)
    assert splits(tmp_path).keys() == {TRAIN, VALIDATION}
    assert [row.prompt for row in read_preferences(tmp_path).rows] == [row["prompt"] for row in ROWS[:4]]
    assert len(read_preferences(tmp_path, DataOptions(split="validation")).rows) == 1
    with pytest.raises(UsageError, match=r"no split 'test'.*\n.*data.split=validation or train|train or validation"):
        read_preferences(tmp_path, DataOptions(split="test"))
    write_rows(tmp_path / "extra.jsonl", ROWS)
    with pytest.raises(UsageError, match=r"named after splits, and extra\.jsonl beside them"):
        read_preferences(tmp_path)


def test_a_saved_data_set_has_the_splits_that_it_was_saved_with(tmp_path):
    DatasetDict(train=Dataset.from_list(ROWS[:4]), test=Dataset.from_list(ROWS[4:])).save_to_disk(tmp_path / "a")
    assert splits(tmp_path / "a").keys() == {TRAIN, TEST}
    assert len(read_preferences(tmp_path / "a").rows) == 4
    assert len(read_preferences(tmp_path / "a", DataOptions(split="test")).rows) == 3


def test_a_saved_data_set_that_names_files_elsewhere_is_refused(tmp_path):
    folder = saved(tmp_path / "a", ROWS)
    state = json.loads((folder / "state.json").read_text())
    state["_data_files"] = [{"filename": "../../secret.arrow"}]
    (folder / "state.json").write_text(json.dumps(state))
    with pytest.raises(UsageError, match="names no files of rows"):
        read_preferences(folder)


def test_a_folder_of_two_containers_is_refused(tmp_path):
    write_rows(tmp_path / "a.jsonl", ROWS)
    write_rows(tmp_path / "a.parquet", ROWS)
    with pytest.raises(UsageError, match=r"\.jsonl and \.parquet files, which may hold the same rows twice"):
        read_preferences(tmp_path)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("org/name", ("org/name", None, None)),
        ("org/name:train", ("org/name", None, "train")),
        ("org/name@v1.0:test", ("org/name", "v1.0", "test")),
        ("org/name@refs/pr/3", ("org/name", "refs/pr/3", None)),
        ("org/name.jsonl", None),
        ("name", None),
        ("a/b/c", None),
        ("../name", None),
        ("./name", None),
        ("/org/name", None),
        ("org/na me", None),
    ],
)
def test_what_is_an_id_of_the_hub(tmp_path, monkeypatch, text, found):
    from pathlib import Path

    monkeypatch.chdir(tmp_path)
    got = hub_id(Path(text))
    assert (got and (got.name, got.revision, got.split)) == found


def test_a_path_whose_directory_is_there_is_no_id_of_the_hub(tmp_path, monkeypatch):
    from pathlib import Path

    monkeypatch.chdir(tmp_path)
    (tmp_path / "org").mkdir()
    assert hub_id(Path("org/name")) is None
    with pytest.raises(UsageError, match="org/name does not exist"):
        read_preferences(Path("org/name"))

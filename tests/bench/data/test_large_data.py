"""Rows on disk are the same rows: read, filtered, encoded, split and described as in memory."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from bench.core.data_options import DataOptions
from bench.data import cache, reading, stored_rows
from bench.data.card import describe
from bench.data.encode import encode, split_by_prompt, unpair
from bench.data.encoded_splits import EncodedSplits, encode_splits, token_lengths
from bench.data.preferences import Preferences, Reading, preferences_in, read_preferences, scan
from bench.data.stored_rows import StoredRows
from bench.data.stored_tokens import TokenRows
from bench.data.table import read_encoded, write_encoded
from bench.data.tokens import Encoded
from bench.errors import UsageError
from bench.train.sampler import batch_units
from losses import get
from tests.bench.data.conftest import CHATML, assistant, user, write_rows
from tests.benchmarks.hh_rows import rows as hh_rows

MakeTokenizer = Callable[..., PreTrainedTokenizerFast]
ROWS = list(hh_rows(700, seed=3))
FAULTY = [
    *ROWS[:300],
    {"chosen": "x", "rejected": 3},
    *ROWS[:40],
    {"chosen": "\n\nHuman: a\n\nAssistant:"},
    *ROWS[300:],
]
PLAIN = [
    {"prompt": f"The cat {i % 90}", "chosen": " sat" * (i % 7 + 1), "rejected": " ran away", "chosen_score": i / 7}
    | {"rejected_score": -1.0 - i % 3}
    for i in range(600)
]
LABELLED = [
    {"prompt": [user(f"Q{i % 50}?")], "completion": [assistant(f"A{i}")], "label": i % 3 > 0} for i in range(600)
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv("LOSSBENCH_DATA_PROCESSES", "1")


@pytest.fixture
def on_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Choose whether data of any size lie on disk, or none do."""
    return lambda wanted: monkeypatch.setattr(stored_rows, "LARGE_BYTES", 0 if wanted else 2**60)


def _same(read: Callable[[], Any], on_disk: Callable[[bool], None]) -> Iterator[Any]:
    for wanted in (False, True):
        on_disk(wanted)
        yield read()


def _plain(read: Reading) -> tuple[Any, ...]:
    faults = [(where, str(fault), fault.fix, fault.kind) for where, fault in read.faults]
    kinds, columns = dict(read.fault_kinds), (read.columns.states(), read.columns.not_read())
    return read.format, read.raw, list(read.dropped.items()), faults, read.faulty, list(read.rows), kinds, columns


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.parquet"])
@pytest.mark.parametrize(
    "options",
    [
        DataOptions(),
        DataOptions(duplicates="drop"),
        DataOptions(drop_faulty=True, max_answer_characters=200, min_prompt_characters=40),
        DataOptions(form="text", duplicates="drop_near", near=0.5),
    ],
)
def test_rows_on_disk_are_those_in_memory(
    tmp_path: Path, on_disk: Callable[[bool], None], name: str, options: DataOptions
) -> None:
    path = write_rows(tmp_path / name, ROWS[:200] + ROWS[:20] if "parquet" in name else FAULTY)
    memory, disk = _same(lambda: scan(path, options), on_disk)
    assert isinstance(disk.rows, StoredRows)
    assert _plain(memory) == _plain(disk)
    one, two = preferences_in(memory, source="x"), preferences_in(disk, source="x")
    assert (one.content_hash, one.kind) == (two.content_hash, two.kind)
    for place in (0, 7, -1):
        assert disk.rows[place] == memory.rows[place]
    assert list(disk.rows[5:60:3]) == list(memory.rows[5:60:3])


def test_shards_keep_their_names_and_the_first_faulty_row_is_named(
    tmp_path: Path, on_disk: Callable[[bool], None]
) -> None:
    (tmp_path / "data").mkdir()
    write_rows(tmp_path / "data" / "a.jsonl", ROWS)
    write_rows(tmp_path / "data" / "b.jsonl", FAULTY)
    memory, disk = _same(lambda: scan(tmp_path / "data"), on_disk)
    assert _plain(memory) == _plain(disk)
    with pytest.raises(UsageError, match=r"b\.jsonl, row 301: .* \(1 further row is faulty too"):
        read_preferences(tmp_path / "data")


def test_processes_read_and_encode_the_same(
    tmp_path: Path, on_disk: Callable[[bool], None], make_tokenizer: MakeTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOSSBENCH_DATA_PROCESSES", "2")
    monkeypatch.setattr(stored_rows, "ROWS_AT_ONCE", 50)
    path = write_rows(tmp_path / "rows.jsonl", FAULTY)
    tokenizer = make_tokenizer(bos_token=None, eos_token="<|im_end|>", chat_template=CHATML)
    memory, disk = _same(lambda: scan(path), on_disk)
    assert _plain(memory) == _plain(disk)
    one, two = (encode(preferences_in(each, source="x"), tokenizer, max_length=3770) for each in (memory, disk))
    assert list(one.rows) == list(two.rows)


def _sets(tmp_path: Path, make_tokenizer: MakeTokenizer) -> list[tuple[Path, PreTrainedTokenizerFast]]:
    chat = make_tokenizer(bos_token=None, eos_token="<|im_end|>", chat_template=CHATML)
    text = make_tokenizer()
    return [
        (write_rows(tmp_path / "hh.jsonl", ROWS), chat),
        (write_rows(tmp_path / "plain.jsonl", PLAIN), text),
        (write_rows(tmp_path / "labelled.jsonl", LABELLED), chat),
    ]


@pytest.mark.parametrize("number", range(3))
def test_ids_splits_and_hashes_on_disk_are_those_in_memory(
    tmp_path: Path, on_disk: Callable[[bool], None], make_tokenizer: MakeTokenizer, number: int
) -> None:
    path, tokenizer = _sets(tmp_path, make_tokenizer)[number]
    short = {0: 3720, 1: 30, 2: 40}[number]
    one, two = _same(lambda: encode(read_preferences(path), tokenizer, max_length=short), on_disk)
    assert isinstance(two.rows, TokenRows)
    assert list(one.rows) == list(two.rows)
    assert (one.content_hash, one.kind, one.eos_id, one.pad_id) == (two.content_hash, two.kind, two.eos_id, two.pad_id)
    for name in ("lengths", "groups", *(["score_gaps"] if one.kind == "pairs" else ["labels"])):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    for here, there in zip(
        *(split_by_prompt(each, fractions=(0.7, 0.2, 0.1), seed=1) for each in (one, two)), strict=True
    ):
        assert list(here.rows) == list(there.rows)
        assert here.content_hash == there.content_hash
    if one.kind == "pairs":
        assert list(unpair(one).rows) == list(unpair(two).rows)
        assert unpair(one).content_hash == unpair(two).content_hash
    objective = get("kto")
    assert list(batch_units(one, objective)) == list(batch_units(two, objective))
    write_encoded(two, tmp_path)
    again = read_encoded(tmp_path)
    assert list(again.rows) == list(one.rows)
    assert again.content_hash == one.content_hash


@pytest.mark.parametrize(
    "limits",
    [{"max_length": 500, "on_long": "error"}, {"max_length": 60}, {"max_length": 4000, "max_prompt_length": 200}],
)
def test_limits_are_refused_with_the_same_words(
    tmp_path: Path, on_disk: Callable[[bool], None], make_tokenizer: MakeTokenizer, limits: dict[str, Any]
) -> None:
    path, tokenizer = _sets(tmp_path, make_tokenizer)[0]
    texts = []
    for wanted in (False, True):
        on_disk(wanted)
        with pytest.raises(UsageError) as error:
            encode(read_preferences(path), tokenizer, **limits)
        texts.append(str(error.value))
    assert texts[0] == texts[1]


def test_answers_that_are_equal_once_cut_and_ids_beyond_the_model_are_refused_likewise(
    tmp_path: Path, on_disk: Callable[[bool], None], make_tokenizer: MakeTokenizer
) -> None:
    rows = [*PLAIN[:20], {"prompt": "The cat", "chosen": " sat" * 30 + " a", "rejected": " sat" * 30 + " b"}]
    path = write_rows(tmp_path / "plain.jsonl", [{k: row[k] for k in ("prompt", "chosen", "rejected")} for row in rows])
    tokenizer = make_tokenizer()
    for kind in ({"max_length": 20}, {"max_length": 900, "embeddings": 200}):
        texts = []
        for wanted in (False, True):
            on_disk(wanted)
            with pytest.raises(UsageError) as error:
                encode(read_preferences(path), tokenizer, **kind)
            texts.append(str(error.value))
        assert texts[0] == texts[1]


@pytest.mark.parametrize("large", [(False, True), (True, False), (True, True)])
def test_several_sets_and_limits_in_tokens(
    tmp_path: Path, on_disk: Callable[[bool], None], make_tokenizer: MakeTokenizer, monkeypatch: pytest.MonkeyPatch,
    large: tuple[bool, bool],
) -> None:  # fmt: skip
    tokenizer = make_tokenizer(bos_token=None, eos_token="<|im_end|>", chat_template=CHATML)
    paths = [write_rows(tmp_path / "a.jsonl", ROWS[:400]), write_rows(tmp_path / "b.jsonl", ROWS[350:])]
    held_out = write_rows(tmp_path / "test.jsonl", ROWS[380:420])
    options = DataOptions(max_tokens=700, test=held_out)

    def read(sizes: dict[str, bool]) -> tuple[EncodedSplits, list[str]]:
        monkeypatch.setattr("bench.data.preferences.is_large", lambda path, options: sizes.get(path.name, False))
        notes: list[str] = []
        split = encode_splits(paths, options, tokenizer, max_length=650, fractions=(0.8, 0.1, 0.1), note=notes.append)
        return split, notes

    one, notes_one = read({})
    two, notes_two = read({"a.jsonl": large[0], "b.jsonl": large[1], "test.jsonl": large[1]})
    assert notes_one == notes_two
    assert one.split.sets == two.split.sets
    assert one.split.content == two.split.content
    for name, part in one.split.parts.items():
        other = two.split.parts[name]
        assert list(part.rows) == list(other.rows)
        assert part.content_hash == other.content_hash
        for row in part.rows:
            assert one.words[row.prompt_ids] == two.words[row.prompt_ids]


def test_nothing_is_read_or_encoded_twice(
    tmp_path: Path, on_disk: Callable[[bool], None], make_tokenizer: MakeTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, tokenizer = _sets(tmp_path, make_tokenizer)[0]
    on_disk(True)
    first = token_lengths(read_preferences(path), tokenizer)

    def refuse(*_: object) -> None:
        raise AssertionError("done twice")

    monkeypatch.setattr(stored_rows, "read_part", refuse)
    monkeypatch.setattr("bench.data.stored_encode.RowEncoder", refuse)
    read = read_preferences(path, DataOptions(duplicates="drop"))
    np.testing.assert_array_equal(encode(read, tokenizer, max_length=2**40).lengths, first)
    path.write_text(path.read_text().replace("Human", "Human", 1) + json.dumps(ROWS[0]) + "\n")
    with pytest.raises(AssertionError, match="done twice"):
        read_preferences(path)


def test_other_templates_and_tokenizers_have_other_ids(
    tmp_path: Path, on_disk: Callable[[bool], None], make_tokenizer: MakeTokenizer
) -> None:
    path, tokenizer = _sets(tmp_path, make_tokenizer)[0]
    spaced = CHATML.replace("role }}\n", "role }}: \n").replace("assistant\n", "assistant: \n")
    other = make_tokenizer(bos_token=None, eos_token="<|im_end|>", chat_template=spaced)
    on_disk(True)
    read = read_preferences(path)
    assert not (token_lengths(read, tokenizer) == token_lengths(read, other)).all()


def test_a_damaged_entry_is_made_again_and_two_at_once_make_one(tmp_path: Path) -> None:
    made = []

    def write(folder: Path) -> None:
        made.append(folder)
        (folder / "content").write_text("whole")

    entries: list[Path] = []
    threads = [threading.Thread(target=lambda: entries.append(cache.cached("x", ["key"], write))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert len(set(entries)) == 1
    (entries[0] / "content").write_text("cut")
    assert (cache.cached("x", ["key"], write) / "content").read_text() == "whole"
    assert len(made) == 2


def test_an_entry_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise UsageError("no")

    with pytest.raises(UsageError):
        cache.cached("x", ["key"], fail)
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


def test_without_the_cache_nothing_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(cache.VARIABLE, "off")
    folder = cache.cached("x", ["key"], lambda partial: (partial / "a").touch())
    assert not (tmp_path / "cache").exists()
    assert folder.parent.name.startswith("lossbench-data-")


def test_the_card_is_the_same(tmp_path: Path, on_disk: Callable[[bool], None], make_tokenizer: MakeTokenizer) -> None:
    for path, tokenizer in _sets(tmp_path, make_tokenizer):

        def card() -> dict[str, object]:
            read = scan(path)  # noqa: B023
            tokens = token_lengths(preferences_in(read, source="x"), tokenizer)  # noqa: B023
            return describe(read, source="x", tokens=tokens, max_length=60).as_json()

        memory, disk = _same(card, on_disk)
        assert memory == disk


def test_every_part_of_the_readers_is_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Path(reading.__file__).parent == Path(cache.__file__).parent
    before = cache.code_version()
    cache.code_version.cache_clear()
    monkeypatch.setattr(cache, "version", lambda name: "another")
    assert cache.code_version() != before
    cache.code_version.cache_clear()


def test_a_slice_of_held_out_rows_stays_on_disk(
    tmp_path: Path, on_disk: Callable[[bool], None], make_tokenizer: MakeTokenizer
) -> None:
    path, tokenizer = _sets(tmp_path, make_tokenizer)[0]
    on_disk(True)
    whole: Encoded = encode(read_preferences(path), tokenizer, max_length=3770)
    assert isinstance(replace(whole, rows=whole.rows[:8]).rows, TokenRows)
    read: Preferences = read_preferences(path)
    assert read.rows[3] == list(read.rows)[3]

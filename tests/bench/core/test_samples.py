"""The file of sampled completions."""

import gzip
import math

import pytest

from bench.core.samples import SampleRow, read_samples, write_samples
from bench.errors import RunError

ROWS = [
    SampleRow(
        prompt_ids=(0, 1), completion_ids=(3, 0), ended=True, prompt="één", text="“film”\n", gold=0.1 + 0.2, kl=math.pi
    ),
    SampleRow(
        prompt_ids=(2,), completion_ids=(4,), ended=False, prompt="", text="a\u2028b\x85c\x0cd", gold=-1e-300, kl=0.0
    ),
]


def test_what_is_read_is_what_was_written_line_separators_of_unicode_too(tmp_path):
    write_samples(tmp_path / "a.jsonl.gz", ROWS)
    assert read_samples(tmp_path / "a.jsonl.gz") == ROWS


def test_equal_rows_give_equal_bytes_and_leave_no_other_file(tmp_path):
    for name in ("a", "b"):
        write_samples(tmp_path / name, ROWS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"no gzip", "damaged"),
        (gzip.compress(b'{"prompt": [1]}\n'), "line 1: needs prompt_ids, completion_ids, .*; holds prompt"),
        (gzip.compress(b"{}}\n"), "line 1: not JSON"),
        (gzip.compress(b"x" * 999)[:-9], "damaged"),
    ],
    ids=["no gzip", "field missing", "no JSON", "cut short"],
)
def test_a_damaged_file_is_named_with_its_fault(tmp_path, content, named):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(RunError, match=named):
        read_samples(tmp_path / "a")


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(RunError, match=r"absent\.gz cannot be read"):
        read_samples(tmp_path / "absent.gz")

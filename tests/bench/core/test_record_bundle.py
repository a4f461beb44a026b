"""A bundle of records: the same tables from one file as from the runs, and a clear word where it is damaged."""

import gzip

import pytest

from bench.cli.reports import publish
from bench.core.record_bundle import BUNDLE, read_bundle, write_bundle
from bench.core.results import load_records
from bench.errors import RunError, UsageError
from bench.report.tables.leaderboard import write_leaderboard
from tests.bench.report.conftest import study, write_records

TABLES = ("leaderboard.csv", "leaderboard.md", "leaderboard.tex", "leaderboard-cost.csv")


def test_what_is_published_makes_the_same_tables_as_the_runs(tmp_path):
    runs, published = tmp_path / "runs-here", tmp_path / "published"
    write_records(runs, study(("dpo", "ipo")))
    write_leaderboard(runs)
    publish(published, out=runs)
    for name in TABLES:
        assert (published / name).read_bytes() == (runs / name).read_bytes(), name
    assert load_records(published) == load_records(runs)
    assert {"report.html", "figures", "written.json", BUNDLE, *TABLES} == {path.name for path in published.iterdir()}


def test_one_protocol_is_published_alone(tmp_path):
    write_records(tmp_path / "r", [*study(("dpo",)), *study(("ipo",), protocol="q" * 16)])
    publish(tmp_path / "p", out=tmp_path / "r", protocol="qqqq")
    assert {record.protocol for record in load_records(tmp_path / "p")} == {"q" * 16}


def test_equal_records_give_an_equal_file_and_come_back_as_they_were(tmp_path):
    records = study(("dpo",))
    one, two = write_bundle(records, tmp_path / "1"), write_bundle(records, tmp_path / "2")
    assert one.read_bytes() == two.read_bytes()
    assert read_bundle(tmp_path / "1") == records
    assert read_bundle(tmp_path) == []
    with pytest.raises(UsageError, match="no finished runs"):
        write_bundle([], tmp_path)


@pytest.mark.parametrize("damage", ["cut", "no gzip", "no json", "version", "field"])
def test_a_damaged_bundle_is_named_with_its_fault(tmp_path, damage):
    path = write_bundle(study(("dpo",)), tmp_path)
    text = gzip.decompress(path.read_bytes())
    changed, message = {
        "cut": (path.read_bytes()[:-20], "is damaged"),
        "no gzip": (b"x", "is damaged"),
        "no json": (gzip.compress(text + b"{"), "line 11: no record"),
        "version": (gzip.compress(text.replace(b'_version":2', b'_version":7')), "line 1: record version 7"),
        "field": (gzip.compress(text.replace(b'"status"', b'"state"')), "line 1: no record: "),
    }[damage]
    path.write_bytes(changed)
    with pytest.raises(RunError) as caught:
        load_records(tmp_path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)

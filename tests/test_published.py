"""What is published is what its records say: every table is made again from them and compared byte for byte."""

from pathlib import Path

import pytest

from bench.report.bundle import BUNDLE
from bench.report.leaderboard import write_leaderboard
from bench.report.store import load_records

PUBLISHED = Path(__file__).parents[1] / "results" / "published"
FOLDERS = sorted(path.parent for path in PUBLISHED.glob(f"*/{BUNDLE}"))
TABLES = ("leaderboard.csv", "leaderboard.md", "leaderboard.tex", "leaderboard-cost.csv")


def test_reference_results_are_published():
    assert {"exact", "sentiment"} <= {folder.name for folder in FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_published_tables_come_from_the_published_records(tmp_path, folder):
    (tmp_path / BUNDLE).symlink_to(folder / BUNDLE)
    write_leaderboard(tmp_path, tidy=False)
    for name in TABLES:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), f"{folder.name}/{name}"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_published_records_are_of_one_protocol_and_nothing_is_missing(folder):
    records = load_records(folder)
    assert len({record.protocol for record in records}) == 1
    tuning = records[0].tuning
    for name in {record.spec.objective for record in records} - {"start"}:
        own = [record for record in records if record.spec.objective == name]
        tried = {record.spec.model_copy(update={"seed": 0}).key for record in own if record.evaluation.split != "test"}
        reported = {record.spec.seed for record in own if record.evaluation.split == "test"}
        assert len(tried) == tuning["trials"], name
        assert reported in (set(tuning["final_seeds"]), set()), name

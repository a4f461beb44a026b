"""What is published is what its records say: every table is made again from them and compared byte for byte."""

from pathlib import Path

import pytest

from bench.core.record_bundle import BUNDLE
from bench.core.results import load_records
from bench.report.figures.reproduced import DRAWINGS, write_reproduced
from bench.report.tables.leaderboard import write_leaderboard

PUBLISHED = Path(__file__).parents[1] / "results" / "published"
FOLDERS = sorted(path.parent for path in PUBLISHED.glob(f"*/{BUNDLE}"))
TABLES = ("leaderboard.csv", "leaderboard.md", "leaderboard.tex", "leaderboard-cost.csv")


def test_reference_results_are_published():
    assert {"exact", "sentiment", "sentiment-five"} <= {folder.name for folder in FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_published_tables_come_from_the_published_records(tmp_path, folder):
    (tmp_path / BUNDLE).symlink_to(folder / BUNDLE)
    write_leaderboard(tmp_path, tidy=False)
    for name in TABLES:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), f"{folder.name}/{name}"


@pytest.mark.parametrize("name", sorted(DRAWINGS))
def test_the_numbers_of_published_known_results_come_from_their_records(tmp_path, name):
    folder = PUBLISHED / "known" / name
    (tmp_path / BUNDLE).symlink_to(folder / BUNDLE)
    write_reproduced(name, tmp_path, formats=("png",))
    assert (tmp_path / f"{name}.csv").read_bytes() == (folder / f"{name}.csv").read_bytes()


def test_dpo_lowers_the_log_probs_of_what_was_chosen():
    """arXiv 2404.12358, 2402.13228: both sides fall, the rejected one further; on held-out pairs, over all seeds."""
    records = [r for r in load_records(PUBLISHED / "sentiment") if r.spec.objective == "dpo"]
    assert len(records) >= 10
    for record in records:
        chosen, rejected = record.metric("chosen_shift").value, record.metric("rejected_shift").value
        assert rejected < chosen < 0


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
        if "race" in tuning:
            counts = tuning["race"]["looks"]
            assert reported in [set(tuning["final_seeds"][:count]) for count in counts], name
        else:
            assert reported in (set(tuning["final_seeds"]), set()), name

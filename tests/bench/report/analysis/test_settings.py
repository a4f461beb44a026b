"""Grouping of records into settings: which records count, and what differs between settings."""

from bench.report.analysis.costs import total_cost
from bench.report.analysis.settings import group_records
from tests.bench.report.conftest import record, run_spec


def test_a_setting_of_which_no_record_counts_is_no_setting():
    """Test runs of a setting whose validation run is gone, beside another setting that validation chose."""
    left = record(run_spec("dpo", beta=0.3, seed=1), split="test")
    (group,) = group_records([record(run_spec("dpo", beta=0.1)), left])
    assert [setting.param("beta") for setting in group.settings] == [0.1]
    assert all(total_cost(setting).runs for setting in group.settings)


def test_training_fields_that_differ_are_named_also_where_one_setting_lacks_them():
    one, other = run_spec("dpo", beta=0.1), run_spec("dpo", beta=0.3)
    longer = other.model_copy(update={"train": other.train.model_copy(update={"steps": other.train.steps + 1})})
    (group,) = group_records([record(one), record(longer)])
    assert "steps" in group.differing
    (group,) = group_records([record(one), record(other)])
    assert group.differing == ()

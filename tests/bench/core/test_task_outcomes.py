"""Outcomes of tasks in records: their form, and records from before they were kept."""

import json

import pytest
from pydantic import ValidationError

from bench.core.record import RunRecord
from bench.core.record_bundle import read_bundle, write_bundle
from bench.core.task_outcomes import TaskOutcomes, judging_metric, packed
from tests.bench.report.conftest import record, run_spec

OUTCOMES = TaskOutcomes(metric="acc", documents="d" * 16, values="0110", clustered_by="UID", clusters=(3, 1))


def test_right_and_wrong_take_a_character_each_and_other_values_a_number():
    assert packed([1.0, 0.0, 1.0]) == "101"
    assert packed([1.0, 0.25]) == (1.0, 0.25)
    assert OUTCOMES.numbers == [0.0, 1.0, 1.0, 0.0]
    assert not TaskOutcomes(metric="f1", documents="d", values=(1.0, 0.25)).binary


@pytest.mark.parametrize("change", [{"values": "0120"}, {"clusters": (3,)}, {"clusters": (4, 0)}])
def test_what_cannot_be_outcomes_is_refused(change):
    with pytest.raises(ValidationError):
        TaskOutcomes.model_validate(OUTCOMES.model_dump() | change)


def test_a_record_without_outcomes_keeps_its_bytes_and_one_with_them_comes_back(tmp_path):
    old = record(run_spec(), split="test")
    assert "outcomes" not in json.loads(old.model_dump_json())
    new = old.model_copy(update={"outcomes": {"blimp": OUTCOMES}})
    assert RunRecord.model_validate_json(new.model_dump_json()) == new
    write_bundle([old, new], tmp_path)
    assert [each.outcomes for each in read_bundle(tmp_path)] == [{}, {"blimp": OUTCOMES}]


def test_a_task_is_judged_by_the_measure_that_its_papers_report():
    assert judging_metric(["acc", "acc_norm"]) == "acc_norm"
    assert judging_metric(["exact_match,strict-match", "exact_match,flexible-extract"]) == "exact_match,strict-match"
    assert judging_metric(["f1", "exact_match,x"]) == "exact_match,x"
    assert judging_metric(["f1"]) == "f1"
    assert judging_metric([]) is None

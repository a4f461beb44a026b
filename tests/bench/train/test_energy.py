"""Energy: what the machine's counters measured, and no figure where they did not."""

import time

import pytest
import torch

from bench.core.record import Cost, Energy, RunRecord
from bench.core.specs import Execution
from bench.train import energy
from bench.train.energy import energy_of, start_meter, total_energy
from tests.bench.report.conftest import record, run_spec
from tests.bench.train.distributed.many import train_all
from tests.bench.train.distributed.material import job, spec_of, trained

CPU = torch.device("cpu")
COUNTER = 262_143_328_850


def package(powercap, name, value):
    folder = powercap / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "energy_uj").write_text(f"{value}\n")
    (folder / "max_energy_range_uj").write_text(f"{COUNTER}\n")


def burn(seconds: float) -> None:
    begun = time.process_time()
    while time.process_time() - begun < seconds:
        sum(range(1000))


def test_without_counters_there_is_no_figure(tmp_path):
    meter = start_meter(CPU, powercap=tmp_path)
    burn(0.1)
    assert energy_of(meter) is None


def test_a_counter_is_shared_by_cpu_time_and_parts_of_a_package_do_not_count_twice(tmp_path, monkeypatch):
    busy = iter([100.0, 104.0])
    own = iter([1.0, 2.0])
    monkeypatch.setattr(energy, "_busy_seconds", lambda: next(busy))
    monkeypatch.setattr(energy.time, "process_time", lambda: next(own))
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        package(tmp_path, name, 1_000_000)
    meter = start_meter(CPU, powercap=tmp_path)
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        package(tmp_path, name, 5_000_000)
    found = energy_of(meter)
    assert found.joules == pytest.approx(8.0 * 0.25)  # two packages of 4 J, a quarter of 4 s of CPU time
    assert found.source == "measured"


def test_a_counter_that_began_again_counts_on(tmp_path, monkeypatch):
    busy = iter([0.0, 1.0])
    own = iter([0.0, 1.0])
    monkeypatch.setattr(energy, "_busy_seconds", lambda: next(busy))
    monkeypatch.setattr(energy.time, "process_time", lambda: next(own))
    package(tmp_path, "intel-rapl:0", COUNTER - 1_000_000)
    meter = start_meter(CPU, powercap=tmp_path)
    package(tmp_path, "intel-rapl:0", 2_000_000)
    assert energy_of(meter).joules == pytest.approx(3.0)


@pytest.mark.parametrize("content", ["", "no number"])
def test_a_counter_that_says_nothing_is_not_believed(tmp_path, content):
    package(tmp_path, "intel-rapl:0", content)
    assert energy_of(start_meter(CPU, powercap=tmp_path)) is None


@pytest.mark.parametrize(
    ("packages", "joules", "method"),
    [(True, 7.0 + 4.0, "GPU: NVML's counter; CPU: RAPL, by share of CPU time"),
     (False, 7.0, "GPU: NVML's counter; CPU: not measured and not counted")],
)  # fmt: skip
def test_on_a_gpu_its_counter_is_needed_and_what_is_left_out_is_named(tmp_path, monkeypatch, packages, joules, method):
    gpu, busy, own = iter([10.0, 17.0]), iter([0.0, 1.0]), iter([0.0, 1.0])
    monkeypatch.setattr(energy, "_gpu_joules", lambda device: next(gpu))
    monkeypatch.setattr(energy, "_busy_seconds", lambda: next(busy))
    monkeypatch.setattr(energy.time, "process_time", lambda: next(own))
    if packages:
        package(tmp_path, "intel-rapl:0", 1_000_000)
    meter = start_meter(torch.device("cuda"), powercap=tmp_path)
    if packages:
        package(tmp_path, "intel-rapl:0", 5_000_000)
    assert energy_of(meter) == Energy(joules=joules, source="measured", method=method)


def test_a_gpu_without_a_counter_has_no_figure_although_the_cpu_has_one(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "_gpu_joules", lambda device: None)
    package(tmp_path, "intel-rapl:0", 1_000_000)
    assert energy_of(start_meter(torch.device("cuda"), powercap=tmp_path)) is None


def test_a_sum_with_a_part_that_was_not_measured_is_unknown():
    one = Energy(joules=1.0, source="measured", method="a")
    other = Energy(joules=2.0, source="measured", method="b")
    estimate = Energy(joules=2.0, source="estimated", method="CPU: 10 W a busy core, stated")
    assert total_energy([one, other, one]) == Energy(joules=4.0, source="measured", method="a | b")
    assert total_energy([None, one]) is total_energy([one, estimate]) is total_energy([]) is None


@pytest.mark.parametrize("counter", [True, False])
def test_a_training_stores_what_was_measured_and_nothing_where_it_went_on_from_a_state(tmp_path, monkeypatch, counter):
    measured = Energy(joules=3.0, source="measured", method="a")
    monkeypatch.setattr(energy, "energy_of", lambda meter: measured if counter else None)
    made = job(tmp_path, spec_of("dpo", steps=3))
    train_all([made])
    assert trained(made)["energy"] == (measured.model_dump(mode="json") if counter else None)
    later = job(tmp_path, spec_of("dpo", steps=3), results="resumed")
    train_all([later], stop_at=2)
    train_all([later])
    assert trained(later)["energy"] is None


def test_a_job_of_an_older_version_is_read_without_its_stated_powers():
    stored = {"micro_batch": 4, "watts_per_core": 7.0, "watts_per_gpu": 300.0}
    assert Execution.model_validate(stored) == Execution(micro_batch=4)


def test_a_record_from_before_energy_loads_and_keeps_its_bytes():
    old = record(run_spec()).model_dump_json()
    assert "energy" not in old
    assert "devices" not in old
    assert RunRecord.model_validate_json(old).model_dump_json() == old


@pytest.mark.parametrize("source", ["measured", "estimated"])
def test_a_record_with_energy_is_read_back_as_it_was(source):
    stored = Energy(joules=3.0, source=source, method="a")
    made = record(run_spec())
    cost = Cost.model_validate({**made.cost.model_dump(), "energy": stored, "devices": 2})
    text = made.model_copy(update={"cost": cost}).model_dump_json()
    assert RunRecord.model_validate_json(text).cost.energy == stored
    assert RunRecord.model_validate_json(text).cost.devices == 2
    assert RunRecord.model_validate_json(text).model_dump_json() == text

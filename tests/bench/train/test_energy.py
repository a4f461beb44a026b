"""Energy: counters where the machine has them, a stated power where it has none, and each said as such."""

import time

import pytest
import torch

from bench.core.record import Cost, Energy, RunRecord
from bench.core.specs import Execution
from bench.train import energy
from bench.train.energy import added, energy_of, start_meter
from tests.bench.report.conftest import record, run_spec

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


def test_without_counters_a_busy_core_counts_for_its_stated_power(tmp_path):
    meter = start_meter(Execution(watts_per_core=7.0), CPU, powercap=tmp_path)
    begun = time.process_time()
    burn(0.2)
    used = time.process_time() - begun
    found = energy_of(meter)
    assert found.joules == pytest.approx(7.0 * used, rel=0.2)
    assert found.source == "estimated"
    assert "7 W a busy core, stated" in found.method


def test_time_asleep_costs_nothing(tmp_path):
    meter = start_meter(Execution(), CPU, powercap=tmp_path)
    time.sleep(0.2)
    assert energy_of(meter).joules < 0.5


def test_a_counter_is_shared_by_cpu_time_and_parts_of_a_package_do_not_count_twice(tmp_path, monkeypatch):
    busy = iter([100.0, 104.0])
    own = iter([1.0, 2.0])
    monkeypatch.setattr(energy, "_busy_seconds", lambda: next(busy))
    monkeypatch.setattr(energy.time, "process_time", lambda: next(own))
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        package(tmp_path, name, 1_000_000)
    meter = start_meter(Execution(), CPU, powercap=tmp_path)
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
    meter = start_meter(Execution(), CPU, powercap=tmp_path)
    package(tmp_path, "intel-rapl:0", 2_000_000)
    assert energy_of(meter).joules == pytest.approx(3.0)


@pytest.mark.parametrize("content", ["", "no number"])
def test_a_counter_that_says_nothing_is_not_believed(tmp_path, content):
    package(tmp_path, "intel-rapl:0", content)
    assert energy_of(start_meter(Execution(), CPU, powercap=tmp_path)).source == "estimated"


def test_ranks_and_the_part_before_an_interrupt_are_counted(tmp_path, monkeypatch):
    def used(processes: int, seconds: float | None) -> float:
        own, wall = iter([0.0, 3.0]), iter([0.0, 4.0])
        monkeypatch.setattr(energy.time, "process_time", lambda: next(own))
        monkeypatch.setattr(energy.time, "monotonic", lambda: next(wall))
        meter = start_meter(Execution(processes=processes), CPU, powercap=tmp_path)
        return energy_of(meter, seconds=seconds).joules

    assert used(1, None) == 30.0
    assert used(2, None) == 60.0
    assert used(1, 8.0) == 60.0  # half of it was trained before an interrupt
    assert used(1, 1.0) == 30.0


def test_a_sum_with_an_estimated_part_is_an_estimate_and_one_with_an_unknown_part_is_unknown():
    one = Energy(joules=1.0, source="measured", method="a")
    other = Energy(joules=2.0, source="estimated", method="b")
    assert added(one, other) == Energy(joules=3.0, source="estimated", method="a | b")
    assert added(one, one).source == "measured"
    assert added(None, one) is added(one, None) is None


def test_a_record_from_before_energy_loads_and_keeps_its_bytes():
    old = record(run_spec()).model_dump_json()
    assert "energy" not in old
    assert "devices" not in old
    assert RunRecord.model_validate_json(old).model_dump_json() == old


def test_a_record_with_energy_is_read_back_as_it_was():
    found = Energy(joules=3.0, source="measured", method="a")
    made = record(run_spec())
    cost = Cost.model_validate({**made.cost.model_dump(), "energy": found, "devices": 2})
    text = made.model_copy(update={"cost": cost}).model_dump_json()
    assert RunRecord.model_validate_json(text).cost.energy == found
    assert RunRecord.model_validate_json(text).cost.devices == 2

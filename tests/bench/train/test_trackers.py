"""What trackers get of a training: its curves, its settings, its target; after a resume each step once."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from bench.core.results import load_records
from bench.errors import UsageError
from bench.train.trackers import EventFile, event_folder, open_trackers, read_trackers
from tests.bench.real_sweeps import Killed
from tests.bench.report.conftest import run_spec

ROW = {
    "step": 1.0, "loss": 0.69, "accuracy": 0.5, "margin": None, "chosen_logp": -150.0, "rejected_logp": -151.0,
    "grad_norm": 2.0, "learning_rate": 3e-4, "tokens": 512.0, "seconds": 0.1,
}  # fmt: skip


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0}).Reload()


def scalars(found: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in found.Scalars(tag)]


def curves(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def check_run(out: Path, record) -> None:
    found = read(event_folder(out, record.spec))
    rows = curves(out / "runs" / record.key)
    for name in ("loss", "accuracy", "margin", "chosen_logp", "rejected_logp", "grad_norm", "learning_rate"):
        told = scalars(found, f"train/{name}")
        assert [step for step, _ in told] == [int(row["step"]) for row in rows], name
        assert [value for _, value in told] == pytest.approx([row[name] for row in rows], rel=1e-6), name


def test_event_files_hold_the_curves_and_the_target_of_every_run(whole):
    records = [record for record in load_records(whole) if record.spec.objective == "dpo"]
    assert len(records) == 4
    for record in records:
        check_run(whole, record)
        found = read(event_folder(whole, record.spec))
        ((step, target),) = scalars(found, f"{record.evaluation.split}/target")
        assert step == 12
        assert target == pytest.approx(record.metric("target").value, rel=1e-6)


def test_settings_are_where_tensorboards_hparams_look_for_them(whole):
    record = next(record for record in load_records(whole) if record.spec.objective == "dpo")
    found = read(event_folder(whole, record.spec))
    content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    given = HParamsPluginData.FromString(content).session_start_info
    assert given.hparams["objective"].string_value == "dpo"
    assert given.hparams["beta"].number_value == record.spec.params["beta"]
    assert given.hparams["learning_rate"].number_value == record.spec.train.learning_rate
    assert given.hparams["seed"].number_value == record.spec.seed


def test_a_killed_and_resumed_training_has_each_step_once(killed: Killed):
    records = [record for record in load_records(killed.out) if record.spec.objective == "dpo"]
    resumed = {one.run for one in killed.killed.trainings if one.saved}
    assert resumed & {record.key for record in records}
    for record in records:
        check_run(killed.out, record)


def test_a_second_session_voids_the_steps_that_it_trains_again(tmp_path):
    spec = run_spec()
    for first, last, loss in ((1, 9, 1.0), (6, 12, 2.0)):
        tracked = open_trackers(("tensorboard",), results=tmp_path, spec=spec, first_step=first)
        for step in range(first, last + 1):
            tracked.log({**ROW, "loss": loss}, step)
        tracked.close()
    found = scalars(read(event_folder(tmp_path, spec)), "train/loss")
    assert found == [(step, 1.0) for step in range(1, 6)] + [(step, 2.0) for step in range(6, 13)]


def test_what_a_row_has_no_number_for_is_left_out(tmp_path):
    tracked = open_trackers(("tensorboard",), results=tmp_path, spec=run_spec(), first_step=1)
    tracked.log(ROW, 1)
    tracked.close()
    tags = set(read(event_folder(tmp_path, run_spec())).Tags()["scalars"])
    assert tags == {f"train/{name}" for name in ROW} - {f"train/{n}" for n in ("step", "tokens", "seconds", "margin")}


def test_no_two_runs_share_a_folder():
    specs = [run_spec(beta=0.1), run_spec(beta=0.1, seed=1), run_spec(beta=0.1, rate=1e-4), run_spec(beta=0.1, batch=8)]
    specs.append(run_spec("0.8*dpo+0.2*bco_pair"))
    folders = [event_folder(Path("r"), spec) for spec in specs]
    assert len(set(folders)) == len(folders)
    assert all(len(folder.parts) == 4 for folder in folders)


def test_without_trackers_nothing_is_written(tmp_path):
    open_trackers((), results=tmp_path, spec=run_spec(), first_step=1).close()
    assert list(tmp_path.iterdir()) == []


def test_a_tracker_of_accelerates_gets_the_same_numbers(tmp_path):
    """Its TensorBoard stands for the others, whose packages are not here: all have the same four methods."""
    from bench.train.trackers import Tracked, _accelerated

    tracked = Tracked((_accelerated("tensorboard", results=tmp_path, spec=run_spec()),))
    for step in (1, 2):
        tracked.log({**ROW, "grad_norm": float("inf")}, step)
    tracked.close()
    (folder,) = (tmp_path / "tensorboard").iterdir()
    found = read(folder)
    assert scalars(found, "train/loss") == [(1, pytest.approx(0.69)), (2, pytest.approx(0.69))]
    assert "train/grad_norm" not in found.Tags()["scalars"]


@pytest.mark.parametrize(
    ("text", "names"),
    [("tensorboard", ("tensorboard",)), ("none", ()), (" tensorboard,tensorboard ", ("tensorboard",))],
)
def test_trackers_are_named_on_the_command_line(text, names):
    assert read_trackers(text) == names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("wandb", "pip install wandb"), ("tensorboard,mlflow", "pip install mlflow"), ("comet_ml", "comet-ml"),
        ("wandbb", "did you mean 'wandb'"), ("", "needs a name"), ("none,tensorboard", "none must stand alone"),
    ],
)  # fmt: skip
def test_trackers_that_cannot_be_are_refused(text, said):
    with pytest.raises(UsageError, match=said):
        read_trackers(text)


def test_a_step_pays_less_than_a_thousandth_of_60_ms_for_its_lines_and_events(tmp_path):
    from bench.train.training_log import _Lines

    lines, events = _Lines(tmp_path / "l.jsonl"), EventFile(tmp_path / "e", first_step=1, settings={})
    numbers = {f"train/{name}": value for name, value in ROW.items() if value is not None}
    best = {}
    for name, log in (("lines", lambda step: lines.add(ROW)), ("events", lambda step: events.log(numbers, step))):
        times = []
        for _ in range(5):
            begun = time.process_time()
            for step in range(200):
                log(step)
            times.append((time.process_time() - begun) / 200)
        best[name] = min(times)
    lines.close()
    events.close()
    assert best["lines"] < 60e-6  # 10 µs measured
    assert best["events"] < 600e-6  # 40 µs measured: a hundredth of a step is the bound


def test_a_tracker_that_fails_costs_a_warning_and_not_the_training(tmp_path, caplog):
    from bench.core.specs import Execution
    from bench.train.job import TrainJob
    from bench.train.training_log import track_training

    (tmp_path / "tensorboard").write_text("a file where the folder would be")
    job = TrainJob(
        spec=run_spec(), execution=Execution(), model=tmp_path, data=tmp_path, references=(), results=tmp_path
    )  # fmt: skip
    job.work.mkdir(parents=True)
    with track_training(job, trackers=("tensorboard",), worker="host:1:1") as report:
        for step in (1, 2, 3):
            report(step, {**ROW, "step": float(step)})
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "a tracker failed, this training goes on without"
    ]
    lines = [json.loads(line) for line in (job.work / "progress.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]


@pytest.mark.parametrize(("every", "logged"), [(20, 1), (20, 3), (3, 5), (7, 4)])
def test_what_was_told_is_written_before_each_state(every, logged):
    """A state is saved after a step; the row that was logged last before it has been flushed with all before it."""
    from bench.core.specs import Execution
    from bench.train.training_log import _before_a_state

    execution, flushed, last = Execution(checkpoint_every=every, log_every=logged), 0, 0
    for step in range(1, 100):
        if step % logged == 0:
            last = step
            flushed = step if _before_a_state(step, execution) else flushed
        if step % every == 0:
            assert flushed == last
    assert not any(_before_a_state(step, Execution(checkpoint_every=0)) for step in range(99))


def test_tensorboard_is_not_loaded_before_the_first_step():
    probe = "import sys, bench.train.training_log, bench.train.trackers\n"
    probe += "assert not {n for n in sys.modules if n.startswith('tensorb')}"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

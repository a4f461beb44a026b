"""A command's log: every line is whole JSON, from whichever process; what must not be in it is not."""

import json
import logging
import os
import signal
import sys
from datetime import datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.utils import event_log
from bench.utils.event_log import bound, command_log, join_log, log_event, stage
from tests.bench.real_sweeps import SECRET, Killed


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for path in sorted(out.glob("logs/*.jsonl")) for line in path.read_text().splitlines()]


def named(rows: list[dict], event: str) -> list[dict]:
    return [row for row in rows if row["event"] == event]


def test_a_command_logs_its_stages_trials_and_runs_from_every_process(whole):
    rows = lines(whole)
    assert len(list(whole.glob("logs/*.jsonl"))) == 1
    (begun,), (ended,) = named(rows, "command_started"), named(rows, "command_ended")
    assert begun["arguments"][:3] == ["run", "--suite", "exact"]
    assert ended["seconds"] > 0
    assert "error" not in ended
    workers = {row["worker"] for row in named(rows, "worker_started")}
    assert len(workers) == 3  # one that prepares, two that work
    settled = named(rows, "trial_settled")
    assert [row["settled"] for row in sorted(settled, key=lambda row: row["time"])][-1] == 3
    assert {row["status"] for row in settled} == {"completed"}
    assert len(named(rows, "trial_claimed")) == 3 + len(named(rows, "trial_lost"))
    trained = [row for row in named(rows, "stage_ended") if row["stage"] == "train" and row["objective"] == "dpo"]
    assert len(trained) == 4  # three settings and a final
    assert all(row["seconds"] > 0 for row in trained)
    assert sum("trial" in row and row["study"].endswith("night-dpo") for row in trained) == 3
    assert len(named(rows, "run_completed")) == 6
    assert named(rows, "cache_built")
    assert named(rows, "cache_hit")


def test_times_are_utc_and_every_line_says_level_event_and_worker(whole):
    for row in lines(whole):
        assert datetime.fromisoformat(row["time"]).utcoffset() == timedelta(0)
        assert {"level", "event", "worker"} <= set(row)


def test_no_secret_reaches_a_log_file(tmp_path, monkeypatch):
    monkeypatch.setenv("SESAME_TOKEN", SECRET)

    def command() -> None:
        with command_log(tmp_path, "run", arguments=["--storage", f"a://b:{SECRET}@c", SECRET], make=True):
            log_event("note", {"deep": [{"x": SECRET}]}, message=f"said {SECRET}")
            logging.getLogger("bench.any").warning("and %s", SECRET)
            raise UsageError(f"bad {SECRET}")

    with pytest.raises(UsageError):
        command()
    text = "".join(path.read_text() for path in tmp_path.glob("logs/*"))
    assert "sesame" not in text
    assert len(text.splitlines()) == 4
    assert "UsageError: bad ***" in text


def test_a_killed_sweep_and_its_second_command_log_the_claim_lost_and_the_checkpoint_resumed_from(killed: Killed):
    rows = lines(killed.out)
    assert len(named(rows, "command_started")) == 2
    assert len(named(rows, "command_ended")) == 1
    assert named(rows, "checkpoint_written")
    (resumed, *_) = named(rows, "checkpoint_resumed_from")
    assert resumed["step"] % 20 == 0 < resumed["step"]
    lost = {row["trial"] for row in named(rows, "trial_lost")}
    assert lost == {trial.number for study in killed.killed.studies for trial in study.running}


def test_a_stage_that_breaks_off_says_why_and_after_how_long(tmp_path):
    with command_log(tmp_path, "run", arguments=[], make=True):  # noqa: SIM117
        with pytest.raises(ZeroDivisionError), bound({"study": "s"}), stage("train", {"run": "k"}):
            raise ZeroDivisionError("no")
    (row,) = named(lines(tmp_path), "stage_broken_off")
    assert (row["study"], row["run"], row["error"], row["level"]) == ("s", "k", "ZeroDivisionError: no", "warning")


def test_nothing_new_is_on_the_terminal_and_warnings_still_are(tmp_path, capfd):
    with command_log(tmp_path, "run", arguments=[], make=True):
        before = list(logging.getLogger().handlers)
        log_event("run_diverged", {"reason": "nan"}, level=logging.WARNING)
        # What a user's terminal has: no handler of pytest's at the root.
        logging.getLogger().handlers[:] = []
    with command_log(tmp_path, "run", arguments=[], make=True):
        logging.getLogger("bench.train").warning("rows are padded")
    logging.getLogger().handlers[:] = before
    out, error = capfd.readouterr()
    assert out == ""
    assert error == "rows are padded\n"
    assert [row["message"] for row in lines(tmp_path) if "message" in row] == ["rows are padded"]


def test_without_a_log_events_go_nowhere(capfd):
    log_event("run_diverged", level=logging.ERROR, message="x")
    assert capfd.readouterr() == ("", "")


def test_a_folder_without_runs_gets_no_log_unless_a_command_makes_it(tmp_path):
    with command_log(tmp_path / "none", "leaderboard", arguments=[]), command_log(tmp_path, "page", arguments=[]):
        pass
    assert list(tmp_path.iterdir()) == []
    with command_log(tmp_path / "new", "run", arguments=[], make=True):
        pass
    assert len(lines(tmp_path / "new")) == 2
    assert event_log.VARIABLE not in os.environ


def test_a_folder_that_cannot_be_written_gets_no_log(tmp_path):
    (tmp_path / "logs").write_text("a file where the folder would be")
    with command_log(tmp_path, "run", arguments=[], make=True):
        log_event("anything")


def _many(count: int) -> None:
    join_log()
    for number in range(count):
        log_event("number", {"number": number, "text": "x" * 3000})


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_lines_of_several_processes_never_mix(tmp_path, method):
    with command_log(tmp_path, "run", arguments=[], make=True):
        context = get_context(method)
        processes = [context.Process(target=_many, args=(150,)) for _ in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    found = named(lines(tmp_path), "number")
    assert len(found) == 300
    assert len({row["worker"] for row in found}) == 2


def test_a_log_ends_to_grow_and_warnings_still_pass(tmp_path, monkeypatch):
    monkeypatch.setattr(event_log, "LIMIT_BYTES", 2000)
    with command_log(tmp_path, "run", arguments=[], make=True):
        for _ in range(100):
            log_event("chatter", {"text": "x" * 100})
        log_event("bad", level=logging.WARNING)
    (path,) = tmp_path.glob("logs/*")
    assert path.stat().st_size < 2600
    assert named(lines(tmp_path), "bad")


def test_only_the_newest_logs_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(event_log, "KEPT", 3)
    (tmp_path / "logs").mkdir()
    for number in range(6):
        path = tmp_path / "logs" / f"run-{number}.jsonl"
        path.write_text("{}\n")
        os.utime(path, (number, number))
    with command_log(tmp_path, "run", arguments=sys.argv, make=True):
        pass
    kept = sorted(path.name for path in tmp_path.glob("logs/*"))
    assert len(kept) == 3
    assert {"run-4.jsonl", "run-5.jsonl"} < set(kept)


def test_a_signal_is_logged_with_what_it_met(tmp_path):
    from bench.utils.stop_signals import stoppable

    with command_log(tmp_path, "run", arguments=[], make=True), stoppable() as stop:
        stop.training = True
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.requested
    (row,) = named(lines(tmp_path), "signal_received")
    assert (row["signal"], row["training"]) == ("SIGTERM", True)

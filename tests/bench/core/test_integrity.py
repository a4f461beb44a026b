"""A real results folder: one flipped bit in any file is found and named; what is damaged is made again or refused."""

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.core.results import load_records, verify_results
from bench.errors import RunError, UsageError
from bench.models.sources import resolve_model
from bench.train.checkpoint import TrainState, save_state
from bench.train.progress import Progress
from tests.bad_inputs.trying import Told, bench

SMALL = (
    "--suite", "exact", "--set", "contexts=4", "--set", "problem.pairs=64", "--set", "steps=4", "--workers", "1",
    "--seeds", "1",
)  # fmt: skip
RUN = ("run", "--loss", "dpo", "--sweep", "beta=0.1,0.3", *SMALL)


def refused(told: Told, code: int, *said: str) -> None:
    assert (told.code, told.raised) == (code, None), told.err
    assert "Traceback" not in told.err
    for text in said:
        assert text in told.err, told.err


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small sweep with all that a results folder may hold: reports, a bundle, an unfinished run's state."""
    import torch

    out = tmp_path_factory.mktemp("made") / "out"
    done = bench(*RUN, "--out", out)
    assert done.code == 0, done.err
    refused(bench("publish", out, "--out", out), 2, "is the results folder itself")
    assert bench("publish", out.parent / "published", "--out", out).code == 0
    state = TrainState(tensors={"policy.x": torch.zeros(3)}, progress=Progress(steps=4))
    save_state(out / "work" / "0123456789abcdef", state)
    assert verify_results(out) == []
    return out


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "out"))


def flip(path: Path, draw: random.Random) -> bytes:
    """Turn one bit of a file round; return what it held."""
    content = path.read_bytes()
    place = draw.randrange(len(content))
    path.write_bytes(content[:place] + bytes([content[place] ^ (1 << draw.randrange(8))]) + content[place + 1 :])
    return content


def test_a_flipped_bit_in_any_file_is_found_and_the_file_named(made: Path) -> None:
    # What is told of a command is not what it found: logs and event files are no part of what is verified.
    told = {"logs", "tensorboard"}
    files = [
        path
        for path in sorted(made.rglob("*"))
        if path.is_file() and path.stat().st_size and path.relative_to(made).parts[0] not in told
    ]
    assert {"data", "models", "reference", "runs", "studies", "work", "report.html"} <= {
        path.name for path in made.iterdir()
    }
    assert len(files) > 60
    every_flip_is_found(made, files)


def test_a_flipped_bit_in_published_records_tables_figures_and_page_is_found(made: Path) -> None:
    published = made.parent / "published"
    files = [path for path in sorted(published.rglob("*")) if path.is_file() and path.stat().st_size]
    assert {"records.jsonl.gz", "leaderboard.csv", "report.html", "figures", "written.json"} <= {
        path.name for path in published.iterdir()
    }
    every_flip_is_found(published, files)


def every_flip_is_found(made: Path, files: list[Path]) -> None:
    draw = random.Random(0)
    for path in files:
        for _ in range(3):
            content = flip(path, draw)
            try:
                found = verify_results(made)
            finally:
                path.write_bytes(content)
            # A changed manifest may accuse a file of its folder instead: it is the manifest that says what is right.
            right = {path.parent, *path.parent.rglob("*")} if path.name == "manifest.json" else {path}
            assert found, f"a flipped bit in {path} was not found"
            assert right & {problem.path for problem in found}, f"{path}: {found}"
    assert verify_results(made) == []


def test_the_command_names_the_file_and_exits_with_1(results: Path) -> None:
    flip(results / "leaderboard.csv", random.Random(1))
    refused(bench("verify", "--out", results), 1, "leaderboard.csv", "1 files were changed after they were written")


def test_a_journal_that_has_grown_is_sound_and_one_that_was_cut_is_not(results: Path) -> None:
    (journal,) = results.glob("studies/*/journal.log")
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 0}\n')
    assert verify_results(results) == []
    journal.write_bytes(whole[:-1])
    assert [problem.path for problem in verify_results(results)] == [journal]


def test_a_report_that_was_deleted_is_no_fault_for_it_can_be_made_again(results: Path) -> None:
    (results / "leaderboard.tex").unlink()
    assert verify_results(results) == []


@pytest.mark.parametrize(
    "place", ["data/*/rows.parquet", "models/*/model.safetensors", "reference/*/logps.safetensors"]
)
def test_a_damaged_cache_is_made_again_with_a_note_and_gives_the_same_bits(results: Path, place: str) -> None:
    victim = sorted(results.glob(place))[0]
    record = sorted(results.glob("runs/*/evals/*/record.json"))[0]
    for folder in results.glob("runs/*"):  # so that the run needs the caches
        shutil.rmtree(folder)
    shutil.rmtree(results / "studies")
    for path in results.glob(place):
        flip(path, random.Random(2))
    assert not record.exists()
    done = bench(*RUN, "--out", results)
    assert done.code == 0, done.err
    assert "made again" in " ".join(done.out.split()), done.out
    assert victim.exists()
    assert record.exists()
    assert verify_results(results) == []


def test_no_report_uses_a_damaged_record_and_the_command_evaluates_again_once_it_is_deleted(results: Path) -> None:
    record = sorted(results.glob("runs/*/evals/*/record.json"))[0]
    before = record.read_text(encoding="utf-8")
    flip(record, random.Random(3))
    stamps = {path: path.stat().st_mtime_ns for path in results.glob("leaderboard.*")}
    with pytest.raises(RunError, match="cannot be used"):
        load_records(results)
    for command in ("leaderboard", "figures", "page"):
        refused(bench(command, "--out", results), 1, str(record), "delete")
    refused(bench(*RUN, "--out", results), 1, "is damaged", str(record.parent))
    assert stamps == {path: path.stat().st_mtime_ns for path in results.glob("leaderboard.*")}
    shutil.rmtree(record.parent)
    done = bench(*RUN, "--out", results)
    assert done.code == 0, done.err
    assert verify_results(results) == []
    assert len(record.read_text(encoding="utf-8")) == pytest.approx(len(before), rel=0.02)


def test_a_damaged_run_is_no_start_model(results: Path) -> None:
    weights = sorted(results.glob("runs/*/checkpoint/model.safetensors"))[0]
    run = weights.parent.parent.name
    flip(weights, random.Random(4))
    refused(
        bench("run", "--loss", "dpo", "--model", f"run:{run}", "--out", results),
        1,
        run,
        "is damaged",
        "model.safetensors",
    )


def test_a_key_that_is_no_key_names_no_folder_outside(results: Path) -> None:
    outside = results.parent / "elsewhere"
    shutil.copytree(sorted(results.glob("runs/*/checkpoint"))[0].parent, outside)
    for key in ("../../elsewhere", "../elsewhere", "*", "?" * 16, str(outside), "[0-9a-f]*", "0/../..", ""):
        with pytest.raises(UsageError, match="no finished run"):
            resolve_model(f"run:{key}", results=results)


@pytest.mark.slow
def test_a_folder_that_vanishes_under_a_run_is_told_and_nothing_is_made_up(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "bench",
        *RUN,
        "--out",
        str(out),
        "--set",
        "steps=800",
        "--set",
        "execution.checkpoint_every=20",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not list(out.glob("work/*/state-*")) and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
        out.rename(tmp_path / "gone")
        told, err = process.communicate(timeout=120)
    assert process.returncode == 1, told + err
    assert "Traceback" not in err
    assert "out" in err
    assert verify_results(tmp_path / "gone") == []
    if out.exists():
        assert verify_results(out) == []

"""The results folder: whole or not at all, every damage seen, no damaged record used."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.core.artifacts import verify_folder, write_whole
from bench.core.manifest import is_complete, manifest_of, read_manifest, seal
from bench.core.results import load_records, read_records, verify_results
from bench.errors import RunError
from bench.utils.files import write_text_whole
from tests.bench.report.conftest import record, run_spec, start_records, write_records


def fill(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "a.json").write_text("{}")
    (folder / "deep" / "b.bin").write_bytes(bytes(range(8)))


def test_a_written_folder_is_complete_and_sound_and_leaves_nothing_beside(tmp_path):
    write_whole(tmp_path / "x" / "key", fill, stage="reference")
    assert is_complete(tmp_path / "x" / "key")
    assert verify_folder(tmp_path / "x" / "key", stage="reference") == []
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["key"]
    assert set(read_manifest(tmp_path / "x" / "key").files) == {"a.json", "deep/b.bin"}


def test_a_write_that_fails_leaves_neither_the_folder_nor_a_temporary_one(tmp_path):
    def broken(folder: Path) -> None:
        fill(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "key", broken, stage="train")
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_no_folder_under_the_final_name(tmp_path):
    script = (
        "import os, pathlib, sys; from bench.core.results import write_whole\n"
        "def write(folder):\n"
        "    (folder / 'a').write_text('half')\n"
        "    os._exit(9)\n"
        "write_whole(pathlib.Path(sys.argv[1]) / 'runs' / 'key', write, stage='train')\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False).returncode == 9
    assert not (tmp_path / "runs" / "key").exists()
    assert verify_results(tmp_path) == []
    assert load_records(tmp_path) == []


def test_a_sound_folder_is_kept_and_an_unfinished_or_damaged_one_replaced(tmp_path):
    folder = tmp_path / "key"
    folder.mkdir()
    (folder / "left-over").write_text("x")
    write_whole(folder, fill, stage="train")
    assert not (folder / "left-over").exists()
    write_whole(folder, lambda path: (path / "other").write_text("second") and None, stage="train")
    assert not (folder / "other").exists()
    (folder / "a.json").write_text("[]")
    write_whole(folder, fill, stage="train")
    assert verify_folder(folder) == []
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_flipped_bit_is_found_wherever_it_is(tmp_path):
    folder = tmp_path / "reference" / "key"
    write_whole(folder, fill, stage="reference")
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        sound = path.read_bytes()
        # every third: each byte, and by turns each bit of a byte
        for bit in range(0, 8 * len(sound), 3):
            damaged = bytearray(sound)
            damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(bytes(damaged))
            problems = verify_results(tmp_path)
            assert problems, f"bit {bit} of {path.name}"
            assert all(folder in problem.path.parents for problem in problems)
        path.write_bytes(sound)
    assert verify_results(tmp_path) == []


@pytest.mark.parametrize("kind", ["missing", "changed", "extra", "unreadable"])
def test_each_kind_of_damage_names_its_file(tmp_path, kind):
    folder = tmp_path / "reference" / "key"
    write_whole(folder, fill, stage="reference")
    if kind == "missing":
        (folder / "deep" / "b.bin").unlink()
    elif kind == "changed":
        (folder / "deep" / "b.bin").write_bytes(b"shorter")
    elif kind == "extra":
        (folder / "deep" / "c.bin").write_bytes(b"")
    else:
        (folder / "manifest.json").write_text("{")
    named = {"extra": "deep/c.bin", "unreadable": "manifest.json"}.get(kind, "deep/b.bin")
    assert [(p.kind, p.path) for p in verify_results(tmp_path)] == [(kind, folder / named)]


def test_a_manifest_that_points_outside_its_folder_is_refused(tmp_path):
    manifest = manifest_of(tmp_path, stage="train")
    write_text_whole(tmp_path / "other", "x")
    entry = manifest_of(tmp_path, stage="train").files["other"]
    text = manifest.model_copy(update={"files": {"../other": entry}}).text()
    write_text_whole(tmp_path / "key" / "manifest.json", text)
    with pytest.raises(RunError, match="outside"):
        read_manifest(tmp_path / "key")


def test_evaluations_and_leases_are_no_part_of_a_runs_manifest(tmp_path):
    folder = tmp_path / "runs" / "key"
    fill_parents = folder / "evals" / "one"
    fill_parents.mkdir(parents=True)
    (fill_parents / "half").write_text("half")
    (folder / "lease").write_text("")
    (folder / "spec.json").write_text("{}")
    assert set(seal(folder, stage="train").files) == {"spec.json"}
    assert verify_results(tmp_path) == []


def test_records_come_back_as_written_in_an_order_of_their_own(tmp_path):
    records = [*start_records(), *(record(run_spec(beta=beta)) for beta in (0.3, 0.1))]
    first = load_records(write_records(tmp_path / "a", records))
    second = load_records(write_records(tmp_path / "b", reversed(records)))
    assert first == second
    assert sorted(r.key for r in first) == sorted(r.key for r in records)


def test_half_written_folders_are_no_records(tmp_path):
    done, half, orphan = (record(run_spec(beta=beta)) for beta in (0.1, 0.2, 0.3))
    write_records(tmp_path, [done, half, orphan])
    (tmp_path / "runs" / half.key / "evals" / half.evaluation_key / "manifest.json").unlink()
    (tmp_path / "runs" / orphan.key / "manifest.json").unlink()
    assert load_records(tmp_path) == [done]


@pytest.mark.parametrize("damage", ["value", "text", "moved", "version"])
def test_a_damaged_record_is_reported_and_never_used(tmp_path, damage):
    sound, other = record(run_spec(beta=0.1)), record(run_spec(beta=0.2))
    write_records(tmp_path, [sound, other])
    folder = tmp_path / "runs" / other.key / "evals" / other.evaluation_key
    path = folder / "record.json"
    if damage == "value":
        path.write_text(path.read_text().replace('"value":0.3', '"value":9.3', 1))
    elif damage == "moved":
        folder = folder.rename(folder.with_name("elsewhere"))
    else:
        shutil.rmtree(folder)
        text = other.model_dump_json() if damage == "version" else "{"
        text = text.replace('"record_version":2', '"record_version":99')
        write_whole(folder, lambda partial: (partial / "record.json").write_text(text) and None, stage="evaluate")
    records, problems = read_records(tmp_path)
    assert records == [sound]
    assert [problem.path.parent for problem in problems] == [folder]
    with pytest.raises(RunError, match=r"1 of 2 records cannot be used") as caught:
        load_records(tmp_path)
    assert str(folder) in str(caught.value)
    assert "delete" in caught.value.fix


@pytest.mark.parametrize(
    ("code", "said"),
    [(errno.ENOSPC, "no space"), (errno.EROFS, "read-only"), (errno.EACCES, "permission"), (errno.EDQUOT, "quota")],
)
def test_what_the_system_refuses_is_told_with_the_path(tmp_path, code, said):
    def refuse(folder: Path) -> None:
        raise OSError(code, os.strerror(code))

    with pytest.raises(RunError, match=said) as caught:
        write_whole(tmp_path / "key", refuse, stage="train")
    assert str(tmp_path / "key") in caught.value.problem
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_the_earlier_text_kept(tmp_path):
    path = tmp_path / "leaderboard.csv"
    write_text_whole(path, "before")
    script = (
        "import pathlib, resource, signal, sys; from bench.errors import RunError\n"
        "from bench.core.results import write_text_whole\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    write_text_whole(pathlib.Path(sys.argv[1]), 'x' * 5000)\n"
        "except RunError as error:\n"
        "    sys.exit(str(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert str(path) in done.stderr
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_where_a_folder_should_be_is_told(tmp_path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(RunError, match="cannot write"):
        write_text_whole(tmp_path / "results" / "leaderboard.csv", "x")

"""A disk that is really full: a file system of 300 kB in a namespace of its own. Told in one message, nothing half."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import subprocess, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from bench.errors import RunError
from bench.core.artifacts import write_whole
from bench.core.results import verify_results
from bench.utils.files import write_text_whole
place = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)], check=True)
write_whole(place / "data" / "kept", lambda folder: (folder / "a").write_text("kept") and None, stage="prepare")
tries = {
    "weights": lambda: write_whole(
        place / "runs" / "k", lambda folder: save_file({"x": torch.zeros(10**6)}, folder / "w"), stage="train"
    ),
    "text": lambda: write_text_whole(place / "leaderboard.csv", "x" * 10**6),
    "python": lambda: write_whole(
        place / "runs" / "l", lambda folder: (folder / "b").write_bytes(b"x" * 10**6) and None, stage="train"
    ),
}
for name, attempt in tries.items():
    try:
        attempt()
    except RunError as error:
        assert "no space is left on the disk" in error.problem, error
        assert "finished work is kept" in error.fix
    else:
        raise AssertionError(f"{name}: the disk took it")
assert sorted(p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file()) == [
    "data/kept/a", "data/kept/manifest.json"
], list(place.rglob("*"))
assert verify_results(place) == []
print("told")
"""


def test_a_full_disk_is_told_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        able = subprocess.run(
            [*alone, "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], capture_output=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    if able.returncode != 0:
        pytest.skip("namespaces of one's own are not allowed here")
    done = subprocess.run(
        [*alone, sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.stdout == "told\n", done.stderr

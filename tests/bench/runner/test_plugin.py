"""A real package with an objective, installed into an environment of its own, is found and run like a built-in one."""

import json
import subprocess
import sys
import sysconfig
import textwrap
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LOSS = '''
    from torch.nn.functional import softplus
    from losses import Pairs, Param, Requires
    from losses.objective import objective
    from losses.space import Log

    @objective(
        params={"beta": Param(0.1, Log(0.01, 1), "β", "1/nat", "as it grows the margin shrinks", 0.001, 10)},
        batch=Pairs, requires=Requires.REFERENCE, reward="log_ratio", aggregation="sum",
        paper="none", equation="softplus(1 - β Δ)", optimum="none", version=1,
    )
    def smooth_hinge(pairs, *, beta):
        """A hinge without a corner."""
        return softplus(1 - beta * (pairs.chosen.log_ratio - pairs.rejected.log_ratio))
'''
PROJECT = """
    [build-system]
    requires = ["setuptools"]
    build-backend = "setuptools.build_meta"
    [project]
    name = "a-package-with-losses"
    version = "1.0"
    [project.entry-points."bench.losses"]
    smooth_hinge = "package_with_losses"
    broken_hinge = "package_with_losses.nowhere"
    dpo = "package_with_losses"
    [tool.setuptools]
    py-modules = ["package_with_losses"]
"""
SHORT = [
    "train.steps=2",
    "evaluation.prompts=4",
    "evaluation.pairs=8",
    "evaluation.lm_eval=[]",
    "evaluation.judge=false",
]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment that sees this one's libraries, with the package installed into it."""
    folder = tmp_path_factory.mktemp("plugin")
    package = folder / "package"
    package.mkdir()
    (package / "package_with_losses.py").write_text(textwrap.dedent(LOSS), encoding="utf-8")
    (package / "pyproject.toml").write_text(textwrap.dedent(PROJECT), encoding="utf-8")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    site = subprocess.check_output([python, "-c", "import site; print(site.getsitepackages()[0])"], text=True).strip()
    Path(site, "libraries.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n{ROOT}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, package], check=True, capture_output=True)
    return python


def bench(python: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([python, "-m", "bench", *arguments], capture_output=True, text=True, check=False)


def test_the_package_is_listed_and_what_is_broken_in_it_is_told_and_stops_nothing(python: Path) -> None:
    done = bench(python, "losses")
    assert done.returncode == 0
    assert "smooth_hinge" in done.stdout
    assert "softplus" in bench(python, "losses", "show", "smooth_hinge").stdout
    told = [line for line in done.stderr.splitlines() if line.startswith("broken: ")]
    assert len(told) == 2
    assert any("package_with_losses.nowhere" in line and "cannot be loaded" in line for line in told)
    assert any("two objectives are named 'dpo'" in line and "a-package-with-losses" in line for line in told)


@pytest.mark.slow
def test_it_runs_to_the_leaderboard(python: Path, tmp_path: Path) -> None:
    settings = [part for setting in SHORT for part in ("--set", setting)]
    done = bench(python, "run", "--loss", "smooth_hinge,dpo", "--seeds", "0", "--out", str(tmp_path), *settings)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "leaderboard.csv").read_text(encoding="utf-8").splitlines()
    assert sum("smooth_hinge" in line for line in lines) == 1
    specs = [json.loads(path.read_text())["spec"] for path in tmp_path.glob("runs/*/evals/*/record.json")]
    (own,) = [spec for spec in specs if spec["objective"] == "smooth_hinge"]
    assert len(own["objective_content"]) == 64

"""Owns a stand-in for Slurm that really runs scripts: sbatch, srun and scontrol as far as our scripts use them.

``python -m tests.bench.runner.cluster.scheduler sbatch|srun|scontrol|run …``. A folder that the environment names
holds its jobs. Told to preempt a task, it sends SIGTERM to the task's shell alone, as ``--signal=B:TERM`` asks for.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

FOLDER = "STAND_IN_SLURM"
LOOK_SECONDS = 0.05


def install(binaries: Path, jobs: Path) -> dict[str, str]:
    """Put the three commands into a folder; return the environment in which they are found."""
    binaries.mkdir()
    jobs.mkdir()
    root = Path(__file__).parents[4]
    for name in ("sbatch", "srun", "scontrol"):
        lines = [
            "#!/bin/sh",
            f"cd {root}",
            f'exec {sys.executable} -m tests.bench.runner.cluster.scheduler {name} "$@"',
        ]
        (binaries / name).write_text("\n".join(lines) + "\n")
        (binaries / name).chmod(0o755)
    return {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}", FOLDER: str(jobs)}


def options_of(script: Path) -> dict[str, str]:
    """Options of the #SBATCH lines before the first command; one without a value has an empty one."""
    found: dict[str, str] = {}
    for line in script.read_text().splitlines()[1:]:
        if line.startswith("#SBATCH "):
            (option,) = shlex.split(line.removeprefix("#SBATCH "))
            name, _, value = option.removeprefix("--").partition("=")
            found[name] = value
        elif line and not line.startswith("#"):
            break
    return found


def sbatch(arguments: list[str]) -> None:
    """Start a process that runs the job, and say the job's number."""
    (script,) = map(Path, arguments)
    options_of(script)
    number = 100 + len(list(Path(os.environ[FOLDER]).iterdir()))
    folder = Path(os.environ[FOLDER]) / str(number)
    folder.mkdir()
    runner = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.runner.cluster.scheduler", "run", str(folder), str(script)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=(folder / "errors").open("w"),
        start_new_session=True,
    )  # fmt: skip
    (folder / "runner").write_text(str(runner.pid))
    print(f"Submitted batch job {number}")


def scontrol(arguments: list[str]) -> None:
    """``scontrol requeue JOB_TASK``."""
    what, job = arguments
    assert what == "requeue", what
    number, _, task = job.partition("_")
    (Path(os.environ[FOLDER]) / number / f"requeue-{task or 0}").touch()


def run(folder: Path, script: Path) -> None:
    """Run every task of a job to its end; one that was requeued is run again. Writes ``ended`` with all exit codes."""
    options = options_of(script)
    last = int(options.get("array", "0-0").partition("-")[2])
    running = {task: start(folder, script, options, task) for task in range(last + 1)}
    codes: dict[int, list[int]] = {task: [] for task in running}
    while running:
        time.sleep(LOOK_SECONDS)
        for task, process in list(running.items()):
            if (folder / f"preempt-{task}").exists():
                (folder / f"preempt-{task}").unlink()
                process.send_signal(signal.SIGTERM)
            if process.poll() is None:
                continue
            codes[task].append(process.returncode)
            del running[task]
            again = folder / f"requeue-{task}"
            if again.exists() and "requeue" in options:
                again.unlink()
                running[task] = start(folder, script, options, task)
    (folder / "codes").write_text(json.dumps(codes))
    (folder / "codes").rename(folder / "ended")


def start(folder: Path, script: Path, options: dict[str, str], task: int) -> "subprocess.Popen[bytes]":
    """Start one task's shell, with its output where the script says."""
    number = int(folder.name)
    array = "array" in options
    names = {"%A": str(number), "%a": str(task), "%j": str(number + task)}
    log = Path(re.sub("%[Aaj]", lambda found: names[found[0]], options["output"]))
    nodes = options.get("nodes", "1")
    environment = {
        **os.environ, "SLURM_JOB_ID": str(number + task), "SLURM_JOB_NUM_NODES": nodes, "SLURMD_NODENAME": "127.0.0.1",
        **({"SLURM_ARRAY_JOB_ID": str(number), "SLURM_ARRAY_TASK_ID": str(task)} if array else {}),
    }  # fmt: skip
    with log.open("a" if options.get("open-mode") == "append" else "w") as file:
        return subprocess.Popen(["bash", str(script)], stdout=file, stderr=file, env=environment)


def srun(arguments: list[str]) -> int:
    """Run a command once a node, all on this machine; SIGTERM kills them, as Slurm's own does."""
    place = next(i for i, text in enumerate(arguments) if not text.startswith("--"))
    options = dict(text.removeprefix("--").split("=", 1) for text in arguments[:place])
    count = int(options["ntasks"])
    assert count == int(options["nodes"]) * int(options["ntasks-per-node"])
    tasks = [
        subprocess.Popen(arguments[place:], env={**os.environ, "SLURM_PROCID": str(rank), "SLURM_NODEID": str(rank)})
        for rank in range(count)
    ]

    def end(_number: int, _frame: object) -> None:
        for each in tasks:
            each.kill()

    signal.signal(signal.SIGTERM, end)
    return max(abs(each.wait()) for each in tasks)


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    if command == "run":
        run(Path(rest[0]), Path(rest[1]))
    else:
        sys.exit({"sbatch": sbatch, "srun": srun, "scontrol": scontrol}[command](rest))

"""Owns surroundings that cannot be right: variables, locales, streams that take nothing. Real processes, all of them."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.bad_inputs.command_lines import SMALL
from tests.bad_inputs.trying import Case, Told

DRY = ("run", "--loss", "dpo", *SMALL, "--dry-run")
REFUSED = ("run", "--loss", "simop", *SMALL, "--dry-run")
BOARD = ("leaderboard",)
VARIABLES: dict[str, Mapping[str, str | None]] = {
    "OMP_NUM_THREADS a word": {"OMP_NUM_THREADS": "abc"},
    "OMP_NUM_THREADS ²": {"OMP_NUM_THREADS": "²"},
    "OMP_NUM_THREADS 0": {"OMP_NUM_THREADS": "0"},
    "OMP_NUM_THREADS negative": {"OMP_NUM_THREADS": "-3"},
    "OMP_NUM_THREADS huge": {"OMP_NUM_THREADS": "9" * 30},
    "COLUMNS 0": {"COLUMNS": "0"},
    "COLUMNS negative": {"COLUMNS": "-5"},
    "COLUMNS a word": {"COLUMNS": "wide"},
    "COLUMNS 1": {"COLUMNS": "1"},
    "COLUMNS huge": {"COLUMNS": "9" * 12},
    "no HOME": {"HOME": None},
    "HOME that is not there": {"HOME": "/nonexistent"},
    "HOME a file": {"HOME": "/dev/null"},
    "TMPDIR that is not there": {"TMPDIR": "/nonexistent"},
    "no PATH": {"PATH": "/nonexistent"},
    "LANG C": {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0"},
    "a locale that is not UTF-8": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "output in ASCII": {"PYTHONIOENCODING": "ascii"},
    "output in Latin-1": {"PYTHONIOENCODING": "latin-1"},
    "no TERM": {"TERM": None},
    "TERM dumb": {"TERM": "dumb"},
    "TERM nonsense": {"TERM": "nonsense", "FORCE_COLOR": "1"},
    "kernels off": {"LOSSBENCH_KERNELS": "nonsense"},
    "a proxy that is none": {"HTTPS_PROXY": "nonsense://x:y@z", "HTTP_PROXY": "::::"},
    "HF_HOME a file": {"HF_HOME": "/dev/null"},
    "CUDA_VISIBLE_DEVICES nonsense": {"CUDA_VISIBLE_DEVICES": "x"},
    "GOMP_SPINCOUNT nonsense": {"GOMP_SPINCOUNT": "x"},
    "MPLBACKEND nonsense": {"MPLBACKEND": "nonsense"},
    "MPLCONFIGDIR that is not there": {"MPLCONFIGDIR": "/dev/null/x"},
    "PYTHONWARNINGS error": {"PYTHONWARNINGS": "error::UserWarning"},
    "an empty variable name's worth": {"HF_TOKEN": "", "OPENAI_API_KEY": " "},
}


def cases() -> Iterator[Case]:
    """Each variable with a plan and with a refusal, then each stream."""
    for name, changes in VARIABLES.items():
        yield _case(f"{name}, a plan", DRY, changes, codes=(0,))
    for name in ("COLUMNS 0", "LANG C", "a locale that is not UTF-8", "output in ASCII", "no HOME", "TERM nonsense"):
        yield _case(f"{name}, a refusal", REFUSED, VARIABLES[name], codes=(2,))
    for name, stream in STREAMS.items():
        yield _case(f"{name}, a plan", DRY, {}, prepare=stream, codes=(0, 1))
        yield _case(f"{name}, a refusal", REFUSED, {}, prepare=stream, codes=(2,), silent=True)
        yield _case(f"{name}, --help", ("--help",), {}, prepare=stream, codes=(0, 1), silent=True)
    yield _case(
        "few file descriptors",
        DRY,
        {},
        prepare=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24)),
        codes=(0, 1),
    )
    yield _case("a folder that was removed", BOARD, {}, prepare=_in_a_removed_folder, codes=(1, 2))


def _closed(*descriptors: int) -> Callable[[], None]:
    return lambda: [os.close(descriptor) for descriptor in descriptors] and None


def _full(*descriptors: int) -> Callable[[], None]:
    return lambda: [os.dup2(os.open("/dev/full", os.O_WRONLY), descriptor) for descriptor in descriptors] and None


def _broken_pipe() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 1)


def _in_a_removed_folder() -> None:
    folder = Path(f"/tmp/removed-{os.getpid()}")
    folder.mkdir()
    os.chdir(folder)
    folder.rmdir()


STREAMS: dict[str, Callable[[], None]] = {
    "stdout closed": _closed(1),
    "stderr closed": _closed(2),
    "stdin closed": _closed(0),
    "all streams closed": _closed(0, 1, 2),
    "stdout full": _full(1),
    "stderr full": _full(2),
    "stdout a broken pipe": _broken_pipe,
}


def _case(
    name: str,
    words: tuple[str, ...],
    changes: Mapping[str, str | None],
    *,
    codes: tuple[int, ...],
    prepare: Callable[[], None] | None = None,
    silent: bool = False,
) -> Case:
    def attempt(folder: Path) -> Told:
        environment = {key: value for key, value in {**os.environ, **changes}.items() if value is not None}
        out = ("--out", str(folder / "out")) if words[0] in ("run", "leaderboard") else ()
        done = subprocess.run(
            [sys.executable, "-m", "bench", *words, *out],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            env=environment,
            preexec_fn=prepare,
            check=False,
        )
        told, err = (stream.decode("utf-8", "replace") for stream in (done.stdout, done.stderr))
        if "Exception ignored" in err:
            err += "\nTraceback (most recent call last)"
        # Where a stream takes nothing, nothing can be told.
        return Told(code=done.returncode, out=told, err=err if err or not (silent or prepare) else "→")

    return Case(kind="surroundings", name=name, attempt=attempt, codes=codes)

"""Owns a command under attack: its processes by what they do, and kill -9 of one of them."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import psutil

Kind = Literal["command", "worker", "launcher", "rank"]
GONE_SECONDS = 30.0
"""Time in which what a killed command started has to end by itself."""


def start(arguments: Sequence[str], *, log: Path) -> subprocess.Popen[bytes]:
    """Start ``bench`` with these arguments; what it says is appended to ``log``."""
    with log.open("ab") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "bench", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            # One thread everywhere: another number of threads adds up in another order.
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def strike(command: subprocess.Popen[bytes], *, chance: random.Random) -> Kind | None:
    """Kill one process of a command that is running, any that computes; None where it has just ended."""
    processes = alive(command.pid)
    if not processes or command.poll() is not None:
        return None
    process, kind = chance.choice(processes)
    try:
        process.send_signal(signal.SIGKILL)
    except psutil.NoSuchProcess:
        return None
    return kind


def alive(pid: int) -> list[tuple[psutil.Process, Kind]]:
    """The processes of a command and what each one is, in a fixed order."""
    try:
        root = psutil.Process(pid)
        members = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
    found = [(member, kind) for member in members if (kind := _kind(member, root=pid)) is not None]
    return sorted(found, key=lambda pair: pair[0].pid)


def left_over(folder: Path) -> list[psutil.Process]:
    """Processes whose command line names ``folder``, after those that are about to end had time for it."""
    deadline = time.monotonic() + GONE_SECONDS
    while (found := _naming(str(folder))) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def _kind(process: psutil.Process, *, root: int) -> Kind | None:
    try:
        words = process.cmdline()
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
    except psutil.Error:
        return None
    if process.pid == root:
        return "command"
    if "torch.distributed.run" in words:
        return "launcher"
    if "bench.train" in words:
        return "rank"
    # A forked worker has its parent's words; multiprocessing's own helpers and gcc have others.
    return "worker" if "bench" in words or "multiprocessing.spawn" in " ".join(words) else None


def _naming(text: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            alive = process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid()
            if alive and any(text in word for word in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found

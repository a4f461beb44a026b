"""Number of workers of a command: one thread each for small models, more threads each for larger ones."""

import json
import math
import os
import re
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.utils.cores import available_cores

SMALL = 30_000_000
"""Parameters up to which one thread a worker is fastest: two workers gave 1.5 times one worker's two threads at a
million, 1.16 times at five, 1.1 times at 25 million, the largest that was measured (docs/benchmarks.md)."""
THREADS_BY_SIZE = ((SMALL, 1), (100_000_000, 2), (500_000_000, 4))
"""Largest number of parameters, threads a worker; above all of them a worker gets 8."""
MOST_THREADS = 8
BYTES_PER_PARAMETER = 24
"""Weights, gradient, AdamW's two moments, the start model and a copy: float32 each."""
BYTES_PER_WORKER = 1_000_000_000
"""What a worker takes besides: activations and an evaluation's logits."""

StartMethod = Literal["fork", "spawn"]


@dataclass(frozen=True, kw_only=True)
class Workers:
    """How many processes work at once, and on how many threads each.

    ``widens``: whether runs that leave workers without work get their threads. Off where OMP_NUM_THREADS was given:
    then every run has these threads, whatever else is run.
    """

    workers: int
    threads: int
    widens: bool = False

    def threads_of(self, position: int, total: int) -> int:
        """Return the threads of the run at ``position`` of ``total`` that workers take in this order (from 0).

        Of 5 runs on 2 workers the last one has no neighbour, so it gets all cores. This goes by position and not by
        who is idle at the moment, since another number of threads rounds sums otherwise: the same command gives the
        same bits, whatever the clock says.
        """
        left = total % self.workers
        if not self.widens or left == 0 or position < total - left:
            return self.threads
        return max(self.threads, self.threads * self.workers // left)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What there is: ``cores`` that this process may use, ``memory`` in bytes (None: unknown), a CUDA device."""

    cores: int
    memory: int | None
    cuda: bool


def choose_workers(machine: Machine, *, parameters: int, runs: int, processes: int, threads: int | None) -> Workers:
    """Return as many workers as pay on this machine (``--workers auto``).

    Small models get a core each; larger ones fewer workers with more threads; a GPU, or runs that have ranks of their
    own, one worker. Never more workers than there are runs at once, nor than memory holds.

    Args:
        parameters: of the model. runs: that can be trained at the same time. processes: ranks of each training.
        threads: a worker's, as OMP_NUM_THREADS says; None where it says nothing.
    """
    if machine.cuda or processes > 1:
        return Workers(workers=1, threads=threads or machine.cores)
    each = threads or next((n for most, n in THREADS_BY_SIZE if parameters <= most), MOST_THREADS)
    workers = max(1, min(machine.cores // each, runs))
    if machine.memory is not None:
        workers = max(1, min(workers, machine.memory // (BYTES_PER_WORKER + BYTES_PER_PARAMETER * parameters)))
    return workers_of(machine, workers=workers, threads=threads)


def workers_of(machine: Machine, *, workers: int, threads: int | None) -> Workers:
    """Return ``workers`` that share the cores, unless OMP_NUM_THREADS gives each its ``threads``."""
    return Workers(workers=workers, threads=threads or max(1, machine.cores // workers), widens=threads is None)


def this_machine() -> Machine:
    """Look at the machine: the cores of this process's affinity and its control group's quota, and all its memory.

    Not the memory that is free: that changes, and the same command is to get the same crew.
    """
    import torch

    return Machine(cores=available_cores(), memory=_memory(Path("/proc/meminfo")), cuda=torch.cuda.is_available())


def environment_threads() -> int | None:
    """Return the threads that OMP_NUM_THREADS sets, None where it is unset or no number."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if re.fullmatch(r"[0-9]{1,6}", first) and int(first) > 0 else None


def start_method(*, cuda: bool) -> StartMethod:
    """Return how workers are started: by a fork where that is safe, which shares all that the parent has in memory.

    A fork is not safe with CUDA, on macOS, or from a parent that may have used OpenMP's threads: GNU's OpenMP then
    waits in the child for threads that exist in the parent alone. A parent of one thread has none.
    """
    import torch

    return "fork" if sys.platform == "linux" and not cuda and torch.get_num_threads() == 1 else "spawn"


def parameters_in(folder: Path) -> int:
    """Count a model's parameters by the headers of its safetensors files; nothing is loaded."""
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        total += sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    return total


def _memory(path: Path) -> int | None:
    try:
        lines = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
        return int(lines["MemTotal"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None

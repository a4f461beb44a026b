"""Memory housekeeping: freeze the garbage collector after loading; return free pages to the system."""

import ctypes
import gc
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """For the block's time collect no garbage, and afterwards never look again at what was made in it.

    Modules, models and data stay as long as the process: to search them for garbage time and again takes a fifth of
    what importing torch and transformers takes, and copies pages that forked workers share.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def give_back_memory() -> None:
    """Give back what is free at this moment, where the C library is one that keeps it (GNU's).

    So workers side by side do not each keep their largest moment.
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


MATMUL_CACHES = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64", "LRU_CACHE_CAPACITY": "64"}
"""Shapes of a matrix product whose code is kept, by oneDNN and by torch's bridge to it; each holds about 0.5 MB.

Batches have new shapes at every step, so the libraries' own 1,024 fill up with what is never asked for again.
"""


def quiet_libraries() -> None:
    """Keep other libraries' progress bars and notices out of our output, and everything offline that can be."""
    # Threads that spin for long while they wait bring a shared machine to a halt, threads that sleep at once are slow
    # to wake: a short spin costs little of either (docs/benchmarks.md).
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    for name, capacity in MATMUL_CACHES.items():
        os.environ.setdefault(name, capacity)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.filterwarnings("ignore")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()

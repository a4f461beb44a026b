"""Owns keeping other libraries quiet, and what they are told of threads before they start."""

import os
import warnings

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

"""Owns keeping other libraries quiet, and what they are told of threads before they start."""

import os
import warnings


def quiet_libraries() -> None:
    """Keep other libraries' progress bars and notices out of our output, and everything offline that can be."""
    # Threads that spin for long while they wait bring a shared machine to a halt, threads that sleep at once are slow
    # to wake: a short spin costs little of either (docs/benchmarks.md).
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # oneDNN keeps the code it made for each shape of a matrix product; batches have many shapes (600 MB in one sweep).
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.filterwarnings("ignore")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()

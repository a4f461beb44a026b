"""Third-party evaluators run quietly, offline, without a change to global RNG or logging state."""

import contextlib
import logging
import os
import random
import threading
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

LOGGERS = ("lm_eval", "datasets", "huggingface_hub", "transformers", "filelock", "alpaca_eval")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence logs, progress bars, output and warnings of third parties; then restore what they changed.

    Libraries set the root logger's level and handlers at import, and lm-eval starts git, which writes to the process's
    own standard error: so that is redirected, and not just ``sys.stderr``.
    """
    root, loggers = logging.getLogger(), [logging.getLogger(name) for name in LOGGERS]
    levels, root_level, handlers = [logger.level for logger in loggers], root.level, list(root.handlers)
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(Path(os.devnull).open("w"))
        stack.enter_context(contextlib.redirect_stderr(sink))
        stack.enter_context(contextlib.redirect_stdout(sink))
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(_error_stream_to(sink.fileno()))
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            root.setLevel(root_level)
            root.handlers[:] = handlers


@contextlib.contextmanager
def _error_stream_to(descriptor: int) -> Iterator[None]:
    try:
        kept = os.dup(2)
    except OSError:  # a process without standard error has nothing to silence
        yield
        return
    try:
        os.dup2(descriptor, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextlib.contextmanager
def same_generators() -> Iterator[None]:
    """Give the global generators of Python, numpy and torch back as they were."""
    import torch

    python, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_state)


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Turn hub access off. The libraries read the environment at import, so their settings are changed as well."""
    import datasets.config
    import huggingface_hub.constants

    names = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
    environment = {name: os.environ.get(name) for name in names}
    settings = [
        (module, name, getattr(module, name))
        for module, name in (
            (huggingface_hub.constants, "HF_HUB_OFFLINE"),
            (datasets.config, "HF_HUB_OFFLINE"),
            (datasets.config, "HF_DATASETS_OFFLINE"),
        )
    ]
    os.environ.update(dict.fromkeys(names, "1"))
    for module, name, _ in settings:
        setattr(module, name, True)
    try:
        yield
    finally:
        for module, name, value in settings:
            setattr(module, name, value)
        for name, before in environment.items():
            if before is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = before


@contextlib.contextmanager
def same_environment() -> Iterator[None]:
    """Give the environment variables back as they were: alpaca-eval reads a ``.env`` file into them at import."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


REACH_SECONDS = 5.0
"""How long the hub may take to answer before it counts as out of reach."""


@lru_cache(maxsize=1)
def hub_answers() -> bool:
    """Whether the hub can be reached. A look-up of its name may hang longer than any timeout, so a thread asks."""
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    answered, done = threading.Event(), threading.Event()

    def ask() -> None:
        try:
            from huggingface_hub import constants, get_session

            get_session().head(constants.ENDPOINT, timeout=REACH_SECONDS, follow_redirects=True)
            answered.set()
        except Exception:  # whatever stands in the way
            return
        finally:
            done.set()

    threading.Thread(target=ask, daemon=True).start()
    done.wait(REACH_SECONDS)
    return answered.is_set()

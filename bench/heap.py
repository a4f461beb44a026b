"""Owns what a process does about its memory: garbage collection, and giving back what is free."""

import ctypes
import gc
import sys
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

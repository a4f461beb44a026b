"""Owns giving freed memory back to the system, so that workers side by side do not each keep their largest moment."""

import ctypes
import sys


def give_back_memory() -> None:
    """Give back what is free at this moment, where the C library is one that keeps it (GNU's)."""
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)

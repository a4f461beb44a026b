"""How far β travels: the functions that carry it from the command line to the loss, and how often it is checked.

Run as ``python -m tests.architecture.hops``: it prints JSON, after a small ``bench run`` in a folder of its own.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import CodeType, FrameType

from pydantic import BaseModel

ROOT = Path(__file__).parents[2]
BETA = 0.123456789
"""A value that nothing else in a run has."""
PARTS = tuple(f"{ROOT / name}{os.sep}" for name in ("bench", "losses", "sweeps"))
RUN = (
    *("run", "--suite", "exact", "--loss", "ipo", "--sweep", f"beta={BETA!r}", "--seeds", "0", "--workers", "1"),
    *("--set", "train.steps=3", "--set", "train.batch=8", "--tracker", "none"),
)


class Trace:
    """The functions of ours on the stack whenever β is checked or the loss is called first.

    ``carriers``: those with β among their arguments; ``checks``: the stack of each check of its value.
    """

    def __init__(self) -> None:
        self.carriers: dict[str, None] = {}
        self.checks: list[list[str]] = []
        self.loss_calls = 0

    def profile(self, frame: FrameType, event: str, _: object) -> None:
        """Look at one event of ``sys.setprofile``."""
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(PARTS):
            return
        if code.co_name == "_checked" and code.co_filename.endswith("param.py") and frame.f_locals["value"] == BETA:
            self.checks.append([_name(one.f_code) for one in _stack(frame)])
        elif code.co_name == "ipo":
            self.loss_calls += 1
            if self.loss_calls > 1:
                return
        else:
            return
        for one in _stack(frame):
            if any(_holds(value) for value in _arguments(one)):
                self.carriers.setdefault(_name(one.f_code))


def _stack(frame: FrameType | None) -> list[FrameType]:
    stack = []
    while frame is not None:
        if frame.f_code.co_filename.startswith(PARTS) and not frame.f_code.co_name.startswith("<"):
            stack.append(frame)
        frame = frame.f_back
    return stack[::-1]


def _name(code: CodeType) -> str:
    return f"{Path(code.co_filename).relative_to(ROOT)}:{code.co_qualname}"


def _arguments(frame: FrameType) -> Iterator[object]:
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
    for name in {*code.co_varnames[:count], *code.co_freevars} & frame.f_locals.keys():
        yield frame.f_locals[name]


def _holds(value: object, depth: int = 6) -> bool:
    """Return whether β is in a value: itself, in its text, in a collection, or in a field of one of our objects."""
    if isinstance(value, float):
        return value == BETA
    if isinstance(value, str):
        return repr(BETA) in value
    if depth == 0:
        return False
    if isinstance(value, Mapping):
        return any(_holds(one, depth - 1) for one in value.values())
    if isinstance(value, list | tuple):
        return len(value) < 200 and any(_holds(one, depth - 1) for one in value)
    if is_dataclass(value):
        return any(_holds(getattr(value, one.name, None), depth - 1) for one in fields(value))
    if isinstance(value, BaseModel):
        return any(_holds(one, depth - 1) for one in value.__dict__.values())
    return False


def main() -> None:
    """Run the command under the trace and print what was seen."""
    from bench.cli import main as bench

    trace = Trace()
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = ["bench", *RUN, "--out", folder]
        sys.setprofile(trace.profile)
        try:
            bench()
        except SystemExit as stop:
            status = stop.code
        finally:
            sys.setprofile(None)
    seen = {"carriers": list(trace.carriers), "checks": trace.checks, "loss_calls": trace.loss_calls}
    print(json.dumps({"status": status, **seen}))


if __name__ == "__main__":
    main()

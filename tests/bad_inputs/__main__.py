"""Owns the whole campaign: ``python -m tests.bad_inputs [KIND …]`` tries every input and prints what it found."""

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.bad_inputs.campaign import all_cases
from tests.bad_inputs.trying import Case, faults


def main(kinds: list[str]) -> int:
    """Try the cases of these kinds, by default all; print counts and findings. 1: something was found."""
    tried: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    found: list[tuple[Case, list[str]]] = []
    for case in _chosen(all_cases(), kinds):
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            wrong = faults(case, Path(folder))
        tried[case.kind] += 1
        seconds[case.kind] += time.perf_counter() - started
        if wrong:
            found.append((case, wrong))
            print(f"{case}\n" + "".join(f"    {line}\n" for line in wrong), end="", flush=True)
    for kind, count in sorted(tried.items()):
        print(f"{count:6d} {kind} ({seconds[kind]:.1f} s)")
    print(f"{sum(tried.values()):6d} bad inputs, {len(found)} findings")
    return 1 if found else 0


def _chosen(cases: Iterable[Case], kinds: list[str]) -> Iterable[Case]:
    return (case for case in cases if not kinds or any(kind in case.kind for kind in kinds))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

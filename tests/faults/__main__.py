"""Owns ``python -m tests.faults``: the whole campaign, and its table in docs/faults.md."""

import argparse
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.utils.files import write_text_whole
from tests.faults.campaign import Case, Server, Told, Whole, survive, undisturbed
from tests.postgres import running_postgres

BEGIN, END = "<!-- faults:begin -->", "<!-- faults:end -->"
CASES = (
    *(Case(storage="journal", workers=workers, processes=1, kills=10) for workers in (1, 2, 4)),
    Case(storage="journal", workers=1, processes=2, kills=10),
    *(Case(storage="postgres", workers=workers, processes=1, kills=10, restarts=2) for workers in (1, 2, 4)),
)
COLUMNS = (
    "storage", "workers", "ranks", "sweeps", "kill -9", "of: commands, workers, launchers, ranks",
    "PostgreSQL restarted", "commands started", "seconds", "wrong",
)  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Run every case; exit status 1 where something was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="kill -9 of sweeps, at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", help="numbers of some cases, from 0, e.g. 0,4")
    parser.add_argument("--docs", type=Path, help="write the table between the markers of this document")
    given = parser.parse_args(arguments)
    chosen = CASES if given.cases is None else [CASES[int(number)] for number in given.cases.split(",")]
    told = []
    with tempfile.TemporaryDirectory(prefix="lossbench-faults-") as folder:
        expected: dict[int, Whole] = {}
        for number, case in enumerate(chosen):
            if case.processes not in expected:
                expected[case.processes] = undisturbed(
                    Path(folder) / f"whole-{case.processes}", processes=case.processes
                )
            chance = random.Random(f"{given.seed} {case}")
            place = Path(folder) / f"case-{number}"
            if case.storage == "journal":
                told.append(survive(case, place, expected=expected[case.processes], server=None, chance=chance))
            else:
                with running_postgres() as postgres:
                    server = Server(url=postgres.url, restart=lambda: postgres.restart("immediate"))
                    told.append(survive(case, place, expected=expected[case.processes], server=server, chance=chance))
            print(_row(told[-1]), dict(told[-1].exits), *told[-1].wrong, sep="\n  ", flush=True)
    text = table(told)
    print(text)
    if given.docs is not None:
        whole = given.docs.read_text(encoding="utf-8")
        before, after = whole.split(BEGIN)[0], whole.split(END)[1]
        write_text_whole(given.docs, f"{before}{BEGIN}\n{text}{END}{after}")
    return int(any(each.wrong for each in told))


def table(told: Sequence[Told]) -> str:
    """One row a case, and the sums."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}", *map(_row, told)]
    kills = sum(each.killed.total() for each in told)
    restarts, sweeps = sum(each.restarts for each in told), sum(each.sweeps for each in told)
    wrong = sum(len(each.wrong) for each in told)
    return (
        "\n".join(lines) + f"\n\n{kills} kills, {restarts} restarts of PostgreSQL, {sweeps} sweeps; wrong: {wrong}.\n"
    )


def _row(told: Told) -> str:
    case = told.case
    kinds = ", ".join(str(told.killed[kind]) for kind in ("command", "worker", "launcher", "rank"))
    cells = (
        case.storage, case.workers, case.processes, told.sweeps, told.killed.total(), kinds, told.restarts, told.starts,
        round(told.seconds), len(told.wrong) or "nothing",
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""Command line of the benchmarks: ``python -m tests.benchmarks steps | sweep | growth | reports | profile | table``."""

import argparse
import json
import os
import sys
import warnings
from pathlib import Path

from bench.errors import BenchError, RunError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit status: 1 where the two sides disagree or something failed."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="our training beside TRL's")
    commands = parser.add_subparsers(required=True)
    steps = commands.add_parser("steps", help="single steps, in turn on the same batches; TRL's fp32 always runs first")
    steps.add_argument("--sizes", type=_names, default="1M,5M,25M", help="of tiny,1M,5M,25M,135M")
    steps.add_argument("--objectives", type=_names, default="dpo,kto,simpo", help="of dpo,ipo,kto,simpo")
    steps.add_argument("--settings", type=_names, default="default,fp32,best", help="TRL's")
    steps.add_argument("--steps", type=int, default=12, help="timed steps a setting; the losses of ten at least agree")
    steps.add_argument("--repeats", type=int, default=3, help="processes a setting")
    steps.add_argument("--seed", type=int, default=0)
    steps.add_argument("--no-memory", action="store_true", help="do not start each side alone to measure its memory")
    steps.add_argument("--peak-seconds", type=float, default=0.5, help="for each matrix product, to find the best one")
    steps.add_argument("--our-beta", type=float, help="another β for our side, to see the comparison fail")
    steps.add_argument("--out", type=Path, required=True)
    steps.set_defaults(run=_steps)
    sweep = commands.add_parser("sweep", help="whole sweeps over β: five processes of TRL beside one of ours")
    sweep.add_argument("--sizes", type=_names, default="1M,5M,25M")
    sweep.add_argument("--betas", type=int, default=5, choices=range(1, 6))
    sweep.add_argument("--pairs", type=int, help="as many train; default 128, for 25M 48, for 135M 24")
    sweep.add_argument("--setting", choices=("default", "fp32", "best"), default="fp32", help="TRL's")
    sweep.add_argument("--repeats", type=int, default=1)
    sweep.add_argument("--out", type=Path, required=True)
    sweep.set_defaults(run=_sweep)
    growth = commands.add_parser("growth", help="how our cost grows; writes growth.png and growth.csv")
    growth.add_argument("--pairs", type=_counts, help="training pairs, e.g. 1000,2000")
    growth.add_argument("--shares", type=_shares, help="the prompt's share of a row, e.g. 0.1,0.9")
    growth.add_argument("--vocabularies", type=_counts)
    growth.add_argument("--trials", type=_counts, help="settings of a sweep")
    growth.add_argument("--repeats", type=int, default=4, help="timed steps at each place")
    growth.add_argument("--out", type=Path, default=Path("docs/figures"), help="a folder")
    growth.set_defaults(run=_growth)
    reports = commands.add_parser(
        "reports", help="time of tables, figures and page; writes reports.png and reports.csv"
    )
    reports.add_argument("--records", type=_counts, default="500,1000,2000,5000")
    reports.add_argument("--objectives", type=int, default=31)
    reports.add_argument("--repeats", type=int, default=1)
    reports.add_argument("--root", type=Path, help="a checkout of another version, to compare")
    reports.add_argument("--out", type=Path, default=Path("docs/figures"), help="a folder")
    reports.set_defaults(run=_reports)
    profile = commands.add_parser("profile", help="where the time of our step goes, as a table in Markdown")
    profile.add_argument("--sizes", type=_names, default="1M,5M,25M")
    profile.add_argument("--precisions", type=_names, default="fp32,bf16")
    profile.add_argument("--steps", type=int, default=8)
    profile.set_defaults(run=_profile)
    table = commands.add_parser("table", help="records of steps and sweep as the table of docs/benchmarks.md")
    table.add_argument("files", type=Path, nargs="+")
    table.add_argument("--docs", type=Path, default=Path("docs/benchmarks.md"))
    table.set_defaults(run=_table)
    for name, run in (
        ("turns", _turns),
        ("alone", _alone),
        ("sweep-theirs", _sweep_theirs),
        ("sweep-ours", _sweep_ours),
    ):
        child = commands.add_parser(name, help="started by steps or sweep, in a process of its own")
        child.add_argument("--job", type=json.loads, required=True)
        child.add_argument("--out", type=Path, required=True)
        child.set_defaults(run=run)
    return parser


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _counts(text: str) -> tuple[int, ...]:
    return tuple(map(int, _names(text)))


def _shares(text: str) -> tuple[float, ...]:
    return tuple(map(float, _names(text)))


def _steps(options: argparse.Namespace) -> int:
    from tests.benchmarks.steps import Plan, compare, disagreements

    plan = Plan(
        sizes=options.sizes,
        objectives=options.objectives,
        settings=options.settings,
        steps=options.steps,
        repeats=options.repeats,
        seed=options.seed,
        memory=not options.no_memory,
        peak_seconds=options.peak_seconds,
        our_beta=options.our_beta,
    )
    record = compare(plan, note=_note)
    _write(options.out, record)
    if wrong := disagreements(record):
        raise RunError("\n".join(wrong))
    return 0


def _turns(options: argparse.Namespace) -> int:
    from tests.benchmarks.turns import Job, run_turns

    _write(options.out, run_turns(Job(**options.job)))
    return 0


def _alone(options: argparse.Namespace) -> int:
    from tests.benchmarks.alone import Side, run_side

    _write(options.out, run_side(Side(**options.job)))
    return 0


def _sweep(options: argparse.Namespace) -> int:
    from tests.benchmarks.sweep import Plan, compare, disagreements

    plan = Plan(
        sizes=options.sizes, betas=options.betas, pairs=options.pairs, setting=options.setting, repeats=options.repeats
    )
    record = compare(plan, note=_note)
    _write(options.out, record)
    if wrong := disagreements(record):
        raise RunError("\n".join(wrong))
    return 0


def _sweep_theirs(options: argparse.Namespace) -> int:
    from tests.benchmarks.sweep import Job, run_theirs

    _write(options.out, run_theirs(Job(**options.job)))
    return 0


def _sweep_ours(options: argparse.Namespace) -> int:
    from tests.benchmarks.sweep import Job, run_ours

    _write(options.out, run_ours(Job(**options.job)))
    return 0


def _growth(options: argparse.Namespace) -> int:
    from tests.benchmarks.growth import Plan, measure, write

    usual = Plan()
    plan = Plan(
        pairs=options.pairs or usual.pairs,
        shares=options.shares or usual.shares,
        vocabularies=options.vocabularies or usual.vocabularies,
        trials=options.trials or usual.trials,
        repeats=options.repeats,
    )
    for path in write(measure(plan, note=_note), options.out):
        _note(f"written: {path}")
    return 0


def _reports(options: argparse.Namespace) -> int:
    from tests.benchmarks.reports import ROOT, measure, write

    timings = measure(
        options.records,
        objectives=options.objectives,
        repeats=options.repeats,
        root=(options.root or ROOT).resolve(),
        note=_note,
    )
    for path in write(timings, options.out):
        _note(f"written: {path}")
    return 0


def _profile(options: argparse.Namespace) -> int:
    from tests.benchmarks.profile import measure, table

    print(table(measure(options.sizes, options.precisions, steps=options.steps, note=_note)))
    return 0


def _table(options: argparse.Namespace) -> int:
    from tests.benchmarks.table import update

    update(options.files, options.docs)
    return 0


def _write(path: Path, record: object) -> None:
    from bench.utils.files import write_text_whole

    write_text_whole(path, json.dumps(record, indent=1) + "\n")


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    # Before anything is imported that reads them.
    for _name, _value in (("TQDM_DISABLE", "1"), ("TRANSFORMERS_VERBOSITY", "error"), ("HF_HUB_OFFLINE", "1")):
        os.environ.setdefault(_name, _value)
    warnings.filterwarnings("ignore", category=FutureWarning)  # of TRL to transformers, on every run
    raise SystemExit(main())

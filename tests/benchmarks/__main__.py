"""Owns the command line: ``python -m tests.benchmarks steps | sweep | growth | table``."""

import argparse
import json
import os
import sys
from pathlib import Path

from bench.errors import BenchError, RunError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit status: 1 where the two sides disagree or something failed."""
    given = _parser().parse_args(arguments)
    try:
        return int(given.run(given))
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
    steps.add_argument("--seed", type=int, default=0)
    steps.add_argument("--no-memory", action="store_true", help="do not start each side alone to measure its memory")
    steps.add_argument("--our-beta", type=float, help="another β for our side, to see the comparison fail")
    steps.add_argument("--out", type=Path, required=True)
    steps.set_defaults(run=_steps)
    alone = commands.add_parser("alone", help="one side in this process (started by steps)")
    alone.add_argument("--job", type=json.loads, required=True)
    alone.add_argument("--out", type=Path, required=True)
    alone.set_defaults(run=_alone)
    return parser


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _steps(given: argparse.Namespace) -> int:
    from tests.benchmarks.steps import Plan, compare, disagreements

    plan = Plan(
        sizes=given.sizes,
        objectives=given.objectives,
        settings=given.settings,
        steps=given.steps,
        seed=given.seed,
        memory=not given.no_memory,
        our_beta=given.our_beta,
    )
    record = compare(plan, note=_note)
    _write(given.out, record)
    if wrong := disagreements(record):
        raise RunError("\n".join(wrong))
    return 0


def _alone(given: argparse.Namespace) -> int:
    from tests.benchmarks.alone import Side, run_side

    _write(given.out, run_side(Side(**given.job)))
    return 0


def _write(path: Path, record: object) -> None:
    from bench.report.whole import write_text_whole

    write_text_whole(path, json.dumps(record, indent=1) + "\n")


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    # Before anything is imported that reads them.
    for _name, _value in (("TQDM_DISABLE", "1"), ("TRANSFORMERS_VERBOSITY", "error"), ("HF_HUB_OFFLINE", "1")):
        os.environ.setdefault(_name, _value)
    raise SystemExit(main())

"""Runs a plan by a crew in a fresh process, as the command line does: one JSON argument, one line of JSON back."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console

from bench.core.request import RunRequest
from bench.runner.hooks import hooks_of
from bench.runner.plan import make_plan
from bench.runner.pool import run_pool
from bench.runner.resources import Workers
from bench.runner.scheduler import gather, open_schedule, work
from bench.utils.progress import Progress
from bench.utils.stop_signals import stoppable


def main() -> None:
    job = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    request = RunRequest(
        losses=tuple(job["losses"]), sweep=job["sweep"], suite="exact", model=None, data=None, protocol=None,
        trials=None, seeds=job["seeds"], settings=tuple(job["settings"]), results=Path(job["out"]), study=None,
        storage=None, sampler="grid", workers=job["workers"], processes=1, resume=True, loss_files=(),
        pruner=job["pruner"],
    )  # fmt: skip
    plan = make_plan(request)
    retry, spans = None, []
    with Progress(Console(file=sys.stderr), total=1, threaded=False) as progress, stoppable() as stop:
        if job["workers"] > 1:
            crew = Workers(workers=job["workers"], threads=1)
            retry, spans = run_pool(plan, crew, progress, method=job["method"])
        agenda = open_schedule(
            plan, hooks_of(plan, advance=progress.advance, note=progress.note, stop=stop), retry=retry
        )
        work(agenda)
        records, failures = gather(agenda)
    print(json.dumps({"records": len(records), "failures": failures, "spans": [asdict(span) for span in spans]}))


if __name__ == "__main__":
    main()

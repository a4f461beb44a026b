"""Table of the causal-LM classes of transformers: ``python -m tests.model_classes [TYPE …] [--out FILE]``."""

import argparse
import logging
import sys
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from tests.model_classes.build import VARIANTS, model_types, transformers_version
from tests.model_classes.compare import SEEDS, Outcome, outcome, rows_of

MARKS = {
    "packed": "packed",
    "padded": "padded",
    "padded, own head": "padded, own head",
    "equal lengths": "equal lengths",
    "single rows": "single rows",
}
LIMIT = 1e-4
"""Largest difference that counts as right, nats, and relative to the largest gradient."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table; return 1 where a class is scored wrongly."""
    parser = argparse.ArgumentParser(prog="python -m tests.model_classes", description=__doc__)
    parser.add_argument("types", nargs="*", help="model types; all without one")
    parser.add_argument("--out", type=Path, help="a Markdown file, such as docs/models_checked.md")
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    names = options.types or [*model_types(), *VARIANTS]
    started, lines, outcomes = time.monotonic(), [], []
    for number, name in enumerate(names, start=1):
        whole, padded, lora = outcome(name), outcome(name, packed=False), outcome(name, lora=True)
        outcomes += [whole, padded, lora]
        lines.append(_line(name, whole, padded, lora))
        left = (time.monotonic() - started) / number * (len(names) - number)
        print(f"{number}/{len(names)} {lines[-1]}  (ETA {left:.0f} s)", file=sys.stderr, flush=True)
    text = _page(lines, outcomes, seconds=time.monotonic() - started)
    if options.out is None:
        print(text)
    else:
        options.out.write_text(text, encoding="utf-8")
    return int(any(is_wrong(each) for each in outcomes))


def is_wrong(one: Outcome) -> bool:
    """Return whether a class was taken, and its numbers are not its own forward pass's."""
    return one.logps is not None and one.gradients is not None and max(one.logps, one.gradients) > LIMIT


def _line(name: str, whole: Outcome, padded: Outcome, lora: Outcome) -> str:
    worst = [each.logps for each in (whole, padded, lora) if each.logps is not None]
    slopes = [each.gradients for each in (whole, padded, lora) if each.gradients is not None]
    cells = [f"`{name}`", whole.name, *(_cell(each) for each in (whole, padded, lora))]
    cells += [f"{max(worst):.0e}" if worst else "", f"{max(slopes):.0e}" if slopes else "", f"{whole.seconds:.2f}"]
    return "| " + " | ".join([*cells, _reason(whole, lora)]) + " |"


def _cell(one: Outcome) -> str:
    return f"**wrong** ({one.way})" if is_wrong(one) else one.way


def _reason(whole: Outcome, lora: Outcome) -> str:
    reason = whole.reason or (lora.reason if lora.way in ("refused", "not built") else "")
    return reason.replace("|", "\\|").replace("\n", " ")


def _introduction(rows: int, seconds: float) -> list[str]:
    text = f"""# Models checked

Every class that `AutoModelForCausalLM` of transformers {transformers_version()} knows, built small from its own default
configuration with windows, chunks and original contexts of 12 tokens, and some configurations besides. Log-probs and
gradients of {rows} rows of 5 to 41 tokens, some with a common prompt, are compared with the model's own forward pass,
one row at a time, without padding. Made by `python -m tests.model_classes --out docs/models_checked.md`
({seconds / 60:.1f} minutes on one core); the continuous integration repeats a part of it.

- **packed, padded, padded with its own head, equal lengths, single rows**: how rows are scored, the fastest first.
  All of them give what the model's own forward pass gives.
- **refused**: with the reason, before anything is trained. **not built**: no small model could be made here.
- Differences are the largest of the three columns: of a token's log-prob in nats, and of a gradient relative to the
  largest gradient. Seconds: of the check itself.
"""
    return [*text.splitlines(), ""]


def _page(lines: Sequence[str], outcomes: Sequence[Outcome], *, seconds: float) -> str:
    counts = [Counter("wrong" if is_wrong(each) else each.way for each in outcomes[start::3]) for start in range(3)]
    ways = [*MARKS, "refused", "not built", "wrong"]
    rows = len(SEEDS) * len(rows_of(seed=SEEDS[0]))
    summary = [
        f"| {label} | " + " | ".join(str(count[way]) for way in ways) + " |"
        for label, count in zip(("all weights", "all weights, packing off", "LoRA"), counts, strict=True)
    ]
    return "\n".join(
        [
            *_introduction(rows, seconds),
            "| | " + " | ".join(ways) + " |",
            "|---|" + "---|" * len(ways),
            *summary,
            "",
            "| type | class | all weights | packing off | LoRA | log-prob | gradient | s | why not faster |",
            "|---|---|---|---|---|---|---|---|---|",
            *lines,
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())

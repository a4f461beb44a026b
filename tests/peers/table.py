"""Docs/cross_checks.md: ``python -m tests.peers.table`` runs every comparison and writes what it found."""

import platform
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import torch
from datasets import disable_progress_bars

from losses import get, names
from losses.grammar import is_expression, parse
from tests.peers import (
    cases_kernels,
    cases_trl_divergence,
    cases_trl_dpo,
    cases_trl_others,
    facts_numbers,
    facts_settings,
)
from tests.peers.case import Case, Distance, measure
from tests.peers.fact import Fact
from tests.peers.sample import PAIRS, SEEDS

DOCUMENT = Path(__file__).parents[2] / "docs" / "cross_checks.md"
PACKAGES = ("trl", "liger-kernel", "torchtune", "torch", "transformers", "accelerate", "datasets")

HEAD = """# Cross-checks against other code

Written by `python -m tests.peers.table`; `tox -e peers` asserts the same. The numbers were measured by running the
peers' own code, none of it copied, on a CPU: {versions}.

A row compares the mean loss of {pairs} pairs, or {rows} single completions, of 1 to 6 random tokens, and its gradient
with respect to *all logits* of the policy; {seeds} batches, from nearly uniform to nearly certain policies. Ours
computes in float64, the peer in the precision that the tolerance tells: 1e-10 is float64, 1e-05 float32 (by its own
code), 1e-06 float64 with a float32 constant. Distances are the largest over the batches: of values relative where above
1, of gradients relative to the largest component.

trl's trainers are made without `__init__`, with the settings as attributes; their own `_compute_loss` (DPO, KTO, TPO),
`get_batch_loss_metrics` (CPO, ORPO) or `training_step` (online DPO) runs on a stand-in for the model that answers token
ids with the random logits. Batches come from their own collators where they have one. Liger-Kernel's classes run
uncompiled with an identity as LM head. torchtune's losses are loaded from their own file, for `import torchtune` fails:
without torchao it refuses, and torchao {torchao} has no more what it asks for.
"""
TORCHAO = "0.18.0"
"""The newest one, tried by hand."""


def all_cases() -> list[Case]:
    """Every comparison."""
    modules = (cases_trl_dpo, cases_trl_divergence, cases_trl_others, cases_kernels)
    return [case for module in modules for case in module.cases()]


def all_facts() -> list[Fact]:
    """Everything else that is said of peers."""
    return [*facts_numbers.facts(), *facts_settings.facts()]


def key(case: Case) -> str:
    """The first cells of a case's row."""
    values = ", ".join(f"{name} {value:.3g}" for name, value in case.params.items())
    return f"| `{case.objective}` | {values} | {case.peer} | {case.entry} |"


def write() -> int:
    """Run everything, write the document; return how many rows are out of tolerance."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    disable_progress_bars()
    measured = [(case, measure(case)) for case in all_cases()]
    found = [(fact, _holds(fact)) for fact in all_facts()]
    DOCUMENT.write_text("\n".join([_head(), *_tables(measured), *_said(found), *_alone()]) + "\n", encoding="utf-8")
    failures = [str(case) for case, distance in measured if not _within(case, distance)]
    failures += [str(fact) for fact, holds in found if not holds]
    for failure in failures:
        print(f"out of tolerance: {failure}", file=sys.stderr)
    print(f"{len(measured)} comparisons, {len(found)} facts, {len(failures)} out of tolerance: {DOCUMENT}")
    return len(failures)


def _head() -> str:
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    python = f"Python {platform.python_version()}"
    return HEAD.format(versions=f"{versions}, {python}", pairs=PAIRS, rows=2 * PAIRS, seeds=len(SEEDS), torchao=TORCHAO)


def _tables(measured: list[tuple[Case, Distance]]) -> list[str]:
    same = [row for row in measured if not row[0].difference]
    other = [row for row in measured if row[0].difference]
    causes = list(dict.fromkeys(case.difference for case, _ in other))
    columns = "| objective | parameters | peer | its loss | value | gradient | tolerance |"
    return [
        f"## The same ({len(same)})\n",
        columns,
        "|---|---|---|---|---|---|---|",
        *(f"{key(case)} {_numbers(case, found)} |" for case, found in same),
        f"\n## The same but for a named difference ({len(other)})\n",
        "«As it stands» is the distance, of value or gradient, before the difference is accounted for; the others are "
        "those after it.\n",
        f"{columns} as it stands | difference |",
        "|---|---|---|---|---|---|---|---|---|",
        *(
            f"{key(case)} {_numbers(case, found)} | {found.plain:.2g} | {causes.index(case.difference) + 1} |"
            for case, found in other
        ),
        "",
        *(f"{number}. {cause}." for number, cause in enumerate(causes, start=1)),
    ]


def _numbers(case: Case, found: Distance) -> str:
    mark = "" if _within(case, found) else " **out of tolerance**"
    return f"{found.value:.0e} | {found.gradient:.0e} | {case.tolerance:.0e}{mark}"


def _within(case: Case, found: Distance) -> bool:
    return max(found.value, found.gradient) <= case.tolerance


def _said(found: list[tuple[Fact, bool]]) -> list[str]:
    rows = (
        f"| `{fact.objective}` | {fact.peer} | {fact.statement}{'' if holds else ' **no more**'} |"
        for fact, holds in found
    )
    return [
        f"\n## Limits, refusals, defaults ({len(found)})\n",
        "| objective | peer | what holds |",
        "|---|---|---|",
        *rows,
    ]


def _alone() -> list[str]:
    compared = {term.name for case in all_cases() for term in parse(case.objective)}
    moved = {fact.objective for fact in all_facts() if not is_expression(fact.objective)}
    alone = [name for name in names() if name not in compared | moved and get(name).fn.__module__.startswith("losses.")]
    return [
        "\n## Without a counterpart\n",
        f"Objectives that none of these peers has: {', '.join(f'`{name}`' for name in alone)}.\n",
        "Losses of the peers that are no objective here: trl's GRPO, RLOO, GMPO, A2PO, GKD, GOLD, SDFT, SDPO, "
        "distillation and reward model, TPO with a gold completion other than the chosen one; Liger-Kernel's GRPO, JSD "
        "and cosine similarity; torchtune's PPO and distillation.",
    ]  # fmt: skip


def _holds(fact: Fact) -> bool:
    try:
        fact.check()
    except AssertionError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(1 if write() else 0)

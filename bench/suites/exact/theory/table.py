"""Generator of ``docs/optima.md``: each objective's population optimum, or why it is unknown."""

from collections.abc import Iterable

from bench.suites.exact.theory.no_closed_form import UNKNOWN
from bench.suites.exact.theory.optima import KNOWN

HEAD = """# Where each objective ends

Made by `python -m bench.suites.exact.theory.table`: edit the entries in `bench/suites/exact/theory`, not this.

With endless data, and a policy that is free to be anything, an objective ends where its *population risk* is least: its
mean loss over contexts, over pairs of different completions drawn evenly, and over labels that prefer completion i to j
in a share P = P(i ≻ j) of cases. Where that is known in closed form, a run can be measured by its distance to the
objective's *own* optimum: what is left is due to the optimiser, the number of steps or the sample, not to the loss.
`theory.optima.optimum` computes it, or says which condition fails. «Closed form»: up to, at
most, one number for each context, λ or μ, that makes the probabilities sum to 1 (for `bco_pair`, `nca_pair`, `nca` with
one rising equation for each completion besides).

Notation: z = log π/π_ref of a completion and n its tokens; s̄, r̄ log-probs divided by tokens; u with u_i - u_j =
logit P for Bradley-Terry labels (the rewards, if P = σ(r_i - r_j)); w the mean of P(i ≻ j) over the others j. «Two
completions» is for each context. Certain labels (P = 0 or 1) have no finite optimum wherever logit P enters. «derived
here»: it follows from our formula of the loss alone.

The reasoning for gaps: if the loss of a pair is least at one gap, and the best gaps of all pairs fit together, then a
policy with these gaps has the least loss on all pairs at once. With two completions there is one gap, which always
fits; logit P fits for Bradley-Terry labels. For losses that fall into a sum over completions, the sum of probabilities
is the one thing that ties them, by a multiplier μ; `theory/separable.py` says when that is the optimum.

The tests minimise the risk of every row with our own loss and an optimiser that knows no formula, and compare.
"""


def optima_markdown() -> str:
    """Return the text of ``docs/optima.md``."""
    known = [(f"`{name}`", each.formula, each.condition, each.source) for name, each in sorted(KNOWN.items())]
    lines = [
        HEAD,
        f"## Known: {len(known)} objectives",
        "",
        *_table(("objective", "optimum", "condition", "source"), known),
        "",
        f"## Not known: {len(UNKNOWN)} objectives",
        "",
        *_table(("objective", "why"), ((f"`{name}`", reason) for name, reason in sorted(UNKNOWN.items()))),
    ]
    return "\n".join(lines) + "\n"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [head, ("---",) * len(head), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]


if __name__ == "__main__":
    print(optima_markdown(), end="")

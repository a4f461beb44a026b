"""Descriptions of objectives: the rows of ``bench losses``, the page of one, and ``docs/objectives.md``."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence

from losses import Objective, Pairs, Ranked, Requires, get, names
from losses.modifiers import MODIFIERS, Modifier
from losses.param import Param
from losses.registry import ObjectiveFileError

NEEDS = {
    "reference": Requires.REFERENCE,
    "tokens": Requires.TOKENS,
    "vocabulary": Requires.VOCAB_KL | Requires.COLLISION | Requires.ENTROPY,
    "kl_baseline": Requires.KL_BASELINE,
    "whole_batch": Requires.WHOLE_BATCH,
    "scores": Requires.SCORES,
}
"""The values of ``--needs``."""


def data_kind(objective: Objective) -> str:
    """``pairs``, ``unpaired`` or ``ranked``."""
    return {Pairs: "pairs", Ranked: "ranked"}.get(objective.batch, "unpaired")


def needs(objective: Objective) -> list[str]:
    """Names of ``NEEDS`` that an objective has."""
    return [name for name, flag in NEEDS.items() if objective.requires & flag]


def checked_against(subject: Objective | Modifier) -> str:
    """What the formula was compared with: «paper, peer code», or «not stated»."""
    return ", ".join(subject.checked_against) or "not stated"


def passes(objective: Objective) -> str:
    """What one step costs besides the policy's forward and backward pass."""
    extra = []
    moving = objective.schedule is not None
    if moving or objective.requires & (Requires.VOCAB_KL | Requires.ENTROPY):
        extra.append("a forward pass of the reference")
    elif Requires.REFERENCE in objective.requires:
        extra.append("a cached reference")
    if Requires.KL_BASELINE in objective.requires:
        extra.append("a forward pass on mismatched completions")
    if Requires.WHOLE_BATCH in objective.requires:
        extra.append("a second forward pass of the policy")
    return " and ".join(extra) or "nothing more"


def row(objective: Objective) -> dict[str, object]:
    """Return everything known about an objective, as plain data."""
    return {
        "name": objective.name,
        "data": data_kind(objective),
        "aggregation": objective.aggregation,
        "reward": objective.reward,
        "needs": needs(objective),
        "extra_cost": passes(objective),
        "params": {name: _param(param) for name, param in objective.params.items()},
        "equation": objective.equation,
        "optimum": objective.optimum,
        "reduces_to": list(objective.reduces_to),
        "differs": list(objective.differs),
        "paper": objective.paper,
        "checked_against": list(objective.checked_against),
        "version": objective.version,
    }


def select(*, paired: bool, unpaired: bool, reference_free: bool, needed: Sequence[str]) -> list[Objective]:
    """Return the objectives that match every filter that is on, by name.

    Raises:
        KeyError: ``needed`` holds no name of ``NEEDS``.
    """
    kinds = {kind for kind, wanted in (("pairs", paired), ("ranked", paired), ("unpaired", unpaired)) if wanted}
    matches = []
    for objective in _loadable():
        if kinds and data_kind(objective) not in kinds:
            continue
        if reference_free and Requires.REFERENCE in objective.requires:
            continue
        if all(objective.requires & NEEDS[name] for name in needed):
            matches.append(objective)
    return matches


def _loadable() -> Iterator[Objective]:
    for name in names():
        # A broken package is reported separately (losses.registry.problems) and hides no other objective.
        with contextlib.suppress(ObjectiveFileError):
            yield get(name)


def page(objective: Objective) -> str:
    """Return one objective as text: its documentation, data, cost and parameters."""
    lines = [
        objective.name,
        "",
        objective.doc,
        "",
        f"data        {data_kind(objective)}",
        f"log-probs   {objective.aggregation}",
        f"reward      {objective.reward}",
        f"needs       {', '.join(needs(objective)) or 'nothing but the policy'}",
        f"extra cost  {passes(objective)}",
    ]
    for name, param in objective.params.items():
        lines += ["", f"{name} ({param.symbol}) · default {param.default:g} · sweep {param.space} · {param.unit}"]
        lines += [f"  {param.meaning}"]
    return "\n".join(lines)


def markdown() -> str:
    """Return the text of ``docs/objectives.md``."""
    built_in = [objective for objective in _loadable() if objective.fn.__module__.startswith("losses.")]
    lines = [
        "# Objectives",
        "",
        "Made from the registry by `python -m bench.cli.objectives`: edit `losses/objectives` instead.",
        "Notation: the head of `losses/batch.py`. «sweep» is what `--sweep` tries. «checked against» is what the",
        "formula was compared with: the paper's text, the code of its authors, that of another library (peer code), or",
        "none of these (secondary: as commonly stated).",
        "",
        f"{len(built_in)} objectives and {len(MODIFIERS)} modifiers.",
        "",
        "| name | equation | data | log-probs | needs | parameters (default; sweep) |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_table_row(objective) for objective in built_in]
    lines += ["", "## Modifiers", "", "Written after an objective: `dpo+nll(0.2)`, `ipo+wpo`; ℓ is its loss.", ""]
    lines += ["| name | what changes | parameters (default; sweep) | paper | checked against |"]
    lines += ["|---|---|---|---|---|"]
    lines += [_modifier_row(modifier) for modifier in MODIFIERS.values()]
    for objective in built_in:
        lines += ["", f"## {objective.name}", "", *_section(objective)]
    return "\n".join(lines) + "\n"


def _table_row(objective: Objective) -> str:
    cells = (
        f"[{objective.name}](#{objective.name})", f"`{_cell(objective.equation)}`", data_kind(objective),
        objective.aggregation, ", ".join(needs(objective)), _params(objective.params.items()),
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _modifier_row(modifier: Modifier) -> str:
    cells = (
        modifier.name, f"`{_cell(modifier.equation)}`", _params(modifier.params.items()), _cell(modifier.paper),
        checked_against(modifier),
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _section(objective: Objective) -> list[str]:
    first, _, _ = objective.doc.partition("\n\n")
    facts = [
        ("equation", f"`{objective.equation}`"), ("paper", objective.paper),
        ("checked against", checked_against(objective)),
        ("optimum", objective.optimum),
        ("reward", f"`{objective.reward}`"), ("extra cost of a step", passes(objective)),
        *(("reduction", text) for text in objective.reduces_to),
        *((f"`{name}`", f"{param.symbol}, default {param.default:g}, {param.unit}: {param.meaning}")
          for name, param in objective.params.items()),
        *(("differs from", text) for text in objective.differs),
    ]  # fmt: skip
    return [" ".join(first.split()), "", *(f"- {what}: {text}" for what, text in facts)]


def _params(items: Iterable[tuple[str, Param]]) -> str:
    return "; ".join(f"`{name}` {param.default:g}; {param.space}" for name, param in items) or "none"


def _param(param: Param) -> dict[str, object]:
    return {
        "default": param.default,
        "space": str(param.space),
        "unit": param.unit,
        "symbol": param.symbol,
        "meaning": param.meaning,
    }


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(markdown(), end="")

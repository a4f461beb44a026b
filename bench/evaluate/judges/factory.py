"""Judges made from their names on the command line or in a TOML file, and the cost of asking them."""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from bench.errors import UsageError
from bench.evaluate.judges.base import Cost, Judge
from bench.evaluate.judges.config import JudgeSpec
from bench.evaluate.judges.registry import FORMS, KINDS

if TYPE_CHECKING:
    from rich.console import Console


def judges_of(names: Sequence[str], *, special: Mapping[str, Callable[[], Judge]] | None = None) -> list[Judge]:
    """Make the judges with these names.

    Args:
        special: judges that the caller makes itself, by name. They come before the registered kinds.

    Raises:
        UsageError: a judge that cannot be made, or two judges with the same name.
    """
    special = special or {}
    judges = [special[name]() if name in special else judge_of(judge_spec(name)) for name in names]
    labels = [judge.name for judge in judges]
    double = next((label for label in labels if labels.count(label) > 1), None)
    if double is not None:
        raise UsageError(f"two judges are called {double!r}", fix='give each a TOML file with its own name = "…"')
    return judges


def judge_spec(text: str) -> JudgeSpec:
    """Parse one of ``FORMS``.

    Raises:
        UsageError: another form, an unreadable file, or an invalid field.
    """
    name, _, rest = text.partition(":")
    kind = KINDS.get(name)
    if kind is not None and text == kind.form:
        return JudgeSpec(kind=name)
    if kind is not None and rest and ":" in kind.form:
        return JudgeSpec.model_validate({"kind": name} | kind.fields(rest))
    if text.endswith(".toml"):
        return _from_file(Path(text))
    raise UsageError(f"--judge: unknown judge {text!r}", fix=FORMS)


def judge_of(spec: JudgeSpec) -> Judge:
    """Make the judge that ``spec`` describes.

    Raises:
        UsageError: an unknown kind, or a folder, template, key or address that cannot be used.
    """
    if spec.kind not in KINDS:
        raise UsageError(f"judge: unknown kind {spec.kind!r}", fix=f"kind is one of {', '.join(KINDS)}")
    return KINDS[spec.kind].make(spec)


def tell_cost(costs: Sequence[tuple[Judge, Cost | None]], *, console: "Console", max_cost: float | None) -> None:
    """Print what each judge behind an address would cost. Raises UsageError: more than ``max_cost``, or unknown."""
    for judge, cost in costs:
        if cost is None:
            continue
        money = (
            "price unknown (price_in, price_out)"
            if cost.money is None
            else f"at most {cost.money:.2f}"
            if cost.money >= 1
            else f"at most {cost.money:.4f}"
        )
        console.print(
            f"  {judge.name}: {cost.requests:,} requests, {cost.prompt_tokens:,} tokens read (by {cost.counted_by}), "
            f"at most {cost.completion_tokens:,} written: {money}",
            highlight=False,
            markup=False,
        )
    if max_cost is None:
        return
    if unpriced := [judge.name for judge, cost in costs if cost is not None and cost.money is None and cost.requests]:
        raise UsageError(
            f"--max-cost: the price of {unpriced[0]} is unknown", fix="give price_in and price_out in its TOML file"
        )
    total = sum(cost.money or 0.0 for _, cost in costs if cost is not None)
    if total > max_cost:
        raise UsageError(
            f"this may cost {total:.2f}, more than --max-cost {max_cost:g}; nothing was asked",
            fix="fewer questions, a cheaper judge, or a higher limit",
        )


def _from_file(path: Path) -> JudgeSpec:
    try:
        read = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"judge {path}: cannot be read ({error.strerror or error})", fix=FORMS) from error
    except ValueError as error:
        raise UsageError(f"judge {path}: not TOML ({error})", fix="name = value, a line each") from error
    for name in ("folder", "tokenizer"):
        if isinstance(read.get(name), str):
            read[name] = path.parent / read[name]
    if isinstance(read.get("template"), str) and (path.parent / read["template"]).is_file():
        read["template"] = str(path.parent / read["template"])
    if read.get("kind") not in KINDS:
        raise UsageError(f"judge {path}: kind: unknown {read.get('kind')!r}", fix=f"kind is one of {', '.join(KINDS)}")
    try:
        return JudgeSpec.model_validate(read)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise UsageError(f"judge {path}: {faults}", fix=f"fields: {', '.join(JudgeSpec.model_fields)}") from error

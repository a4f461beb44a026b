"""Judges by name: the forms of the command line and of TOML files, and the judge that each one makes."""

import tomllib
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console

from bench.errors import UsageError
from bench.evaluate.judges.base import Cost, Judge
from bench.evaluate.judges.config import JudgeSpec


def judges_of(given: Sequence[str]) -> list[Judge]:
    """Make the judges named. Raises UsageError: one that cannot be made, or two of one name."""
    judges = [judge_of(judge_spec(name)) for name in given]
    if len({judge.name for judge in judges}) < len(judges):
        raise UsageError("two judges have one name", fix='give each a TOML file with its own name = "…"')
    return judges


def tell_cost(costs: Sequence[tuple[Judge, Cost | None]], *, console: Console, max_cost: float | None) -> None:
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


FORMS = "gold, reward:FOLDER, lm:FOLDER, fitted:FILE, api:MODEL@URL, or a TOML file"


def judge_spec(given: str) -> JudgeSpec:
    """Read ``gold``, ``reward:FOLDER``, ``lm:FOLDER``, ``fitted:FILE``, ``api:MODEL@URL`` or the path of a TOML file.

    Raises:
        UsageError: none of these, an unreadable file, or a field that cannot be right.
    """
    if given == "gold":
        return JudgeSpec(kind="gold")
    kind, _, rest = given.partition(":")
    if kind in ("reward", "lm", "fitted") and rest:
        return JudgeSpec(kind=kind, folder=Path(rest))  # type: ignore[arg-type]
    if kind == "api" and rest:
        model, at, url = rest.rpartition("@")
        if not at or not model or not url.startswith(("http://", "https://")):
            raise UsageError(f"--judge {given!r}: needs a model and an address", fix="--judge api:MODEL@http://HOST/v1")
        return JudgeSpec(kind="api", model=model, url=url)
    if given.endswith(".toml"):
        return _from_file(Path(given))
    raise UsageError(f"--judge {given!r}: not a judge", fix=FORMS)


def judge_of(spec: JudgeSpec) -> Judge:
    """Make the judge that is described. Raises UsageError: a folder, template, key or address that cannot be used."""
    if spec.kind == "gold":
        from bench.evaluate.judges.reward_model import gold_judge

        return gold_judge(name=spec.name)
    if spec.kind == "api":
        from bench.evaluate.judges.openai_endpoint import endpoint_judge

        return endpoint_judge(spec)
    if spec.folder is None:
        raise UsageError(f"a judge of kind {spec.kind} needs a folder or a file", fix=f"--judge {spec.kind}:PLACE")
    if spec.kind == "fitted":
        from bench.evaluate.judges.bradley_terry import judge_fitted_on

        return judge_fitted_on(spec.folder, name=spec.name)
    if spec.kind == "reward":
        from bench.evaluate.judges.reward_model import reward_judge

        return reward_judge(spec.folder, name=spec.name, text=spec.text, soft=spec.soft)
    from bench.evaluate.judges.local_lm import language_model_judge

    return language_model_judge(spec.folder, spec)


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
    try:
        return JudgeSpec.model_validate(read)
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise UsageError(f"judge {path}: {told}", fix=f"fields: {', '.join(JudgeSpec.model_fields)}") from error

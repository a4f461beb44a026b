"""Owns how a judge is named on the command line or in a TOML file, and making it from that."""

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.errors import UsageError
from bench.judges.templates import ALPACA_EVAL
from bench.judges.verdict import Judge

FORMS = "gold, reward:FOLDER, lm:FOLDER, fitted:FILE, api:MODEL@URL, or a TOML file"


class JudgeSpec(BaseModel):
    """One judge as given; ``folder`` of a fitted one is its file of preferences.

    Prices are money per million tokens, in any currency.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["gold", "reward", "lm", "fitted", "api"]
    name: str | None = None
    folder: Path | None = None
    model: str | None = None
    url: str | None = None
    key_env: str | None = None
    template: str = ALPACA_EVAL
    answers: tuple[str, str] | None = None
    text: str = "{instruction}\n\n{output}"
    soft: bool = False
    logprobs: bool = True
    temperature: float = Field(default=0.0, ge=0.0)
    max_tokens: int | None = Field(default=None, ge=1)
    limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    concurrency: int = Field(default=8, ge=1, le=256)
    timeout: float = Field(default=60.0, gt=0.0)
    retries: int = Field(default=6, ge=0)
    price_in: float | None = Field(default=None, ge=0.0)
    price_out: float | None = Field(default=None, ge=0.0)
    tokenizer: Path | None = None
    extra: dict[str, Any] = Field(default_factory=dict)


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
        from bench.judges.scored import gold_judge

        return gold_judge(name=spec.name)
    if spec.kind == "api":
        from bench.judges.endpoint import endpoint_judge

        return endpoint_judge(spec)
    if spec.folder is None:
        raise UsageError(f"a judge of kind {spec.kind} needs a folder or a file", fix=f"--judge {spec.kind}:PLACE")
    if spec.kind == "fitted":
        from bench.judges.fitted import judge_fitted_on

        return judge_fitted_on(spec.folder, name=spec.name)
    if spec.kind == "reward":
        from bench.judges.scored import reward_judge

        return reward_judge(spec.folder, name=spec.name, text=spec.text, soft=spec.soft)
    from bench.judges.language_model import language_model_judge

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

"""Settings of one judge: ``JudgeSpec``."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from bench.evaluate.judges.templates import ALPACA_EVAL


class JudgeSpec(BaseModel):
    """Settings of one judge, as on the command line or in a TOML file.

    ``kind`` is one of ``bench.evaluate.judges.registry.KINDS``. A fitted judge's ``folder`` is its file of preferences.

    Prices are money per million tokens, in any currency.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
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
    context: int | None = Field(default=None, ge=1)
    extra: dict[str, object] = Field(default_factory=dict)

"""Registry of the kinds of judges. It loads nothing heavy, so that the command line's help can list them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.evaluate.judges.base import Judge
    from bench.evaluate.judges.config import JudgeSpec


@dataclass(frozen=True, kw_only=True)
class JudgeKind:
    """One kind of judge.

    Attributes:
        form: how it is written after ``--judge``: ``KIND``, or ``KIND:`` and a placeholder.
        make: builds it. Imports what it needs when it is called, so that listing the kinds stays light.
        fields: the fields of ``JudgeSpec`` in the text after ``KIND:``; raises UsageError.
    """

    form: str
    make: Callable[["JudgeSpec"], "Judge"]
    fields: Callable[[str], dict[str, object]] = lambda text: {"folder": Path(text)}


def _gold(spec: "JudgeSpec") -> "Judge":
    from bench.evaluate.judges.reward_model import gold_judge

    return gold_judge(name=spec.name)


def _reward(spec: "JudgeSpec") -> "Judge":
    from bench.evaluate.judges.reward_model import reward_judge

    return reward_judge(_path(spec), name=spec.name, text=spec.text, soft=spec.soft)


def _lm(spec: "JudgeSpec") -> "Judge":
    from bench.evaluate.judges.local_lm import language_model_judge

    return language_model_judge(_path(spec), spec)


def _fitted(spec: "JudgeSpec") -> "Judge":
    from bench.evaluate.judges.bradley_terry import judge_fitted_on

    return judge_fitted_on(_path(spec), name=spec.name)


def _api(spec: "JudgeSpec") -> "Judge":
    from bench.evaluate.judges.openai_endpoint import endpoint_judge

    return endpoint_judge(spec)


def _endpoint_fields(text: str) -> dict[str, object]:
    model, at, url = text.rpartition("@")
    if not at or not model or not url.startswith(("http://", "https://")):
        raise UsageError(f"--judge 'api:{text}': needs a model and an address", fix="--judge api:MODEL@http://HOST/v1")
    return {"model": model, "url": url}


KINDS: Mapping[str, JudgeKind] = {
    "gold": JudgeKind(form="gold", make=_gold),
    "reward": JudgeKind(form="reward:FOLDER", make=_reward),
    "lm": JudgeKind(form="lm:FOLDER", make=_lm),
    "fitted": JudgeKind(form="fitted:FILE", make=_fitted),
    "api": JudgeKind(form="api:MODEL@URL", make=_api, fields=_endpoint_fields),
}
"""All kinds of judges. A new judge is a module with a function that makes it, and an entry here."""
FORMS = f"{', '.join(kind.form for kind in KINDS.values())}, or a TOML file"
"""What ``--judge`` takes, for help texts and messages."""


def _path(spec: "JudgeSpec") -> Path:
    if spec.folder is None:
        raise UsageError(
            f"a judge of kind {spec.kind} needs a folder or a file", fix=f"--judge {KINDS[spec.kind].form}"
        )
    return spec.folder

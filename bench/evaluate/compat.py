"""Private names of other libraries that evaluation uses; ``tests/bench/evaluate/test_compat.py`` checks them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment
    from transformers import PretrainedConfig, PreTrainedModel

HFLM_SCORING = "_loglikelihood_tokens"
"""The method of lm-eval's ``HFLM`` that ``tasks/hflm.py`` overrides (checked with lm-eval 0.4.13)."""


def attention_of(config: PretrainedConfig) -> str | None:
    """Return the name of the attention that a model uses: ``eager``, ``sdpa``, … (checked with transformers 5.23)."""
    return config._attn_implementation


def supports_sdpa(model: PreTrainedModel) -> bool:
    """Return whether a model can use torch's fused attention (checked with transformers 5.23)."""
    return bool(getattr(model, "_supports_sdpa", False))


def load_task_yaml(path: Path) -> dict[str, Any]:
    """Return an lm-eval task file with the files that it includes; functions stay names (lm-eval 0.4.13)."""
    from lm_eval.tasks._yaml_loader import load_yaml

    return load_yaml(path, resolve_func=False)


def import_task_function(text: str) -> Callable[..., object]:
    """Return the function behind a ``!function`` value of a task file (lm-eval 0.4.13).

    Raises whatever importing its module raises.
    """
    from lm_eval.tasks._yaml_loader import _import_fun_from_str

    return _import_fun_from_str(text)


@contextmanager
def task_functions(check: Callable[[str, Path], None]) -> Iterator[None]:
    """Have ``check`` called with name and folder before lm-eval imports what ``!function`` names (lm-eval 0.4.13)."""
    from lm_eval.tasks import _yaml_loader

    imported = _yaml_loader._import_func_in_yml

    def checked(name: str, folder: Path) -> object:
        check(name, folder)
        return imported(name, folder)

    _yaml_loader._import_func_in_yml = checked
    try:
        yield
    finally:
        _yaml_loader._import_func_in_yml = imported


@contextmanager
def task_templates(environment: Environment | None) -> Iterator[Environment]:
    """Let lm-eval render its templates by an environment; None: by its own (``lm_eval.utils.env``, lm-eval 0.4.13)."""
    import lm_eval.utils

    kept = lm_eval.utils.env
    lm_eval.utils.env = kept if environment is None else environment
    try:
        yield lm_eval.utils.env
    finally:
        lm_eval.utils.env = kept


def length_control_module() -> ModuleType:
    """Return alpaca-eval's module of the length-controlled win rate, whose settings ``GLM_INFO`` are undocumented.

    Used: ``GLM_INFO``, ``make_dmatrix_for_model``, ``fit_LogisticRegressionCV``, ``get_is_extreme_changes``
    (alpaca-eval 0.6.6).
    """
    from alpaca_eval.metrics import glm_winrate

    return glm_winrate

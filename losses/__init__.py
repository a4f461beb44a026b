"""Public names of ``losses``; they load torch only when first used, so ``losses.space`` stays light."""

import importlib
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from losses.batch import Completion, Pairs, Ranked, Singles
    from losses.objective import Bound, Objective, Requires
    from losses.param import Param
    from losses.registry import get, names, register_file
    from losses.schedule import ReferenceSchedule
    from losses.testing import check_objective

__all__ = [
    "Bound",
    "Completion",
    "Objective",
    "Pairs",
    "Param",
    "Ranked",
    "ReferenceSchedule",
    "Requires",
    "Singles",
    "check_objective",
    "get",
    "names",
    "register_file",
]

_HOME = MappingProxyType(
    {
        "Completion": "losses.batch",
        "Pairs": "losses.batch",
        "Singles": "losses.batch",
        "Ranked": "losses.batch",
        "Bound": "losses.objective",
        "Objective": "losses.objective",
        "Param": "losses.objective",
        "ReferenceSchedule": "losses.schedule",
        "Requires": "losses.objective",
        "check_objective": "losses.testing",
        "get": "losses.registry",
        "names": "losses.registry",
        "register_file": "losses.registry",
    }
)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'losses' has no attribute {name!r}; it has: {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""What stands between the last hidden state and the logits besides the output embedding, found by comparison."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from bench.models.compat import attentions_of
from bench.models.eval_mode import evaluating
from bench.utils.event_log import log_event

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SIZES = (1.0, 30.0, 300.0, 3000.0)
"""Largest logits of the states that are tried: no soft cap that a model can meet leaves all of them as they are."""
EQUAL = 1e-4
"""Largest difference of a logit, relative to the position's largest, at which logits count as the head's."""
OPTIONAL = ("use_cache", "logits_to_keep")
"""Arguments that change nothing but speed, left out where a model does not take them."""
KEYWORDS = "**"
"""Among the names of arguments: all others, which a model hands on to its backbone."""
_configs: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()
_known: WeakKeyDictionary[nn.Module, float | None] = WeakKeyDictionary()
_by_architecture: dict[str, float] = {}


def is_plain(causal: PreTrainedModel) -> bool:
    """Return whether a model's logits are its output embedding of its backbone's last hidden state, and no more."""
    return head_factor(causal) == 1.0


def head_factor(causal: PreTrainedModel) -> float | None:
    """Return the factor by which logits are the output embedding of the last hidden state; None: they are more.

    Tried once for each architecture that has one: the backbone alone must give the states that logits are made of, and
    from states of every size that are put in its place the model must make the logits that its output embedding makes,
    up to one factor (Cohere, Granite). So whatever stands between (a soft cap, a dense layer with a norm) is noticed,
    under whatever name.
    """
    if causal not in _known:
        name = architecture_of(causal)
        factor = _by_architecture[name] if name in _by_architecture else _tried(causal)
        if factor is not None:  # else it may be these weights: damaged ones say nothing of others
            _by_architecture[name] = factor
        _known[causal] = factor
    return _known[causal]


def architecture_of(causal: PreTrainedModel) -> str:
    """Return what models share that compute alike: class, configuration, precision and kind of device."""
    weight = next(causal.parameters())
    if causal not in _configs:
        _configs[causal] = causal.config.to_json_string(use_diff=False)
    attention = attentions_of(causal.config)
    return f"{type(causal).__qualname__} {_configs[causal]} {attention} {weight.dtype} {weight.device.type}"


def backbone_of(causal: PreTrainedModel) -> nn.Module:
    """Return the model under the output embedding."""
    return cast(nn.Module, getattr(causal, causal.base_model_prefix))


def call(module: nn.Module, input_ids: Tensor, where: Mapping[str, Tensor], **options: object) -> object:
    """Run a forward pass; ``options`` that change nothing but speed are left out where it does not know them."""
    known = _arguments(type(module).forward)
    kept = {name: value for name, value in options.items() if name in known or name not in OPTIONAL}
    if KEYWORDS in known and "use_cache" in options:
        kept["use_cache"] = options["use_cache"]
    return module(input_ids=input_ids, **where, **kept)


def takes(module: nn.Module, name: str) -> bool:
    """Return whether a forward pass has an argument of that name."""
    return name in _arguments(type(module).forward)


def logits_in(output: object) -> Tensor:
    """Return the logits of a forward pass, ``[rows, tokens, vocabulary]``."""
    return output[0] if isinstance(output, tuple) else cast(Tensor, getattr(output, "logits"))  # noqa: B009


def states_in(output: object) -> Tensor:
    """Return the last hidden states of a backbone's forward pass, ``[rows, tokens, hidden]``."""
    return output[0] if isinstance(output, tuple) else cast(Tensor, getattr(output, "last_hidden_state"))  # noqa: B009


@lru_cache(maxsize=256)
def _arguments(forward: Callable[..., object]) -> frozenset[str]:
    """Return the names of a forward's arguments, ``KEYWORDS`` among them where it takes any."""
    parameters = inspect.signature(forward).parameters.values()
    return frozenset(KEYWORDS if each.kind is each.VAR_KEYWORD else each.name for each in parameters)


@torch.no_grad()
def _tried(causal: PreTrainedModel) -> float | None:
    head, backbone = causal.get_output_embeddings(), getattr(causal, causal.base_model_prefix, None)
    if not isinstance(head, nn.Module) or not isinstance(backbone, nn.Module) or backbone is causal:
        return None
    with evaluating(causal):
        try:
            return _factor(causal, backbone, head)
        except Exception as error:  # a model may refuse in any way that it likes
            problem = f"{type(error).__name__}: {error}"[:300]
    log_event("logits_by_own_forward", {"model": type(causal).__name__, "because": problem})
    return None


def _factor(causal: PreTrainedModel, backbone: nn.Module, head: nn.Module) -> float:
    """Return the factor of the logits. Raises ValueError where there is no such factor."""
    weight = head.weight
    assert isinstance(weight, Tensor)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, max(2, len(weight)), (1, len(SIZES)), generator=generator).to(weight.device)
    within: list[object] = []
    hook = backbone.register_forward_hook(lambda module, arguments, output: within.append(output))
    try:
        logits = logits_in(call(causal, ids, {}, use_cache=False))
    finally:
        hook.remove()
    states = states_in(call(backbone, ids, {}, use_cache=False))
    # Along rows of the weight, so that some logit is as large as wanted.
    rows = torch.randint(0, len(weight), (len(SIZES),), generator=generator).to(weight.device)
    tried = weight[rows] + torch.randn(states.shape[1:], generator=generator).to(weight) * weight.std()
    largest = head(tried).abs().amax(dim=-1, keepdim=True).clamp(min=1e-30)
    tried = (tried * torch.tensor(SIZES).to(weight)[:, None] / largest)[None]
    made = (
        _after_backbone(causal, backbone, ids, tried, within[-1]) if within else _after_head(causal, head, ids, tried)
    )
    plain = head(tried).float()
    factor = _stated((made.float() * plain).sum() / (plain * plain).sum(), causal)
    if not _equal(factor * head(states), logits):
        raise ValueError("its logits are not its output embedding of its backbone's states")
    if not _equal(factor * head(tried), made):
        raise ValueError("something stands between its states and its logits")
    return factor


def _stated(measured: Tensor, causal: PreTrainedModel) -> float:
    """Return one or a factor that the configuration states, to its last digit, where that was measured."""
    config = causal.config.get_text_config(decoder=True)
    numbers = [value for value in config.to_dict().values() if isinstance(value, int | float) and value]
    for value in (1.0, *(each for number in numbers for each in (float(number), 1 / number))):
        if abs(value - float(measured)) <= EQUAL * abs(value):
            return value
    return float(measured)


def _after_backbone(
    causal: PreTrainedModel, backbone: nn.Module, ids: Tensor, states: Tensor, output: object
) -> Tensor:
    """Return the logits that a model makes of other states than its backbone's ``output``, which is not run."""
    if isinstance(output, tuple):
        output = (states, *output[1:])
    else:
        setattr(output, "last_hidden_state", states)  # noqa: B010
    own = vars(backbone).get("forward")
    backbone.forward = lambda *arguments, **options: output
    try:
        return logits_in(call(causal, ids, {}, use_cache=False))
    finally:
        if own is None:
            del backbone.forward
        else:
            backbone.forward = own


def _after_head(causal: PreTrainedModel, head: nn.Module, ids: Tensor, states: Tensor) -> Tensor:
    """Return the same where a model runs parts of its backbone alone: the states go into its output embedding."""
    hook = head.register_forward_pre_hook(lambda module, arguments: (states,))
    try:
        return logits_in(call(causal, ids, {}, use_cache=False))
    finally:
        hook.remove()


def _equal(one: Tensor, two: Tensor) -> bool:
    if one.shape != two.shape:
        return False
    allowed = EQUAL * one.float().abs().amax(dim=-1, keepdim=True)
    return bool(((one.float() - two.float()).abs() <= allowed).all())

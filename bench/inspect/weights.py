"""Distances of weights: relative Frobenius norms by layer and kind of module, and the rank of the change."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from bench.core.inspection import WeightChange
from bench.inspect.decoder import Decoder

EXACT = 1024
"""Smaller side of a matrix up to which all singular values are computed; beyond it the leading ones, at random."""
TOP = 8
"""Number of leading singular values."""
KINDS = (
    ("norm", r"norm|ln_|layernorm"),
    ("embedding", r"embed_tokens|embed_in|wte|wpe|embed_positions"),
    ("head", r"lm_head|embed_out"),
    ("q", r"q_proj|query"),
    ("k", r"k_proj|key"),
    ("v", r"v_proj|value"),
    ("qkv", r"c_attn|query_key_value|qkv_proj|qkv"),
    ("o", r"o_proj|out_proj"),
    ("gate_up", r"gate_up_proj"),
    ("gate", r"gate_proj"),
    ("up", r"up_proj|c_fc|dense_h_to_4h|fc1|fc_in"),
)
"""Kinds of modules by the last part of their names; the first whole match counts."""


@dataclass(frozen=True, eq=False)
class _Part:
    """One weight before and after."""

    layer: int | None
    kind: str
    before: Tensor
    after: Tensor


@torch.no_grad()
def weight_changes(start: Decoder, trained: Decoder) -> tuple[list[dict[str, WeightChange]], dict[str, WeightChange]]:
    """Return for each layer its change by kind of module (``all``: the whole layer), and that of what is in no layer.

    The change of several weights together is √Σ‖ΔW‖² / √Σ‖W‖². GPT-2's joint matrix is taken apart into q, k and v.
    """
    by_layer: list[dict[str, list[_Part]]] = [defaultdict(list) for _ in start.layers]
    outside: dict[str, list[_Part]] = defaultdict(list)
    for part in _parts(start, trained):
        kinds = outside if part.layer is None else by_layer[part.layer]
        kinds[part.kind].append(part)
    return [_changes(kinds) for kinds in by_layer], _changes(outside)


def _changes(kinds: dict[str, list[_Part]]) -> dict[str, WeightChange]:
    by_kind = {kind: _change(parts) for kind, parts in kinds.items()}
    whole = _change([part for parts in kinds.values() for part in parts], rank=False)
    return {"all": whole, **dict(sorted(by_kind.items()))}


def _change(parts: list[_Part], *, rank: bool = True) -> WeightChange:
    size = sum(_squares(part.before) for part in parts) ** 0.5
    moved = sum(_squares(part.after - part.before) for part in parts) ** 0.5
    matrices = [part.after - part.before for part in parts if part.before.ndim == 2]
    ranks = spectrum(matrices[0]) if rank and len(matrices) == 1 and moved > 0 else {}
    return WeightChange(norm=size, moved=moved, change=moved / size if size else None, **ranks)


def spectrum(change: Tensor) -> dict[str, float]:
    """Return measures of the singular values σ of a change of weights, none where it is zero.

    effective_rank: exp of the entropy of σ / Σσ (Roy and Vetterli 2007), where all are computed. top_share: share of
    the eight largest in Σσ². stable_rank: Σσ² / σ₁².
    """
    total = _squares(change)
    if total == 0:
        return {}
    exact = min(change.shape) <= EXACT
    if exact:
        values = torch.linalg.svdvals(change.float()).double()
    else:
        with torch.random.fork_rng(devices=[change.device] if change.is_cuda else []):
            torch.manual_seed(0)
            values = torch.svd_lowrank(change.float(), q=2 * TOP, niter=4)[1].double()
    measures = {
        "top_share": min(1.0, float(values[:TOP].square().sum()) / total),
        "stable_rank": total / float(values[0].square()),
    }
    if exact:
        shares = values[values > 0] / values.sum()
        measures["effective_rank"] = float(torch.exp(-(shares * shares.log()).sum()))
    return measures


def _parts(start: Decoder, trained: Decoder) -> Iterator[_Part]:
    layer_index = {id(layer.block): index for index, layer in enumerate(start.layers)}
    readers = {id(layer.down_projection) for layer in start.layers}
    after = dict(trained.causal.named_parameters())
    modules = dict(start.causal.named_modules())
    for name, before in start.causal.named_parameters():
        path = name.rpartition(".")[0]
        above = [path.rsplit(".", cut)[0] for cut in range(path.count(".") + 1)]
        layer = next((layer_index[id(modules[one])] for one in above if id(modules[one]) in layer_index), None)
        kind = "down" if id(modules[path]) in readers else _kind(path)
        now = after[name]
        if kind == "qkv" and isinstance(modules[path], Conv1D):
            for which, one, other in zip("qkv", before.chunk(3, dim=-1), now.chunk(3, dim=-1), strict=True):
                yield _Part(layer, which, one, other)
        else:
            yield _Part(layer, kind, before, now)


def _kind(path: str) -> str:
    last = path.rpartition(".")[2]
    for kind, names in KINDS:
        if re.fullmatch(names, last) or (kind == "norm" and re.search(names, last)):
            return kind
    # What writes an attention's output has many names.
    return "o" if re.search("attn|attention", path.rpartition(".")[0]) else "other"


def _squares(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values.detach().float(), dtype=torch.float64)) ** 2

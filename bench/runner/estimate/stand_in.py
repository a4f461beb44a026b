"""Stand-in of a model for the probe: its architecture with one or two layers and random weights, never its own."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from bench.models.architecture import read_config
from bench.models.context import context_length, vocabulary_size
from bench.models.loading import LONGEST_EAGER, with_lora
from bench.models.packed.pointwise import quicken

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from bench.core.specs import LoraSpec

MOST_LAYER = 4_000_000
"""Parameters of a stand-in's layer at most: products of larger ones run at the same rate, and take their share."""
MOST_VOCABULARY = 8192
"""Entries of a stand-in's vocabulary at most, for the same reason."""
SMALLEST_WIDTH = 64
WIDTHS = (
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "n_embd",
    "n_head",
    "n_inner",
)
"""Fields of a configuration that make a layer narrower when all of them are divided by one number."""
DEPTHS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of a model, counted without its weights.

    ``layer``: parameters of one layer. ``trained``: those that an optimiser holds.
    """

    parameters: int
    layers: int
    layer: int
    hidden: int
    vocabulary: int
    trained: int


@dataclass(frozen=True, kw_only=True)
class StandIn:
    """How a model's stand-ins are built, and how much more than theirs its own layer and vocabulary are.

    ``build``: number of layers and share of the vocabulary to a model on the CPU, in eval mode.
    ``layered``: False for a model without layers, whose stand-in is of its own size.
    """

    build: Callable[[int, float], "PreTrainedModel"]
    layered: bool
    wider: float
    vocabulary: int
    more_words: float


def shape_of(folder: Path, lora: "LoraSpec | None") -> Shape:
    """Count a model's parameters by its configuration alone: shapes are made, no weight is read or allocated."""
    config = read_config(folder)
    layers = depth_of(config)
    if layers < 2:
        whole, trained = _counted(config, layers, lora)
        layer = whole
    else:
        one, two = (_counted(config, depth, lora) for depth in (1, 2))
        layer = two[0] - one[0]
        whole, trained = (first + (layers - 1) * (both - first) for first, both in zip(one, two, strict=True))
    return Shape(
        parameters=whole,
        layers=layers,
        layer=layer,
        hidden=_width(config),
        vocabulary=vocabulary_size(config),
        trained=trained,
    )


def stand_in_of(folder: Path, lora: "LoraSpec | None", *, seed: int = 0) -> StandIn:
    """Return the stand-in of the model in a folder, of which the configuration is read and nothing else.

    Args:
        lora: adapters that are trained, put on the stand-in too.
    """
    from transformers import AutoModelForCausalLM

    config = read_config(folder)
    if getattr(config, "model_type", "") == "lossbench_table":
        return StandIn(
            build=lambda layers, words: _made(config, AutoModelForCausalLM, seed, lora),
            layered=False,
            wider=1.0,
            vocabulary=vocabulary_size(config),
            more_words=1.0,
        )
    layer = _layer_parameters(config)
    narrow = _narrowed(config, math.sqrt(layer / MOST_LAYER)) if layer > MOST_LAYER else config
    vocabulary = min(vocabulary_size(config), MOST_VOCABULARY)

    def build(layers: int, words: float) -> "PreTrainedModel":
        chosen = _cut(narrow, layers=layers, vocabulary=max(SMALLEST_WIDTH, int(vocabulary * words)))
        return _made(chosen, AutoModelForCausalLM, seed, lora)

    return StandIn(
        build=build,
        layered=True,
        wider=layer / _layer_parameters(narrow),
        vocabulary=vocabulary,
        # The head is vocabulary × width: a narrow stand-in's is less by both.
        more_words=vocabulary_size(config) / vocabulary * _width(config) / _width(narrow),
    )


def depth_of(config: "PretrainedConfig") -> int:
    """Return how many layers a model has."""
    text = config.get_text_config(decoder=True)
    return next((int(value) for name in DEPTHS if (value := getattr(text, name, None))), 1)


def _width(config: "PretrainedConfig") -> int:
    text = config.get_text_config(decoder=True)
    return int(getattr(text, "hidden_size", None) or getattr(text, "n_embd", None) or 1)


def _made(
    config: "PretrainedConfig",
    maker: "type[object]",
    seed: int,
    lora: "LoraSpec | None",
) -> "PreTrainedModel":
    attention = None
    context = context_length(config)
    if not torch.cuda.is_available() and context is not None and context <= LONGEST_EAGER:
        attention = "eager"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = maker.from_config(copy.deepcopy(config), dtype=torch.float32, attn_implementation=attention)  # type: ignore[attr-defined]
        quicken(model)
        if lora is not None and lora.quantize is None:
            model = with_lora(model, lora, seed=seed)
    return model.eval()


def _cut(config: "PretrainedConfig", *, layers: int, vocabulary: int) -> "PretrainedConfig":
    """Return a configuration with fewer layers and a smaller vocabulary; lists with an entry a layer are cut too."""
    chosen = copy.deepcopy(config)
    text = chosen.get_text_config(decoder=True)
    depth = depth_of(chosen)
    for name in DEPTHS:
        if getattr(text, name, None) is not None:
            setattr(text, name, layers)
    for name, value in list(vars(text).items()):
        if isinstance(value, list) and len(value) == depth and depth > 1:
            setattr(text, name, value[:layers])
    text.vocab_size = vocabulary
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(text, name, 0)
        setattr(chosen, name, 0)
    return chosen


def _narrowed(config: "PretrainedConfig", by: float) -> "PretrainedConfig":
    """Return a configuration whose layers are narrower by about a factor, by whole heads; as it is where that fails."""
    chosen = copy.deepcopy(config)
    text = chosen.get_text_config(decoder=True)
    heads = int(getattr(text, "num_attention_heads", None) or getattr(text, "n_head", None) or 1)
    groups = int(getattr(text, "num_key_value_heads", None) or heads)
    unit = heads // math.gcd(heads, groups) if groups < heads else 1
    kept = max(unit, int(heads / by) // unit * unit)
    share = kept / heads
    for name in WIDTHS:
        value = getattr(text, name, None)
        if isinstance(value, int):
            scaled = kept if "head" in name and "key" not in name else max(1, round(value * share))
            setattr(text, name, scaled if "head" in name else max(SMALLEST_WIDTH, scaled // 8 * 8))
    try:
        _counted(chosen, 1, None)
    except Exception:  # an architecture whose widths hang together in another way
        return config
    return chosen


def _layer_parameters(config: "PretrainedConfig") -> float:
    if depth_of(config) == 1:
        return float(_counted(config, 1, None)[0])
    return float(_counted(config, 2, None)[0] - _counted(config, 1, None)[0])


def _counted(config: "PretrainedConfig", layers: int, lora: "LoraSpec | None") -> tuple[int, int]:
    """Return how many parameters a model of so many layers has, and how many of them are trained."""
    from transformers import AutoModelForCausalLM

    chosen = _cut(config, layers=layers, vocabulary=vocabulary_size(config)) if layers != depth_of(config) else config
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(copy.deepcopy(chosen))
        if lora is not None:
            model = with_lora(model, lora, seed=0)
    counts = [(each.numel(), each.requires_grad) for each in model.parameters()]
    adapters = sum(n for n, trained in counts if trained) if lora is not None else 0
    return sum(n for n, _ in counts) - adapters, sum(n for n, trained in counts if trained)

"""Small models of several architectures with random weights, changed copies of them, and random texts."""

import copy
import random
from collections.abc import Callable
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    MixtralConfig,
    OPTConfig,
    Qwen2Config,
)

from bench.inspect.decoder import Decoder, decoder_of
from bench.inspect.hooks import Text
from bench.models.packed.pointwise import quicken

VOCABULARY, HIDDEN, NEURONS, LAYERS = 40, 24, 56, 3
LIKE_LLAMA: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "intermediate_size": NEURONS,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
LIKE_NEOX: dict[str, Any] = {
    key: LIKE_LLAMA[key] for key in LIKE_LLAMA if key not in ("num_key_value_heads", "head_dim")
}
CONFIGS: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaConfig(**LIKE_LLAMA),
    "qwen2": lambda: Qwen2Config(**LIKE_LLAMA),
    "mistral": lambda: MistralConfig(**LIKE_LLAMA),
    "gpt2": lambda: GPT2Config(
        vocab_size=VOCABULARY, n_embd=HIDDEN, n_inner=NEURONS, n_layer=LAYERS, n_head=4, n_positions=64,
        bos_token_id=0, eos_token_id=0,
    ),
    "neox": lambda: GPTNeoXConfig(**LIKE_NEOX),
    "neox_in_turn": lambda: GPTNeoXConfig(**LIKE_NEOX, use_parallel_residual=False),
    "opt": lambda: OPTConfig(
        vocab_size=VOCABULARY, hidden_size=HIDDEN, ffn_dim=NEURONS, num_hidden_layers=LAYERS, num_attention_heads=4,
        max_position_embeddings=64, word_embed_proj_dim=HIDDEN, pad_token_id=1, bos_token_id=0, eos_token_id=0,
    ),
}  # fmt: skip
OTHERS: dict[str, Callable[[], Any]] = {
    "gemma2": lambda: Gemma2Config(**LIKE_LLAMA),
    "mixtral": lambda: MixtralConfig(**LIKE_LLAMA, num_local_experts=2),
    "bloom": lambda: BloomConfig(vocab_size=VOCABULARY, hidden_size=HIDDEN, n_layer=LAYERS, n_head=4),
    "mamba": lambda: MambaConfig(vocab_size=VOCABULARY, hidden_size=HIDDEN, num_hidden_layers=LAYERS, state_size=4),
}


def make(config: Any, *, seed: int = 0) -> Any:
    """A model with random weights, biases among them, large enough that activations are no rounding."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.15)
    quicken(model)
    return model


def tiny(name: str) -> Any:
    """A model of that architecture."""
    return make(CONFIGS[name]())


def moved(model: Any, *, names: str = "", size: float = 0.05, seed: int = 1) -> Any:
    """A copy in which every weight whose name holds ``names`` has moved a little."""
    other = copy.deepcopy(model)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if names in name:
                parameter.add_(torch.randn_like(parameter), alpha=size)
    return other


def opened(*models: Any) -> tuple[Decoder, ...]:
    return tuple(decoder_of(model, name="the model") for model in models)


def random_texts(count: int = 14, *, seed: int = 0) -> list[Text]:
    """Texts of ragged length, two a group."""
    draw = random.Random(seed)
    return [
        Text(
            ids=tuple(draw.randrange(2, VOCABULARY) for _ in range(draw.randint(4, 17))),
            first=draw.randint(0, 3),
            label=number % 2 == 0,
            group=number // 2,
        )
        for number in range(count)
    ]


def random_direction(*, seed: int = 5) -> torch.Tensor:
    torch.manual_seed(seed)
    w = torch.randn(HIDDEN)
    return w / w.norm()


def silent(count: int, what: str) -> None:
    """Progress that nobody sees."""

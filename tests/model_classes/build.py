"""Small models of every causal-LM class of the installed transformers, made from its own default configuration."""

import re
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

VOCABULARY = 96
LARGEST = 8_000_000
"""Parameters that a small model has at most."""
WINDOW = 12
"""Every window, chunk and original context, tokens: rows of some thirty tokens meet it."""

SIZES: dict[str, int] = {
    "vocab_size": VOCABULARY, "text_vocab_size": VOCABULARY, "hidden_size": 32, "d_model": 32, "n_embd": 32, "dim": 32,
    "embed_dim": 32, "embedding_size": 32, "word_embed_proj_dim": 32, "intermediate_size": 48, "ffn_dim": 48,
    "d_ff": 48, "dff": 48, "n_inner": 48, "d_inner": 48, "inner_dim": 48, "ffn_hidden_size": 48,
    "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "mlp_hidden_size": 48,
    "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4, "attention_heads": 4,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_key_value_heads": 2,
    "n_kv_heads": 2, "num_kv_heads": 2,
    "multi_query_group_num": 2, "head_dim": 8, "attention_head_dim": 8, "head_size": 8, "kv_channels": 8,
    "num_hidden_layers": 2, "n_layer": 2, "n_layers": 2, "num_layers": 2, "encoder_layers": 2, "decoder_layers": 2,
    "num_decoder_layers": 2, "num_encoder_layers": 2,
    "max_position_embeddings": 256, "n_positions": 256, "n_ctx": 256, "max_seq_len": 256, "max_target_positions": 256,
    "moe_intermediate_size": 24, "shared_expert_intermediate_size": 24, "moe_shared_expert_intermediate_size": 24,
    "expert_dim": 24, "intermediate_size_mlp": 48, "shared_intermediate_size": 24, "dense_intermediate_size": 48,
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "moe_num_experts": 4, "num_experts_per_tok": 2,
    "num_experts_per_token": 2, "moe_k": 2, "moe_top_k": 2, "top_k_experts": 2, "n_group": 1, "topk_group": 1,
    "n_shared_experts": 1, "num_shared_experts": 1, "zero_expert_num": 2, "moe_topk": 2,
    "q_lora_rank": 16, "kv_lora_rank": 16, "o_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "qk_head_dim": 16, "lru_width": 32, "state_size": 8, "ssm_state_size": 8, "mamba_d_state": 8, "mamba_d_ssm": 64,
    "mamba_n_heads": 8, "mamba_num_heads": 8, "mamba_d_head": 8, "mamba_head_dim": 8, "mamba_n_groups": 1,
    "n_groups": 1,
    "mamba_headdim": 8, "mamba_ngroups": 1, "n_mamba_heads": 2, "mamba_dt_rank": 4, "time_step_rank": 4,
    "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "conv_kernel": 4, "block_ff_dim": 48, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": VOCABULARY,
    "first_k_dense_replace": 1, "index_n_heads": 2, "index_head_dim": 16, "adapter_rank": 4, "use_mem_rank": 16,
    "attention_hidden_size": 32, "rotary_dim": 8, "d_kv": 8, "d_head": 8, "latent_size": 16, "query_pre_attn_scalar": 8,
}  # fmt: skip
"""Sizes by the names that configurations give them."""
LENGTH = re.compile(r"window|chunk_size|local_att|original_max|index_topk$|attention_chunk|chunk_length")


def model_types() -> list[str]:
    """Return the model types that transformers has a causal LM for, sorted."""
    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def build(name: str) -> PreTrainedModel:
    """Return a small model of a type or variant, with random weights. Raises whatever its class raises."""
    model_type, changes = VARIANTS.get(name, (name, {}))
    config = small_config(model_type, **changes)
    with torch.device("meta"):
        count = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    if count > LARGEST:
        raise ValueError(f"{count:,} parameters: it cannot be made small")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "A_log" not in name:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(noise * (0.5 / parameter.shape[-1] ** 0.5 if "embed" not in name else 0.5))
            elif parameter.ndim == 1 and bool((parameter == 0).all()):
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def small_config(model_type: str, **changes: Any) -> PretrainedConfig:
    """Return the default configuration of a type with small sizes, ids within the vocabulary, and short windows."""
    default = AutoConfig.for_model(model_type)
    values = _shrink(default.to_dict()) | EXCEPTIONS.get(model_type, {}) | changes
    values = {name: value for name, value in values.items() if name not in ("architectures", "transformers_version")}
    return type(default).from_dict(values)


def _shrink(node: dict[str, Any]) -> dict[str, Any]:
    small: dict[str, Any] = {}
    layers = next(
        (node[name] for name in ("num_hidden_layers", "n_layer", "num_layers") if isinstance(node.get(name), int)), 0
    )
    for name, value in node.items():
        if name == "per_layer_config":
            small[name] = {}
        elif isinstance(value, dict):
            small[name] = _shrink(value)
        elif name == "is_decoder":
            small[name] = True
        elif name == "sliding_window" and value is None:
            small[name] = WINDOW
        elif isinstance(value, bool) or value is None:
            small[name] = value
        elif name in SIZES and isinstance(value, int):
            small[name] = min(SIZES[name], value) if value > 0 else value
        elif name in SIZES and isinstance(value, list) and value and isinstance(value[0], int):
            small[name] = [min(SIZES[name], each) for each in value[:2]]
        elif isinstance(value, int) and name.endswith(("_token_id", "_token_index")) and value >= VOCABULARY:
            small[name] = VOCABULARY - 1 - len(small) % 8
        elif isinstance(value, list) and name.endswith("_token_id"):
            small[name] = [VOCABULARY - 2 - index for index in range(len(value[:3]))]
        elif isinstance(value, int) and LENGTH.search(name) and value > WINDOW:
            small[name] = WINDOW
        elif isinstance(value, list) and layers > 2 and len(value) == layers:
            small[name] = _two_of(value)
        else:
            small[name] = value
    return small


def _two_of(values: list[Any]) -> list[Any]:
    """Return two of the layers' kinds, different where there are several."""
    first = values[0]
    return [first, next((value for value in values if value != first), first)]


ALL_HEADS = {"num_key_value_heads": 4}
EXCEPTIONS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        ("axk1", "axk2", "bailing_hybrid", "deepseek_v3", "deepseek_v32", "glm4_moe_lite", "glm_moe_dsa",
         "kimi_linear", "longcat_flash", "minicpm3", "youtu"), ALL_HEADS,
    ),
    "hunyuan_v1_dense": {"head_dim": 8},
    "ministral": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8, "num_experts": 4, "moe_topk": 2},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "deepseek_v2": {**ALL_HEADS, "num_experts_per_tok": 2},
    "dots3_note_text": ALL_HEADS,
    "gemma4_assistant": {"hidden_size_per_layer_input": 0},
    "gemma4_unified_assistant": {"hidden_size_per_layer_input": 0},
    "mamba2": {"num_heads": 8},
    "zamba2": {"n_mamba_heads": 8},
    "nemotron": {"num_key_value_heads": 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "gemma3n_text": {
        "layer_types": ["sliding_attention", "full_attention"], "num_kv_shared_layers": 0,
        "activation_sparsity_pattern": [0.0, 0.0],
    },
    "cohere_compass_text": {"layer_types": ["sliding_attention", "full_attention"]},
    "reformer": {"attn_layers": ["local", "local"], "axial_pos_shape": [16, 16], "axial_pos_embds_dim": [16, 16]},
    "roc_bert": {"shape_vocab_size": 96, "pronunciation_vocab_size": 96},
    "xlm": {"n_words": 96, "emb_dim": 32, "n_heads": 4, "causal": True},
    "xmod": {"default_language": "en_XX"},
}  # fmt: skip
"""What a type needs besides."""

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "phi3, longrope": ("phi3", {
        "original_max_position_embeddings": 12, "sliding_window": None,
        "rope_parameters": {
            "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4,
            "long_factor": [3.0, 2.0, 1.5, 4.0],
            "original_max_position_embeddings": 12, "factor": 4.0,
        },
    }),
    "llama, yarn": ("llama", {"rope_parameters": {
        "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 12,
    }}),
    "llama, llama3 rope": ("llama", {"rope_parameters": {
        "rope_type": "llama3", "rope_theta": 10000.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 12,
    }}),
    "llama, tied, biases": ("llama", {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    "qwen2, sliding": ("qwen2", {
        "use_sliding_window": True, "sliding_window": 12, "max_window_layers": 1,
        "layer_types": ["sliding_attention", "full_attention"],
    }),
    "mistral, window of 4": ("mistral", {"sliding_window": 4}),
    "gemma3, all local": ("gemma3_text", {"layer_types": ["sliding_attention"] * 2}),
    "granite, multipliers": ("granite", {
        "embedding_multiplier": 12.0, "logits_scaling": 8.0, "residual_multiplier": 0.22, "attention_multiplier": 0.015,
    }),
    "granitemoehybrid, scaled": ("granitemoehybrid", {"logits_scaling": 4.0, "embedding_multiplier": 3.0}),
    "falcon, alibi": ("falcon", {"alibi": True}),
    "falcon, new decoder": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "mpt, alibi, clipped": ("mpt", {"attn_config": {"alibi": True, "clip_qkv": 1.0}}),
    "phi, partial rotary": ("phi", {"partial_rotary_factor": 0.5}),
    "gpt_neo, local": ("gpt_neo", {"attention_types": [[["global", "local"], 1]], "window_size": 12}),
    "opt, post norm": ("opt", {"do_layer_norm_before": False, "word_embed_proj_dim": 16}),
    "llama4_text, chunks of 8": ("llama4_text", {
        "attention_chunk_size": 8, "layer_types": ["chunked_attention", "full_attention"], "no_rope_layers": [1, 0],
    }),
    "cohere2, window of 5": ("cohere2", {"sliding_window": 5, "logit_scale": 0.25}),
}  # fmt: skip
"""Configurations that a default one does not reach."""


def transformers_version() -> str:
    """Return the installed version."""
    return transformers.__version__

"""Small models of many architectures, each with its windows, chunks, caps and factors shrunk to meet short rows."""

from collections.abc import Callable

import torch
import transformers as t

SIZE = 61
"""Ids of the vocabulary."""
WINDOW = 12
IDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
SMALL = {
    "vocab_size": SIZE,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    **IDS,
}
ALTERNATING = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}


def _phi3_long() -> t.PreTrainedModel:
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10_000.0,
        "short_factor": [1.0] * 4,
        "long_factor": [3.0, 4.0, 5.0, 6.0],
        "original_max_position_embeddings": 20,
    }
    changes = {"rope_parameters": rope, "original_max_position_embeddings": 20, "max_position_embeddings": 80}
    return t.Phi3ForCausalLM(t.Phi3Config(**SMALL | changes))


ARCHITECTURES: dict[str, Callable[[], t.PreTrainedModel]] = {
    "llama": lambda: t.LlamaForCausalLM(t.LlamaConfig(**SMALL)),
    "phi 3, long positions": _phi3_long,
    "mistral": lambda: t.MistralForCausalLM(t.MistralConfig(**SMALL | {"sliding_window": WINDOW})),
    "mixtral": lambda: t.MixtralForCausalLM(
        t.MixtralConfig(**SMALL | {"sliding_window": WINDOW, "num_local_experts": 4})
    ),
    "phimoe": lambda: t.PhimoeForCausalLM(t.PhimoeConfig(**SMALL | {"sliding_window": WINDOW, "num_local_experts": 4})),
    "qwen 2": lambda: t.Qwen2ForCausalLM(t.Qwen2Config(**SMALL | ALTERNATING | {"use_sliding_window": True})),
    "qwen 3": lambda: t.Qwen3ForCausalLM(t.Qwen3Config(**SMALL | {"head_dim": 8})),
    "gemma 2": lambda: t.Gemma2ForCausalLM(
        t.Gemma2Config(
            **SMALL | ALTERNATING | {"head_dim": 8, "final_logit_softcapping": 3.0, "attn_logit_softcapping": 2.0}
        )
    ),
    "gemma 3": lambda: t.Gemma3ForCausalLM(
        t.Gemma3TextConfig(**SMALL | ALTERNATING | {"head_dim": 8, "query_pre_attn_scalar": 8})
    ),
    "gpt 2": lambda: t.GPT2LMHeadModel(
        t.GPT2Config(vocab_size=SIZE, n_embd=32, n_layer=2, n_head=4, n_positions=128, **IDS)
    ),
    "gpt neo": lambda: t.GPTNeoForCausalLM(
        t.GPTNeoConfig(
            vocab_size=SIZE,
            hidden_size=32,
            num_layers=2,
            num_heads=4,
            intermediate_size=48,
            window_size=WINDOW,
            attention_types=[[["global", "local"], 1]],
            max_position_embeddings=128,
            **IDS,
        )
    ),
    "opt": lambda: t.OPTForCausalLM(
        t.OPTConfig(
            vocab_size=SIZE,
            hidden_size=32,
            ffn_dim=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            word_embed_proj_dim=16,
            max_position_embeddings=128,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=1,
        )
    ),
    "bloom": lambda: t.BloomForCausalLM(t.BloomConfig(vocab_size=SIZE, hidden_size=32, n_layer=2, n_head=4, **IDS)),
    "mpt": lambda: t.MptForCausalLM(
        t.MptConfig(vocab_size=SIZE, d_model=32, n_layers=2, n_heads=4, max_seq_len=128, **IDS)
    ),
    "falcon": lambda: t.FalconForCausalLM(
        t.FalconConfig(vocab_size=SIZE, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, alibi=True, **IDS)
    ),
    "cohere 2": lambda: t.Cohere2ForCausalLM(t.Cohere2Config(**SMALL | ALTERNATING | {"logit_scale": 0.25})),
    "granite": lambda: t.GraniteForCausalLM(
        t.GraniteConfig(**SMALL | {"logits_scaling": 4.0, "embedding_multiplier": 3.0, "residual_multiplier": 0.5})
    ),
    "granite moe hybrid": lambda: t.GraniteMoeHybridForCausalLM(
        t.GraniteMoeHybridConfig(
            **SMALL
            | {
                "layer_types": ["mamba", "attention"],
                "mamba_n_heads": 4,
                "mamba_d_head": 16,
                "mamba_d_state": 8,
                "mamba_n_groups": 1,
                "mamba_chunk_size": 8,
                "num_local_experts": 4,
                "logits_scaling": 4.0,
            }
        )
    ),
    "llama 4": lambda: t.Llama4ForCausalLM(
        t.Llama4TextConfig(
            **SMALL
            | {
                "head_dim": 8,
                "attention_chunk_size": WINDOW,
                "intermediate_size_mlp": 48,
                "num_local_experts": 2,
                "layer_types": ["chunked_attention", "full_attention"],
                "no_rope_layers": [1, 0],
                "attn_temperature_tuning": True,
                "floor_scale": 16,
            }
        )
    ),
    "gpt oss": lambda: t.GptOssForCausalLM(
        t.GptOssConfig(**SMALL | ALTERNATING | {"head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2})
    ),
    "modern bert decoder": lambda: t.ModernBertDecoderForCausalLM(
        t.ModernBertDecoderConfig(
            **SMALL | {"local_attention": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
        )
    ),
    "falcon h1": lambda: t.FalconH1ForCausalLM(
        t.FalconH1Config(
            **SMALL
            | {
                "head_dim": 8,
                "mamba_d_ssm": 64,
                "mamba_n_heads": 4,
                "mamba_d_head": 16,
                "mamba_d_state": 8,
                "mamba_n_groups": 1,
                "mamba_chunk_size": 8,
                "lm_head_multiplier": 0.5,
                "embedding_multiplier": 2.0,
            }
        )
    ),
    "recurrent gemma": lambda: t.RecurrentGemmaForCausalLM(
        t.RecurrentGemmaConfig(
            **SMALL
            | {
                "lru_width": 32,
                "attention_window_size": WINDOW,
                "block_types": ["recurrent", "attention"],
                "num_hidden_layers": 2,
                "head_dim": 8,
                "logits_soft_cap": 3.0,
            }
        )
    ),
    "rwkv": lambda: t.RwkvForCausalLM(
        t.RwkvConfig(vocab_size=SIZE, context_length=128, hidden_size=32, num_hidden_layers=2, **IDS)
    ),
    "mamba": lambda: t.MambaForCausalLM(
        t.MambaConfig(vocab_size=SIZE, hidden_size=32, state_size=4, num_hidden_layers=2, **IDS)
    ),
    "mamba 2": lambda: t.Mamba2ForCausalLM(
        t.Mamba2Config(
            vocab_size=SIZE,
            hidden_size=32,
            state_size=8,
            num_hidden_layers=2,
            num_heads=4,
            head_dim=16,
            n_groups=1,
            chunk_size=8,
            **IDS,
        )
    ),
    "jamba": lambda: t.JambaForCausalLM(
        t.JambaConfig(
            **SMALL
            | {
                "attn_layer_period": 2,
                "attn_layer_offset": 1,
                "expert_layer_period": 2,
                "expert_layer_offset": 1,
                "num_experts": 2,
                "use_mamba_kernels": False,
                "mamba_d_state": 4,
            }
        )
    ),
    "lfm 2": lambda: t.Lfm2ForCausalLM(t.Lfm2Config(**SMALL | {"layer_types": ["conv", "full_attention"]})),
    "qwen 3 next": lambda: t.Qwen3NextForCausalLM(
        t.Qwen3NextConfig(
            **SMALL
            | {
                "head_dim": 8,
                "layer_types": ["linear_attention", "full_attention"],
                "num_experts": 2,
                "num_experts_per_tok": 1,
                "moe_intermediate_size": 16,
                "shared_expert_intermediate_size": 16,
                "linear_num_value_heads": 4,
                "linear_num_key_heads": 2,
                "linear_key_head_dim": 8,
                "linear_value_head_dim": 8,
            }
        )
    ),
    "minimax": lambda: t.MiniMaxForCausalLM(
        t.MiniMaxConfig(
            **SMALL
            | {
                "layer_types": ["linear_attention", "full_attention"],
                "block_size": 8,
                "num_local_experts": 2,
                "head_dim": 8,
            }
        )
    ),
    "bert decoder": lambda: t.BertLMHeadModel(
        t.BertConfig(
            vocab_size=SIZE,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            max_position_embeddings=128,
            is_decoder=True,
            pad_token_id=0,
        )
    ),
    "xlm roberta": lambda: t.XLMRobertaForCausalLM(
        t.XLMRobertaConfig(
            vocab_size=SIZE,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            max_position_embeddings=128,
            is_decoder=True,
            pad_token_id=1,
        )
    ),
    "gemma 4": lambda: t.Gemma4ForCausalLM(
        t.Gemma4TextConfig(
            **SMALL
            | ALTERNATING
            | {
                "head_dim": 8,
                "global_head_dim": 8,
                "final_logit_softcapping": 3.0,
                "hidden_size_per_layer_input": 8,
                "vocab_size_per_layer_input": SIZE,
            }
        )
    ),
}


def make(name: str, *, seed: int = 0) -> t.PreTrainedModel:
    """Return a model whose next tokens are far from uniform and hang on every token before."""
    torch.manual_seed(seed)
    model = ARCHITECTURES[name]().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2 and min(weight.shape) > 4:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    model.generation_config.eos_token_id = 0
    return model

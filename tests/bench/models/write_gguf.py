"""Writes GGUF files of small models with the package gguf, as llama.cpp's converters would."""

import json
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from gguf.quants import quantize

NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip


def write_llama(path: Path, model, tokenizer, *, kind: str, pre: str | None = None, eight_bits: bool = False, **more):
    """Write a Llama with tied embeddings. ``kind``: gpt2 (merges) or llama (scores); ``more``: further tensors."""
    writer, config = GGUFWriter(path, "llama"), model.config
    writer.add_name("tiny")
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    _tokenizer(writer, tokenizer, kind=kind, pre=pre)
    writer.add_tensor("token_embd.weight", model.model.embed_tokens.weight.detach().numpy())
    writer.add_tensor("output_norm.weight", model.model.norm.weight.detach().numpy())
    for i, layer in enumerate(model.model.layers):
        for name, short in NAMES.items():
            weight = layer.get_submodule(name).weight.detach().numpy()
            if short in ("attn_q", "attn_k"):
                heads = config.num_attention_heads if short == "attn_q" else config.num_key_value_heads
                weight = _neighbours(weight, heads)
            if eight_bits and weight.ndim == 2 and weight.shape[1] % 32 == 0:
                kind_of = GGMLQuantizationType.Q8_0
                writer.add_tensor(f"blk.{i}.{short}.weight", quantize(weight, kind_of), raw_dtype=kind_of)
            else:
                writer.add_tensor(f"blk.{i}.{short}.weight", np.ascontiguousarray(weight))
    for name, value in more.items():
        writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _neighbours(weight: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp rotates neighbours (0, 1), (2, 3), …; transformers the halves of a head."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _tokenizer(writer: GGUFWriter, tokenizer, *, kind: str, pre: str | None) -> None:
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda each: each[1])
    special = set(tokenizer.all_special_tokens)
    writer.add_tokenizer_model(kind)
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list([token for token, _ in vocabulary])
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    types = [TokenType.CONTROL if token in special else TokenType.NORMAL for token, _ in vocabulary]
    if kind == "llama":
        types = [TokenType.BYTE if token.startswith("<0x") else each for (token, _), each in zip(vocabulary, types)]  # noqa: B905
        rank = {"".join(merge): -float(place) for place, merge in reversed(list(enumerate(merges)))}
        writer.add_token_scores([rank.get(token, -1e6) for token, _ in vocabulary])
    else:
        writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_token_types(types)
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(kind == "llama")
    if tokenizer.chat_template is not None:
        writer.add_chat_template(tokenizer.chat_template)

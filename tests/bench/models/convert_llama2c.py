"""Converts a model of llama2.c (weights `.bin` of version 0, tokenizer `.bin`) to a folder of transformers.

python -m tests.bench.models.convert_llama2c stories260K.bin tok512.bin FOLDER
"""

import struct
import sys
from pathlib import Path

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

BEGIN = "<s>"


def read_model(path: Path) -> LlamaForCausalLM:
    """Seven integers, then float32 tensors one after another, each with all layers. Tied embeddings alone."""
    content = path.read_bytes()
    dim, hidden, layers, heads, kv_heads, vocab, context = struct.unpack("7i", content[:28])
    assert vocab > 0, "an output embedding of its own is not read"
    numbers, at = np.frombuffer(content, dtype="<f4", offset=28), 0

    def take(*shape: int) -> torch.Tensor:
        nonlocal at
        size = int(np.prod(shape))
        at += size
        return torch.tensor(numbers[at - size : at].reshape(shape))

    kv = dim // heads * kv_heads
    embedding = take(vocab, dim)
    read = {"input_layernorm": take(layers, dim)}
    read |= {"self_attn.q_proj": take(layers, dim, dim), "self_attn.k_proj": take(layers, kv, dim)}
    read |= {"self_attn.v_proj": take(layers, kv, dim), "self_attn.o_proj": take(layers, dim, dim)}
    read |= {"post_attention_layernorm": take(layers, dim), "mlp.gate_proj": take(layers, hidden, dim)}
    read |= {"mlp.down_proj": take(layers, dim, hidden), "mlp.up_proj": take(layers, hidden, dim)}
    for name, count in (("self_attn.q_proj", heads), ("self_attn.k_proj", kv_heads)):
        read[name] = torch.stack([_halves(weight, count) for weight in read[name]])
    state = {f"model.layers.{i}.{name}.weight": each[i].clone() for name, each in read.items() for i in range(layers)}
    state |= {"model.embed_tokens.weight": embedding, "model.norm.weight": take(dim)}
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab, hidden_size=dim, intermediate_size=hidden, num_hidden_layers=layers,
            num_attention_heads=heads, num_key_value_heads=kv_heads, max_position_embeddings=context,
            rms_norm_eps=1e-5, tie_word_embeddings=True, bos_token_id=1, eos_token_id=1, pad_token_id=0,
        )
    )  # fmt: skip
    missing = model.load_state_dict(state, strict=False)
    assert missing.missing_keys in ([], ["lm_head.weight"]), missing
    assert not missing.unexpected_keys, missing
    model.tie_weights()
    return model.eval()


def _halves(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """llama2.c rotates neighbours (0, 1), (2, 3), …; transformers the halves of a head."""
    rows, columns = weight.shape
    return weight.view(heads, rows // heads // 2, 2, columns).transpose(1, 2).reshape(rows, columns)


def read_tokenizer(path: Path, *, size: int) -> PreTrainedTokenizerFast:
    """BPE by scores, as sentencepiece's: of the pairs that make a token, the one with the highest score comes first.

    A text begins with the begin token, which ends it as well: the stories were trained one after another so.
    """
    content, at = path.read_bytes(), 4
    pieces: list[tuple[str, float]] = []
    for _ in range(size):
        score, length = struct.unpack("<fi", content[at : at + 8])
        pieces.append((content[at + 8 : at + 8 + length].decode(), score))
        at += 8 + length
    names = ["<unk>", BEGIN, "</s>", *(text.replace(" ", "▁") for text, _ in pieces[3:])]
    ids = {name: i for i, name in enumerate(names)}
    merges = [
        (pieces[i][1], ids[name[:cut]], ids[name[cut:]], name[:cut], name[cut:])
        for i, name in enumerate(names)
        if i > 2 and not name.startswith("<0x")
        for cut in range(1, len(name))
        if name[:cut] in ids and name[cut:] in ids
    ]
    merges.sort(key=lambda merge: (-merge[0], merge[1], merge[2]))
    raw = Tokenizer(
        models.BPE(
            vocab=ids, merges=[(one, two) for *_, one, two in merges], unk_token="<unk>", byte_fallback=True,
            fuse_unk=True,
        )
    )  # fmt: skip
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    raw.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    raw.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names[:3]])
    raw.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A", special_tokens=[(BEGIN, 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token=BEGIN, eos_token=BEGIN, unk_token="<unk>", pad_token="<unk>"
    )


def convert(weights: Path, tokenizer: Path, folder: Path) -> None:
    """Write a model and its tokenizer as transformers reads them."""
    model = read_model(weights)
    model.save_pretrained(folder)
    read_tokenizer(tokenizer, size=model.config.vocab_size).save_pretrained(folder)


if __name__ == "__main__":
    convert(*map(Path, sys.argv[1:4]))

"""Small chat models: a tokenizer trained on a few words, a template that ends turns its own way, random weights."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

SPECIAL = ["<pad>", "<s>", "</s>", "<start>", "<end>", "<header>", "<other>"]
PAD, BOS, EOS, START, END, HEADER, OTHER = range(len(SPECIAL))
WORDS = [
    *("the", "cat", "sat", "on", "a", "mat", "and", "it", "ran", "to", "see"),
    *("how", "many", "birds", "were", "in", "that", "big", "old", "tree", "fell"),
]
CHATML = (
    "{% for m in messages %}<start>{{ m.role }}\n{{ m.content }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<start>assistant\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}<start>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end>\n{% endfor %}{% if add_generation_prompt %}<start>model\n{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<start>{{ m.role }}<header>\n\n{{ m.content | trim }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<start>assistant<header>\n\n{% endif %}"
)
PHI3 = (
    "{% for m in messages %}<start>{{ m.role }}\n{{ m.content }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<start>assistant\n{% else %}{{ eos_token }}{% endif %}"
)
PLAIN = "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"  # noqa: E501


def make_tokenizer(*, template: str | None = CHATML, size: int = 300, **tokens: str | None) -> PreTrainedTokenizerFast:
    """A byte-level BPE whose first ids are ``SPECIAL``; ``tokens`` are other names than the usual ones, None: none."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator([" ".join(WORDS)] * 4, trainer)
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"} | tokens
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, **{name: token for name, token in names.items() if token})
    tokenizer.chat_template = template
    return tokenizer


def make_llama(*, size: int = 300, likely: Sequence[int] = (), seed: int = 0, **settings: object) -> LlamaForCausalLM:
    """A random Llama whose next tokens are far from uniform; it writes ``likely`` tokens more often than others."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        **{
            "vocab_size": size,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "initializer_range": 0.3,
            "bos_token_id": BOS,
            "eos_token_id": EOS,
            "pad_token_id": PAD,
            **settings,
        }
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(20.0)
        model.lm_head.weight[list(likely)] *= 1.7
    return model


def save_chat_model(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Path:
    """Save both as transformers does, and return the folder."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder

"""Owns the small models and the tokenizer that the evaluation tests run on."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
)

VOCAB = 13
EOS = 0
TEXT = ["The cat that the dogs chase runs away.", "The cats that the dog chases run away.", "Who should Alice help?"]


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


def llama(*, seed: int, vocab: int = VOCAB) -> LlamaForCausalLM:
    """A random Llama whose distributions are far from uniform: its head is scaled up."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        bos_token_id=EOS,
        eos_token_id=EOS,
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(20.0)
    return model


@pytest.fixture
def make_llama():
    return llama


@pytest.fixture
def policy() -> LlamaForCausalLM:
    return llama(seed=1)


@pytest.fixture
def reference() -> LlamaForCausalLM:
    return llama(seed=2)


@pytest.fixture
def gpt2() -> GPT2LMHeadModel:
    torch.manual_seed(3)
    config = GPT2Config(
        vocab_size=VOCAB, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=0
    )
    return GPT2LMHeadModel(config).eval()


@pytest.fixture
def eager() -> LlamaForCausalLM:
    """Attention as plain products, two query heads to each key."""
    torch.manual_seed(4)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, bos_token_id=EOS, eos_token_id=EOS,
        attn_implementation="eager",
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


@pytest.fixture
def sliding() -> MistralForCausalLM:
    """Every layer sees the last four tokens only."""
    torch.manual_seed(5)
    config = MistralConfig(
        vocab_size=VOCAB, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=64, sliding_window=4, bos_token_id=EOS, eos_token_id=EOS,
    )  # fmt: skip
    return MistralForCausalLM(config).eval()


@pytest.fixture
def bloom() -> BloomForCausalLM:
    """Its forward pass takes no positions."""
    torch.manual_seed(6)
    return BloomForCausalLM(
        BloomConfig(vocab_size=VOCAB, hidden_size=16, n_layer=2, n_head=2, bos_token_id=EOS, eos_token_id=EOS)
    ).eval()


@pytest.fixture
def recurrent() -> Lfm2ForCausalLM:
    """A layer of short convolutions, which keeps a state, and one of attention."""
    torch.manual_seed(7)
    config = Lfm2Config(
        vocab_size=VOCAB, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=64, bos_token_id=EOS, eos_token_id=EOS, pad_token_id=EOS,
        layer_types=["conv", "full_attention"],
    )  # fmt: skip
    return Lfm2ForCausalLM(config).eval()


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with one special token for begin, end and padding of a text."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=290, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(TEXT, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<end>", eos_token="<end>", pad_token="<end>")

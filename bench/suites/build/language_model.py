"""The start model of the sentiment suite: its byte-level BPE tokenizer and its training from scratch."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

END = "<|endoftext|>"
PAD = "<|pad|>"


@dataclass(frozen=True, kw_only=True)
class LanguageModelRecipe:
    """Everything that decides the start model; stored beside it as provenance."""

    vocabulary: int = 4096
    hidden: int = 192
    layers: int = 6
    heads: int = 6
    intermediate: int = 512
    context: int = 256
    batch: int = 32
    micro_batch: int = 8
    epochs: int = 1
    learning_rate: float = 4e-3
    warmup_steps: int = 200
    weight_decay: float = 0.1
    validation_windows: int = 512
    validate_every: int = 250
    seed: int = 0


def train_tokenizer(texts: Iterable[str], *, vocabulary: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer; ``<|endoftext|>`` is both BOS and EOS, ``<|pad|>`` pads."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END, eos_token=END, pad_token=PAD, clean_up_tokenization_spaces=False
    )


def token_stream(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> Tensor:
    """Concatenate ``<|endoftext|> text`` over all texts into one int64 vector."""
    pieces: list[int] = []
    for start in range(0, len(texts), 2000):
        for ids in tokenizer(texts[start : start + 2000], add_special_tokens=False)["input_ids"]:
            pieces.append(tokenizer.eos_token_id)
            pieces.extend(ids)
    pieces.append(tokenizer.eos_token_id)
    return torch.tensor(pieces, dtype=torch.int64)


def train_language_model(
    *,
    train: Tensor,
    validation: Tensor,
    tokenizer: PreTrainedTokenizerFast,
    recipe: LanguageModelRecipe,
    report: Callable[[str], None],
) -> tuple[LlamaForCausalLM, list[dict[str, float]]]:
    """Train a small Llama from scratch on a token stream.

    Args:
        train: token ids, shape ``[n]``. validation: the same, held out.
        report: called with one line of text now and then.

    Returns:
        The model and its curve: rows of ``tokens, validation_loss`` (nats per token).
    """
    torch.manual_seed(recipe.seed)
    model = LlamaForCausalLM(_config(recipe, tokenizer))
    windows = windows_of(train, recipe.context)
    held_out = windows_of(validation, recipe.context)[: recipe.validation_windows]
    steps = recipe.epochs * (len(windows) // recipe.batch)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    kept = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": kept, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        betas=(0.9, 0.95),
        fused=True,
    )
    curve = [{"tokens": 0.0, "validation_loss": validation_loss(model, held_out)}]
    generator = torch.Generator().manual_seed(recipe.seed)
    started, step = time.monotonic(), 0
    for _ in range(recipe.epochs):
        for rows in torch.randperm(len(windows), generator=generator).split(recipe.batch):
            if len(rows) < recipe.batch:
                continue
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * _cosine(step, steps, recipe.warmup_steps)
            optimizer.zero_grad(set_to_none=True)
            for part in rows.split(recipe.micro_batch):
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    loss = _next_token_loss(model, windows[part]) * (len(part) / recipe.batch)
                loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step += 1
            if step % recipe.validate_every == 0 or step == steps:
                current_loss = validation_loss(model, held_out)
                curve.append({"tokens": float(step * recipe.batch * recipe.context), "validation_loss": current_loss})
                left = (time.monotonic() - started) / step * (steps - step) / 60
                report(f"step {step}/{steps} · validation {current_loss:.4f} nats/token · {left:.0f} min left")
    return model.eval(), curve


def windows_of(stream: Tensor, context: int) -> Tensor:
    """Cut a stream into rows of ``context + 1`` tokens that overlap by one, shape ``[rows, context + 1]``."""
    rows = (len(stream) - 1) // context
    return stream[: rows * context + 1].unfold(0, context + 1, context)


@torch.no_grad()
def validation_loss(model: LlamaForCausalLM, windows: Tensor) -> float:
    """Return the mean next-token loss in nats per token, in fp32."""
    model.eval()
    losses = [_next_token_loss(model, rows).item() * len(rows) for rows in windows.split(16)]
    model.train()
    return sum(losses) / len(windows)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Save in the ordinary transformers format, weights rounded to float16 to keep the repository small."""
    model.to(torch.float16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def describe(recipe: LanguageModelRecipe, curve: list[dict[str, float]]) -> dict[str, object]:
    """Return the start model's part of the provenance file."""
    last = curve[-1]["validation_loss"]
    return {
        "recipe": asdict(recipe),
        "curve": curve,
        "validation_loss_nats": last,
        "validation_perplexity": math.exp(last),
    }


def _config(recipe: LanguageModelRecipe, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=recipe.vocabulary,
        hidden_size=recipe.hidden,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        intermediate_size=recipe.intermediate,
        max_position_embeddings=recipe.context,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _next_token_loss(model: LlamaForCausalLM, rows: Tensor) -> Tensor:
    logits = model(input_ids=rows[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), rows[:, 1:].flatten())


def _cosine(step: int, steps: int, warmup: int) -> float:
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

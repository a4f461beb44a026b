"""Greedy generation for lm-eval: prompts of many lengths in one batch, each row until its own stop string."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.evaluate.decoding import Way, decode
from bench.evaluate.hidden_states import head_of
from bench.evaluate.sampling import batches_of
from bench.evaluate.ways import decoding_way

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

HARMLESS = frozenset(
    (
        *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "max_length", "max_new_tokens"),
        *("do_sample", "temperature", "top_p", "top_k", "top_h", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"),
        *("renormalize_logits", "length_penalty", "early_stopping", "diversity_penalty", "use_cache", "low_memory"),
        *("transformers_version", "output_attentions", "output_hidden_states", "output_scores", "output_logits"),
        *("trust_remote_code", "_from_model_config", "_commit_hash", "assistant_confidence_threshold"),
        *("num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_lookbehind", "target_lookbehind"),
        *("compile_config", "disable_compile"),
    )
)
"""Settings of a model's own ``generation_config`` that change nothing about the likeliest next token. The end tokens
and ``max_new_tokens`` are read by whoever asks for the text."""
NEUTRAL: Mapping[str, tuple[object, ...]] = {
    **dict.fromkeys(("repetition_penalty", "encoder_repetition_penalty", "guidance_scale"), (1,)),
    **dict.fromkeys(("num_beams", "num_beam_groups", "num_return_sequences"), (1,)),
    **dict.fromkeys(("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "min_length", "min_new_tokens"), (0,)),
    **dict.fromkeys(("remove_invalid_values", "token_healing", "return_dict_in_generate", "is_assistant"), (False,)),
    "penalty_alpha": (0,),
    "cache_implementation": ("dynamic", "static", "hybrid"),
}
"""Values of other settings that change nothing. Any other setting is one whose effect is not known here."""
LOOK = 4
"""Tokens after which texts are looked at: to decode them at each one would take as long as a small model's step."""
LOOKED_BACK = 2
"""Tokens that lm-eval looks at for a stop string besides as many as the string itself has."""
REPLACED = "\ufffd"
"""What stands for bytes that are no character."""


@dataclass(frozen=True, kw_only=True)
class Until:
    """Where a continuation ends: after ``max_tokens``, at a token of ``ends``, or where its text has a stop string.

    As lm-eval sees a stop string: in the text, special tokens included, of the last tokens alone, as many as the string
    itself has and two.
    """

    max_tokens: int
    ends: frozenset[int]
    stops: tuple[str, ...]


def is_plain_greedy(model: PreTrainedModel) -> bool:
    """Return whether a model's generation settings leave greedy decoding as it is: the likeliest token each time."""
    changed: Mapping[str, object] = model.generation_config.to_diff_dict()
    return all(name in HARMLESS or value is None or value in NEUTRAL.get(name, ()) for name, value in changed.items())


@torch.no_grad()
def continue_greedily(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    until: Until,
    *,
    tokenizer: PreTrainedTokenizerBase,
    batch: int,
    progress: Callable[[int], None],
) -> list[str]:
    """Return the likeliest continuation of each prompt, token by token, as text without special tokens.

    A text ends with the token that completes a stop string, or with an end token: cutting that off is for the caller.
    How prompts are batched changes nothing but rounding.

    Args:
        prompts: token ids, at least one each.
        batch: rows in one forward pass at most; half of them where they do not fit the memory, and so on.
        progress: called with the number of prompts that were just finished.
    """
    way = decoding_way(model, longest=max(map(len, prompts), default=1) + until.max_tokens)
    texts = [""] * len(prompts)
    lengths = [len(prompt) for prompt in prompts]
    criteria = stop_criteria(until.stops, tokenizer)
    parts = list(batches_of(way, lengths, batch=batch, extra=until.max_tokens))
    while parts:
        part = parts.pop()  # long ones first, which is where memory runs out
        try:
            made = _continue(model, [prompts[i] for i in part], until, criteria, way=way)
        except torch.OutOfMemoryError:
            if len(part) == 1:
                raise
            parts += [part[: len(part) // 2], part[len(part) // 2 :]]
            continue
        for index, ids in zip(part, made, strict=True):
            texts[index] = tokenizer.decode(ids, skip_special_tokens=True)
        progress(len(part))
    return texts


@dataclass(frozen=True, kw_only=True)
class StopCriteria:
    """lm-eval's stop strings, each with as many tokens as are looked at for it, and whether text is a plain join.

    ``joined``: the text of some tokens is that of all, cut: a stop string in a part is one in the whole.
    """

    windows: tuple[tuple[str, int], ...]
    joined: bool
    tokenizer: PreTrainedTokenizerBase = field(repr=False)

    def first_end(self, ids: Sequence[int], *, after: int) -> int | None:
        """Return after how many of the tokens lm-eval stops; None: it goes on.

        Args:
            after: tokens after which it is known to go on.
        """
        if not self.windows or len(ids) <= after:
            return None
        decoded = self.tokenizer.decode
        if self.joined:
            longest = max(window for _, window in self.windows)
            text = decode_all(decoded, ids[max(0, after + 1 - longest) :])
            if not any(stop in text for stop, _ in self.windows):
                return None
        for end in range(after + 1, len(ids) + 1):
            for window in {window for _, window in self.windows}:
                text = decode_all(decoded, ids[max(0, end - window) : end])
                if any(stop in text for stop, wanted in self.windows if wanted == window):
                    return end
        return None


def decode_all(decoded: Callable[..., str | list[str]], ids: Sequence[int]) -> str:
    """Return the text of tokens, the special ones included."""
    return str(decoded(list(ids), skip_special_tokens=False))


def stop_criteria(stops: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> StopCriteria:
    """Return what lm-eval's ``MultiTokenEOSCriteria`` are for stop strings of this tokenizer."""
    windows = [(stop, len(tokenizer.encode(stop, add_special_tokens=False)) + LOOKED_BACK) for stop in stops]
    backend = getattr(tokenizer, "backend_tokenizer", None)
    joined = (
        backend is not None
        and type(backend.decoder).__name__ == "ByteLevel"
        and type(backend.model).__name__ == "BPE"
        and not getattr(tokenizer, "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output", False)
        and not any(REPLACED in stop for stop in stops)
    )
    return StopCriteria(windows=tuple(windows), joined=joined, tokenizer=tokenizer)


def _continue(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    until: Until,
    criteria: StopCriteria,
    *,
    way: Way,
) -> list[list[int]]:
    """Return the tokens that follow each prompt, up to and with the one that ends it."""
    head = head_of(model)
    drawn: list[list[int]] = [[] for _ in prompts]
    seen = [0] * len(prompts)
    over = [False] * len(prompts)

    def look(rows: Sequence[int]) -> None:
        for row in rows:
            end = criteria.first_end(drawn[row], after=seen[row])
            seen[row] = len(drawn[row])
            if end is not None:
                del drawn[row][end:]
                over[row] = True

    def likeliest(step: int, rows: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        tokens = head(state).float().argmax(dim=-1)
        for row, token in zip(rows.tolist(), tokens.tolist(), strict=True):
            if not over[row]:
                drawn[row].append(token)
                over[row] = token in until.ends
        if step % LOOK == LOOK - 1:
            look([row for row in rows.tolist() if not over[row]])
        return tokens, torch.tensor([over[row] for row in rows.tolist()], device=rows.device)

    decode(model, prompts, likeliest, steps=until.max_tokens, pad_id=next(iter(until.ends), 0), way=way)
    look(range(len(prompts)))
    return drawn

"""A round's completions: drawn from the current policy, and the file that keeps them with their texts."""

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.core.samples import spoken
from bench.data.tokens import Ids
from bench.errors import RunError
from bench.runner.iterate.prompts import Prompt
from bench.utils.files import write_bytes_whole

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FILE = "samples.jsonl.gz"
CHUNK = 64
"""Prompts that are sampled at once; the noise of a chunk depends on its number and nothing else."""


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """A prompt with its completions: ids, texts (end token left out), and whether each ended by itself."""

    prompt_ids: Ids
    prompt: str
    completions: tuple[Ids, ...]
    texts: tuple[str, ...]
    ended: tuple[bool, ...]


def sample_round(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[Prompt],
    *,
    count: int,
    tokens: int,
    temperature: float,
    seed: Sequence[int],
    progress: Callable[[int, int], None],
) -> list[Sampled]:
    """Draw ``count`` completions of at most ``tokens`` tokens for each prompt from softmax(logits / temperature).

    Args:
        seed: whole numbers that name the noise. Two policies share it, so that they differ where the models do.
        progress: gets how many of how many prompts are done.
    """
    from bench.evaluate.sampling import sample
    from bench.models.end_tokens import end_ids

    ends = end_ids(model, tokenizer)
    sampled: list[Sampled] = []
    for number, start in enumerate(range(0, len(prompts), CHUNK)):
        part = prompts[start : start + CHUNK]
        drawn = sample(
            model,
            [prompt.ids for prompt in part for _ in range(count)],
            max_tokens=tokens,
            temperature=temperature,
            seed=int(np.random.default_rng([*seed, number]).integers(2**62)),
            end_ids=ends,
        )
        rows = zip(drawn.prompts, spoken(drawn), strict=True)
        whole = tokenizer.batch_decode([[*prompt, *ids] for prompt, ids in rows], skip_special_tokens=True)
        for place, prompt in enumerate(part):
            own = range(place * count, (place + 1) * count)
            sampled.append(
                Sampled(
                    prompt_ids=prompt.ids,
                    prompt=prompt.text,
                    completions=tuple(drawn.completions[row] for row in own),
                    texts=tuple(whole[row].removeprefix(prompt.text) for row in own),
                    ended=tuple(drawn.ended[row] for row in own),
                )
            )
        progress(len(sampled), len(prompts))
    return sampled


def write_sampled(path: Path, rows: Sequence[Sampled]) -> None:
    """Write one JSON object a prompt (gzip); equal rows give equal bytes. Raises RunError."""
    text = "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)
    write_bytes_whole(path, gzip.compress(text.encode(), mtime=0))


def read_sampled(path: Path) -> list[Sampled]:
    """Read what ``write_sampled`` wrote. Raises RunError where it cannot be read."""
    try:
        lines = gzip.decompress(path.read_bytes()).decode().split("\n")
        return [_parse(line) for line in lines if line]
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} cannot be read: {error}", fix=f"remove {path.parent} and run again") from error


def _parse(line: str) -> Sampled:
    row = json.loads(line)
    return Sampled(
        prompt_ids=tuple(row["prompt_ids"]),
        prompt=row["prompt"],
        completions=tuple(tuple(ids) for ids in row["completions"]),
        texts=tuple(row["texts"]),
        ended=tuple(row["ended"]),
    )

"""The prompts that a round samples completions for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.data.digests import first_places
from bench.data.tokens import Ids
from bench.errors import UsageError
from bench.runner.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A prompt as the policy reads it, and as a judge is shown it."""

    ids: Ids
    text: str


def training_prompts(workspace: Workspace) -> list[Prompt]:
    """Return the distinct prompts of the training data, in their order: none of them selects or reports."""
    distinct = [workspace.data.rows[place].prompt_ids for place in first_places(workspace.data.groups).tolist()]
    texts = workspace.tokenizer.batch_decode([list(ids) for ids in distinct], skip_special_tokens=True)
    return [
        Prompt(ids=ids, text=workspace.prompt_texts.get(ids, text)) for ids, text in zip(distinct, texts, strict=True)
    ]


def fitting(prompts: Sequence[Prompt], *, tokens: int, max_length: int) -> list[Prompt]:
    """Return the prompts that leave room for ``tokens`` sampled ones within ``max_length``.

    Raises:
        UsageError: none does.
    """
    short_prompts = [prompt for prompt in prompts if len(prompt.ids) + tokens <= max_length]
    if not short_prompts:
        raise UsageError(
            f"no prompt leaves room for {tokens} sampled tokens within train.max_length={max_length}",
            fix="--set evaluation.tokens=… or --set train.max_length=…",
        )
    return short_prompts


def prompts_a_round(available: int, *, requested: int | None, rounds: int, fresh: bool, needed: int) -> int:
    """Return how many prompts a round has: ``requested``, else as many as there are, up to ``needed``.

    Args:
        needed: pairs that a round's training draws; with one pair a prompt, more would never be seen.

    Raises:
        UsageError: there are not as many.
    """
    most = available // rounds if fresh else available
    if most == 0 or (requested is not None and requested > most):
        each = f" for each of {rounds} rounds" if fresh else ""
        raise UsageError(
            f"--prompts must be at most {most}{each}: there are {available} training prompts (got {requested or 1})",
            fix=f"--prompts {most}" if most else "fewer rounds, or leave out --fresh-prompts",
        )
    return min(most, needed) if requested is None else requested


def prompts_of_round(
    prompts: Sequence[Prompt], *, round_number: int, count: int, fresh: bool, seed: int
) -> list[Prompt]:
    """Return the prompts of a round (from 1): the same ones each time, or disjoint ones where ``fresh``.

    Which they are depends on the seed alone, so that loops of one seed share them whatever their loss.
    """
    order = np.random.default_rng([seed, 0]).permutation(len(prompts))
    first = (round_number - 1) * count if fresh else 0
    return [prompts[place] for place in order[first : first + count]]

"""Preference data of the suite: prompts from reviews, completions of the start model, rewards of the classifier."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bench.errors import UsageError
from bench.evaluate.gold_reward import Gold
from bench.evaluate.sampling import sample
from bench.models.end_tokens import end_ids
from bench.suites.build.corpus import Corpus, Review
from bench.suites.pairs import (
    SPLITS,
    Scored,
    completions_file,
    make_pairs,
    prompts_file,
    write_prompts,
    write_scored,
)

FIRST_SEED = 1000
"""Sampling of the data starts here: evaluations, which count from 0, must not share its noise."""


@dataclass(frozen=True, kw_only=True)
class PairsRecipe:
    """Everything that decides prompts and pairs. The first ``*_paired`` prompts of a split get completions."""

    train_prompts: int = 600
    validation_prompts: int = 512
    test_prompts: int = 512
    train_paired: int = 600
    validation_paired: int = 128
    test_paired: int = 128
    shortest: int = 2
    longest: int = 8
    completions: int = 4
    tokens: int = 40
    temperature: float = 1.0
    batch: int = 400
    seed: int = 0


def write_data(
    corpus: Corpus,
    out: Path,
    *,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    gold: Gold,
    recipe: PairsRecipe,
    report: Callable[[str], None],
) -> dict[str, object]:
    """Write the prompts and the scored completions of the three splits into ``out``.

    Train prompts come from the reviews that the start model was trained on; validation and test prompts from two
    halves of the test reviews. No prompt stands in two splits. The gold reward is that of prompt and completion
    together, as text without special tokens.

    Returns:
        For each split what was made: prompts, pairs, ties left out, mean and spread of the reward (nats), lengths.

    Raises:
        UsageError: the corpus has too few reviews.
    """
    sources = _sources(corpus, seed=recipe.seed)
    wanted = {"train": recipe.train_prompts, "validation": recipe.validation_prompts, "test": recipe.test_prompts}
    paired = {"train": recipe.train_paired, "validation": recipe.validation_paired, "test": recipe.test_paired}
    taken: set[tuple[int, ...]] = set()
    facts: dict[str, object] = {"recipe": asdict(recipe), "scored_text": "prompt and completion, no special tokens"}
    for number, split in enumerate(SPLITS):
        prompts = draw_prompts(
            sources[split],
            tokenizer=tokenizer,
            count=wanted[split],
            lengths=(recipe.shortest, recipe.longest),
            taken=taken,
            seed=recipe.seed * 10 + number,
        )
        write_prompts(out / prompts_file(split), prompts)
        rows = _completions(
            prompts[: paired[split]],
            model=model,
            tokenizer=tokenizer,
            gold=gold,
            recipe=recipe,
            seed=recipe.seed * 10 + number + FIRST_SEED,
        )
        write_scored(out / completions_file(split), rows)
        split_facts = _facts(rows)
        facts[split] = {"prompts": len(prompts)} | split_facts
        report(f"{split}: {len(prompts)} prompts, {split_facts['pairs']} pairs")
    return facts


def draw_prompts(
    reviews: Sequence[Review],
    *,
    tokenizer: PreTrainedTokenizerBase,
    count: int,
    lengths: tuple[int, int],
    taken: set[tuple[int, ...]],
    seed: int,
) -> list[tuple[int, ...]]:
    """Draw ``count`` distinct prompts: BOS and the first few tokens of a review, at most one prompt a review.

    Args:
        lengths: fewest and most tokens after BOS; drawn evenly.
        taken: prompts that must not be drawn again; the drawn ones are added to it.

    Raises:
        UsageError: the reviews have fewer distinct prompts.
    """
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(reviews))
    drawn: list[tuple[int, ...]] = []
    for start in range(0, len(order), 512):
        rows = order[start : start + 512]
        # The head of a review is enough: it holds far more than the tokens that a prompt takes.
        heads = tokenizer([reviews[row].text[:400] for row in rows], add_special_tokens=False)["input_ids"]
        sizes = generator.integers(lengths[0], lengths[1] + 1, size=len(rows))
        for ids, length in zip(heads, sizes, strict=True):
            prompt = (tokenizer.bos_token_id, *ids[:length])
            # A prompt cut inside a character of several bytes is no text.
            if len(ids) <= length or prompt in taken or "�" in tokenizer.decode(list(prompt)):
                continue
            taken.add(prompt)
            drawn.append(prompt)
            if len(drawn) == count:
                return drawn
    raise UsageError(
        f"{len(reviews)} reviews give {len(drawn)} distinct prompts, and {count} are needed",
        fix="lower the recipe's number of prompts, or give a larger corpus",
    )


def _sources(corpus: Corpus, *, seed: int) -> dict[str, list[Review]]:
    """Return the reviews of each split; validation and test have the two halves of the test reviews."""
    order = np.random.default_rng(seed).permutation(len(corpus.test))
    half = len(order) // 2
    return {
        "train": list(corpus.train),
        "validation": [corpus.test[i] for i in order[:half]],
        "test": [corpus.test[i] for i in order[half:]],
    }


def _completions(
    prompts: Sequence[tuple[int, ...]],
    *,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    gold: Gold,
    recipe: PairsRecipe,
    seed: int,
) -> list[Scored]:
    drawn = sample(
        model,
        [prompt for prompt in prompts for _ in range(recipe.completions)],
        max_tokens=recipe.tokens,
        temperature=recipe.temperature,
        seed=seed,
        end_ids=end_ids(model, tokenizer),
        batch=recipe.batch,
    )
    whole = [[*prompt, *ids] for prompt, ids in zip(drawn.prompts, drawn.completions, strict=True)]
    # Six decimals: finer differences of the reward are rounding, not preference.
    scores = [round(float(x), 6) for x in gold.score(tokenizer.batch_decode(whole, skip_special_tokens=True))]
    parts = [slice(row * recipe.completions, (row + 1) * recipe.completions) for row in range(len(prompts))]
    return [
        Scored(
            prompt_ids=prompt,
            completions=drawn.completions[part],
            scores=tuple(scores[part]),
            ended=drawn.ended[part],
        )
        for prompt, part in zip(prompts, parts, strict=True)
    ]


def _facts(rows: Sequence[Scored]) -> dict[str, float]:
    pairs = make_pairs(rows)
    scores = np.array([score for row in rows for score in row.scores])
    lengths = np.array([len(ids) for row in rows for ids in row.completions])
    possible = sum(len(row.completions) * (len(row.completions) - 1) // 2 for row in rows)
    return {
        "prompts_with_completions": len(rows),
        "pairs": len(pairs),
        "ties_left_out": possible - len(pairs),
        "reward_mean": float(scores.mean()),
        "reward_std": float(scores.std()),
        "pair_gap_mean": float(np.mean([pair.chosen_score - pair.rejected_score for pair in pairs])),
        "completion_tokens_mean": float(lengths.mean()),
        "ended_share": float(np.mean([flag for row in rows for flag in row.ended])),
    }

"""The assets of the sentiment suite that the package carries."""

import itertools
import json
import math
from collections import Counter
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.evaluate.gold_reward import load_gold
from bench.evaluate.tasks.load import ready_tasks
from bench.evaluate.tasks.run import run_lm_eval
from bench.suites.build.assets import verify_assets
from bench.suites.pairs import SPLITS, Pair, load_pairs, load_prompts, load_scored

ASSETS = Path(__file__).parents[3] / "bench" / "suites" / "sentiment"


def test_the_packaged_assets_are_those_recorded_and_small() -> None:
    verify_assets(ASSETS)
    assert sum(path.stat().st_size for path in ASSETS.rglob("*") if path.is_file()) < 16e6


def test_packaged_prompts_are_distinct_over_all_splits_and_at_most_eight_tokens() -> None:
    prompts = {split: [tuple(p) for p in load_prompts(ASSETS / "data", split)] for split in SPLITS}
    every = list(itertools.chain.from_iterable(prompts.values()))
    assert len(every) == len(set(every))
    assert {len(prompt) - 1 for prompt in every} == {2, 3, 4, 5, 6, 7, 8}
    assert all(prompt[0] == 0 and 0 not in prompt[1:] for prompt in every)
    assert [len(prompts[split]) for split in SPLITS] == [600, 512, 512]


@pytest.mark.parametrize(("split", "prompts"), [("train", 600), ("validation", 128), ("test", 128)])
def test_packaged_pairs_are_labelled_by_the_packaged_gold_reward(split: str, prompts: int) -> None:
    pairs = load_pairs(ASSETS / "data", split)
    rows = load_scored(ASSETS / "data", split)
    assert [list(row.prompt_ids) for row in rows] == load_prompts(ASSETS / "data", split)[:prompts]
    assert len(pairs) > 0.99 * 6 * prompts
    assert all(pair.chosen_score > pair.rejected_score for pair in pairs)
    assert all(0 < len(ids) <= 40 for pair in pairs for ids in (pair.chosen_ids, pair.rejected_ids))
    tokenizer = AutoTokenizer.from_pretrained(ASSETS / "model")
    some: list[Pair] = pairs[::7]
    texts = tokenizer.batch_decode([[*p.prompt_ids, *p.chosen_ids] for p in some], skip_special_tokens=True)
    assert load_gold(ASSETS / "gold").score(texts) == pytest.approx([p.chosen_score for p in some], abs=1e-5)


def test_packaged_blimp_has_eight_items_of_each_of_its_67_sets() -> None:
    rows = [json.loads(line) for line in (ASSETS / "blimp" / "blimp.jsonl").read_text().splitlines()]
    assert set(Counter(row["UID"] for row in rows).values()) == {8}
    assert len(rows) == 67 * 8
    assert all(row.keys() == {"sentence_good", "sentence_bad", "UID"} for row in rows)


def test_the_start_model_is_better_than_chance_at_blimp_through_lm_eval() -> None:
    tokenizer = AutoTokenizer.from_pretrained(ASSETS / "model")
    model = AutoModelForCausalLM.from_pretrained(ASSETS / "model", dtype=torch.float32).eval()
    metrics = run_lm_eval(model, tokenizer, ready_tasks(["blimp"], include=ASSETS)).metrics
    accuracy = next(metric for metric in metrics if metric.name == "acc")
    assert accuracy.n == 67 * 8
    # Three standard errors above chance.
    assert accuracy.value > 0.5 + 3 * math.sqrt(0.25 / accuracy.n)

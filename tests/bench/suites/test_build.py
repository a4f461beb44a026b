"""The build of the sentiment suite: stages, prompts, pairs, sampling, and the assets that the package carries."""

import gzip
import io
import itertools
import json
import math
import random
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from bench.errors import RunError, UsageError
from bench.evaluate.gold import load_gold
from bench.evaluate.harness import run_lm_eval
from bench.suites.build.assets import verify_assets
from bench.suites.build.blimp import write_blimp
from bench.suites.build.classifier import ClassifierRecipe, cutter, train_classifier
from bench.suites.build.corpus import read_corpus
from bench.suites.build.language_model import LanguageModelRecipe
from bench.suites.build.pairs import PairsRecipe
from bench.suites.build.sampling import sample_completions
from bench.suites.build.sentiment import SentimentRecipe, adopt_model, build_sentiment
from bench.suites.build.stages import run_stage
from bench.suites.pairs import (
    SPLITS,
    Pair,
    Scored,
    bradley_terry,
    completions_file,
    load_pairs,
    load_prompts,
    load_scored,
    make_pairs,
    prompts_file,
    write_scored,
)

pytest.importorskip("sklearn")

ASSETS = Path(__file__).parents[3] / "bench" / "suites" / "sentiment"
RECIPE = SentimentRecipe(
    language_model=LanguageModelRecipe(
        vocabulary=320, hidden=16, layers=1, heads=2, intermediate=32, context=32, batch=8, micro_batch=4,
        warmup_steps=2, validation_windows=8, validate_every=20,
    ),
    classifier=ClassifierRecipe(minimum_reviews=2, features=(20, 60), inverse_penalty=(1.0, 10.0), snippet_tokens=24),
    pairs=PairsRecipe(
        train_prompts=20, validation_prompts=12, test_prompts=12, train_paired=16, validation_paired=6, test_paired=6,
        tokens=10, batch=32,
    ),
    validation_reviews=40,
    blimp_items=3,
)  # fmt: skip
PRAISE = ("wonderful", "great", "loved", "brilliant", "moving")
BLAME = ("awful", "boring", "waste", "terrible", "dull")
NEUTRAL = ("the", "film", "a", "story", "was", "actors", "scene", "and", "of", "director", "camera", "plot", "music")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    draw = random.Random(0)
    for part, count in (("train", 160), ("test", 160), ("unsup", 60)):
        rows = []
        for number in range(count):
            label = number % 2
            words = draw.choices((PRAISE if label else BLAME) + NEUTRAL, k=40)
            rows.append({"id": f"{part}/{number}", "label": label, "text": " ".join(words) + "<br /><br />The end."})
        with gzip.open(folder / f"{part}.jsonl.gz", "wt", encoding="utf-8") as lines:
            lines.writelines(json.dumps(row) + "\n" for row in rows)
    with tarfile.open(folder / "blimp.jsonl.tar.gz", "w:gz") as archive:
        for number in range(67):
            items = [{"sentence_good": f"G{i}", "sentence_bad": f"B{i}", "UID": f"s{number}", "x": 1} for i in range(5)]
            content = "\n".join(json.dumps(item) for item in items).encode()
            member = tarfile.TarInfo(f"s{number}.jsonl")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return folder


@pytest.fixture(scope="module")
def built(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("assets") / "suite"
    build_sentiment(corpus, out, report=lambda line: None, recipe=RECIPE)
    return out


@pytest.fixture
def assets(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "suite"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_build_records_every_file_and_names_no_folder_of_the_machine(built: Path, corpus: Path) -> None:
    verify_assets(built)
    text = (built / "provenance.json").read_text()
    assert not [path for path in (built, corpus, Path.home(), Path.cwd()) if str(path) in text]
    provenance = json.loads(text)
    assert provenance["corpus"]["sha256"].keys() == {"train.jsonl.gz", "test.jsonl.gz", "unsup.jsonl.gz"}
    assert provenance["bytes"] == sum((built / name).stat().st_size for name in provenance["files"])
    assert provenance["stages"]["model"]["curve"][-1]["validation_loss"] < math.log(320)
    assert {path.name for path in built.iterdir()} == {
        "model", "gold", "data", "blimp", "provenance.json", "README.md"
    }  # fmt: skip


def test_a_second_build_writes_no_stage_again(assets: Path, corpus: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in assets.glob("*/*")}
    said: list[str] = []
    build_sentiment(corpus, assets, report=said.append, recipe=RECIPE)
    assert said == [f"{stage}: already complete" for stage in ("blimp", "model", "gold", "data")]
    assert {path: path.stat().st_mtime_ns for path in assets.glob("*/*")} == before


def test_gold_and_data_are_the_same_bytes_when_built_again(assets: Path, built: Path, corpus: Path) -> None:
    shutil.rmtree(assets / "gold")
    shutil.rmtree(assets / "data")
    said: list[str] = []
    build_sentiment(corpus, assets, report=said.append, recipe=RECIPE)
    assert "model: already complete" in said
    assert "data: written" in said
    assert contents(assets) == contents(built)


def test_a_damaged_stage_is_told_by_name_and_is_the_only_one_built_again(assets: Path, corpus: Path) -> None:
    path = assets / "data" / completions_file("test")
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(RunError, match=r"data/pairs-test\.jsonl\.gz: SHA-256 is"):
        verify_assets(assets)
    said: list[str] = []
    build_sentiment(corpus, assets, report=said.append, recipe=RECIPE)
    assert [line for line in said if line.endswith(": written")] == ["data: written"]
    verify_assets(assets)


def test_changed_inputs_build_a_stage_and_what_stands_on_it_again(assets: Path, corpus: Path) -> None:
    said: list[str] = []
    other = replace(RECIPE, classifier=replace(RECIPE.classifier, features=(15,)))
    build_sentiment(corpus, assets, report=said.append, recipe=other)
    assert [line for line in said if line.endswith(": written")] == ["gold: written", "data: written"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda folder: (folder / "gold" / "classifier.json").unlink(), "gold/classifier.json: absent"),
        (lambda folder: (folder / "blimp" / "more.jsonl").write_text("x"), "blimp/more.jsonl: not recorded"),
        (lambda folder: (folder / "provenance.json").write_text("{}"), "provenance.json cannot be read"),
    ],
)
def test_verification_tells_absent_and_foreign_files(assets: Path, change: Callable[[Path], Any], told: str) -> None:
    change(assets)
    with pytest.raises(RunError, match=told):
        verify_assets(assets)


def test_a_stage_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    def good(folder: Path) -> dict[str, int]:
        (folder / "a").write_text("old")
        return {"fact": 1}

    def broken(folder: Path) -> dict[str, int]:
        (folder / "a").write_text("new")
        raise OSError("disk")

    folder = tmp_path / "stage"
    run_stage(folder, inputs={"version": 1}, write=good)
    with pytest.raises(OSError, match="disk"):
        run_stage(folder, inputs={"version": 2}, write=broken)
    assert (folder / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["stage"]


def test_an_adopted_model_is_not_trained_again_and_another_recipe_is_refused(
    built: Path, corpus: Path, tmp_path: Path
) -> None:
    trained, description = tmp_path / "lm", tmp_path / "lm.json"
    shutil.copytree(built / "model", trained, ignore=shutil.ignore_patterns("manifest.json"))
    description.write_text(json.dumps({"recipe": asdict(RECIPE.language_model), "curve": []}))
    adopt_model(trained, description, corpus, tmp_path / "out", recipe=RECIPE)
    said: list[str] = []
    build_sentiment(corpus, tmp_path / "out", report=said.append, recipe=RECIPE)
    assert "model: already complete" in said
    assert contents(tmp_path / "out" / "data") == contents(built / "data")
    other = replace(RECIPE, language_model=replace(RECIPE.language_model, seed=1))
    with pytest.raises(UsageError, match="another recipe"):
        adopt_model(trained, description, corpus, tmp_path / "other", recipe=other)


def test_a_classifier_below_the_required_accuracy_stops_the_build(corpus: Path, assets: Path, tmp_path: Path) -> None:
    reviews = read_corpus(corpus)
    cut = cutter(AutoTokenizer.from_pretrained(assets / "model"), tokens=24)
    with pytest.raises(RunError, match=r"accuracy on 160 whole test reviews is .* required is 1\.01"):
        train_classifier(
            reviews.train, reviews.test, tmp_path / "gold", cut=cut,
            recipe=replace(RECIPE.classifier, required_accuracy=1.01), report=lambda line: None,
        )  # fmt: skip


def test_snippets_join_to_the_text_and_none_is_too_long(built: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(built / "model")
    text = "the film was wonderful and " * 40
    (pieces,) = cutter(tokenizer, tokens=24)([text])
    assert len(pieces) > 3
    assert text.startswith("".join(pieces))
    assert all(len(tokenizer(piece, add_special_tokens=False)["input_ids"]) <= 24 for piece in pieces)


def test_an_absent_corpus_file_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"lacks train\.jsonl\.gz"):
        read_corpus(tmp_path)


def test_a_text_in_train_and_test_stays_in_test_alone(tmp_path: Path) -> None:
    texts = {"train": ["same<br />text", "mine"], "test": ["same text"], "unsup": ["mine", "other"]}
    for part, rows in texts.items():
        with gzip.open(tmp_path / f"{part}.jsonl.gz", "wt") as lines:
            lines.writelines(json.dumps({"id": i, "label": 1, "text": text}) + "\n" for i, text in enumerate(rows))
    corpus = read_corpus(tmp_path)
    assert [[r.text for r in part] for part in (corpus.test, corpus.train, corpus.unsup)] == [
        ["same text"],
        ["mine"],
        ["other"],
    ]


def test_an_absent_archive_of_blimp_is_told_before_anything_is_trained(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.tar\.gz is absent"):
        build_sentiment(corpus, tmp_path, report=lambda line: None, recipe=RECIPE, blimp=tmp_path / "nowhere.tar.gz")
    assert list(tmp_path.iterdir()) == []


def test_too_small_an_archive_of_blimp_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz"):
        pass
    with pytest.raises(UsageError, match="holds 0 jsonl files"):
        write_blimp(tmp_path / "b.tar.gz", tmp_path / "out", items=1, seed=0)


def test_prompts_and_rewards_of_a_build_come_from_the_split_they_belong_to(built: Path, corpus: Path) -> None:
    reviews = read_corpus(corpus)
    tokenizer = AutoTokenizer.from_pretrained(built / "model")
    gold = load_gold(built / "gold")
    for split in SPLITS:
        texts = [review.text for review in (reviews.train if split == "train" else reviews.test)]
        for prompt in load_prompts(built / "data", split):
            begun = tokenizer.decode(prompt, skip_special_tokens=True)
            assert any(text.startswith(begun) for text in texts)
        for row in load_scored(built / "data", split):
            whole = [[*row.prompt_ids, *ids] for ids in row.completions]
            scores = gold.score(tokenizer.batch_decode(whole, skip_special_tokens=True))
            assert row.scores == pytest.approx(scores, abs=1e-6)


# ---- pairs ----------------------------------------------------------------------------------------------------------


def scored(*scores: float) -> Scored:
    return Scored(
        prompt_ids=(0, 7),
        completions=tuple((10 + number,) for number in range(len(scores))),
        scores=scores,
        ended=(False,) * len(scores),
    )


def test_every_two_completions_make_a_pair_and_equal_rewards_make_none() -> None:
    pairs = make_pairs([scored(1.0, 3.0, 1.0, -2.0)])
    assert len(pairs) == 5
    assert {(pair.chosen_ids[0], pair.rejected_ids[0]) for pair in pairs} == {
        (11, 10), (10, 13), (11, 12), (11, 13), (12, 13)
    }  # fmt: skip
    assert all(pair.chosen_score > pair.rejected_score for pair in pairs)


def test_bradley_terry_flips_as_often_as_the_model_says() -> None:
    pairs = make_pairs([scored(0.0, 1.5)]) * 4000
    relabelled = bradley_terry(pairs, temperature=2.0, seed=0)
    kept = sum(pair.chosen_score > pair.rejected_score for pair in relabelled) / len(pairs)
    expected = 1 / (1 + math.exp(-1.5 / 2.0))
    # Four standard errors of a share over 4,000 draws.
    assert abs(kept - expected) < 4 * math.sqrt(expected * (1 - expected) / 4000)
    assert {(pair.chosen_ids, pair.chosen_score) for pair in relabelled} == {((11,), 1.5), ((10,), 0.0)}


def test_bradley_terry_is_a_function_of_its_seed_and_keeps_gold_labels_when_cold() -> None:
    pairs = make_pairs([scored(0.0, 0.4, -0.8, 1.1)]) * 20
    assert bradley_terry(pairs, temperature=1.0, seed=3) == bradley_terry(pairs, temperature=1.0, seed=3)
    assert bradley_terry(pairs, temperature=1.0, seed=3) != bradley_terry(pairs, temperature=1.0, seed=4)
    assert bradley_terry(pairs, temperature=1e-6, seed=3) == pairs


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_of_labels_that_is_not_positive_is_refused(temperature: float) -> None:
    with pytest.raises(UsageError, match="temperature"):
        bradley_terry([], temperature=temperature, seed=0)


def test_written_completions_read_back_equal(tmp_path: Path) -> None:
    rows = [scored(0.1, -2.5), scored(1e-6, 3.0, 4.0)]
    write_scored(tmp_path / completions_file("train"), rows)
    assert load_scored(tmp_path, "train") == rows


def test_unreadable_data_is_told_by_file_and_an_unknown_split_by_name(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"pairs-train\.jsonl\.gz cannot be read"):
        load_pairs(tmp_path, "train")
    write_scored(tmp_path / completions_file("train"), [scored(1.0, 2.0)] * 50)
    whole = (tmp_path / completions_file("train")).read_bytes()
    (tmp_path / completions_file("train")).write_bytes(whole[:-12])
    with pytest.raises(RunError, match=r"pairs-train\.jsonl\.gz cannot be read"):
        load_pairs(tmp_path, "train")
    (tmp_path / prompts_file("test")).write_text("[[0, 1], 5]")
    with pytest.raises(RunError, match=r"prompts-test\.json cannot be read"):
        load_prompts(tmp_path, "test")
    with pytest.raises(UsageError, match="did you mean 'validation'"):
        load_pairs(tmp_path, "validatoin")


# ---- sampling -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=12, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64, bos_token_id=0, eos_token_id=0, pad_token_id=1, initializer_range=0.3,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


PROMPTS = [[0, 3], [0, 5, 6], [0, 4], [0, 2, 2, 7]]


def draw(model: LlamaForCausalLM, prompts: list[list[int]] = PROMPTS, **changes: Any) -> list[list[list[int]]]:
    settings: dict[str, Any] = {"per_prompt": 3, "max_tokens": 9, "temperature": 1.0, "end": 0, "batch": 4, "seed": 0}
    return sample_completions(model, prompts, **(settings | changes))


def test_cold_sampling_with_the_cache_equals_greedy_decoding_without_it(tiny: LlamaForCausalLM) -> None:
    for prompt, found in zip(PROMPTS, draw(tiny, temperature=1e-4), strict=True):
        ids = list(prompt)
        for _ in range(9):
            with torch.no_grad():
                ids.append(int(tiny(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
            if ids[-1] == 0:
                break
        assert found == [ids[len(prompt) :]] * 3


def test_first_tokens_follow_the_models_distribution(tiny: LlamaForCausalLM) -> None:
    (found,) = draw(tiny, [[0, 3]], per_prompt=6000, max_tokens=1, batch=6000, temperature=1.3)
    with torch.no_grad():
        expected = torch.softmax(tiny(torch.tensor([[0, 3]])).logits[0, -1] / 1.3, dim=-1).numpy()
    counts = Counter(ids[0] for ids in found)
    shares = np.array([counts[token] / 6000 for token in range(12)])
    # Five standard errors of each share.
    assert np.all(np.abs(shares - expected) < 5 * np.sqrt(expected * (1 - expected) / 6000) + 1e-4)


def test_a_completion_ends_with_the_end_token_or_is_of_full_length(tiny: LlamaForCausalLM) -> None:
    found = [ids for row in draw(tiny, per_prompt=20, batch=50) for ids in row]
    assert len(found) == 80
    assert all(0 not in ids[:-1] for ids in found)
    assert all(ids[-1] == 0 or len(ids) == 9 for ids in found)
    assert {ids[-1] == 0 for ids in found} == {True, False}


def test_samples_are_a_function_of_the_seed(tiny: LlamaForCausalLM) -> None:
    assert draw(tiny, seed=5) == draw(tiny, seed=5)
    assert draw(tiny, seed=5) != draw(tiny, seed=6)


# ---- the assets that the package carries ----------------------------------------------------------------------------


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
    assert all(0 < len(ids) <= 48 for pair in pairs for ids in (pair.chosen_ids, pair.rejected_ids))
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
    metrics = run_lm_eval(model, tokenizer, ["blimp"], include=ASSETS)
    accuracy = next(metric for metric in metrics if metric.name == "acc")
    assert accuracy.n == 67 * 8
    # Three standard errors above chance.
    assert accuracy.value > 0.5 + 3 * math.sqrt(0.25 / accuracy.n)

"""The build of the sentiment suite: stages, prompts, pairs, sampling, and the assets that the package carries."""

import gzip
import io
import json
import math
import random
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from bench.errors import RunError, UsageError
from bench.evaluate.gold_reward import load_gold
from bench.suites.build.assets import verify_assets
from bench.suites.build.blimp import write_blimp
from bench.suites.build.classifier import ClassifierRecipe, cutter, train_classifier
from bench.suites.build.corpus import read_corpus
from bench.suites.build.language_model import LanguageModelRecipe
from bench.suites.build.pairs import PairsRecipe
from bench.suites.build.sentiment import SentimentRecipe, build_sentiment
from bench.suites.build.stages import run_stage
from bench.suites.pairs import (
    SPLITS,
    completions_file,
    load_prompts,
    load_scored,
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

"""The build of the sentiment suite's assets: model, gold reward, data, BLiMP; and their provenance."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from bench.evaluate.gold_reward import load_gold
from bench.suites.build.assets import write_provenance
from bench.suites.build.blimp import texts_digest, write_blimp
from bench.suites.build.classifier import ClassifierRecipe, cutter, train_classifier
from bench.suites.build.corpus import Corpus, read_corpus
from bench.suites.build.language_model import (
    LanguageModelRecipe,
    describe,
    save,
    token_stream,
    train_language_model,
    train_tokenizer,
)
from bench.suites.build.pairs import PairsRecipe, write_data
from bench.suites.build.stages import StageManifest, read_manifest, run_stage

ARCHIVE = "blimp.jsonl.tar.gz"


@dataclass(frozen=True, kw_only=True)
class SentimentRecipe:
    """Everything that decides the assets. ``validation_reviews``: test reviews that the model's loss is measured on."""

    language_model: LanguageModelRecipe = field(default_factory=LanguageModelRecipe)
    classifier: ClassifierRecipe = field(default_factory=ClassifierRecipe)
    pairs: PairsRecipe = field(default_factory=PairsRecipe)
    validation_reviews: int = 2000
    blimp_items: int = 8
    blimp_seed: int = 0


def build_sentiment(
    corpus: Path,
    out: Path,
    *,
    report: Callable[[str], None],
    recipe: SentimentRecipe | None = None,
    blimp: Path | None = None,
) -> dict[str, object]:
    """Build all assets into ``out`` and return their provenance. A stage that is complete and up to date is skipped.

    Args:
        corpus: folder with ``train``, ``test`` and ``unsup`` (``.jsonl.gz``).
        blimp: BLiMP as one tar.gz; by default ``blimp.jsonl.tar.gz`` in ``corpus``.
        report: called with one line of text now and then.

    Raises:
        UsageError: the corpus or BLiMP is absent or too small.
        RunError: the classifier misses its accuracy.
    """
    recipe = recipe or SentimentRecipe()
    reviews = read_corpus(corpus)
    # The quick stage comes first, so that a missing archive is reported before an hour of training, not after it.
    manifests = {"blimp": _blimp_stage(blimp or corpus / ARCHIVE, out, recipe=recipe, report=report)}
    manifests["model"] = _model_stage(reviews, out, recipe=recipe, report=report)
    tokenizer = AutoTokenizer.from_pretrained(out / "model")
    manifests["gold"] = _gold_stage(reviews, out, tokenizer=tokenizer, recipe=recipe, report=report)
    manifests["data"] = _data_stage(reviews, out, tokenizer=tokenizer, recipe=recipe, report=report)
    return write_provenance(out, corpus=reviews.hashes, manifests=manifests)


def _model_stage(corpus: Corpus, out: Path, *, recipe: SentimentRecipe, report: Callable[[str], None]) -> StageManifest:
    def write(folder: Path) -> dict[str, object]:
        texts = [review.text for review in (*corpus.unsup, *corpus.train)]
        tokenizer = train_tokenizer(texts, vocabulary=recipe.language_model.vocabulary)
        held_out = [review.text for review in corpus.test[: recipe.validation_reviews]]
        train = token_stream(texts, tokenizer)
        model, curve = train_language_model(
            train=train,
            validation=token_stream(held_out, tokenizer),
            tokenizer=tokenizer,
            recipe=recipe.language_model,
            report=report,
        )
        save(model, tokenizer, folder)
        return describe(recipe.language_model, curve) | {"train_tokens": len(train)}

    inputs = {
        "corpus": corpus.hashes,
        "recipe": asdict(recipe.language_model),
        "validation_reviews": recipe.validation_reviews,
    }
    return _run_and_report(report, out / "model", inputs=inputs, write=write)


def _gold_stage(
    corpus: Corpus,
    out: Path,
    *,
    tokenizer: PreTrainedTokenizerBase,
    recipe: SentimentRecipe,
    report: Callable[[str], None],
) -> StageManifest:
    # Of the model only the tokenizer matters here: it cuts the snippets.
    inputs = {
        "corpus": corpus.hashes,
        "recipe": asdict(recipe.classifier),
        "tokenizer": _files(out, "model")["tokenizer.json"],
    }
    return _run_and_report(
        report,
        out / "gold",
        inputs=inputs,
        write=lambda folder: train_classifier(
            corpus.train,
            corpus.test,
            folder,
            cut=cutter(tokenizer, tokens=recipe.classifier.snippet_tokens),
            recipe=recipe.classifier,
            report=report,
        ),
    )


def _data_stage(
    corpus: Corpus,
    out: Path,
    *,
    tokenizer: PreTrainedTokenizerBase,
    recipe: SentimentRecipe,
    report: Callable[[str], None],
) -> StageManifest:
    inputs = {
        "corpus": corpus.hashes,
        "recipe": asdict(recipe.pairs),
        "model": _files(out, "model"),
        "gold": _files(out, "gold"),
    }
    return _run_and_report(
        report,
        out / "data",
        inputs=inputs,
        write=lambda folder: write_data(
            corpus,
            folder,
            model=AutoModelForCausalLM.from_pretrained(out / "model", dtype=torch.float32).eval(),
            tokenizer=tokenizer,
            gold=load_gold(out / "gold"),
            recipe=recipe.pairs,
            report=report,
        ),
    )


def _blimp_stage(archive: Path, out: Path, *, recipe: SentimentRecipe, report: Callable[[str], None]) -> StageManifest:
    return _run_and_report(
        report,
        out / "blimp",
        inputs={"items": recipe.blimp_items, "seed": recipe.blimp_seed, "texts": texts_digest()},
        write=lambda folder: write_blimp(archive, folder, items=recipe.blimp_items, seed=recipe.blimp_seed),
    )


def _run_and_report(
    report: Callable[[str], None],
    folder: Path,
    *,
    inputs: Mapping[str, object],
    write: Callable[[Path], Mapping[str, object]],
) -> StageManifest:
    manifest, fresh = run_stage(folder, inputs=inputs, write=write)
    report(f"{folder.name}: {'written' if fresh else 'already complete'}")
    return manifest


def _files(out: Path, stage: str) -> dict[str, str]:
    manifest = read_manifest(out / stage)
    assert manifest is not None, stage
    return {name: entry["sha256"] for name, entry in manifest["files"].items()}

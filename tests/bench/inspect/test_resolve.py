"""What the options name: texts cut to what a model reads, classes of one size, and one start model for all."""

import json
from pathlib import Path

import pytest

from bench.core.specs import ModelSpec
from bench.data.tokens import EncodedPair, encoded_of
from bench.errors import UsageError
from bench.inspect.resolve import InspectRequest, Trained, find_material, find_start
from bench.inspect.texts import PROBE_LEAST, preference_material, suite_material
from bench.models.loading import context_of, load_tokenizer, model_hash
from bench.suites.pairs import load_scored
from bench.suites.settings import get_suite
from tests.bench.conftest import tiny_spec
from tests.bench.evaluate.tasks.documents import STORIES

SUITE = get_suite("sentiment")


def trained(*, source: str, content: str) -> Trained:
    spec = tiny_spec("dpo").model_copy(update={"model": ModelSpec(source=source, content=content)})
    return Trained(name="run:aa", folder=Path("nowhere"), content="c", spec=spec)


def test_texts_are_cut_to_the_model_s_context_and_classes_are_of_one_size(tmp_path):
    paths = tmp_path / "long.jsonl", tmp_path / "short.jsonl"
    for path, count in zip(paths, (30, 20), strict=True):
        path.write_text("".join(json.dumps({"text": f"Tom saw {n} birds. " * 400}) + "\n" for n in range(count)))
    found = find_material([], STORIES, load_tokenizer(STORIES), InspectRequest(models=(), probe=paths))
    assert {len(text.ids) for text in found.probe} == {context_of(STORIES)} == {512}
    assert [text.label for text in found.probe].count(True) == 20 == [text.label for text in found.probe].count(False)
    assert not found.texts
    assert {text.first for text in found.probe} == {1}  # BOS is read and not counted


def test_the_probe_and_the_measured_texts_share_no_prompt():
    rows = [
        EncodedPair(prompt_ids=(0, n // 3), chosen_ids=(5, n), rejected_ids=(6, n), score_gap=None, group=n // 3)
        for n in range(600)
    ]
    found = preference_material(encoded_of(rows, kind="pairs", eos_id=0, pad_id=0), count=100, source="them")
    assert {text.group for text in found.probe}.isdisjoint({text.group for text in found.texts})
    assert len(found.texts) == 100
    assert len(found.probe) == 200
    assert {text.ids[2] == 5 for text in found.probe if text.label} == {True}
    assert all(text.first == 2 for text in (*found.probe, *found.texts))


def test_of_a_suite_the_probe_has_the_clearest_samples_and_measures_others():
    found = suite_material(SUITE, load_tokenizer(SUITE.folder / "model"), count=8, embeddings=4096)
    scores = {
        (*row.prompt_ids, *ids): score
        for row in load_scored(SUITE.folder / "data", "train")
        for ids, score in zip(row.completions, row.scores, strict=True)
    }
    classes = {label: [scores[t.ids] for t in found.probe if t.label is label] for label in (True, False)}
    assert len(classes[True]) == len(classes[False]) == PROBE_LEAST
    assert sorted(scores.values())[PROBE_LEAST] >= max(classes[False])
    assert sorted(scores.values())[-PROBE_LEAST - 1] <= min(classes[True])
    assert len(found.texts) == len(found.behaviour.prompts) == 8
    assert not {text.ids for text in found.texts} & set(scores)


def test_equal_texts_have_one_digest_and_others_another():
    tokenizer = load_tokenizer(SUITE.folder / "model")
    one, same, other = (suite_material(SUITE, tokenizer, count=count, embeddings=4096).digest() for count in (8, 8, 9))
    assert one == same != other


def test_the_start_model_is_what_the_runs_name_and_is_still_it():
    start, content = SUITE.folder / "model", model_hash(SUITE.folder / "model")
    own = trained(source="suite sentiment", content=content)
    assert find_start([own, own], InspectRequest(models=())) == start
    assert find_start([trained(source=str(STORIES), content=model_hash(STORIES))], InspectRequest(models=())) == STORIES
    for models, said in (
        ([own, trained(source=str(STORIES), content=model_hash(STORIES))], "different start models"),
        ([trained(source=str(STORIES), content="0" * 64)], "its start model .* is not found"),
        ([trained(source="suite exact", content=content)], "table of logits"),
    ):
        with pytest.raises(UsageError, match=said):
            find_start(models, InspectRequest(models=()))

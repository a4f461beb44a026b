"""A run's name: what changes it, what must not, and that it stays what it is."""

import pytest
from pydantic import ValidationError

from bench.core.specs import DataSpec, EvaluationSpec, JudgedBy, LoraSpec, ModelSpec, RunSpec, SetSpec, TrainSpec


def spec(objective: str = "dpo", beta: float = 0.1, seed: int = 0, source: str = "here", **train: object) -> RunSpec:
    return RunSpec(
        version=1, suite="sentiment", suite_version=1,
        data=DataSpec(kind="pairs", source=source, content="d" * 64, rows=100),
        model=ModelSpec(source=source, content="m" * 64),
        objective=objective, objective_version=1, objective_content=None, params={"beta": beta},
        train=TrainSpec(**({"steps": 10, "batch": 4, "learning_rate": 1e-3} | train)), seed=seed,
    )  # fmt: skip


PINNED = {
    "dpo": spec(),
    "ipo": spec("ipo"),
    "small beta": spec(beta=1e-3),
    "seed": spec(seed=7),
    "lora": spec(lora=LoraSpec()),
}


def test_keys_of_five_specs_are_pinned():
    # A change here renames every run on every disk: raise the stage's version instead, unless that is what is meant.
    assert {name: each.key for name, each in PINNED.items()} == {
        "dpo": "89b114c6eb1e5cd6",
        "ipo": "8832e9943fda13ec",
        "small beta": "995188db8cc4e8cd",
        "seed": "5c2c41cc0b659fd1",
        "lora": "db26a07f3142a90d",
    }


def test_all_pinned_keys_differ():
    assert len({each.key for each in PINNED.values()}) == len(PINNED)


def test_where_things_lie_is_no_part_of_the_key():
    assert spec(source="here").key == spec(source="elsewhere").key


def test_a_spec_that_went_through_json_has_the_same_key():
    for each in PINNED.values():
        assert RunSpec.model_validate_json(each.model_dump_json()).key == each.key


@pytest.mark.parametrize("change", [{"steps": 0}, {"learning_rate": -1.0}, {"precision": "fp8"}, {"stpes": 3}])
def test_values_out_of_range_and_unknown_fields_are_refused(change):
    with pytest.raises(ValidationError):
        spec(**change)


def test_a_spec_cannot_be_changed():
    with pytest.raises(ValidationError):
        spec().seed = 1


def test_split_and_seed_of_an_evaluation_are_part_of_its_key():
    base = EvaluationSpec(split="validation", prompts=8, tokens=8, seed=0, pairs=8, beta0=0.1)
    assert len({base.digest(), base.model_copy(update={"split": "test"}).digest(),
                base.model_copy(update={"seed": 1}).digest()}) == 3  # fmt: skip


def evaluation(**changes: object) -> EvaluationSpec:
    return EvaluationSpec(
        split="test", prompts=192, tokens=40, seed=0, pairs=256, beta0=0.1, lm_eval=("blimp",), **changes
    )


def test_the_name_of_an_evaluation_is_pinned():
    assert evaluation().digest() == "8f7d2379afb1b547"


def test_fields_that_came_later_are_neither_hashed_nor_written_at_their_default():
    plain = evaluation()
    judge = JudgedBy(source="here", name="fitted", identity="0" * 64)
    named = evaluation(
        lm_eval_fewshot=5,
        lm_eval_limit=0.5,
        target="win_rate",
        judges=(judge,),
        strong=judge,
        strong_share=0.5,
        content="0" * 64,
        against="m" * 64,
        apply_chat_template=True,
        system_instruction="Be brief.",
        fewshot_as_multiturn=False,
        lm_eval_texts=2,
        ends=(1, 2),
        samples=4,
    )
    assert not EvaluationSpec.later & plain.model_dump().keys()
    assert EvaluationSpec.later <= named.model_dump().keys()
    assert evaluation(lm_eval_limit=None).digest() == plain.digest()
    assert (
        len({each.digest() for each in (plain, named, evaluation(lm_eval_fewshot=5), evaluation(lm_eval_fewshot=0))})
        == 4
    )
    for each in (plain, named):
        assert EvaluationSpec.model_validate_json(each.model_dump_json()) == each


def test_another_reference_and_several_data_sets_are_part_of_the_key_only_where_there_are_any():
    one = spec()
    sets = tuple(SetSpec(source="here", content=name * 64, rows=50) for name in "ab")
    reference = one.model_copy(update={"reference": ModelSpec(source="here", content="r" * 64)})
    several = one.model_copy(update={"data": one.data.model_copy(update={"sets": sets})})
    assert "reference" not in one.model_dump()
    assert len({one.key, reference.key, several.key}) == 3
    for each in (reference, several):
        assert RunSpec.model_validate_json(each.model_dump_json()).key == each.key
        assert RunSpec.model_validate_json(each.model_dump_json().replace("here", "there")).key == each.key

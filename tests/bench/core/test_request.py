"""``--set``: what it accepts, and how it refuses."""

import pytest

from bench.core.request import apply, read_settings
from bench.core.specs import TrainSpec
from bench.errors import UsageError

TRAIN = TrainSpec(steps=10, batch=4, learning_rate=1e-3)


def test_names_find_their_place():
    found = read_settings(["beta=0.05", "lr=1e-4", "train.steps=100", "prompts=32", "micro_batch=2"], params=["beta"])
    assert found.params == {"beta": 0.05}
    assert found.sections["train"] == {"learning_rate": 1e-4, "steps": 100}
    assert found.sections["evaluation"] == {"prompts": 32}
    assert found.sections["execution"] == {"micro_batch": 2}


def test_lora_is_switched_on_by_true_or_by_its_fields():
    assert read_settings(["train.lora=true"], params=[]).sections["train"] == {"lora": True}
    assert read_settings(["lora.rank=4"], params=[]).sections["lora"] == {"rank": 4}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("beta", "no key=value"),
        ("beta=", "no key=value"),
        ("beta=high", "is no number"),
        ("beta=true", "is no number"),
        ("bata=0.1", "did you mean 'beta'"),
        ("train.stpes=3", "did you mean 'train.steps'"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(text, said):
    with pytest.raises(UsageError, match=said):
        read_settings([text], params=["beta"])


@pytest.mark.parametrize("changes", [{"steps": 0}, {"steps": "many"}, {"precision": "fp8"}])
def test_a_value_out_of_range_names_its_field(changes):
    with pytest.raises(UsageError, match=rf"train\.{next(iter(changes))}="):
        apply(TRAIN, changes, section="train")

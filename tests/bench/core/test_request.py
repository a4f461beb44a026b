"""``--set``: what it accepts, and how it refuses."""

import pytest

from bench.core.request import Option, RunRequest, apply, fields_where, read_settings
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
    ("text", "message"),
    [
        ("beta", r"--set must have the form NAME=VALUE \(got 'beta'\)"),
        ("beta=", r"--set must have the form NAME=VALUE \(got 'beta='\)"),
        ("beta=high", r"--set: beta must be a number \(got 'high'\)"),
        ("beta=true", r"--set: beta must be a number \(got 'true'\)"),
        ("bata=0.1", "unknown setting 'bata'\n.*did you mean 'beta'"),
        ("train.stpes=3", "unknown setting 'train.stpes'\n.*did you mean 'train.steps'"),
        ("train.lora=3", "train.lora must be true, false, or an object"),
        (f"steps={2**53 + 1}", "a whole number must be at most"),
    ],
)
def test_a_setting_that_cannot_be_read_is_refused_with_the_reason(text, message):
    with pytest.raises(UsageError, match=message):
        read_settings([text], params=["beta"])


@pytest.mark.parametrize("changes", [{"steps": 0}, {"steps": "many"}, {"precision": "fp8"}])
def test_a_value_out_of_range_names_its_field(changes):
    with pytest.raises(UsageError, match=rf"train\.{next(iter(changes))}="):
        apply(TRAIN, changes, section="train")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trials": 0}, r"--trials: input should be greater than or equal to 1 \(got 0\)"),
        ({"sampler": "grd"}, "unknown sampler 'grd'\n.*did you mean 'grid'"),
        ({"pruner": "halvin"}, "unknown pruner 'halvin'\n.*did you mean 'halving'"),
        ({"patience": -1.0}, r"--patience must be a finite number of seconds ≥ 0 \(got -1\)"),
        ({"lease": 0.5}, r"--lease must be a finite number of seconds ≥ 1 \(got 0.5\)"),
        ({"study": "../x"}, "--study must be a plain file name"),
        ({"workers": "many"}, "--workers must be auto, or a number of processes from 1 to 1024"),
        ({"chat_template": "\udcff"}, "--chat-template: input should be a valid string"),
        ({"colour": "red"}, "--colour: extra inputs are not permitted"),
    ],
)
def test_an_option_that_cannot_be_right_is_refused_by_its_name(options, message):
    with pytest.raises(UsageError, match=message):
        RunRequest.from_options(options)


def test_options_left_out_are_not_set_and_so_replace_nothing():
    base = RunRequest(losses=("dpo",), seeds=3, settings=("beta=1",), results="there")
    typed = RunRequest.from_options({"loss": None, "seeds": 0, "set": ["lr=1e-4"], "data": [], "judge": ()})
    assert typed.model_fields_set == {"seeds", "settings"}
    assert typed.over(base) == RunRequest(losses=("dpo",), seeds=0, settings=("beta=1", "lr=1e-4"), results="there")


def test_ranks_that_were_typed_go_before_those_of_settings():
    base = RunRequest(settings=("execution.processes=8",))
    assert RunRequest(processes=2).over(base).settings == ("execution.processes=8", "execution.processes=2")


def test_a_loss_of_a_file_brings_its_file():
    request = RunRequest.from_options({"loss": "own/mine.py:tilted,dpo+nll(0.2,1),ipo", "loss_file": ["other.py"]})
    assert request.losses == ("tilted", "dpo+nll(0.2,1)", "ipo")
    assert [str(path) for path in request.loss_files] == ["other.py", "own/mine.py"]


def test_every_field_says_who_may_set_it():
    for name, field in RunRequest.model_fields.items():
        assert [type(each) for each in field.metadata].count(Option) == 1, name
    assert set(fields_where(stored=False)) == {"study", "storage", "workers", "resume", "trackers"}
    assert not set(fields_where(recipe=True)) & set(fields_where(stored=False))
    assert fields_where(recipe=True, worker=True) == ["model", "data", "settings"]

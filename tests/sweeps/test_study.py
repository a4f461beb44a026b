"""Checks of the protocol, of opening a storage, and of who may join a study."""

import multiprocessing

import optuna
import pytest
from pydantic import ValidationError

from sweeps.errors import StudyError
from sweeps.protocol import TuningProtocol
from sweeps.study import TERMS, open_study

POINTS = ({"beta": 0.1}, {"beta": 1.0})
FIELDS = {
    "preset": "quick",
    "terms": "0123456789ab",
    "axes": ("beta",),
    "trials": 5,
    "sampler": "grid",
    "seeds": (0,),
    "final_seeds": (1, 2, 3),
    "target": "kl_regularised_reward",
    "direction": "maximize",
    "steps": 200,
    "pairs": None,
}


@pytest.fixture(params=["sqlite", "journal", "log"])
def storage(request, tmp_path):
    return {
        "sqlite": f"sqlite:///{tmp_path}/new/study.db",
        "journal": f"journal:{tmp_path}/new/study",
        "log": f"{tmp_path}/new/study.log",
    }[request.param]


def test_the_hash_of_a_protocol_is_pinned():
    # The first 12 hexadecimal digits of: printf '%s' JSON | sha256sum, with the sorted, compact JSON of FIELDS.
    assert TuningProtocol(**FIELDS).hash == "af4aeac11fa1"


@pytest.mark.parametrize(
    ("field", "value"), [("trials", 6), ("seeds", (9,)), ("steps", 100), ("pairs", 10), ("direction", "minimize")]
)
def test_every_field_enters_the_hash(field, value):
    assert TuningProtocol(**{**FIELDS, field: value}).hash != TuningProtocol(**FIELDS).hash


@pytest.mark.parametrize(
    "change",
    [
        {"sampler": "cma"},
        {"trials": 0},
        {"seeds": ()},
        {"final_seeds": (0, 1)},
        {"seeds": (0, 0)},
        {"extra": 1},
        {"direction": "up"},
    ],
)
def test_a_protocol_refuses_what_is_no_protocol(change):
    with pytest.raises(ValidationError):
        TuningProtocol(**{**FIELDS, **change})


def test_a_protocol_cannot_be_changed():
    with pytest.raises(ValidationError):
        TuningProtocol(**FIELDS).trials = 6


def test_a_study_is_joined_on_the_same_terms(storage):
    protocol = TuningProtocol(**FIELDS)
    first = open_study("s", storage=storage, sampler="grid", seed=1, points=POINTS, protocol=protocol)
    first.add_trial(optuna.trial.create_trial(value=1.0))
    second = open_study("s", storage=storage, sampler="grid", seed=1, points=POINTS, protocol=protocol)
    assert len(second.trials) == 1
    assert second.user_attrs[TERMS]["protocol"]["hash"] == protocol.hash


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"points": POINTS[:1]}, 'points was [{"beta": 0.1}, {"beta": 1.0}], now [{"beta": 0.1}]'),
        ({"direction": "minimize"}, 'direction was "maximize", now "minimize"'),
        ({"sampler": "random"}, 'sampler was "grid", now "random"'),
        ({"seed": 2}, "seed was 1, now 2"),
        ({"protocol": TuningProtocol(**{**FIELDS, "steps": 7})}, "protocol.steps was 200, now 7"),
    ],
)
def test_a_study_made_on_other_terms_is_refused_and_the_difference_told(storage, change, told):
    terms = {"sampler": "grid", "seed": 1, "points": POINTS, "protocol": TuningProtocol(**FIELDS)}
    open_study("s", storage=storage, **terms)
    with pytest.raises(StudyError) as caught:
        open_study("s", storage=storage, **{**terms, **change})
    assert told in caught.value.problem
    assert "study name" in caught.value.fix


def test_a_study_of_another_program_is_refused(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    optuna.create_study(study_name="s", storage=url).add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(StudyError, match="another program made it"):
        open_study("s", storage=url, sampler="grid", seed=1)


@pytest.mark.parametrize(
    ("storage", "told"),
    [("study.db", "neither a URL nor a journal file"), ("nosuch://server/db", "does not open"), ("", "neither a URL")],
)
def test_a_storage_that_does_not_open_is_told(storage, told):
    with pytest.raises(StudyError, match=told) as caught:
        open_study("s", storage=storage, sampler="grid", seed=1)
    assert caught.value.fix


def test_a_journal_path_that_is_a_folder_is_told(tmp_path):
    with pytest.raises(StudyError, match="does not open"):
        open_study("s", storage=f"journal:{tmp_path}", sampler="grid", seed=1)


def test_a_password_is_never_shown():
    with pytest.raises(StudyError) as caught:
        open_study("s", storage="nosuch://me:hunter2@server/db", sampler="grid", seed=1)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def _open(storage, start):
    start.wait()
    return open_study("s", storage=storage, sampler="grid", seed=1, points=POINTS).user_attrs[TERMS]["seed"]


def _open_in_process(storage, start, results):
    results.put(_open(storage, start))


def test_many_processes_open_a_new_study_at_once(storage):
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(4), context.Queue()
    workers = [context.Process(target=_open_in_process, args=(storage, start, results)) for _ in range(4)]
    for worker in workers:
        worker.start()
    assert [results.get(timeout=60) for _ in workers] == [1, 1, 1, 1]
    for worker in workers:
        worker.join()

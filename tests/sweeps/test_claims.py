"""Writes that are made twice because an answer was lost: one claim, one result, whoever looks and whenever."""

import time

import optuna
import pytest
from optuna.distributions import FloatDistribution

from sweeps.claims import OUTCOME, SLOT, TOKEN, WORKER, Board, look, settle
from sweeps.heartbeat import BEAT, worker_id
from sweeps.outcome import Outcome
from sweeps.study import open_study
from sweeps.worker import join_study, settled, take

POINTS = ({"beta": 0.1}, {"beta": 1.0})
KEY = '{"beta": 0.1}'
DONE = Outcome("completed", 0.5, "run", None)


@pytest.fixture(params=["sqlite", "journal"])
def study(request, tmp_path):
    storage = f"sqlite:///{tmp_path}/study.db" if request.param == "sqlite" else f"{tmp_path}/study.log"
    return open_study("s", storage=storage, sampler="grid", seed=1, points=POINTS)


def add(study, *, token, worker="elsewhere:1:1", slot=KEY, **attributes):
    study.add_trial(
        optuna.trial.create_trial(
            state=optuna.trial.TrialState.RUNNING,
            params=POINTS[0],
            distributions={"beta": FloatDistribution(0.1, 1.0)},
            user_attrs={SLOT: slot, WORKER: worker, BEAT: time.time(), TOKEN: token, **attributes},
        )
    )
    return study.trials[-1]


def board_of(study):
    board = Board()
    look(board, study.get_trials(deepcopy=False), retried=frozenset())
    return board


def completed(_params, _number):
    return DONE


def test_of_two_trials_with_one_token_the_first_is_the_claim_and_the_other_is_taken_back(study):
    first, echo = add(study, token="t"), add(study, token="t")
    join_study(study, points=POINTS)
    assert study.trials[echo.number].user_attrs[OUTCOME]["status"] == "withdrawn"
    assert board_of(study).holders[KEY].number == first.number
    assert study.trials[first.number].state.name == "RUNNING"


def test_an_echo_is_no_second_death(study):
    first, echo = add(study, token="t"), add(study, token="t")
    for trial in (first, echo):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    assert KEY not in board_of(study).holders
    add(study, token="u")
    study.tell(2, state=optuna.trial.TrialState.FAIL)
    assert board_of(study).holders[KEY].number == 2  # two workers died here, and that is told


def test_an_echo_that_arrives_after_the_result_changes_nothing(study):
    sweep = join_study(study, points=POINTS)
    assert take(sweep, completed)
    assert take(sweep, completed)
    before = settled(sweep)
    add(study, token=study.trials[0].user_attrs[TOKEN], worker=worker_id())
    assert settled(sweep) == before
    assert settled(join_study(study, points=POINTS)) == before


def test_a_result_that_is_stored_twice_is_kept_and_another_one_is_not(study):
    sweep = join_study(study, points=POINTS)
    trial = add(study, token="t", worker=worker_id())
    assert settle(sweep.ledger, trial, DONE)
    assert settle(sweep.ledger, trial, DONE)
    assert not settle(sweep.ledger, trial, Outcome("completed", 0.7, "run", None))
    assert study.trials[trial.number].value == 0.5


def test_all_readers_agree_on_a_slot_that_failed_for_one_and_was_tried_again_by_another(study):
    first = join_study(study, points=POINTS)
    assert take(first, lambda _params, _number: Outcome("failed", None, "run", "no"))
    assert board_of(study).is_settled(KEY)
    second = join_study(study, points=POINTS)
    while take(second, completed):
        pass
    while take(first, completed):
        pass
    assert settled(first) == settled(second)
    assert {result.status for result in settled(first)} == {"completed"}

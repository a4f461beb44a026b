"""The installed Optuna has the private names of ``sweeps.compat``."""

import optuna

from sweeps.compat import cached_storage, storage_of, study_id, trial_id


def test_private_names_of_optuna_are_what_the_sweeps_take_them_for(tmp_path):
    storage = cached_storage(optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/study.db"))
    optuna.create_study(study_name="first", storage=storage).ask()
    study = optuna.create_study(study_name="second", storage=storage)
    study.ask()
    assert storage_of(study) is storage
    assert storage.get_study_name_from_id(study_id(study)) == "second"
    (trial,) = study.trials
    assert storage.get_trial_id_from_study_id_trial_number(study_id(study), trial.number) == trial_id(trial)
    assert trial_id(trial) != storage.get_trial_id_from_study_id_trial_number(
        storage.get_study_id_from_name("first"), 0
    )

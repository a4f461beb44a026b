"""The private names of other libraries, in the versions that are installed."""

import inspect

from lm_eval.api.model import TemplateLM
from lm_eval.models.huggingface import HFLM
from transformers import GPT2Config, GPT2LMHeadModel

from bench.evaluate import compat
from bench.evaluate.judges.length_control import NAME
from bench.evaluate.tasks.local_tasks import lm_eval_tasks


def test_the_model_of_lm_eval_is_scored_by_the_method_that_is_overridden():
    method = getattr(HFLM, compat.HFLM_SCORING)
    assert list(inspect.signature(method).parameters) == ["self", "requests", "disable_tqdm", "override_bs"]
    assert f"self.{compat.HFLM_SCORING}(" in inspect.getsource(TemplateLM.loglikelihood)


def test_a_models_attention_is_read_and_changed():
    config = GPT2Config(n_layer=1, n_head=1, n_embd=4, vocab_size=8, n_positions=8, attn_implementation="eager")
    model = GPT2LMHeadModel(config)
    assert compat.attention_of(model.config) == "eager"
    assert compat.supports_sdpa(model)
    model.set_attn_implementation("sdpa")
    assert compat.attention_of(model.config) == "sdpa"


def test_a_task_file_is_read_with_what_it_includes_and_its_functions_by_name():
    task = compat.load_task_yaml(lm_eval_tasks() / "arc" / "arc_challenge.yaml")
    assert (task["task"], task["output_type"]) == ("arc_challenge", "multiple_choice")
    hellaswag = compat.load_task_yaml(lm_eval_tasks() / "hellaswag" / "hellaswag.yaml")
    assert callable(compat.import_task_function(hellaswag["process_docs"]))


def test_alpaca_evals_length_control_has_its_settings_and_functions():
    module = compat.length_control_module()
    assert {"formula", "regularize_to_baseline_lambda", "kwargs"} <= module.GLM_INFO[NAME].keys()
    for name in ("make_dmatrix_for_model", "fit_LogisticRegressionCV", "get_is_extreme_changes"):
        assert callable(getattr(module, name))

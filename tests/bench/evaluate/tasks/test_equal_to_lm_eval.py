"""Every text and every log-likelihood beside lm-eval's own, on small models of many kinds."""

from pathlib import Path

import datasets
import pytest
import torch
from transformers import Phi3Config, Phi3ForCausalLM

from bench.errors import UsageError
from bench.evaluate.tasks.load import ready_tasks
from bench.evaluate.tasks.loglikelihood import longest_alike
from bench.evaluate.tasks.prompts import Prompting
from bench.evaluate.tasks.run import lm_eval_results, metrics_of
from bench.models.loading import load_model, load_tokenizer
from bench.utils.isolation import quiet, same_generators
from tests.bench.evaluate.tasks.tiny_models import MODELS, NO_SYSTEM, save_model, tokenizer_of, write_tasks

NEAR = 2e-4
"""Nats: sums of float32 log-probs in another order."""


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
        patch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", folder)
        yield


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    folder = tmp_path_factory.mktemp("few")
    return folder, write_tasks(folder, count=6)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    return folder, write_tasks(folder, count=24)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    made: dict[str, Path] = {}
    return lambda name: made.setdefault(name, save_model(name, folder) if name not in made else made[name])


def by_lm_eval(model: Path, include: Path, tasks, **options):
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    with quiet(), same_generators():
        return simple_evaluate(
            model=HFLM(pretrained=str(model), dtype="float32", device="cpu", batch_size=1), tasks=list(tasks),
            task_manager=TaskManager(include_path=include, include_defaults=False), **options,
        )  # fmt: skip


def by_us(model: Path, include: Path, tasks, *, num_fewshot=None, **options):
    tokenizer = load_tokenizer(model)
    ready = ready_tasks(
        tasks, include=include, num_fewshot=num_fewshot, prompting=Prompting(**options), tokenizer=tokenizer
    )
    return lm_eval_results(load_model(model), tokenizer, ready, batch=5)


def differences(ours, theirs) -> dict[str, int]:
    """How many documents of each task have another text, or a log-likelihood further away than ``NEAR``."""
    count = {}
    for task, rows in theirs["samples"].items():
        pairs = list(zip(ours["samples"][task], rows, strict=True))
        assert [row["arguments"] for row, _ in pairs] == [row["arguments"] for _, row in pairs]
        count[task] = sum(not equal(mine["resps"], row["resps"]) for mine, row in pairs)
    return count


def equal(mine, theirs) -> bool:
    if isinstance(theirs, list | tuple) and not isinstance(theirs, str):
        return len(mine) == len(theirs) and all(map(equal, mine, theirs))
    return mine == theirs if not isinstance(theirs, float) else abs(mine - theirs) <= NEAR


def assert_metrics(ours, theirs):
    for metric in metrics_of(ours):
        name, _, filtered = metric.name.partition(",")
        expected = theirs["results"][metric.task][f"{name},{filtered or 'none'}"]
        assert metric.value == pytest.approx(expected, abs=1e-5, rel=1e-5), metric


@pytest.mark.parametrize("name", MODELS)
def test_texts_log_likelihoods_and_metrics_are_lm_evals(name, saved, few):
    folder, tasks = few
    ours, notes = by_us(saved(name), folder, tasks)
    theirs = by_lm_eval(saved(name), folder, tasks)
    assert differences(ours, theirs) == dict.fromkeys(tasks, 0)
    assert_metrics(ours, theirs)
    assert not notes
    texts = {row["resps"][0][0] for task in tasks[:8] for row in theirs["samples"][task]}
    assert len(texts) > 12


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_all_texts_of_eight_tasks_are_lm_evals(name, saved, many):
    folder, tasks = many
    ours, _ = by_us(saved(name), folder, tasks, num_fewshot=2)
    theirs = by_lm_eval(saved(name), folder, tasks, num_fewshot=2)
    assert differences(ours, theirs) == dict.fromkeys(tasks, 0)
    assert_metrics(ours, theirs)


def test_what_is_not_greedy_is_drawn_as_lm_eval_draws_it(saved, few, tmp_path):
    folder, _ = few
    text = (folder / "tiny_plain.yaml").read_text().replace("tiny_plain", "tiny_drawn")
    (tmp_path / "drawn.yaml").write_text(text.replace("do_sample: false", "do_sample: true, temperature: 0.9"))
    (tmp_path / "plain.yaml").write_text((folder / "tiny_plain.yaml").read_text())
    tasks = ("tiny_plain", "tiny_drawn")
    ours, _ = by_us(saved("bos"), tmp_path, tasks)
    theirs = by_lm_eval(saved("bos"), tmp_path, tasks)
    assert differences(ours, theirs) == dict.fromkeys(tasks, 0)
    greedy, drawn = (ours["samples"][task] for task in tasks)
    assert [row["resps"] for row in greedy] != [row["resps"] for row in drawn]


def test_a_model_that_reads_a_text_by_the_longest_one_of_its_batch_is_given_one_at_a_time(few, tmp_path):
    folder, _ = few
    tasks = ("tiny_plain", "tiny_choice", "tiny_rolling")
    shape = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "max_position_embeddings": 96, "original_max_position_embeddings": 24,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "vocab_size": 400,
    }  # fmt: skip
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 8, "long_factor": [4.0] * 8}
    torch.manual_seed(0)
    model = Phi3ForCausalLM(Phi3Config(**shape, rope_parameters={**rope, "original_max_position_embeddings": 24}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(12.0 if parameter.ndim > 1 else 1.0)
    model.save_pretrained(tmp_path / "model")
    tokenizer_of("bytes", bos=True).save_pretrained(tmp_path / "model")
    assert longest_alike(model.config) == 24
    ours, notes = by_us(tmp_path / "model", folder, tasks)
    assert differences(ours, by_lm_eval(tmp_path / "model", folder, tasks)) == dict.fromkeys(tasks, 0)
    assert all("beyond 24 tokens" in note for note in notes)
    assert len(notes) == 2


def test_a_model_that_reads_batches_otherwise_is_left_to_lm_evals_own_way(saved, few):
    """Its own forward pass adds to every position where a batch has more than one row: no threshold says so."""
    folder, _ = few
    tasks = ("tiny_plain", "tiny_choice")
    model, tokenizer = load_model(saved("bos")), load_tokenizer(saved("bos"))

    def shifted(module, arguments, states):
        return states * (1 + 0.5 * (len(states) - 1))

    model.model.norm.register_forward_hook(shifted)
    model.model.embed_tokens.register_forward_hook(
        lambda module, arguments, states: states + (0.5 * states.flip(-1) if len(states) > 1 else 0.0)
    )
    ready = ready_tasks(tasks, include=folder)
    ours, notes = lm_eval_results(model, tokenizer, ready, batch=5)
    theirs = by_lm_eval(saved("bos"), folder, tasks)
    assert differences(ours, theirs) == dict.fromkeys(tasks, 0)
    assert any("texts by lm-eval's own way" in note for note in notes)
    assert any("log-likelihoods by lm-eval's own way" in note for note in notes)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"system_instruction": "Be brief."},
        {"system_instruction": "Be brief.", "fewshot_as_multiturn": False},
        {"fewshot_as_multiturn": True},
    ],
)
def test_a_chat_template_asks_as_lm_evals_own_options_do(options, saved, few):
    folder, _ = few
    tasks, settings = ("tiny_special", "tiny_choice"), {"apply_chat_template": True, "num_fewshot": 2, **options}
    ours, _ = by_us(saved("template"), folder, tasks, **settings)
    theirs = by_lm_eval(saved("template"), folder, tasks, **settings)
    assert differences(ours, theirs) == dict.fromkeys(tasks, 0)
    assert_metrics(ours, theirs)
    prompt = ours["samples"]["tiny_special"][0]["arguments"][0][0]
    assert prompt.count("<|im_start|>user") == (1 if options.get("fewshot_as_multiturn") is False else 3)
    assert ("Be brief." in prompt) == ("system_instruction" in options)


def test_a_system_instruction_without_a_template_comes_before_the_description(saved, few):
    folder, _ = few
    ours, _ = by_us(saved("bos"), folder, ("tiny_choice",), system_instruction="Be brief.")
    theirs = by_lm_eval(saved("bos"), folder, ("tiny_choice",), system_instruction="Be brief.")
    assert differences(ours, theirs) == {"tiny_choice": 0}
    assert ours["samples"]["tiny_choice"][0]["arguments"][0][0].startswith("Be brief.\n\nSay which.")


def test_a_template_without_a_system_role_is_reported_where_an_instruction_is_lost(saved, few):
    folder, _ = few
    tokenizer = load_tokenizer(saved("template"))
    tokenizer.chat_template = NO_SYSTEM
    prompting = Prompting(apply_chat_template=True, system_instruction="Be brief.")
    ready = ready_tasks(("tiny_choice",), include=folder, prompting=prompting, tokenizer=tokenizer)
    assert [finding.problem for finding in ready.notices] == ["template"]
    assert "shows no system message" in ready.notices[0].text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"apply_chat_template": True}, "tokenizer has no chat template"),
        ({"fewshot_as_multiturn": True}, "only where a chat template is applied"),
    ],
)
def test_options_that_cannot_be_followed_are_refused(options, message, saved, few):
    with pytest.raises(UsageError, match=message):
        by_us(saved("bos"), few[0], ("tiny_choice",), **options)

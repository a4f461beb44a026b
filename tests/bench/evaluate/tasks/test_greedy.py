"""Greedy generation until a stop string, against lm-eval's own and against a text that is known."""

import copy
import random
from types import SimpleNamespace

import pytest
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils_hf import stop_sequences_criteria

from bench.errors import UsageError
from bench.evaluate.tasks.greedy import Until, continue_greedily, is_plain_greedy, stop_criteria
from bench.evaluate.tasks.hflm import BranchingLM
from bench.models.loading import load_model, load_tokenizer
from bench.utils.isolation import quiet
from tests.bench.evaluate.tasks.documents import STORIES
from tests.bench.evaluate.tasks.tiny_models import tokenizer_of

STARTS = [
    "Once upon a time",
    "Lily",
    "The big dog saw a ball. He",
    "One day, a boy named Tim went to the",
    "A",
    "Mom said,",
]


@pytest.fixture(scope="module")
def stories():
    return load_model(STORIES), load_tokenizer(STORIES)


def requests(contexts, **settings):
    return [SimpleNamespace(args=(context, copy.deepcopy(settings))) for context in contexts]


def generated(kind, model, tokenizer, contexts, *, batch, **settings):
    with quiet(), torch.no_grad():
        lm = kind(pretrained=model, tokenizer=tokenizer, batch_size=batch)
        return lm.generate_until(requests(contexts, **settings), disable_tqdm=True)


def test_the_text_is_the_one_that_llama2c_prints(stories):
    model, tokenizer = stories
    until = Until(max_tokens=256, ends=frozenset([1]), stops=())
    texts = continue_greedily(model, [[1], [1]], until, tokenizer=tokenizer, batch=2, progress=lambda count: None)
    assert texts == [(STORIES / "golden.txt").read_text(encoding="utf-8")] * 2


@pytest.mark.parametrize(
    "settings",
    [
        {"until": ["."], "max_gen_toks": 40},
        {"until": ["\n", "said"], "max_gen_toks": 60, "do_sample": False, "temperature": 0.0},
        {"until": "play with", "max_gen_toks": 40},
        {"until": [], "max_gen_toks": 50},
        {"until": ["ll. She", "ball"], "max_gen_toks": 50},
        {"until": ["No such text"], "max_new_tokens": 23},
    ],
)
def test_texts_are_those_of_lm_evals_own_model(settings, stories):
    ours = generated(BranchingLM, *stories, STARTS, batch=4, **settings)
    assert ours == generated(HFLM, *stories, STARTS, batch=1, **settings)
    assert len(set(ours)) > 2


def test_a_context_longer_than_the_models_loses_its_beginning(stories):
    long = " ".join(STARTS * 30)
    settings = {"until": ["."], "max_gen_toks": 40}
    assert generated(BranchingLM, *stories, [long, "Tim"], batch=2, **settings) == generated(
        HFLM, *stories, [long, "Tim"], batch=1, **settings
    )


@pytest.mark.parametrize("name", ["policy", "gpt2", "eager", "sliding", "bloom", "recurrent"])
def test_every_kind_of_model_generates_as_lm_evals_own(name, request, make_llama, tokenizer):
    model = request.getfixturevalue(name)
    small = lambda ids: [token % 13 for token in ids]  # noqa: E731
    prompts = [small(range(1, length)) for length in (3, 9, 9, 5, 14)]
    until = Until(max_tokens=20, ends=frozenset([0]), stops=())
    ours = continue_greedily(model, prompts, until, tokenizer=tokenizer, batch=4, progress=lambda count: None)
    theirs = []
    for prompt in prompts:
        with torch.no_grad():
            ids = model.generate(
                torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), do_sample=False, max_new_tokens=20,
                pad_token_id=0,
            )  # fmt: skip
        theirs.append(tokenizer.decode(ids[0, len(prompt) :], skip_special_tokens=True))
    assert ours == theirs


@pytest.mark.parametrize("kind", ["bytes", "marked"])
def test_a_stop_string_ends_a_row_at_the_token_at_which_lm_evals_own_criteria_end_it(kind):
    tokenizer = tokenizer_of(kind, bos=True)
    draw = random.Random(0)
    vocabulary = len(tokenizer)
    ended = 0
    for trial in range(150):
        ids = [draw.randrange(vocabulary) if draw.random() < 0.7 else draw.randrange(5) for _ in range(14)]
        text = tokenizer.decode(ids if trial % 2 else ids[::-1])
        begin = draw.randrange(len(text))
        stops = [text[begin : begin + draw.randint(1, 9)], draw.choice(["</s>", "<|im_end|>s", " ", "\ufffd", "é"])]
        theirs = stop_sequences_criteria(tokenizer, stops, 0, 1)
        expected = next(
            (end for end in range(1, 15) if bool(torch.as_tensor(theirs(torch.tensor([ids[:end]]), None)).all())), None
        )
        criteria, after = stop_criteria(stops, tokenizer), draw.randrange(4)
        if expected is None or expected > after:
            assert criteria.first_end(ids, after=after) == expected, (trial, stops, ids)
        assert criteria.first_end(ids, after=0) == expected, (trial, stops, ids)
        ended += expected is not None
    assert 75 <= ended < 150


def test_a_row_stops_soon_after_its_stop_string(stories):
    model, tokenizer = stories
    steps = []
    hook = model.model.register_forward_hook(lambda *arguments: steps.append(1))
    generated(BranchingLM, model, tokenizer, ["Once upon a time"], batch=1, until=["there"], max_gen_toks=200)
    hook.remove()
    assert len(steps) < 40


def test_settings_of_the_model_that_change_greedy_decoding_are_left_to_lm_eval(stories):
    model, tokenizer = copy.deepcopy(stories[0]), stories[1]
    assert is_plain_greedy(model)
    for name, plain, other in (
        ("no_repeat_ngram_size", 0, 1),
        ("forced_eos_token_id", None, 0),
        ("min_new_tokens", 0, 1),
        ("cache_implementation", "hybrid", "quantized"),
        ("a_setting_of_next_year", None, 0.5),
        ("temperature", 0.6, 0.6),
    ):
        for value in (plain, other):
            setattr(model.generation_config, name, value)
            assert is_plain_greedy(model) == (value == plain), name
        setattr(model.generation_config, name, None)
    model.generation_config.repetition_penalty = 1.0
    assert is_plain_greedy(model)
    model.generation_config.repetition_penalty = 1.5
    assert not is_plain_greedy(model)
    settings = {"until": [], "max_gen_toks": 40}
    ours = generated(BranchingLM, model, tokenizer, STARTS[:2], batch=1, **settings)
    assert ours == generated(HFLM, model, tokenizer, STARTS[:2], batch=1, **settings)
    assert ours != generated(BranchingLM, *stories, STARTS[:2], batch=1, **settings)


def test_more_tokens_than_the_context_holds_are_refused(stories):
    with pytest.raises(UsageError, match="generates 512 tokens; the model's context has 512"):
        generated(BranchingLM, *stories, ["A"], batch=1, until=[], max_gen_toks=512)


def test_every_request_is_reported_once(stories):
    model, tokenizer = stories
    counts = []
    with quiet():
        lm = BranchingLM(pretrained=model, tokenizer=tokenizer, batch_size=2)
    lm.progress = counts.append
    lm.generate_until(requests(STARTS, until=["."], max_gen_toks=8))
    assert sum(counts) == len(STARTS)

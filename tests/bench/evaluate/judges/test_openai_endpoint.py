"""The judge behind an address, against a real server: its verdicts, its failures, its costs."""

import json
import threading
import time

import pytest

from bench.errors import RunError, UsageError
from bench.evaluate.judges.annotate import annotate, outcomes
from bench.evaluate.judges.answers import PairedAnswers
from bench.evaluate.judges.base import AnswerPair
from bench.evaluate.judges.config import JudgeSpec
from bench.evaluate.judges.factory import judge_of
from tests.bench.evaluate.judges.models import ANSWERS, chat_model, template_file
from tests.bench.evaluate.judges.server import completion, serving

PAIR = AnswerPair(instruction="What is red?", first="a rose", second="the sea")


def judge_at(server, **fields):
    return judge_of(JudgeSpec.model_validate({"kind": "api", "model": "m", "url": server.url, "retries": 2} | fields))


def verdicts(server, pairs=(PAIR,), **fields):
    return dict(judge_at(server, **fields).compare(list(pairs)))


def response(text, **more):
    return lambda body, number: (200, completion(text, **more))


def test_the_words_m_and_capital_m_name_the_first_and_the_second_answer():
    for text, value in (
        ("m", 1.0),
        ("M", 0.0),
        ('"m".', 1.0),
        ("The best model is: M.", 0.0),
        ("<think>M or m?</think>\nM", 0.0),
    ):
        with serving(response(text)) as server:
            assert verdicts(server)[0].first_better == value


def test_probabilities_of_the_first_token_are_the_verdict_where_the_server_gives_them():
    chances = {"M": -0.5, "m": -1.5, "x": -3.0}
    with serving(response("M", chances=chances)) as server:
        verdict = verdicts(server)[0]
        assert server.bodies[0]["top_logprobs"] == 5
    assert verdict.first_better == pytest.approx(1 / (1 + 2.718281828459045))
    assert verdict.mass == pytest.approx(0.6065306 + 0.2231301)
    # AlpacaEval's own judge is asked what AlpacaEval asks
    prompt = server.bodies[0]["messages"]
    assert [message["role"] for message in prompt] == ["system", "user"]
    assert '"output": """a rose"""' in prompt[1]["content"]


def test_an_endpoint_says_what_the_same_model_says_in_this_process(tmp_path):
    """The server runs the suite's model; its probabilities are those of the local judge."""
    import torch

    folder = chat_model(tmp_path / "model")
    fields = {"template": str(template_file(tmp_path)), "answers": ANSWERS}
    local = judge_of(JudgeSpec.model_validate({"kind": "lm", "folder": folder, **fields}))
    from bench.evaluate.judges.loading import local_causal

    model, tokenizer = local_causal(folder)

    def answer(body, number):
        text = "".join(message["content"] for message in body["messages"])
        ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]], device=model.device)
        with torch.no_grad():
            chances, tokens = model(ids).logits[0, -1].log_softmax(-1).sort(descending=True)
        words = {tokenizer.decode([token]): float(chance) for chance, token in zip(chances, tokens, strict=True)}
        return 200, completion(next(iter(words)), chances=words)

    pairs = [
        AnswerPair(instruction="This movie was", first=first, second=second)
        for first, second in ((" wonderful", " awful"), (" awful", " wonderful"), (" dull", " a joy"))
    ]
    with serving(answer) as server:
        there = verdicts(server, pairs, **fields)
    here = dict(local.compare(pairs))
    for number in here:
        assert there[number].first_better == pytest.approx(here[number].first_better, abs=1e-5)
        assert there[number].mass == pytest.approx(here[number].mass, abs=1e-5)
    assert here[0].first_better > here[1].first_better


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_request_that_fails_is_repeated(status):
    with serving(lambda body, number: (status, {}) if number < 2 else (200, completion("m"))) as server:
        assert verdicts(server)[0].first_better == 1.0
        assert len(server.bodies) == 3


@pytest.mark.parametrize("status", [429, 500])
def test_a_server_that_only_fails_is_reported_by_its_error_and_retried_a_few_times_only(status):
    with serving(lambda body, number: (status, {"error": {"message": "too busy"}})) as server:
        verdict = verdicts(server)[0]
        assert len(server.bodies) == 3
    assert (verdict.outcome, verdict.first_better) == ("failed", None)
    assert "too busy" in verdict.text


def test_a_server_that_hangs_is_abandoned_after_the_timeout():
    with serving(lambda body, number: ("hang", None)) as server:
        started = time.monotonic()
        verdict = verdicts(server, timeout=0.3, retries=0)[0]
        assert time.monotonic() - started < 10
    assert verdict.outcome == "failed"
    assert "Timeout" in verdict.text


@pytest.mark.parametrize("content", [b'{"choices": [', b"<html>gateway</html>", b'{"choices": []}', b"[]", b"null"])
def test_a_malformed_response_is_requested_once_more_and_then_counted(content):
    with serving(lambda body, number: (200, content)) as server:
        assert verdicts(server)[0].outcome == "failed"
        assert len(server.bodies) == 2
    with serving(lambda body, number: (200, content if number == 0 else completion("M"))) as server:
        assert verdicts(server)[0].first_better == 0.0


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (completion("I cannot choose."), "malformed"),
        (completion("mM"), "malformed"),
        (completion("m or M"), "malformed"),
        (completion("I'm not sure"), "malformed"),
        (completion(None, refusal="I will not judge this."), "refused"),
        (completion("", finish="content_filter"), "refused"),
        (completion("  "), "refused"),
        (completion("", finish="length"), "malformed"),
    ],
)
def test_refusals_and_irrelevant_answers_are_distinguished_and_never_become_a_preference(answer, outcome):
    with serving(lambda body, number: (200, answer)) as server:
        verdict = verdicts(server)[0]
    assert (verdict.outcome, verdict.first_better) == (outcome, None)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_address_or_model_stops_at_once(status):
    with (
        serving(lambda body, number: (status, {"error": {"message": "no"}})) as server,
        pytest.raises(RunError, match="check url, model and key_env"),
    ):
        verdicts(server, [PAIR] * 50, concurrency=2)
    assert len(server.bodies) <= 6


def test_a_server_without_probabilities_is_judged_by_its_words():
    def answer(body, number):
        if "logprobs" in body:
            return 400, {"error": {"message": "logprobs is not supported"}}
        return 200, completion("M")

    with serving(answer) as server:
        by_number = verdicts(server, [PAIR] * 3, concurrency=1)
        assert [by_number[n].first_better for n in range(3)] == [0.0] * 3
        assert len(server.bodies) == 4  # it is found out once


def test_many_failures_in_a_row_end_it_and_what_was_judged_is_kept(tmp_path):
    pairs = PairedAnswers(
        model="mine", baseline="base", index=tuple(range(40)), instructions=("q",) * 40,
        outputs=tuple(f"a{n}" for n in range(40)), references=("b",) * 40, left_out=0,
    )  # fmt: skip
    broken = threading.Event()

    def answer(body, number):
        return (400, {"error": {"message": "down"}}) if number >= 20 and not broken.is_set() else (200, completion("m"))

    with serving(answer) as server:
        judge = judge_at(server, concurrency=2)
        with pytest.raises(RunError, match="in a row"):
            annotate(judge, pairs, cache=tmp_path / "cache")
        assert len(list((tmp_path / "cache").rglob("*.json"))) == 20
        broken.set()
        before = len(server.bodies)
        again = annotate(judge, pairs, cache=tmp_path / "cache")
        assert len(server.bodies) - before == 20
    assert outcomes(again) == {"judged": 40}


def test_concurrent_requests_reach_the_limit_and_never_exceed_it():
    def answer(body, number):
        time.sleep(0.05)
        return 200, completion("m")

    with serving(answer) as server:
        verdicts(server, [AnswerPair(instruction=str(n), first="a", second="b") for n in range(12)], concurrency=3)
        assert server.most == 3


def test_the_key_is_sent_where_it_was_meant_for_and_nothing_else_of_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-mine")
    monkeypatch.setenv("MY_KEY", "sk-mine")
    with serving(response("m")) as server:
        verdicts(server)
        verdicts(server, key_env="MY_KEY")
    headers = [{name.lower(): value for name, value in sent.items()} for sent in server.headers]
    assert "sk-openai" not in json.dumps(headers)
    assert "org-mine" not in json.dumps(headers)
    assert headers[1]["authorization"] == "Bearer sk-mine"
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(UsageError, match="MY_KEY is not set"):
        judge_at(server, key_env="MY_KEY")
    # what names a verdict on disk does not hold the key either
    monkeypatch.setenv("MY_KEY", "another")
    first = judge_at(server, key_env="MY_KEY").identity
    monkeypatch.setenv("MY_KEY", "sk-mine")
    assert judge_at(server, key_env="MY_KEY").identity == first


def test_the_cost_is_known_before_any_request():
    with serving(response("m")) as server:
        judge = judge_at(server, price_in=10.0, price_out=30.0, max_tokens=4)
        prompts = [judge.prompt(PAIR)] * 3
        cost = judge.cost(prompts, judge.limit)
        assert not server.bodies
    characters = sum(len(text) for _, text in prompts[0])
    assert cost.requests == 3
    assert cost.completion_tokens == 12
    assert cost.prompt_tokens == pytest.approx(3 * (characters / 4 + 8), abs=3)
    assert cost.money == pytest.approx((cost.prompt_tokens * 10 + 12 * 30) / 1e6)
    assert judge_at(server).cost(prompts, 1).money is None

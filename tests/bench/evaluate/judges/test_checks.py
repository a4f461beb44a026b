"""What is refused or reported of judges before anything is asked: contexts that are too short."""

import pytest

from bench.errors import UsageError
from bench.evaluate.judges.base import AnswerPair
from bench.evaluate.judges.checks import check_window, notes_on_length
from bench.evaluate.judges.config import JudgeSpec
from bench.evaluate.judges.factory import judge_of
from bench.evaluate.judges.templates import fill_template, prompt_ids, template_of
from bench.models.loading import load_tokenizer
from bench.suites.chat.held_out import EvaluationPrompts
from bench.suites.chat.judges import check_judges
from tests.bench.evaluate.judges.models import ANSWERS, chat_model, template_file
from tests.bench.evaluate.judges.server import completion, serving

SPLIT = EvaluationPrompts(prompts=((1,),), instructions=("This movie was",), held_out=())
INSTRUCTIONS = ["This movie was", "The actors in this film were as good as they could be and"]


@pytest.fixture
def judge(tmp_path):
    folder = chat_model(tmp_path / "model", context=100)
    return judge_of(JudgeSpec(kind="lm", folder=folder, template=str(template_file(tmp_path)), answers=ANSWERS))


def longest(judge, tmp_path):
    tokenizer = load_tokenizer(tmp_path / "model")
    template = template_of(str(template_file(tmp_path)), answers=ANSWERS)
    return max(
        len(prompt_ids(tokenizer, fill_template(template, AnswerPair(instruction=text, first="", second="")))) + 1
        for text in INSTRUCTIONS
    )


def test_a_judge_fits_up_to_the_last_token_and_is_refused_with_what_would_fit(judge, tmp_path):
    most = (100 - longest(judge, tmp_path)) // 2
    check_window(judge, INSTRUCTIONS, tokens=most, answers=[], lengths=[])
    with pytest.raises(UsageError, match=rf"2 answers of {most + 1} tokens .*has 100") as refused:
        check_window(judge, INSTRUCTIONS, tokens=most + 1, answers=[], lengths=[])
    assert f"--set evaluation.tokens={most}" in str(refused.value)


def test_answers_are_counted_in_the_judges_own_tokens(judge, tmp_path):
    """A policy whose tokens are half as many as the judge's: two of the judge's for each."""
    answers = [" wonderful and long"] * 4
    tokens = len(load_tokenizer(tmp_path / "model")(answers[0], add_special_tokens=False)["input_ids"])
    room = (100 - longest(judge, tmp_path)) // 2
    check_window(judge, INSTRUCTIONS, tokens=room // 2 - 1, answers=answers, lengths=[tokens / 2] * 4)
    with pytest.raises(UsageError, match="its context has 100"):
        check_window(judge, INSTRUCTIONS, tokens=room // 2 + 1, answers=answers, lengths=[tokens / 2] * 4)


def test_an_endpoint_is_checked_where_its_context_is_stated():
    spec = {"kind": "api", "model": "m", "url": "http://localhost:1/v1"}
    check_window(judge_of(JudgeSpec.model_validate(spec)), INSTRUCTIONS, tokens=10**6, answers=[], lengths=[])
    stated = judge_of(JudgeSpec.model_validate({**spec, "context": 512}))
    with pytest.raises(UsageError, match="its context has 512"):
        check_window(stated, INSTRUCTIONS, tokens=256, answers=[], lengths=[])


def test_the_context_that_a_server_lists_is_found(tmp_path):
    with serving(lambda body, number: (200, completion("m"))) as server:
        judge = judge_of(JudgeSpec(kind="api", model="m", url=server.url, retries=0))
        assert judge.find_window() is None
        server.models = [{"id": "m", "object": "model", "created": 0, "owned_by": "us", "max_model_len": 512}]
        assert judge.find_window().context == 512
        with pytest.raises(UsageError, match=r"judge m: .* its context has 512"):
            check_judges([judge], [SPLIT], tokens=256, tokenizer=None)
        server.models[0]["id"] = "another"
        check_judges([judge], [SPLIT], tokens=256, tokenizer=None)
        assert server.bodies == []


def test_comparisons_that_do_not_fit_are_counted_before_they_are_made(judge):
    pairs = [AnswerPair(instruction="It was", first=" good" * n, second=" bad") for n in (1, 50, 200)]
    (note,) = notes_on_length(judge, pairs)
    assert "1 of 3 comparisons do not fit its context of 100 tokens" in note
    assert [verdict.outcome for _, verdict in judge.compare(pairs)] == ["judged", "judged", "failed"]

"""Log-likelihoods on branching rows, against lm-eval's own."""

import json
import random

import pytest
import torch
from lm_eval.models.huggingface import HFLM

from bench.core.assets import SUITES
from bench.evaluate.tasks.hflm import BranchingLM
from bench.evaluate.tasks.loglikelihood import reads_branches
from bench.models.loading import load_model, load_tokenizer
from bench.utils.isolation import quiet
from tests.bench.evaluate.conftest import VOCAB


def requests(count: int = 40, *, longest: int = 20) -> list[tuple[None, list[int], list[int]]]:
    """Questions with up to five continuations, some of one token, one question within another, one request twice."""
    draw = random.Random(0)

    def tokens(most: int) -> list[int]:
        return [draw.randrange(VOCAB) for _ in range(draw.randint(1, most))]

    contexts = [[0], *(tokens(longest) for _ in range(count // 4))]
    contexts += [[*context, 1, 2] for context in contexts[:3]]
    requests = [
        (None, context, tokens(draw.choice([1, 1, 9]))) for context in contexts for _ in range(draw.randint(1, 5))
    ]
    return [*requests, requests[3]]


def both(model, tokenizer, requests):
    with quiet():
        own, ours = (kind(pretrained=model, tokenizer=tokenizer, batch_size=8) for kind in (HFLM, BranchingLM))
        return own._loglikelihood_tokens(requests, disable_tqdm=True), ours._loglikelihood_tokens(
            requests, disable_tqdm=True
        )


@pytest.mark.parametrize("name", ["policy", "gpt2", "eager", "sliding", "bloom", "recurrent"])
def test_each_continuation_has_the_number_of_lm_evals_own_model(name, request, tokenizer):
    own, ours = both(request.getfixturevalue(name), tokenizer, requests())
    torch.testing.assert_close([x for x, _ in ours], [x for x, _ in own], rtol=1e-5, atol=1e-5)
    assert [x for _, x in ours] == [x for _, x in own]


def test_minimal_pairs_on_the_start_model_have_the_numbers_of_lm_evals_own_model():
    folder = SUITES / "sentiment"
    model, tokenizer = load_model(folder / "model"), load_tokenizer(folder / "model")
    items = [json.loads(line) for line in (folder / "blimp" / "blimp.jsonl").read_text(encoding="utf-8").splitlines()]
    sentences = [item[side] for item in items[::4] for side in ("sentence_good", "sentence_bad")]
    own, ours = both(model, tokenizer, [(None, [0], tokenizer.encode(sentence)) for sentence in sentences])
    torch.testing.assert_close([x for x, _ in ours], [x for x, _ in own], rtol=1e-6, atol=1e-5)
    assert [x for _, x in ours] == [x for _, x in own]


def test_a_greedy_continuation_is_distinguished_from_others(policy, tokenizer):
    with torch.no_grad():
        best = int(policy(torch.tensor([[0, 5]])).logits[0, -1].argmax())
    _, ours = both(policy, tokenizer, [(None, [0, 5], [token]) for token in range(VOCAB)])
    assert [greedy for _, greedy in ours] == [token == best for token in range(VOCAB)]


def test_what_is_longer_than_the_models_context_loses_its_beginning(policy, tokenizer):
    long = [1 + number % 9 for number in range(80)]
    own, ours = both(policy, tokenizer, [(None, long, [3, 4]), (None, long, [5]), (None, long[20:], [5, 6, 7])])
    torch.testing.assert_close([x for x, _ in ours], [x for x, _ in own], rtol=1e-5, atol=1e-5)


def test_a_question_is_read_once_for_all_its_continuations(policy, tokenizer):
    read = []
    question = list(range(1, 11))
    with quiet():
        model = BranchingLM(pretrained=policy, tokenizer=tokenizer, batch_size=8)
    assert reads_branches(policy)
    policy.model.register_forward_pre_hook(
        lambda module, args, kwargs: read.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    model._loglikelihood_tokens([(None, question, [token, token, 1]) for token in range(4)], disable_tqdm=True)
    assert 10 + 4 * 2 in read  # and a few of them once more, each alone


@pytest.mark.parametrize(
    ("name", "reads"),
    [("policy", True), ("gpt2", True), ("eager", True), ("sliding", False), ("bloom", False), ("recurrent", False)],
)
def test_models_that_cannot_read_branches_are_detected(name, reads, request):
    assert reads_branches(request.getfixturevalue(name)) == reads


def test_a_model_that_misreads_its_positions_is_detected_by_trying(policy):
    class Shifted(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x, position_ids):
            return self.inner(x, position_ids.sort().values)

    policy.model.rotary_emb = Shifted(policy.model.rotary_emb)
    assert not reads_branches(policy)

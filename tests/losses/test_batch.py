"""Completions and batches: what they compute and what they refuse."""

import subprocess
import sys

import jaxtyping
import pytest
import torch

from losses import Completion, Pairs, Ranked, Singles, get

MASK = torch.tensor([[True, True, False], [False, True, False]])
POLICY = torch.tensor([[-1.0, -2.0, torch.nan], [torch.inf, -4.0, -9.0]])
REFERENCE = torch.tensor([[-2.0, -2.5, -9.0], [-9.0, -3.0, torch.nan]])


def test_properties_read_the_masked_tokens_only():
    completion = Completion(POLICY, REFERENCE, MASK)
    assert completion.length.tolist() == [2, 1]
    assert completion.policy.tolist() == [-3, -4]
    assert completion.reference.tolist() == [-4.5, -3]
    assert completion.log_ratio.tolist() == [1.5, -1]
    assert completion.mean_policy.tolist() == [-1.5, -4]
    assert completion.mean_log_ratio.tolist() == [0.75, -1]


def test_at_reference_has_no_log_ratio_and_no_kl():
    completion = Completion(POLICY, REFERENCE, MASK)
    start = Singles(completion, torch.tensor([True, False]), torch.tensor(3.0)).at_reference()
    assert start.completion.log_ratio.tolist() == [0, 0]
    assert start.kl_baseline == 0
    assert Pairs(completion, completion).at_reference().rejected.log_ratio.tolist() == [0, 0]


def test_half_precision_log_probs_are_summed_in_float32():
    logps = torch.full((1, 3000), -1.0, dtype=torch.bfloat16)
    completion = Completion(logps, logps, torch.ones(1, 3000, dtype=torch.bool))
    assert completion.policy.item() == -3000
    assert completion.length.dtype == completion.log_ratio.dtype == torch.float32


def test_vocabulary_quantities_are_read_at_the_masked_tokens_only():
    values = torch.tensor([[0.5, 1.5, torch.nan], [torch.inf, 4.0, -9.0]])
    completion = Completion(POLICY, REFERENCE, MASK, token_kl=values, log_collision=-values, reference_entropy=values)
    assert completion.sequence_kl.tolist() == [2, 4]
    assert completion.mean_log_collision.tolist() == [-1, -4]
    assert completion.mean_reference_entropy.tolist() == [1, 4]


def test_only_the_drift_of_the_vocabulary_carries_a_gradient():
    kl, collision, entropy = (torch.ones(2, 3, requires_grad=True) for _ in range(3))
    completion = Completion(POLICY, None, MASK, kl, collision, entropy)
    completion.sequence_kl.sum().backward()
    assert torch.equal(kl.grad, MASK.float())
    assert not completion.mean_log_collision.requires_grad
    assert not completion.mean_reference_entropy.requires_grad


def test_at_reference_there_is_no_drift_but_the_same_entropy():
    values = torch.full((2, 3), 0.7)
    start = Completion(POLICY, REFERENCE, MASK, values, -values, values).at_reference()
    assert start.sequence_kl.tolist() == [0, 0]
    assert start.mean_reference_entropy.tolist() == pytest.approx([0.7, 0.7])
    assert Completion(POLICY, REFERENCE, MASK).at_reference().token_kl is None


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("sequence_kl", "token_kl"),
        ("mean_log_collision", "log_collision"),
        ("mean_reference_entropy", "reference_entropy"),
    ],
)
def test_asking_for_a_vocabulary_quantity_that_was_not_computed_says_so(name, field):
    with pytest.raises(ValueError, match=f"carries no {field}; compute it"):
        getattr(Completion(POLICY, REFERENCE, MASK), name)


@pytest.mark.parametrize("name", ["reference", "log_ratio", "mean_log_ratio"])
def test_asking_for_a_missing_reference_says_so(name):
    with pytest.raises(ValueError, match="carries no reference"):
        getattr(Completion(POLICY, None, MASK), name)


def test_at_reference_without_reference_says_so():
    with pytest.raises(ValueError, match="carries no reference"):
        Completion(POLICY, None, MASK).at_reference()


def test_empty_completion_is_refused_by_row():
    mask = torch.tensor([[True, False, False], [False, False, False]])
    with pytest.raises(ValueError, match=r"zero length in row\(s\) 1"):
        Completion(POLICY, None, mask)


def test_shapes_that_differ_are_refused():
    one = Completion(POLICY[:1], None, MASK[:1])
    two = Completion(POLICY, None, MASK)
    with pytest.raises(ValueError, match="2 chosen but 1 rejected"):
        Pairs(two, one)
    with pytest.raises(ValueError, match="score_gap"):
        Pairs(two, two, torch.zeros(3))
    with pytest.raises(ValueError, match="desirable"):
        Singles(two, torch.tensor([True]))


def test_ranked_lays_completions_out_by_prompt():
    logps = torch.arange(-12.0, 0).view(6, 2)
    batch = Ranked(Completion(logps, 2 * logps, torch.ones(6, 2, dtype=torch.bool)), torch.zeros(2, 3))
    assert batch.examples == 2
    assert batch.by_prompt(batch.completion.policy).tolist() == [[-23, -19, -15], [-11, -7, -3]]
    assert batch.by_prompt(batch.at_reference().completion.log_ratio).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_ranking_that_does_not_fit_is_refused():
    logps, mask = torch.full((4, 1), -1.0), torch.ones(4, 1, dtype=torch.bool)
    with pytest.raises(ValueError, match="2 completions a prompt or more, got 1"):
        Ranked(Completion(logps, None, mask), torch.zeros(4, 1))
    with pytest.raises(ValueError, match=r"4 completions, but scores of shape \[2, 3\]"):
        Ranked(Completion(logps, None, mask), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="carries no reference"):
        Ranked(Completion(logps, None, mask), torch.zeros(2, 2)).at_reference()


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ("Completion(zeros(2, 3), None, ones(2, 3).bool(), zeros(2, 2))", "but token_kl has [2, 2]"),
        ("Completion(zeros(2, 3), None, ones(2, 2).bool())", "policy_logps has shape [2, 3] but mask has [2, 2]"),
        ("Singles(Completion(zeros(1, 1), None, ones(1, 1).bool()), ones(1).bool(), zeros(2))", "must be a scalar"),
    ],
)
def test_shapes_are_checked_without_the_type_checker_too(made, told):
    code = f"from torch import ones, zeros; from losses import Completion, Singles; {made}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert told in done.stderr


def test_wrong_types_are_refused_under_the_type_checker():
    with pytest.raises(jaxtyping.TypeCheckError):
        Completion(POLICY, None, MASK.float())
    with pytest.raises(jaxtyping.TypeCheckError):
        Completion(POLICY, None, MASK[:, :2])
    with pytest.raises(jaxtyping.TypeCheckError):
        Completion(POLICY.long(), None, MASK)
    with pytest.raises(jaxtyping.TypeCheckError):
        Completion(POLICY[0], None, MASK[0])


def test_a_batch_of_the_wrong_kind_is_refused():
    completion = Completion(POLICY, REFERENCE, MASK)
    with pytest.raises(TypeError, match="'kto' takes Singles, got Pairs"):
        get("kto")(Pairs(completion, completion))


def test_kto_without_baseline_is_refused():
    completion = Completion(POLICY, REFERENCE, MASK)
    with pytest.raises(ValueError, match="kl_baseline"):
        get("kto")(Singles(completion, torch.tensor([True, False])))

"""What an objective sees: log-probs of completions, ``Completion``, in ``Pairs``, ``Singles`` or ``Ranked``.

NOTATION, used by every equation in ``losses.objectives``; all logarithms are natural, so log-probs are in nats:

    x, y_w, y_l     prompt, chosen completion, rejected completion
    π, π_ref        policy, reference
    s_w, r_w        Σ_t log π(y_t | x, y_<t) over the tokens of y_w; under the reference  .policy .reference
    n_w             number of completion tokens of y_w                                           .length
    Δw = s_w - r_w  log-ratio of the chosen completion (Δl: of the rejected one)                 .log_ratio
    Δ = Δw - Δl     gap of the log-ratios
    a bar           divided by the number of completion tokens: s̄_w = s_w/n_w, Δ̄w = Δw/n_w       .mean_policy
                    Δ̄ = Δ̄w - Δ̄l                                                                  .mean_log_ratio
    σ, [z]+, sg[z]  logistic function, max(0, z), z without gradient
    step 0          the state before the first step, where policy = reference
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from losses.numerics import masked_mean, masked_sum, precise

PER_TOKEN = ("policy_logps", "reference_logps", "token_kl", "log_collision", "reference_entropy")
"""The fields of ``Completion`` that hold a number for each token."""


@dataclass(frozen=True)
class Completion:
    """Per-token log-probs, in nats, of one completion for each example.

    Fields:
        policy_logps: [examples, tokens], log π(y_t | x, y_<t); what stands where the mask is False has no effect.
        reference_logps: the same under the reference, or None for objectives without one; never gets a gradient.
        mask: [examples, tokens], True on completion tokens; padding may stand anywhere.
        token_kl: [examples, tokens], KL(π_ref ‖ π) over the vocabulary at each position, nats, with the policy's
            gradient; for objectives that need VOCAB_KL.
        log_collision: [examples, tokens], log Σ_v π(v)² over the vocabulary, without gradient; for objectives that
            need COLLISION.
        reference_entropy: [examples, tokens], entropy of π_ref over the vocabulary as a share of the largest, log |V|:
            0 to 1; for those that need ENTROPY.

    Raises:
        ValueError: when the shapes differ, or a row has no completion token (its mean would be 0/0).
    """

    policy_logps: Float[Tensor, "examples tokens"]
    reference_logps: Float[Tensor, "examples tokens"] | None
    mask: Bool[Tensor, "examples tokens"]
    token_kl: Float[Tensor, "examples tokens"] | None = None
    log_collision: Float[Tensor, "examples tokens"] | None = None
    reference_entropy: Float[Tensor, "examples tokens"] | None = None

    def __post_init__(self) -> None:
        shape = list(self.policy_logps.shape)
        for name in ("mask", *PER_TOKEN[1:]):
            tensor = getattr(self, name)
            if tensor is not None and list(tensor.shape) != shape:
                raise ValueError(f"policy_logps has shape {shape} but {name} has {list(tensor.shape)}; make them equal")
        empty = ~self.mask.any(-1)
        if bool(empty.any()):
            rows = empty.nonzero().flatten().tolist()
            raise ValueError(
                f"completion of zero length in row(s) {', '.join(map(str, rows))}: the mask has no True there; "
                "drop these examples or keep at least one completion token when truncating"
            )

    @property
    def length(self) -> Float[Tensor, " examples"]:
        """Number of completion tokens, as a float."""
        return self.mask.sum(-1).to(precise(self.policy_logps).dtype)

    @property
    def policy(self) -> Float[Tensor, " examples"]:
        """Sum of the policy's log-probs, nats."""
        return masked_sum(self.policy_logps, self.mask)

    @property
    def reference(self) -> Float[Tensor, " examples"]:
        """Sum of the reference's log-probs, nats.

        Raises:
            ValueError: when the completion carries no reference.
        """
        return masked_sum(self._reference_logps(), self.mask)

    @property
    def log_ratio(self) -> Float[Tensor, " examples"]:
        """Sum of log π(y_t)/π_ref(y_t), nats. Raises ValueError without a reference."""
        return masked_sum(self._token_log_ratios(), self.mask)

    @property
    def mean_policy(self) -> Float[Tensor, " examples"]:
        """Average of the policy's log-probs, nats per token."""
        return masked_mean(self.policy_logps, self.mask)

    @property
    def mean_log_ratio(self) -> Float[Tensor, " examples"]:
        """Average of log π(y_t)/π_ref(y_t), nats per token. Raises ValueError without a reference."""
        return masked_mean(self._token_log_ratios(), self.mask)

    @property
    def sequence_kl(self) -> Float[Tensor, " examples"]:
        """Σ_t KL(π_ref ‖ π) over the completion's positions, nats. Raises ValueError where it was not computed."""
        return masked_sum(self._required("token_kl"), self.mask)

    @property
    def mean_log_collision(self) -> Float[Tensor, " examples"]:
        """Average of log Σ_v π(v)² over the completion's positions, no gradient. Raises ValueError without it."""
        return masked_mean(self._required("log_collision").detach(), self.mask)

    @property
    def mean_reference_entropy(self) -> Float[Tensor, " examples"]:
        """Average entropy of the reference over the completion's positions, 0 to 1. Raises ValueError without it."""
        return masked_mean(self._required("reference_entropy").detach(), self.mask)

    def at_reference(self) -> "Completion":
        """Return the completion as it is at step 0: the policy's log-probs replaced by the reference's.

        Raises:
            ValueError: when the completion carries no reference.
        """
        still = None if self.token_kl is None else torch.zeros_like(self.token_kl)
        return replace(self, policy_logps=self._reference_logps(), token_kl=still)

    def _required(self, name: str) -> Float[Tensor, "examples tokens"]:
        values = getattr(self, name)
        if values is None:
            raise ValueError(f"this completion carries no {name}; compute it, or use an objective that needs none")
        return values

    def _reference_logps(self) -> Float[Tensor, "examples tokens"]:
        if self.reference_logps is None:
            raise ValueError(
                "this completion carries no reference log-probs (reference_logps is None); "
                "compute them, or use an objective that needs no reference"
            )
        return self.reference_logps.detach()

    def _token_log_ratios(self) -> Float[Tensor, "examples tokens"]:
        # Differences of tokens, then the sum: the difference of two sums of hundreds of nats would lose digits.
        return precise(self.policy_logps) - precise(self._reference_logps())


@dataclass(frozen=True)
class Pairs:
    """For each prompt a chosen and a rejected completion; they may be padded to different widths.

    Fields:
        chosen, rejected: the completions, row i of both for prompt i.
        score_gap: [examples], score of the chosen minus score of the rejected, for objectives that need SCORES.

    Raises:
        ValueError: when the numbers of examples differ.
    """

    chosen: Completion
    rejected: Completion
    score_gap: Float[Tensor, " examples"] | None = None

    def __post_init__(self) -> None:
        examples = self.examples
        if len(self.rejected.mask) != examples:
            raise ValueError(f"pairs have {examples} chosen but {len(self.rejected.mask)} rejected completions")
        if self.score_gap is not None and list(self.score_gap.shape) != [examples]:
            raise ValueError(f"score_gap must have shape [{examples}], got {list(self.score_gap.shape)}")

    @property
    def examples(self) -> int:
        """Number of pairs."""
        return len(self.chosen.mask)

    def at_reference(self) -> "Pairs":
        """Return the pairs as they are at step 0. Raises ValueError without a reference."""
        return replace(self, chosen=self.chosen.at_reference(), rejected=self.rejected.at_reference())


@dataclass(frozen=True)
class Singles:
    """Completions with a label each: desirable or not.

    Fields:
        completion: one completion for each example.
        desirable: [examples], True where the completion is wanted.
        kl_baseline: scalar, nats; an estimate of KL(π ‖ π_ref) over the whole global batch from mismatched prompts
            and completions, for objectives that need KL_BASELINE.

    Raises:
        ValueError: when the numbers of examples differ, or the baseline is no scalar.
    """

    completion: Completion
    desirable: Bool[Tensor, " examples"]
    kl_baseline: Float[Tensor, ""] | None = None

    def __post_init__(self) -> None:
        if list(self.desirable.shape) != [self.examples]:
            raise ValueError(f"desirable must have shape [{self.examples}], got {list(self.desirable.shape)}")
        if self.kl_baseline is not None and self.kl_baseline.ndim:
            raise ValueError(f"kl_baseline must be a scalar tensor, got shape {list(self.kl_baseline.shape)}")

    @property
    def examples(self) -> int:
        """Number of completions."""
        return len(self.completion.mask)

    def at_reference(self) -> "Singles":
        """Return the examples as they are at step 0, where the KL is zero. Raises ValueError without a reference."""
        completion = self.completion.at_reference()
        zero = torch.zeros((), dtype=completion.policy.dtype, device=completion.mask.device)
        return replace(self, completion=completion, kl_baseline=zero)


@dataclass(frozen=True)
class Ranked:
    """For each prompt several completions with a score each, for list-wise objectives.

    Fields:
        completion: [examples · ranks] rows: all completions of the first prompt, then all of the second, and so on.
        scores: [examples, ranks]; higher is better; on the scale of log-odds where an objective uses more than the
            order (Bradley-Terry: P(i better than j) = σ(score_i - score_j)).

    Raises:
        ValueError: when there are fewer than two completions a prompt, or rows and scores do not match.
    """

    completion: Completion
    scores: Float[Tensor, "examples ranks"]

    def __post_init__(self) -> None:
        examples, ranks = self.scores.shape
        if ranks < 2:
            raise ValueError(f"a ranking needs 2 completions a prompt or more, got {ranks}")
        if len(self.completion.mask) != examples * ranks:
            raise ValueError(f"{len(self.completion.mask)} completions, but scores of shape {[examples, ranks]}")

    @property
    def examples(self) -> int:
        """Number of prompts."""
        return len(self.scores)

    def by_prompt(self, values: Float[Tensor, " rows"]) -> Float[Tensor, "examples ranks"]:
        """Lay one value a completion out as [examples, ranks]."""
        return values.view(self.scores.shape)

    def at_reference(self) -> "Ranked":
        """Return the completions as they are at step 0. Raises ValueError without a reference."""
        return replace(self, completion=self.completion.at_reference())


Batch = Pairs | Singles | Ranked


def sides(batch: Batch) -> tuple[Completion, ...]:
    """Return the completions of a batch: chosen and rejected, or the only ones."""
    return (batch.chosen, batch.rejected) if isinstance(batch, Pairs) else (batch.completion,)


def each(batch: Batch, change: Callable[[Completion], Completion]) -> Batch:
    """Return the batch with ``change`` applied to each side, in the order of ``sides``."""
    if isinstance(batch, Pairs):
        return replace(batch, chosen=change(batch.chosen), rejected=change(batch.rejected))
    return replace(batch, completion=change(batch.completion))


def mapped(side: Completion, change: Callable[[Tensor], Tensor], *, mask: Tensor) -> Completion:
    """Return the completion with ``change`` applied to each of its per-token numbers, and another mask."""
    new = {name: change(values) for name in PER_TOKEN if (values := getattr(side, name)) is not None}
    return replace(side, mask=mask, **new)

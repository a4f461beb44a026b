"""Cases of trl's KTO, CPO, ORPO, TPO and online DPO trainers."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from losses import Completion, get
from losses.batch import each
from tests.peers import trl_offline, trl_others
from tests.peers.case import SINGLE, Case, Loss, mean_of, sft_by_tokens, token_mean
from tests.peers.cases_trl_dpo import BETA, TOKEN_MEAN, TRL
from tests.peers.sample import Sample, kl_estimate, pairs, singles

STEEP = 2.5
"""β of losses of token averages."""
GAMMA = 0.4
"""SimPO's margin γ on the scale of β times the gap, as trl and Liger-Kernel take it."""
KTO = {"beta": BETA, "desirable_weight": 1.3, "undesirable_weight": 0.7}
OTHER_RANK, OTHER_ROWS = 0.9, 2
"""KL estimate, nats, and number of rows of a second process with a smaller batch."""

RANK_MEANS = "trl averages the means of ranks, so rows of a smaller batch count more; here all rows count the same"
ABSOLUTE = "trl takes the margin γ itself, here gamma_ratio is γ/β: the same number means another margin"
WITH_NLL = "trl's simpo adds an NLL of weight 1 by default (CPO-SimPO), averaged as that of its sft"
SCALED = "trl's hinge on the policy's sums is β times slic at δ = 1/β, without its NLL"
NO_REFERENCE = "trl's ipo is of the policy alone here: ours with a reference of probability 1"
FLAT = "trl's alphapo leaves α at its default 0, so it trains simpo"
WHOLE_TEXT = "trl's NLL covers the prompt too (all but its first token), and is averaged as that of its sft"
SUMS = "trl's online IPO sums over tokens, its offline one averages: here two objectives, ipo_sum and ipo"


def cases() -> list[Case]:
    """All of them."""
    cpo = _policy_alone(trl_others.cpo, "CPOTrainer", "cpo_alpha", "simpo")
    tpo = _policy_alone(trl_others.tpo, "TPOTrainer", "tpo_alpha", "tpo-l")
    return [*_kto(), *cpo, *_simpo(), *_orpo(), *tpo, *_online()]


def of_singles(objective: str, kl: Callable[[Sample], Tensor] | None = None, **params: float) -> Loss:
    """The mean of an objective's losses on all rows of a sample, by default at the KL estimate of its own rows."""
    return lambda sample: get(objective)(singles(sample, None if kl is None else kl(sample)), **params).mean()


def far_from_reference(loss: Loss) -> Loss:
    """The loss with policy and reference exchanged on the mismatched rows, whose KL estimate then is negative."""

    def exchanged(sample: Sample) -> Tensor:
        rows = sample.mismatched
        assert rows is not None
        other = replace(rows, logits=rows.reference, reference=rows.logits.detach())
        changed = replace(sample, mismatched=other)
        assert kl_estimate(changed) < 0, "this case is about a KL estimate below 0"
        return loss(changed)

    return exchanged


def _trl(
    call: Callable[..., Tensor], trainer: str, objective: str, params: dict[str, float], entry: str, *,
    ours: Loss | None = None, plain: Loss | None = None, difference: str = "", even_prompts: bool = False, **given: Any,
) -> Case:  # fmt: skip
    return Case(
        objective, params, TRL, f"{trainer} {entry}", partial(call, **given),
        ours=ours, plain=plain, difference=difference, even_prompts=even_prompts,
    )  # fmt: skip


def _kto() -> list[Case]:
    def theirs_on_two_ranks(sample: Sample) -> Tensor:
        other = torch.tensor(OTHER_RANK, dtype=torch.float64)
        return trl_offline.kto(sample, loss="kto", process=trl_offline.TwoRanks(kl_estimate(sample), other), **KTO)

    def mean_of_ranks(sample: Sample) -> Tensor:
        return ((kl_estimate(sample) + OTHER_RANK) / 2).clamp(min=0)

    def mean_of_rows(sample: Sample) -> Tensor:
        rows = len(sample.ids)
        return ((rows * kl_estimate(sample) + OTHER_ROWS * OTHER_RANK) / (rows + OTHER_ROWS)).clamp(min=0)

    theirs, ours = partial(trl_offline.kto, loss="kto", **KTO), of_singles("kto", **KTO)
    two = {"ours": of_singles("kto", mean_of_ranks, **KTO), "plain": of_singles("kto", mean_of_rows, **KTO)}
    apo = partial(trl_offline.kto, loss="apo_zero_unpaired", beta=BETA)
    below = {"ours": far_from_reference(ours)}
    return [
        Case("kto", KTO, TRL, "KTOTrainer kto", theirs, ours=ours),
        Case("kto", KTO, TRL, "KTOTrainer kto, KL estimate below 0", far_from_reference(theirs), **below),
        Case("kto", KTO, TRL, "KTOTrainer kto, 2 ranks", theirs_on_two_ranks, **two, difference=RANK_MEANS),
        Case("apo_zero_unpaired", {"beta": BETA}, TRL, "KTOTrainer apo_zero_unpaired", apo,
             ours=of_singles("apo_zero_unpaired", beta=BETA)),
    ]  # fmt: skip


def _policy_alone(call: Callable[..., Tensor], trainer: str, weight: str, margin: str) -> list[Case]:
    """The losses that CPOTrainer and TPOTrainer share; for TPO the gold completion is the chosen one.

    ``weight`` is their name for that of the NLL, ``margin`` that of the loss type with a margin on averages.
    """
    beta, delta = {"beta": BETA}, {"delta": 1 / BETA, "lam": 0.0}
    alone, off = mean_of("cpo", **beta, lam=0.0), f"{weight} 0"
    case = partial(_trl, call, trainer, nll_weight=0)

    def with_nll(sample: Sample) -> Tensor:
        return alone(sample) + 0.8 * sft_by_tokens(pairs(sample))

    return [
        case("cpo", beta | {"lam": 0.0}, f"sigmoid, {off}", loss="sigmoid", **beta),
        _trl(call, trainer, "cpo", beta | {"lam": 0.8}, f"sigmoid, {weight}", loss="sigmoid", nll_weight=0.8, **beta,
             ours=with_nll, difference=TOKEN_MEAN),
        case("cpo(lam=0)+smooth", beta | {"smooth_epsilon": 0.2}, f"sigmoid, {off}, label_smoothing", loss="sigmoid",
             label_smoothing=0.2, **beta),
        case("slic", delta, f"hinge, {off}", loss="hinge", **beta, difference=SCALED,
             ours=lambda sample: BETA * mean_of("slic", **delta)(sample)),
        case("ipo", {"beta": 0.7}, f"ipo, {off}", loss="ipo", beta=0.7, difference=NO_REFERENCE,
             ours=lambda sample: get("ipo")(each(pairs(sample), _certain_reference), beta=0.7).mean()),
        case("simpo", {"beta": STEEP, "gamma_ratio": GAMMA / STEEP}, f"{margin}, {off}", loss=margin, beta=STEEP,
             gamma=GAMMA),
    ]  # fmt: skip


def _simpo() -> list[Case]:
    ours = {"beta": STEEP, "gamma_ratio": GAMMA / STEEP}
    simpo, taken_as_ratio = mean_of("simpo", **ours), mean_of("simpo", beta=STEEP, gamma_ratio=GAMMA)
    weight = trl_offline.default(trl_others.CPOConfig, "cpo_alpha")
    bent, by_name = ours | {"alpha": 0.25}, partial(trl_others.alphapo_by_name, beta=STEEP, gamma=GAMMA)
    case = partial(_trl, trl_others.cpo, "CPOTrainer", loss="simpo", beta=STEEP, gamma=GAMMA)

    def with_nll(sample: Sample) -> Tensor:
        return simpo(sample) + sft_by_tokens(pairs(sample))

    return [
        case("simpo", ours, "simpo, γ for γ/β", nll_weight=0, ours=simpo, plain=taken_as_ratio, difference=ABSOLUTE),
        case("simpo", ours, "simpo, cpo_alpha by default", nll_weight=weight, ours=with_nll, difference=WITH_NLL),
        case("alphapo", bent, "simpo, cpo_alpha 0, alpha", nll_weight=0, alpha=0.25),
        case("alphapo", ours | {"alpha": -0.25}, "simpo, cpo_alpha 0, alpha", nll_weight=0, alpha=-0.25),
        Case("alphapo", bent, TRL, "CPOTrainer alphapo by default", by_name, ours=simpo, difference=FLAT),
    ]


def _orpo() -> list[Case]:
    def whole_text(sample: Sample) -> Tensor:
        completions, texts = pairs(sample), pairs(sample, mask=sample.attention)
        odds = get("orpo")(completions, lam=0.6) - get("sft")(completions)
        return odds.mean() + token_mean(get("sft")(texts), texts.chosen)

    theirs, more = partial(trl_others.orpo, beta=0.6), {"ours": whole_text, "difference": WHOLE_TEXT}
    return [Case("orpo", {"lam": 0.6}, TRL, "ORPOTrainer", theirs, **more, tolerance=SINGLE)]


def _online() -> list[Case]:
    case = partial(_trl, trl_others.online, "OnlineDPOTrainer", even_prompts=True)
    return [
        case("dpo", {"beta": BETA}, "sigmoid", loss="sigmoid", beta=BETA),
        case("ipo_sum", {"beta": 0.2}, "ipo", loss="ipo", beta=0.2),
        case("ipo", {"beta": 0.2}, "ipo", loss="ipo", beta=0.2, ours=mean_of("ipo_sum", beta=0.2), difference=SUMS),
    ]


def _certain_reference(side: Completion) -> Completion:
    return replace(side, reference_logps=torch.zeros_like(side.policy_logps))

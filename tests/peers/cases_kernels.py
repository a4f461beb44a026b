"""Cases of Liger-Kernel and torchtune."""

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from losses import get
from tests.peers import liger, torchtune_losses
from tests.peers.case import SINGLE, Case, Loss, mean_of, sft_by_tokens, token_mean
from tests.peers.cases_trl_dpo import BETA, SAME
from tests.peers.cases_trl_others import ABSOLUTE, GAMMA, STEEP, far_from_reference, of_singles
from tests.peers.sample import Sample, kl_estimate, pairs, singles

LIGER, TORCHTUNE = "Liger-Kernel", "torchtune"
OF_LIGER = (
    *("sigmoid", "hinge", "exo_pair", "nca_pair", "robust", "bco_pair"),
    *("sppo_hard", "apo_zero", "apo_down", "discopop"),
)
"""Loss types of Liger's DPO; their names are trl's."""

TOKEN_MEAN = "Liger averages the NLL over all chosen tokens of the batch, so long completions weigh more"
UNSMOOTHED = "Liger ignores label_smoothing for sigmoid: what it trains is dpo"
NLL_BY_DEFAULT = "Liger's SimPO class adds an NLL of weight 1 by default, averaged as in its other losses"
NOT_CLAMPED = "Liger takes the KL estimate as it is given, here it is clamped at 0; trl clamps before it hands it over"
NO_WEIGHTS = "Liger has no λ_D and λ_U: both are 1"


def cases() -> list[Case]:
    """All of them."""
    return [*_liger_dpo(), *_liger_reference_free(), *_liger_kto(), *_torchtune()]


def _liger(objective: str, params: dict[str, float], entry: str, theirs: Loss, **more: Any) -> Case:
    return Case(objective, params, LIGER, entry, theirs, tolerance=SINGLE, dtype=torch.float32, **more)


def _liger_dpo() -> list[Case]:
    dpo = partial(partial, liger.paired, name="DPO", reference=True, beta=BETA)

    def with_nll(sample: Sample) -> Tensor:
        return mean_of("dpo", beta=BETA)(sample) + 0.7 * sft_by_tokens(pairs(sample))

    smooth, nll = dpo(label_smoothing=0.2), dpo(compute_nll_loss=True, alpha=0.7)
    average = dpo(average_log_prob=True)
    return [
        *(
            _liger(SAME[loss][0], SAME[loss][1], f"DPO {loss}", dpo(**({"loss_type": loss} | SAME[loss][2])))
            for loss in OF_LIGER
        ),
        _liger("rso", {"beta": BETA}, "DPO hinge", dpo(loss_type="hinge")),
        _liger("ln_dpo", {"beta": BETA}, "DPO sigmoid, average_log_prob", average),
        _liger("cdpo", {"beta": BETA, "epsilon": 0.2}, "DPO sigmoid, label_smoothing", smooth,
               ours=mean_of("dpo", beta=BETA), difference=UNSMOOTHED),
        _liger(f"dpo(beta={BETA})+nll(0.7)", {}, "DPO sigmoid, compute_nll_loss", nll, ours=with_nll,
               difference=TOKEN_MEAN),
    ]  # fmt: skip


def _liger_reference_free() -> list[Case]:
    beta, simpo = {"beta": BETA}, {"beta": STEEP, "gamma_ratio": GAMMA / STEEP}
    cpo = partial(partial, liger.paired, name="CPO", beta=BETA)
    made = partial(partial, liger.paired, name="SimPO", beta=STEEP, gamma=GAMMA)
    alone = mean_of("cpo", **beta, lam=0.0)

    def odds_and_nll(sample: Sample) -> Tensor:
        batch = pairs(sample)
        odds = get("orpo")(batch, lam=0.6) - get("sft")(batch)
        return odds.mean() + token_mean(get("sft")(batch), batch.chosen)

    return [
        _liger("cpo", beta | {"lam": 0.0}, "CPO, no NLL", cpo(compute_nll_loss=False)),
        _liger("cpo(lam=0)+smooth", beta | {"smooth_epsilon": 0.2}, "CPO, no NLL, label_smoothing",
               cpo(compute_nll_loss=False, label_smoothing=0.2)),
        _liger("cpo", beta | {"lam": 0.8}, "CPO", cpo(alpha=0.8), difference=TOKEN_MEAN,
               ours=lambda sample: alone(sample) + 0.8 * sft_by_tokens(pairs(sample))),
        _liger("simpo", simpo, "SimPO, no NLL", made(compute_nll_loss=False)),
        _liger("simpo", simpo, "SimPO, γ for γ/β", made(compute_nll_loss=False), ours=mean_of("simpo", **simpo),
               plain=mean_of("simpo", beta=STEEP, gamma_ratio=GAMMA), difference=ABSOLUTE.replace("trl", "Liger")),
        _liger("simpo", simpo, "SimPO by default", made(), difference=NLL_BY_DEFAULT,
               ours=lambda sample: mean_of("simpo", **simpo)(sample) + sft_by_tokens(pairs(sample))),
        _liger("orpo", {"lam": 0.6}, "ORPO", partial(liger.paired, name="ORPO", beta=0.6), ours=odds_and_nll,
               difference=TOKEN_MEAN),
    ]  # fmt: skip


def _liger_kto() -> list[Case]:
    weights = {"beta": BETA, "desirable_weight": 1.3, "undesirable_weight": 0.7}

    def clamped(sample: Sample) -> Tensor:
        return liger.kto(sample, kl=kl_estimate(sample).clamp(min=0), beta=BETA)

    def as_given(sample: Sample) -> Tensor:
        return liger.kto(sample, kl=kl_estimate(sample), beta=BETA)

    def moved_zero(sample: Sample) -> Tensor:
        """KTO with an unclamped z: as APO-zero on log-ratios that are all smaller by z."""
        batch, shift = singles(sample), kl_estimate(sample)
        assert batch.completion.reference_logps is not None
        first = batch.completion.mask & (batch.completion.mask.cumsum(-1) == 1)
        reference = batch.completion.reference_logps + first * shift
        moved = replace(batch, completion=replace(batch.completion, reference_logps=reference))
        return get("apo_zero_unpaired")(moved, beta=BETA).mean()

    kto = of_singles("kto", beta=BETA)
    below = {"ours": far_from_reference(moved_zero), "plain": far_from_reference(kto), "difference": NOT_CLAMPED}
    no_kl, apo = partial(liger.kto, kl=None, beta=BETA), of_singles("apo_zero_unpaired", beta=BETA)
    weighed = {"ours": kto, "plain": of_singles("kto", **weights), "difference": NO_WEIGHTS}
    return [
        _liger("kto", {"beta": BETA}, "KTO", clamped, ours=kto),
        _liger("kto", weights, "KTO, weights", clamped, **weighed),
        _liger("kto", {"beta": BETA}, "KTO, KL estimate below 0", far_from_reference(as_given), **below),
        _liger("apo_zero_unpaired", {"beta": BETA}, "KTO without a KL estimate", no_kl, ours=apo),
    ]


def _torchtune() -> list[Case]:
    def theirs(name: str, **arguments: float) -> partial[Tensor]:
        return partial(torchtune_losses.loss, name=name, **arguments)

    smooth = theirs("DPOLoss", beta=BETA, label_smoothing=0.2)
    return [
        Case("dpo", {"beta": BETA}, TORCHTUNE, "DPOLoss", theirs("DPOLoss", beta=BETA)),
        Case("cdpo", {"beta": BETA, "epsilon": 0.2}, TORCHTUNE, "DPOLoss, label_smoothing", smooth),
        Case("hinge", {"beta": BETA}, TORCHTUNE, "RSOLoss", theirs("RSOLoss", gamma=BETA)),
        Case("rso", {"beta": BETA}, TORCHTUNE, "RSOLoss", theirs("RSOLoss", gamma=BETA)),
    ]

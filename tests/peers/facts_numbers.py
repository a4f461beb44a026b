"""Facts about peers' arithmetic: where their losses or gradients are not finite and ours are."""

import math
from functools import partial

import pytest
import torch
from liger_kernel.chunked_loss.orpo_loss import LigerFusedLinearORPOFunction
from torch import Tensor

from losses import get
from losses.numerics import log_odds
from tests.peers import liger, trl_offline, trl_others
from tests.peers.cases_kernels import LIGER
from tests.peers.cases_trl_dpo import TRL
from tests.peers.cases_trl_others import of_singles
from tests.peers.fact import Fact
from tests.peers.sample import Sample, draw, pairs, single_tokens
from tests.peers.stand_ins import OneProcess, bare

FLOAT32 = torch.float32
FAR = -100.0
"""A log-ratio, nats, that a completion of some dozens of tokens reaches."""

NO_CLAMP = "does not clamp the exponent: at Δw = -100 in float32 its loss is infinite, ours finite"
CLAMP = "clamps the exponent at 80, not at 30: at 50 its loss is larger by (e^50 - 1)/(e^30 - 1)"
NAN = "e^-x at x = βΔ = -100 in float32 gives 0 · ∞ = NaN, ours is finite"
NAN_GRADIENT = "at s̄ = -1e-8 in float32 its loss is finite and its gradient NaN, ours is finite"
INFINITE_ODDS = "at s̄ = -1e-8 in float32 log1p(-exp(s̄)) is -∞ and its loss not finite, ours is finite"
POWER = "takes e^s̄ to the power -α: at s̄ = -200 in float32 that is 0^-α = ∞, ours is finite"
NANMEAN = "averages with nanmean: a row of NaN leaves the mean without a word, here it shows"


def facts() -> list[Fact]:
    """All of them."""
    forward = partial(_overflows, "dpo_forward_kl", divergence="forward_kl")
    return [
        Fact("dpo_forward_kl", TRL, NO_CLAMP, forward),
        Fact("dpo_alpha", TRL, CLAMP, _alpha_clamp),
        Fact("dpo_alpha", TRL, "its α-divergence knows no float64: KeyError", _alpha_in_float64),
        Fact("discopop", TRL, NAN, partial(_overflows, "discopop", loss="discopop", beta=1.0)),
        Fact("discopop", LIGER, NAN, _liger_discopop),
        Fact("orpo", TRL, NAN_GRADIENT, _trl_odds),
        Fact("orpo", LIGER, INFINITE_ODDS, _liger_odds),
        Fact("alphapo", TRL, POWER, _trl_alphapo),
        Fact("kto", TRL, NANMEAN, _nan_row),
    ]


def _overflows(name: str, loss: str = "sigmoid", **settings: object) -> None:
    sample = single_tokens((FAR - 1, -1.0), (-1.0, -1.0), FLOAT32)
    assert not torch.isfinite(trl_offline.dpo(sample, loss, **settings))
    _finite(sample, get(name)(pairs(sample), **{key: value for key, value in settings.items() if key == "beta"}).mean())


def _finite(sample: Sample, loss: Tensor) -> None:
    assert torch.isfinite(loss)
    assert torch.isfinite(torch.autograd.grad(loss, sample.logits)[0]).all()


def _alpha_clamp() -> None:
    sample = single_tokens((FAR - 1, -1.0), (-1.0, -1.0), FLOAT32)
    theirs = trl_offline.dpo(sample, "sigmoid", beta=0.1, divergence="alpha_divergence", alpha=0.5)
    ours = get("dpo_alpha")(pairs(sample), beta=0.1, alpha=0.5).mean()
    assert (theirs / ours).item() == pytest.approx(math.expm1(50) / math.expm1(30), rel=1e-3)


def _alpha_in_float64() -> None:
    with pytest.raises(KeyError, match="float64"):
        trl_offline.dpo(draw(0), "sigmoid", divergence="alpha_divergence")


def _liger_discopop() -> None:
    sample = single_tokens((FAR - 1, -1.0), (-1.0, -1.0), FLOAT32)
    assert not torch.isfinite(liger.paired(sample, "DPO", reference=True, loss_type="discopop", beta=1.0))


def _odds_ours(chosen: Tensor, rejected: Tensor) -> Tensor:
    return -torch.nn.functional.logsigmoid(log_odds(chosen) - log_odds(rejected)).mean()


def _near_certain() -> tuple[Tensor, Tensor]:
    return torch.tensor([-1e-8], requires_grad=True), torch.tensor([-0.5])


def _trl_odds() -> None:
    chosen, rejected = _near_certain()
    trainer = bare(trl_others.ORPOTrainer, beta=1.0, accelerator=OneProcess())
    loss = -trainer.odds_ratio_loss(chosen, rejected)[0].mean()
    assert torch.isfinite(loss)
    assert torch.isnan(torch.autograd.grad(loss, chosen)[0]).all()
    assert torch.isfinite(torch.autograd.grad(_odds_ours(chosen, rejected), chosen)[0]).all()


def _liger_odds() -> None:
    rejected, chosen = _near_certain()
    loss = LigerFusedLinearORPOFunction.preference_loss_fn(chosen, rejected, torch.zeros(2, 1), beta=1.0)[0]
    assert not torch.isfinite(loss)
    assert torch.isfinite(_odds_ours(chosen, rejected))


def _trl_alphapo() -> None:
    trainer = bare(
        trl_others.CPOTrainer, beta=2.5, loss_type="simpo", simpo_gamma=0.25, alpha=0.25, label_smoothing=0.0,
        accelerator=OneProcess(),
    )  # fmt: skip
    assert not torch.isfinite(trainer.cpo_loss(torch.tensor([-200.0]), torch.tensor([-1.0]))[0])
    sample = single_tokens((-200.0, -1.0), (-1.0, -1.0), FLOAT32)
    _finite(sample, get("alphapo")(pairs(sample), beta=2.5, gamma_ratio=0.1, alpha=0.25).mean())


def _nan_row() -> None:
    sample = draw(0)
    assert sample.mismatched is not None
    with torch.no_grad():
        sample.logits[0] = float("nan")
    assert torch.isfinite(trl_offline.kto(sample, loss="kto"))
    assert torch.isnan(of_singles("kto", beta=0.1)(sample))

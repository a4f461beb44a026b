"""Facts about what peers refuse, what they do by default, and what happens around their losses."""

from collections.abc import Callable
from functools import partial

import pytest
from liger_kernel.chunked_loss.dpo_loss import LigerFusedLinearDPOLoss
from trl import DPOConfig

from losses import get
from losses.grammar import ExpressionError
from tests.peers import liger, torchtune_losses, trl_offline, trl_others, trl_trainers
from tests.peers.case import mean_of
from tests.peers.cases_kernels import LIGER, TORCHTUNE
from tests.peers.cases_trl_dpo import BETA, SORTED, TRL
from tests.peers.fact import Fact
from tests.peers.sample import draw

NOT_OF_THE_GAP = ("nca_pair", "bco_pair", "sppo_hard", "apo_zero", "apo_down")
OTHER_BETA = ("discopop", "nca_pair", "bco_pair", "sppo_hard")
NO_ZERO = "refuses ε = 0, its default, with an error"
EXPANDED = "fails on sft with use_weighting: it multiplies an expanded tensor in place"
BACKWARD = "with use_weighting its hinge has the same value, but no backward pass: it changes relu's output in place"
ONE_ROW = "refuses a micro-batch of 1, where the mismatched completion would be the matched one"
SAME_STEPS = "SyncRefModelCallback moves the reference at the same steps, to the same weights"
BEMA = (
    "BEMA corrects for bias and slows down with the steps; at multiplier 0, lag 10, ema_power 2, bias_power 400 it "
    "does neither and is ema_dpo at decay 0.99"
)
MAPPED = (
    "pairs a prompt with the completion of the row before it, once, when the data are mapped, in blocks of the "
    "micro-batch's size; here it is a function of the seed"
)
BLOCKS = "unpair_preference_dataset puts all chosen before all rejected, and KTOTrainer refuses to shuffle"
OTHER_SDPO = "SDPO there is Self-Distillation Policy Optimization, which shares the name alone"


def facts() -> list[Fact]:
    """All of them."""
    return [*_refusals(), *_defaults(), *_of_training()]


def _refusals() -> list[Fact]:
    trl = trl_trainers.dpo_refuses
    link = partial(trl, saying="f_diver", f_divergence_type="forward_kl")
    weigh = partial(trl, saying="WPO", use_weighting=True)
    return [
        Fact("exo_pair", TRL, NO_ZERO, partial(trl, "exo_pair", saying="exo_pair")),
        *(_both(f"{name}+forward_kl", partial(link, name), "a divergence") for name in NOT_OF_THE_GAP),
        *(_both(f"{name}+wpo", partial(weigh, name), "weights on sorted losses") for name in SORTED),
        Fact("sft+wpo", TRL, EXPANDED, _weighed_sft),
        Fact("hinge+wpo", TRL, BACKWARD, _weighed_hinge),
        Fact("kto", TRL, ONE_ROW, trl_trainers.kto_refuses_one_row),
        Fact("ipo", LIGER, "has no ipo: an error says so", _liger_ipo),
        Fact("exo_pair", LIGER, NO_ZERO, _liger_exo),
        Fact("ipo", TORCHTUNE, "has no IPO loss (any more)", _torchtune_ipo),
    ]


def _both(expression: str, theirs: Callable[[], None], what: str) -> Fact:
    return Fact(expression, TRL, f"both refuse {what} here", partial(_both_refuse, expression, theirs))


def _defaults() -> list[Fact]:
    trl, cpo = partial(trl_offline.default, DPOConfig), partial(trl_offline.default, trl_others.CPOConfig)
    liger_dpo = LigerFusedLinearDPOLoss()
    found = [
        ("robust", "epsilon", TRL, trl("label_smoothing")),
        ("robust", "epsilon", LIGER, liger_dpo.label_smoothing),
        *(
            (name, "beta", TRL, trl("beta"))
            for name in ("ln_dpo", "discopop", "nca_pair", "bco_pair", "sppo_hard", "aot")
        ),
        *((name, "beta", LIGER, liger_dpo.beta) for name in ("discopop", "nca_pair", "bco_pair", "sppo_hard")),
        ("simpo", "beta", TRL, cpo("beta")),
        ("alphapo", "alpha", TRL, cpo("alpha")),
        ("tr_dpo", "every", TRL, trl("ref_model_sync_steps")),
        ("rso", "beta", TORCHTUNE, torchtune_losses.module().RSOLoss().gamma),
    ]
    return [_default(*row) for row in found]


def _default(name: str, param: str, peer: str, theirs: float) -> Fact:
    ours = get(name).params[param].default
    check = partial(_defaults_differ, name, param, theirs)
    return Fact(name, peer, f"default of {param}: {theirs:g}, here {ours:g}", check)


def _of_training() -> list[Fact]:
    return [
        Fact("tr_dpo", TRL, SAME_STEPS, trl_trainers.same_moving_reference),
        Fact("ema_dpo", TRL, BEMA, trl_trainers.bema_without_its_correction),
        Fact("kto", TRL, MAPPED, trl_trainers.mismatched_when_mapped),
        Fact("kto", TRL, BLOCKS, trl_trainers.unpaired_in_blocks),
        Fact("sdpo", TRL, OTHER_SDPO, trl_trainers.another_sdpo),
    ]


def _both_refuse(expression: str, theirs: Callable[[], None]) -> None:
    theirs()
    with pytest.raises(ExpressionError):
        get(expression)


def _weighed_sft() -> None:
    with pytest.raises(RuntimeError, match="memory"):
        trl_offline.dpo(draw(0), "sft", use_weighting=True)


def _weighed_hinge() -> None:
    sample = draw(1)
    loss = trl_offline.dpo(sample, "hinge", use_weighting=True, beta=BETA)
    assert loss.item() == pytest.approx(mean_of("hinge+wpo", beta=BETA)(sample).item(), rel=1e-12)
    with pytest.raises(RuntimeError, match="inplace"):
        loss.backward()


def _liger_ipo() -> None:
    with pytest.raises((NotImplementedError, ValueError)):
        liger.paired(draw(0), "DPO", reference=True, loss_type="ipo")


def _liger_exo() -> None:
    with pytest.raises(ValueError, match="label_smoothing"):
        LigerFusedLinearDPOLoss(loss_type="exo_pair")


def _torchtune_ipo() -> None:
    assert not [name for name in vars(torchtune_losses.module()) if "ipo" in name.lower()]


def _defaults_differ(name: str, param: str, theirs: float) -> None:
    assert get(name).params[param].default != theirs

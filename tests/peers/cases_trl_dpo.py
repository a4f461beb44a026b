"""Cases of trl's DPOTrainer: every loss type, mixtures, weights."""

from functools import partial

import torch

from losses import get
from losses.batch import Pairs
from tests.peers import trl_offline
from tests.peers.case import SINGLE, Case, Loss, mean_of, sft_by_tokens
from tests.peers.sample import PAIRS, Sample, pairs, part, swapped

TRL = "trl"
BETA = 0.3
EXO = 1e-6
"""trl makes a float32 tensor of ε, so its log ε and log(1 - ε) have float32's digits."""

SAME: dict[str, tuple[str, dict[str, float], dict[str, float]]] = {
    "sigmoid": ("dpo", {"beta": BETA}, {"beta": BETA}),
    "hinge": ("hinge", {"beta": BETA}, {"beta": BETA}),
    "ipo": ("ipo", {"beta": 0.7}, {"beta": 0.7}),
    "exo_pair": ("exo_pair", {"beta": BETA, "epsilon": 1e-3}, {"beta": BETA, "label_smoothing": 1e-3}),
    "nca_pair": ("nca_pair", {"beta": BETA}, {"beta": BETA}),
    "robust": ("robust", {"beta": BETA, "epsilon": 0.2}, {"beta": BETA, "label_smoothing": 0.2}),
    "bco_pair": ("bco_pair", {"beta": BETA}, {"beta": BETA}),
    "sppo_hard": ("sppo_hard", {"beta": 0.01}, {"beta": 0.01}),
    "aot": ("aot", {"beta": BETA}, {"beta": BETA}),
    "aot_unpaired": ("aot_unpaired", {"beta": BETA}, {"beta": BETA}),
    "apo_zero": ("apo_zero", {"beta": BETA}, {"beta": BETA}),
    "apo_down": ("apo_down", {"beta": BETA}, {"beta": BETA}),
    "discopop": ("discopop", {"beta": BETA, "tau": 0.08}, {"beta": BETA, "discopop_tau": 0.08}),
    "sigmoid_norm": ("ln_dpo", {"beta": 5.0}, {"beta": 5.0}),
}
"""trl's loss type to our objective, our parameters and trl's settings; "sft" differs and stands below."""

SORTED = ("aot", "aot_unpaired")
NOT_WEIGHED = (*SORTED, "hinge")
"""trl refuses weights on the first two, and has no backward pass for the last."""

TOKEN_MEAN = (
    "trl averages the NLL over all chosen tokens of the micro-batch, so long completions weigh more and the loss "
    "depends on how a batch is split; here it is averaged within a completion first"
)
MICRO_BATCH = (
    "trl sorts within the micro-batch of one device: two micro-batches of 3 are not one of 6; here the global batch is "
    "sorted"
)
SMOOTHED = "trl smooths the labels by ε, here ε is 0; it is (1-ε)·aot + ε·aot of the swapped pairs"
UNSHIFTED = "trl has no running mean of rewards δ in bco_pair (up to 0.28 it had); at δ = 0 both agree"
UNSMOOTHED = "trl ignores label_smoothing for sigmoid without a warning: what it trains is dpo"


def cases() -> list[Case]:
    """All of them."""
    return [*_plain(), *_sorted(), *_mixtures(), *_weighed()]


def on_trl(*losses: str, **settings: object) -> Loss:
    return lambda sample: trl_offline.dpo(sample, *losses, **settings)


def tolerance(loss: str) -> dict[str, float]:
    return {"tolerance": EXO} if loss == "exo_pair" else {}


def _plain() -> list[Case]:
    beta = {"beta": BETA}
    single = {"tolerance": SINGLE, "dtype": torch.float32}
    return [
        *(
            Case(name, ours, TRL, f"DPOTrainer {loss}", on_trl(loss, **theirs), **tolerance(loss))
            for loss, (name, ours, theirs) in SAME.items()
        ),
        Case("rso", beta, TRL, "DPOTrainer hinge", on_trl("hinge", beta=BETA)),
        *(
            Case(
                "ld_dpo",
                beta | {"alpha": alpha},
                TRL,
                "DPOTrainer sigmoid, ld_alpha",
                on_trl("sigmoid", beta=BETA, ld_alpha=alpha),
            )
            for alpha in (0.0, 0.4, 1.0)
        ),
        Case(
            "dpo",
            beta,
            TRL,
            "DPOTrainer sigmoid, on its fused head",
            on_trl("sigmoid", beta=BETA, fused_head=True),
            **single,
        ),
        Case(
            "cdpo",
            beta | {"epsilon": 0.2},
            TRL,
            "DPOTrainer sigmoid, label_smoothing",
            on_trl("sigmoid", beta=BETA, label_smoothing=0.2),
            ours=mean_of("dpo", beta=BETA),
            difference=UNSMOOTHED,
        ),
        Case(
            "bco_pair_shift",
            beta,
            TRL,
            "DPOTrainer bco_pair",
            on_trl("bco_pair", beta=BETA),
            ours=_unshifted,
            difference=UNSHIFTED,
        ),
        Case(
            "sft",
            {},
            TRL,
            "DPOTrainer sft",
            on_trl("sft"),
            ours=lambda sample: sft_by_tokens(pairs(sample)),
            difference=TOKEN_MEAN,
        ),
    ]


def _sorted() -> list[Case]:
    found = []
    for name in SORTED:
        loss, beta = f"DPOTrainer {name}", {"beta": BETA}
        parts, whole = _halves(on_trl(name, beta=BETA)), _halves(mean_of(name, beta=BETA))
        smooth = on_trl(name, beta=BETA, label_smoothing=0.2)
        found += [
            Case(name, beta, TRL, f"{loss}, 2 micro-batches", parts, ours=whole, difference=MICRO_BATCH),
            Case(
                name, beta, TRL, f"{loss}, label_smoothing", smooth, ours=partial(_smoothed, name), difference=SMOOTHED
            ),
        ]
    return found


def _mixtures() -> list[Case]:
    two = f"0.8*dpo(beta={BETA})+0.2*bco_pair(beta={BETA})"
    mixed, mpo, rpo = (
        on_trl(*losses, weights=weights, beta=BETA)
        for losses, weights in (
            (("sigmoid", "bco_pair"), (0.8, 0.2)),
            (("sigmoid", "bco_pair", "sft"), (0.8, 0.2, 1.0)),
            (("sigmoid", "sft"), (1.0, 0.7)),
        )
    )

    def with_sft(objective: str, weight: float) -> Loss:
        return lambda sample: mean_of(objective)(sample) + weight * sft_by_tokens(pairs(sample))

    return [
        Case(two, {}, TRL, "DPOTrainer [sigmoid, bco_pair]", mixed),
        Case(
            f"{two}+sft",
            {},
            TRL,
            "DPOTrainer [sigmoid, bco_pair, sft] (MPO)",
            mpo,
            ours=with_sft(two, 1),
            difference=TOKEN_MEAN,
        ),
        Case(
            f"dpo(beta={BETA})+nll(0.7)",
            {},
            TRL,
            "DPOTrainer [sigmoid, sft] (RPO)",
            rpo,
            ours=with_sft(f"dpo(beta={BETA})", 0.7),
            difference=TOKEN_MEAN,
        ),
    ]


def _weighed() -> list[Case]:
    made = [
        Case(
            f"{name}+wpo",
            ours,
            TRL,
            f"DPOTrainer {loss}, use_weighting",
            on_trl(loss, use_weighting=True, **theirs),
            **tolerance(loss),
        )
        for loss, (name, ours, theirs) in SAME.items()
        if loss not in NOT_WEIGHED
    ]
    head = on_trl("sigmoid", beta=BETA, use_weighting=True, fused_head=True)
    entry = "DPOTrainer sigmoid, use_weighting, on its fused head"
    return [*made, Case("dpo+wpo", {"beta": BETA}, TRL, entry, head, tolerance=SINGLE, dtype=torch.float32)]


def _unshifted(sample: Sample) -> torch.Tensor:
    """bco_pair_shift with a past whose rewards were the opposite of today's, so that δ = 0."""
    batch: Pairs = pairs(sample)
    rewards = BETA * torch.cat((batch.chosen.log_ratio, batch.rejected.log_ratio)).detach()
    state = {"mean": -rewards.mean().item(), "count": float(len(rewards))}
    return get("bco_pair_shift").advance(batch, state, {"beta": BETA})[0].mean()


def _smoothed(name: str, sample: Sample) -> torch.Tensor:
    batch = pairs(sample)
    return 0.8 * get(name)(batch, beta=BETA).mean() + 0.2 * get(name)(swapped(batch), beta=BETA).mean()


def _halves(loss: Loss) -> Loss:
    half = PAIRS // 2
    return lambda sample: (loss(part(sample, 0, half)) + loss(part(sample, half, PAIRS))) / 2

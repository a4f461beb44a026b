"""Cases of trl's f-divergences: DPOTrainer with other ties to the reference than the reverse KL."""

from dataclasses import replace
from functools import partial

import torch

from losses import Completion, get
from losses.batch import each
from tests.peers.case import SINGLE, Case
from tests.peers.cases_trl_dpo import BETA, SAME, TRL, on_trl, tolerance
from tests.peers.sample import Sample, pairs

DIVERGENCES = {"forward_kl": "forward_kl", "js_divergence": "js", "alpha_divergence": "alpha_divergence"}
"""trl's name to ours."""
OF_THE_GAP = ("sigmoid", "hinge", "exo_pair", "robust", "discopop")
LINK_OF_SUMS = (
    "trl puts the f-divergence's link on the sum and then divides by the number of tokens; here divergences are "
    "refused for losses of token averages"
)


def cases() -> list[Case]:
    """All of them."""
    return [*_divergences(), *_links_of_averages()]


def _divergences() -> list[Case]:
    own = {"forward_kl": "dpo_forward_kl", "js_divergence": "dpo_js", "alpha_divergence": "dpo_alpha"}
    made = []
    for divergence, modifier in DIVERGENCES.items():
        alpha = {"alpha": 0.4} if divergence == "alpha_divergence" else {}
        # trl's α-divergence knows no float64.
        single = {"tolerance": SINGLE, "dtype": torch.float32} if alpha else {}
        theirs = on_trl("sigmoid", beta=BETA, divergence=divergence, **alpha)
        made.append(
            Case(own[divergence], {"beta": BETA} | alpha, TRL, f"DPOTrainer sigmoid, {divergence}", theirs, **single)
        )
        for loss in OF_THE_GAP:
            name, ours, settings = SAME[loss]
            params = ours | {f"{modifier}_{key}": value for key, value in alpha.items()}
            theirs = on_trl(loss, divergence=divergence, **settings, **alpha)
            how = single or tolerance(loss)
            made.append(Case(f"{name}+{modifier}", params, TRL, f"DPOTrainer {loss}, {divergence}", theirs, **how))
    return made


def _links_of_averages() -> list[Case]:
    found = []
    for loss in ("ipo", "sigmoid_norm"):
        name, ours, settings = SAME[loss]
        theirs = on_trl(loss, divergence="js_divergence", **settings)
        entry = f"DPOTrainer {loss}, js_divergence"
        found.append(Case(name, ours, TRL, entry, theirs, ours=partial(_linked, loss), difference=LINK_OF_SUMS))
    return found


def _linked(loss: str, sample: Sample) -> torch.Tensor:
    def spread(side: Completion) -> Completion:
        link = torch.nn.functional.logsigmoid(side.log_ratio) + torch.log(torch.tensor(2.0, dtype=torch.float64))
        even = (link / side.length)[:, None].expand_as(side.policy_logps)
        return replace(side, policy_logps=even, reference_logps=torch.zeros_like(even))

    name, params, _ = SAME[loss]
    return get(name)(each(pairs(sample), spread), **params).mean()

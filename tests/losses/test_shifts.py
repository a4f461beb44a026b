"""What happens when both log-ratios of a pair rise together: losses of the gap do not see it, absolute ones do."""

import pytest

from losses import get
from tests.losses.made import at_rest, one_pair

ABSOLUTE = ("nca_pair", "bco_pair", "sppo_hard", "sppo", "apo_zero", "apo_down", "cal_dpo")
OF_THE_GAP = (
    *("dpo", "cdpo", "robust", "focal_po", "ln_dpo", "r_dpo", "odpo", "ld_dpo", "sampo", "tdpo1", "tdpo2", "dr_dpo"),
    *("beta_dpo", "exo_pair", "discopop", "hinge", "rso", "ipo", "ipo_sum", "aot", "aot_unpaired", "sdpo", "tr_dpo"),
    *("tr_dpo_hard", "ema_dpo", "bco_pair_shift", "mallows_dpo"),
)


def shifted_by_three(name):
    pairs = (at_rest(one_pair(w, r, score_gap=1.5)) for w, r in ((2.5, 1.5), (5.5, 4.5)))
    return tuple(get(name)(pair, beta=0.3) for pair in pairs)


@pytest.mark.parametrize("name", OF_THE_GAP)
def test_a_shift_of_both_log_ratios_changes_nothing(name):
    plain, shifted = shifted_by_three(name)
    assert shifted.tolist() == pytest.approx(plain.tolist(), rel=1e-9)


@pytest.mark.parametrize("name", ABSOLUTE)
def test_absolute_loss_sees_a_shift_of_both_log_ratios(name):
    plain, shifted = shifted_by_three(name)
    assert shifted.tolist() != pytest.approx(plain.tolist(), rel=1e-3)

"""Our losses and the peers' own code give the same values and gradients, up to differences that have a name."""

import re

import pytest

pytest.importorskip("trl", minversion="1.16")
pytest.importorskip("liger_kernel")

from trl import DPOConfig, KTOConfig

from tests.peers import liger, trl_offline, trl_others
from tests.peers.case import Case, measure
from tests.peers.cases_kernels import OF_LIGER
from tests.peers.fact import Fact
from tests.peers.sample import draw
from tests.peers.table import DOCUMENT, all_cases, all_facts, key

NAMED = 1e-3
"""What a named difference comes to at least: far above rounding."""


@pytest.mark.parametrize("case", all_cases(), ids=str)
def test_value_and_gradient_are_those_of_the_peer(case: Case) -> None:
    found = measure(case)
    assert found.value <= case.tolerance
    assert found.gradient <= case.tolerance
    if case.difference:
        assert found.plain is not None
        assert found.plain > NAMED, f"there is no such difference any more: {case.difference}"


@pytest.mark.parametrize("fact", all_facts(), ids=str)
def test_what_is_said_of_a_peer_holds(fact: Fact) -> None:
    fact.check()


def entries(prefix: str) -> str:
    return " ".join(case.entry for case in all_cases() if case.entry.startswith(prefix))


def listed(error: object) -> set[str]:
    return set(re.findall(r"[a-z][a-z_-]+[a-z]", str(error).split("one of", 1)[-1].split("types are:", 1)[-1]))


def test_every_loss_of_trls_dpo_has_a_case() -> None:
    with pytest.raises(ValueError, match="Unknown loss type") as error:
        trl_offline.dpo(draw(0), "none_such")
    assert listed(error.value) - set(re.split(r"[^a-z_]+", entries("DPOTrainer"))) == set()


def test_every_divergence_of_trl_has_a_case() -> None:
    text = DPOConfig.__dataclass_fields__["f_divergence_type"].metadata["help"]
    named = set(re.findall(r"`([a-z_]+)`", text))
    assert {"forward_kl", "js_divergence", "alpha_divergence"} <= named
    assert named - set(re.split(r"[^a-z_]+", entries("DPOTrainer"))) == {"reverse_kl"}


@pytest.mark.parametrize(("call", "prefix"), [(trl_others.cpo, "CPOTrainer"), (trl_others.tpo, "TPOTrainer")])
def test_every_loss_of_trls_other_pair_trainers_has_a_case(call, prefix: str) -> None:
    with pytest.raises(ValueError, match="Unknown loss type") as error:
        call(draw(0), loss="none_such", beta=0.1, nll_weight=0)
    assert listed(error.value) - set(re.split(r"[^a-z-]+", entries(prefix))) == set()


def test_every_loss_of_trls_kto_has_a_case() -> None:
    choices = KTOConfig.__dataclass_fields__["loss_type"].metadata["choices"]
    assert set(choices) - set(re.split(r"[^a-z_]+", entries("KTOTrainer"))) == set()


def test_every_loss_of_ligers_dpo_has_a_case() -> None:
    with pytest.raises(ValueError, match="nsupported") as error:
        liger.paired(draw(0), "DPO", reference=True, loss_type="none_such")
    assert set(OF_LIGER) <= listed(error.value)
    assert listed(error.value) - {*OF_LIGER, "none_such", "loss_type"} <= {"ipo"}


def test_the_document_has_a_row_for_every_case_and_fact() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    missing = [str(case) for case in all_cases() if key(case) not in text]
    assert missing == [], "run python -m tests.peers.table"
    assert [case.difference for case in all_cases() if case.difference not in text] == []
    assert [str(fact) for fact in all_facts() if fact.statement not in text] == []

"""Finding objectives by name, refusing names and values, and a user's own loss in one file."""

import importlib.metadata
import re
import subprocess
import sys
import textwrap

import pytest
import torch

from losses import Completion, Pairs, get, names, register_file
from losses.registry import DuplicateObjective, ObjectiveFileError, Registry, UnknownObjective
from losses.testing import check_objective

BUILT_IN = {"cdpo", "dpo", "ipo", "ipo_sum", "kto", "orpo", "sdpo", "sft", "simpo", "tr_dpo", "tr_dpo_hard"}
OWN_LOSS = '''
    from torch.nn.functional import softplus
    from losses import Pairs, Param, Requires
    from losses.objective import objective
    from losses.space import Log

    @objective(
        params={"beta": Param(0.1, Log(0.01, 1), "β", "1/nat", "as it grows the margin shrinks", 0.001, 10)},
        batch=Pairs, requires=Requires.REFERENCE, reward="log_ratio", aggregation="sum",
        paper="none", equation="softplus(1 - β Δ)", optimum="none", version=1,
    )
    def NAME(pairs, *, beta):
        """A smooth hinge."""
        gap = pairs.chosen.log_ratio - pairs.rejected.log_ratio
        return BODY
'''


pytestmark = pytest.mark.usefixtures("registry_as_before")


@pytest.fixture
def own_file(tmp_path):
    def write(*, name, body="softplus(1 - beta * gap)", file="mine.py"):
        path = tmp_path / file
        path.write_text(textwrap.dedent(OWN_LOSS).replace("NAME", name).replace("BODY", body), encoding="utf-8")
        return path

    return write


def pairs():
    logps, mask = torch.tensor([[-1.0, -2.0], [-3.0, -1.0]]), torch.ones(2, 2, dtype=torch.bool)
    return Pairs(Completion(logps, logps - 0.5, mask), Completion(logps, logps + 0.5, mask))


def test_all_built_in_objectives_are_found_sorted():
    assert set(names()) >= BUILT_IN
    assert list(names()) == sorted(names())


def test_the_documented_call_gives_one_loss_per_example():
    assert get("ipo")(pairs(), beta=0.1).shape == (2,)
    assert torch.equal(get("ipo")(pairs()), get("ipo")(pairs(), beta=get("ipo").params["beta"].default))


def test_binding_needs_a_value_for_every_parameter_and_knows_no_other():
    for params in ({}, {"beta": 0.1, "gamma": 1.0}):
        with pytest.raises(ValueError, match="needs a value for each of beta"):
            get("dpo").bind(params)


def test_unknown_objective_suggests_the_near_one_and_lists_all():
    with pytest.raises(UnknownObjective, match="did you mean 'simpo'") as caught:
        get("simop")
    assert str(caught.value).startswith("no objective is named 'simop'")
    assert "tr_dpo_hard" in str(caught.value)
    assert isinstance(caught.value, KeyError)


def test_own_loss_file_is_registered_and_conforms(own_file):
    (mine,) = register_file(own_file(name="smooth_hinge"))
    assert get("smooth_hinge") is mine
    check_objective(mine)
    assert mine(pairs(), beta=0.5).shape == (2,)


def test_own_loss_file_read_again_counts_anew(own_file):
    register_file(own_file(name="edited"))
    (newer,) = register_file(own_file(name="edited", body="gap * 0 + 7.0"))
    assert get("edited")(pairs()).tolist() == [7, 7]
    assert get("edited") is newer


def test_own_loss_that_takes_a_known_name_is_refused_naming_both(own_file):
    before = get("dpo")
    with pytest.raises(DuplicateObjective, match=r"'dpo': .*objectives/dpo\.py:\d+ and .*mine\.py:\d+"):
        register_file(own_file(name="dpo"))
    assert get("dpo") is before


def test_two_definitions_in_one_file_are_refused_and_nothing_stays(own_file):
    path = own_file(name="twice")
    text = path.read_text(encoding="utf-8")
    path.write_text(text + text, encoding="utf-8")
    with pytest.raises(DuplicateObjective, match="twice"):
        register_file(path)
    assert "twice" not in names()


def test_own_loss_that_averages_is_refused_when_called(own_file):
    register_file(own_file(name="averaged", body="gap.mean()"))
    with pytest.raises(ValueError, match=r"'averaged' gave losses of shape \[\] for 2 examples"):
        get("averaged")(pairs())


@pytest.mark.parametrize(
    ("text", "told"),
    [("1 / 0", "ZeroDivisionError"), ("def f(:", "SyntaxError"), ("x = 1", "registers no objective")],
)
def test_file_without_objective_says_why(tmp_path, text, told):
    path = tmp_path / "broken.py"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ObjectiveFileError, match=told):
        register_file(path)


@pytest.mark.parametrize(("file", "told"), [("absent.py", "does not exist"), ("notes.txt", "not a Python file")])
def test_file_that_cannot_be_read_says_why(tmp_path, file, told):
    with pytest.raises(ObjectiveFileError, match=told):
        register_file(tmp_path / file)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("gap.mean() + gap", "WHOLE_BATCH"),
        ("(pairs.chosen.policy_logps - pairs.rejected.policy_logps).sum(-1)", "padding|must match"),
        ("gap.data * gap", "gradients are exact"),
        ("gap.detach() + 0 * gap", "the loss has no gradient"),
        ("(0.5 * gap).exp()", "the loss is not finite"),
        ("(pairs.chosen.policy_logps - pairs.chosen.reference_logps).sum(-1)", "reference"),
    ],
)
def test_conformance_finds_the_fault(own_file, body, told):
    (faulty,) = register_file(own_file(name="faulty", body=body, file="faulty.py"))
    with pytest.raises(AssertionError, match=told):
        check_objective(faulty)


def test_entry_point_of_an_installed_package_is_found_and_loaded_when_asked(tmp_path, own_file):
    own_file(name="from_package", file="a_package_with_a_loss.py")
    info = tmp_path / "a_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: a-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[bench.losses]\nfrom_package = a_package_with_a_loss\ngone = no_such_module\n"
    )
    code = """
        import sys; sys.path.insert(0, sys.argv[1])
        from losses.registry import ObjectiveFileError, get, names, problems
        assert {"from_package", "gone"} <= set(names())
        assert "a_package_with_a_loss" not in sys.modules
        assert get("from_package").version == 1
        try:
            get("gone")
        except ObjectiveFileError as error:
            assert "a-package" in str(error) and "no_such_module" in str(error), error
        else:
            raise SystemExit("a package that cannot be imported was not reported")
        assert [("gone" in point or "no_such" in point) for point in problems()] == [True], problems()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], check=True)


def test_entry_point_with_a_taken_name_is_told_naming_both_and_stops_nothing_else(monkeypatch):
    point = importlib.metadata.EntryPoint("dpo", "elsewhere:dpo", "bench.losses")
    monkeypatch.setattr("losses.registry.entry_points", lambda group: [point])
    fresh = Registry({"dpo": get("dpo")})
    assert fresh.get("dpo") is get("dpo")
    (told,) = fresh.problems().values()
    assert re.search(r"dpo\.py:\d+ and entry point 'elsewhere:dpo'", told)

"""The layout that the code keeps: twelve packages, layers without circles, files that can be read at one sitting."""

from pathlib import Path

import pytest

from tests.architecture.measures import circles, floors, measure

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "cli", "core", "data", "evaluate", "inspect", "models", "report", "runner", "stats", "suites", "train", "utils",
}  # fmt: skip
MOST_LINES = 500


@pytest.fixture(scope="module")
def measures():
    return measure(ROOT)


def test_the_root_of_bench_has_twelve_packages_and_three_modules(measures):
    root = ROOT / "bench"
    assert {path.parent.name for path in root.glob("*/__init__.py")} == PACKAGES
    assert {path.name for path in root.glob("*.py")} == {"__init__.py", "__main__.py", "errors.py"}
    assert measures.root_modules == 3


def test_no_import_goes_round_in_a_circle_not_even_inside_a_function_or_for_a_type(measures):
    assert measures.package_circles == ()
    assert measures.module_circles == ()


def test_packages_stand_on_ten_floors(measures):
    # losses | sweeps, errors, utils, core, data | report, models, train | evaluate, suites, runner | inspect, cli
    assert measures.package_floors <= 10


def test_any_stays_rare(measures):
    # Where a type is known it is named.
    assert measures.any_in_bench <= 20


def test_no_file_is_longer_than_500_lines():
    long = {
        str(path.relative_to(ROOT)): count
        for package in ("bench", "losses", "sweeps")
        for path in (ROOT / package).rglob("*.py")
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > MOST_LINES
    }
    assert long == {}


def test_a_circle_and_the_floors_above_it_are_seen():
    graph = {"a": frozenset({"b"}), "b": frozenset({"c"}), "c": frozenset({"b", "d"}), "d": frozenset()}
    assert circles(graph) == (("b", "c"),)
    assert floors(graph) == 3


def test_an_import_inside_a_function_and_one_for_a_type_count(tmp_path):
    package = tmp_path / "bench"
    (package / "one").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "one" / "__init__.py").write_text("")
    (package / "one" / "a.py").write_text("def f():\n    from bench.one import b\n    return b\n")
    (package / "one" / "b.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from bench.one.a import f\n"
    )
    for name in ("losses", "sweeps"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    assert measure(tmp_path).module_circles == (("bench.one.a", "bench.one.b"),)

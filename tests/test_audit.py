"""The audit of dependencies: a vulnerability without a named reason fails, a database that is silent only warns."""

import importlib.util
from pathlib import Path

import pytest

PLACE = Path(__file__).parents[1] / ".ci" / "audit.py"
SPEC = importlib.util.spec_from_file_location("audit", PLACE)
assert SPEC is not None
assert SPEC.loader is not None
audit = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(audit)

# As pip-audit 2.9 writes it.
FOUND = {
    "name": "jinja2",
    "version": "3.0.0",
    "vulns": [{"id": "PYSEC-2024-1", "fix_versions": ["3.1.3"], "aliases": ["CVE-2024-22195"], "description": "…"}],
}
SOUND = {"name": "numpy", "version": "2.4.6", "vulns": []}


def test_a_vulnerability_fails_unless_an_exception_names_it_by_one_of_its_names(capsys):
    assert audit.judged([FOUND, SOUND], unknown=0, exceptions={}) == 1
    assert "FOUND: jinja2 3.0.0: PYSEC-2024-1, mended in 3.1.3" in capsys.readouterr().out
    assert audit.judged([FOUND, SOUND], unknown=0, exceptions={"CVE-2024-22195": "not reached"}) == 0
    assert "an exception: not reached" in capsys.readouterr().out


def test_an_exception_that_nothing_needs_any_more_fails(capsys):
    assert audit.judged([SOUND], unknown=0, exceptions={"CVE-2024-22195": "not reached"}) == 1
    assert "NOT NEEDED: the exception CVE-2024-22195" in capsys.readouterr().out


def test_an_exception_needs_a_reason(tmp_path):
    path = tmp_path / "exceptions.toml"
    path.write_text('[[exception]]\nid = "X-1"\nreason = " "\n')
    with pytest.raises(ValueError, match="X-1 has no reason"):
        audit.read_exceptions(path)
    audit.read_exceptions(audit.EXCEPTIONS)


def test_a_database_that_knows_no_package_is_taken_for_one_that_does_not_answer(monkeypatch, tmp_path, capsys):
    pins = tmp_path / "pins.txt"
    pins.write_text("numpy==2.4.6\n")
    silent = [{"name": "numpy", "skip_reason": "Dependency not found on PyPI"}]
    monkeypatch.setattr(audit, "ask", lambda pins: (silent, None))
    assert audit.main([str(pins)]) == 0
    assert "WARNING: no package of 1 could be audited" in capsys.readouterr().err


def test_a_build_of_ones_own_is_asked_for_by_its_release():
    assert audit.pinned("torch==2.13.0+cpu") == "torch==2.13.0"
    assert audit.pinned("# a comment") is None
    assert audit.pinned("-e .") is None

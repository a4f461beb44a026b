"""A part of the bad inputs, fast: every reader and parser, each option with a few values, and what hypothesis finds."""

import json
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.core.assets import SUITES
from bench.core.manifest import read_manifest
from bench.core.outputs import read_written
from bench.core.record_bundle import read_bundle
from bench.core.request import read_settings, worker_count
from bench.data.preferences import read_preferences
from bench.errors import BenchError, UsageError
from bench.suites.settings import read_suite
from losses import get
from losses.grammar import ExpressionError, split_expressions
from sweeps.errors import SweepError
from sweeps.search import parse_sweep
from tests.bad_inputs import command_lines, data_files, folders, texts
from tests.bad_inputs.trying import Case, faults

SOME = 24
FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def some(cases: list[Case], count: int) -> list[Case]:
    return random.Random(0).sample(cases, min(count, len(cases)))


ALL_FILES = list(data_files.cases())
LINES = [case for case in command_lines.cases() if not case.name.startswith("suites build")]
CHOSEN = [
    *ALL_FILES,
    *some(LINES, SOME),
    *some(list(texts.cases()), SOME),
    *(case for case in folders.cases() if case.kind == "suite.toml"),
    *some([case for case in folders.cases() if case.kind == "loss file"], 6),
    *some([case for case in folders.cases() if case.kind == "model folder"], 4),
]


pytestmark = pytest.mark.usefixtures("registry_as_before")


@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: ascii(str(case))[1:60])
def test_a_bad_input_is_refused_in_one_message_that_says_what_to_do(case: Case, tmp_path: Path) -> None:
    assert faults(case, tmp_path) == []


@pytest.mark.slow
def test_no_bad_input_of_the_whole_campaign_is_told_by_a_traceback(tmp_path: Path) -> None:
    from tests.bad_inputs.__main__ import main

    assert main([]) == 0


def test_every_command_is_walked() -> None:
    walked = {path for path, _ in command_lines.commands()}
    assert {("run",), ("verify",), ("losses", "show"), ("suites", "build")} <= walked
    assert all(any(case.name.startswith(" ".join(path)) for case in LINES) for path in walked - {("suites", "build")})


def test_the_campaign_sees_a_fault(tmp_path: Path) -> None:
    def crash(folder: Path):
        from tests.bad_inputs.trying import read

        (folder / "out").mkdir()
        (folder / "out" / "half").write_text("x")
        return read(lambda: [][1])

    found = faults(Case(kind="own", name="crash", attempt=crash), tmp_path)
    assert any("IndexError" in line for line in found)
    assert any("leaves half behind" in line for line in found)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("prompt", "chosen", "rejected", "completion", "label", "chosen_score", "rejected_score", "role", "content")
OTHERS = (
    "system", "question", "instruction", "input", "output", "output_1", "output_2", "preference", "text", "score",
    "messages", "conversations", "rejected_response", "completions", "generations", "ratings", "response_0", "response_1",
    "better_response_id", "preferred_output", "non_preferred_output",
)  # fmt: skip
TURN = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "x"]), "content": st.sampled_from("ab")})
SAID = st.sampled_from(["text", "\n\nHuman: a\n\nAssistant: b", "\n\nAssistant: c"]) | st.lists(TURN | JSON, max_size=3)
ROW = st.dictionaries(st.sampled_from(FIELDS), JSON | SAID, max_size=6)
ROW |= st.dictionaries(st.sampled_from((*FIELDS, *OTHERS)), JSON | SAID, max_size=8)


@given(rows=st.lists(ROW | JSON, max_size=4), suffix=st.sampled_from([".jsonl", ".json"]))
@FEW
def test_any_json_is_read_or_refused(rows: list[object], suffix: str) -> None:
    text = json.dumps(rows) if suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows)
    refused_or_read(text.encode(), suffix)


@given(content=st.binary(max_size=200), suffix=st.sampled_from([".jsonl", ".jsonl.gz", ".json", ".parquet"]))
@FEW
def test_any_bytes_are_read_or_refused(content: bytes, suffix: str) -> None:
    refused_or_read(content, suffix)


@given(data=st.data())
@FEW
def test_a_good_file_with_bytes_changed_is_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(data_files.rows({"chosen_score": 2, "rejected_score": 1}, {"prompt": "é"}))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    refused_or_read(bytes(content), ".jsonl")


def refused_or_read(content: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"prefs{suffix}"
        path.write_bytes(content)
        try:
            assert read_preferences(path).rows
        except UsageError as error:
            assert path.name in error.problem
            assert error.fix


@given(text=st.text(alphabet="dpoiktn+*(),=.0123456789e- lar\n[]é", max_size=30) | st.text(max_size=12))
@FEW
def test_any_text_is_a_loss_or_refused(text: str) -> None:
    for part in split_expressions(text):
        try:
            get(part)
        except (KeyError, ExpressionError) as error:
            assert str(error)


@given(text=st.text(alphabet="betalr=,.0123456789e-+ nif\n[]β", max_size=30) | st.text(max_size=12))
@FEW
def test_any_text_is_a_sweep_or_refused(text: str) -> None:
    try:
        axes = parse_sweep(text)
    except SweepError as error:
        assert error.fix
    else:
        assert parse_sweep(",".join(map(str, axes))) == axes


@given(
    text=st.text(max_size=20)
    | st.builds("{}={}".format, st.sampled_from(["beta", "train.steps", "x"]), st.text(max_size=12))
)
@FEW
def test_any_text_is_a_setting_or_refused(text: str) -> None:
    try:
        read_settings([text], params=["beta"])
    except UsageError as error:
        assert error.fix


@given(text=st.text(max_size=8) | st.integers().map(str))
@FEW
def test_any_text_is_a_number_of_workers_or_refused(text: str) -> None:
    try:
        count = worker_count(text)
    except UsageError as error:
        assert error.fix
    else:
        assert count is None or 1 <= count <= 1024


@given(content=st.binary(max_size=100) | JSON.map(lambda value: json.dumps(value).encode()))
@FEW
def test_any_content_of_our_own_files_is_read_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, reader in (
            ("manifest.json", read_manifest),
            ("records.jsonl.gz", read_bundle),
            ("written.json", read_written),
        ):
            (folder / file).write_bytes(content)
            try:
                reader(folder)
            except BenchError as error:
                assert file in error.problem
                assert error.fix or file == "records.jsonl.gz"


@given(data=st.data())
@FEW
def test_a_suite_with_characters_changed_is_read_or_refused(data: st.DataObject) -> None:
    content = list((SUITES / "exact" / "suite.toml").read_text(encoding="utf-8"))
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.characters(codec="utf-8"))
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "exact" / "suite.toml"
        path.parent.mkdir()
        path.write_text("".join(content), encoding="utf-8")
        try:
            read_suite(path)
        except BenchError as error:
            assert "suite.toml" in error.problem

"""Records become one table, in the place that the document keeps for it."""

import copy
import json

import pytest

from bench.errors import UsageError
from tests.benchmarks.__main__ import main
from tests.benchmarks.table import BEGIN, END, render

MACHINE = {
    "processor": "A CPU", "device": "cpu", "cores": 2, "threads": 2, "python": "3.11.7",
    "packages": {"trl": "1.16.0", "torch": "2.13.0"},
}  # fmt: skip


def spread(low: float, median: float, high: float) -> dict[str, float]:
    return {"low": low, "median": median, "high": high}


def side(seconds: float, ratio: float) -> dict:
    return {
        "seconds": spread(seconds, seconds, seconds), "tokens_per_second": 2000 / seconds, "share_of_peak": 0.256,
        "ratio": spread(ratio - 0.2, ratio, ratio + 0.1), "ratio_with_reference": spread(ratio, ratio - 1, ratio),
    }  # fmt: skip


STEPS = {
    "kind": "steps", "machine": MACHINE, "peaks": {"fp32": 475e9, "bf16": 930e9}, "protocol": {"batch": 8},
    "rows": [
        {
            "size": "5M", "objective": "dpo", "setting": "best", "equal": True, "difference": 3.2e-6,
            "trl": side(0.57, 1), "ours-fp32": side(0.19, 3), "ours-bf16": side(0.12, 4.75),
            "peak_bytes": {"trl-best": 1.28e9, "ours-fp32": 0.68e9, "ours-bf16": 0.7e9},
        }
    ],
}  # fmt: skip
SWEEP = {
    "kind": "sweep", "machine": MACHINE, "protocol": {},
    "rows": [
        {
            "size": "5M", "objective": "dpo", "setting": "fp32", "betas": [0.1] * 5, "pairs": 128, "equal": True,
            "difference": 1e-7, "trl": {"seconds": spread(92.7, 92.7, 92.7)},
            "ours-fp32": {"seconds": spread(15.8, 15.8, 15.8), "ratio": spread(5.9, 5.9, 5.9)},
            "ours-bf16": {"seconds": spread(12.9, 12.9, 12.9), "ratio": spread(7.2, 7.2, 7.2)},
        }
    ],
}  # fmt: skip


def test_a_row_has_medians_ratios_their_spread_and_the_share_of_the_peak():
    row = render([STEPS]).splitlines()[2]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == [
        "5M", "dpo", "step of 8 pairs", "best", "0.57", "0.19", "**3.0×** (2.8–3.1)", "0.12", "**4.8×** (4.5–4.8)",
        "2.0×, 3.8×", "3,509, 10,526, 16,667", "26%, 26%, 26%", "1.28, 0.68, 0.70", "3e-06",
    ]  # fmt: skip


def test_steps_and_sweeps_of_one_machine_are_one_table_with_one_line_of_versions():
    lines = render([STEPS, SWEEP]).splitlines()
    assert len({line.count("|") for line in lines[:4]}) == 1
    assert "sweep of 5 β, 128 pairs" in lines[3]
    assert "**5.9×**" in lines[3]
    assert lines[4:] == [
        "",
        "A CPU, 2 cores, 2 threads, Python 3.11.7, trl 1.16.0, torch 2.13.0; best matrix products: fp32 475 GF/s, "
        "bf16 930 GF/s",
    ]


def test_rows_of_several_machines_say_which():
    other = copy.deepcopy(STEPS)
    other["machine"]["processor"] = "A GPU"
    lines = render([STEPS, other]).splitlines()
    assert [line.split("|")[-2].strip() for line in lines[:4]] == ["machine", "---", "1", "2"]
    assert lines[5].startswith("1. A CPU")
    assert lines[6].startswith("2. A GPU")


def test_times_of_unequal_losses_are_refused():
    wrong = copy.deepcopy(STEPS)
    wrong["rows"][0]["equal"] = False
    with pytest.raises(UsageError, match="the losses differ by 3"):
        render([wrong])


def test_the_command_writes_between_the_markers_and_nowhere_else(tmp_path):
    record, document = tmp_path / "steps.json", tmp_path / "benchmarks.md"
    record.write_text(json.dumps(STEPS), encoding="utf-8")
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    for _ in range(2):
        assert main(["table", str(record), "--docs", str(document)]) == 0
        assert document.read_text(encoding="utf-8") == f"before\n{BEGIN}\n{render([STEPS])}{END}\nafter\n"


def test_a_document_without_markers_is_left_as_it_is(tmp_path, capsys):
    record, document = tmp_path / "steps.json", tmp_path / "benchmarks.md"
    record.write_text(json.dumps(STEPS), encoding="utf-8")
    document.write_text("no place for a table\n", encoding="utf-8")
    assert main(["table", str(record), "--docs", str(document)]) == 2
    assert BEGIN in capsys.readouterr().err
    assert document.read_text(encoding="utf-8") == "no place for a table\n"


def test_the_projects_own_document_has_the_markers():
    from tests.benchmarks.alone import ROOT

    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert text.index("## Against TRL") < text.index(BEGIN) < text.index(END) < text.index("## Four objectives")

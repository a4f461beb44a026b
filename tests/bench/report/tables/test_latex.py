"""The table in LaTeX: it compiles as it stands, in a paper with two columns, whatever the names in it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bench.report.analysis.comparison import compare_group
from bench.report.analysis.settings import group_records
from bench.report.figures.write import write_figures
from bench.report.tables.latex import ROWS, escape, leaderboard_latex
from bench.report.tables.leaderboard import write_leaderboard
from tests.bench.report.conftest import record, run_spec, start_records, study, write_records

SAMPLE = Path(__file__).parents[4] / "docs" / "paper" / "sample.tex"
REQUIRED = os.environ.get("LOSSBENCH_REQUIRE_LATEX") == "1"
needs_latex = pytest.mark.skipif(
    shutil.which("pdflatex") is None and not REQUIRED,
    reason="pdflatex is not installed: apt-get install texlive-latex-recommended texlive-science",
)
HOSTILE = r"a_b%c&d$e#f{g}h\i~j^k<l>m|n"


def latex(records) -> str:
    return leaderboard_latex([compare_group(group) for group in group_records(records)])


def runs_of(name, *, target, seeds=3, beta=0.1):
    finals = [record(run_spec(name, beta=beta, seed=s), split="test", target=target) for s in range(1, seeds + 1)]
    return [record(run_spec(name, beta=beta), target=target), *finals]


def compiled(folder: Path) -> str:
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "sample.tex"]
    for _ in range(2):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, errors="replace")
        assert done.returncode == 0, done.stdout[-3000:]
    return (folder / "sample.log").read_text(errors="replace")


@needs_latex
def test_the_sample_paper_compiles_with_table_and_figures(tmp_path, full_study):
    write_figures(write_records(tmp_path, full_study))
    composed = runs_of("0.8*dpo+0.2*bco_pair(0.25)+nll(0.2)", target=0.2)
    write_records(tmp_path, [*composed, *runs_of(HOSTILE, target=-12.5), *runs_of("βδ–é漢", target=0.1, seeds=1)])
    write_leaderboard(tmp_path)
    shutil.copy(SAMPLE, tmp_path)
    log = compiled(tmp_path)
    assert not re.findall(r"Overfull .*|LaTeX Warning: .*|Package \w+ Warning: .*", log)
    assert "Output written on sample.pdf (2 pages" in log
    for name in ("score-vs-beta", "reward-kl-frontier"):
        assert f"{name}.pdf" in log


@needs_latex
def test_long_tables_of_two_protocols_compile_and_no_label_is_given_twice(tmp_path):
    many = [r for at in range(ROWS + 5) for r in runs_of(f"loss_{at:02d}", target=at / 100)]
    other = [r.model_copy(update={"protocol": "q" * 16}) for r in runs_of("dpo", target=0.3)]
    (tmp_path / "leaderboard.tex").write_text(latex([*many, *other]))
    text = "\\documentclass[twocolumn]{article}\\usepackage{booktabs,siunitx}\\begin{document}\\input{leaderboard}"
    (tmp_path / "sample.tex").write_text(text + "\\ref{tab:leaderboard}\\ref{tab:leaderboard-2}\\end{document}")
    log = compiled(tmp_path)
    assert not re.findall(r"Overfull \\hbox.*|LaTeX Warning: .*", log)


def test_the_first_row_alone_is_bold_and_each_has_its_word(full_study):
    rows = [line for line in latex(full_study).splitlines() if line.endswith(r"\\")][1:]
    assert [line.startswith(r"\bfseries dpo") for line in rows] == [True, False, False, False, False]
    assert [line.count(r"\bfseries") for line in rows] == [2, 0, 0, 0, 0]
    (group,) = group_records(full_study)
    words = {name: row.word or "first" for name, row in compare_group(group).results.items()}
    for line in rows[:4]:
        cells = [cell.strip().removeprefix(r"\bfseries ") for cell in line.split("&")]
        assert cells[3] == words[cells[0]]


def test_an_uncertainty_stands_in_the_last_places_of_its_number():
    text = latex([*start_records(), *runs_of("dpo", target=0.25)])
    cells = next(line for line in text.splitlines() if line.startswith(r"\bfseries dpo")).split(" & ")
    (group,) = group_records(runs_of("dpo", target=0.25))
    half = compare_group(group).results["dpo"].mean.half
    assert cells[2] == rf"\bfseries 0.250({half * 1000:.0f})"
    assert "S[table-format=1.3(3)" in text


def test_one_seed_has_a_star_and_the_caption_says_so():
    assert "{$^*$} &" in latex(runs_of("dpo", target=0.25, seeds=1))
    assert "one seed, for new prompts alone" in latex(runs_of("dpo", target=0.25, seeds=1))
    pair = [*runs_of("dpo", target=0.25, seeds=1), *runs_of("ipo", target=0.1, seeds=1)]
    assert re.search(r"& (\$<\$ )?[\d.]+\$\^\*\$ &", latex(pair))
    assert "one seed, for" not in latex(runs_of("dpo", target=0.25))


@pytest.mark.parametrize("text", [HOSTILE, "β", "漢", "é"], ids=["specials", "greek", "chinese", "accent"])
def test_escaped_text_has_no_special_character_left(text):
    found = re.sub(r"\\[a-zA-Z]+(\{\})?|\\[&%$#_{}]|\$[<>|]\$|\$\\?[a-z]+\$", "", escape(text))
    assert not set(found) & set("\\%&#_$~^<>|")


def test_shuffled_records_give_an_equal_table(full_study):
    assert latex(full_study[::-1]) == latex(full_study)


def test_columns_that_nothing_was_measured_for_are_left_out():
    bare = [r.model_copy(update={"metrics": r.metrics[:3]}) for r in study(("dpo", "ipo"))]
    assert "win rate" in latex(study(("dpo", "ipo")))
    assert "win rate" not in latex(bare)

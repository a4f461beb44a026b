"""A reward is called by who gives it: in tables, notes, figures' numbers, captions and an export's card."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from bench.core.record import named_measurement
from bench.core.results import load_records
from bench.models.model_card import card
from bench.report.analysis.agreement import JudgesAgree, agreement_text
from bench.report.analysis.analysis import analyse
from bench.report.figures.write import _named
from bench.report.page.pictures import pictures
from bench.report.tables.leaderboard import leaderboard, trials
from bench.report.tables.markdown import leaderboard_markdown
from bench.report.tables.summary import summary_table
from bench.report.tables.text import reward_brief, reward_label

PUBLISHED = Path(__file__).parents[3] / "results" / "published"


@pytest.fixture(scope="module")
def judged():
    """Published records of suite chat, whose first judge is a fitted classifier."""
    records = load_records(PUBLISHED / "smollm2")
    return records, analyse(records)


def terminal(analysis, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(summary_table(analysis.comparisons))
    return console.file.getvalue()


def test_tables_for_people_name_the_judge_and_say_nothing_of_gold(judged):
    _, analysis = judged
    for text in (terminal(analysis), terminal(analysis, 160), leaderboard_markdown(analysis.comparisons)):
        assert "gold" not in text.lower()
        assert "reward by fitted" in text
    heading = terminal(analysis, 160).split("fitted")
    assert len(heading) > 2  # in the column's heading too, a word a line


def test_columns_of_files_name_the_judge_and_those_of_a_gold_reward_stay(judged):
    records, analysis = judged
    table = leaderboard(records)
    assert {"reward", "reward_low", "reward_high", "validation_reward"} <= set(table.columns)
    assert not [name for name in table.columns if "gold" in name]
    assert set(table["reward_by"]) == {"fitted"}
    measured = trials(analysis.groups)["metric"]
    assert "reward" in set(measured)
    assert "gold_reward" not in set(measured)
    own = leaderboard(load_records(PUBLISHED / "sentiment"))
    assert {"gold_reward", "validation_gold_reward"} <= set(own.columns)
    assert not {"reward", "reward_by"} & set(own.columns)


def test_a_table_of_both_kinds_says_row_by_row_who_gives_the_reward(judged):
    records, _ = judged
    table = leaderboard([*records, *load_records(PUBLISHED / "sentiment-five")])
    assert set(table["reward_by"]) == {"fitted", "gold"}
    assert table["reward"].notna().any()


def test_captions_and_the_numbers_of_figures_name_the_judge(judged):
    _, analysis = judged
    (group,) = analysis.groups
    shows = [one.shows for one in pictures(PUBLISHED / "smollm2", group, index=0, groups=1)]
    assert any(text.startswith("Reward by fitted against KL") for text in shows)
    assert not [text for text in shows if "old reward" in text or "{" in text]
    rows = [
        {"gold_reward": 1.0, "gold_reward_low": 0.5, "quantity": "gold_reward", "kl": 2.0, "note": "of gold_reward"}
    ]
    assert _named(rows, "reward") == [
        {"reward": 1.0, "reward_low": 0.5, "quantity": "reward", "kl": 2.0, "note": "of gold_reward"}
    ]
    assert _named(rows, "gold_reward") == rows


def test_the_card_of_an_export_names_the_judge(judged):
    records, _ = judged
    record = next(one for one in records if one.spec.objective == "dpo" and one.evaluation.split == "test")
    text = card(record.spec, record.key, [record], kind="merged", dtype="float32", base="a model")
    assert "gold" not in text
    assert "| generation | test | reward by fitted |" in text
    assert "| judge fitted | test | win_rate |" in text
    assert "| judge start | test | win_rate |" in text


def test_measurements_keep_their_names_where_the_suite_has_a_reward():
    assert named_measurement("generation", "gold_reward", []) == ("generation", "gold_reward")
    assert named_measurement("judge", "win_rate", []) == ("judge", "win_rate")
    assert named_measurement("generation", "kl", ["a"]) == ("generation", "kl")
    assert named_measurement("judge_b", "win_rate", ["a", "b"]) == ("judge b", "win_rate")


def test_a_long_name_of_a_judge_is_cut_in_a_narrow_column_alone(judged):
    from dataclasses import replace

    (group,) = judged[1].groups
    long = replace(group, judges=("a-judge-of-a-very-long-name",))
    assert reward_label(long) == "reward by a-judge-of-a-very-long-name"
    assert reward_brief(long) == "reward by a-judge-of-…"
    assert reward_brief(group) == reward_label(group) == "reward by fitted"


@pytest.mark.parametrize(
    ("rows", "tau", "text"),
    [
        (0, float("nan"), "no rank agreement over 0 rows: it takes 4 to be more than luck; same side in 60 % of 10"),
        (1, float("nan"), "no rank agreement over 1 row: it takes 4"),
        (2, float("nan"), "no rank agreement over 2 rows: it takes 4"),
        (4, float("nan"), "one of them has all 4 rows alike"),
        (4, 1.0, "Kendall τ 1.00 (0.50 to 1.00) over 4 rows; same side in 60 % of 10 answers"),
    ],
)
def test_an_order_of_few_rows_is_not_agreed_on_and_the_reason_is_said(rows, tau, text):
    assert text in agreement_text(JudgesAgree("a", "b", rows, tau, 0.5, 1.0, 0.6, 10))


def test_no_tau_is_computed_over_fewer_than_four_rows():
    import numpy as np

    from bench.stats.concordance import FEWEST, kendall, kendall_interval

    rates = np.array([0.1, 0.4, 0.6, 0.9])
    assert kendall(rates, rates) == 1.0
    for few in range(FEWEST):
        assert np.isnan(kendall(rates[:few], rates[:few]))
        table = np.tile(rates[:few, None], (1, 5))
        assert np.isnan(kendall_interval(table, table)).all()

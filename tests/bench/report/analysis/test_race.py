"""A race replayed from records: the words are its looks', whatever more seeds would say."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.core.record import START
from bench.core.results import load_records
from bench.errors import RunError
from bench.report.analysis.analysis import analyse
from bench.report.analysis.comparison import compare_group
from bench.report.analysis.race import out_at
from bench.report.analysis.ranking import ranked
from bench.report.analysis.settings import group_records
from bench.report.figures.decision import decision, race_history
from bench.report.figures.style import house, style_of
from bench.report.page.render import page_html
from bench.report.tables.leaderboard import leaderboard
from bench.report.tables.markdown import leaderboard_markdown
from bench.stats.race import RaceTerms, run_race

PUBLISHED = Path(__file__).parents[4] / "results" / "published" / "sentiment-five"
TERMS = {"looks": [3, 5], "levels": [0.045, 0.005], "margin": 0.3}


@pytest.fixture(scope="module")
def published():
    return load_records(PUBLISHED)


def raced(records, terms=TERMS, *, keep=lambda record: True):
    """The records as those of a race; test records only where ``keep`` says so."""
    seeds = sorted({r.spec.seed for r in records if r.evaluation.split == "test" and r.spec.objective != START})
    arms = sorted({r.spec.objective for r in records} - {START})
    tuning = {**records[0].tuning, "race": terms, "final_seeds": seeds, "arms": arms}
    kept = [r for r in records if r.evaluation.split != "test" or r.spec.objective == START or keep(r)]
    return [r.model_copy(update={"tuning": tuning}) for r in kept], seeds


def rows_of(records):
    scores: dict[str, dict[int, list[float]]] = {}
    for one in records:
        if one.evaluation.split == "test" and one.spec.objective != START:
            scores.setdefault(one.spec.objective, {})[one.spec.seed] = one.scores["target"]
    return scores


def test_the_words_are_those_of_the_race_also_where_dropped_arms_have_fewer_seeds(published):
    whole, seeds = raced(published)
    truth = run_race(rows_of(published), RaceTerms((3, 5), (0.045, 0.005), 0.3), order=seeds)
    out = {arm: look.seeds for look in truth.looks for arm in look.dropped}
    assert out  # else nothing is tried here
    assert truth.end is not None
    fewer, _ = raced(published, keep=lambda r: seeds.index(r.spec.seed) < out.get(r.spec.objective, len(seeds)))
    assert len(fewer) < len(whole)
    for records in (whole, fewer):
        found = compare_group(group_records(records)[0])
        assert {name: row.out_at for name, row in found.results.items() if row.out_at} == out
        words = {name: row.word for name, row in found.results.items() if row.word is not None}
        assert words == {arm: word for arm, word in truth.words.items() if arm != truth.looks[-1].first}
        assert found.verdict.first == truth.looks[-1].first
        assert found.verdict.margin == 0.3
        assert set(found.verdict.worse) == set(out)
        # those that were dropped stand behind those that were not, the last dropped first
        places = [row.out_at or 99 for row in found.results.values()]
        assert places == sorted(places, reverse=True)


def test_the_start_model_stands_behind_all_that_are_above_it_dropped_or_not(published):
    records, _ = raced(published)
    (group,) = group_records(records)
    shown = [setting.objective for setting in ranked(group) if setting.best or setting is group.start]
    assert out_at(group.race)
    assert shown.index(START) == len(shown) - 1


def test_the_page_tells_the_terms_of_a_race_in_words(published):
    records, _ = raced(published)
    many = [r.model_copy(update={"tuning": {**r.tuning, "final_seeds": list(range(1000, 1032))}}) for r in records]
    text = page_html(analyse(many), results=PUBLISHED)
    assert "looks: 3, 5; levels: 0.045, 0.005; margin: 0.3" in text
    assert "1000 to 1031" in text


def test_an_option_does_not_move_the_margin_of_a_race(published):
    records, _ = raced(published)
    assert analyse(records, margin=5.0).comparisons[0].verdict.margin == 0.3


def test_a_race_before_its_first_look_has_decided_nothing(published):
    records, seeds = raced(published, keep=lambda r: False)
    assert compare_group(group_records(records)[0]).verdict.first is None
    one_seed, _ = raced(published, keep=lambda r: r.spec.seed == seeds[0])
    (group,) = group_records(one_seed)
    assert group.race.needs == 3
    found = compare_group(group)
    assert {row.word for row in found.results.values()} == {None, "undecided"}
    assert found.verdict.to_start is None or found.verdict.to_start == "undecided"
    assert not found.verdict.is_best


def test_a_look_that_lacks_an_arm_is_not_taken(published):
    _, seeds = raced(published)
    records, _ = raced(published, keep=lambda r: r.spec.objective != "dpo" or r.spec.seed == seeds[0])
    (group,) = group_records(records)
    assert (group.race.looks, group.race.needs) == ((), 3)


def test_a_run_that_diverged_counts_as_ended(published):
    records, seeds = raced(published)
    lost = [
        r.model_copy(update={"status": "diverged", "error": "not finite", "metrics": (), "scores": {}})
        if r.spec.objective == "dpo" and r.evaluation.split == "test" and r.spec.seed == seeds[0]
        else r
        for r in records
    ]
    assert len(group_records(lost)[0].race.looks) == len(group_records(records)[0].race.looks)


def test_files_and_figures_show_when_an_objective_was_dropped(published):
    records, _ = raced(published)
    (group,) = group_records(records)
    comparison = compare_group(group)
    table = leaderboard(records)
    dropped = {r.objective: int(r.out_at) for r in table.itertuples() if r.out_at == r.out_at}
    assert dropped == {name: row.out_at for name, row in comparison.results.items() if row.out_at}
    name, seeds = next(iter(dropped.items()))
    assert f"worse, out at {seeds} seeds" in leaderboard_markdown([comparison])
    with house(style_of("paper")):
        (drawn,) = decision(comparison, style_of("paper"))
        (history,) = race_history(comparison, style_of("paper"))
    assert {row["objective"]: row["out_at"] for row in drawn.rows if row["out_at"]} == dropped
    assert f"{name} (out at {seeds})" in [label.get_text() for label in drawn.figure.axes[0].get_yticklabels()]
    looks = {(row["objective"], row["look"]): row for row in history.rows}
    for number, look in enumerate(group.race.looks, 1):
        assert {arm for arm, at in looks if at == number} == set(look.arms)
        assert {arm for arm, at in looks if at == number and looks[arm, at]["dropped"]} == set(look.dropped)


@pytest.mark.parametrize(
    "terms",
    [{"looks": [2, 5]}, {"looks": [5, 2], "levels": [0.01, 0.01], "margin": 0.1}, 7, {**TERMS, "margin": -1.0}],
    ids=["parts missing", "falling looks", "no table", "margin"],
)
def test_terms_that_are_no_race_are_refused(published, terms):
    records, _ = raced(published, terms)
    with pytest.raises(RunError, match="no race"):
        compare_group(group_records(records)[0])


def test_a_race_without_its_seeds_in_order_is_refused(published):
    records, _ = raced(published)
    (group,) = group_records([r.model_copy(update={"tuning": {**r.tuning, "final_seeds": 5}}) for r in records])
    with pytest.raises(RunError, match="seeds in order"):
        compare_group(replace(group))

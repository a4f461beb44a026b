"""Figures of objectives against each other: their numbers are those worked out by hand."""

from itertools import combinations

import numpy as np
import pytest

from bench.report.analysis.comparison import compare_group
from bench.report.analysis.settings import group_records
from bench.report.figures.decision import WORDS, decision, race_history
from bench.report.figures.matrix import comparisons
from bench.report.figures.panels import score_vs_parameter
from bench.report.figures.saving import save
from bench.report.figures.scatter import alignment_tax, length_vs_reward
from bench.report.figures.style import house, style_of
from bench.report.figures.trials import best_of_n, variance
from bench.report.figures.write import FIGURES, VERDICTS
from tests.bench.report.conftest import record, run_spec, start_records, study

PAPER = style_of("paper")


def draw(plot, records, *, style=PAPER):
    (group,) = group_records(records)
    with house(style):
        return {one.name: one for one in plot(compare_group(group) if plot in VERDICTS else group, style)}


def scored(objective: str, tables):
    """One validation run, and a test run a seed with these per-prompt targets."""
    made = [record(run_spec(objective))]
    for seed, row in enumerate(tables):
        one = record(run_spec(objective, seed=seed + 1), split="test", target=float(np.mean(row)))
        made.append(one.model_copy(update={"scores": {**one.scores, "target": [float(value) for value in row]}}))
    return made


def test_a_win_is_counted_over_prompts_and_pairs_of_seeds():
    records = scored("dpo", [[1, 2, 3], [1, 2, 0]]) + scored("ipo", [[0, 2, 5], [2, 0, 1]])
    rows = {(row["objective"], row["against"]): row for row in draw(comparisons, records)["win-matrix"].rows}
    # prompt 1: {1, 1} over {0, 2}: 2 of 4; prompt 2: {2, 2} over {2, 0}: 1 tie, 1 win, twice: 3 of 4;
    # prompt 3: {3, 0} over {5, 1}: 3 > 1 alone: 1 of 4
    assert rows["dpo", "ipo"]["improvement"] == pytest.approx((2 + 3 + 1) / 12)
    assert rows["ipo", "dpo"]["improvement"] == pytest.approx(1 - 6 / 12)
    assert rows["dpo", "ipo"]["p"] == rows["ipo", "dpo"]["p"]


def test_the_better_of_two_is_starred_where_the_corrected_test_tells_them_apart():
    noise = np.random.default_rng(0).normal(size=(3, 40))
    records = scored("far", noise + 5) + scored("near", noise[::-1] + 0.01) + scored("same", noise)
    found = draw(comparisons, records)["win-matrix"]
    differs = {(row["objective"], row["against"]) for row in found.rows if row["differs"]}
    assert differs == {("far", "near"), ("near", "far"), ("far", "same"), ("same", "far")}
    texts = [text.get_text() for text in found.figure.axes[0].texts]
    assert sorted(text for text in texts if text.endswith("*")) == ["0*", "0*", "100*", "100*"]


def test_mean_ranks_are_over_prompts_and_show_the_words_of_the_table():
    best = [[9, 9, 1, 9], [9, 9, 1, 9.1]]
    second = [[8, 8, 8, 8], [8, 8, 8, 8.1]]
    third = [[7, 7.5, 7, 7], [7, 7.5, 7, 7.1]]
    records = scored("dpo", best) + scored("ipo", second) + scored("kto", third)
    rows = {row["objective"]: row for row in draw(comparisons, records)["mean-ranks"].rows}
    # prompts 1, 2, 4: dpo, ipo, kto; prompt 3: ipo, kto, dpo
    assert [rows[name]["mean_rank"] for name in ("dpo", "ipo", "kto")] == [1.5, 1.75, 2.75]
    assert (rows["dpo"]["prompts"], rows["dpo"]["seeds"]) == (4, 2)


@pytest.mark.parametrize("seed", range(3))
def test_every_figure_and_the_table_have_one_word_for_an_objective(seed):
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(5, 40))
    gaps = {"dpo": 1.0, "ipo": 1.0, "kto": 0.9, "simpo": 0.2, "orpo": -1.0}
    records = [r for name, gap in gaps.items() for r in scored(name, shared + gap + 0.2 * rng.normal(size=(5, 40)))]
    (group,) = group_records(records)
    words = {name: row.word or "first" for name, row in compare_group(group).results.items()}
    assert "worse" in words.values()
    first = next(iter(words))
    assert {row["objective"]: row["word"] for row in draw(decision, records)["decision"].rows} == words
    found = draw(comparisons, records)
    assert {row["objective"]: row["word"] for row in found["mean-ranks"].rows} == words
    starred = {row["objective"] for row in found["win-matrix"].rows if row["against"] == first and row["differs"]}
    assert starred == {name for name, word in words.items() if word == "worse"}


def test_the_decision_is_drawn_as_its_numbers_say():
    noise = np.random.default_rng(0).normal(size=(4, 30))
    records = [
        *start_records(),
        *scored("dpo", noise + 1),
        *scored("ipo", noise[::-1] + 0.9),
        *scored("kto", noise - 9),
    ]
    start = next(r for r in records if r.spec.objective == "start" and r.evaluation.split == "test")
    records[records.index(start)] = start.model_copy(update={"scores": {"target": [0.0] * 30}})
    found = draw(decision, records)["decision"]
    assert [row["objective"] for row in found.rows] == ["dpo", "ipo", "kto", "start model"]
    axes = found.figure.axes[0]
    left, _ = axes.get_xlim()
    marks = [line for line in axes.lines if len(line.get_xdata()) == 1]
    for at, (row, mark) in enumerate(zip(found.rows, marks, strict=True)):
        assert mark.get_ydata()[0] == at
        assert mark.get_color() == WORDS[row["word"]]
        assert mark.get_xdata()[0] == max(row["difference"], left)
    assert marks[2].get_marker() == "<"  # kto ran away: an arrow at the edge, so that the others are not pressed flat
    # … and so is an end of an interval that does not fit.
    open_ends = sum(row["low"] < left for row in found.rows)
    assert open_ends >= 1
    assert len(axes.collections) == open_ends
    assert draw(decision, scored("dpo", noise)) == {}
    assert draw(race_history, records) == {}


def test_the_best_of_n_is_the_mean_over_all_choices_of_n_trials():
    records = [record(run_spec(beta=b), target=t) for b, t in ((0.1, 0.1), (0.3, 0.4), (1.0, 0.2))]
    rows = draw(best_of_n, records)["best-of-n"].rows
    # n = 2: the bests of {0.1, 0.4}, {0.1, 0.2}, {0.4, 0.2}
    assert [row["best"] for row in rows] == pytest.approx([0.7 / 3, (0.4 + 0.2 + 0.4) / 3, 0.4])
    assert all(row["low"] <= row["best"] <= row["high"] for row in rows)


def test_a_failed_trial_counts_as_the_worst_one():
    records = [record(run_spec(beta=0.1), target=0.1), record(run_spec(beta=0.3), target=0.4)]
    records.append(record(run_spec(beta=1.0), status="diverged"))
    rows = draw(best_of_n, records)["best-of-n"].rows
    assert (rows[0]["trials"], rows[0]["failed"]) == (3, 1)
    assert rows[0]["best"] == pytest.approx((0.1 + 0.4 + 0.1) / 3)
    assert draw(best_of_n, records[:1]) == {}


def test_noise_of_prompts_alone_is_the_prompts_and_of_seeds_alone_the_seeds():
    prompts = scored("prompts", [[1, 2, 3, 7]] * 3)
    seeds = scored("seeds", [[1] * 4, [2] * 4, [6] * 4])
    rows = {row["objective"]: row for row in draw(variance, prompts + seeds)["variance"].rows}
    assert (rows["prompts"]["prompt_share"], rows["prompts"]["seed_share"]) == (1, 0)
    assert (rows["seeds"]["prompt_share"], rows["seeds"]["seed_share"]) == (0, 1)
    assert rows["seeds"]["seed"] == pytest.approx(np.var([1, 2, 6], ddof=1))
    assert draw(variance, scored("one", [[1, 2]])) == {}


def test_length_and_reward_of_each_setting_are_drawn_with_the_start_model():
    records = [*start_records(), record(run_spec(), target=0.3, kl=4.0)]
    rows = draw(length_vs_reward, records)["length-vs-reward"].rows
    # the records' length is 41 + KL / 4, their reward target + 0.1 · KL
    assert [(row["kind"], row["length"], row["gold_reward"]) for row in rows] == [
        ("start", 41.0, 0.0),
        ("setting", 42.0, pytest.approx(0.7)),
    ]


def test_each_task_of_lm_eval_has_a_panel_and_without_one_there_is_no_figure():
    records = [*start_records(), record(run_spec(), kl=4.0)]
    found = draw(alignment_tax, records)["alignment-tax"]
    assert [(row["kl"], row["score"]) for row in found.rows] == [(0.0, 0.588), (4.0, pytest.approx(0.584))]
    assert [axes.get_title() for axes in found.figure.axes] == ["blimp acc"]
    bare = [r.model_copy(update={"metrics": tuple(m for m in r.metrics if m.task != "blimp")}) for r in records]
    assert draw(alignment_tax, bare) == {}


@pytest.mark.parametrize(
    ("name", "columns", "count"),
    [
        ("paper", None, 30),
        ("paper", 1, 3),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("paper", None, 3), ("paper", 1, 30), ("slides", None, 3), ("slides", None, 30))
        ),
    ],
)
def test_no_two_texts_overlap_and_none_leaves_the_figure(name, columns, count, tmp_path):
    style = style_of(name, columns=columns)
    records = study([f"objective_{at}" for at in range(count)], final_seeds=2)
    plots = (*FIGURES, *VERDICTS) if count < 5 else (score_vs_parameter, comparisons, decision, variance)
    for plot in plots:
        for one in draw(plot, records, style=style).values():
            with house(style):
                save(one.figure, tmp_path / one.name, formats=("png",))
            boxes = visible_texts(one.figure)
            assert one.figure.get_figheight() <= style.tallest
            edge = one.figure.bbox.padded(1)
            assert [text for text, box in boxes if not contains(edge, box)] == [], one.name
            clashes = [(a, b) for (a, x), (b, y) in combinations(boxes, 2) if x.padded(-1).overlaps(y.padded(-1))]
            assert clashes == [], one.name


def contains(outer, inner) -> bool:
    return outer.x0 <= inner.x0 and outer.y0 <= inner.y0 and inner.x1 <= outer.x1 and inner.y1 <= outer.y1


def visible_texts(figure):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    renderer = FigureCanvasAgg(figure).get_renderer()
    found = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    hidden = {
        id(label)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        for label in (tick.label1, tick.label2)
        if not axis.get_visible() or not in_view(axes, axis, tick)
    }
    return [(text.get_text(), text.get_window_extent(renderer)) for text in found if id(text) not in hidden]


def in_view(axes, axis, tick) -> bool:
    low, high = sorted(axis.get_view_interval())
    return low <= tick.get_loc() <= high

"""Figures: the CSV holds what is drawn, the frontier is Pareto's, equal records give equal bytes."""

import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.record import START
from bench.errors import RunError, UsageError
from bench.report.analysis.comparison import compare_group
from bench.report.analysis.settings import group_records
from bench.report.figures.curves import smooth, training_curves
from bench.report.figures.frontier import pareto, reward_kl_frontier
from bench.report.figures.panels import logp_shift, score_vs_parameter
from bench.report.figures.saving import FORMATS, formats_of
from bench.report.figures.style import house, log_ticks, style_of
from bench.report.figures.write import FIGURES, NAMES, VERDICTS, write_figures
from bench.utils.cores import available_cores
from tests.bench.report.conftest import record, run_spec, start_records, study, write_records

PAPER = style_of("paper")


def every_figure(group, *, style):
    with house(style):
        for draw_one in FIGURES:
            yield from draw_one(group, style)
        for draw_one in VERDICTS:
            yield from draw_one(compare_group(group), style)


def drawn(figure) -> np.ndarray:
    points = [line.get_xydata() for axes in figure.axes for line in axes.lines]
    return np.concatenate([np.asarray(part, dtype=float).reshape(-1, 2) for part in points])


def holds(points: np.ndarray, x: float, y: float) -> bool:
    return bool((np.isclose(points[:, 0], x) & np.isclose(points[:, 1], y)).any())


def draw(plot, records, *, style=PAPER):
    (group,) = group_records(records)
    with house(style):
        return list(plot(group, style))


def rates(objective: str = "dpo", *, betas=(0.1, 1.0), rates=(1e-4, 1e-3)):
    """A sweep of two parameters, whose target is β plus a thousand learning rates."""
    return [record(run_spec(objective, beta=b, rate=r), target=b + 1e3 * r) for b in betas for r in rates]


@pytest.mark.parametrize("plot", [score_vs_parameter, logp_shift])
def test_panel_rows_are_the_points_drawn(plot):
    ((figure, rows),) = [(one.figure, one.rows) for one in draw(plot, study(("dpo", "simpo"), seeds=2))]
    points = drawn(figure)
    shown = [row for row in rows if row["kind"] in ("mean", "seed")]
    # 2 objectives × 5 β × 2 quantities × (a mean and 2 seeds)
    assert len(shown) == 60
    assert all(holds(points, row["x"], row["y"]) for row in shown)
    bars = [tuple(s[:, 1]) for axes in figure.axes for c in axes.collections for s in c.get_segments()]
    means = [row for row in rows if row["kind"] == "mean"]
    assert np.allclose(sorted(bars), sorted((row["low"], row["high"]) for row in means))


def test_each_swept_parameter_has_a_figure_with_one_line_for_each_value_of_the_other():
    beta, rate = draw(score_vs_parameter, rates())
    assert (beta.name, rate.name) == ("score-vs-beta", "score-vs-learning_rate")
    lines = {(row["x"], row["rate"]): row["line"] for row in beta.rows if row["quantity"] == "target"}
    assert lines == {(0.1, 1e-4): 0, (0.1, 1e-3): 1, (1.0, 1e-4): 0, (1.0, 1e-3): 1}
    lines = {(row["x"], row["setting"]): row["line"] for row in rate.rows if row["quantity"] == "target"}
    assert lines == {(1e-4, "beta=0.1"): 0, (1e-4, "beta=1"): 1, (1e-3, "beta=0.1"): 0, (1e-3, "beta=1"): 1}


def test_of_many_values_of_a_second_parameter_the_line_joins_what_validation_likes_best():
    many = tuple(1e-4 * at for at in range(1, 7))
    beta, _ = draw(score_vs_parameter, rates(rates=many))
    joined = [(row["x"], row["rate"]) for row in beta.rows if row["quantity"] == "target" and row["line"] == 0]
    assert joined == [(0.1, many[-1]), (1.0, many[-1])]
    assert sum(row["line"] == -1 for row in beta.rows if row["quantity"] == "target") == 10


def test_no_line_goes_through_settings_drawn_at_random():
    records = [record(run_spec(beta=0.1 * at, rate=1e-4 * at)) for at in range(1, 8)]
    beta, _ = draw(score_vs_parameter, records)
    assert {row["line"] for row in beta.rows} == {-1}


def test_a_parameter_that_reaches_zero_has_a_linear_scale():
    records = [record(run_spec().model_copy(update={"params": {"gamma": value}})) for value in (0.0, 0.5, 1.0)]
    (found,) = draw(score_vs_parameter, records)
    assert found.name == "score-vs-gamma"
    assert [axes.get_xscale() for axes in found.figure.axes] == ["linear", "linear"]


def test_one_setting_that_ran_away_does_not_press_the_others_flat():
    records = [record(run_spec(beta=b), target=t) for b, t in ((0.01, -500.0), (0.1, 0.2), (0.3, 0.4), (1.0, 0.3))]
    (found,) = draw(score_vs_parameter, records)
    low, high = found.figure.axes[0].get_ylim()
    assert -2 < low < 0.2
    assert high < 2
    assert min(row["y"] for row in found.rows) == -500


def test_frontier_rows_are_the_points_drawn():
    (found,) = draw(reward_kl_frontier, study(("dpo", "simpo")))
    points = drawn(found.figure)
    assert len(found.rows) == 11
    assert all(holds(points, row["kl"], row["gold_reward"]) for row in found.rows)


def with_optimum(kl, reward):
    curve = {"kl": kl, "reward": reward}
    known = {"frontier": {"validation": curve, "test": curve}}
    return [r.model_copy(update={"provenance": known}) if r.spec.objective == START else r for r in study(("dpo",))]


def test_the_known_optimum_is_drawn_and_marked_where_the_target_is_highest():
    # J = reward − 0.1 · KL: 0, 0.8, 0.9, 0.7 → KL 3
    (found,) = draw(reward_kl_frontier, with_optimum([0.0, 1.0, 3.0, 6.0], [0.0, 0.9, 1.2, 1.3]))
    kinds = [row["kind"] for row in found.rows]
    assert kinds.count("optimum") == 4
    marked = next(row for row in found.rows if row["kind"] == "target optimum")
    assert (marked["kl"], marked["gold_reward"]) == (3.0, 1.2)
    assert all(holds(drawn(found.figure), row["kl"], row["gold_reward"]) for row in found.rows)
    labels = [text.get_text() for text in found.figure.legends[0].get_texts()]
    assert {"optimum", "π* at β₀"} <= set(labels)


def test_an_optimum_of_unequal_lists_is_refused():
    with pytest.raises(RunError, match="2 KLs and 1 rewards"):
        draw(reward_kl_frontier, with_optimum([0.0, 1.0], [0.0]))


def test_curve_rows_are_the_points_drawn():
    (found,) = draw(training_curves, study(("dpo", "simpo")))
    points = drawn(found.figure)
    assert len(found.rows) == 2 * 3 * 60
    assert all(holds(points, row["step"], row["mean"]) for row in found.rows)
    assert all(row["low"] <= row["mean"] <= row["high"] for row in found.rows)


def test_the_written_numbers_are_the_plotted_ones(tmp_path):
    records = study(("dpo", "ipo", "kto"), final_seeds=2)
    (group,) = group_records(records)
    write_figures(write_records(tmp_path, records), formats=("svg",))
    found = list(every_figure(group, style=PAPER))
    assert {one.name for one in found} == {"score-vs-beta", *(name for name in NAMES if not name.endswith("-"))} - {
        "race"
    }
    for one in found:
        written = pd.read_csv(tmp_path / "figures" / f"{one.name}.csv")
        expected = pd.DataFrame(one.rows)
        assert list(written.columns) == list(expected.columns)
        numbers = expected.select_dtypes("float").columns
        np.testing.assert_allclose(written[numbers], expected[numbers], rtol=1e-5)


def test_equal_records_give_equal_bytes_and_all_kinds_of_file(tmp_path):
    records = study(("dpo", "ipo"), final_seeds=2)
    first = write_figures(write_records(tmp_path / "a", records))
    second = write_figures(write_records(tmp_path / "b", reversed(records)))
    names = {path.stem for path in first}
    assert names == {"score-vs-beta", *NAMES} - {"score-vs-", "mean-ranks", "race"}
    assert [p.name for p in first] == sorted(f"{n}.{k}" for n in names for k in (*FORMATS, "csv"))
    assert all(one.read_bytes() == other.read_bytes() for one, other in zip(first, second, strict=True))
    pdf, svg = (tmp_path / "a" / "figures" / f"score-vs-beta.{kind}" for kind in ("pdf", "svg"))
    assert b"/FontFile2" in pdf.read_bytes()
    assert b"/Type3" not in pdf.read_bytes()
    assert b"Date" not in pdf.read_bytes()
    # letters are outlines: no viewer sets them in a font of its own
    assert b"<text" not in svg.read_bytes()
    assert b"<dc:date" not in svg.read_bytes()


@pytest.mark.slow
def test_several_processes_write_the_same_bytes(tmp_path):
    records = study(("dpo", "ipo"), final_seeds=2)
    alone = write_figures(write_records(tmp_path / "a", records), processes=1)
    write_records(tmp_path / "b", records)
    code = "import sys; from pathlib import Path; from bench.report.figures.write import _processes, write_figures\n"
    code += "write_figures(Path(sys.argv[1]), processes=2); print(_processes() > 1, 'matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "b"], capture_output=True, text=True, check=True)
    cores = available_cores()
    assert done.stdout.split() == [str(cores > 1 and sys.platform == "linux"), "True"]
    for path in alone:
        assert path.read_bytes() == (tmp_path / "b" / "figures" / path.name).read_bytes()


def test_only_the_formats_asked_for_lie_in_the_folder(tmp_path):
    write_records(tmp_path, study(("dpo",), final_seeds=0))
    write_figures(tmp_path, formats=("png",))
    written = write_figures(tmp_path, formats=("svg",), style="slides")
    assert sorted((tmp_path / "figures").iterdir()) == written
    assert {path.suffix for path in written} == {".svg", ".csv"}


@pytest.mark.parametrize(
    ("style", "columns", "wide"), [("paper", 1, 3.3), ("paper", 2, 6.8), ("slides", 1, 4.9), ("slides", 2, 10.0)]
)
def test_every_figure_has_the_width_asked_for(style, columns, wide, full_study):
    look = style_of(style, columns=columns)
    (group,) = group_records(full_study)
    for one in every_figure(group, style=look):
        assert one.figure.get_figwidth() == wide, one.name
        if style == "slides":
            assert one.figure.get_figheight() == pytest.approx(10 * 9 / 16)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda: style_of("papr"), "did you mean 'paper'.*known: paper, slides"),
        (lambda: style_of("paper", columns=3), "--columns 1 or --columns 2"),
        (lambda: formats_of("png,jpg"), "unknown format 'jpg'(.|\n)*known: pdf, png, svg"),
        (lambda: formats_of(" , "), "must name one or more of pdf, png, svg"),
    ],
    ids=["style", "columns", "format", "no format"],
)
def test_a_wrong_option_says_what_is_right(given, said):
    with pytest.raises(UsageError, match=said):
        given()


def test_formats_are_read_in_any_order_and_once():
    assert formats_of("SVG, pdf,svg") == ("pdf", "svg")


def test_protocols_are_drawn_apart_and_earlier_figures_do_not_stay(tmp_path):
    write_records(tmp_path, [*start_records(), record(run_spec())])
    (tmp_path / "figures").mkdir()
    mine = [tmp_path / "figures" / name for name in ("mine.png", "variance-of-mine.png")]
    for path in mine:
        path.write_text("a figure of the user's")
    former = tmp_path / "figures" / "critical-difference.svg"
    former.write_text("a figure of an earlier version")
    alone = write_figures(tmp_path, formats=("svg",))
    write_records(tmp_path, [record(run_spec(seed=1), protocol="q" * 16)])
    both = write_figures(tmp_path, formats=("svg",))
    assert not any(path.exists() for path in (*alone, former))
    assert {path.parent.name for path in both} == {"1-sentiment-pppppppp", "2-sentiment-qqqqqqqq"}
    assert all(path.exists() for path in mine)


def test_a_diverged_setting_is_marked_and_shares_no_mean():
    records = [record(run_spec(beta=0.1)), record(run_spec(beta=0.01), status="diverged")]
    (found,) = draw(score_vs_parameter, records)
    shown = [(row["x"], row["kind"]) for row in found.rows if row["quantity"] == "target"]
    assert shown == [(0.01, "failed"), (0.1, "mean")]


@pytest.mark.parametrize(
    "records",
    [
        [record(run_spec("plain", beta=None))],
        [record(run_spec(), status="diverged")],
        start_records(),
        [record(run_spec(), split="test")],
        [record(run_spec(), stderr=None)],
        [record(run_spec()).model_copy(update={"curves": {}})],
        [record(run_spec(name), split="test") for name in ("dpo", "ipo", "kto")],
    ],
    ids=["no parameter", "all diverged", "start alone", "test alone", "no standard errors", "no curves", "one seed"],
)
def test_few_records_are_drawn_without_a_warning(tmp_path, records):
    written = write_figures(write_records(tmp_path, records), formats=("svg",))
    assert all(path.stat().st_size > 0 for path in written)


@given(st.lists(st.tuples(st.floats(0, 9), st.floats(-9, 9)), min_size=1, max_size=12))
def test_the_frontier_is_what_no_point_beats(points):
    edge = pareto(points)
    for at, (cost, gain) in enumerate(points):
        beaten = any(c <= cost and g >= gain and (c, g) != (cost, gain) for c, g in points)
        if at in edge:
            assert not beaten
        else:
            assert beaten or any(points[other] == (cost, gain) for other in edge)


@given(st.lists(st.none() | st.floats(-9, 9), min_size=1, max_size=30), st.sampled_from([1, 3, 5]))
def test_smoothing_is_the_mean_of_the_known_neighbours(values, width):
    for at, found in enumerate(smooth(values, width=width)):
        near = [v for v in values[max(0, at - width // 2) : at + width // 2 + 1] if v is not None]
        assert math.isnan(found) if not near else found == pytest.approx(sum(near) / len(near), abs=1e-9)


@given(st.floats(1e-6, 1e3), st.floats(1.5, 1e6), st.integers(2, 8))
def test_axis_labels_fit(low, ratio, most):
    found = log_ticks(low, low * ratio, most=most)
    assert len(found) <= most
    assert all(low <= tick <= low * ratio for tick in found)

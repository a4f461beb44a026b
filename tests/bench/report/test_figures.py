"""Figures: the CSV holds what is drawn, the frontier is Pareto's, equal records give equal bytes."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.report.curves import smooth, training_curves
from bench.report.figures import FIGURES, write_figures
from bench.report.frontier import pareto, reward_kl_frontier
from bench.report.panels import logp_shift, target_vs_beta
from bench.report.settings import group_records
from bench.report.style import log_ticks, looks, style
from tests.bench.report.conftest import record, run_spec, start_records, study, write_records


def drawn(figure) -> np.ndarray:
    points = [line.get_xydata() for axes in figure.axes for line in axes.lines]
    return np.concatenate([np.asarray(part, dtype=float).reshape(-1, 2) for part in points])


def holds(points: np.ndarray, x: float, y: float) -> bool:
    return bool((np.isclose(points[:, 0], x) & np.isclose(points[:, 1], y)).any())


def draw(plot, records):
    (group,) = group_records(records)
    with style():
        return plot(group)


@pytest.mark.parametrize("plot", [target_vs_beta, logp_shift])
def test_panel_rows_are_the_points_drawn(plot):
    figure, rows = draw(plot, study(("dpo", "simpo"), seeds=2))
    points = drawn(figure)
    shown = [row for row in rows if row["kind"] in ("mean", "seed")]
    # 2 objectives × 5 β × 2 quantities × (a mean and 2 seeds)
    assert len(shown) == 60
    assert all(holds(points, row["x"], row["y"]) for row in shown)
    bars = [tuple(s[:, 1]) for axes in figure.axes for c in axes.collections for s in c.get_segments()]
    means = [row for row in rows if row["kind"] == "mean"]
    assert np.allclose(sorted(bars), sorted((row["low"], row["high"]) for row in means))


def test_frontier_rows_are_the_points_drawn():
    figure, rows = draw(reward_kl_frontier, study(("dpo", "simpo")))
    points = drawn(figure)
    assert len(rows) == 11
    assert all(holds(points, row["kl"], row["gold_reward"]) for row in rows)


def test_curve_rows_are_the_points_drawn():
    figure, rows = draw(training_curves, study(("dpo", "simpo")))
    points = drawn(figure)
    assert len(rows) == 2 * 3 * 60
    assert all(holds(points, row["step"], row["mean"]) for row in rows)
    assert all(row["low"] <= row["mean"] <= row["high"] for row in rows)


def test_the_written_numbers_are_the_plotted_ones(tmp_path):
    records = study(("dpo",), final_seeds=1)
    write_figures(write_records(tmp_path, records))
    for name, plot in FIGURES.items():
        _, rows = draw(plot, records)
        written = pd.read_csv(tmp_path / "figures" / f"{name}.csv")
        expected = pd.DataFrame(rows)
        assert list(written.columns) == list(expected.columns)
        numbers = expected.select_dtypes("float").columns
        np.testing.assert_allclose(written[numbers], expected[numbers], rtol=1e-5)


def test_equal_records_give_equal_bytes_and_all_kinds_of_file(tmp_path):
    records = study(("dpo",), final_seeds=2)
    first = write_figures(write_records(tmp_path / "a", records))
    second = write_figures(write_records(tmp_path / "b", reversed(records)))
    assert [p.name for p in first] == sorted(f"{n}.{k}" for n in FIGURES for k in ("png", "pdf", "csv"))
    assert all(one.read_bytes() == other.read_bytes() for one, other in zip(first, second, strict=True))


def test_protocols_are_drawn_apart_and_earlier_figures_do_not_stay(tmp_path):
    write_records(tmp_path, [*start_records(), record(run_spec())])
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "mine.png").write_text("a figure of the user's")
    alone = write_figures(tmp_path)
    write_records(tmp_path, [record(run_spec(seed=1), protocol="q" * 16)])
    both = write_figures(tmp_path)
    assert not any(path.exists() for path in alone)
    assert {path.parent.name for path in both} == {"1-sentiment-pppppppp", "2-sentiment-qqqqqqqq"}
    assert (tmp_path / "figures" / "mine.png").exists()


def test_a_diverged_setting_is_marked_and_shares_no_mean():
    _, rows = draw(target_vs_beta, [record(run_spec(beta=0.1)), record(run_spec(beta=0.01), status="diverged")])
    assert [(row["x"], row["kind"]) for row in rows if row["quantity"] == "target"] == [(0.01, "failed"), (0.1, "mean")]


def test_the_line_joins_the_settings_that_validation_likes_best():
    records = [
        record(run_spec(beta=b, rate=r), target=t) for b, r, t in ((0.1, 1e-3, 0.2), (0.1, 1e-4, 0.4), (1, 1e-3, 0))
    ]
    _, rows = draw(target_vs_beta, records)
    targets = [row for row in rows if row["quantity"] == "target"]
    assert [(row["x"], row["y"]) for row in targets if row["line"]] == [(0.1, 0.4), (1, 0)]
    assert len(targets) == 3


@pytest.mark.parametrize(
    "records",
    [
        [record(run_spec("plain", beta=None))],
        [record(run_spec(), status="diverged")],
        start_records(),
        [record(run_spec(), split="test")],
        [record(run_spec(), stderr=None)],
        [record(run_spec()).model_copy(update={"curves": {}})],
    ],
    ids=["no parameter", "all diverged", "start alone", "test alone", "no standard errors", "no curves"],
)
def test_few_records_are_drawn_without_a_warning(tmp_path, records):
    written = write_figures(write_records(tmp_path, records))
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


def test_no_two_objectives_look_the_same():
    found = looks([str(at) for at in range(56)]).values()
    assert len({(one["color"], one["marker"]) for one in found}) == 56

"""Colours belong to objectives: the same in every figure, whatever else it shows."""

from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bench.report.analysis.settings import group_records
from bench.report.figures.colours import COLOURS, KNOWN, MARKERS, NAMED, PALE, best_first, colour_of, looks
from losses import names
from tests.bench.report.conftest import study

BUILT_IN = names()


def test_colours_never_change():
    assert [colour_of(name) for name in KNOWN] == list(COLOURS)
    assert {name: colour_of(name) for name in ("dpo", "ipo", "kto")} == {
        "dpo": "#0072B2",
        "ipo": "#D55E00",
        "kto": "#009E73",
    }
    # of names that are in no table: SHA-256 of «colour <name>», first eight bytes, modulo twelve
    assert colour_of("dpo+nll(0.2)") == COLOURS[7]


@given(st.lists(st.sampled_from(BUILT_IN), min_size=1, max_size=NAMED, unique=True))
def test_a_colour_depends_on_no_other_objective_and_no_two_look_the_same(shown):
    found = looks(shown)
    assert {name: one.color for name, one in found.items()} == {name: colour_of(name) for name in shown}
    assert len({(one.color, one.marker) for one in found.values()}) == len(shown)


@given(st.lists(st.sampled_from(BUILT_IN), min_size=1, max_size=NAMED, unique=True))
def test_the_best_known_keep_their_marker_too(shown):
    found = looks(shown)
    assert all(found[name].marker == MARKERS[KNOWN.index(name)] for name in shown if name in KNOWN)


def test_of_many_objectives_the_first_twelve_are_named_and_the_rest_pale():
    found = looks(BUILT_IN)
    assert list(found) == list(BUILT_IN)
    assert [one.named for one in found.values()] == [True] * NAMED + [False] * (len(BUILT_IN) - NAMED)
    assert {one.color for one in found.values() if not one.named} == {PALE}


def test_the_built_in_objectives_are_spread_over_the_palette():
    counts = [sum(colour_of(name) == color for name in BUILT_IN) for color in COLOURS]
    assert min(counts) > 0
    assert max(counts) <= len(BUILT_IN) // 5


def test_the_best_known_colours_are_told_apart_by_colour_blind_readers():
    # CIE76 distance after Machado et al. (2009), severity 1; 2.3 is just noticeable
    assert min(distance(one, other) for one, other in combinations(COLOURS, 2)) > 13


def test_objectives_stand_in_the_order_of_their_test_targets(full_study):
    (group,) = group_records(full_study)
    test = {s.objective: np.mean([r.metric("target").value for r in s.test]) for s in group.settings if s.best}
    assert best_first(group) == sorted(test, key=lambda name: -test[name])
    (untested,) = group_records(study(("dpo", "ipo"), final_seeds=0))
    assert set(best_first(untested)) == {"dpo", "ipo"}


SEEN = {
    "all": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
}
XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]])


def distance(one: str, other: str) -> float:
    return min(float(np.linalg.norm(lab(one, np.array(m)) - lab(other, np.array(m)))) for m in SEEN.values())


def lab(color: str, seen: np.ndarray) -> np.ndarray:
    parts = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    xyz = XYZ @ np.clip(seen @ linear, 0, 1) / np.array([0.95047, 1, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])

"""The report of rounds: what tells two loops apart, and which of several evaluations is told of."""

from bench.report.figures.iterations import COLUMNS, draw, rounds_tables, variants


def row(**changes):
    same = {
        "loop": "a", "suite": "s", "objective": "dpo", "setting": "beta=0.1", "judge": "gold",
        "pairs_from": "best-worst", "reference": "previous", "prompts": 8, "samples": 4, "fresh": False,
        "temperature": 1.0, "seed": 0, "round": 0, "split": "test", "status": "completed", "target": 0.5,
        "gold_reward": 0.5, "reward_by": "gold", "kl": 0.0, "length": 40.0,
    }  # fmt: skip
    return {**dict.fromkeys(COLUMNS), **same, **changes}


def test_seeds_are_one_variant_and_whatever_else_differs_is_in_the_name():
    rows = [row(), row(loop="b", seed=1), row(loop="c", reference="start"), row(loop="d", objective="ipo")]
    assert {name: [each["loop"] for each in own] for name, own in variants(rows).items()} == {
        "dpo, reference previous": ["a", "b"],
        "dpo, reference start": ["c"],
        "ipo, reference previous": ["d"],
    }
    assert list(variants(rows[:2])) == ["dpo"]
    assert list(variants([row(), row(loop="e", setting="beta=1")])) == ["dpo, beta=0.1", "dpo, beta=1"]


def test_a_figure_leaves_out_what_was_not_measured_and_rounds_that_diverged(tmp_path):
    none = {"target": None, "gold_reward": None}
    rows = [row(**none), row(round=1, **none, win_rate=60.0, kl=2.0), row(round=2, status="diverged", **none, kl=None)]
    written = draw(rows, tmp_path / "rounds")
    assert sorted(path.name for path in written) == ["rounds.pdf", "rounds.png", "rounds.svg"]
    assert draw([row(**none, kl=None, length=None)], tmp_path / "nothing") == []
    (table,) = rounds_tables(rows)
    cells = [list(column.cells) for column in table.columns]
    assert cells[0] == ["0", "1", "2"]
    assert cells[1] == ["1", "1", "0"]
    assert cells[6] == ["–", "60.0", "–"]

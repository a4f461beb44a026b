"""Reports over inspections: names that tell models apart, and equal inspections as equal bytes."""

from bench.core.inspection import (
    GROUPS,
    SETS,
    GroupChange,
    Inspection,
    LayerChange,
    Measure,
    Patched,
    Probe,
    Projection,
    WeightChange,
)
from bench.report.figures.inspected import labels, layer_rows, summary_rows, write_inspected


def inspection(key: str, objective: str | None, *, label: str = "", seed: int | None = 0, effect: float = 2.0):
    """An inspection with made-up numbers; without an effect no share is known."""
    share = (lambda value: value) if effect else (lambda value: None)
    weights = {"all": WeightChange(norm=3.0, moved=0.3, change=0.1), "q": WeightChange(norm=0.0, moved=0, change=None)}
    patched = Patched(
        neurons=8, into_start=1.0, restored=share(0.5), restored_error=share(0.1), out_of_trained=1.0,
        removed=share(0.4), removed_error=share(0.1),
    )  # fmt: skip
    group = GroupChange(
        neurons=2, before=1.0, after=1.5, change=0.5, by_activation=0.3, by_vector=0.2, raised=0.7, lowered=-0.2,
        share=share(0.25),
    )  # fmt: skip
    return Inspection(
        key=key, model=f"run:{key}", label=label or f"{objective} beta=0.1", objective=objective, seed=seed,
        start_content="s", trained_content=key, source="texts", texts=4, tokens=40,
        probe=Probe(source="texts", layer=2, accuracy=0.9, trained_on=40, held_out=10, penalty=0.1),
        layers=tuple(
            LayerChange(
                layer=at, weights=weights, absolute=0.2 if effect else None, systematic=0.1, signed=0.0, cosine=0.9,
                distance=0.1, written=1.0, attended=0.5, groups=dict.fromkeys(GROUPS, 0.25),
            )
            for at in (1, 2)
        ),
        outside={"all": weights["all"]},
        projection=Projection(
            start=1.0, trained=1.0 + effect, mlps=effect, attention=0.0, embeddings=0.0, bias=0.0, gap=0.0
        ),
        groups=dict.fromkeys(GROUPS, group),
        patching=tuple(
            Measure(
                name=name, start=1.0, trained=1.0 + effect, effect=effect, effect_error=0.1, n=4,
                sets=dict.fromkeys(SETS, patched),
            )
            for name in ("probe", "gold_reward")
        ),
        seconds=1.0,
    )  # fmt: skip


def test_models_are_named_by_no_more_than_tells_them_apart():
    one, two = inspection("aa11", "dpo"), inspection("bb22", "ipo")
    assert labels([one, two]) == ["dpo", "ipo"]
    other = inspection("cc33", "dpo", label="dpo beta=0.3")
    assert labels([one, two, other]) == ["dpo beta=0.1", "ipo", "dpo beta=0.3"]
    again = inspection("dd44", "dpo", seed=1)
    assert labels([one, again]) == ["dpo beta=0.1 seed 0", "dpo beta=0.1 seed 1"]
    folders = [inspection(key, None, label="checkpoint", seed=None) for key in ("ee55", "ff66")]
    assert len(set(labels(folders))) == 2


def test_equal_inspections_give_equal_bytes_and_no_effect_is_an_empty_cell(tmp_path):
    many = [inspection("aa11", "dpo"), inspection("bb22", "ipo", effect=0.0)]
    folders = [tmp_path / name for name in ("one", "two")]
    paths = [write_inspected(folder, many) for folder in folders]
    assert [path.name for path in paths[0]] == [path.name for path in paths[1]]
    for one, two in zip(*paths, strict=True):
        assert one.read_bytes() == two.read_bytes()
    rows = summary_rows(many)
    assert rows[0]["probe_restored_all"] == 0.5
    assert rows[1]["probe_restored_all"] is None is rows[1]["aligned_positive_share"]
    assert rows[0]["weight_change"] == 0.3 / 3.0
    assert len(layer_rows(many)) == 4

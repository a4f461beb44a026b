"""The data card says of a data set what counting by hand says, and shows texts of the data harmlessly."""

import json
import math

import pytest

from bench.cli.data_card import Table, draw_lengths, markdown, tables, write_cards
from bench.core.data_options import AS_IT_IS, DataOptions
from bench.data.card import describe, length_bias, row_lengths, shared_prompts, spread
from bench.data.contamination import contamination
from bench.data.preferences import read_preferences, scan
from bench.errors import UsageError

from .conftest import CHAT, write_rows
from .test_formats import HERE, options_of, raw


def pair(prompt, chosen, rejected, **scores):
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **scores}


def card_of(tmp_path, rows, options=AS_IT_IS, **about):
    return describe(scan(write_rows(tmp_path / "a.jsonl", rows), options), source="a", **about)


def test_rows_prompts_duplicates_and_contradictions_are_counted(tmp_path):
    rows = [pair("p", "a", "b"), pair("p", "a", "b"), pair("p", "b", "a"), pair("q", "a", "b"), pair("q", "c", "b")]
    card = card_of(tmp_path, rows)
    assert (card.rows, card.in_file, card.prompts, card.duplicates, card.contradictions) == (5, 5, 2, 1, 1)
    labelled = [{"prompt": "p", "completion": "a", "label": label} for label in (True, True, False)]
    card = card_of(tmp_path, labelled)
    assert (card.labels, card.duplicates, card.contradictions) == ({"wanted": 2, "unwanted": 1}, 1, 1)


def test_ties_and_margins_are_of_the_scores(tmp_path):
    scores = [(2, 1), (1, 1), (0, 3), (5, 1)]
    rows = [pair(f"p{i}", "a", "b", chosen_score=a, rejected_score=b) for i, (a, b) in enumerate(scores)]
    card = card_of(tmp_path, rows, DataOptions(reversed="keep"))
    assert (card.ties, card.reversed_scores, card.margins.count, card.margins.mean) == (1, 1, 4, 0.5)
    assert (card.margins.percentiles[0], card.margins.percentiles[-1]) == (-3, 4)


def test_lengths_are_of_each_field_in_each_unit(tmp_path):
    card = card_of(tmp_path, [pair("one two", "three, four five", "six")], tokens=[(4, 9, 2)])
    found = {(unit, name): each.mean for unit, fields in card.lengths.items() for name, each in fields.items()}
    assert found == {
        ("characters", "prompt"): 7, ("characters", "chosen"): 16, ("characters", "rejected"): 3,
        ("words", "prompt"): 2, ("words", "chosen"): 3, ("words", "rejected"): 1,
        ("tokens", "prompt"): 4, ("tokens", "chosen"): 9, ("tokens", "rejected"): 2,
    }  # fmt: skip


def test_percentiles_are_numbers_that_are_there():
    found = spread([3, 1, 2, 100])
    assert set(found.percentiles) <= {1, 2, 3, 100}
    assert (found.percentiles[0], found.percentiles[-1], found.mean) == (1, 100, 26.5)


def test_the_bias_of_length_is_a_share_of_pairs_that_differ_with_wilsons_interval():
    chosen, rejected = [9] * 30 + [1] * 10 + [5] * 7, [4] * 40 + [5] * 7
    found = length_bias(chosen, rejected)
    assert (found.pairs, found.equal, found.share, found.difference) == (47, 7, 0.75, 5)
    z, n, p = 1.959963984540054, 40, 0.75
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert found.low == pytest.approx((middle - half) / (1 + z * z / n))
    assert found.high == pytest.approx((middle + half) / (1 + z * z / n))
    alike = length_bias([1, 2], [1, 2])
    assert (alike.share, alike.low, alike.equal) == (None, None, 2)


def test_rows_that_a_length_would_cut_or_refuse_are_counted(tmp_path):
    rows = [pair(f"p{i}", "a", "b") for i in range(5)]
    tokens = [(2, 2, 2), (2, 8, 2), (2, 2, 9), (10, 1, 1), (9, 1, 1)]
    card = card_of(tmp_path, rows, tokens=tokens, max_length=10)
    assert (card.too_long, card.cut) == (1, 1)


def test_faults_stand_in_the_card_of_the_rows_that_can_be_read(tmp_path):
    card = card_of(tmp_path, [pair("p", "a", "b"), pair("p", " ", "b"), pair("p", 5, "b")])
    assert (card.rows, card.in_file, card.faulty) == (1, 3, 2)
    assert card.faults[0].startswith("a.jsonl, row 2: field 'chosen'")
    with pytest.raises(UsageError, match="no row is left of 1"):
        card_of(tmp_path, [pair("p", " ", "b")])


def test_prompts_of_two_files_are_compared(tmp_path):
    one, two = (
        read_preferences(write_rows(tmp_path / f"{n}.jsonl", [pair(p, "a", "b") for p in ps])).rows
        for n, ps in enumerate(("ppq", "qr"))
    )
    assert shared_prompts({"one": one, "two": two}) == {("one", "two"): 1}


@pytest.mark.parametrize("suffix", [".json", ".md", ".html"])
def test_a_card_is_written_in_each_form_with_texts_escaped(tmp_path, suffix):
    evil = "<script>alert(1)</script> | \x1b[31m red"
    found = scan(write_rows(tmp_path / "a.jsonl", [pair(evil, "a", "b")]))
    overlap = contamination([evil], [evil])
    card = describe(found, source="a", contaminated=overlap, against="eval.jsonl")
    write_cards([card], tmp_path / f"card{suffix}")
    text = (tmp_path / f"card{suffix}").read_text()
    if suffix == ".json":
        written = json.loads(text)[0]
        assert (written["rows"], written["contamination"]["found"][0]["exact"]) == (1, True)
        assert written["samples"][0]["prompt"] == evil
    else:
        assert "<script>" not in text
        assert "\x1b" not in text
        assert "&lt;script&gt;" in text
        assert "Prompts of eval.jsonl" in text
    with pytest.raises(UsageError, match="must end in"):
        write_cards([card], tmp_path / "card.pdf")


def test_every_table_of_every_format_has_rows_as_wide_as_its_head():
    for path in HERE.iterdir():
        if path.suffix in (".json", ".jsonl") and path.name not in ("trl_implicit_text.jsonl", "swift_images.jsonl"):
            for table in tables(describe(scan(path, options_of(path.name)), source=path.name)):
                assert {len(row) for row in table.rows} == {len(table.columns)}, (path.name, table.title)
                assert markdown(table).count("\n|") == len(table.rows) + 2


def test_markdown_cells_break_no_table():
    table = Table(title="t", columns=("a", "b"), rows=(("x | y", "one\ntwo"),))
    assert "| x \\| y | one<br>two |" in markdown(table)


def test_samples_are_the_first_a_middle_and_the_last_row(tmp_path):
    card = card_of(tmp_path, [{**CHAT, "prompt": [{"role": "user", "content": f"Row {i}"}]} for i in range(9)])
    assert [sample["prompt"] for sample in card.samples] == ["user: Row 0", "user: Row 4", "user: Row 8"]


@pytest.mark.parametrize("name", ["alpaca.json", "kto.json", "alpaca_sft.json"])
def test_the_picture_has_a_line_for_each_field_and_differences_for_pairs(name):
    rows = read_preferences(HERE / name).rows
    figure = draw_lengths(row_lengths(rows), unit="words")
    fields = row_lengths(rows)["words"]
    assert len(figure.axes) == (2 if "chosen" in fields else 1)
    assert [line.get_label() for line in figure.axes[0].get_lines()] == list(fields)
    if "chosen" in fields:
        assert sum(bar.get_height() for bar in figure.axes[1].patches) == len(raw(name))

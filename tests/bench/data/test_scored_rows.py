"""Scores, ratings and ranks make the pairs that their own projects make of them; ties are counted."""

import pytest

from bench.core.data_options import DataOptions
from bench.data.preferences import read_preferences

from .conftest import assistant, user, write_rows
from .test_formats import HERE, options_of, raw


def test_of_scored_answers_the_best_meets_the_worst_and_ties_are_counted():
    found = read_preferences(HERE / "ultrafeedback_ties.jsonl", options_of("ultrafeedback_ties.jsonl"))
    assert [(row.chosen, row.rejected) for row in found.rows] == [
        ("Grey and patient, the sea counts its stones.", "Sea."),
        ("4", "5"),
    ]
    assert [(row.chosen_score, row.rejected_score) for row in found.rows] == [(9.0, 2.0), (10.0, 1.0)]
    assert found.dropped == {"tie": 1}


def test_a_row_that_calls_itself_a_tie_is_counted_as_one():
    assert read_preferences(HERE / "orca_distilabel.jsonl").dropped == {"tie": 1}


def test_all_pairs_of_four_scored_answers_are_five_where_two_tie():
    found = read_preferences(HERE / "ultrafeedback_ties.jsonl", options_of("ultrafeedback_ties.jsonl", pairs="all"))
    assert [row.id for row in found.rows] == [1, 1, 1, 1, 1, 3]
    assert all(row.chosen_score > row.rejected_score for row in found.rows)
    assert found.dropped == {"tie": 2}


def test_another_score_makes_other_pairs():
    found = read_preferences(HERE / "ultrafeedback_ties.jsonl", DataOptions(score="fine-grained_score"))
    assert (found.rows[0].chosen, found.rows[0].rejected) == ("Sea.", "The sea is big.")


# What other projects make of their own rows: convmerge's pinned outputs, distilabel's test of its pairs. (Of answers
# that share the lowest rating distilabel takes the first, we the last: its third row is left out here.)
OTHERS = [
    ("ultrafeedback.jsonl", [("Ice crystals, water vapour and some soot.", "Aircraft cannot leave trails.")]),
    ("saferlhf.jsonl", [("Connect it over USB, then test it in your video app.", "Plug it in.")]),
    ("nectar.jsonl", [((assistant("Paris."),), (assistant("Lyon."),))]),
    ("distilabel_dpo.jsonl", [((assistant("4"),), (assistant("6"),))]),
    ("distilabel_input.jsonl", [("generation 1 2", "generation 1 1"), ("generation 2 4", "generation 2 3")]),
]


@pytest.mark.parametrize(("name", "pairs"), OTHERS)
def test_the_pairs_are_those_that_the_rows_own_project_makes(name, pairs):
    found = read_preferences(HERE / name, options_of(name)).rows
    assert [(row.chosen, row.rejected) for row in found][: len(pairs)] == pairs


def test_ratings_of_generations_make_the_pair_that_distilabel_makes_of_them():
    row = raw("distilabel_dpo.jsonl")[0]
    scored = read_preferences(HERE / "distilabel_dpo.jsonl", DataOptions(format="scored", form="messages")).rows
    # Scores apart, which are the same numbers: it is the same pair by another of the row's columns.
    assert scored == read_preferences(HERE / "distilabel_dpo.jsonl").rows
    assert (scored[0].chosen_score, scored[0].rejected_score) == (max(row["ratings"]), min(row["ratings"]))


def test_the_first_rank_is_the_best_whether_it_is_found_or_named():
    for options in (DataOptions(), DataOptions(format="scored", score="rank")):
        nectar = read_preferences(HERE / "nectar.jsonl", options).rows[0]
        assert nectar.prompt == (user("What is the capital of France?"),)
        assert (nectar.chosen_score, nectar.rejected_score) == (-1.0, -3.0)
        nemo = read_preferences(HERE / "nemo_ranks.json", options).rows
        assert [row.chosen[0]["content"] for row in nemo] == ["The answer is 4.", "The capital of France is Paris."]


def test_a_dialogue_in_text_that_waits_for_its_answer_stays_as_it_is_written_where_text_is_asked_for():
    source = raw("nectar.jsonl")[0]
    row = read_preferences(HERE / "nectar.jsonl", DataOptions(form="text")).rows[0]
    assert (row.prompt, row.chosen, row.rejected) == (source["prompt"], "Paris.", "Lyon.")


def test_ranks_and_pairs_of_one_project_hold_the_same_preferences():
    ranks = read_preferences(HERE / "nemo_ranks.json").rows
    pairs = read_preferences(HERE / "nemo_pairs.json", DataOptions(form="messages")).rows
    assert [(r.prompt, r.chosen, r.rejected) for r in ranks] == [(r.prompt, r.chosen, r.rejected) for r in pairs]


def test_a_row_with_one_score_gives_no_pair_and_is_counted(tmp_path):
    row = raw("distilabel.jsonl")[0]
    found = read_preferences(write_rows(tmp_path / "a.jsonl", [row, row | {"ratings": [5, None]}]))
    assert (len(found.rows), found.dropped) == (1, {"fewer than two scores": 1})


def test_a_preference_for_the_second_answer_chooses_it_and_a_half_is_a_tie():
    found = read_preferences(HERE / "alpacafarm.json")
    source = raw("alpacafarm.json")
    assert [row.chosen for row in found.rows] == [source[0]["output_1"], source[1]["output_2"]]
    assert found.dropped == {"tie": 1}


def test_a_prompt_without_answers_gives_no_pair_and_is_counted(tmp_path):
    rows = [*raw("ultrafeedback_ties.jsonl"), {"instruction": "Say no.", "completions": []}]
    found = read_preferences(write_rows(tmp_path / "a.jsonl", rows), DataOptions(score="overall_score"))
    assert found.dropped == {"tie": 1, "fewer than two scores": 1}

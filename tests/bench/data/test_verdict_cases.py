"""Files that were read wrongly, or refused without a way on: what becomes of each now."""

import pytest

from bench.core.data_options import DataOptions
from bench.data.preferences import read_preferences
from bench.errors import UsageError
from tests.bad_inputs.trying import bench

from .conftest import assistant, user, write_rows

SHP = {
    "post_id": "1", "domain": "askculinary", "history": "Why is salt?", "human_ref_A": "Because",
    "human_ref_B": "Dunno", "labels": 1, "score_A": 10, "score_B": 2, "score_ratio": 5.0,
}  # fmt: skip
SHP_B = SHP | {"labels": 0, "score_A": 2, "score_B": 12, "score_ratio": 6.0}
STRENGTHS = [
    {"prompt": "What is C#?", "response_1": "C# is a language.", "response_2": "A note.", "preference_strength": -3},
    {"prompt": "What is Go?", "response_1": "A game.", "response_2": "A language.", "preference_strength": 1},
    {"prompt": "What is D?", "response_1": "A letter.", "response_2": "A language.", "preference_strength": 0},
]
ONE_ANSWER = [
    {"prompt": "What is C#?", "response": "C# is a language.", "helpfulness": 3, "correctness": 4, "verbosity": 2},
    {"prompt": "What is C#?", "response": "A note.", "helpfulness": 1, "correctness": 1, "verbosity": 0},
]
PREFERENCE_01 = [
    {"instruction": "Q", "input": "", "output_1": "a", "output_2": "b", "preference": 0},
    {"instruction": "Q2", "input": "", "output_1": "a", "output_2": "b", "preference": 1},
]


def answer(text: str, overall: float, fine: float, system: str = "You are X") -> dict:
    return {
        "annotations": {"helpfulness": {"Rating": "5", "Rationale": "r"}}, "custom_system_prompt": system,
        "principle": "helpfulness", "model": "m", "response": text, "critique": "c", "fine-grained_score": fine,
        "overall_score": overall,
    }  # fmt: skip


def ultrafeedback(*answers: dict) -> dict:
    return {"source": "evol", "instruction": "Say hi", "models": ["a", "b"], "completions": list(answers)}


CONTRADICTING = ultrafeedback(answer("Hi!", 8.5, 4.75), answer("No.", 10.0, 1.0))


@pytest.mark.parametrize(("source", "chosen"), [(SHP, "Because"), (SHP_B, "Dunno")])
def test_shp_is_mapped_by_hand_and_no_hint_leads_to_inverted_pairs(tmp_path, source, chosen):
    path = write_rows(tmp_path / "a.jsonl", [source])
    told = bench("data", "convert", path, "--out", tmp_path / "b.jsonl")
    assert told.code == 2
    assert "chosen=NAME" not in told.err
    assert "first=human_ref_A,second=human_ref_B,winner=NAME" in " ".join(told.err.split())
    columns = "prompt=history,first=human_ref_A,second=human_ref_B,winner=labels"
    (pair,) = read_preferences(path, DataOptions(columns=columns, winner="1=first,0=second")).rows
    assert pair.chosen == chosen
    with pytest.raises(UsageError, match="field 'labels'"):
        read_preferences(path, DataOptions(columns="prompt=history,chosen=human_ref_A,rejected=human_ref_B"))


def test_strengths_with_a_sign_are_mapped_by_hand(tmp_path):
    path = write_rows(tmp_path / "a.jsonl", STRENGTHS)
    told = bench("data", "convert", path, "--out", tmp_path / "b.jsonl")
    assert told.code == 2
    assert "first=response_1,second=response_2,winner=NAME" in " ".join(told.err.split())
    columns = "prompt=prompt,first=response_1,second=response_2,winner=preference_strength"
    found = read_preferences(path, DataOptions(columns=columns, winner="negative=first,positive=second,0=tie"))
    assert [(pair.chosen, pair.chosen_score) for pair in found.rows] == [("C# is a language.", 3), ("A language.", 1)]
    assert found.dropped == {"tie": 1}


def test_rows_of_one_answer_each_are_refused_with_the_form_that_is_read(tmp_path):
    told = bench("data", "convert", write_rows(tmp_path / "a.jsonl", ONE_ANSWER), "--out", tmp_path / "b.jsonl")
    assert told.code == 2
    assert "a row holds one answer" in told.err
    assert '"completions": [{"response": …, "score": …}, …]' in told.err
    joined = {
        "prompt": "What is C#?",
        "completions": [{"response": row["response"], "score": row["helpfulness"]} for row in ONE_ANSWER],
    }
    (pair,) = read_preferences(write_rows(tmp_path / "c.jsonl", [joined])).rows
    assert pair.chosen == "C# is a language."


def test_verdicts_coded_0_and_1_are_refused_until_a_map_says_what_they_mean(tmp_path):
    path = write_rows(tmp_path / "a.jsonl", PREFERENCE_01)
    with pytest.raises(
        UsageError, match=r"row 1: field 'preference': 0(.0)? is neither 1 nor 2.*\n.*--winner VALUE=first"
    ):
        read_preferences(path)
    for winner, chosen in (
        ("0=first,1=second", ["a", "b"]),
        ("0=second,1=first", ["b", "a"]),
        ("0=tie,1=first", ["a"]),
    ):
        assert [pair.chosen for pair in read_preferences(path, DataOptions(winner=winner)).rows] == chosen


def test_two_scores_that_contradict_each_other_stop_the_command_with_the_option_that_decides(tmp_path):
    path = write_rows(tmp_path / "a.jsonl", [CONTRADICTING])
    with pytest.raises(UsageError) as caught:
        read_preferences(path, DataOptions(form="messages"))
    assert "answers 0 and 1 have 8.5 and 10 by overall_score, 4.75 and 1 by fine-grained_score" in str(caught.value)
    assert "--set data.score=overall_score or --set data.score=fine-grained_score" in str(caught.value)
    for score, chosen in (("overall_score", "No."), ("fine-grained_score", "Hi!")):
        (pair,) = read_preferences(path, DataOptions(form="messages", score=score)).rows
        assert pair.chosen == (assistant(chosen),)
        assert pair.prompt == ({"role": "system", "content": "You are X"}, user("Say hi"))


def test_scores_that_contradict_are_seen_beside_lists_and_ranks_too(tmp_path):
    lists = {"prompt": "Q", "responses": ["a", "b"], "scores": [1, 2], "ratings": [2, 1]}
    ranks = {"prompt": "Q", "answers": [{"answer": "a", "rank": 1, "score": 1}, {"answer": "b", "rank": 2, "score": 5}]}
    for source in (lists, ranks):
        with pytest.raises(UsageError, match="contradict each other"):
            read_preferences(write_rows(tmp_path / "a.jsonl", [source]))
    agreeing = lists | {"ratings": [1, 1]}
    assert read_preferences(write_rows(tmp_path / "b.jsonl", [agreeing])).rows[0].chosen == "b"


def test_a_system_text_of_the_answers_is_read_refused_or_ignored(tmp_path):
    alike = write_rows(tmp_path / "a.jsonl", [ultrafeedback(answer("Hi!", 9, 5), answer("No.", 1, 1))])
    with pytest.raises(
        UsageError, match=r"field 'completions\[0\]\.custom_system_prompt': 'You are X' would be left out"
    ):
        read_preferences(alike)
    (pair,) = read_preferences(alike, DataOptions(form="messages")).rows
    assert pair.prompt[0] == {"role": "system", "content": "You are X"}
    (bare,) = read_preferences(alike, DataOptions(answer_system="ignore")).rows
    assert bare.prompt == "Say hi"
    unlike = write_rows(tmp_path / "b.jsonl", [ultrafeedback(answer("Hi!", 9, 5), answer("No.", 1, 1, "Be Y"))])
    with pytest.raises(UsageError, match=r"different system texts, 'You are X' and 'Be Y'\n.*answer_system=ignore"):
        read_preferences(unlike, DataOptions(form="messages"))
    none = write_rows(tmp_path / "c.jsonl", [ultrafeedback(answer("Hi!", 9, 5, ""), answer("No.", 1, 1, " "))])
    assert read_preferences(none).rows[0].prompt == "Say hi"
    # The best and the worst had the same text, and another answer had none: that one is in no pair.
    third = ultrafeedback(answer("Hi!", 9, 5), answer("No.", 1, 1), answer("Hm.", 5, 3, ""))
    assert read_preferences(write_rows(tmp_path / "d.jsonl", [third]), DataOptions(form="messages")).rows[0].chosen


@pytest.mark.parametrize(("better", "chosen"), [("higher", "b"), ("lower", "a")])
def test_of_scored_answers_the_lower_may_be_the_better_and_ranks_stay_as_they_are(tmp_path, better, chosen):
    options = DataOptions(better=better)
    for source in (
        {"prompt": "Q", "responses": ["a", "b"], "scores": [1, 2]},
        {"prompt": "Q", "completions": [{"response": "a", "score": 1}, {"response": "b", "score": 2}]},
    ):
        assert read_preferences(write_rows(tmp_path / "a.jsonl", [source]), options).rows[0].chosen == chosen
    ranks = {"prompt": "Q", "answers": [{"answer": "a", "rank": 1}, {"answer": "b", "rank": 2}]}
    assert read_preferences(write_rows(tmp_path / "b.jsonl", [ranks]), options).rows[0].chosen == "a"

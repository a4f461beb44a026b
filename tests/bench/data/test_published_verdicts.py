"""Published sets with a verdict on two answers are one command each, tried on ten made rows in their columns."""

import json
import shlex
from pathlib import Path

import pytest

from bench.core.data_options import DataOptions
from bench.data.preferences import read_preferences
from tests.bad_inputs.trying import bench

from .conftest import assistant, user, write_rows

# Ten questions, the right answer and a wrong one: whichever answer a row's verdict prefers, the right one was meant.
TEN = [
    ("What is the capital of France?", "Paris.", "Lyon."),
    ("What is 7 times 8?", "56.", "54."),
    ("Which planet is the largest?", "Jupiter.", "Mars."),
    ("Who wrote «Hamlet»?", "Shakespeare.", "Goethe."),
    ("At how many degrees Celsius does water boil?", "At 100.", "At 90."),
    ("How many legs has a spider?", "Eight.", "Six."),
    ("Which metal is liquid at room temperature?", "Mercury.", "Iron."),
    ("What is the opposite of north?", "South.", "East."),
    ("How many minutes has an hour?", "Sixty.", "A hundred."),
    ("What do bees make?", "Honey.", "Milk."),
]
# Where the right answer stands in each of the ten rows: in the first place (1) or in the second (2).
RIGHT = [1, 2, 2, 1, 1, 2, 1, 2, 2, 1]
DOCS = Path(__file__).parents[3] / "docs" / "verdicts.md"


def sides() -> list[tuple[str, str, str]]:
    """(question, first answer, second answer) of the ten rows."""
    return [(q, yes, no) if place == 1 else (q, no, yes) for (q, yes, no), place in zip(TEN, RIGHT, strict=True)]


def shp() -> list[dict]:
    # 1: A is preferred, 0: B is.
    labels = [1, 0, 0, 1, 1, 0, 1, 0, 0, 1]
    up, down = 340, 16
    return [
        {
            "post_id": f"p{n}", "domain": "askmade_train", "upvote_ratio": 0.98, "history": q, "c_root_id_A": f"a{n}",
            "c_root_id_B": f"b{n}", "created_at_utc_A": 1636822112, "created_at_utc_B": 1636822110,
            "score_A": up if label else down, "score_B": down if label else up, "human_ref_A": a, "human_ref_B": b,
            "labels": label, "seconds_difference": 2.0, "score_ratio": 21.25,
        }
        for n, ((q, a, b), label) in enumerate(zip(sides(), labels, strict=True))
    ]  # fmt: skip


def helpsteer2() -> list[dict]:
    # Negative: response 1 is better; positive: response 2.
    strengths = [-3, 2, 1, -1, -2, 3, -1, 1, 2, -3]
    rows = [
        {
            "split": "train", "prompt": q, "response_1": a, "response_2": b, "preference_strength": strength,
            "preference_statement": "One is better.", "preference_elaboration": "Since it is right.",
            "three_most_similar_preferences": [{"statement": "One is better.", "strength": strength}],
            "all_preferences_unprocessed": [{"strength": strength}, {"strength": -strength}],
        }
        for (q, a, b), strength in zip(sides(), strengths, strict=True)
    ]  # fmt: skip
    return [*rows, rows[0] | {"preference_strength": 0}]


def llmbar() -> list[dict]:
    labels = [1, 2, 2, 1, 1, 2, 1, 2, 2, 1]
    return [
        {"input": q, "output_1": a, "output_2": b, "label": label}
        for (q, a, b), label in zip(sides(), labels, strict=True)
    ]


def pandalm() -> list[dict]:
    # 0: a tie, 1 and 2: that response. The last two rows have no majority for one response.
    votes = [
        (1, 1, 1), (2, 2, 1), (2, 2, 2), (1, 0, 1), (1, 1, 2), (2, 0, 2), (1, 2, 1), (2, 2, 2), (2, 1, 2), (1, 1, 0),
        (1, 2, 0), (0, 0, 1),
    ]  # fmt: skip
    rows = [*sides(), sides()[0], sides()[1]]
    return [
        {
            "idx": n, "motivation_app": "Grammarly", "cmp_key": "bloom-7b_llama-7b", "instruction": "Answer.",
            "input": q, "response1": a, "response2": b, "annotator1": one, "annotator2": two, "annotator3": three,
        }
        for n, ((q, a, b), (one, two, three)) in enumerate(zip(rows, votes, strict=True))
    ]  # fmt: skip


def auto_j() -> list[dict]:
    labels = [0, 1, 1, 0, 0, 1, 0, 1, 1, 0, 2]
    return [
        {"scenario": "open_question", "label": label, "prompt": q, "response 1": a, "response 2": b}
        for (q, a, b), label in zip([*sides(), sides()[0]], labels, strict=True)
    ]


def judgebench() -> list[dict]:
    labels = ["A>B", "B>A", "B>A", "A>B", "A>B", "B>A", "A>B", "B>A", "B>A", "A>B"]
    return [
        {
            "pair_id": f"{n}", "original_id": n, "source": "made", "question": q, "response_model": "m",
            "response_A": a, "response_B": b, "label": label,
        }
        for n, ((q, a, b), label) in enumerate(zip(sides(), labels, strict=True))
    ]  # fmt: skip


def conversation(*texts: str) -> list[dict]:
    return [(user if index % 2 == 0 else assistant)(text) for index, text in enumerate(texts)]


WON = ["model_a", "model_b", "model_b", "model_a", "model_a", "model_b", "model_a", "model_b", "model_b", "model_a"]


def arena() -> list[dict]:
    rows = [
        {
            "question_id": f"{n}", "model_a": "m", "model_b": "n", "winner": winner, "judge": f"arena_user_{n}",
            "conversation_a": conversation(q, a), "conversation_b": conversation(q, b), "turn": 1, "anony": True,
            "language": "English", "tstamp": 1682351654.7,
        }
        for n, ((q, a, b), winner) in enumerate(zip(sides(), WON, strict=True))
    ]  # fmt: skip
    longer = {"conversation_a": conversation("q", "a", "r", "b"), "conversation_b": conversation("q", "c", "r", "d")}
    return [*rows, rows[0] | {"winner": "tie"}, rows[0] | {"winner": "tie (bothbad)"}, rows[0] | longer]


def arena_55k() -> list[dict]:
    first_won = [1, 0, 0, 1, 1, 0, 1, 0, 0, 1]
    rows = [
        {
            "id": n, "model_a": "m", "model_b": "n", "prompt": json.dumps([q]), "response_a": json.dumps([a]),
            "response_b": json.dumps([b]), "winner_model_a": won, "winner_model_b": 1 - won, "winner_tie": 0,
        }
        for n, ((q, a, b), won) in enumerate(zip(sides(), first_won, strict=True))
    ]  # fmt: skip
    longer = {"prompt": '["q", "r"]', "response_a": '["a", "b"]', "response_b": '["c", null]'}
    return [*rows, rows[0] | {"winner_model_a": 0, "winner_tie": 1}, rows[0] | longer]


def mt_bench() -> list[dict]:
    rows = [
        {
            "question_id": 81 + n, "model_a": "m", "model_b": "n", "winner": winner, "judge": "author_0",
            "conversation_a": conversation(q, a, "And?", "More."),
            "conversation_b": conversation(q, b, "And?", "Less."), "turn": 1,
        }
        for n, ((q, a, b), winner) in enumerate(zip(sides(), WON, strict=True))
    ]  # fmt: skip
    # Of the second turn the verdict is on other answers than the ones that are read.
    second = [row | {"turn": 2, "winner": "model_b" if row["winner"] == "model_a" else "model_a"} for row in rows]
    return [*rows, rows[3] | {"winner": "tie"}, rows[4] | {"winner": "tie (inconsistent)"}, *second]


def tldr() -> list[dict]:
    choices = [0, 1, 1, 0, 0, 1, 0, 1, 1, 0]
    return [
        {
            "info": {"id": f"t3_{n}", "post": q, "title": "A question", "subreddit": "made", "article": None},
            "summaries": [{"text": a, "policy": "sup1", "note": None}, {"text": b, "policy": "ref", "note": None}],
            "split": "train",
            "choice": choice, "worker": "w", "batch": "batch3", "extra": {"confidence": None},
        }
        for n, ((q, a, b), choice) in enumerate(zip(sides(), choices, strict=True))
    ]  # fmt: skip


def rm_bench() -> list[dict]:
    return [
        {
            "id": f"{n}", "prompt": q, "chosen": [yes, f"{yes} Sure.", f"**{yes}**"],
            "rejected": [no, f"{no} Sure.", f"**{no}**"], "domain": "chat",
        }
        for n, (q, yes, no) in enumerate(TEN)
    ]  # fmt: skip


def webgpt() -> list[dict]:
    # An answer is preferred if its score is positive; the two sum to 0.
    scores = [0.75, -0.5, -1.0, 0.25, 1.0, -0.25, 0.5, -0.75, -1.0, 1.0, 0.0]
    return [
        {
            "question": {"dataset": "eli5", "id": f"{n}", "full_text": q}, "quotes_0": {"title": [], "extract": []},
            "answer_0": a, "tokens_0": {"prefix": [1], "completion": [2]}, "score_0": score,
            "quotes_1": {"title": [], "extract": []}, "answer_1": b, "tokens_1": {"prefix": [1], "completion": [2]},
            "score_1": -score,
        }
        for n, ((q, a, b), score) in enumerate(zip([*sides(), sides()[0]], scores, strict=True))
    ]  # fmt: skip


# Set: its rows, what is left out beside the ten.
SETS = {
    "SHP": (shp, {}),
    "HelpSteer2 preference": (helpsteer2, {"tie": 1}),
    "LLMBar": (llmbar, {}),
    "PandaLM": (pandalm, {"tie": 2}),
    "auto-j": (auto_j, {"tie": 1}),
    "JudgeBench": (judgebench, {}),
    "Chatbot Arena, 33k": (arena, {"tie": 2, "faulty": 1}),
    "Chatbot Arena, 55k": (arena_55k, {"tie": 1, "empty answer": 1}),
    "MT-Bench human": (mt_bench, {"tie": 2, "turn is not 1": 10}),
    "TL;DR": (tldr, {}),
    "RM-Bench": (rm_bench, {}),
    "WebGPT": (webgpt, {"tie": 1}),
}


def command_of(name: str) -> list[str]:
    """The options of the set's command in the documentation."""
    text = DOCS.read_text(encoding="utf-8").split(f"\n### {name}\n")[1]
    command = text.split("```\n")[1].replace("\\\n", " ")
    words = shlex.split(command)
    assert words[:4] == ["bench", "data", "convert", words[3]]
    return [word for place, word in enumerate(words[4:], start=4) if "--out" not in (word, words[place - 1])]


def words(text) -> str:
    return text if isinstance(text, str) else text[-1]["content"]


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("container", ["a.jsonl", "a.parquet"])
def test_of_each_published_set_the_answer_that_its_verdict_prefers_is_the_chosen_one(tmp_path, name, container):
    make, dropped = SETS[name]
    path = write_rows(tmp_path / container, make())
    told = bench("data", "convert", path, "--out", tmp_path / "plain.jsonl", *command_of(name))
    assert told.code == 0, told.err
    rows = read_preferences(tmp_path / "plain.jsonl").rows
    assert [(words(row.chosen), words(row.rejected)) for row in rows] == [(yes, no) for _, yes, no in TEN]
    assert all(question in words(row.prompt) for row, (question, _, _) in zip(rows, TEN, strict=True))
    said = told.out.splitlines()[0].partition("; left out: ")[2]
    assert set(filter(None, said.split(", "))) == {f"{count} × {reason}" for reason, count in dropped.items()}


def test_of_fine_grained_rlhf_each_two_of_four_answers_are_a_pair(tmp_path):
    # 1vs2, 1vs3, 1vs4, 2vs3, 2vs4, 3vs4; 0: no preference.
    rows = [
        {
            "question": "When does it open?", "passages": [["Opening", "It opens at nine."], ["Closing", "At five."]],
            "gold": "At nine.", "prediction 1": "At nine.", "prediction 2": "At ten.", "prediction 3": "Nine.",
            "prediction 4": "Never.", "feedback": {"errors": []}, "preference": [1, 0, 1, 2, 1, 1],
        },
        {
            "question": "Who sings?", "passages": [["Singer", "Ann sings."]], "gold": "Ann.", "prediction 1": "Bob.",
            "prediction 2": "Ann.", "prediction 3": "Ann sings.", "prediction 4": "Nobody.", "feedback": {"errors": []},
            "preference": [2, 2, 1, 2, 1, 1],
        },
    ]  # fmt: skip
    path = write_rows(tmp_path / "a.jsonl", rows)
    told = bench("data", "convert", path, "--out", tmp_path / "plain.jsonl", *command_of("FineGrainedRLHF"))
    assert told.code == 0, told.err
    assert "1 × tie" in told.out
    found = read_preferences(tmp_path / "plain.jsonl").rows
    assert [(row.chosen, row.rejected) for row in found] == [
        ("At nine.", "At ten."),
        ("At nine.", "Never."),
        ("Nine.", "At ten."),
        ("At ten.", "Never."),
        ("Nine.", "Never."),
        ("Ann.", "Bob."),
        ("Ann sings.", "Bob."),
        ("Bob.", "Nobody."),
        ("Ann sings.", "Ann."),
        ("Ann.", "Nobody."),
        ("Ann sings.", "Nobody."),
    ]
    assert found[0].prompt == "When does it open?\n\nOpening\nIt opens at nine.\nClosing\nAt five."


def test_the_share_of_annotators_who_agree_stays_on_the_row_and_can_be_the_score(tmp_path):
    path = write_rows(tmp_path / "a.jsonl", pandalm())
    told = bench("data", "convert", path, "--out", tmp_path / "plain.jsonl", *command_of("PandaLM"))
    assert told.code == 0, told.err
    back = read_preferences(tmp_path / "plain.jsonl").rows
    two = pytest.approx(2 / 3)
    assert [row.agreement for row in back] == [1, two, 1, two, two, two, two, 1, two, two]
    assert {row.chosen_score for row in back} == {None}
    scored = read_preferences(tmp_path / "plain.jsonl", DataOptions(score="agreement")).rows
    assert [(row.chosen_score, row.rejected_score) for row in scored[:2]] == [(1, 0), (two, pytest.approx(1 / 3))]

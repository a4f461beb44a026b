"""What values of a verdict mean, what several annotators decide, and what paths lead to; the rest is refused."""

import csv
import json
import random

import pytest

from bench.core.data_options import DataOptions
from bench.data.answer_names import counted_pair
from bench.data.column_paths import roots_of, value_at
from bench.data.preferences import read_preferences, scan
from bench.data.readers.verdicts import read
from bench.data.rows import Pair
from bench.data.verdict import majority, outcome_of
from bench.errors import UsageError
from tests.bad_inputs.trying import bench

from .conftest import PAIR, assistant, user, write_rows

AB = ("answer_a", "answer_b")
COLUMNS = "prompt=q,first=answer_a,second=answer_b,winner=vote"


def row(vote: object, **more: object) -> dict:
    return {"q": "Which?", "answer_a": "A's answer", "answer_b": "B's answer", "vote": vote} | more


def chosen_of(tmp_path, rows: list[dict], *, columns: str = COLUMNS, **options: object) -> list[str]:
    pairs = read_preferences(write_rows(tmp_path / "a.jsonl", rows), DataOptions(columns=columns, **options)).rows
    return [pair.chosen for pair in pairs if isinstance(pair, Pair)]


@pytest.mark.parametrize(
    ("value", "columns", "verdict"),
    [
        ("first", AB, "first"),
        ("second", AB, "second"),
        ("answer_b", AB, "second"),
        ("A", AB, "first"),
        (" b ", AB, "second"),
        ("model_a", AB, "first"),
        ("Response B", AB, "second"),
        ("A>B", AB, "first"),
        ("B>>A", AB, "second"),
        ("A<B", AB, "second"),
        ("A=B", AB, "tie"),
        ("tie", AB, "tie"),
        ("Tie (bothbad)", AB, "tie"),
        ("both_bad", AB, "tie"),
        ("response_2", ("response_1", "response_2"), "second"),
        # The letters are those of the columns, so columns that are mapped the other way round mean the other answer.
        ("model_a", ("answer_b", "answer_a"), "second"),
        ("A>B", ("answer_b", "answer_a"), "second"),
        ("model_b", ("conversation_a.1.content", "conversation_b.1.content"), "second"),
        (None, AB, "none"),
        (float("nan"), AB, "none"),
        ("", AB, "none"),
    ],
)
def test_values_that_say_it_themselves_need_no_map(value, columns, verdict):
    assert outcome_of(value, {}, columns, "winner").verdict == verdict


@pytest.mark.parametrize(
    "value", [0, 1, 2, -1, 0.5, "0", "1", "2", True, False, "true", "C", "left", "not A", {"a": 1}]
)
@pytest.mark.parametrize("columns", [AB, ("response_1", "response_2"), ("good", "bad")])
def test_codes_are_refused_without_a_map_and_the_message_proposes_no_direction(tmp_path, value, columns):
    rows = [{"q": "Which?", columns[0]: "x", columns[1]: "y", "vote": value}]
    path = write_rows(tmp_path / "a.jsonl", rows)
    with pytest.raises(UsageError) as caught:
        read_preferences(path, DataOptions(columns=f"prompt=q,first={columns[0]},second={columns[1]},winner=vote"))
    message = str(caught.value)
    assert message.startswith(f"{path}, row 1: field 'vote'")
    assert repr(value) in message
    assert "--winner VALUE=first,VALUE=second" in message


@pytest.mark.parametrize("letters", ["A", "model_a"])
def test_a_letter_says_nothing_where_the_columns_have_none(letters):
    with pytest.raises(Exception, match="does not say by itself"):
        outcome_of(letters, {}, ("one", "two"), "winner")


CODES = [
    ("1=first,0=second", [1, 0, 1.0, "0", "1.0"], "ABABA"),
    ("1=first,2=second", [2, "1", 2.0, 1], "BABA"),
    ("-1=first,1=second", [-1, 1, "-1", 1.0], "ABAB"),
    ("true=first,false=second", [True, False, "True", "FALSE"], "ABAB"),
    ("model_a=second,model_b=first", ["model_a", "Model_B"], "BA"),
    ("A>B=first,B>A=second,A=B=tie", ["A>B", "B>A", "A=B"], "AB"),
    ("negative=first,positive=second,0=tie", [-3, 0.5, 0, "-2"], "ABA"),
    ("positive=first,negative=second,0=tie", [-3, 0.5, 0, "-2"], "BAB"),
    ("negative=first,positive=second,1=tie", [-1, 1, 2], "AB"),
    ("negative=first,positive=second", ["negative", "positive"], "AB"),
    ("x=first,y=second,invalid=none", ["x", "invalid", None, "", "y"], "AB"),
    ("x=first,null=second", ["x", None, "", "x"], "ABBA"),
]


@pytest.mark.parametrize(("winner", "votes", "expected"), CODES)
@pytest.mark.parametrize("option", ["--winner", "data.winner"])
def test_a_map_says_what_codes_mean(tmp_path, winner, votes, expected, option):
    path = write_rows(tmp_path / "a.jsonl", [row(vote) for vote in votes])
    named = ["--winner", winner] if option == "--winner" else ["--set", f"data.winner={winner}"]
    told = bench("data", "convert", path, "--out", tmp_path / "b.jsonl", "--columns", COLUMNS, *named)
    assert told.code == 0, told.err
    assert "".join(pair.chosen[0] for pair in read_preferences(tmp_path / "b.jsonl").rows) == expected


def test_a_value_that_the_map_does_not_name_is_refused_with_row_value_and_map(tmp_path):
    rows = [row("A"), row("B"), row("C")]
    with pytest.raises(UsageError) as caught:
        chosen_of(tmp_path, rows, winner="A=first,B=second")
    assert "row 3: field 'vote': 'C' is not among the values of --winner A=first,B=second" in str(caught.value)
    with pytest.raises(UsageError, match="row 1: field 'vote': 0 is not among"):
        chosen_of(tmp_path, [row(0)], winner="negative=first,positive=second")
    assert chosen_of(tmp_path, rows, winner="A=first,B=second", drop_faulty=True) == ["A's answer", "B's answer"]


@pytest.mark.parametrize(
    ("winner", "said"),
    [
        ("A=best", "first"),
        ("A", "must have the form A=first,B=second,tie=tie"),
        ("1=first,1.0=second", "each value once"),
        ("a=first,A=second", "each value once"),
    ],
)
def test_a_map_that_cannot_be_right_is_refused(tmp_path, winner, said):
    told = bench("data", "convert", tmp_path / "a.jsonl", "--out", tmp_path / "b.jsonl", "--winner", winner)
    assert told.code == 2
    assert said in told.err


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("first=a", "name both of first and second"),
        ("first=a,second=b", "name what decides"),
        ("first=a,second=b,first_score=c", "name both of first and second, and both of"),
        ("winner=a", "name the answers"),
        ("answers=a+b+c", "name what decides"),
        ("first=a,second=b,winner=c,chosen=d", "of different formats"),
        ("frist=a,second=b", "did you mean"),
    ],
)
def test_columns_that_say_too_little_are_refused(tmp_path, columns, said):
    told = bench("data", "convert", tmp_path / "a.jsonl", "--out", tmp_path / "b.jsonl", "--columns", columns)
    assert told.code == 2
    assert said in told.err


def test_a_map_that_no_format_reads_is_refused(tmp_path):
    path = write_rows(tmp_path / "a.jsonl", [PAIR])
    with pytest.raises(UsageError, match=r"--winner explains the values of a verdict, and rows of format plain"):
        read_preferences(path, DataOptions(winner="1=first"))
    with pytest.raises(UsageError, match="are of the format verdicts, and --data-format is hh"):
        read_preferences(path, DataOptions(columns=COLUMNS, format="hh"))


@pytest.mark.parametrize(
    ("votes", "verdict", "agreement"),
    [
        (["first"], "first", 1.0),
        (["first", "second", "first"], "first", 2 / 3),
        (["second", "tie", "second", "second"], "second", 0.75),
        (["first", "none", "none"], "first", 1.0),
        (["first", "second"], "tie", None),
        (["first", "second", "tie"], "tie", None),
        (["tie", "tie", "first"], "tie", None),
        (["first", "first", "second", "tie"], "none", None),
        (["none"], "none", None),
        ([], "none", None),
    ],
)
def test_more_than_half_of_the_votes_decide(votes, verdict, agreement):
    outcome = majority(votes)
    assert (outcome.verdict, outcome.agreement) == (verdict, agreement)


@pytest.mark.parametrize("columns", ["winner=votes", "winner=one+two+three", "winner=each.*.vote"])
def test_votes_are_a_list_several_columns_or_a_field_of_each_element(tmp_path, columns):
    made = [
        row(None, votes=list(v), one=v[0], two=v[1], three=v[2], each=[{"vote": x} for x in v]) for v in ("ABA", "BBB")
    ]
    columns = COLUMNS.replace("winner=vote", columns)
    pairs = read_preferences(write_rows(tmp_path / "a.jsonl", made), DataOptions(columns=columns)).rows
    assert [(pair.chosen[0], pair.agreement) for pair in pairs] == [("A", pytest.approx(2 / 3)), ("B", 1.0)]


def test_agreement_changes_no_hash_and_is_the_scores_only_where_that_is_asked(tmp_path):
    bare = read_preferences(write_rows(tmp_path / "a.jsonl", [PAIR]))
    path = write_rows(tmp_path / "b.jsonl", [PAIR | {"agreement": 0.75}])
    assert read_preferences(path).content_hash == bare.content_hash
    (scored,) = read_preferences(path, DataOptions(score="agreement")).rows
    assert (scored.chosen_score, scored.rejected_score) == (0.75, 0.25)
    shares = DataOptions(columns={"agreement": "share"}, score="agreement")
    (named,) = read_preferences(write_rows(tmp_path / "d.jsonl", [PAIR | {"share": "0.6"}]), shares).rows
    assert named.chosen_score == 0.6
    with pytest.raises(UsageError, match="field 'share': 60 is no share of votes"):
        read_preferences(write_rows(tmp_path / "e.jsonl", [PAIR | {"share": 60}]), shares)
    for value in ("high", True, 7):
        read_preferences(write_rows(tmp_path / "c.jsonl", [PAIR | {"agreement": value}]))
    with pytest.raises(UsageError, match="the row has none"):
        read_preferences(tmp_path / "a.jsonl", DataOptions(score="agreement"))


def test_a_strength_becomes_the_scores_of_its_pair(tmp_path):
    path = write_rows(tmp_path / "a.jsonl", [row(-3), row(1), row(2.5)])
    options = DataOptions(columns=COLUMNS, winner="negative=first,positive=second")
    assert [(p.chosen[0], p.chosen_score, p.rejected_score) for p in read_preferences(path, options).rows] == [
        ("A", 3, 0),
        ("B", 1, 0),
        ("B", 2.5, 0),
    ]
    clear = read_preferences(path, options.model_copy(update={"min_margin": 2}))
    assert [p.id for p in clear.rows] == [1, 3]


SCORES = "prompt=q,first=answer_a,second=answer_b,first_score=s,second_score=t"


@pytest.mark.parametrize(("better", "expected"), [("higher", "ABA"), ("lower", "BAB")])
def test_the_higher_of_two_scores_wins_or_the_lower_one(tmp_path, better, expected):
    scores = [(2, 1), (-0.5, 0.5), ("10", "9"), (1, 1), (None, 1), (3, float("nan"))]
    rows = [row(None, s=s, t=t) for s, t in scores]
    reading = scan(write_rows(tmp_path / "a.jsonl", rows), DataOptions(columns=SCORES, better=better))
    assert "".join(pair.chosen[0] for pair in reading.rows) == expected
    assert all(pair.chosen_score > pair.rejected_score for pair in reading.rows)
    assert dict(reading.dropped) == {"tie": 1, "fewer than two scores": 2}


def test_scores_of_csv_cells_are_numbers(tmp_path):
    (tmp_path / "a.csv").write_text("q,answer_a,answer_b,s,t,vote\nWhich?,x,y,10,9,1\nWhich?,z,w,9,10,0\n")
    by_scores = read_preferences(tmp_path / "a.csv", DataOptions(columns=SCORES)).rows
    by_code = read_preferences(tmp_path / "a.csv", DataOptions(columns=COLUMNS, winner="1=first,0=second")).rows
    assert [p.chosen for p in by_scores] == [p.chosen for p in by_code] == ["x", "w"]
    assert (by_scores[0].chosen_score, by_scores[0].rejected_score) == (10, 9)


def test_a_score_that_is_no_number_is_refused(tmp_path):
    with pytest.raises(UsageError, match="field 's': 'good' is a string"):
        chosen_of(tmp_path, [row(None, s="good", t=1)], columns=SCORES)


def test_scores_beside_a_verdict_stay_on_the_row_and_must_agree_with_it(tmp_path):
    both = f"{SCORES},winner=vote"
    rows = [row("A", s=5, t=1), row("B", s=1, t=4), row("A", s=2, t=3)]
    path = write_rows(tmp_path / "a.jsonl", rows)
    with pytest.raises(UsageError, match=r"row 3: the scores contradict the order.*\n.*data.reversed=keep"):
        read_preferences(path, DataOptions(columns=both))
    kept = {how: scan(path, DataOptions(columns=both, reversed=how)) for how in ("keep", "swap", "drop")}
    assert {how: "".join(p.chosen[0] for p in reading.rows) for how, reading in kept.items()} == {
        "keep": "ABA",
        "swap": "ABB",
        "drop": "AB",
    }
    assert kept["drop"].dropped == {"reversed scores": 1}
    assert (kept["swap"].rows[2].chosen_score, kept["swap"].rows[2].rejected_score) == (3, 2)


REVERSED = [
    PAIR | {"chosen_score": 1, "rejected_score": 2},
    {
        "chosen": [user("Q?"), assistant("a")],
        "rejected": [user("Q?"), assistant("b")],
        "score_chosen": 1,
        "score_rejected": 2,
    },
    {"question": "Q?", "chosen": "a", "rejected": "b", "chosen_score": 1, "rejected_score": 2},
    {"instruction": "Q?", "chosen_response": "a", "rejected_response": "b", "chosen_rating": 1, "rejected_rating": 2},
]


@pytest.mark.parametrize("source", REVERSED)
def test_scores_against_the_order_stop_the_command_in_every_format(tmp_path, source):
    path = write_rows(tmp_path / "a.jsonl", [source])
    told = bench("data", "convert", path, "--out", tmp_path / "b.jsonl")
    assert told.code == 2
    assert "the scores contradict the order: the rejected answer has 2, the chosen one 1" in told.err
    assert "--set data.reversed=keep" in told.err
    kept, swapped = (read_preferences(path, DataOptions(reversed=how)).rows[0] for how in ("keep", "swap"))
    assert (kept.chosen, kept.chosen_score) == (swapped.rejected, swapped.rejected_score)
    lower = read_preferences(path, DataOptions(better="lower")).rows[0]
    assert (lower.chosen, lower.chosen_score, lower.rejected_score) == (kept.chosen, -1, -2)
    equal = source | {name: 2 for name in source if "score" in name or "rating" in name}
    assert len(read_preferences(write_rows(tmp_path / "c.jsonl", [equal])).rows) == 1


ANSWERED = [(p, f) for p in ("q", [user("q")], user("q")) for f in ("string", "message", "messages")]
REPEATED = [(None, "dialogue"), (None, "text")]


@pytest.mark.parametrize(("prompt", "form"), ANSWERED + REPEATED)
def test_answers_are_strings_messages_or_dialogues(prompt, form):
    makes = {
        "string": lambda text: text,
        "message": assistant,
        "messages": lambda text: [assistant(text)],
        "dialogue": lambda text: [user("q"), assistant(text)],
        "text": lambda text: f"\n\nHuman: q\n\nAssistant: {text}",
    }
    fields = {"prompt": prompt, "first": makes[form]("yes"), "second": makes[form]("no"), "winner": "second"}
    (pair,) = read(fields, DataOptions(), 1)
    answers = ("no", "yes") if isinstance(pair.prompt, str) else ((assistant("no"),), (assistant("yes"),))
    assert (pair.chosen, pair.rejected) == answers
    assert pair.prompt in ("q", (user("q"),))
    assert isinstance(pair.prompt, str) == (prompt == "q" and form == "string")


def test_turns_in_lists_are_a_dialogue_that_may_differ_in_its_last_answer_only():
    alike = {"prompt": ["q", "r"], "first": ["x", "y"], "second": ["x", "z"], "winner": "first"}
    (pair,) = read(alike, DataOptions(), 1)
    assert pair.prompt == (user("q"), assistant("x"), user("r"))
    assert (pair.chosen, pair.rejected) == ((assistant("y"),), (assistant("z"),))
    in_json = {name: json.dumps(value) if name != "winner" else value for name, value in alike.items()}
    assert list(read(in_json, DataOptions(), 1)) == [pair]
    with pytest.raises(Exception, match="before the last answer"):
        list(read(alike | {"second": ["w", "z"]}, DataOptions(), 1))
    with pytest.raises(Exception, match=r"field 'second\[1\]' is empty"):
        list(read(alike | {"second": ["x", None]}, DataOptions(), 1))


def test_verdicts_on_each_two_answers_are_as_many_as_there_are_pairs(tmp_path):
    source = {"q": "Q?", "x": "a", "y": "b", "z": "c", "vote": [1, 1]}
    with pytest.raises(UsageError, match="2 verdicts for 3 answers, each two of which make 3"):
        chosen_of(tmp_path, [source], columns="prompt=q,answers=x+y+z,winner=vote", winner="1=first,2=second")


def test_paths_lead_to_fields_elements_and_json():
    source = {"a.b": 1, "a": {"b": 2, "c.d": 3}, "list": [{"x": 4}, {"x": 5}], "json": '{"x": [6, 7]}', "text": "plain"}
    paths = {"a.b": 1, "a.c.d": 3, "list.0.x": 4, "list.-1.x": 5, "list.*.x": [4, 5], "json.x.1": 7}
    assert {path: value_at(source, path) for path in paths} == paths
    for path in ("a.z", "list.2", "list.x", "text.0", "nothing", "json.x.0.y"):
        with pytest.raises(Exception, match=r"no |which has no"):
            value_at(source, path)
    assert roots_of("a.b+list.0.x+json.x", source) == ("a.b", "list", "json")


def test_a_path_that_leads_nowhere_is_refused_with_what_is_there(tmp_path):
    columns = COLUMNS.replace("answer_a", "answers.2.text")
    with pytest.raises(UsageError, match=r"row 1: field 'answers.2.text' is missing.*a list of 1 has no element 2"):
        chosen_of(tmp_path, [row("A", answers=[{"text": "x"}])], columns=columns)


def test_several_columns_are_one_prompt_and_blank_ones_are_left_out(tmp_path):
    rows = [row("A", more="Context."), row("A", more=" "), row("A", more=None)]
    path = write_rows(tmp_path / "a.jsonl", rows)
    found = read_preferences(path, DataOptions(columns=COLUMNS.replace("prompt=q", "prompt=q+more"))).rows
    assert [pair.prompt for pair in found] == ["Which?\n\nContext.", "Which?", "Which?"]
    with pytest.raises(UsageError, match="cannot be joined with other text"):
        chosen_of(tmp_path, [row("A", more=7)], columns=COLUMNS.replace("prompt=q", "prompt=q+more"))


def test_rows_of_one_value_alone_are_read_and_the_others_counted(tmp_path):
    rows = [row("A", at={"turn": turn}) for turn in (1, 2, "1", 1.0)]
    reading = scan(write_rows(tmp_path / "a.jsonl", rows), DataOptions(columns=COLUMNS, where="at.turn=1"))
    assert ([pair.id for pair in reading.rows], dict(reading.dropped)) == ([1, 3, 4], {"at.turn is not 1": 1})
    with pytest.raises(UsageError, match=r"field 'turn' is missing, by which data\.where selects"):
        chosen_of(tmp_path, rows, where="turn=1")


def test_chosen_and_rejected_from_columns_without_an_order_are_refused_beside_a_verdict(tmp_path):
    path = write_rows(tmp_path / "a.jsonl", [row(None, labels=1)])
    with pytest.raises(UsageError, match=r"field 'labels': 1 may say which of .*\n.*first=answer_a,second=answer_b"):
        read_preferences(path, DataOptions(columns="prompt=q,chosen=answer_a,rejected=answer_b"))
    fair = {"q": "Which?", "good_1": "x", "bad_1": "y"}
    ordered = DataOptions(columns="prompt=q,chosen=good_1,rejected=bad_1")
    assert len(read_preferences(write_rows(tmp_path / "b.jsonl", [fair]), ordered).rows) == 1


def test_a_row_without_a_verdict_is_decided_by_its_scores_unless_both_were_named(tmp_path):
    fields = {"prompt": "q", "first": "x", "second": "y", "first_score": 1, "second_score": 2}
    for winner in ({}, {"winner": None}):
        assert [pair.chosen for pair in read_preferences(write_rows(tmp_path / "a.jsonl", [fields | winner])).rows] == [
            "y"
        ]
    both = scan(
        write_rows(tmp_path / "b.jsonl", [row("A", s=2, t=1), row(None, s=1, t=2)]),
        DataOptions(columns=f"{SCORES},winner=vote"),
    )
    assert ([pair.chosen for pair in both.rows], dict(both.dropped)) == (["A's answer"], {"no preference": 1})


@pytest.mark.parametrize(
    ("names", "pair"),
    [
        (("human_ref_A", "human_ref_B"), ("human_ref_A", "human_ref_B")),
        (("x", "response1", "response2"), ("response1", "response2")),
        (("summaries.0.text", "summaries.1.text"), ("summaries.0.text", "summaries.1.text")),
        (("chosen.0", "rejected.0"), None),
        (("data", "date"), None),
        (("good", "bad"), None),
    ],
)
def test_names_that_count_have_no_order(names, pair):
    assert counted_pair(names) == pair


def test_errors_of_an_answer_name_its_column(tmp_path):
    with pytest.raises(UsageError, match="row 1: field 'answer_b': '' is empty"):
        chosen_of(tmp_path, [row("A", answer_b="")])


@pytest.mark.parametrize("seed", range(5))
def test_random_codes_are_read_as_a_plain_loop_reads_them(tmp_path, seed):
    draw = random.Random(seed)
    codes = draw.sample([0, 1, 2, -1, "a", "B", "left", True, False, 0.5], 4)
    meanings = draw.sample(["first", "second", "tie", "none"], 4)
    rows = [row(draw.choice(codes), answer_a=f"a{n}", answer_b=f"b{n}") for n in range(40)]
    by_code = {repr(code): meaning for code, meaning in zip(codes, meanings, strict=True)}
    expected = []
    for each in rows:
        meaning = by_code[repr(each["vote"])]
        if meaning == "first":
            expected.append(each["answer_a"])
        if meaning == "second":
            expected.append(each["answer_b"])
    winner = ",".join(f"{code}={meaning}" for code, meaning in zip(codes, meanings, strict=True))
    assert chosen_of(tmp_path, rows, winner=winner) == expected


def test_one_content_hash_in_every_container_and_order_of_columns(tmp_path):
    rows = [row(vote, s=score, t=2.5) for vote, score in ((1, 3.0), (0, 1.5), (1, 4.0))]
    backwards = [dict(reversed(each.items())) for each in rows]
    options = DataOptions(columns=f"{SCORES},winner=vote", winner="1=first,0=second")
    files = [write_rows(tmp_path / name, rows) for name in ("a.jsonl", "b.jsonl.gz", "c.json", "d.parquet")]
    files += [write_rows(tmp_path / name, backwards) for name in ("e.jsonl", "f.parquet")]
    with (tmp_path / "g.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, fieldnames=list(backwards[0]))
        table.writeheader()
        table.writerows(rows)
    hashes = {read_preferences(path, options).content_hash for path in [*files, tmp_path / "g.csv"]}
    assert len(hashes) == 1

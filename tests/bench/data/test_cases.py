"""Each synthetic case of a table with something beside its answers: read with all that it says, or refused by cause."""

from pathlib import Path

import pytest

from bench.core.data_options import DataOptions
from bench.data.preferences import read_preferences, scan
from bench.errors import UsageError

from .conftest import assistant, user

CASES = Path(__file__).parent / "fixtures" / "cases"
TURNS = DataOptions(form="messages")


def system(text: str) -> dict[str, str]:
    return {"role": "system", "content": text}


HONEST = system("You are an honest AI.")
FRENCH = system("Answer in French.")
PIRATE = system("You are a pirate.")
READ = {
    # the last row's prompt and answers (an unpaired row has one)
    "truthy": ((HONEST, user("Hi2?")), "Hello", "No"),
    "plain_plus_system": ((FRENCH, user("Hi?")), "Hello", "No"),
    "plain_plus_system_prompt": ((FRENCH, user("Hi?")), "Hello", "No"),
    "sys_alpacafarm": ((HONEST, user("Q")), "a", "b"),
    "sys_hh": ((HONEST, user("x")), "y", "z"),
    "sys_kto": ((HONEST, user("Q")), "y"),
    "sys_openai": ((HONEST, user("Q")), "a", "b"),
    "sys_plain_unpaired": ((HONEST, user("Q")), "x"),
    "sys_saferlhf": ((HONEST, user("Q")), "a", "b"),
    "sys_scored": ((HONEST, user("Q")), "b", "a"),
    "sys_scored_instr": ((HONEST, user("Q")), "b", "a"),
    "sys_scored_input": ((user("Correct the grammar\n\nHe go"),), "b", "a"),
    "chatml40": ((user("Question 39?"),), "Good 39", "Bad 39"),
    "plain_prompt_chatml": ((user("Hi?"),), "Hello", "No"),
    "plain_prompt_chatml2": ((PIRATE, user("Yo?")), "Hello", "No"),
    "plain_prompt_hh": ((user("Hi?"), assistant("Hello"), user("What is 2+2?")), "4", "5"),
    "scored_nan": ((user("Q"),), "c", "b"),
    "hh5_crlf": ((user("x?"),), "Yes", "No"),
}
REFUSED = {
    # the field, what is said of it, a part of the way on
    "orca_renamed_system": ("'sys'", "looks like a system text", "--columns system=sys"),
    "plain_plus_history": ("'history'", "would be left out", "begin with them"),
    "plain_plus_context": ("'context'", "would be left out", "data.ignore=context"),
    "plain_plus_documents": ("'documents'", "would be left out", "data.ignore=documents"),
    "plain_plus_images": ("'images'", "only text is compared", "text alone"),
    "plain_plus_input": ("'input'", "would be left out", "write it into the prompt"),
    "plain_plus_instruction": ("'instruction'", "would be left out", "write it into the prompt"),
    "plain_plus_tools": ("'tools'", "only text is compared", "text alone"),
    "plain_plus_chat_template_kwargs": ("'chat_template_kwargs'", "would be left out", "drop_faulty=true"),
    "plain_plus_winner": ("'winner'", "may say which answer is preferred", "data.ignore=winner"),
    "plain_plus_label_false": ("label", "fields of both formats", "data.ignore=label"),
    "chosen_is_index": ("'chosen'", "0 and 1 are no answers, but which of 'responses'", "write the answers"),
    "chosen_is_index_str": ("'chosen'", "no answers, but which of 'response_a' and 'response_b'", "winner=chosen"),
    "llmblender": ("'candidates[0].score'", "is missing", "data.score=scores.bleu"),
}
STRINGS_WITH_A_SYSTEM = (
    "truthy",
    "plain_plus_system",
    "plain_plus_system_prompt",
    "sys_alpacafarm",
    "sys_plain_unpaired",
    "sys_saferlhf",
    "sys_scored",
    "sys_scored_instr",
)


def test_every_case_has_an_outcome():
    assert {path.stem for path in CASES.glob("*.jsonl")} == READ.keys() | REFUSED.keys()


@pytest.mark.parametrize("name", READ)
def test_a_case_is_read_with_all_that_it_says(name):
    prompt, *texts = READ[name]
    row = read_preferences(CASES / f"{name}.jsonl", TURNS).rows[-1]
    answers = (row.completion,) if len(texts) == 1 else (row.chosen, row.rejected)
    assert row.prompt == prompt
    assert answers == tuple((assistant(text),) for text in texts)


@pytest.mark.parametrize("form", ["auto", "messages", "text"])
@pytest.mark.parametrize("name", REFUSED)
def test_a_case_is_refused_with_its_cause_and_a_way_on(name, form):
    field, said, way_on = REFUSED[name]
    with pytest.raises(UsageError) as caught:
        read_preferences(CASES / f"{name}.jsonl", DataOptions(form=form))
    assert f"{name}.jsonl, row 1: " in str(caught.value)
    assert field in caught.value.problem
    assert said in caught.value.problem
    assert way_on in caught.value.fix


@pytest.mark.parametrize("name", STRINGS_WITH_A_SYSTEM)
def test_a_system_text_beside_a_prompt_that_stays_one_string_is_refused(name):
    with pytest.raises(UsageError, match=r"field 'system(_prompt)?': .* would be left out"):
        read_preferences(CASES / f"{name}.jsonl")


@pytest.mark.parametrize("name", [name for name in REFUSED if name.startswith("plain_plus")])
def test_a_column_that_rows_are_complete_without_is_passed_over_by_name(name):
    column = "label" if "label" in name else name.removeprefix("plain_plus_")
    read = read_preferences(CASES / f"{name}.jsonl", DataOptions(ignore=column))
    assert (read.rows[0].prompt, read.rows[0].chosen, read.rows[0].rejected) == ("Hi?", "Hello", "No")
    assert [each.name for each in read.columns.not_read()] == [column]


def test_a_renamed_system_column_is_read_by_its_name():
    options = DataOptions(columns="system=sys", form="messages")
    (row,) = read_preferences(CASES / "orca_renamed_system.jsonl", options).rows
    assert row.prompt == (HONEST, user("Hi?"))


def test_answers_without_a_score_are_counted():
    assert scan(CASES / "scored_nan.jsonl").dropped == {"answer without a score": 1}


def test_candidates_with_several_scores_are_pairs_by_the_score_that_is_named():
    (row,) = read_preferences(CASES / "llmblender.jsonl", DataOptions(score="scores.bleu")).rows
    assert (row.prompt, row.chosen, row.rejected) == ("i\n\nx", "b", "a")
    assert (row.chosen_score, row.rejected_score) == (2.0, 1.0)


def test_prompts_with_a_template_stay_as_they_are_where_text_is_trained():
    for name in ("chatml40", "plain_prompt_chatml", "plain_prompt_hh"):
        for form in ("auto", "text"):
            (*_, row) = read_preferences(CASES / f"{name}.jsonl", DataOptions(form=form)).rows
            assert isinstance(row.prompt, str)

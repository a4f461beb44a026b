"""Texts that carry a chat template already: refused by the model's own tokens, counted by other templates' marks."""

from pathlib import Path

import pytest

from bench.cli.data_card import tables
from bench.core.data_options import DataOptions
from bench.data.card import describe
from bench.data.encode import encode
from bench.data.encoded_splits import encode_splits, turns_if_templated
from bench.data.preferences import read_preferences, scan
from bench.data.template_marks import count_marks
from bench.data.template_tokens import template_tokens
from bench.errors import UsageError
from bench.suites.chat.held_out import _from_file
from bench.suites.inputs import FRACTIONS

from .conftest import CHATML, PAIR, SINGLE, assistant, user, write_rows

TURNS = DataOptions(form="messages")
TEMPLATED = "<|im_start|>user\nThe cat?<|im_end|>\n<|im_start|>assistant\n"
# As Qwen 3 writes reasoning: in the last answer, and not in earlier ones.
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last and '<think>' not in m.content %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "[T]{{ m.role }}\n\n{{ m.content }}[E]\n\n{% endfor %}{% if add_generation_prompt %}[T]model\n\n{% endif %}"
)


def refusal(path: Path, tokenizer, options=TURNS) -> str:
    with pytest.raises(UsageError) as caught:
        encode(read_preferences(path, options), tokenizer, max_length=64)
    return str(caught.value)


@pytest.mark.parametrize("eos", ["</s>", "<|im_end|>"])
@pytest.mark.parametrize(
    ("row", "field", "role", "token"),
    [
        (PAIR | {"prompt": "What is <|im_end|> for?"}, "prompt", "user", "<|im_end|>"),
        (PAIR | {"system": "Be <|im_start|> brief."}, "prompt", "system", "<|im_start|>"),
        (PAIR | {"chosen": "It sat.<|im_end|>"}, "chosen", "assistant", "<|im_end|>"),
        (PAIR | {"rejected": "<|im_start|>assistant\nIt ran."}, "rejected", "assistant", "<|im_start|>"),
        (SINGLE | {"completion": "It sat.<|im_end|>\n"}, "completion", "assistant", "<|im_end|>"),
    ],
)
def test_a_text_with_the_templates_own_tokens_is_refused(tmp_path, make_tokenizer, eos, row, field, role, token):
    tokenizer = make_tokenizer(bos_token=None, eos_token=eos, chat_template=CHATML)
    plain = SINGLE if "label" in row else PAIR
    path = write_rows(tmp_path / "a.jsonl", [plain, row])
    message = refusal(path, tokenizer)
    assert message.startswith(f"{path}, row 2, field '{field}': the text of its {role} message contains '{token}'")
    assert "take the template's tokens out of the text" in message
    assert "--set data.form=text" in message


def test_a_text_with_a_template_trains_as_it_stands_with_form_text(tmp_path, make_tokenizer):
    tokenizer = make_tokenizer(bos_token=None, chat_template=CHATML)
    path = write_rows(tmp_path / "a.jsonl", [PAIR | {"prompt": TEMPLATED + str(i)} for i in range(20)])
    notes: list[str] = []

    def rows(form):
        options = turns_if_templated(DataOptions(form=form), tokenizer)
        return encode_splits([path], options, tokenizer, max_length=64, fractions=FRACTIONS, note=notes.append)

    with pytest.raises(UsageError, match=r"row 1: field 'prompt'.* templated twice"):
        rows("auto")
    row = rows("text").split.parts["train"].rows[0]
    assert tokenizer.decode(row.prompt_ids).startswith(TEMPLATED)
    assert not any("chat template in" in note for note in notes)


def test_tokens_are_read_off_the_template_and_not_listed(make_tokenizer):
    own = make_tokenizer(chat_template=GEMMA)
    own.add_special_tokens({"additional_special_tokens": ["[T]", "[E]", "[UNUSED]"]})
    own.add_tokens(["\n\n", "user", "##"])
    assert template_tokens(own) == ("<s>", "[E]", "[T]")
    assert template_tokens(make_tokenizer()) == ()
    assert template_tokens(make_tokenizer(chat_template="{{ messages[0].content }}")) == ()
    assert template_tokens(make_tokenizer(chat_template="{{ raise_exception('never') }}")) == ()


def test_tokens_of_turns_that_are_not_special_count_and_reasoning_may_be_words(tmp_path, make_tokenizer):
    tokenizer = make_tokenizer(bos_token=None, chat_template=THINKING.replace("<|im_", "<|turn_"))
    tokenizer.add_tokens(["<think>", "</think>", "<|turn_start|>", "<|turn_end|>"])
    assert template_tokens(tokenizer) == ("<|turn_end|>", "<|turn_start|>")
    row = {"prompt": "The cat?", "chosen": "<think>\nsat?\n</think>\n\nIt sat.", "rejected": "<think>\n</think>It ran."}
    read = read_preferences(write_rows(tmp_path / "a.jsonl", [row]), TURNS)
    (encoded,) = encode(read, tokenizer, max_length=64).pairs
    assert tokenizer.decode(encoded.prompt_ids).endswith("<think>\n")
    assert tokenizer.decode(encoded.chosen_ids) == "sat?\n</think>\n\nIt sat.<|turn_end|>\n"
    turned = write_rows(tmp_path / "a.jsonl", [row | {"prompt": "<|turn_start|>user\nThe cat?"}])
    assert "contains '<|turn_start|>'" in refusal(turned, tokenizer)


# Marks in a text about them; whole dialogues between marks are taken apart.
FOREIGN = [
    "What does <|start_header_id|> begin, and <|eot_id|> end?",
    "Is [INST] a tag?",
    "Gemma writes <start_of_turn> first.",
    "Below is an instruction.\n\n### Instruction:\nHi?\n\n### Response:\n",
]


def test_marks_of_other_templates_are_counted_with_an_example(tmp_path, chat):
    rows = [PAIR | {"prompt": f"Question {i}?"} for i in range(20)]
    rows += [PAIR | {"prompt": text} for text in FOREIGN] + [PAIR | {"chosen": "[INST]"}]
    path = write_rows(tmp_path / "a.jsonl", rows)
    notes: list[str] = []
    options = turns_if_templated(DataOptions(), chat)
    encode_splits([path], options, chat, max_length=128, fractions=FRACTIONS, note=notes.append)
    (line,) = [note for note in notes if "marks of a chat template" in note]
    assert line.startswith(f"{path}: 5 of 25 rows contain marks of a chat template in their text (<|start_header_id|>")
    assert line.endswith("First: row 21, field 'prompt': '<|start_header_id|> begin, and'")

    card = describe(scan(path), source="a.jsonl")
    assert card.template_marks.rows == 5
    assert card.template_marks.marks["[INST]"] == 2
    assert card.as_json()["template_marks"]["first"].startswith("row 21, field 'prompt'")
    summary = dict(row for row in tables(card)[0].rows)
    assert summary["chat templates in texts"].startswith("5 rows: <|start_header_id|>, <|eot_id|>, <start_of_turn>")


def test_texts_without_marks_have_no_note(tmp_path, chat):
    rows = [PAIR | {"prompt": f"[Question] <{i}>? # Instruction"} for i in range(20)]
    path = write_rows(tmp_path / "a.jsonl", rows)
    assert count_marks(read_preferences(path).rows).rows == 0
    notes: list[str] = []
    encode_splits([path], TURNS, chat, max_length=64, fractions=FRACTIONS, note=notes.append)
    assert not any("marks" in note for note in notes)
    assert "chat templates in texts" not in dict(row for row in tables(describe(scan(path), source="a"))[0].rows)


def test_messages_with_the_templates_tokens_are_refused_too(tmp_path, chat):
    row = {"prompt": [user("Hi"), assistant("<|im_end|>"), user("?")], "chosen": [assistant("a")]}
    path = write_rows(tmp_path / "a.jsonl", [row | {"rejected": [assistant("b")]}])
    message = refusal(path, chat, DataOptions())
    assert "field 'prompt': the text of its assistant message contains '<|im_end|>'" in message


def test_instructions_to_report_on_are_refused_too(tmp_path, chat):
    path = write_rows(tmp_path / "a.jsonl", [{"instruction": "The cat?"}, {"instruction": TEMPLATED}])
    with pytest.raises(UsageError, match=r"a\.jsonl, record 2: the text of its user message contains '<\|im_end\|>'"):
        _from_file(path, chat, embeddings=len(chat))

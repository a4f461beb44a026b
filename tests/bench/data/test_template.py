"""Dialogues in ids: what the chat template writes, and where prompt and completion meet."""

import pytest

from bench.data.encode import encode
from bench.data.preferences import Preferences, preferences_of
from bench.data.rows import Pair
from bench.errors import UsageError

from .conftest import CHATML, assistant, user

BOS = 0


def dialogue(*turns: str, chosen: str = "It sat.", rejected: str = "It ran.") -> Preferences:
    prompt = tuple((user, assistant)[i % 2](turn) for i, turn in enumerate(turns))
    row = Pair(prompt=prompt, chosen=(assistant(chosen),), rejected=(assistant(rejected),), id=1)
    return preferences_of([row], source="d.jsonl")


def test_a_dialogue_is_what_the_template_writes_up_to_eos(chat):
    row = encode(dialogue("The cat?", "Which?", "Mine."), chat, max_length=999).rows[0]
    assert chat.decode(row.prompt_ids) == (
        "<|im_start|>user\nThe cat?<|im_end|>\n<|im_start|>assistant\nWhich?<|im_end|>\n"
        "<|im_start|>user\nMine.<|im_end|>\n<|im_start|>assistant\n"
    )
    # The template's line break after <|im_end|> is never generated, so it is not learnt.
    assert chat.decode(row.chosen_ids) == "It sat.<|im_end|>"
    assert chat.decode(row.rejected_ids) == "It ran.<|im_end|>"


def test_a_template_that_ends_turns_with_another_token_than_eos_is_left_alone(make_tokenizer):
    tokenizer = make_tokenizer(bos_token=None, chat_template=CHATML)
    row = encode(dialogue("Hi"), tokenizer, max_length=999).rows[0]
    assert tokenizer.decode(row.chosen_ids) == "It sat.<|im_end|>\n"


def test_a_template_whose_prompt_is_no_beginning_of_its_dialogue_is_refused(make_tokenizer):
    merging = "{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}"
    merging += "{% if add_generation_prompt %}assistant: the c{% endif %}"
    glued = merging.replace("assistant: the c", "assistant: ")
    for template, answers in ((merging, ("it sat", "it ran")), (glued, ("the cat", "the mat"))):
        tokenizer = make_tokenizer(chat_template=template)
        data = dialogue("Hi", chosen=answers[0], rejected=answers[1])
        with pytest.raises(
            UsageError, match=r"d\.jsonl, row 1, field 'chosen': the chat template's prompt .* token \d+ is"
        ):
            encode(data, tokenizer, max_length=999)


def test_a_template_that_writes_bos_twice_is_refused_and_once_is_not(make_tokenizer):
    once = make_tokenizer(chat_template="{{ bos_token }}" + CHATML)
    assert encode(dialogue("Hi"), once, max_length=999).rows[0].prompt_ids[:2].count(BOS) == 1
    twice = make_tokenizer(chat_template="{{ bos_token }}{{ bos_token }}" + CHATML)
    with pytest.raises(UsageError, match="row 1, field 'prompt': it begins with two BOS"):
        encode(dialogue("Hi"), twice, max_length=999)


def test_messages_without_a_template_or_refused_by_it_are_told_so(make_tokenizer):
    with pytest.raises(UsageError, match=r"d\.jsonl, row 1, .*the tokenizer has none"):
        encode(dialogue("Hi"), make_tokenizer(), max_length=999)
    strict = make_tokenizer(chat_template="{{ raise_exception('roles must alternate') }}")
    with pytest.raises(UsageError, match=r"row 1, .*refuses messages of user: roles must alternate"):
        encode(dialogue("Hi"), strict, max_length=999)

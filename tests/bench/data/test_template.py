"""Dialogues in ids: what the chat template writes, and where prompt and completion meet."""

import pytest

from bench.data.encode import encode
from bench.data.end_of_turn import turn_end
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
    assert turn_end(tokenizer) == tokenizer.convert_tokens_to_ids("<|im_end|>") != tokenizer.eos_token_id
    row = encode(dialogue("Hi"), tokenizer, max_length=999).rows[0]
    assert tokenizer.decode(row.chosen_ids) == "It sat.<|im_end|>\n"


def turns(tail: str) -> str:
    """A template that writes ``tail`` after each answer."""
    start = "{% for m in messages %}{{ m.role }}: {{ m.content }}{% if m.role == 'assistant' %}"
    return start + tail + "{% endif %}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"


@pytest.mark.parametrize(
    ("tail", "end", "completion"),
    [
        ("<|im_end|>\n", "<|im_end|>", "It sat.<|im_end|>\n"),
        (" </s>", "</s>", "It sat. </s>"),  # as Llama 2 writes it
        ("<|im_end|>\n{{ eos_token }}", "<|im_end|>", "It sat.<|im_end|>\n</s>"),  # as Phi 3: another end before EOS
        ("{{ eos_token }}<|im_end|>\n", "</s>", "It sat.</s>"),
        (" //\n", None, "It sat. //\n"),  # text alone is no end, and stays as it is
        ("{% if not loop.last %}<|im_start|>{% endif %}", None, "It sat."),  # nor is the beginning of another turn
    ],
)
def test_the_end_of_a_turn_is_read_off_what_the_template_writes_after_an_answer(make_tokenizer, tail, end, completion):
    tokenizer = make_tokenizer(chat_template=turns(tail))
    assert turn_end(tokenizer) == (None if end is None else tokenizer.convert_tokens_to_ids(end))
    assert tokenizer.decode(encode(dialogue("Hi"), tokenizer, max_length=999).rows[0].chosen_ids) == completion


def test_an_end_that_is_no_special_token_counts_too(make_tokenizer):
    tokenizer = make_tokenizer(chat_template=turns("<END>\n"))
    assert turn_end(tokenizer) is None  # several tokens of text
    tokenizer.add_tokens(["<END>"])
    assert turn_end(tokenizer) == tokenizer.convert_tokens_to_ids("<END>")


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

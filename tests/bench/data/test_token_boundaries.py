"""Where prompt and completion meet: merged borders are counted, and told of."""

from bench.data.preferences import preferences_of
from bench.data.rows import Pair, Single
from bench.data.token_boundaries import count_boundaries, report_boundaries
from bench.models.loading import load_tokenizer
from tests.bench.data.conftest import CHAT, CHATML
from tests.bench.evaluate.tasks.documents import STORIES


def told(preferences, tokenizer, template=None):
    lines = []
    report_boundaries(preferences, tokenizer, note=lines.append, template=template)
    return lines


def pairs(*rows):
    return preferences_of(
        [Pair(prompt=p, chosen=c, rejected=r, id=i) for i, (p, c, r) in enumerate(rows, start=1)], source="d.jsonl"
    )


def test_words_that_go_on_over_the_border_are_counted_and_the_first_is_named(make_tokenizer):
    rows = pairs(("the cat", " sat", " ran"), ("the ca", "t", " ran"), ("the mat aw", "ay", "ay again"))
    tokenizer = make_tokenizer()
    found = count_boundaries(rows, tokenizer)
    assert (found.completions, found.merged) == (6, 3)
    assert found.first == "row 2, field 'chosen', ' ' as one text ' cat'"
    (line,) = told(rows, tokenizer)
    assert line.startswith("d.jsonl: 3 of 6 completions would be parted from their prompt at another place")


def test_a_border_before_a_space_is_the_one_that_the_tokenizer_makes(make_tokenizer):
    rows = pairs(("the cat", " sat", " ran"), ("the mat", " ran", " sat on the mat"))
    assert count_boundaries(rows, make_tokenizer()).merged == 0
    assert told(rows, make_tokenizer()) == []


def test_a_border_far_into_a_text_is_found(make_tokenizer):
    long = "the cat sat on the mat and ran away again " * 50
    rows = pairs((long + "the ca", "t " + long, " " + long))
    assert count_boundaries(rows, make_tokenizer()).merged == 1


def test_a_tokenizer_that_begins_every_text_with_a_space_is_told_of():
    tokenizer = load_tokenizer(STORIES)
    single = preferences_of([Single(prompt="One day", completion=" Tom ran.", label=True, id=1)], source="s.jsonl")
    assert count_boundaries(single, tokenizer).merged == 1
    assert "1 of 1 completions" in told(single, tokenizer)[0]


def test_messages_have_no_border_and_what_their_template_does_is_told(chat, make_tokenizer):
    rows = preferences_of([Pair(**{name: tuple(turns) for name, turns in CHAT.items()}, id=1)], source="chat.jsonl")
    assert count_boundaries(rows, chat).completions == 0
    assert told(rows, chat) == []
    spoken = CHATML.replace("{% for", "<|im_start|>system\nBe kind.<|im_end|>\n{% for", 1)
    default = spoken.replace("<|im_start|>system", "{% if messages[0].role != 'system' %}<|im_start|>system").replace(
        "Be kind.<|im_end|>\n", "Be kind.<|im_end|>\n{% endif %}"
    )
    other = make_tokenizer(bos_token=None, eos_token="<|im_end|>", chat_template=default)
    (line,) = told(rows, other)
    assert line == "chat.jsonl: the chat template writes a system prompt where a dialogue has none: 'Be kind.'"


def test_a_template_for_plain_text_is_told_to_have_no_effect(chat):
    rows = pairs(("the cat", " sat", " ran"))
    assert "no chat template touches" in told(rows, chat, template="chatml")[0]

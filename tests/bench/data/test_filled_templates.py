"""Dialogues filled into what a template writes are what the template writes."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from bench.data.filled_templates import TemplateText, prints_contents
from bench.data.row_ids import RowEncoder, _borders
from bench.data.rows import Message, Pair
from tests.bench.data.conftest import CHATML

LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|im_start|>' + "
    "message['role'] + '\n\n' + message['content'] | trim + '<|im_end|>' %}{% if loop.index0 == 0 %}"
    "{% set content = '<s>' + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n\n' }}{% endif %}"
)
SMOLLM = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are helpful<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PRINTING = [
    CHATML,
    LLAMA3,
    SMOLLM,
    "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% endif %}{% endfor %}",
]
OTHERS = [
    "{% for m in messages %}{% if m.content %}{{ m.content }}{% endif %}{% endfor %}",
    "{% for m in messages %}{{ m.content | upper }}{% endfor %}",
    "{% for m in messages %}{{ m.content.split('x')[-1] }}{% endfor %}",
    "{% for m in messages %}{{ m['content'][:5] }}{% endfor %}",
    "{% for m in messages %}{{ m }}{% endfor %}",
    "{{ messages | tojson }}",
    "{% for m in messages %}{% for key in m %}{{ m[key] }}{% endfor %}{% endfor %}",
    "{% for m in messages %}{% set c = m.content %}{% if 'x' in c %}{{ c }}{% endif %}{% endfor %}",
    "{% macro f(c) %}{{ c }}{% endmacro %}{% for m in messages %}{{ f(m.content) }}{% endfor %}",
    "{% for m in messages %}{{ (m.role + m.content) | trim }}{% endfor %}",
    "{% for m in messages if m.content %}{{ m.role }}{% endfor %}",
    "{% set ns = namespace(last='') %}{% for m in messages %}{% set ns.last = m.content %}{% endfor %}{{ ns.last }}",
    "{% for m in messages %}{{ m.content * 2 }}{% endfor %}",
    "{% broken",
]


@pytest.mark.parametrize("template", PRINTING)
def test_templates_that_print_texts_are_recognised(template: str) -> None:
    assert prints_contents(template)


@pytest.mark.parametrize("template", OTHERS)
def test_templates_that_do_more_are_rendered_in_full(template: str) -> None:
    assert not prints_contents(template)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["\ue0000\ue001", " \n x ", "{{ x }}"]
)
TURNS = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), TEXT), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dialogues=st.lists(TURNS, min_size=1, max_size=3), template=st.sampled_from(PRINTING), generation=st.booleans())
def test_filled_dialogues_are_the_template_s_own(
    make_tokenizer: Callable[..., PreTrainedTokenizerFast],
    dialogues: list[list[tuple[str, str]]],
    template: str,
    generation: bool,
) -> None:
    tokenizer = make_tokenizer(chat_template=template)
    messages: list[list[Message]] = [[{"role": r, "content": c} for r, c in turns] for turns in dialogues]
    slow = tokenizer.apply_chat_template(messages, add_generation_prompt=generation, tokenize=False)
    assert TemplateText(tokenizer).render(messages, generation=generation) == slow


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.tuples(TEXT, TEXT, TEXT, TEXT, TEXT), template=st.sampled_from(PRINTING[:3]))
def test_rows_in_batches_have_the_ids_of_rows_one_by_one(
    make_tokenizer: Callable[..., PreTrainedTokenizerFast], texts: tuple[str, ...], template: str
) -> None:
    tokenizer = make_tokenizer(bos_token=None, eos_token="<|im_end|>", chat_template=template)
    question, reply, again, better, worse = ("the " + text for text in texts)
    prompt: tuple[Message, ...] = (
        {"role": "user", "content": question},
        {"role": "assistant", "content": reply},
        {"role": "user", "content": again},
    )
    chosen, rejected = ({"role": "assistant", "content": text} for text in (better, worse + " cat"))
    row = Pair(prompt=prompt, chosen=(chosen,), rejected=(rejected,), id=1)
    encoder = RowEncoder(tokenizer, source="x", in_text=False)
    plain: Pair = Pair(
        prompt=({"role": "user", "content": "a"},),
        chosen=({"role": "assistant", "content": "b"},),
        rejected=({"role": "assistant", "content": "c"},),
        id=2,
    )
    assert list(encoder.encode([plain, row])) == [encoder._one_dialogue(plain), encoder._one_dialogue(row)]
    assert encoder._batch is not None
    assert "<|im_start|>" in _borders(tokenizer)

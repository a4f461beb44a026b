"""Sandboxes of Jinja: what a template may not reach, take or write, and that what it may is as Jinja renders it."""

import time
from importlib.resources import files

import pytest
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from bench.utils import templates
from bench.utils.templates import LimitedSandbox, TemplateLimitError, is_plain

OPTIONS = {"trim_blocks": True, "lstrip_blocks": True, "extensions": ["jinja2.ext.loopcontrols"]}
GROWING = "{% set n = namespace(x='ab', y=[1], z=[1]) %}{% for i in range(60) %}"
DIALOGUE = [{"role": "system", "content": "Be brief."}] + [
    {"role": role, "content": f"Text {number} of {role} <b>&amp;</b>"}
    for number in range(3)
    for role in ("user", "assistant")
]


def rendered(text, **data):
    return LimitedSandbox(**OPTIONS).from_string(text).render(**data)


@pytest.mark.parametrize(
    "text",
    [
        "{{ cycler.__init__.__globals__.os.popen('echo').read() }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ '{0.__class__.__init__.__globals__}'.format(cycler) }}",
        "{{ '{a.__class__.__mro__}'.format_map({'a': 1}) }}",
        "{{ (''|attr('__class__')).x }}",
        "{{ self._TemplateReference__context.environment.budget }}",
        "{{ [1].append(2) }}",
        "{% macro f() %}{% endmacro %}{{ f.__globals__.os }}",
    ],
)
def test_a_template_reaches_no_code(text):
    with pytest.raises((SecurityError, UndefinedError)):
        rendered(text)


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'x' * 10**10 }}",
        "{{ 10**10 * 'x' }}",
        "{{ [1] * 10**9 }}",
        "{{ 'x'|center(10**10) }}",
        "{{ 'x'.ljust(10**10) }}",
        "{{ '1'.zfill(10**10) }}",
        "{{ '{:10000000000}'.format(1) }}",
        "{{ '{:{}}'.format(1, 10**9) }}",
        "{{ '%10000000000d' % 1 }}",
        "{{ '%*d' % (10**9, 1) }}",
        "{{ '%10000000000d'|format(1) }}",
        "{{ 9 ** 99999 }}",
        "{{ (1).to_bytes(10**10, 'big') }}",
        "{{ ('a' * 10**5)|replace('a', 'b' * 10**5) }}",
        "{{ ('a' * 10**5).replace('a', 'b' * 10**5) }}",
        "{{ ('x' * 10**5).join(['a'] * 10**5) }}",
        "{{ (['a'] * 10**5)|join('x' * 10**5) }}",
        "{{ ('a' * 10**5).translate({97: 'b' * 10**5}) }}",
        "{{ ('a\n' * 10**5)|indent(10**5) }}",
        "{{ [1]|batch(10**9, 0)|list }}",
        "{{ [[1]]|tojson(indent=10**9) }}",
        "{{ ['a', 'b']|map('center', 10**9)|list }}",
        GROWING + "{% set n.x = n.x + n.x %}{% endfor %}",
        GROWING + "{% set n.x = n.x ~ n.x %}{% endfor %}",
        GROWING + "{% set y %}{{ n.x }}{{ n.x }}{% endset %}{% set n.x = y %}{% endfor %}",
        "".join(f"{{% set x = {'x + x' if number else repr('ab')} %}}" for number in range(40)) + "{{ x }}",
        "{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
        "{% for i in [[1]] recursive %}{{ loop([[1], [1]]) }}{% endfor %}",
    ],
)
def test_a_large_result_is_refused_before_it_is_made(text):
    started = time.monotonic()
    with pytest.raises(TemplateLimitError):
        rendered(text)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "text",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
        "{% endfor %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(100) }}",
        GROWING + "{% set n.y = [n.y, n.y] %}{% endfor %}{{ n.y }}",
        GROWING + "{% set n.y = {'a': n.y, 'b': n.y} %}{% endfor %}{{ n.y|tojson }}",
        GROWING + "{% set n.y = [n.y, n.y] %}{% set n.z = [n.z, n.z] %}{% endfor %}{{ n.y == n.z }}",
        GROWING + "{% set n.y = [n.y, n.y]|sum(start=[]) %}{% endfor %}",
        "{% macro f() %}{{ caller() }}{% endmacro %}{% for a in range(99999) %}"
        "{% call f() %}{% for b in range(99999) %}{% endfor %}{% endcall %}{% endfor %}",
        "{% for a in range(99999) %}{{ range(99999)|list|sort|length }}{% endfor %}",
    ],
)
def test_a_template_that_would_not_end_is_stopped(text, monkeypatch):
    monkeypatch.setattr(templates, "SECONDS", 0.2)
    started = time.monotonic()
    with pytest.raises(TemplateLimitError):
        rendered(text)
    assert time.monotonic() - started < 5


def test_every_rendering_has_a_budget_of_its_own():
    template = LimitedSandbox(**OPTIONS).from_string("{% for a in range(99999) %}{% endfor %}{{ 'x' * 10**6 }}")
    for _ in range(60):
        assert len(template.render()) == 10**6


@pytest.mark.parametrize("name", ["alpaca", "chatml", "llama-3", "plain", "zephyr"])
def test_a_chat_template_is_rendered_as_by_jinja_and_is_plain(name):
    text = files("bench.models.chat_templates").joinpath(f"{name}.jinja").read_text(encoding="utf-8")
    data = {"messages": DIALOGUE, "add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>"}
    sandbox = LimitedSandbox(**OPTIONS)
    assert sandbox.from_string(text).render(**data) == ImmutableSandboxedEnvironment(**OPTIONS).from_string(
        text
    ).render(**data)
    assert is_plain(sandbox.parse(text))


@pytest.mark.parametrize(
    "text",
    [
        "{% set n = namespace(k=0) %}{% for m in messages %}{% set n.k = n.k + loop.index %}"
        "{{ n.k ~ ': ' ~ m.content }}{% endfor %}",
        "{% macro say(m, end='\n') %}{{ m.role|upper + ': ' + m['content']|trim }}{{ end }}{% endmacro %}"
        "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ say(m, end='|') }}{% endfor %}",
        "{{ messages|map(attribute='role')|join(', ') }}"
        "{{ messages|selectattr('role', 'equalto', 'user')|list|length }}",
        "{{ '%s has %d' % (messages[0].role, messages|length) }} {{ '{:>5}'.format(3) }} {{ 'ab' * 3 }} {{ 2 ** 10 }}",
        "{{ messages[-1]|tojson(indent=2) }} {{ [1, 2] + [3] }}"
        "{{ (1, 2) }} {{ {'a': [1]}.items()|list }} {{ none }} {{ 1.5 }}",
        "{% for m in messages[1:]|batch(2) %}{{ m|length }}{{ loop.last }}{% endfor %}"
        "{{ messages[0].content.split(' ')|last }}",
        "{% set x %}<{{ messages[0].content }}>{% endset %}"
        "{{ x|replace('<', '[') }}{{ x.replace('>', ']')|indent(2) }}",
    ],
)
def test_what_is_within_the_limits_is_as_by_jinja(text):
    expected = ImmutableSandboxedEnvironment(**OPTIONS).from_string(text).render(messages=DIALOGUE)
    assert rendered(text, messages=DIALOGUE) == expected
    assert expected

"""What is a secret never passes; what only looks a little like one does."""

import json

import pytest

from bench.utils.redact import redact, redact_values


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("postgresql://anna:pa55w0rd@db:5432/studies", "postgresql://anna:***@db:5432/studies"),
        ("mysql+pymysql://anna:p@ss/w:rd@db/studies?x=1", "mysql+pymysql://anna:***@db/studies?x=1"),
        ("redis://:pa55w0rd@cache/0", "redis://:***@cache/0"),
        ("https://pa55w0rd@git.example/repo", "https://***@git.example/repo"),
        ("postgresql://db/studies?user=anna&password=pa55w0rd&x=1", "postgresql://db/studies?user=anna&password=***&x=1"),
        ("Authorization: Bearer pa55w0rd.abc", "Authorization: Bearer ***"),
        ('{"api_key": "pa55w0rd", "beta": 0.1}', '{"api_key": ***, "beta": 0.1}'),
        ("WANDB_API_KEY=pa55w0rd bench run", "WANDB_API_KEY=*** bench run"),
        ("token hf_abcdefghijklmnopqrst was refused", "token *** was refused"),
    ],
)  # fmt: skip
def test_secrets_become_stars(text, left):
    assert redact(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "bench run --loss dpo --model run:3f9c --set evaluation.tokens=48 --set max_length=64",
        "KeyError: 'beta' in run key 3f9c2a1b4d5e6f70, tokens: 4096, keys=3",
        "sqlite:////tmp/studies.db", "/home/anna@work/results", "https://example.org/a:b", "monkey=bananas",
        "postgresql://anna@db/studies",
    ],
)  # fmt: skip
def test_what_is_no_secret_stays(text):
    assert redact(text) == text


@pytest.mark.parametrize("name", ["HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET", "PGPASSWORD", "my_token"])
def test_values_of_the_environments_secrets_are_hidden_wherever_they_stand(monkeypatch, name):
    monkeypatch.setenv(name, 'op en/"sesame')
    for form in ('op en/"sesame', "op%20en%2F%22sesame", "op+en%2F%22sesame"):
        assert redact(f"a{form}b") == "a***b"


def test_a_short_value_hides_no_words(monkeypatch):
    monkeypatch.setenv("CI_TOKEN", "on")
    assert redact("one run on one machine") == "one run on one machine"


def test_values_are_redacted_at_any_depth_and_numbers_stay(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "sesame-1")
    rows = [{"url": "a://b:c@d", "n": 3, "e": 0.5}]
    given = {"run_key": "3f9c", "password": "x", "rows": rows, "sesame-1": "sesame-1"}
    found = redact_values(given)
    assert found == {
        "run_key": "3f9c", "password": "***", "rows": [{"url": "a://b:***@d", "n": 3, "e": 0.5}], "***": "***",
    }  # fmt: skip
    assert "sesame" not in json.dumps(found)

"""Judge behind an OpenAI-compatible endpoint: concurrent requests, their failures, and their cost."""

import hashlib
import json
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING

from bench.errors import RunError, UsageError
from bench.evaluate.judges.base import AnswerPair, Cost, Judge, Messages, Verdict, Window
from bench.evaluate.judges.config import JudgeSpec
from bench.evaluate.judges.mt_bench import TOKENS
from bench.evaluate.judges.soft_verdict import VERSION, Position, SoftVerdict, soft_verdict, token_text
from bench.evaluate.judges.templates import Template, fill_template, read_words, template_of

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.chat import ChatCompletion, ChatCompletionTokenLogprob

TOP = 5
"""As many probabilities of a first token as OpenAI's interface and AlpacaEval's judge ask for."""
IN_A_ROW = 10
"""So many failed requests one after the other end the command: the next ones would fail too."""
ASK_FOR = 5.0
"""Seconds that a server may take to list its models."""
CHARACTERS = 4.0
"""Characters a token where there is no tokenizer: OpenAI's own rule of thumb for English."""


def endpoint_judge(spec: JudgeSpec) -> Judge:
    """Return a model behind ``spec.url`` as judge. No request is sent yet.

    Raises:
        UsageError: no model or address, or the environment variable of the key is not set.
    """
    if not spec.model or not spec.url:
        raise UsageError("a judge of kind api needs model and url", fix='url = "http://localhost:8000/v1"')
    template = template_of(spec.template, answers=spec.answers)
    client = _client(spec)
    limit, grade_limit = spec.max_tokens or template.tokens, spec.max_tokens or TOKENS
    soft = spec.logprobs and template.direct

    def compare(pairs: Sequence[AnswerPair]) -> Iterator[tuple[int, Verdict]]:
        prompts = [fill_template(template, pair) for pair in pairs]
        ask = _Request(client, spec=spec, limit=limit, chances=soft)
        yield from _verdicts(prompts, lambda messages: _verdict(ask(messages), template), spec=spec)

    def grade(prompts: Sequence[Messages]) -> Iterator[tuple[int, Verdict]]:
        ask = _Request(client, spec=spec, limit=grade_limit, chances=False)
        yield from _verdicts(prompts, lambda messages: _words(ask(messages)), spec=spec)

    def window(context: int | None) -> Window | None:
        if context is None:
            return None
        return Window(
            context=context,
            tokens=lambda pair: _cost([fill_template(template, pair)], 0, spec=spec).prompt_tokens + limit,
        )

    parts = ["api", spec.url, spec.model, template.messages, template.answers, limit, spec.logprobs, spec.temperature]
    parts += [VERSION] if soft else []
    return Judge(
        name=spec.name or spec.model,
        identity=hashlib.sha256(json.dumps([*parts, spec.extra], sort_keys=True).encode()).hexdigest(),
        ordered=True,
        compare=compare,
        grade=grade,
        cost=lambda prompts, tokens: _cost(prompts, tokens, spec=spec),
        prompt=lambda pair: fill_template(template, pair),
        limit=limit,
        soft=soft,
        grade_limit=grade_limit,
        window=window(spec.context),
        find_window=lambda: window(_served_context(client, spec)),
    )


def _client(spec: JudgeSpec) -> "OpenAI":
    from openai import Omit, OpenAI

    # A key goes only where the user sends it: none is taken from the environment unasked.
    key = "none" if spec.key_env is None else os.environ.get(spec.key_env)
    if not key:
        raise UsageError(
            f"judge {spec.model}: the environment variable {spec.key_env} is not set", fix=f"export {spec.key_env}=…"
        )
    try:
        return OpenAI(
            base_url=spec.url,
            api_key=key,
            # nor an organisation or project
            default_headers={"OpenAI-Organization": Omit(), "OpenAI-Project": Omit()},  # type: ignore[dict-item]  # leaves them out
            timeout=spec.timeout,
            max_retries=spec.retries,
        )
    except Exception as error:
        raise UsageError(f"judge {spec.model}: {error}", fix=f"check url = {spec.url!r}") from error


def _served_context(client: "OpenAI", spec: JudgeSpec) -> int | None:
    """Return the tokens that a server's model can read and write, as vLLM lists it; None where it is not said."""
    from openai import OpenAIError

    try:
        models = client.with_options(timeout=ASK_FOR, max_retries=0).models.list().data
    except (OpenAIError, ValueError, AttributeError, TypeError):
        return None
    sizes = [(model.model_extra or {}).get("max_model_len") for model in models if model.id == spec.model]
    return next((size for size in sizes if isinstance(size, int) and size > 0), None)


class _Request:
    """A request without its messages; it learns from the server's first error that there are no probabilities."""

    def __init__(self, client: "OpenAI", *, spec: JudgeSpec, limit: int, chances: bool) -> None:
        self._create: Callable[..., ChatCompletion] = client.chat.completions.create
        self._spec, self._limit, self._chances = spec, limit, chances

    def __call__(self, messages: Messages) -> "ChatCompletion":
        from openai import BadRequestError, UnprocessableEntityError

        try:
            return self._send(messages, chances=self._chances)
        except (BadRequestError, UnprocessableEntityError) as error:
            if not self._chances or "logprob" not in str(error):
                raise
            self._chances = False  # this server has none: its words are read instead
            return self._send(messages, chances=False)

    def _send(self, messages: Messages, *, chances: bool) -> "ChatCompletion":
        extra = {"logprobs": True, "top_logprobs": TOP} if chances else {}
        return self._create(
            model=self._spec.model,
            messages=[{"role": role, "content": text} for role, text in messages],
            temperature=self._spec.temperature,
            extra_body=self._spec.extra or None,
            **extra,
            **{self._spec.limit_field: self._limit},
        )


def _verdicts(
    prompts: Sequence[Messages], ask: Callable[[Messages], Verdict], *, spec: JudgeSpec
) -> Iterator[tuple[int, Verdict]]:
    """Ask all, ``spec.concurrency`` at a time; yield each prompt's number with its verdict, as they come.

    Raises:
        RunError: key, address or model are wrong, or so many requests failed in a row that more would too.
    """
    stop = threading.Event()

    def one(messages: Messages) -> Verdict | None:
        return None if stop.is_set() else _with_retry(messages, ask, spec=spec)

    failed = 0
    with ThreadPoolExecutor(max_workers=spec.concurrency) as pool:
        numbers = {pool.submit(one, messages): number for number, messages in enumerate(prompts)}
        try:
            for future in as_completed(numbers):
                verdict = future.result()
                assert verdict is not None
                yield numbers[future], verdict
                failed = failed + 1 if verdict.outcome == "failed" else 0
                if failed >= IN_A_ROW:
                    raise RunError(
                        f"judge {spec.model}: {failed} requests failed in a row; the last one: {verdict.text}",
                        fix="what was judged is kept; the same command goes on once the server answers",
                    )
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _with_retry(messages: Messages, ask: Callable[[Messages], Verdict], *, spec: JudgeSpec) -> Verdict:
    import openai

    fatal = (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError)
    # the client repeats what failed on the way; an answer that is not JSON is requested once more here
    for last in (False, True):
        try:
            return ask(messages)
        except fatal as error:
            raise RunError(
                f"judge {spec.model} at {spec.url}: {_error_text(error)}",
                fix="check url, model and key_env of the judge",
            ) from error
        except openai.APIResponseValidationError as error:
            if last:
                return _failed(error)
        except openai.OpenAIError as error:
            return _failed(error)
        except (ValueError, AttributeError, TypeError, IndexError) as error:
            if last:
                return Verdict(
                    first_better=None,
                    outcome="failed",
                    text=f"the response is not that of an OpenAI-compatible server: {error}",
                )
    raise AssertionError("the second try returns or raises")


def _verdict(response: "ChatCompletion", template: Template) -> Verdict:
    words = _words(response)
    if words.outcome != "judged":
        return words
    read = read_words(words.text, template)
    soft = _soft(response, template, named=read.first_better)
    value, mass = (soft.first, soft.mass) if soft is not None else (read.first_better, None)
    return Verdict(
        first_better=value,
        outcome="malformed" if value is None else "judged",
        text=words.text,
        mass=mass,
        prompt_tokens=words.prompt_tokens,
        completion_tokens=words.completion_tokens,
    )


def _words(response: "ChatCompletion") -> Verdict:
    """Return the response's words; refused where server or model say so, or where the model ends without words."""
    choice = response.choices[0]
    message, usage = choice.message, response.usage
    text = message.content or ""
    refusal = getattr(message, "refusal", None)
    silent = not text.strip()
    cut = silent and choice.finish_reason == "length"  # it thought until its tokens were used up
    refused = bool(refusal) or choice.finish_reason == "content_filter" or silent
    return Verdict(
        first_better=None,
        outcome="malformed" if cut and not refusal else "refused" if refused else "judged",
        text=str(refusal or text or choice.finish_reason),
        prompt_tokens=(usage.prompt_tokens or 0) if usage else 0,
        completion_tokens=(usage.completion_tokens or 0) if usage else 0,
    )


def _soft(response: "ChatCompletion", template: Template, *, named: float | None) -> SoftVerdict | None:
    """Return the verdict of the tokens' probabilities; None where none were sent, or none is an answer's."""
    logprobs = getattr(response.choices[0], "logprobs", None)
    if not template.direct or logprobs is None or not logprobs.content:
        return None
    return soft_verdict([_position(token) for token in logprobs.content], template.answers, named=named)


def _position(token: "ChatCompletionTokenLogprob") -> Position:
    text, chance = token_text(token.token, token.bytes), math.exp(token.logprob)
    likeliest = [(token_text(one.token, one.bytes), math.exp(one.logprob)) for one in token.top_logprobs or ()]
    if all(one.token != token.token for one in token.top_logprobs or ()):
        likeliest.append((text, chance))  # what was drawn is none of the likeliest
    return Position(text=text, chance=chance, others=likeliest)


def _failed(error: Exception) -> Verdict:
    return Verdict(first_better=None, outcome="failed", text=_error_text(error))


def _error_text(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:300]}"


def _cost(prompts: Sequence[Messages], tokens: int, *, spec: JudgeSpec) -> Cost:
    """Return what asking takes if every answer is as long as it may be."""
    if spec.tokenizer is None:
        read = sum(math.ceil(sum(len(text) for _, text in messages) / CHARACTERS) + 8 for messages in prompts)
        by = f"characters ÷ {CHARACTERS:g}"
    else:
        from bench.evaluate.judges.templates import prompt_ids
        from bench.models.loading import load_tokenizer

        tokenizer = load_tokenizer(spec.tokenizer)
        read, by = sum(len(prompt_ids(tokenizer, messages)) for messages in prompts), spec.tokenizer.name
    most = tokens * len(prompts)
    priced = spec.price_in is not None and spec.price_out is not None
    money = (read * (spec.price_in or 0.0) + most * (spec.price_out or 0.0)) / 1e6 if priced else None
    return Cost(requests=len(prompts), prompt_tokens=read, completion_tokens=most, counted_by=by, money=money)

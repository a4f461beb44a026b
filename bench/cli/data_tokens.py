"""Tokens of a data card, counted by the rule of the run that would train on the data."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.data_options import DataOptions
from bench.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.data.preferences import Preferences, Reading
    from bench.models.start_tokenizer import StartTokenizer
    from bench.suites.settings import Suite


@dataclass(frozen=True, kw_only=True)
class TokenRule:
    """How a run of a suite encodes the rows for a model.

    ``options``: those by which the run reads the rows; ``max_length``: tokens of its longest row; ``stated``: whether
    that is the user's choice, and not the suite's or the model's context.
    """

    start: "StartTokenizer"
    suite: "Suite"
    options: DataOptions
    max_length: int
    stated: bool

    def sentence(self, *, turns: bool) -> str:
        """Return the rule in words. ``turns``: the rows are messages."""
        start = self.start
        if turns:
            template = start.chat_template or "own"
            how = f"as turns, by {f'the template {template} for' if template != 'own' else 'the chat template of'} "
        else:
            ends = "EOS" if start.tokenizer.bos_token_id is None else "BOS and EOS"
            how = f"as plain text with {ends}, by the tokenizer of "
        why = ""
        if not turns and start.has_template:
            why = " (data.form=text)" if self.options.form == "text" else f" (suite {self.suite.name} has no turns)"
        return f"{how}{start.source}{why}; {self.limit}"

    @property
    def limit(self) -> str:
        """The longest row, and who says so."""
        if self.stated:
            return f"at most {self.max_length} tokens a row (--max-length)"
        own = self.suite.train.max_length
        if self.max_length < own:
            return f"at most {self.max_length} tokens a row (the model's context; suite {self.suite.name}: {own})"
        return f"at most {own} tokens a row (suite {self.suite.name})"

    def judges_itself(self, longest_prompt: int) -> bool:
        """Return whether the start model, as a judge, can read its longest prompt with two of the longest answers."""
        from bench.evaluate.judges.base import AnswerPair
        from bench.evaluate.judges.config import JudgeSpec
        from bench.evaluate.judges.templates import fill_template, prompt_ids, template_of

        if self.start.context is None:
            return True
        spec = JudgeSpec(kind="lm")
        nothing = AnswerPair(instruction="", first="", second="")
        template = template_of(spec.template, answers=spec.answers)
        own = len(prompt_ids(self.start.tokenizer, fill_template(template, nothing)))
        return own + longest_prompt + 2 * self.suite.evaluation.tokens < self.start.context


@dataclass(frozen=True, kw_only=True)
class Counted:
    """A reading within the limits in tokens, and the tokens of each of its rows.

    ``refusal``: why a run would refuse these rows. ``tokens`` is None where it would before they are encoded.
    """

    reading: "Reading"
    tokens: "NDArray[np.int64] | None" = None
    refusal: UsageError | None = None


def token_rule(
    model: str,
    options: DataOptions,
    *,
    suite: str,
    chat_template: str | None,
    max_length: int | None,
    results: Path,
    data: Sequence[Path],
) -> TokenRule:
    """Return the rule of ``bench run --suite SUITE --model MODEL --data …``.

    Raises UsageError for a suite that takes no such data, a model without a tokenizer, or more tokens than it reads.
    """
    from bench.models.start_tokenizer import start_tokenizer
    from bench.suites.inputs import UserInputs, encoding_options
    from bench.suites.protocol import suite_module
    from bench.suites.settings import get_suite

    chosen = get_suite(suite)
    inputs = UserInputs(model=model, chat_template=chat_template, data=tuple(data), options=options)
    suite_module(chosen).check_request(chosen, inputs, train=chosen.train, evaluation=chosen.evaluation)
    start = start_tokenizer(model, results=results, chat_template=chat_template)
    if max_length is not None and start.context is not None and max_length > start.context:
        raise UsageError(
            f"--max-length {max_length} is more than the {start.context} tokens of context that {model} has",
            fix=f"--max-length {start.context}",
        )
    most = chosen.train.max_length if start.context is None else min(chosen.train.max_length, start.context)
    return TokenRule(
        start=start,
        suite=chosen,
        options=encoding_options(chosen, options, start.tokenizer),
        max_length=max_length or most,
        stated=max_length is not None,
    )


def count_tokens(rule: TokenRule, reading: "Reading", *, source: str) -> Counted:
    """Return the rows that the limits in tokens leave, with their tokens.

    Raises UsageError where there are no rows, or none within the limits.
    """
    from bench.data.encoded_splits import token_lengths
    from bench.data.preferences import preferences_in

    preferences = preferences_in(reading, source=source)
    try:
        tokens = token_lengths(preferences, rule.start.tokenizer)
    except UsageError as error:
        return Counted(reading=reading, refusal=error)
    reading, tokens = _within_limits(rule.options, reading, tokens, source=source)
    refusal = _equal_when_cut(rule, preferences_in(reading, source=source), tokens)
    return Counted(reading=reading, tokens=tokens, refusal=refusal)


def _within_limits(
    options: DataOptions, reading: "Reading", tokens: "NDArray[np.int64]", *, source: str
) -> tuple["Reading", "NDArray[np.int64]"]:
    from bench.data.encoded_splits import places_within
    from bench.data.filters import picked

    if options.max_prompt_tokens is None and options.max_tokens is None:
        return reading, tokens
    kept = places_within(tokens, options, source=source)
    left_out = len(tokens) - len(kept)
    dropped = {**reading.dropped, **({"too many tokens": left_out} if left_out else {})}
    rows = picked(reading.rows, kept)
    return replace(reading, rows=tuple(rows) if isinstance(rows, list) else rows, dropped=dropped), tokens[kept]


def _equal_when_cut(rule: TokenRule, preferences: "Preferences", tokens: "NDArray[np.int64]") -> UsageError | None:
    """Return the refusal of a pair whose answers are one once they are cut; only long answers can be."""
    from bench.data.encode import encode
    from bench.data.preferences import subset

    if preferences.kind != "pairs":
        return None
    most = rule.max_length
    prompts, shorter = tokens[:, 0], tokens[:, 1:].min(axis=1)
    long = ((prompts < most) & (most <= prompts + shorter)).nonzero()[0].tolist()
    if not long:
        return None
    try:
        encode(subset(preferences, long), rule.start.tokenizer, max_length=most)
    except UsageError as error:
        return error
    return None

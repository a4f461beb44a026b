"""Check of the ways to score rows against a model's own forward pass, and the choice of the fastest right one.

The truth is the model's own forward pass of one row: no padding, no cache, no packing.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from bench.data.collate import TokenRow, collate_rows, longest_of
from bench.errors import RunError
from bench.models.architecture import first_line
from bench.models.compat import plain_model
from bench.models.completion_logits import Way, completion_logits
from bench.models.context import context_length
from bench.models.embedding_rows import embedded
from bench.models.eval_mode import evaluating
from bench.models.packed.pointwise import own_forms
from bench.models.plain_head import architecture_of
from bench.models.thresholds import special_ids, threshold_lengths
from bench.models.token_stats import token_logps

if TYPE_CHECKING:
    from transformers import PreTrainedModel

EQUAL = {torch.float32: 1e-4, torch.float64: 1e-6}
"""Largest difference of a log-prob from the truth, in nats, for log-probs above −10; in proportion below."""
EQUAL_LOWER = 0.05
"""The same for weights of lower precision."""
BEYOND = 7
"""Tokens by which long rows pass twice a threshold: a choice among keys has to have some to choose from."""
LOGITS_AT_ONCE = 1 << 26
"""Logits of a row up to which all its positions have some (256 MiB); above, its completion's alone."""
CELLS = 4096
"""Rows × longest row that are tried together, at least."""
LONGEST = 2048
"""Longest row of the check, tokens, where it is not known what is to be scored."""
LogProbs = Callable[[Sequence[TokenRow]], Tensor]
"""Rows to the log-probs of all their completion tokens in order."""


class Choice(NamedTuple):
    """The way that a model's rows are scored, and for each faster way why it was not taken."""

    way: Way
    reasons: tuple[str, ...]


def choose_way(model: nn.Module, ways: Sequence[tuple[Way, LogProbs | str]], *, longest: int | None) -> Choice:
    """Return the first of ``ways`` whose log-probs are those of the model's own forward pass.

    They are compared on a few small rows, and on rows longer than every window, chunk and original context of the
    configuration that a row of ``longest`` tokens can meet, with short rows beside them and prompts shared and not.

    Args:
        ways: each with its function from rows to log-probs, or the reason why it is not possible.
        longest: tokens of the longest row that the model will score; None for its context, ``LONGEST`` at most.

    Raises:
        RunError: the model's own forward pass fails on a row of tokens, gives no numbers, gives other numbers at its
            second call, looks at later tokens, or equals none of ``ways``.
    """
    causal = plain_model(model)
    rows = check_rows(causal, longest=longest)
    key = _key(model, ways, rows)
    if key not in _choices:
        with torch.no_grad(), evaluating(model):
            _choices[key] = _choose(model, ways, rows)
    return _choices[key]


_choices: dict[str, Choice] = {}


def _key(model: nn.Module, ways: Sequence[tuple[Way, LogProbs | str]], rows: Sequence[TokenRow]) -> str:
    causal, weight = plain_model(model), next(model.parameters())
    head = causal.get_output_embeddings()
    # Not the configuration alone: the check is of these weights.
    weights = {id(each): each for each in (weight, *(() if head is None else head.parameters()))}
    sums = [float(each.detach().sum()) for each in weights.values()]
    kind = f"{type(model).__name__} {architecture_of(causal)} {sums}"
    return f"{kind} {[way for way, _ in ways]} {len(rows)} {longest_of(rows)}"


def _choose(model: nn.Module, ways: Sequence[tuple[Way, LogProbs | str]], rows: Sequence[TokenRow]) -> Choice:
    truth = _truth(model, rows)
    dtype = next(model.parameters()).dtype
    allowed = EQUAL.get(dtype, EQUAL_LOWER) * (truth.abs() / 10).clamp(min=1)
    reasons: list[str] = []
    for way, logps in ways:
        reason = logps if isinstance(logps, str) else _difference(logps, rows, truth, allowed)
        if reason is None:
            return Choice(way, tuple(reasons))
        reasons.append(f"{way}: {reason}")
    raise RunError(
        f"{type(plain_model(model)).__name__}: no way to score rows equals its own forward pass ({'; '.join(reasons)})",
        fix="choose a model that docs/models_checked.md lists as right",
    )


def _difference(logps: LogProbs, rows: Sequence[TokenRow], truth: Tensor, allowed: Tensor) -> str | None:
    """Return why a way is wrong, None where it is right."""
    try:
        apart = (torch.cat([logps(batch) for batch in _batches(rows)]) - truth).abs()
    except Exception as error:  # a model may refuse in any way that it likes
        return f"it does not take such rows ({type(error).__name__}: {first_line(error)})"
    if bool((apart <= allowed).all()):
        return None
    return f"its log-probs differ by {float(apart.nan_to_num(nan=torch.inf).max()):.2g} nats from the model's own"


def _batches(rows: Sequence[TokenRow]) -> Iterator[list[TokenRow]]:
    """Yield rows that are tried together: all small ones, and of long ones two, so that they fit the memory."""
    most = max(CELLS, 2 * longest_of(rows))
    batch: list[TokenRow] = []
    for row in rows:
        if batch and (len(batch) + 1) * longest_of([*batch, row]) > most:
            yield batch
            batch = []
        batch.append(row)
    yield batch


def _truth(model: nn.Module, rows: Sequence[TokenRow]) -> Tensor:
    """Return the log-probs of the model's own forward pass, row by row. Raises RunError where they mean nothing."""
    name = type(plain_model(model)).__name__
    try:
        with own_forms(model):
            truth = torch.cat([_row_logps(model, row) for row in rows])
    except Exception as error:
        raise RunError(
            f"{name}: its own forward pass fails on a row of token ids ({type(error).__name__}: {first_line(error)})",
            fix="choose a causal language model of text (docs/models_checked.md)",
        ) from error
    if not bool(truth.isfinite().all()):
        raise RunError(f"{name}: its log-probs are not finite", fix="the weights are damaged: save the model again")
    again = _with_gradient(model, rows[0], name)
    if float((again - truth[: len(again)]).abs().max()) > 1e-3:
        raise RunError(
            f"{name}: the same row has other log-probs at a second call, in eval mode",
            fix="choose a model without random numbers or state between calls (docs/models_checked.md)",
        )
    prompt, completion = rows[0]
    other = (*completion[:-1], prompt[0] if prompt[0] != completion[-1] else prompt[1])
    if float((again - _row_logps(model, (prompt, other)))[:-1].abs().max()) > 1e-4:
        raise RunError(
            f"{name}: a token's log-prob depends on the tokens after it, so this is no causal language model",
            fix="set is_decoder=true in config.json where the architecture has it, or choose another model",
        )
    return truth


def _with_gradient(model: nn.Module, row: TokenRow, name: str) -> Tensor:
    """Return a row's log-probs, made with their gradient where there is something to train.

    Raises:
        RunError: there is no gradient in eval mode, in which a policy is trained (no dropout but LoRA's own).
    """
    embedding = plain_model(model).get_input_embeddings().weight  # large, and last in the backward pass anyway
    every = (parameter for parameter in model.parameters() if parameter.requires_grad and parameter is not embedding)
    trainable = next(every, None)
    if trainable is None:
        return _row_logps(model, row)
    try:
        with torch.enable_grad():
            logps = _row_logps(model, row)
            torch.autograd.grad(logps.sum(), [trainable], allow_unused=True)
    except Exception as error:
        raise RunError(
            f"{name}: it has no gradient in eval mode ({type(error).__name__}: {first_line(error)})",
            fix="choose another model (docs/models_checked.md)",
        ) from error
    return logps.detach()


def _row_logps(model: nn.Module, row: TokenRow) -> Tensor:
    causal = plain_model(model)
    laid = collate_rows([row], 0).to(next(model.parameters()).device)
    if laid.ids.shape[1] * embedded(causal) > LOGITS_AT_ONCE:
        logits = completion_logits(model, laid, way="single rows")
    else:
        logits = causal(input_ids=laid.ids, use_cache=False).logits[:, :-1][laid.mask]
    return token_logps(logits, laid.ids[:, 1:][laid.mask])


def check_rows(causal: "PreTrainedModel", *, longest: int | None) -> list[TokenRow]:
    """Return the rows of the check: some small ones, and long ones where a threshold can be met."""
    context = context_length(causal.config) or 1 << 20
    most = min(context, longest or LONGEST)
    ids = _ids(causal)

    def take(count: int) -> tuple[int, ...]:
        return tuple(next(ids) for _ in range(count))

    shared, short, other = take(5), take(2), take(9)
    other = (*other[:4], *_end(causal), *other[5:])  # a turn ends inside a prompt, by a token that may also be padding
    rows = [(shared, take(6)), (short, take(1)), (shared, take(3)), (other, take(4))]
    rows = [row for row in rows if longest_of([row]) <= context]
    met = [length for length in threshold_lengths(causal.config) if length < most]
    if met:
        reach = min(most, 2 * max(met) + BEYOND)
        if reach > longest_of(rows):
            long = take(reach - 6)
            rows += [(long, take(6)), (long, take(4)), (take(3), take(reach - 3))]
            rows += [(take(reach * share // 8), take(6)) for share in (2, 4, 5, 6)]
    return rows


def _ids(causal: "PreTrainedModel") -> Iterator[int]:
    """Yield ids spread over the vocabulary, without those that the configuration gives a meaning."""
    size = embedded(causal)
    special = special_ids(causal.config.to_dict())
    allowed = [each for each in range(size) if each not in special] or list(range(size))
    index = 3
    while True:
        index = (index * 1103515245 + 12345) % (1 << 31)
        yield allowed[(index >> 8) % len(allowed)]


def _end(causal: "PreTrainedModel") -> tuple[int, ...]:
    """Return the configuration's first end token, none where it has none in the vocabulary."""
    value = getattr(causal.config.get_text_config(decoder=True), "eos_token_id", None)
    ends = value if isinstance(value, list) else [value]
    return tuple(each for each in ends if isinstance(each, int) and each < embedded(causal))[:1]

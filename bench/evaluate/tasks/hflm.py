"""lm-eval's model of transformers (``HFLM``), which answers requests with fewer tokens and forward passes."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import handle_stop_sequences, has_bos_prefix, normalize_gen_kwargs, postprocess_generated_text

from bench.errors import UsageError
from bench.evaluate.tasks.greedy import Until, continue_greedily, is_plain_greedy
from bench.evaluate.tasks.loglikelihood import loglikelihoods, reads_branches

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

Request = tuple[tuple[str, str] | None, list[int], list[int]]
"""lm-eval's own: texts, tokens of the context, tokens of the continuation."""
ROWS = 64
"""Rows in one forward pass by default, as in lm-eval."""
TEXTS = 16
"""Texts whose windows are scored together; progress is reported after them."""
GREEDY: dict[str, tuple[object, ...] | None] = {
    "do_sample": (False,),
    "temperature": (0.0, 1.0, None),
    "top_p": None,
    "top_k": None,
}
"""Generation settings of a request that greedy decoding is: with these values (None: with any)."""


def _ignore(answered: int) -> None:
    """Report nothing."""


class BranchingLM(HFLM):
    """lm-eval's model of transformers with other ways to the same answers, where the model allows them.

    Log-likelihoods are computed on branching rows, texts generated without the rows that have ended. ``progress`` is
    called with the number of requests that were just answered.
    """

    progress: Callable[[int], None] = staticmethod(_ignore)

    @cached_property
    def _branches(self) -> bool:
        return reads_branches(self.model)

    @property
    def batch_size(self) -> int | str:
        """Rows at most. To measure how many fit (lm-eval's ``auto``) takes longer than it saves on branching rows."""
        size = self.batch_size_per_gpu
        return ROWS if size == "auto" and (self._branches or self.device.type == "cpu") else size

    def _loglikelihood_tokens(
        self, requests: list[Request], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """Return each continuation's summed log-prob (nats), and whether it is the greedy one; as lm-eval's own."""
        if not requests or not self._branches:
            answers = super()._loglikelihood_tokens(requests, disable_tqdm=disable_tqdm, override_bs=override_bs)
            self.progress(len(answers))
            return answers
        answers = loglikelihoods(
            self.model,
            [(context, continuation) for _, context, continuation in requests],
            max_length=self.max_length,
            batch=int(self.batch_size),
            progress=self.progress,
        )
        for (texts, _, _), answer in zip(requests, answers, strict=True):
            if texts is not None:
                self.cache_hook.add_partial("loglikelihood", texts, answer)
        return answers

    def loglikelihood_rolling(self, requests: list["Instance"], disable_tqdm: bool = False) -> list[float]:
        """Return the summed log-prob (nats) of each text, in windows of the model's context; as lm-eval's own."""
        progress, self.progress = self.progress, _ignore  # lm-eval's own would report windows
        answers: list[float] = []
        try:
            for start in range(0, len(requests), TEXTS):
                part = requests[start : start + TEXTS]
                answers += super().loglikelihood_rolling(part, disable_tqdm=disable_tqdm)
                progress(len(part))
        finally:
            self.progress = progress
        return answers

    def generate_until(self, requests: list["Instance"], disable_tqdm: bool = False) -> list[str]:
        """Return the text that follows each context, up to its stop strings; as lm-eval's own with one row a batch.

        In a batch lm-eval goes on with a row until all have ended. That shows where stop strings overlap, or where a
        row's end is the tokenizer's end token and not one of the model's generation settings; here every row ends by
        itself. What is not greedy is left to lm-eval's own.
        """
        answers = [""] * len(requests)
        groups: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            groups.setdefault(repr(request.args[1]), []).append(index)
        plain = is_plain_greedy(self.model)
        for group in groups.values():
            members = [requests[index] for index in group]
            settings = normalize_gen_kwargs(members[0].args[1], self.max_gen_toks)
            if plain and _is_greedy(settings):
                contexts = [request.args[0] for request in members]
                texts = self._greedily(contexts, list(settings["until"]), tokens=settings["max_gen_toks"])
            else:
                texts = super().generate_until(members, disable_tqdm=disable_tqdm)
                self.progress(len(texts))
            for index, request, text in zip(group, members, texts, strict=True):
                answers[index] = text
                self.cache_hook.add_partial("generate_until", request.args, text)
        return answers

    def _greedily(self, contexts: Sequence[str], until: list[str], *, tokens: int) -> list[str]:
        """Return the likeliest text after each context, ``tokens`` at most, up to the stop strings ``until``."""
        stops = handle_stop_sequences(until, eos=self.tok_decode(self.eot_token_id, False))
        room = self.max_length - tokens
        if room <= 0:
            raise UsageError(
                f"a task generates {tokens} tokens; the model's context has {self.max_length}",
                fix="choose a task of log-likelihoods, or a model of more context",
            )
        texts = continue_greedily(
            self.model,
            [self._context(text)[-room:] for text in contexts],
            Until(max_tokens=tokens, ends=self._ends(stops), stops=tuple(stops)),
            tokenizer=self.tokenizer,
            batch=ROWS if self.batch_size == "auto" else int(self.batch_size),
            progress=self.progress,
        )
        return [postprocess_generated_text(generation=text, stop=stops, think_end_token=None) for text in texts]

    def _context(self, text: str) -> list[int]:
        begins = has_bos_prefix(text, getattr(self.tokenizer, "bos_token", None))
        ids = list(self.tokenizer(text, **({"add_special_tokens": False} if begins else {}))["input_ids"])
        return ids or [self.prefix_token_id]

    def _ends(self, stops: Sequence[str]) -> frozenset[int]:
        """Return the tokens that end a text: the model's, the tokenizer's, and stop strings that are special tokens."""
        own = self.model.generation_config.eos_token_id
        own = [] if own is None else own.tolist() if isinstance(own, torch.Tensor) else own
        added = self.tokenizer.added_tokens_decoder
        special = [number for number, token in added.items() if token.special and token.content in stops]
        return frozenset([self.eot_token_id, *([own] if isinstance(own, int) else own), *special])


def _is_greedy(settings: Mapping[str, object]) -> bool:
    others = {name: value for name, value in settings.items() if name not in ("until", "max_gen_toks")}
    if settings.get("do_sample") is not False or not others.keys() <= GREEDY.keys():
        return False
    return all((allowed := GREEDY[name]) is None or value in allowed for name, value in others.items())

"""lm-eval's model of transformers (``HFLM``), which answers requests with fewer tokens and forward passes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import handle_stop_sequences, has_bos_prefix, normalize_gen_kwargs, postprocess_generated_text

from bench.errors import UsageError
from bench.evaluate.compat import attention_of
from bench.evaluate.tasks.greedy import Until, continue_greedily, is_plain_greedy
from bench.evaluate.tasks.loglikelihood import loglikelihoods, longest_alike, reads_branches

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.models.utils import GenKwargs

Request = tuple[tuple[str, str] | None, list[int], list[int]]
"""lm-eval's own: texts, tokens of the context, tokens of the continuation."""
ROWS = 64
"""Rows in one forward pass by default, as in lm-eval."""
TEXTS = 16
"""Texts whose windows are scored together; progress is reported after them."""
NATS = 1e-3
"""Largest difference of a log-likelihood from lm-eval's own, besides ``RELATIVE`` of it: lm-eval adds in float32."""
RELATIVE = 1e-5
NATS_IN_HALF = 0.25
"""As ``NATS``, for a model whose weights or products have sixteen bits or fewer."""
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

    Log-likelihoods are computed on branching rows, texts generated without the rows that have ended. Whether these ways
    give lm-eval's own answers is tried on some requests of each kind, the longest and the shortest among them, one a
    batch; where they do not, all of that kind are answered by lm-eval's own, one a batch. ``progress`` is called with
    the number of requests that were just answered. ``trusted``: what was tried and equal, kept for other checkpoints of
    the same configuration. ``notes``: what was not.
    """

    progress: Callable[[int], None] = staticmethod(_ignore)
    batch_size_per_gpu: int | str

    @cached_property
    def trusted(self) -> set[str]:
        """Kinds of requests that were answered as by lm-eval's own."""
        return set()

    @cached_property
    def notes(self) -> list[str]:
        """What only lm-eval's own way answers, and why."""
        return []

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
        if any(not continuation or len(continuation) > self.max_length for _, _, continuation in requests):
            return super()._loglikelihood_tokens(requests, disable_tqdm=True)  # which says what is wrong
        lengths = [len(context) + len(continuation) for _, context, continuation in requests]
        if not self._reads_alike(lengths, "log-likelihoods"):
            self.progress(len(requests))
        else:
            answers = self._together(requests, progress=self.progress)
            if not requests or self._equal_to_lm_evals(requests, answers):
                return answers
        with self._alone():
            return super()._loglikelihood_tokens(requests, disable_tqdm=True)

    def _reads_alike(self, lengths: Sequence[int], what: str) -> bool:
        """Return whether texts of these lengths may share a batch."""
        most = longest_alike(self.model.config)
        if max(lengths, default=0) <= most:
            return True
        self.notes.append(
            f"{what} by lm-eval's own way, one at a time: beyond {most:g} tokens this model reads a text by the "
            "longest one of its batch"
        )
        return False

    def _together(
        self, requests: list[Request], *, progress: Callable[[int], None] = _ignore
    ) -> list[tuple[float, bool]]:
        """Answer many requests in one pass: on branching rows, or in lm-eval's own batches."""
        if not self._branches:
            answers = super()._loglikelihood_tokens(requests, disable_tqdm=True)
            progress(len(answers))
            return answers
        answers = loglikelihoods(
            self.model,
            [(context, continuation) for _, context, continuation in requests],
            max_length=self.max_length,
            batch=int(self.batch_size),
            progress=progress,
        )
        for (texts, _, _), answer in zip(requests, answers, strict=True):
            if texts is not None:
                self.cache_hook.add_partial("loglikelihood", texts, answer)
        return answers

    def _equal_to_lm_evals(self, requests: list[Request], answers: Sequence[tuple[float, bool]]) -> bool:
        """Return whether requests answered together have the log-likelihoods of one a batch: some are tried."""
        lengths = [len(context) + len(continuation) for _, context, continuation in requests]
        name = f"log-likelihoods {_scale(lengths)}"
        if self._is_trusted(name):
            return True
        tried = _spread(lengths)
        with self._alone():
            theirs = super()._loglikelihood_tokens([(None, *requests[index][1:]) for index in tried], disable_tqdm=True)
        near = NATS if self.model.dtype is torch.float32 else NATS_IN_HALF
        off = [
            abs(answers[index][0] - value) - RELATIVE * abs(value)
            for index, (value, _) in zip(tried, theirs, strict=True)
        ]
        if max(off) <= near:
            self.trusted.add(self._trust(name))
            return True
        self.notes.append(
            f"log-likelihoods by lm-eval's own way, one at a time: together they are {max(off):.1e} nats off"
        )
        return False

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
        itself. What is not greedy is left to lm-eval's own, one row a batch.
        """
        answers = [""] * len(requests)
        groups: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            groups.setdefault(repr(request.args[1]), []).append(index)
        others: list[int] = []
        for group in groups.values():
            members = [requests[index] for index in group]
            texts = self._greedily(members)
            if texts is None:
                others += group
                continue
            for index, request, text in zip(group, members, texts, strict=True):
                answers[index] = text
                self.cache_hook.add_partial("generate_until", request.args, text)
        # All at once and in lm-eval's order, so that what is sampled is drawn as lm-eval draws it.
        others.sort()
        for index, text in zip(others, self._by_lm_eval([requests[index] for index in others]), strict=True):
            answers[index] = text
        return answers

    def _by_lm_eval(self, requests: list["Instance"]) -> list[str]:
        if not requests:
            return []
        with self._alone():
            return super().generate_until(requests, disable_tqdm=True)

    def _greedily(self, requests: Sequence["Instance"]) -> list[str] | None:
        """Return the likeliest text after each context, as lm-eval's own; None where only lm-eval's own knows it.

        All requests are reported as answered: where it is None, that follows at once.

        Args:
            requests: all with the same generation settings.
        """
        settings = normalize_gen_kwargs(requests[0].args[1], self.max_gen_toks)
        room = self.max_length - settings["max_gen_toks"]
        until = self._until(settings, room=room)
        contexts = [self._context(request.args[0])[-room:] for request in requests]
        longest = max(map(len, contexts))
        if until is None or not self._reads_alike([longest + until.max_tokens], "texts"):
            self.progress(len(requests))
            return None
        # lm-eval's own fails on a prompt without tokens; as for log-likelihoods, the prefix token stands for it here.
        texts = self._texts([context or [self.prefix_token_id] for context in contexts], until)
        lengths = [len(context) for context in contexts]
        name = f"texts {settings} {_scale(lengths)}"
        if not self._is_trusted(name):
            tried = [index for index in _spread(lengths) if lengths[index]]
            if self._by_lm_eval([requests[index] for index in tried]) != [texts[index] for index in tried]:
                self.notes.append("texts by lm-eval's own way, one at a time: batches of this model give another text")
                return None
            self.trusted.add(self._trust(name))
        return texts

    def _until(self, settings: "GenKwargs", *, room: int) -> Until | None:
        """Return where texts end; None for settings that are not greedy, or that only lm-eval's own follows.

        Args:
            room: tokens of the context that are left for a prompt.
        """
        wanted = settings["max_gen_toks"]
        if room <= 0:
            raise UsageError(
                f"a task generates {wanted} tokens; the model's context has {self.max_length}",
                fix="choose a task of log-likelihoods, or a model of more context",
            )
        # transformers: what the model's own settings say of new tokens comes before a total length.
        own = self.model.generation_config.max_new_tokens
        tokens = wanted if own is None else int(own)
        if not is_plain_greedy(self.model) or not _is_greedy(settings) or room + tokens > self.max_length:
            return None
        stops = handle_stop_sequences(list(settings["until"]), eos=self.tok_decode(self.eot_token_id, False))
        return Until(max_tokens=tokens, ends=self._ends(), stops=tuple(stops))

    def _texts(self, contexts: Sequence[Sequence[int]], until: Until) -> list[str]:
        texts = continue_greedily(
            self.model,
            contexts,
            until,
            tokenizer=self.tokenizer,
            batch=ROWS if self.batch_size == "auto" else int(self.batch_size),
            progress=self.progress,
        )
        stops = list(until.stops)
        return [postprocess_generated_text(generation=text, stop=stops, think_end_token=None) for text in texts]

    def _context(self, text: str) -> list[int]:
        begins = has_bos_prefix(text, getattr(self.tokenizer, "bos_token", None))
        ids = self.tokenizer(text, **({"add_special_tokens": False} if begins else {}))["input_ids"]
        return list(ids)

    def _ends(self) -> frozenset[int]:
        """Return the tokens that end a text by the model's generation settings; the tokenizer's is a stop string."""
        own = self.model.generation_config.eos_token_id
        own = [] if own is None else own.tolist() if isinstance(own, torch.Tensor) else own
        return frozenset([own] if isinstance(own, int) else own)

    def _is_trusted(self, name: str) -> bool:
        return self._trust(name) in self.trusted

    def _trust(self, name: str) -> str:
        """Return what a trial holds for: a kind of requests, and all of the model but its weights."""
        model = self.model
        made = (type(model).__name__, model.dtype, model.device.type, attention_of(model.config), self.batch_size)
        return f"{name} {made} {model.config.to_json_string()} {model.generation_config.to_json_string()}"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let lm-eval's own methods take one request a batch."""
        size, self.batch_size_per_gpu = self.batch_size_per_gpu, 1
        try:
            yield
        finally:
            self.batch_size_per_gpu = size


def _spread(lengths: Sequence[int]) -> list[int]:
    """Return the shortest, the middle and the longest of some texts, and what stands beside them in that order."""
    order = sorted(range(len(lengths)), key=lambda index: (lengths[index], index))
    middle = len(order) // 2
    return sorted({*order[:2], *order[middle : middle + 1], *order[-2:]})


def _scale(lengths: Sequence[int]) -> str:
    """Return the magnitude of the shortest and the longest: where texts are longer, other thresholds may be met."""
    return f"{min(lengths).bit_length()}-{max(lengths).bit_length()}"


def _is_greedy(settings: Mapping[str, object]) -> bool:
    others = {name: value for name, value in settings.items() if name not in ("until", "max_gen_toks")}
    if settings.get("do_sample") is not False or not others.keys() <= GREEDY.keys():
        return False
    return all((allowed := GREEDY[name]) is None or value in allowed for name, value in others.items())

"""The specs that define a run: frozen, hashed values. The hash of its ``RunSpec`` names a run."""

import hashlib
import json
from typing import Annotated, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

KEY_LENGTH = 16


class Spec(BaseModel):
    """Base of every spec: frozen, no unknown fields, no coercion of NaN, hashed by canonical JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    later: ClassVar[frozenset[str]] = frozenset()
    """Fields that came when runs had names already: at their default they are neither written nor hashed."""

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, written: SerializerFunctionWrapHandler) -> dict[str, object]:
        defaults = {name: type(self).model_fields[name].default for name in self.later}
        return {
            name: value
            for name, value in written(self).items()
            if name not in defaults or getattr(self, name) != defaults[name]
        }

    def canonical(self) -> str:
        """Return resolved values as JSON: keys sorted, floats by repr, all but ``source`` and defaults of ``later``."""
        values = without_sources(self.model_dump(mode="json"))
        return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)

    def digest(self) -> str:
        """Return the first 16 hexadecimal digits of the SHA-256 of ``canonical()``."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:KEY_LENGTH]


class ProblemSpec(Spec):
    """The dials of an enumerable problem: what is true, and how the preference data lie about it.

    Rewards and temperatures are in nats. Labels follow Bradley-Terry, P(a ≻ b) = σ((l_a − l_b) / temperature), with
    the label reward l = r + proxy_noise · ε(x, y) + length_bias · tokens; then a share ``flips`` is turned round.
    """

    contexts: Annotated[int, Field(gt=1, description="prompts; the even ones select, the odd ones report")] = 16
    symbols: Annotated[int, Field(gt=0, description="vocabulary besides the end token")] = 4
    length: Annotated[int, Field(gt=0, le=8, description="longest completion, tokens, the end token counted")] = 4
    seed: Annotated[int, Field(ge=0, description="of rewards, start model and labels")] = 0
    reward: Annotated[
        Literal["normal", "levels"], Field(description="r*(x, y): normal, or log 1, 2 or 4 (rational probabilities)")
    ] = "normal"
    reward_scale: Annotated[float, Field(gt=0, description="standard deviation of normal rewards, nats")] = 1.0
    start_scale: Annotated[float, Field(ge=0, description="standard deviation of the start model's logits")] = 1.0
    labels: Annotated[
        Literal["sampled", "deterministic", "population"],
        Field(description="drawn, the higher reward always, or every pair in exact proportion"),
    ] = "sampled"
    pairs: Annotated[int, Field(gt=0, le=10**8, description="training pairs, where they are drawn")] = 4096
    temperature: Annotated[float, Field(gt=0, description="of the labels")] = 1.0
    flips: Annotated[float, Field(ge=0, lt=0.5, description="share of labels turned round")] = 0.0
    ties: Annotated[float, Field(ge=0, lt=1, description="share of pairs, the closest, labelled by a coin")] = 0.0
    tilt: Annotated[
        float, Field(description="pairs come from π_ref · exp(tilt · r): 0 the start model, negative a poor sampler")
    ] = 0.0
    proxy_noise: Annotated[float, Field(ge=0, description="the label reward's error, standard deviation, nats")] = 0.0
    proxy_tail: Annotated[
        float | None, Field(gt=0, description="that error's tail: degrees of freedom of Student's t; none: normal")
    ] = None
    length_bias: Annotated[float, Field(description="label reward for each token, nats")] = 0.0
    scores: Annotated[
        Literal["annotator", "reward"], Field(description="scores of a pair: what the label was drawn from, or r*")
    ] = "annotator"
    desirable: Annotated[
        float | None,
        Field(gt=0, lt=1, description="unpaired rows instead of pairs, with this share of desirable ones"),
    ] = None


class SetSpec(Spec):
    """One of several data sets, as far as it is trained on."""

    source: str
    content: str
    rows: Annotated[int, Field(gt=0)]


class DataSpec(Spec):
    """The preference data by content: ``source`` is for people and never hashed.

    ``sets`` are the data sets in their order, where several were given; ``rows`` counts those of all.
    """

    later: ClassVar[frozenset[str]] = frozenset({"sets"})

    kind: Literal["pairs", "unpaired"]
    source: str
    content: str
    rows: Annotated[int, Field(gt=0)]
    problem: ProblemSpec | None = None
    sets: tuple[SetSpec, ...] = ()


class ModelSpec(Spec):
    """The start model by content: SHA-256 over weights, config and tokenizer. ``source`` is for people."""

    source: str
    content: str


class LoraSpec(Spec):
    """LoRA through peft (arXiv 2106.09685): rank, scale α and dropout of the adapters on every linear layer."""

    later: ClassVar[frozenset[str]] = frozenset({"quantize"})

    rank: Annotated[int, Field(gt=0)] = 8
    alpha: Annotated[float, Field(gt=0)] = 16.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    quantize: Annotated[
        Literal["nf4"] | None, Field(description="bits of the layers under the adapters (QLoRA, on CUDA); none: whole")
    ] = None


class TrainSpec(Spec):
    """The training protocol, the same for every objective that is compared."""

    steps: Annotated[int, Field(gt=0, description="optimiser steps")]
    batch: Annotated[int, Field(gt=0, description="global batch: pairs (or unpaired examples) per optimiser step")]
    learning_rate: Annotated[float, Field(gt=0, description="peak learning rate of AdamW")]
    lr_schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: Annotated[float, Field(ge=0, lt=1, description="share of the steps with rising learning rate")] = 0.1
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    clip: Annotated[float, Field(gt=0, description="gradient norm above which gradients are scaled down")] = 1.0
    precision: Literal["fp32", "bf16"] = "fp32"
    max_length: Annotated[int, Field(gt=1, description="prompt and completion together, tokens")] = 128
    lora: LoraSpec | None = None


class JudgedBy(Spec):
    """A judge by content: the hash of all that decides its verdicts. ``source`` is for people."""

    source: str
    name: str
    identity: str


class EvaluationSpec(Spec):
    """What is measured on a checkpoint, and on which split."""

    later: ClassVar[frozenset[str]] = frozenset(
        {
            *("lm_eval_fewshot", "lm_eval_limit", "target", "judges", "content", "against", "ends"),
            *("apply_chat_template", "system_instruction", "fewshot_as_multiturn", "lm_eval_texts"),
            *("strong", "strong_share", "samples"),
        }
    )

    split: Literal["validation", "test"]
    prompts: Annotated[int, Field(gt=0, description="prompts that completions are sampled for")]
    samples: Annotated[int, Field(ge=1, le=64, description="completions of each prompt; a score is their mean")] = 1
    tokens: Annotated[int, Field(gt=0, description="longest sampled completion, tokens")]
    temperature: Annotated[float, Field(gt=0)] = 1.0
    seed: Annotated[int, Field(ge=0, description="of the sampler: the same for every run, so differences are paired")]
    pairs: Annotated[int, Field(gt=0, description="held-out pairs for reward accuracy and log-prob shift")]
    beta0: Annotated[float, Field(ge=0, description="of the target J = E[gold reward] − β₀ · KL(π‖π_ref)")]
    lm_eval: Annotated[tuple[str, ...], Field(description="lm-eval tasks, groups, tags or patterns")] = ()
    lm_eval_fewshot: Annotated[
        int | None, Field(ge=0, description="examples before each question of theirs; none: as a task says")
    ] = None
    lm_eval_limit: Annotated[
        float | None, Field(gt=0, description="documents of each task, the first ones; below 1: a share; none: all")
    ] = None
    apply_chat_template: Annotated[
        bool | None, Field(description="tasks by the model's chat template; none: in suite chat where it has one")
    ] = None
    system_instruction: Annotated[str | None, Field(description="text before each task's own description")] = None
    fewshot_as_multiturn: Annotated[
        bool | None, Field(description="examples of tasks as turns of the template; none: as lm-eval, turns")
    ] = None
    lm_eval_texts: Annotated[
        int, Field(ge=1, description="version of how texts of tasks end; set where a task has texts")
    ] = 1
    judge: Annotated[bool, Field(description="alpaca-eval against the start model's outputs")] = True
    target: Annotated[
        Literal["reward", "win_rate", "auto"],
        Field(
            description="what chooses: J, or the first judge's length-controlled win rate over the start model; "
            "auto: J where that judge gives rewards"
        ),
    ] = "reward"
    judges: Annotated[tuple[JudgedBy, ...], Field(description="the first one chooses, all report on test prompts")] = ()
    strong: Annotated[
        JudgedBy | None, Field(description="asked about a random part of the test prompts; corrects the first judge")
    ] = None
    strong_share: Annotated[float, Field(gt=0, le=1, description="share of the test prompts for the strong judge")] = (
        0.2
    )
    content: Annotated[
        str | None, Field(description="SHA-256 of prompts and held-out rows that are the user's own; none: the suite's")
    ] = None
    against: Annotated[
        str | None,
        Field(description="content of the model that KL and win rate are against; none: the run's own start"),
    ] = None
    ends: Annotated[
        tuple[int, ...] | None,
        Field(description="tokens that end a sample, where they are more than the tokenizer's EOS; the model decides"),
    ] = None

    @field_validator("lm_eval", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        """Read ``blimp,piqa_local`` as a list, and so ``[blimp]``, which a shell makes of ``["blimp"]``."""
        if not isinstance(value, str):
            return value
        return [name.strip() for name in value.strip("[] ").split(",") if name.strip()]


class RunSpec(Spec):
    """Everything that decides the trained weights. Its digest is the run's key."""

    later: ClassVar[frozenset[str]] = frozenset({"reference"})

    version: Annotated[int, Field(description="of the training stage; a change to any number raises it")]
    suite: str
    suite_version: int
    data: DataSpec
    model: ModelSpec
    objective: str
    objective_version: int
    objective_content: Annotated[
        str | None, Field(description="SHA-256 of the file of an objective that is not built in")
    ]
    params: dict[str, float]
    train: TrainSpec
    seed: Annotated[int, Field(ge=0)]
    reference: Annotated[ModelSpec | None, Field(description="none: the start model, as for every run by itself")] = (
        None
    )

    @property
    def key(self) -> str:
        """The run's name."""
        return self.digest()

    def pruned_key(self, protocol: str) -> str:
        """Return the name of this run where the pruner of a protocol ended it: other weights than those of ``key``."""
        return hashlib.sha256(f"{self.key} pruned {protocol}".encode()).hexdigest()[:KEY_LENGTH]


def without_sources(value: object) -> object:
    """Return a dumped spec without what is in it for people alone: two specs are one where the rest is equal."""
    if isinstance(value, dict):
        return {name: without_sources(each) for name, each in value.items() if name != "source"}
    if isinstance(value, list):
        return [without_sources(each) for each in value]
    return value


STATED_POWERS = ("watts_per_core", "watts_per_gpu")
"""Settings from which older versions estimated energy: jobs and studies of these still have them."""


class Execution(BaseModel):
    """Where and how a run is computed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    micro_batch: Annotated[int, Field(gt=0, description="pairs per forward pass")] = 16
    processes: Annotated[int, Field(gt=0)] = 1
    checkpoint_every: Annotated[int, Field(ge=0, description="optimiser steps; 0: only at the end")] = 0
    log_every: Annotated[int, Field(gt=0)] = 1
    watch_every: Annotated[
        int, Field(ge=0, description="optimiser steps from one measurement of entropy and top-1 to the next; 0: never")
    ] = 10
    layout: Annotated[
        Literal["packed", "padded"], Field(description="packed: no padding and each prompt once, where the model can")
    ] = "packed"
    gradient_checkpointing: Annotated[
        bool, Field(description="layers keep their inputs alone and are computed again: less memory, a third slower")
    ] = False
    device: Annotated[str | None, Field(pattern=r"^(cpu|mps|cuda(:[0-9]{1,3})?)$")] = None
    shard: Annotated[
        Literal["ddp", "fsdp2"], Field(description="how ranks hold the policy: a copy each, or a shard each")
    ] = "ddp"
    launcher: Annotated[
        Literal["torchrun", "manual"], Field(description="who starts the ranks: this command, or its user")
    ] = "torchrun"
    rank_timeout: Annotated[float, Field(gt=0, description="seconds that a rank waits for another one")] = 600.0

    @model_validator(mode="before")
    @classmethod
    def _without_stated_powers(cls, values: object) -> object:
        # Jobs written by older versions have the powers from which these estimated energy.
        if isinstance(values, dict):
            return {name: value for name, value in values.items() if name not in STATED_POWERS}
        return values

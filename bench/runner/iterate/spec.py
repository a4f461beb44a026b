"""The spec of an iterated run: a frozen, hashed value that names its folder."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bench.core.specs import ModelSpec, Spec, TrainSpec
from bench.runner.iterate.pairs import Which

VERSION = 1
FOLDER = "iterations"
SELF = "self"
Reference = Literal["previous", "start"]
"""What a round is tied to: the policy of the round before, or the first start model."""


class LoopSpec(Spec):
    """Everything that decides the rounds of one loop but their number: more rounds of a loop only add to it."""

    later: ClassVar[frozenset[str]] = frozenset({"ends"})

    version: int = VERSION
    suite: str
    suite_version: int
    data: Annotated[str, Field(description="content of the data that the prompts come from")]
    model: Annotated[ModelSpec, Field(description="the first start model")]
    objective: str
    objective_version: int
    objective_content: str | None
    params: dict[str, float]
    train: TrainSpec
    seed: Annotated[int, Field(ge=0)]
    prompts: Annotated[int, Field(gt=0, description="of each round")]
    fresh: Annotated[bool, Field(description="rounds have disjoint prompts")]
    samples: Annotated[int, Field(gt=1, description="completions of each prompt")]
    tokens: Annotated[int, Field(gt=0, description="longest completion")]
    temperature: Annotated[float, Field(gt=0)]
    judge: Annotated[str, Field(description="hash of all that decides its verdicts but a policy's weights")]
    both_orders: bool
    pairs: Which
    reference: Reference
    ends: Annotated[
        tuple[int, ...] | None, Field(description="tokens that end a completion, where they are more than EOS")
    ] = None

    @property
    def key(self) -> str:
        """The loop's name."""
        return self.digest()

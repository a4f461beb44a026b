"""Options of a data set: its format, its columns, its form, and what is left out of it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from bench.errors import did_you_mean

COLUMNS = ("prompt", "chosen", "rejected", "completion", "label", "chosen_score", "rejected_score", "system")

Count = Annotated[int, Field(ge=0)]


class DataOptions(BaseModel):
    """How a data set is read and prepared. The defaults change nothing: every row is read, or the file is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Annotated[str | None, Field(description="the format's name; None: told by the columns")] = None
    columns: Annotated[Mapping[str, str], Field(description="prompt=question,chosen=good,rejected=bad")] = {}
    ignore: Annotated[
        tuple[str, ...], Field(description="columns that are left unread: rows are complete without them")
    ] = ()
    form: Annotated[
        Literal["auto", "messages", "text"],
        Field(description="strings as one turn of the user and the answer; or a single turn's messages as strings"),
    ] = "auto"
    pairs: Annotated[
        Literal["best_worst", "all"], Field(description="which pairs are made of several scored answers")
    ] = "best_worst"
    score: Annotated[str | None, Field(description="the field of a scored answer, such as fine-grained_score")] = None
    split: Annotated[str | None, Field(description="which split of a folder or of a hub's data set is read")] = None
    config: Annotated[str | None, Field(description="which configuration of a hub's data set")] = None
    validation: Annotated[Path | None, Field(description="a file to select by, not a share of the prompts")] = None
    test: Annotated[Path | None, Field(description="a file to report on, likewise")] = None
    min_prompt_characters: Count = 0
    max_prompt_characters: Annotated[int | None, Field(gt=0)] = None
    min_answer_characters: Count = 0
    max_answer_characters: Annotated[int | None, Field(gt=0)] = None
    max_prompt_tokens: Annotated[int | None, Field(gt=0)] = None
    max_tokens: Annotated[int | None, Field(gt=0, description="of a prompt and its longer answer together")] = None
    min_margin: Annotated[float | None, Field(ge=0, description="least difference of the scores")] = None
    drop_ties: Annotated[bool, Field(description="pairs whose scores are equal")] = False
    drop_empty: Annotated[bool, Field(description="rows with an answer without text, which are refused otherwise")] = (
        False
    )
    drop_equal: Annotated[bool, Field(description="rows whose answers are equal, which are refused otherwise")] = False
    drop_faulty: Annotated[bool, Field(description="every row that would be refused")] = False
    duplicates: Annotated[
        Literal["keep", "drop", "drop_near"],
        Field(description="drop: the same prompt and answers; drop_near: prompts that share most of their words too"),
    ] = "keep"
    near: Annotated[float, Field(gt=0, le=1, description="share of word 3-grams from which prompts are near")] = 0.8

    @field_validator("columns", mode="before")
    @classmethod
    def _columns(cls, value: object) -> object:
        """Read «prompt=question,chosen=good»."""
        if not isinstance(value, str):
            return value
        pairs = [part.partition("=") for part in value.split(",")]
        wrong = next((f"{name}{sign}{column}" for name, sign, column in pairs if not (name and sign and column)), None)
        if wrong is not None:
            raise ValueError(f"columns must have the form prompt=question,chosen=good,rejected=bad (got {wrong!r})")
        names = [name.strip() for name, _, _ in pairs]
        if len(set(names)) < len(names):
            raise ValueError(f"columns must name each field once (got {value!r})")
        return {name.strip(): column.strip() for name, _, column in pairs}

    @field_validator("columns")
    @classmethod
    def _known(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        wrong = next((name for name in value if name not in COLUMNS), None)
        if wrong is not None:
            raise ValueError(f"unknown field {wrong!r}; {did_you_mean(wrong, COLUMNS)}")
        return dict(value)

    @field_validator("ignore", mode="before")
    @classmethod
    def _ignored(cls, value: object) -> object:
        """Read «context,winner»."""
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("format")
    @classmethod
    def _format(cls, value: str | None) -> str | None:
        if value is not None and value not in FORMATS:
            raise ValueError(f"unknown format {value!r}; {did_you_mean(value, FORMATS)}")
        return value

    @field_validator("split")
    @classmethod
    def _split(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[\w.\-+%:\[\]]{1,80}", value):
            raise ValueError(f"split must be a name such as train, or a slice such as train[:80%] (got {value[:80]!r})")
        return value

    @model_validator(mode="after")
    def _ordered(self) -> "DataOptions":
        for name in ("prompt", "answer"):
            least, most = getattr(self, f"min_{name}_characters"), getattr(self, f"max_{name}_characters")
            if most is not None and most < least:
                raise ValueError(
                    f"min_{name}_characters must be at most max_{name}_characters (got {least} and {most})"
                )
        return self


AS_IT_IS = DataOptions()
"""The default: nothing is renamed, left out or turned."""

FORMATS: dict[str, str] = {
    "plain": "prompt, chosen, rejected (or chosen_response, …) or prompt, completion, label, as strings or as messages",
    "dialogues": "chosen and rejected as whole lists of messages that begin alike (UltraFeedback binarized)",
    "hh": "chosen and rejected as whole dialogues in text, «\\n\\nHuman: … \\n\\nAssistant: …» (HH-RLHF)",
    "orca": "system, question, chosen, rejected (Orca pairs), also with a history",
    "sharegpt": "conversations or messages, and chosen, rejected as one message each (LLaMA-Factory, axolotl)",
    "alpaca": "instruction, input, chosen, rejected",
    "openai": "input.messages, preferred_output, non_preferred_output",
    "swift": "messages with the preferred answer last, and rejected_response or rejected_messages (ms-swift)",
    "kto": "messages with the answer last, and label (LLaMA-Factory, ms-swift)",
    "scored": "one prompt and several answers with a score or a rank each (UltraFeedback, distilabel, Nectar)",
    "ranked_text": "text, a list of dialogues, and score, a list of numbers",
    "saferlhf": "prompt, response_0, response_1, better_response_id",
    "alpacafarm": "instruction, input, output_1, output_2, preference",
    "demonstrations": "messages, conversations, instruction and output, or prompt and completion: no label",
}

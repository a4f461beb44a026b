"""Options of a data set: its format, its columns, its form, and what is left out of it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from bench.core.column_values import value_text
from bench.errors import did_you_mean

COLUMNS = (
    "prompt",
    "chosen",
    "rejected",
    "completion",
    "label",
    "chosen_score",
    "rejected_score",
    "system",
    "first",
    "second",
    "winner",
    "first_score",
    "second_score",
    "answers",
    "agreement",
)
VERDICTS = "verdicts"
"""The format of answers in no order, beside a verdict on them."""
Verdict = Literal["first", "second", "tie", "none"]
"""What a value of ``winner`` may mean; none: no verdict."""

Count = Annotated[int, Field(ge=0)]


class DataOptions(BaseModel):
    """How a data set is read and prepared. The defaults change nothing: every row is read, or the file is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Annotated[str | None, Field(description="the format's name; None: told by the columns")] = None
    columns: Annotated[Mapping[str, str], Field(description="prompt=question,chosen=good,rejected=bad")] = {}
    winner: Annotated[
        Mapping[str, Verdict],
        Field(description="what the values of winner mean: A=first,B=second,tie=tie; negative=first,positive=second"),
    ] = {}
    where: Annotated[Mapping[str, str], Field(description="rows whose column has this value alone: turn=1")] = {}
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
    score: Annotated[
        str | None,
        Field(description="the field of a scored answer, such as fine-grained_score; agreement: shares of the votes"),
    ] = None
    better: Annotated[Literal["higher", "lower"], Field(description="which of two scores is the better one")] = "higher"
    reversed: Annotated[
        Literal["stop", "keep", "swap", "drop"],
        Field(description="pairs whose rejected answer has the better score: an error, or what becomes of them"),
    ] = "stop"
    answer_system: Annotated[
        Literal["read", "ignore"], Field(description="system texts that each answer of a row has of its own")
    ] = "read"
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

    @field_validator("columns", "winner", "where", mode="before")
    @classmethod
    def _pairs(cls, value: object, info: ValidationInfo) -> object:
        """Read «prompt=question,chosen=good», «A=first,B=second», «turn=1»."""
        form = _FORMS[str(info.field_name)]
        if not isinstance(value, str):
            return value
        # The last «=», so that «A=B=tie» says what «A=B» means; columns are what may have one in their names.
        split = str.partition if info.field_name == "columns" else str.rpartition
        pairs = [tuple(each.strip() for each in split(part, "=")) for part in value.split(",")]
        wrong = next((f"{name}{sign}{end}" for name, sign, end in pairs if not (name and sign and end)), None)
        if wrong is not None:
            raise ValueError(f"{info.field_name} must have the form {form} (got {wrong!r})")
        names = [name for name, _, _ in pairs]
        if len(set(names)) < len(names):
            raise ValueError(f"{info.field_name} must name each field once (got {value!r})")
        return {name: end for name, _, end in pairs}

    @field_validator("columns")
    @classmethod
    def _known(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        wrong = next((name for name in value if name not in COLUMNS), None)
        if wrong is not None:
            raise ValueError(f"unknown field {wrong!r}; {did_you_mean(wrong, COLUMNS)}")
        _check_verdict_columns(value)
        return dict(value)

    @field_validator("winner")
    @classmethod
    def _codes(cls, value: Mapping[str, Verdict]) -> Mapping[str, Verdict]:
        codes = [value_text(name) for name in value]
        twice = next((name for name, code in zip(value, codes, strict=True) if codes.count(code) > 1), None)
        if twice is not None:
            raise ValueError(f"winner must name each value once (got {twice!r} twice, upper and lower case being one)")
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


def _check_verdict_columns(columns: Mapping[str, str]) -> None:
    """Refuse columns of a verdict that say too little, or an order beside one. Raises ValueError."""
    verdict = [name for name in _OF_VERDICTS if name in columns]
    if not verdict:
        return
    other = next((name for name in ("chosen", "rejected", "completion", "label") if name in columns), None)
    if other is not None:
        raise ValueError(f"{verdict[0]} and {other} cannot both be named: they are of different formats")
    if ("first" in columns) != ("second" in columns) or ("first_score" in columns) != ("second_score" in columns):
        raise ValueError("name both of first and second, and both of first_score and second_score, or none")
    if ("first" in columns) == ("answers" in columns):
        raise ValueError("name the answers: first=NAME,second=NAME, or answers=NAME+NAME+NAME")
    if "winner" not in columns and not ("first" in columns and "first_score" in columns):
        raise ValueError("name what decides: winner=NAME, or first_score=NAME,second_score=NAME")


_OF_VERDICTS = ("first", "second", "answers", "winner", "first_score", "second_score")
_FORMS = {
    "columns": "prompt=question,chosen=good,rejected=bad",
    "winner": "A=first,B=second,tie=tie",
    "where": "turn=1",
}

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
    VERDICTS: "prompt, first, second, and winner or first_score, second_score: a verdict on answers in no order",
    "demonstrations": "messages, conversations, instruction and output, or prompt and completion: no label",
}

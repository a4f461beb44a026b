"""Owns which columns make a preference row, and how other tools' formats are told apart."""

from collections.abc import Mapping

from bench.data.files import RowError, listed

ACCEPTED = (
    "accepted are pairs (prompt, chosen, rejected; optional chosen_score, rejected_score) and "
    "unpaired rows (prompt, completion, label), as strings or as lists of {role, content}"
)
# What other tools write, told by their columns; the first whose columns are all there names the format.
_FOREIGN: tuple[tuple[frozenset[str], str, str], ...] = (
    (
        frozenset({"conversations"}),
        "ShareGPT",
        "write the turns before the answer as prompt, [{role, content}, …], with human → user and gpt → assistant",
    ),
    (frozenset({"instruction", "chosen", "rejected"}), "Alpaca preference", "join instruction and input into prompt"),
    (frozenset({"instruction", "output_1", "output_2"}), "AlpacaFarm", "write prompt, chosen, rejected"),
    (
        frozenset({"instruction", "output"}),
        "Alpaca",
        "it holds demonstrations, no preferences: a second, worse answer to each prompt is needed",
    ),
    (
        frozenset({"preferred_output", "non_preferred_output"}),
        "OpenAI preference",
        "rename input.messages to prompt, preferred_output to chosen, non_preferred_output to rejected",
    ),
    (
        frozenset({"messages", "label"}),
        "conversational KTO",
        "split messages: all but the last turn are prompt, the last is completion",
    ),
    (
        frozenset({"messages"}),
        "chat fine-tuning",
        "it holds demonstrations, no preferences: a second, worse answer to each prompt is needed",
    ),
    (
        frozenset({"chosen", "rejected"}),
        "HH-RLHF (the prompt is the common start of both dialogues)",
        "write the common start as prompt, and what differs as chosen and rejected",
    ),
    (frozenset({"prompt", "response_0", "response_1"}), "SafeRLHF", "write the two responses as chosen and rejected"),
    (frozenset({"text"}), "plain text", "it holds text, no preferences"),
)


def refuse_format(raw: Mapping[str, object], fields: Mapping[str, object]) -> None:
    """Raise RowError for a row whose columns make none of the accepted forms, naming the format it looks like.

    ``fields`` are the columns of ``raw`` that are not null.
    """
    found = f"columns found: {listed(raw) or 'none'}"
    if "prompt" not in fields and {"completion", "label"} <= fields.keys():
        raise RowError(f"field 'prompt' is missing ({found})", fix=ACCEPTED)
    for columns, name, advice in _FOREIGN:
        if columns <= fields.keys():
            missing = "" if "prompt" in fields else "field 'prompt' is missing; "
            raise RowError(f"{missing}{found}, which looks like the {name} format", fix=f"{advice}; {ACCEPTED}")
    if "prompt" not in fields:
        raise RowError(f"field 'prompt' is missing ({found})", fix=ACCEPTED)
    raise RowError(f"fields 'chosen' and 'rejected', or 'completion' and 'label', are missing ({found})", fix=ACCEPTED)

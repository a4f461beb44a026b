"""What a configuration says to whoever tries a model: lengths at which something changes, and ids with a meaning."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PretrainedConfig

SIZES = re.compile(
    r"(^|_)(ids?|index|token|heads?|dim|dims|rank|experts?|layers?|groups?|size|width|depth|channels?|features?|codebooks?"
    r"|degree|interval|step|freq|frequency|kernel|conv|labels?|classes|num|pad|version|tp|iter|iters|iterations)(_|$)"
    r"|(^|_)(hidden|intermediate|vocab|embed|embedding|ffn|mlp|state|expand|lora|moe|n|d)_|^d_|^n_|^max_position|_per_tok$"
    r"|context_length$|^seq_length$|^max_seq|^n_ctx$|^n_positions$|^max_length$|^theta$|^rope_theta$"
)
"""Names of integers that are sizes, counts and ids: they say nothing of a length. Any other integer may be a length."""
LENGTHS = re.compile(
    r"window|chunk|original_max|local_att|attention_(context|window)|block_size|topk_blocks|index_topk|stride|landmark"
    r"|floor_scale|max_distance|buckets|sparse|segment"
)
"""Names of integers that are lengths, whatever else their names look like."""
OTHER_MEDIA = re.compile(r"vision|audio|image|video|speech|visual|codec")
"""Names of nested configurations that text never meets."""


def threshold_lengths(config: "PretrainedConfig") -> list[int]:
    """Return the lengths in tokens from which attention or positions may change, sorted; none for a plain Llama.

    Windows, chunks, original contexts, sparse selections, in nested configurations too. An integer of an unknown name
    counts as one: rows that are longer than needed cost time, rows that are too short would miss a wrong path.
    """
    return sorted({value for value in _lengths(config.to_dict(), "") if value >= 2})


def _lengths(node: object, name: str) -> Iterator[int]:
    if isinstance(node, dict):
        for key, value in node.items():
            if not OTHER_MEDIA.search(str(key)):
                yield from _lengths(value, str(key))
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _lengths(value, name)
    elif isinstance(node, int) and not isinstance(node, bool) and (LENGTHS.search(name) or not SIZES.search(name)):
        yield node
    elif isinstance(node, float) and node.is_integer() and LENGTHS.search(name):
        yield int(node)


def special_ids(settings: object) -> set[int]:
    """Return the ids that a configuration's dictionary gives a meaning: padding, ends, images, nested ones too."""
    if not isinstance(settings, dict):
        return set()
    ids = {
        each
        for name, value in settings.items()
        if str(name).endswith(("token_id", "token_index", "_token_ids"))
        for each in (value if isinstance(value, list) else [value])
        if isinstance(each, int)
    }
    return ids.union(*map(special_ids, settings.values()))

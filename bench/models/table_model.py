"""Tabular policy: a table of logits as a causal LM of transformers, which can represent any distribution."""

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding
from transformers import AutoConfig, AutoModelForCausalLM, Cache, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

END = 0
"""The end token's id. Symbols are 1 … K, context tokens K + 1 … K + C; a prompt is one context token."""


def node_count(symbols: int, length: int) -> int:
    """Return sequences of fewer than ``length`` symbols, the empty one included."""
    return sum(symbols**depth for depth in range(length))


MODEL_TYPE = "lossbench_table"


class TableConfig(PretrainedConfig):
    """The sizes of a table: contexts, symbols, and the longest completion in tokens."""

    model_type = MODEL_TYPE

    def __init__(self, *, contexts: int = 2, symbols: int = 1, length: int = 1, **common: object) -> None:
        self.contexts = contexts
        self.symbols = symbols
        self.length = length
        self.max_position_embeddings = length + 1
        self.num_hidden_layers = 1
        sizes = {"vocab_size": 1 + symbols + contexts, "eos_token_id": END, "pad_token_id": END, "bos_token_id": None}
        super().__init__(**(common | sizes))


class TableModel(PreTrainedModel, GenerationMixin):
    """A causal LM whose logits are looked up: one row of ``table [contexts, nodes, symbols + 1]`` for each prefix.

    Every parameter is a logit of its own, so any distribution over completions can be represented exactly, and a step
    on one completion moves no other but through the normalisation of the prefixes that they share.
    """

    config_class = TableConfig
    main_input_name = "input_ids"
    packable = False
    """It looks logits up by a row's whole beginning, so rows have no work to share (``bench.models.packed``)."""

    def __init__(self, config: TableConfig) -> None:
        super().__init__(config)
        nodes = node_count(config.symbols, config.length)
        self.table = nn.Parameter(torch.zeros(config.contexts, nodes, config.symbols + 1))
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        return_dict: bool | None = None,
    ) -> CausalLMOutputWithPast:
        """Return logits ``[rows, tokens, symbols + 1]``; after the end token they are finite and mean nothing.

        Context tokens have no logit, though the tokenizer has them: no completion contains one, and with a column for
        each the time of a step grew by the square of the contexts.

        Args:
            input_ids: a context token and then symbols, int64 ``[rows, tokens]``; padding stands on the right, so no
                mask is needed.
            past_key_values: a cache of transformers; it keeps the tokens that were seen.
            logits_to_keep: of the last positions only; 0: of all.
            return_dict: what is returned has fields in any case; ``generate`` gives this and ``use_cache``.

        Raises:
            ValueError: more tokens than prompt and longest completion have.
        """
        fed = input_ids.shape[1]
        if past_key_values is not None:
            seen, _ = past_key_values.update(input_ids[:, None, :, None], input_ids[:, None, :, None], 0)
            input_ids = seen[:, 0, :, 0]
        if input_ids.shape[1] > self.config.max_position_embeddings:
            raise ValueError(
                f"{input_ids.shape[1]} tokens; prompt and completion have at most {self.config.max_position_embeddings}"
            )
        keep = min(logits_to_keep or fed, fed)
        rows = embedding(self._table_rows(input_ids)[:, -keep:], self.table.flatten(0, 1))
        return CausalLMOutputWithPast(logits=rows, past_key_values=past_key_values)

    def _table_rows(self, input_ids: Tensor) -> Tensor:
        """Return the flat table's row at each position ``[rows, tokens]``: context and number of the prefix so far."""
        nodes = self.table.shape[1]
        prefixes = [torch.zeros_like(input_ids[:, 0])]
        for index in range(1, input_ids.shape[1]):
            prefixes.append(prefixes[-1] * self.config.symbols + input_ids[:, index])
        # A whole completion is no prefix: what stands there is never read.
        within = torch.stack(prefixes, dim=1).clamp_(max=nodes - 1)
        return (input_ids[:, :1] - self.config.symbols - 1) * nodes + within

    def _init_weights(self, module: nn.Module) -> None:
        """Change nothing: the table starts uniform."""


def register() -> None:
    """Make ``AutoModelForCausalLM`` know the table; again is no error."""
    AutoConfig.register(MODEL_TYPE, TableConfig, exist_ok=True)
    AutoModelForCausalLM.register(TableConfig, TableModel, exist_ok=True)

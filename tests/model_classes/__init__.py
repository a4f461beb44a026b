"""Every causal-LM class of transformers, small, compared with its own forward pass."""

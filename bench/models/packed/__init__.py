"""The packed path: each prompt once, no padding, no [tokens, vocabulary]; the padded path's numbers in less time."""

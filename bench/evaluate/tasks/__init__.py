"""Tasks of lm-eval: found, checked, loaded, and run on a model in memory."""

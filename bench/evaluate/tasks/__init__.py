"""Tasks of lm-eval whose documents are read from files: one YAML file each, see ``bench.evaluate.tasks.files``."""

"""Numbers measured on a checkpoint."""

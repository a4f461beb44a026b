"""Training: the loop, its step, checkpoints and trackers."""

"""Property tests of an objective, for ours and for plugins."""

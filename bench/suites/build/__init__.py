"""Builds the assets of the suites from their corpora; needs the extra ``build``."""

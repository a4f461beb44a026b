"""Sentiment: positive movie reviews, scored by a known reward."""

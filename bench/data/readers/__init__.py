"""One reader a format: from a raw row to the pairs or single completions that it holds."""

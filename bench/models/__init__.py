"""Models: where they come from, what they say of tokens, and how they are kept and handed on."""

"""Chat: a user's own model and preferences, compared by judges."""

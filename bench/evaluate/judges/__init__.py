"""Open-ended evaluation: judges, their verdicts, and win rates."""

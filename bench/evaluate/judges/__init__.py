"""Open-ended evaluation: who judges, what was judged, and the win rates that follow."""

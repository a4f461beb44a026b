"""State of the work in a results folder; reads only."""

"""Preference data: reading, encoding, ordering, collating."""

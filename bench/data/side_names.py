"""Names of the columns of a pair's two answers, the preferred one first."""

SIDES = (
    ("chosen", "rejected"),
    ("chosen_response", "rejected_response"),
    ("response_chosen", "response_rejected"),
    ("response", "rejected_response"),
)
"""What the two answers are called: nearly everywhere, by distilabel and NeMo RL, by MedicalGPT, by ms-swift 2."""

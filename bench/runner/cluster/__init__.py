"""Workers and trainings on a cluster."""

"""Where objectives end: population optima in closed form, and why others have none."""

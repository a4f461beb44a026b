"""Running a command: the plan, who does what, and the stages of one run."""

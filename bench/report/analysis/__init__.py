"""What the records say: groups, comparisons, rankings and costs."""

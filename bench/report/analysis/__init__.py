"""Analysis of records: groups, comparisons, rankings and costs."""

"""Reports: records in, tables and figures out; and the results folder that holds them."""

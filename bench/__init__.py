"""The composition: suites, data, training, evaluation, reports and the command line."""

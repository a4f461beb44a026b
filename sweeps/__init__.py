"""Nothing but the package: the search over what an objective's parameters may be. See search, study, worker."""

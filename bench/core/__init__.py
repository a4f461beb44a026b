"""What a run is and what it leaves: requests, specs, records, and the files that hold them."""

"""Training on several processes: launching, sharing and sharding."""

"""What a stage trains on: one file an objective."""

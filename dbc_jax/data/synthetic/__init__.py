"""The demos: synthetic pedestrians, drawn from a seed."""

"""A page for looking at the clusters of a run and correcting them."""

"""Data sets as TFDS records, for other programs."""

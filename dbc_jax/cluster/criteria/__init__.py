"""Merging criteria: one file each, and what they share."""

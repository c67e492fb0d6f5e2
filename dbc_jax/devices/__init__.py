"""Processes, their devices, and passes over blocks on them."""

"""Distances between samples, and from them between clusters."""

"""Objectives, the step, epochs, the optimiser, and embedding."""

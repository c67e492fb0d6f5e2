"""Readers of data sets: one file each, and what they share.

They read names and lists only; an image is decoded when it is needed.
"""

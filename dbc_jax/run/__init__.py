"""The corridor: from a config to parts, stage after stage, to results."""

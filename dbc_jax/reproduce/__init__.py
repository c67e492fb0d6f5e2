"""The papers' studies: grids of runs, and the tables and figures they end in.

Each run is an ordinary one, in a workdir of its own. `controls` alone hands
identities to a training, for the rows that say so.
"""

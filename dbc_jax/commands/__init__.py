"""Commands beside the training: `python -m dbc_jax.commands.NAME`."""

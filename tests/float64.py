"""Networks in float64, for comparing steps that round in another order.

In float32 a unit next to zero may land on either side of a ReLU's kink, and
then two right steps differ by 1e-3. In float64 no rounding tips one.
"""

import jax
import jax.numpy as jnp

from dbc_jax import models
from dbc_jax.devices import mesh
from dbc_jax.training import step as step_lib


def create(name, size, **options):
  """An encoder and its variables, all in float64; in float64 mode."""
  encoder = models.create_encoder(name, axis_name=mesh.AXIS_NAME, **options)
  encoder = encoder.clone(backbone=encoder.backbone.clone(dtype=jnp.float64))
  variables = step_lib.init_variables(encoder, jax.random.key(0), size)
  return encoder, jax.tree.map(lambda x: x.astype(jnp.float64), variables)

"""Sets of synthetic images that differ from the demo in how many of whom.

demo          as it is: 111 identities of 5 to 36 images
few, many     50 and 200 identities in as many images
balanced      9 images of every identity
skewed        their numbers spread twice as far as the demo's
"""

import dataclasses

import ml_collections

from dbc_jax.data.pipeline import LoadedDataset
from dbc_jax.data.synthetic import images as images_lib
from dbc_jax.data.synthetic import splits as splits_lib
from dbc_jax.run import build

# What each set of synthetic images changes in the demo's plan.
SYNTHETIC = {
  'demo': {},
  'few': {'train_mean': 20},
  'many': {'train_mean': 5},
  'balanced': {'train_skew': 0.0},
  'skewed': {'train_skew': 1.8},
}


def synthetic_data(
  config: ml_collections.ConfigDict, name: str
) -> LoadedDataset:
  """A set of synthetic images, decoded as a config of the demo asks."""
  plan = dataclasses.replace(images_lib.PLAN, **SYNTHETIC[name])
  return build.load_data(config, *splits_lib.draw(plan, 0, 1000, 60))

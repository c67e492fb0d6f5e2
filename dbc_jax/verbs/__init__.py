"""What is done with a trained network: embed images, search among them."""

from dbc_jax.verbs.assigning import Answer, assign, first_free
from dbc_jax.verbs.embedding import (
  Embedded,
  embed,
  embed_cached,
  of_run,
  uses_cameras,
)
from dbc_jax.verbs.files import read_features, write_features
from dbc_jax.verbs.reclustering import links_of
from dbc_jax.verbs.searching import Match, search
from dbc_jax.verbs.sources import Sources, find_sources, find_sources_like

__all__ = [
  'Answer',
  'Embedded',
  'Match',
  'Sources',
  'assign',
  'embed',
  'embed_cached',
  'find_sources',
  'find_sources_like',
  'first_free',
  'links_of',
  'of_run',
  'read_features',
  'search',
  'uses_cameras',
  'write_features',
]

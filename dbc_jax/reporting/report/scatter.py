"""A map of images: those with features alike lie close together."""

import numpy as np

MOST = 2000
_SEED = 0
_SIDE = 1000  # Of the map: places are whole numbers up to it.


def chosen(count: int) -> np.ndarray:
  """Rows [n] of at most `MOST` of so many images, at random, rising."""
  if count <= MOST:
    return np.arange(count)
  rng = np.random.default_rng(_SEED)
  return np.sort(rng.choice(count, MOST, replace=False))


def places_of_map(features: np.ndarray) -> np.ndarray:
  """Places [n, 2] float32 of those `chosen` of images, by t-SNE.

  Args:
    features: [N, D] of all images.
  """
  return places(features[chosen(len(features))])


def places(features: np.ndarray) -> np.ndarray:
  """Places [n, 2] float32 by t-SNE, the same for the same features.

  All are at zero where there are fewer than four, or no two differ.

  Args:
    features: [n, D] floating point, finite.

  Source: van der Maaten and Hinton, Visualizing data using t-SNE (2008).
  """
  features = np.asarray(features, np.float32)
  if len(features) < 4 or not np.ptp(features, axis=0).any():
    return np.zeros((len(features), 2), np.float32)
  # Takes a second to import.
  import threadpoolctl
  from sklearn.manifold import TSNE

  perplexity = min(30.0, (len(features) - 1) / 3)
  init = 'pca' if features.shape[1] > 1 else 'random'
  tsne = TSNE(perplexity=perplexity, init=init, random_state=_SEED)
  # One thread: several wait for each other where others have the cores, a
  # hundred times as long, and round differently.
  with threadpoolctl.threadpool_limits(1):
    return tsne.fit_transform(features)


def to_map(places: np.ndarray) -> np.ndarray:
  """Places [n, 2] int within 0 to 1,000 each way, in their proportions."""
  low = places.min(axis=0)
  span = float(np.ptp(places, axis=0).max()) or 1.0
  margin = (_SIDE - _SIDE * np.ptp(places, axis=0) / span) / 2
  return np.rint((places - low) / span * _SIDE + margin).astype(int)

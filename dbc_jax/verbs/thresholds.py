"""Distances at which a consumer calls two crops one person.

A consumer resizes crops in its own way, which moves features. So a threshold
for it is calibrated on the run's images resized in that way.
"""

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import jax
import numpy as np
from PIL import Image

from dbc_jax.data import Samples, load_configured
from dbc_jax.data.augment import normalize
from dbc_jax.data.loading import resize_image
from dbc_jax.labels import apart
from dbc_jax.run import restore
from dbc_jax.run.restore import RestoredRun
from dbc_jax.verbs.searching import calibration_of

RATES = (1e-2, 1e-3, 1e-4)
# So many have 2 million pairs, of which 200 decide at the lowest rate.
_MOST_IMAGES = 2000
_SEED = 0

# From uint8 [H, W, 3] and (height, width) to that size, uint8 or float.
Resizer = Callable[[np.ndarray, tuple[int, int]], np.ndarray]


def as_boxmot(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Of four neighbours, however much it shrinks; rounded to uint8."""
  height, width = size
  return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def as_ultralytics(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Of four neighbours, however much it shrinks; in float."""
  return as_boxmot(image.astype(np.float32), size)


def as_raw_file(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """As in a file that resizes inside: bilinear, averaging where it shrinks."""
  height, width = size
  channels = [
    Image.fromarray(np.float32(image[..., i])).resize(
      (width, height), Image.Resampling.BILINEAR
    )
    for i in range(3)
  ]
  return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def as_run(run: RestoredRun) -> Resizer:
  """First to the size that the run keeps, as this package itself resizes."""
  stored = tuple(run.parts.config.data.stored_size)
  return lambda image, size: as_raw_file(resize_image(image, stored), size)


def thresholds_of(features: np.ndarray, labels: np.ndarray) -> dict[str, float]:
  """Euclidean distances by false-match rates, of clusters.

  Args:
    features: [N, D] float, rows of unit length.
    labels: [N] their clusters, -1 for one in none.

  Returns:
    Of '0.01', '0.001' and '0.0001' those that N is large enough for.
  """
  found = calibration_of(features, labels)
  thresholds: dict[str, float] = {}
  if found is None:
    return thresholds
  for rate in RATES:
    try:
      thresholds[f'{rate:g}'] = round(found[0].threshold(rate), 4)
    except ValueError:  # Too few pairs for so small a rate.
      continue
  return thresholds


class TrackletsError(ValueError):
  """A run's samples are no single images."""


def embed_resized(
  run: RestoredRun,
  variables: Mapping[str, Any],
  resize: Resizer,
  *,
  root: str | None,
  camera: int | None,
) -> tuple[np.ndarray, np.ndarray]:
  """Features of the run's images as a consumer has them, and their clusters.

  Of many images whole clusters are drawn, 2,000 images in all.

  Args:
    run: of `restore_run`.
    variables: of the exported network.
    resize: as the consumer resizes.
    root: where the images are, if they moved.
    camera: whose images alone are taken; None takes all.

  Returns:
    [n, D] float32 and [n] int32.

  Raises:
    TrackletsError: they are tracklets.
    ValueError: the images are not there, or are others.
  """
  config = restore.data_config(run, None, {'root': root})
  samples = load_configured(config.data)[0].train
  if samples.starts is not None:
    raise TrackletsError(
      'the run is of tracklets, and consumers see single images'
    )
  data = restore.load_data(
    config,
    run.digest,
    identities=False,
    cameras=False,
    decoders=run.decoders,
  )
  chosen = np.arange(len(run.labels))
  if camera is not None:
    camids = data.truth.train_camids
    assert camids is not None
    chosen = chosen[camids == camera]
  chosen = chosen[_whole_clusters(run.labels[chosen])]
  place = {name: i for i, name in enumerate(samples.names)}
  frames = [place[data.names['train'][i]] for i in chosen]
  return _embed(run, variables, samples, frames, resize), run.labels[chosen]


def _whole_clusters(labels: np.ndarray) -> np.ndarray:
  """Rows of clusters drawn until there are enough, rising."""
  owners = apart(labels)
  clusters = np.random.default_rng(_SEED).permutation(np.unique(owners))
  sizes = np.bincount(owners)[clusters]
  taken = clusters[np.cumsum(sizes) <= max(_MOST_IMAGES, sizes[0])]
  return np.flatnonzero(np.isin(owners, taken))


def _embed(
  run: RestoredRun,
  variables: Mapping[str, Any],
  samples: Samples,
  frames: list[int],
  resize: Resizer,
) -> np.ndarray:
  encoder, size = run.parts.encoder, run.parts.image_size
  batch_size = min(run.parts.config.extract_batch_size, len(frames))
  network = {key: variables[key] for key in ('params', 'batch_stats')}

  @jax.jit
  def embed(network: Any, images: jax.Array) -> jax.Array:
    return encoder.apply(network, normalize(images))[1]  # pyright: ignore

  found = []
  for start in range(0, len(frames), batch_size):
    some = frames[start : start + batch_size]
    images = np.stack([resize(samples.read(i), size) for i in some])
    padded = np.resize(images, (batch_size, *images.shape[1:]))
    found.append(np.asarray(embed(network, padded))[: len(some)])
  return np.concatenate(found)

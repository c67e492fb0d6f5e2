"""BatchNorm statistics of each camera's own training images.

A camera has its own light and colours. Normalised by its own statistics, its
images come closer to those of the other cameras.

Source: Zhuang et al., Rethinking the distribution gap of person
  re-identification with camera-based batch normalization (ECCV 2020).
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from dbc_jax.data import augment as augment_lib
from dbc_jax.data.split import Split
from dbc_jax.devices import mesh
from dbc_jax.models import Encoder
from dbc_jax.models.layers import BatchNorm

# Of what an estimator adds to the variables of a network.
KEY = 'camera_stats'
# A camera's images beyond so many batches say nothing new.
_MOST_BATCHES = 16

Estimator = Callable[[dict[str, Any], Split, np.ndarray], dict[str, Any]]


def _of_raw(tree: Any, change: Callable[[Any, Any], Any]) -> Any:
  """A tree of 'mean' and 'var', each 'var' changed by its 'mean'."""
  if 'var' in tree:
    return {'mean': tree['mean'], 'var': change(tree['var'], tree['mean'])}
  return {name: _of_raw(inner, change) for name, inner in tree.items()}


def make_estimator(
  encoder: Encoder, *, image_size: tuple[int, int], batch_size: int
) -> Estimator:
  """Compiles the network in training mode, over all local devices.

  Args:
    encoder: the network.
    image_size: (height, width) the images are resized to.
    batch_size: images of a camera at a time, as of the extractor. Each batch is
      normalised by itself, as in training.

  Returns:
    `estimate(variables, split, camids)`: the variables, and under KEY
    'camids' [C] int32, rising, and 'batch_stats', each array with a row [C] a
    camera: mean and variance over up to 16 batches of its images. A camera of
    fewer images than a batch shows each of them several times. Whole images
    are shown, as an extractor does.
  """
  count = len(mesh.devices())
  batch_size = -(-batch_size // count) * count

  def moments(variables: dict[str, Any], images: jax.Array) -> Any:
    images = augment_lib.resize(images, image_size)
    _, mutated = encoder.apply(
      variables,
      images,
      train=True,
      rngs={'dropout': jax.random.key(0)},
      mutable=['batch_stats'],
    )
    # What the batch's own statistics moved the running ones by. A frozen layer
    # keeps its running ones, and so it does here.
    own = jax.tree.map(
      lambda new, old: old + (new - old) / (1 - BatchNorm.MOMENTUM),
      mutated['batch_stats'],
      variables['batch_stats'],
    )
    raw = _of_raw(own, lambda var, mean: var + mean**2)
    return jax.tree.map(lambda x: x[None], raw)

  mapped = mesh.parallel_map(moments, mesh.devices(), is_network=True)

  def of_camera(network: Any, split: Split, samples: np.ndarray) -> Any:
    samples = samples[: _MOST_BATCHES * batch_size]
    full = -(-len(samples) // batch_size) * batch_size
    some = split.subset(np.resize(samples, full))
    found = [
      jax.tree.map(
        lambda x: x[0].astype(np.float64), mesh.unshard(mapped(network, x))
      )
      for _, _, x in some.frame_batches(batch_size, max_frames=1)
    ]
    mean = jax.tree.map(lambda *x: np.mean(x, axis=0), *found)
    return _of_raw(mean, lambda var, mean: np.maximum(var - mean**2, 0.0))

  def estimate(
    variables: dict[str, Any], split: Split, camids: np.ndarray
  ) -> dict[str, Any]:
    network = mesh.replicate(network_of(variables))
    known = np.unique(camids)
    rows = [
      of_camera(network, split, np.flatnonzero(camids == c)) for c in known
    ]
    stats = jax.tree.map(lambda *x: np.stack(x).astype(np.float32), *rows)
    added = {'camids': known.astype(np.int32), 'batch_stats': stats}
    return network_of(variables) | {KEY: added}

  return estimate


def network_of(variables: dict[str, Any]) -> dict[str, Any]:
  """'params' and 'batch_stats' alone."""
  return {key: variables[key] for key in ('params', 'batch_stats')}


def joined(variables: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
  """The variables, with the cameras of others of `make_estimator` as well."""
  both = jax.tree.map(lambda *x: np.concatenate(x), variables[KEY], more[KEY])
  return variables | {KEY: both}


def extract_by_camera(
  extract: Callable[..., tuple[np.ndarray, np.ndarray]],
  variables: dict[str, Any],
  split: Split,
  camids: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
  """As an extractor, each sample normalised by the statistics of its camera.

  Args:
    extract: of `embed.make_extractor`; it gets no cameras.
    variables: of `make_estimator`.
    split: the samples.
    camids: [N] their cameras. One without statistics has those of all.
  """
  network, cameras = network_of(variables), variables[KEY]
  known, found, pieces = cameras['camids'].tolist(), [], []
  for camid in np.unique(camids).tolist():
    own = network
    if camid in known:
      row = known.index(camid)
      stats = jax.tree.map(lambda x, k=row: x[k], cameras['batch_stats'])
      own = network | {'batch_stats': stats}
    found.append(np.flatnonzero(camids == camid))
    pieces.append(extract(own, split.subset(found[-1])))
  back = np.argsort(np.concatenate(found))
  features, embeddings = (
    np.concatenate(piece)[back] for piece in zip(*pieces, strict=True)
  )
  return features, embeddings


def shapes_of(network: dict[str, Any], num_cameras: int) -> dict[str, Any]:
  """As `estimate` returns it, of shapes in place of arrays."""
  stats = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct((num_cameras, *x.shape), x.dtype),
    network['batch_stats'],
  )
  camids = jax.ShapeDtypeStruct((num_cameras,), np.int32)
  return network | {KEY: {'camids': camids, 'batch_stats': stats}}

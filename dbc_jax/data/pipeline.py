"""A data set in memory, in an order that carries no information.

Called by the driver before anything else is done with a data set.
"""

import dataclasses
import hashlib

import numpy as np

from dbc_jax.data.decode import load_images
from dbc_jax.data.manifest import Dataset, GroundTruth


@dataclasses.dataclass(frozen=True)
class Resident:
  """A decoded data set.

  Attributes:
    images: [N, H, W, 3] uint8, the training set in its hashed order. All that
      training is ever given, apart from cluster labels.
    query, gallery: [Q or G, H, W, 3] uint8, or None without identities.
    names: N paths, in the order of `images`; for reports.
    truth: its train_pids and train_camids are in the order of `images` too;
      for evaluation and reports, and the cameras for `cluster.camera_centring`.
    digest: of the training images, whatever order they came in.
  """

  images: np.ndarray
  query: np.ndarray | None
  gallery: np.ndarray | None
  names: list[str]
  truth: GroundTruth
  digest: str


def load_resident(
  dataset: Dataset, truth: GroundTruth, *, size: tuple[int, int], seed: int
) -> Resident:
  """Decodes all images and puts the training set in its hashed order.

  Args:
    dataset, truth: from `load_dataset`.
    size: (height, width) that images are kept at.
    seed: of the order.

  Raises:
    ValueError: images that cannot be read.
  """
  images = load_images(dataset.train, size)
  order, digest = content_order(images, seed)
  pids, camids = truth.train_pids, truth.train_camids
  return Resident(
    images=images[order],
    query=load_images(dataset.query, size) if truth.can_evaluate else None,
    gallery=load_images(dataset.gallery, size) if truth.can_evaluate else None,
    names=[dataset.train.names[i] for i in order],
    truth=dataclasses.replace(
      truth,
      train_pids=None if pids is None else pids[order],
      train_camids=None if camids is None else camids[order],
    ),
    digest=digest,
  )


def content_order(images: np.ndarray, seed: int) -> tuple[np.ndarray, str]:
  """An order that depends on what the images show, not on names or places.

  Public data sets are sorted by identity, and a labelling of such a list
  leaks identities wherever a position matters. A keyed hash of the pixels
  takes every trace of the given order away, and is the same for the same
  images under other names.

  Args:
    images: [N, H, W, 3] uint8.
    seed: key of the hash.

  Returns:
    [N] int64: row i of the ordered set is row order[i] of the given one; and
    a hexadecimal digest of the set, the same for every given order. Equal
    images keep their given order among themselves.
  """
  key = seed.to_bytes(8, 'little', signed=True)
  hashes = [
    hashlib.blake2b(image.tobytes(), digest_size=16, key=key).digest()
    for image in images
  ]
  order = np.array(sorted(range(len(hashes)), key=hashes.__getitem__), np.int64)
  whole = hashlib.blake2b(digest_size=16)
  whole.update(repr(images.shape[1:]).encode())
  for index in order:
    whole.update(hashes[index])
  return order, whole.hexdigest()

"""The order of the training samples and their identity as a whole.

Called by the driver before anything else is done with a split.
"""

import hashlib

import numpy as np


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

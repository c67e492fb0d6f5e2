"""What a data set is: the samples that training may see, and, apart, the truth.

Called by every reader in this package; the driver takes the pair apart.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Samples:
  """One split of a data set. Holds no identities, by construction.

  Attributes:
    names: N strings, path of each image relative to the data root (or a
      made-up one for synthetic images). For reports only: training never sees
      them, since public data sets write the identity into the file name.
    read: `read(i)` decodes sample i to uint8 RGB [H, W, 3].
  """

  names: tuple[str, ...]
  read: Callable[[int], np.ndarray]

  def __len__(self) -> int:
    return len(self.names)


@dataclasses.dataclass(frozen=True)
class Dataset:
  """The three splits. `query` and `gallery` are empty without identities."""

  train: Samples
  query: Samples
  gallery: Samples


@dataclasses.dataclass(frozen=True)
class GroundTruth:
  """Identities and cameras, for evaluation and reporting.

  Nothing else is given any of it, but for the training cameras: merging gets
  them where `cluster.camera_centring` is set.

  Attributes:
    train_pids, query_pids, gallery_pids: int32 [N] of each split, or None
      where the data set has none. -1 marks junk in the gallery.
    train_camids, query_camids, gallery_camids: int32 [N], or None likewise.
  """

  train_pids: np.ndarray | None = None
  train_camids: np.ndarray | None = None
  query_pids: np.ndarray | None = None
  query_camids: np.ndarray | None = None
  gallery_pids: np.ndarray | None = None
  gallery_camids: np.ndarray | None = None

  @property
  def can_evaluate(self) -> bool:
    """Whether there are queries and a gallery with identities."""
    return self.query_pids is not None and self.gallery_pids is not None


def in_memory(names: Sequence[str], images: np.ndarray) -> Samples:
  """Samples of images [N, H, W, 3] uint8 that are already decoded."""
  return Samples(tuple(names), images.__getitem__)


EMPTY = Samples((), ().__getitem__)

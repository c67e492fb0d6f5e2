"""What a data set is: the samples that training may see; apart, the truth."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np

SPLITS = ('train', 'query', 'gallery')
# No person, or a part of one; in training, a person who is not known.
JUNK_PID = -1
DISTRACTOR_PID = 0  # A person without a query, where a release says so.


def printable(name: str) -> str:
  """A name as it can be shown: control signs and broken bytes as escapes."""
  if name.isprintable():
    return name
  return ''.join(
    sign
    if sign.isprintable()
    else sign.encode('unicode_escape', 'surrogatepass').decode()
    for sign in name
  )


@dataclasses.dataclass(frozen=True)
class Samples:
  """One split of a data set. Holds no identities, by construction.

  A sample is an image, or a tracklet: several frames of one person, taken by
  one camera in a row.

  Attributes:
    names: N strings, path of each sample relative to the data root (or a
      made-up one for synthetic images). For reports only: training never sees
      them, since public data sets write the identity into the file name.
    read: `read(f)` decodes frame f to uint8 RGB [H, W, 3]; raises ValueError,
      which names the file, if that cannot be done.
    starts: [N + 1] int64: the frames of tracklet i are starts[i] up to, not
      including, starts[i + 1], in order of time. None where each sample is one
      image, and frame i that image.
    frame_names: F strings, path of each frame; `names` where that is None.
  """

  names: tuple[str, ...]
  read: Callable[[int], np.ndarray]
  starts: np.ndarray | None = None
  frame_names: tuple[str, ...] | None = None

  def __len__(self) -> int:
    return len(self.names)

  @property
  def bounds(self) -> np.ndarray:
    """`starts`, which images have, too: [N + 1] int64."""
    return np.arange(len(self) + 1) if self.starts is None else self.starts

  @property
  def num_frames(self) -> int:
    """F; N where each sample is one image."""
    return len(self) if self.starts is None else int(self.starts[-1])

  @property
  def first_frames(self) -> dict[str, str]:
    """From the name of a tracklet to the path of its first frame."""
    if self.starts is None:
      return {}
    firsts = map(self.frame_name, self.starts[:-1].tolist())
    return dict(zip(self.names, firsts, strict=True))

  def frame_name(self, frame: int) -> str:
    return (self.frame_names or self.names)[frame]


@dataclasses.dataclass(frozen=True)
class Dataset:
  """The three splits. `query` and `gallery` are empty without identities."""

  train: Samples
  query: Samples
  gallery: Samples

  def of(self, split: str) -> Samples:
    """The samples of one of `SPLITS`."""
    return getattr(self, split)


@dataclasses.dataclass(frozen=True)
class GroundTruth:
  """Identities, cameras and moments, for evaluation and reporting.

  Nothing else is given any of it, but for training cameras, which merging gets
  where `cluster.camera_centring` is set, and for pairs of training samples that
  cannot be one person, by cameras and moments, where a config asks for those.

  Attributes:
    train_pids, query_pids, gallery_pids: int32 [N] of each split, or None
      where the data set has none. -1 marks junk in the gallery, and in
      training an image whose identity is not known.
    train_camids, query_camids, gallery_camids: int32 [N], or None likewise.
    train_frames: int64 [N, 2], the first and the last frame of each training
      sample in the video of its camera, or None likewise.
    train_times: float64 [N, 2], the same in seconds of a clock that all cameras
      share.
  """

  train_pids: np.ndarray | None = None
  train_camids: np.ndarray | None = None
  query_pids: np.ndarray | None = None
  query_camids: np.ndarray | None = None
  gallery_pids: np.ndarray | None = None
  gallery_camids: np.ndarray | None = None
  train_frames: np.ndarray | None = None
  train_times: np.ndarray | None = None

  def of(self, split: str) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Identities and cameras of one split, int32 [N] each, where known."""
    return getattr(self, f'{split}_pids'), getattr(self, f'{split}_camids')

  def moments(self, kept: np.ndarray) -> dict[str, np.ndarray | None]:
    """Frames and times of some training samples [n], by field."""
    found = {x: getattr(self, x) for x in ('train_frames', 'train_times')}
    return {x: None if y is None else y[kept] for x, y in found.items()}

  @property
  def can_evaluate(self) -> bool:
    """Whether there are queries and a gallery with identities."""
    return self.query_pids is not None and self.gallery_pids is not None


# What `load` of a reader returns.
Loaded = tuple[Dataset, GroundTruth]


def assemble(
  *splits: tuple[Samples, np.ndarray | None, np.ndarray | None],
  frames: np.ndarray | None = None,
  times: np.ndarray | None = None,
) -> Loaded:
  """What a reader returns, of (samples, pids, camids) of the three splits.

  Args:
    *splits: of each split.
    frames, times: of the training samples, as in `GroundTruth`.
  """
  columns = itertools.chain.from_iterable(split[1:] for split in splits)
  return Dataset(*(split[0] for split in splits)), GroundTruth(
    *columns, train_frames=frames, train_times=times
  )


def spans(moments: np.ndarray, owners: Sequence[Sequence[int]]) -> np.ndarray:
  """First and last moments [N, 2] of samples.

  Args:
    moments: [F], frames or times of images.
    owners: of each of N samples, its images.
  """
  own = [moments[[*rows]] for rows in owners]
  return np.array([(each.min(), each.max()) for each in own], moments.dtype)


def in_memory(names: Sequence[str], images: Sequence[np.ndarray]) -> Samples:
  """Samples of images uint8 [H, W, 3] that are already decoded."""
  return Samples(tuple(names), images.__getitem__)


def in_memory_tracklets(
  names: Sequence[str], tracklets: Sequence[np.ndarray]
) -> Samples:
  """Samples of tracklets uint8 [T, H, W, 3] that are already decoded.

  T may differ, H and W may not. Frames are named NAME/00.png and so on.
  """
  starts = np.cumsum([0, *map(len, tracklets)])
  frame_names = tuple(
    f'{name}/{frame:02d}.png'
    for name, tracklet in zip(names, tracklets, strict=True)
    for frame in range(len(tracklet))
  )
  frames = np.concatenate(tracklets)
  return Samples(tuple(names), frames.__getitem__, starts, frame_names)


EMPTY = Samples((), ().__getitem__)

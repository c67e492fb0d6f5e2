"""From files to splits, in an order that carries no information.

Called by the driver before anything else is done with a data set.
"""

import dataclasses
import hashlib
import itertools

import numpy as np

from dbc_jax.data import loading
from dbc_jax.data.frames import Frames, ResidentFrames, StreamedFrames
from dbc_jax.data.samples import Dataset, GroundTruth, Samples
from dbc_jax.data.split import Split
from dbc_jax.devices import mesh, processes

_SPLITS = ('train', 'query', 'gallery')


@dataclasses.dataclass(frozen=True)
class LoadedDataset:
  """A data set ready for training.

  Attributes:
    train: in its hashed order. All that training is ever given, apart from
      cluster labels.
    query, gallery: as given, or None without identities.
    names: paths of the samples of each split, by its name; for reports.
    truth: its train_pids and train_camids are in the order of `train`; for
      evaluation and reports, and the cameras for `cluster.camera_centring`.
    digest: of the training images, whatever order they came in.
    decision: where images are kept and why, in one line.
    left_out: of each image that was left out, what is wrong with it.
  """

  train: Split
  query: Split | None
  gallery: Split | None
  names: dict[str, list[str]]
  truth: GroundTruth
  digest: str
  decision: str
  left_out: list[str]

  def fingerprint(self) -> str:
    """What processes have to agree on to go through it together."""
    sizes = [
      split and len(split) for split in (self.train, self.query, self.gallery)
    ]
    return f'{self.digest} {sizes}'


def load_splits(
  dataset: Dataset,
  truth: GroundTruth,
  *,
  size: tuple[int, int],
  seed: int,
  memory_budget_gb: float = 0.0,
  skip_unreadable: bool = False,
) -> LoadedDataset:
  """Decodes every image once, and keeps all of them if there is room.

  Images that are not kept are decoded again whenever they are needed. Both
  ways give the same batches, bit for bit.

  Args:
    dataset, truth: from `load_dataset`.
    size: (height, width) that images are kept at.
    seed: of the order.
    memory_budget_gb: for images, in 1e9 bytes; 0 means a quarter of what the
      first device has.
    skip_unreadable: whether images that cannot be read are left out, or an
      error.

  Raises:
    ValueError: images that cannot be read, or nothing left of a split.
  """
  used = _SPLITS if truth.can_evaluate else _SPLITS[:1]
  given = {name: getattr(dataset, name) for name in used}
  num_frames = sum(samples.num_frames for samples in given.values())
  needed = num_frames * size[0] * size[1] * 3
  resident, decision = _decide(num_frames, needed, memory_budget_gb)
  # Kept and streamed images are trained on by different compiled programs.
  resident = bool(processes.from_first(np.array(resident)))
  scans = {
    name: _Scan(samples, size, resident, seed if name == 'train' else None)
    for name, samples in given.items()
  }
  unreadable = [
    message for scan in scans.values() for message in scan.unreadable.values()
  ]
  if unreadable and not skip_unreadable:
    raise ValueError(
      f'{loading.unreadable_message(unreadable, num_frames)}\nCopy them again, '
      'remove them, or leave them out by --config.data.skip_unreadable=True.'
    )
  splits, fields, names = {}, {}, {}
  for name, scan in scans.items():
    splits[name], kept = scan.split(name)
    names[name] = [given[name].names[i] for i in kept]
    for field in (f'{name}_pids', f'{name}_camids'):
      column = getattr(truth, field)
      fields[field] = None if column is None else column[kept]
  if fields['train_pids'] is not None and (fields['train_pids'] < 0).all():
    fields['train_pids'] = None
  return LoadedDataset(
    train=splits['train'],
    query=splits.get('query'),
    gallery=splits.get('gallery'),
    names=names,
    truth=dataclasses.replace(truth, **fields),
    digest=scans['train'].digest(),
    decision=decision,
    left_out=unreadable,
  )


def _decide(num_frames: int, needed: int, budget_gb: float) -> tuple[bool, str]:
  """Whether images are kept, and a line that says so."""
  budget = budget_gb * 1e9
  if not budget_gb:
    memory = mesh.device_memory()
    budget = needed if memory is None else memory / 4
  size = f'{num_frames:,} images, {needed / 1e9:.2f} GB'
  allowed = f'{budget / 1e9:.2f} GB (data.memory_budget_gb)'
  if needed <= budget:
    return True, f'{size}, are kept in memory: within {allowed}'
  return False, f'{size}, are decoded when needed: more than {allowed}'


class _Scan:
  """What one pass over a split has found."""

  def __init__(
    self,
    samples: Samples,
    size: tuple[int, int],
    resident: bool,
    seed: int | None,
  ):
    """Decodes everything.

    Args:
      samples: of the split.
      size: (height, width).
      resident: whether pixels are kept.
      seed: of the order; None leaves it as it is given.
    """
    self._samples, self._size, self._seed = samples, size, seed
    count = samples.num_frames
    self._images = None
    if resident:
      self._images = np.zeros((count, *size, 3), np.uint8)
    self._hashes = [b''] * count
    key = (seed or 0).to_bytes(8, 'little')

    def visit(frame: int, image: np.ndarray) -> None:
      if self._images is not None:
        self._images[frame] = image
      if seed is not None:
        self._hashes[frame] = hashlib.blake2b(
          image.tobytes(), digest_size=16, key=key
        ).digest()

    self.unreadable = loading.for_each_frame(samples, size, visit)
    starts = samples.starts
    if starts is None:
      starts = np.arange(count + 1)
    readable = np.ones(count, bool)
    readable[[*self.unreadable]] = False
    self._frames_of = [
      start + np.flatnonzero(readable[start:end])
      for start, end in itertools.pairwise(starts)
    ]
    kept = [i for i, frames in enumerate(self._frames_of) if len(frames)]
    if seed is not None:
      kept = sorted(kept, key=self._sample_hash)
    self._kept = np.array(kept, np.int64)

  def split(self, name: str) -> tuple[Split, np.ndarray]:
    """The split, and which of the given samples it has, in its order."""
    if not len(self._kept):
      raise ValueError(f'{name}: none of its images can be read.')
    frames: Frames
    if self._images is not None:
      frames = ResidentFrames(self._images)
    else:
      samples, size = self._samples, self._size
      frames = StreamedFrames(
        lambda frame: loading.resize_image(samples.read(frame), size)
      )
    chosen = [self._frames_of[i] for i in self._kept]
    starts = None
    if self._samples.starts is not None:
      starts = np.cumsum([0, *map(len, chosen)])
    return Split(frames, np.concatenate(chosen), starts), self._kept

  def digest(self) -> str:
    """Of size and pixels of all samples, in the hashed order."""
    whole = hashlib.blake2b(digest_size=16)
    whole.update(repr((*self._size, 3)).encode())
    for sample in self._kept:
      whole.update(self._sample_hash(sample))
    return whole.hexdigest()

  def _sample_hash(self, sample: int) -> bytes:
    """Of a sample's pixels, whatever its name and place.

    Public data sets are sorted by identity, and a labelling of such a list
    leaks identities wherever a position matters. Sorting by a keyed hash takes
    every trace of the given order away, and is the same for the same images
    under other names. Equal images keep their given order among themselves.
    """
    return b''.join(self._hashes[frame] for frame in self._frames_of[sample])

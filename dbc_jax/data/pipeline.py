"""From files to splits, in an order that carries no information."""

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from dbc_jax.data import first_pass, loading, oddities
from dbc_jax.data import marks as marks_lib
from dbc_jax.data.frames import Frames, ResidentFrames, StreamedFrames
from dbc_jax.data.oddities import Looks
from dbc_jax.data.samples import SPLITS, Dataset, GroundTruth, Samples
from dbc_jax.data.split import Split
from dbc_jax.devices import mesh, processes


@dataclasses.dataclass(frozen=True)
class LoadedSplit:
  """One split, decoded once."""

  split: Split  # N samples, without the frames that cannot be read.
  kept: np.ndarray  # [N] int64, which of the given samples these are.
  # Of size and pixels of all samples, whatever order they came in; None where
  # they keep the given order.
  digest: str | None
  unreadable: list[str]  # Of each frame left out, what is wrong with it.
  looks: Looks


@dataclasses.dataclass(frozen=True)
class LoadedDataset:
  """A data set ready for training. What was not loaded is None."""

  # In its hashed order. All that training is ever given, apart from cluster
  # labels. A run always has it, and so its type leaves None out.
  train: Split
  # As given, or None without identities.
  query: Split | None
  gallery: Split | None
  names: dict[str, list[str]]  # Paths of samples, by split; for reports.
  # What it has of training samples is in the order of `train`; for evaluation
  # and reports, the cameras for `cluster.camera_centring`, and all but the
  # identities for `ruled`.
  truth: GroundTruth
  digest: str | None  # Of the training images, whatever order they came in.
  decision: str  # Where images are kept and why, in one line.
  left_out: list[str]  # Of each image left out, what is wrong with it.
  # From the name of a training tracklet to the paths of its frames; empty where
  # samples are images. For reports.
  frames: dict[str, list[str]] = dataclasses.field(default_factory=dict)
  # What is odd about the images, line by line.
  notes: Sequence[str] = ()
  # (height, width) of training images in their files: of each the median.
  shape: tuple[int, int] | None = None
  # [N] of each split; by these a later reading is compared with this one.
  marks: marks_lib.Marks = dataclasses.field(default_factory=dict)
  # [P, 2] int64: a query, and an entry of the gallery of equal pixels.
  copies: np.ndarray = dataclasses.field(
    default_factory=lambda: np.zeros((0, 2), np.int64)
  )
  # Reads what a person says of pairs of training images, as rows of them; for
  # merging. None: nobody was asked.
  links: Callable[[], Any] | None = None
  # [P, 2] int64, pairs that rules of the config keep apart; `links` has them.
  ruled: np.ndarray = dataclasses.field(
    default_factory=lambda: np.zeros((0, 2), np.int64)
  )

  @property
  def first_frames(self) -> dict[str, str]:
    """From the name of a training tracklet to the path of its first frame."""
    return {name: paths[0] for name, paths in self.frames.items()}

  @property
  def num_cameras(self) -> int:
    """Those of the training images; 0 where they are unknown."""
    camids = self.truth.train_camids
    return 0 if camids is None else len(np.unique(camids))

  def fingerprint(self) -> str:
    """What processes have to agree on to go through it together."""
    return f'{self.digest} {marks_lib.digest(self.marks)}'


def load_splits(
  dataset: Dataset,
  truth: GroundTruth,
  *,
  size: tuple[int, int],
  seed: int,
  memory_budget_gb: float = 0.0,
  skip_unreadable: bool = False,
  splits: Sequence[str] | None = None,
  camera_rule: bool = True,
  leave_one_out: bool = False,
) -> LoadedDataset:
  """Decodes every image once, and keeps all of them if there is room.

  Images that are not kept are decoded again whenever they are needed. Both
  ways give the same batches, bit for bit.

  Args:
    dataset, truth: from `load_dataset`.
    size: (height, width) that images are kept at.
    seed: of the order of 'train'.
    memory_budget_gb: for images, in 1e9 bytes; 0 means a quarter of what the
      first device has.
    skip_unreadable: whether images that cannot be read are left out, or an
      error.
    splits: those of `SPLITS` that are loaded; no image of another is decoded.
      None means 'train', and the others where retrieval can be evaluated.
    camera_rule: whether matches from a query's own camera are left out.
    leave_one_out: whether a query's equals in the gallery are left out.

  Raises:
    ValueError: images that cannot be read, nothing left of a split, or a split
      that the data set does not have.
  """
  if splits is None:
    splits = SPLITS if truth.can_evaluate else SPLITS[:1]
  elif lacking := [s for s in splits if s not in SPLITS or not dataset.of(s)]:
    raise ValueError(f'splits: the data set has no {", ".join(lacking)}.')
  given = {name: dataset.of(name) for name in SPLITS if name in splits}
  num_frames = sum(samples.num_frames for samples in given.values())
  resident, decision = _decide(num_frames, size, memory_budget_gb)
  loaded = {
    name: _load(samples, size, resident, seed if name == 'train' else None)
    for name, samples in given.items()
  }
  unreadable = [line for each in loaded.values() for line in each.unreadable]
  _check_readable(loaded, unreadable, num_frames, skip_unreadable)
  fields, names = {}, {}
  for name, each in loaded.items():
    for what, column in zip(('pids', 'camids'), truth.of(name), strict=True):
      fields[f'{name}_{what}'] = None if column is None else column[each.kept]
    names[name] = [given[name].names[i] for i in each.kept]
  if 'train' in loaded:
    fields |= truth.moments(loaded['train'].kept)
  train_pids = fields.get('train_pids')
  if train_pids is not None and (train_pids < 0).all():
    fields['train_pids'] = None
  ready = {name: each.split for name, each in loaded.items()}
  looks = {name: each.looks for name, each in loaded.items()}
  copies = np.zeros((0, 2), np.int64)
  if 'query' in looks and 'gallery' in looks:
    copies = oddities.copies(looks['query'], looks['gallery'])
  return LoadedDataset(
    train=cast(Split, ready.get('train')),
    query=ready.get('query'),
    gallery=ready.get('gallery'),
    names=names,
    truth=GroundTruth(**fields),
    digest=loaded['train'].digest if 'train' in loaded else None,
    decision=decision,
    left_out=unreadable,
    frames=_frames(given.get('train')),
    notes=oddities.describe(
      looks, fields, copies[: 0 if leave_one_out else None], camera_rule
    ),
    shape=loaded['train'].looks.shape if 'train' in loaded else None,
    marks={
      name: marks_lib.marks_of(
        seen.digests, fields[f'{name}_pids'], fields[f'{name}_camids']
      )
      for name, seen in looks.items()
    },
    copies=copies,
  )


def _frames(samples: Samples | None) -> dict[str, list[str]]:
  if samples is None or samples.starts is None or samples.frame_names is None:
    return {}
  return {
    name: [samples.frame_name(i) for i in range(start, end)]
    for name, (start, end) in zip(
      samples.names, itertools.pairwise(samples.starts.tolist()), strict=True
    )
  }


def load_split(
  samples: Samples,
  *,
  size: tuple[int, int],
  seed: int | None = None,
  memory_budget_gb: float = 0.0,
  skip_unreadable: bool = False,
) -> LoadedSplit:
  """Decodes one split, as `load_splits` does several.

  Args:
    samples: a split of a data set, or from `samples_of`.
    seed: of the hashed order; None keeps the given one.
    size, memory_budget_gb, skip_unreadable: as in `load_splits`.

  Raises:
    ValueError: images that cannot be read, or nothing is left.
  """
  resident, _ = _decide(samples.num_frames, size, memory_budget_gb)
  loaded = _load(samples, size, resident, seed)
  _check_readable(
    {'samples': loaded},
    loaded.unreadable,
    samples.num_frames,
    skip_unreadable,
    'Copy them again, or take them out.',
  )
  return loaded


def _decide(
  num_frames: int, size: tuple[int, int], budget_gb: float
) -> tuple[bool, str]:
  """Whether images are kept, and a line that says so."""
  needed = num_frames * size[0] * size[1] * 3
  budget = budget_gb * 1e9
  if not budget_gb:
    memory = mesh.device_memory()
    budget = needed if memory is None else memory / 4
  what = f'{num_frames:,} images, {needed / 1e9:.2f} GB'
  allowed = f'{budget / 1e9:.2f} GB (data.memory_budget_gb)'
  decision = f'{what}, are decoded when needed: more than {allowed}'
  if needed <= budget:
    decision = f'{what}, are kept in memory: within {allowed}'
  # Kept and streamed images are trained on by different compiled programs.
  return bool(processes.from_first(np.array(needed <= budget))), decision


def _check_readable(
  loaded: dict[str, LoadedSplit],
  unreadable: Sequence[str],
  num_frames: int,
  skip_unreadable: bool,
  advice: str = 'Copy them again, remove them, or leave them out by '
  '--config.data.skip_unreadable=True.',
) -> None:
  """Raises ValueError for images that cannot be read, and for empty splits."""
  if unreadable and not skip_unreadable:
    message = loading.unreadable_message(unreadable, num_frames)
    raise ValueError(f'{message}\n{advice}')
  for name, each in loaded.items():
    if not len(each.split):
      raise ValueError(f'{name}: none of its images can be read.')


def _load(
  samples: Samples, size: tuple[int, int], resident: bool, seed: int | None
) -> LoadedSplit:
  """One pass over a split; pixels are kept where `resident` is set."""
  key = (seed or 0).to_bytes(8, 'little')
  seen = first_pass.look(samples, size, key, keep=resident)
  frames_of = [
    start + np.flatnonzero(seen.is_readable[start:end])
    for start, end in itertools.pairwise(samples.bounds)
  ]

  def sample_hash(sample: int) -> bytes:
    """Of a sample's pixels, whatever its name and place.

    Public data sets are sorted by identity, and a labelling of such a list
    leaks identities wherever a position matters. Sorting by a keyed hash takes
    every trace of the given order away, and is the same for the same images
    under other names. Equal images keep their given order among themselves.
    """
    return seen.hash[frames_of[sample]].tobytes()

  kept = [i for i, own in enumerate(frames_of) if len(own)]
  digest = None
  if seed is not None:
    kept = sorted(kept, key=sample_hash)
    whole = hashlib.blake2b(repr((*size, 3)).encode(), digest_size=16)
    for sample in kept:
      whole.update(sample_hash(sample))
    digest = whole.hexdigest()
  frames: Frames = StreamedFrames(
    lambda frame: loading.resize_image(samples.read(frame), size)
  )
  if seen.images is not None and kept:
    frames = ResidentFrames(seen.images)
  chosen = [frames_of[i] for i in kept]
  order = np.concatenate([np.zeros(0, np.int64), *chosen])
  bounds = None
  if samples.starts is not None:
    bounds = np.cumsum([0, *map(len, chosen)])
  split = Split(frames, order, bounds)
  shapes = seen.shape[seen.is_readable]
  looks = Looks(
    names=[samples.names[i] for i in kept],
    digests=[sample_hash(i) for i in kept],
    blank=[
      samples.frame_name(i) for i in np.flatnonzero(seen.is_blank).tolist()
    ],
    shape=(
      (int(np.median(shapes[:, 0])), int(np.median(shapes[:, 1])))
      if len(shapes)
      else None
    ),
    repaired=seen.repaired,
  )
  return LoadedSplit(
    split, np.array(kept, np.int64), digest, seen.unreadable, looks
  )

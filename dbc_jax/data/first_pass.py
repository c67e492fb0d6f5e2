"""One look at every frame of a split, which the processes of a run share out.

Those of one machine decode each frame once among them. All then know the same
of all frames, and a machine's pixels lie in memory that its processes share.
"""

import dataclasses
import hashlib
import json
from typing import NamedTuple

import numpy as np

from dbc_jax.data import loading, oddities
from dbc_jax.data.samples import Samples, printable
from dbc_jax.devices import hosts, processes

_HASH_BYTES = 16
_FRAME = np.dtype(
  [
    ('hash', 'u1', _HASH_BYTES),
    ('shape', '<i4', 2),
    ('is_blank', '?'),
    ('is_readable', '?'),
  ]
)


class Seen(NamedTuple):
  """What is known of the F frames of a split.

  Attributes:
    hash: [F, 16] uint8, keyed hashes of the pixels.
    shape: [F, 2] int32, (height, width) in the files.
    is_blank: [F] bool, whether a frame is of a single colour.
    is_readable: [F] bool.
    unreadable: of each frame that is not, what is wrong with it.
    repaired: of each damaged one that is used, what was said of it.
    images: [F, height, width, 3] uint8; None where pixels are not kept.
  """

  hash: np.ndarray
  shape: np.ndarray
  is_blank: np.ndarray
  is_readable: np.ndarray
  unreadable: list[str]
  repaired: list[str]
  images: np.ndarray | None


def look(
  samples: Samples, size: tuple[int, int], key: bytes, *, keep: bool
) -> Seen:
  """Decodes all frames, of which each process has its share.

  Args:
    samples: with F frames.
    size: (height, width) in pixels that frames are resized to.
    key: of the hashes.
    keep: whether pixels are kept.

  Raises:
    ValueError: in all processes, where machines have other files than others;
      names one.
  """
  _check_names(samples)
  groups = hosts.groups()
  own = processes.own_number()
  members = next(group for group in groups if own in group)
  count = samples.num_frames
  ends = np.linspace(0, count, len(members) + 1).astype(int).tolist()
  start, end = ends[members.index(own) :][:2]
  images = None
  if keep and len(members) == 1:
    images = np.zeros((count, *size, 3), np.uint8)
  elif keep and count:
    images = hosts.shared_bytes(count * size[0] * size[1] * 3, members)
    images = images.reshape(count, *size, 3)
  rows = np.zeros(count, _FRAME)

  def read(frame: int) -> np.ndarray:
    image = samples.read(frame)
    rows['shape'][frame] = image.shape[:2]
    return image

  def visit(frame: int, image: np.ndarray) -> None:
    if images is not None:
      images[frame] = image
    rows['is_readable'][frame] = True
    rows['is_blank'][frame] = oddities.is_blank(image)
    digest = hashlib.blake2b(image.tobytes(), digest_size=_HASH_BYTES, key=key)
    rows['hash'][frame] = np.frombuffer(digest.digest(), np.uint8)

  repaired: list[str] = []
  unreadable = loading.for_each_frame(
    dataclasses.replace(samples, read=read),
    size,
    visit,
    repaired,
    range(start, end),
  )
  told = json.dumps([[*unreadable.values()], repaired]).encode()
  all_rows = processes.gather_bytes(rows[start:end].tobytes())
  all_told = [*map(json.loads, processes.gather_bytes(told))]
  seen = [
    np.frombuffer(b''.join(all_rows[i] for i in group), _FRAME)
    for group in groups
  ]
  for group, other in zip(groups, seen, strict=True):
    _check_equal(samples, seen[0], other, group[0])
  frames = seen[0]
  lines = [all_told[i] for i in groups[0]]
  return Seen(
    np.ascontiguousarray(frames['hash']),
    frames['shape'],
    frames['is_blank'],
    frames['is_readable'],
    [line for each, _ in lines for line in each],
    [line for _, each in lines for line in each],
    images,
  )


def _check_names(samples: Samples) -> None:
  """Raises ValueError in all processes unless all have the same paths."""
  if processes.count() == 1:
    return
  names = samples.frame_names or samples.names
  own = hashlib.blake2b(samples.bounds.tobytes(), digest_size=16)
  for name in (*samples.names, *names):
    own.update(repr(name).encode())
  digests = processes.gather_bytes(own.digest())
  if len({*digests}) == 1:
    return
  lists = [
    json.loads(each)
    for each in processes.gather_bytes(json.dumps(names).encode())
  ]
  other = next(i for i, each in enumerate(digests) if each != digests[0])
  first, second = {*lists[0]}, {*lists[other]}
  if apart := sorted(first ^ second):
    here, there = (0, other) if apart[0] in first else (other, 0)
    found = f'process {here} has {printable(apart[0])}, and {there} has not'
  else:
    found = f'processes 0 and {other} have them in another order'
  raise ValueError(
    f'data: the processes have other files: {found}; start all processes on '
    'the same files'
  )


def _check_equal(
  samples: Samples, first: np.ndarray, other: np.ndarray, number: int
) -> None:
  """Raises ValueError unless a machine's frames are those of the first."""
  apart = (first['hash'] != other['hash']).any(axis=1)
  apart |= first['is_readable'] != other['is_readable']
  if apart.any():
    name = printable(samples.frame_name(int(np.flatnonzero(apart)[0])))
    raise ValueError(
      f'data: {apart.sum():,} of {len(apart):,} images are others for process '
      f'{number} than for process 0, the first: {name}; start all processes on '
      'the same files'
    )

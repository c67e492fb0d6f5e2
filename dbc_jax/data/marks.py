"""Marks of samples: by these two readings of a data set are compared."""

import collections
import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from dbc_jax.data.samples import printable

# Of each sample a digest of its pixels, its camera and its identity.
MARK = np.dtype([('pixels', '<u8'), ('camid', '<i4'), ('pid', '<i4')])
# Where a data set has no cameras or identities.
_UNKNOWN = np.iinfo(np.int32).min
_NAMES_SHOWN = 3

# By split.
Marks = Mapping[str, np.ndarray]
Names = Mapping[str, Sequence[str]]


def marks_of(
  digests: Sequence[bytes], pids: np.ndarray | None, camids: np.ndarray | None
) -> np.ndarray:
  """[N] of `MARK`, of N samples, their identities and their cameras [N]."""
  marks = np.empty(len(digests), MARK)
  short = [hashlib.blake2b(x, digest_size=8).digest() for x in digests]
  marks['pixels'] = np.frombuffer(b''.join(short), '<u8')
  marks['pid'] = _UNKNOWN if pids is None else pids
  marks['camid'] = _UNKNOWN if camids is None else camids
  return marks


def without(marks: np.ndarray, field: str) -> np.ndarray:
  """Marks [N] in which a field says nothing."""
  marks = marks.copy()
  marks[field] = _UNKNOWN
  return marks


def digest(marks: Marks) -> str:
  """Of samples in any order, whatever their names."""
  whole = hashlib.blake2b(digest_size=16)
  for split in sorted(marks):
    rows = np.sort(np.ascontiguousarray(marks[split]), order=MARK.names)
    whole.update(f'{split} {len(rows)} '.encode() + rows.tobytes())
  return whole.hexdigest()


def describe_changes(
  before: Marks, old_names: Names, now: Marks, names: Names, unit: str
) -> list[str]:
  """What differs, by kind and count.

  Args:
    before, old_names: marks [N] and N names of each split.
    now, names: the same as they are now.
    unit: what a sample is, 'image' or 'tracklet'.

  Returns:
    Such as ['2 of 2,171 training images differ: a.jpg, b.jpg'].
  """
  found = []
  for split in ('train', 'query', 'gallery'):
    # A split that was not there has none.
    none = np.empty(0, MARK)
    old, new = before.get(split, none), now.get(split, none)
    word = 'training' if split == 'train' else split
    gone = _surplus(old, new, old_names.get(split, ()))
    come = _surplus(new, old, names.get(split, ()))
    both = sorted({*gone} & {*come})
    of = f'of {len(old):,} {word} {unit}s'
    found += _listed(f'{of} differ', both)
    found += _listed(f'{of} are missing', [x for x in gone if x not in both])
    found += _listed(
      f'{word} {unit}s are new', [x for x in come if x not in both]
    )
    for field, things in (('camid', 'cameras'), ('pid', 'identities')):
      kept = _common(old[['pixels']], new[['pixels']])
      same = _common(old[['pixels', field]], new[['pixels', field]])
      if same < kept:
        count = f'{kept - same:,} of {len(old):,}'
        found.append(f'{count} {word} {things} changed')
  return found


def _surplus(
  these: np.ndarray, others: np.ndarray, names: Sequence[str]
) -> list[str]:
  """Names of the samples whose pixels are not among others'."""
  left = collections.Counter(others['pixels'].tolist())
  found = []
  for name, pixels in zip(names, these['pixels'].tolist(), strict=True):
    left[pixels] -= 1
    if left[pixels] < 0:
      found.append(name)
  return found


def _common(these: np.ndarray, others: np.ndarray) -> int:
  """How many of these are among others, each as often as it is there."""
  first, second = (collections.Counter(x.tolist()) for x in (these, others))
  return (first & second).total()


def _listed(what: str, names: Sequence[str]) -> list[str]:
  if not names:
    return []
  shown = ', '.join(map(printable, names[:_NAMES_SHOWN]))
  more = ', ...' if len(names) > _NAMES_SHOWN else ''
  return [f'{len(names):,} {what}: {shown}{more}']

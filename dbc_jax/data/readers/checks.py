"""Warnings of what is wrong with a data set as a whole, and lists of names."""

import os
import warnings
from collections.abc import Collection, Iterable, Mapping

import numpy as np

from dbc_jax.data.samples import JUNK_PID, printable

_NAMES_SHOWN = 10


def warn_of_shared_identities(
  name: str,
  train_pids: np.ndarray,
  test_pids: np.ndarray,
  not_persons: Collection[int] = (JUNK_PID,),
) -> None:
  """Warns where a person is in the training set and in query or gallery.

  `name` is a title, a folder or a file; both sides may hold `not_persons`.
  """
  both = np.intersect1d(train_pids, test_pids).tolist()
  shared = [pid for pid in both if pid not in not_persons]
  if shared:
    warnings.warn(
      f'{name}: {len(shared):,} identities are both in training and in query '
      f'or gallery: pid {listed(shared)}. Scores are too good where the same '
      'persons were trained on; take them out of one of the two.',
      stacklevel=2,
    )


def warn_of_other_sizes(
  root: str | os.PathLike[str],
  title: str,
  found: Mapping[str, int],
  official: Mapping[str, int],
) -> None:
  """Warns where a copy is not as large as the official release, naming how.

  What is `found` and not in `official`, the published numbers, is ignored.
  """
  others = [
    f'{found[what]:,} {what} (official: {number:,})'
    for what, number in official.items()
    if found[what] != number
  ]
  if others:
    warnings.warn(
      f'{os.fspath(root)} differs from the official {title}: '
      f'{", ".join(others)}. Scores cannot be compared with published ones.',
      stacklevel=2,
    )


# What trackers, pandas and databases write where there is no track.
_NO_TRACK = ('', '-1', 'nan', 'none', 'null', 'n/a', 'na')


def is_no_track(text: str) -> bool:
  """Whether a tracklet's number says that there is none: '', -1, nan, None."""
  text = text.strip().lower()
  return (text[:-2] if text.endswith('.0') else text) in _NO_TRACK


def warn_of_no_tracks(where: str, names: list[str]) -> None:
  """Warns of images that are in no tracklet, if there are any."""
  if names:
    warnings.warn(
      f'{where}: {len(names):,} images are in no tracklet by its number (-1, '
      f'nan, None or nothing), and each is one of its own: {listed(names)}',
      stacklevel=2,
    )


def listed(names: Iterable[object]) -> str:
  """The first ten names, and how many more there are; 'nothing' if none."""
  names = list(names)
  shown = ', '.join(printable(str(name)) for name in names[:_NAMES_SHOWN])
  more = len(names) - _NAMES_SHOWN
  return f'{shown} and {more:,} more' if more > 0 else shown or 'nothing'

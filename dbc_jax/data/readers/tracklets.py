"""What readers of video data sets share: sizes, warnings, samples and truth.

Called by the readers of MARS and DukeMTMC-VideoReID.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dbc_jax.data.decode import tracklet_files
from dbc_jax.data.readers import checks
from dbc_jax.data.readers.release import Release
from dbc_jax.data.samples import Dataset, GroundTruth, Samples


@dataclasses.dataclass(frozen=True)
class Listing:
  """Tracklets of one split; all paths are relative to the home of the copy.

  Attributes:
    names: N paths, one a tracklet.
    frames: N, the paths of its frames in order of time.
    pids: int32 [N].
    camids: int32 [N].
  """

  names: Sequence[str]
  frames: Sequence[Sequence[str]]
  pids: np.ndarray
  camids: np.ndarray

  def take(self, tracklets: np.ndarray) -> 'Listing':
    """The tracklets of these indices, in the order of the indices."""
    return Listing(
      [self.names[i] for i in tracklets],
      [self.frames[i] for i in tracklets],
      self.pids[tracklets],
      self.camids[tracklets],
    )


def load_listings(
  root: Path, home: Path, release: Release, listings: Sequence[Listing]
) -> tuple[Dataset, GroundTruth]:
  """What a reader returns, from the tracklets that it found.

  Warns of sizes that are not the official ones, and of persons who are both
  in training and in query or gallery.

  Args:
    root: the folder as given, which the names of the samples start from.
    home: `root` or a child of it, which the paths in `listings` start from.
    release: whose copy it is.
    listings: training, query and gallery.
  """
  train, query, gallery = listings
  checks.warn_of_other_sizes(
    root, release.title, _sizes(release, listings), release.sizes
  )
  checks.warn_of_shared_identities(
    f'{release.title} in {root}',
    train.pids,
    np.concatenate([query.pids, gallery.pids]),
    release.not_persons,
  )
  # Relative to the root as given, whichever of the two folders it is.
  prefix = '' if home == root else f'{home.name}/'

  def samples(listing: Listing) -> Samples:
    names = [prefix + name for name in listing.names]
    frames = [[prefix + name for name in frames] for frames in listing.frames]
    return tracklet_files(root, names, frames)

  dataset = Dataset(samples(train), samples(query), samples(gallery))
  truth = GroundTruth(
    train_pids=train.pids,
    train_camids=train.camids,
    query_pids=query.pids,
    query_camids=query.camids,
    gallery_pids=gallery.pids,
    gallery_camids=gallery.camids,
  )
  return dataset, truth


def _sizes(release: Release, listings: Sequence[Listing]) -> dict[str, int]:
  sizes = {}
  splits = ('training', 'query', 'gallery')
  for split, listing in zip(splits, listings, strict=True):
    persons = np.setdiff1d(listing.pids, release.not_persons)
    sizes[f'{split} tracklets'] = len(listing.pids)
    sizes[f'{split} identities'] = len(persons)
  junk = listings[2].pids == checks.JUNK_PID
  sizes['junk tracklets in the gallery'] = int(junk.sum())
  return sizes

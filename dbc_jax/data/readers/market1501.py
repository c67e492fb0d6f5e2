"""Reader of Market-1501 in its official folder layout."""

import re
from pathlib import Path

from dbc_jax.data.readers.release import Release, load_folders
from dbc_jax.data.samples import DISTRACTOR_PID, JUNK_PID, Loaded

RELEASE = Release(
  title='Market-1501',
  description='Market-1501: images of persons, six cameras.',
  prefix='market',
  # The gallery has the 750 query identities and the distractors.
  sizes={
    'training images': 12936,
    'training identities': 751,
    'query images': 3368,
    'query identities': 750,
    'gallery images': 19732,
    'junk images in the gallery': 3819,
  },
  image_size=(128, 64),
  not_persons=(JUNK_PID, DISTRACTOR_PID),
)
# Identity, camera, sequence, frame, box. 24 files end in `.jpg.jpg`.
_NAME = re.compile(
  r'(?P<pid>-1|\d{4})_c(?P<camid>[1-6])s\d_\d{6}_\d{2}(\.jpg){1,2}'
)


def load(
  root: Path, *, num_identities: int | None = None, seed: int = 0
) -> Loaded:
  """Reads the manifest of Market-1501, or of a reduced set.

  Args:
    root: the folder with bounding_box_train, query and bounding_box_test, or
      the folder around it (`Market-1501-v15.09.15` as unpacked).
    num_identities, seed: as in `release.load_listings`; a reduced set has
      neither distractors nor junk.

  Returns:
    The data set and, apart, its identities and cameras (1 to 6). In the
    gallery, pid -1 is junk and 0 marks distractors.

  Raises:
    ValueError: another layout, foreign file names, or `num_identities` out of
      range.

  Source: Zheng et al., Scalable Person Re-identification (ICCV 2015).
  """
  return load_folders(
    root, RELEASE, _NAME, '0002_c1s1_000451_03.jpg', num_identities, seed
  )

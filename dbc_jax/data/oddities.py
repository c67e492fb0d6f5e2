"""What is odd about decoded images, in words: equal ones, and blank ones."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from dbc_jax.data.samples import printable

# Fewer images are too few to say that most of them are the same.
_FEWEST = 4


@dataclasses.dataclass(frozen=True)
class Looks:
  """What one pass over a split saw of its N samples and their F frames."""

  names: Sequence[str]  # N
  digests: Sequence[bytes]  # N, of the pixels as they are kept.
  blank: Sequence[str]  # Names of the frames of a single colour.
  shape: tuple[int, int] | None  # (height, width) in the middle, as in files.
  repaired: Sequence[str] = ()  # What a decoder said of each damaged frame.


def is_blank(image: np.ndarray) -> bool:
  """Whether all pixels [H, W, 3] are equal."""
  first = image[0, 0]
  # The middle tells nearly all apart, without a look at every pixel.
  middle = image[image.shape[0] // 2, image.shape[1] // 2]
  return bool((middle == first).all() and (image == first).all())


def describe(
  looks: Mapping[str, Looks],
  truth: Mapping[str, np.ndarray | None],
  copies: np.ndarray,
  camera_rule: bool,
) -> list[str]:
  """A line for each oddity.

  Args:
    looks: of each split, 'train' among them or not.
    truth: 'query_pids', 'query_camids' and so on, as far as they are known.
    copies: [P, 2], of `copies`, as far as they are ranked.
    camera_rule: whether matches from a query's own camera are left out.
  """
  notes = []
  for split, seen in looks.items():
    if seen.blank:
      notes.append(
        f'{split}: {len(seen.blank):,} images are of a single colour, such as '
        f'{printable(seen.blank[0])}; take them out'
      )
    if seen.repaired:
      notes.append(
        f'{split}: {len(seen.repaired):,} damaged JPEGs are used as far as '
        f'they could be repaired, such as {seen.repaired[0]}. Copy them again, '
        'or take them out'
      )
    notes += _mostly_equal(split, seen)
  if 'query' in looks and 'gallery' in looks:
    notes += _copies(
      looks['query'], looks['gallery'], truth, copies, camera_rule
    )
  return notes


def copies(query: Looks, gallery: Looks) -> np.ndarray:
  """[P, 2] int64: each query and each entry of the gallery of equal pixels."""
  places = _places(gallery)
  found = [
    (q, g)
    for q, digest in enumerate(query.digests)
    for g in places.get(digest, ())
  ]
  return np.array(found, np.int64).reshape(-1, 2)


def _places(seen: Looks) -> dict[bytes, list[int]]:
  """The samples of each digest."""
  places: dict[bytes, list[int]] = collections.defaultdict(list)
  for place, digest in enumerate(seen.digests):
    places[digest].append(place)
  return places


def _mostly_equal(split: str, seen: Looks) -> list[str]:
  count, places = len(seen.digests), _places(seen)
  if count < _FEWEST or 2 * len(places) >= count:
    return []
  largest = max(places.values(), key=len)
  same = ' = '.join(printable(seen.names[i]) for i in largest[:2])
  return [
    f'{split}: only {len(places):,} of {count:,} samples differ in their '
    f'pixels, such as {same}; keep one of each'
  ]


def _copies(
  query: Looks,
  gallery: Looks,
  truth: Mapping[str, np.ndarray | None],
  pairs: np.ndarray,
  camera_rule: bool,
) -> list[str]:
  """Queries that the gallery holds again, where that counts as a match."""
  pids, camids = (
    (truth.get(f'query_{what}'), truth.get(f'gallery_{what}'))
    for what in ('pids', 'camids')
  )

  def counts(q: int, g: int) -> bool:
    own, other = pids
    if own is None or other is None or own[q] != other[g]:
      return False
    first, second = camids
    if not camera_rule or first is None or second is None:
      return True
    return first[q] != second[g]

  found: list[tuple[int, int]]
  found = [(q, g) for q, g in pairs.tolist() if counts(q, g)]
  if not found:
    return []
  q, g = found[0]
  number = len({q for q, _ in found})
  return [
    f'query: {number:,} of {len(query.digests):,} queries have an image of '
    f'equal pixels in the gallery, which counts as a match: '
    f'{printable(query.names[q])} = {printable(gallery.names[g])}. Scores are '
    'too good; take the copies out, or rank each query without them by '
    '--config.leave_one_out=True'
  ]

"""When the persons of `demo_video` pass which camera.

The cameras stand in a row. A traffic light lets people go in bunches, so that
several are before one camera at once; nobody walks from a camera to the next in
less than `WALK` seconds.
"""

import math

import numpy as np

FRAMES_PER_SECOND = 5
WALK = 20.0  # Seconds between neighbours in the row.
# Seconds from one green light to the next; within how many all people start.
_LIGHT, _GREEN = 60, 2
# Passages of all cameras for each light at which persons may come first.
_AT_ONCE = 25


def schedule(
  camids: list[int], lengths: list[int], total: int, rng: np.random.Generator
) -> np.ndarray:
  """First and last frames [n, 2] int64 of one person's passages.

  Args:
    camids: n, of each passage, places in the row.
    lengths: n, frames of each.
    total: passages of all persons, which says how many lights there are.
    rng: of this person's day alone.
  """
  light = int(rng.integers(max(1, total // _AT_ONCE)))
  firsts = np.empty(len(camids), np.int64)
  visits = rng.permutation(len(camids)).tolist()
  before, end = camids[visits[0]], 0
  for visit in visits:
    hops = abs(camids[visit] - before)
    free = end + math.ceil(WALK * hops * FRAMES_PER_SECOND)
    light = max(light, math.ceil(free / (_LIGHT * FRAMES_PER_SECOND)))
    late = rng.integers(_GREEN * FRAMES_PER_SECOND + 1)
    firsts[visit] = light * _LIGHT * FRAMES_PER_SECOND + late
    before, end = camids[visit], int(firsts[visit]) + lengths[visit]
  return np.stack([firsts, firsts + np.array(lengths) - 1], axis=1)

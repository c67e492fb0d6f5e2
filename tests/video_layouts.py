"""Tiny copies of the video data sets, laid out and named as the releases are.

By hand: `python tests/video_layouts.py NAME DIR`.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from scipy.io import savemat

# (pid, camera, number of frames), in the order of the release: by file name,
# which puts junk (pid -1) and distractors (pid 0) first.
MARS_TRAIN = [(1, 1, 3), (1, 1, 5), (1, 2, 2), (7, 3, 4), (7, 6, 2)]
MARS_TEST = [
  (-1, 1, 2),
  (-1, 4, 3),
  (0, 1, 2),
  (0, 5, 2),
  (2, 1, 4),
  (2, 1, 2),
  (2, 3, 3),
  (1500, 2, 2),
  (1500, 5, 3),
]
# One query for each person and camera, counted from 1, as in the release.
MARS_QUERIES = [5, 7, 8, 9]

# Tracklet folder to (camera, number of frames). The last person of the gallery
# has no query.
DUKEMTMC_VIDEOREID = {
  'train/0001/0001': (6, 3),
  'train/0001/0002': (7, 2),
  'train/0005/0003': (2, 12),
  'query/0002/0004': (1, 2),
  'query/0006/0005': (8, 3),
  'gallery/0002/0006': (2, 4),
  'gallery/0006/0007': (5, 1),
  'gallery/0006/0008': (8, 2),
  'gallery/7139/0009': (3, 2),
}


def write_mars(root: Path) -> Path:
  """Writes the folder that holds bbox_train, bbox_test and info."""
  (root / 'info').mkdir(parents=True)
  for split, tracklets in (('train', MARS_TRAIN), ('test', MARS_TEST)):
    names, rows = _mars_tracklets(tracklets)
    for number, name in enumerate(names):
      _write_image(root / f'bbox_{split}' / name[:4] / name, number)
    (root / f'info/{split}_name.txt').write_text('\n'.join([*names, '']))
    savemat(
      root / f'info/tracks_{split}_info.mat',
      {f'track_{split}_info': np.array(rows, np.int32)},
    )
  queries = np.array([MARS_QUERIES], np.uint16)
  savemat(root / 'info/query_IDX.mat', {'query_IDX': queries})
  return root


def write_dukemtmc_videoreid(root: Path, separator: str = '_') -> Path:
  """Writes the folder that holds train, query and gallery.

  Args:
    root: the folder.
    separator: '_' for names such as 0001_C6_F0001_X30823.jpg, '' for
      0001C6F0001X30823.jpg; both are in use.
  """
  for folder, (camid, num_frames) in DUKEMTMC_VIDEOREID.items():
    pid = folder.split('/')[1]
    for frame in range(1, num_frames + 1):
      # From 9,998 on, so that the number in the whole video gains a digit.
      parts = (pid, f'C{camid}', f'F{frame:04}', f'X{9986 + 12 * frame}')
      name = f'{separator.join(parts)}.jpg'
      _write_image(root / folder / name, frame)
  return root


def _mars_tracklets(
  tracklets: Iterable[tuple[int, int, int]],
) -> tuple[list[str], list[tuple[int, int, int, int]]]:
  """File names of all frames, and the row of each tracklet."""
  names, rows, seen = [], [], {}
  for pid, camid, num_frames in tracklets:
    person = '00-1' if pid == -1 else f'{pid:04}'
    number = seen[pid, camid] = seen.get((pid, camid), 0) + 1
    stem = f'{person}C{camid}T{number:04}'
    rows.append((len(names) + 1, len(names) + num_frames, pid, camid))
    names += [f'{stem}F{frame:03}.jpg' for frame in range(1, num_frames + 1)]
  return names, rows


def _write_image(path: Path, value: int) -> None:
  """Writes a grey image of 8 x 4 pixels, whose brightness is 5 `value`."""
  path.parent.mkdir(parents=True, exist_ok=True)
  image = np.full((8, 4, 3), 5 * value, np.uint8)
  path.write_bytes(cv2.imencode('.jpg', image)[1].tobytes())


WRITERS = {
  'mars': write_mars,
  'dukemtmc_videoreid': write_dukemtmc_videoreid,
}

if __name__ == '__main__':
  if len(sys.argv) != 3 or sys.argv[1] not in WRITERS:
    sys.exit(f'usage: {sys.argv[0]} {"|".join(WRITERS)} DIR')
  sys.stdout.write(f'{WRITERS[sys.argv[1]](Path(sys.argv[2]))}\n')

"""Tiny copies of the image data sets, laid out and named as the releases are.

By hand: `python tests/layouts.py NAME DIR`.
"""

import argparse
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

Files = Mapping[str, Sequence[str]]

# With junk, distractors and doubled suffixes.
MARKET1501 = {
  'bounding_box_train': [
    '0002_c1s1_000451_03.jpg',
    '0002_c1s1_000551_01.jpg',
    '0002_c2s1_000301_01.jpg',
    '0007_c3s3_077419_03.jpg',
    '0010_c6s4_002427_02.jpg',
    '0010_c5s4_002502_01.jpg',
  ],
  'query': [
    '0001_c1s1_001051_00.jpg',
    '0003_c4s6_015641_00.jpg',
    '0004_c1s6_015996_00.jpg',
    '1488_c1s6_023021_00.jpg.jpg',
  ],
  'bounding_box_test': [
    '-1_c1s1_000401_03.jpg',
    '-1_c6s3_094992_04.jpg.jpg',
    '0000_c1s1_000151_01.jpg',
    '0000_c1s6_023071_04.jpg.jpg',
    '0001_c2s1_000976_01.jpg',
    '0003_c1s6_015971_02.jpg',
    '0004_c4s6_016021_01.jpg',
    '1488_c5s3_071762_01.jpg.jpg',
  ],
}

# Persons 3 and 7139 of the gallery have no query.
DUKEMTMC_REID = {
  'bounding_box_train': [
    '0001_c2_f0046182.jpg',
    '0001_c5_f0051341.jpg',
    '0008_c1_f0096877.jpg',
    '0008_c2_f0102354.jpg',
    '0008_c8_f0022300.jpg',
    '4740_c7_f0157361.jpg',
  ],
  'query': [
    '0005_c2_f0046985.jpg',
    '0005_c5_f0052072.jpg',
    '0033_c1_f0057706.jpg',
    '6989_c6_f0200543.jpg',
  ],
  'bounding_box_test': [
    '0003_c1_f0044158.jpg',
    '0005_c2_f0047105.jpg',
    '0005_c5_f0051972.jpg',
    '0033_c6_f0045755.jpg',
    '6989_c7_f0201110.jpg',
    '6989_c8_f0198763.jpg',
    '7139_c3_f0215400.jpg',
  ],
}

# Persons are numbered from 0 in training and in test, and each has images in
# both lists of its folder.
MSMT17 = {
  'list_train.txt': [
    '0000/0000_045_12_0303morning_0006_2.jpg',
    '0000/0000_046_12_0303morning_0006_2_ex.jpg',
    '0001/0001_011_01_0303morning_0036_1.jpg',
    '0002/0002_003_15_0114noon_0284_0.jpg',
  ],
  'list_val.txt': [
    '0000/0000_013_04_0303morning_0020_2.jpg',
    '0001/0001_004_09_0113afternoon_1439_3_ex.jpg',
    '0002/0002_000_02_0302noon_0017_1.jpg',
  ],
  'list_query.txt': [
    '0000/0000_000_01_0303morning_0015_0.jpg',
    '0001/0001_002_07_0114morning_0020_1.jpg',
  ],
  'list_gallery.txt': [
    '0000/0000_001_01_0303morning_0015_0_ex.jpg',
    '0000/0000_008_14_0303morning_0019_2.jpg',
    '0001/0001_019_03_0302afternoon_0956_1.jpg',
  ],
}


def write_market1501(root: Path, files: Files = MARKET1501) -> Path:
  """Writes the folder that holds the three splits.

  Args:
    root: the folder, which is made.
    files: names in each split, in place of the usual ones.
  """
  for split, names in files.items():
    _write_images(root / split, names, heights=(32,))
    (root / split / 'Thumbs.db').write_bytes(b'not an image')
    # What macOS leaves on file systems of others.
    (root / split / '._0001_c1s1_001051_00.jpg').write_bytes(b'not either')
  return root


def write_dukemtmc_reid(root: Path, files: Files = DUKEMTMC_REID) -> Path:
  """Writes the folder that holds the three splits.

  Args:
    root: the folder, which is made.
    files: names in each split, in place of the usual ones.
  """
  for split, names in files.items():
    _write_images(root / split, names, heights=(32, 40, 48))
  return root


def write_msmt17(root: Path, version: int = 1) -> Path:
  """Writes the folder that holds the lists, training and test images.

  Args:
    root: the folder, which is made.
    version: 1, or 2 for the folders of the masked release.
  """
  train, test = {
    1: ('train', 'test'),
    2: ('mask_train_v2', 'mask_test_v2'),
  }[version]
  for file, paths in MSMT17.items():
    folder = train if file in ('list_train.txt', 'list_val.txt') else test
    _write_images(root / folder, paths, heights=(32, 40, 48))
    lines = [f'{path} {int(path[:4])}\n' for path in paths]
    (root / file).write_text(''.join(lines))
  return root


def _write_images(
  folder: Path, paths: Sequence[str], heights: Sequence[int]
) -> None:
  """Pictures that are red in their upper half, and below all different."""
  folder.mkdir(parents=True, exist_ok=True)
  for path in paths:
    code = zlib.crc32(path.encode())
    image = np.zeros((heights[code % len(heights)], 16, 3), np.uint8)
    image[:16] = (255, 0, 0)
    image[16:] = (code >> 8 & 255, code >> 16 & 255, code >> 24)
    (folder / path).parent.mkdir(exist_ok=True)
    Image.fromarray(image).save(folder / path, 'JPEG', quality=95)


_WRITERS = {
  'market1501': write_market1501,
  'dukemtmc_reid': write_dukemtmc_reid,
  'msmt17': write_msmt17,
}

if __name__ == '__main__':
  parser = argparse.ArgumentParser(description='Writes a tiny data set.')
  parser.add_argument('name', choices=_WRITERS)
  parser.add_argument('dir', type=Path, help='is made if need be')
  arguments = parser.parse_args()
  sys.stdout.write(f'{_WRITERS[arguments.name](arguments.dir)}\n')

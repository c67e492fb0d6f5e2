"""As many files as Market-1501 has, from images of the demo.

Called by the other benchmarks.
"""

import pathlib

import cv2

from dbc_jax.data import load_dataset, load_images

# Pictures of Market-1501's three folders.
SPLITS = {
  'bounding_box_train': 12936,
  'query': 3368,
  'bounding_box_test': 19732,
}


def written_market(folder: pathlib.Path) -> pathlib.Path:
  """As many JPEGs as Market-1501 has, of its size and names."""
  images = load_images(load_dataset('demo')[0].train)
  files = [
    cv2.imencode('.jpg', image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    for image in images
  ]
  for split, count in SPLITS.items():
    (folder / split).mkdir()
    first = 0 if split == 'bounding_box_train' else 751
    for i in range(count):
      pid, camid = first + i % 750 + 1, i // 750 % 6 + 1
      name = f'{pid:04d}_c{camid}s1_{i:06d}_00.jpg'
      (folder / split / name).write_bytes(files[i % len(files)].tobytes())
  return folder

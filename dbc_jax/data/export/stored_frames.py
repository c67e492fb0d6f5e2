"""The files of a data set as they are copied, and a digest of them all."""

import hashlib
import itertools
import os
import sys
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from dbc_jax.data.decode import decode_image, read_file
from dbc_jax.data.samples import SPLITS, Dataset, GroundTruth, Samples

_THREADS = min(8, max(2, os.cpu_count() or 1))
# Frames that are read ahead, at least one sample's.
_BLOCK = 512
_JPEG, _PNG = b'\xff\xd8', b'\x89PNG\r\n\x1a\n'


def read_stored(
  root: Path, samples: Samples, title: str
) -> Iterator[list[bytes | str]]:
  """Reads all frames on several threads, with a bar on a terminal.

  Yields:
    For each sample its frames: each the bytes that `storable` gives, or one
    line that names the file and says what is wrong with it.
  """

  def read(frame: int) -> bytes | str:
    try:
      return read_file(root, samples.frame_name(frame), storable)
    except ValueError as error:
      return str(error)

  step = max(1, _BLOCK * len(samples) // samples.num_frames)
  with (
    futures.ThreadPoolExecutor(_THREADS) as executor,
    tqdm(
      total=samples.num_frames,
      desc=title,
      unit='image',
      disable=not sys.stderr.isatty(),
    ) as progress,
  ):
    for first in range(0, len(samples), step):
      bounds = samples.bounds[first : first + step + 1].tolist()
      frames = executor.map(read, range(bounds[0], bounds[-1]))
      for start, end in itertools.pairwise(bounds):
        yield list(itertools.islice(frames, end - start))
        progress.update(end - start)


def storable(data: bytes) -> bytes:
  """A file as it is if anybody decodes it as we do, else its pixels as a PNG.

  Other libraries may keep transparency, take the low byte of 16 bits, or
  ignore a rotation noted in the file, as TFDS does.

  Returns:
    The bytes of a JPEG or PNG file, 8-bit grey or RGB.

  Raises:
    ValueError: `decode_image` refuses the file.
  """
  pixels = decode_image(data)
  if data.startswith((_JPEG, _PNG)):
    # The call that TFDS makes, with its flag.
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is not None and image.ndim == 2:
      image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if image is not None and np.array_equal(image, pixels[..., ::-1]):
      return data
  return cv2.imencode('.png', pixels[..., ::-1])[1].tobytes()


def digest_files(root: Path, dataset: Dataset, truth: GroundTruth) -> str:
  """A digest of what a reader found, without reading the images.

  It changes with names and their order, with the size and the time of any file,
  and with identities and cameras.
  """
  digest = hashlib.blake2b(digest_size=16)
  for split in SPLITS:
    samples = dataset.of(split)
    digest.update(f'{split} {len(samples)} {samples.num_frames}\0'.encode())
    for frame in range(samples.num_frames):
      name = samples.frame_name(frame)
      try:
        status = os.stat(f'{root}/{name}')
        state = f'{name}\0{status.st_size} {status.st_mtime_ns}\0'
      except FileNotFoundError:
        state = f'{name}\0missing\0'  # Reported when it is to be read.
      digest.update(state.encode('utf-8', 'surrogateescape'))
    for values in (samples.starts, *truth.of(split)):
      digest.update(b'none' if values is None else values.tobytes())
  return digest.hexdigest()

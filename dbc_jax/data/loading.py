"""Decodes whole splits on several threads, and counts what cannot be read."""

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from dbc_jax.data import decoder_messages
from dbc_jax.data.samples import Samples, printable
from dbc_jax.values import is_whole

_NAMES_SHOWN = 10
_PROGRESS_FROM = 2000
_MAX_THREADS = 32
# Frames that a thread takes at a time.
_CHUNK = 16
# Of an image's side; OpenCV resizes to no more.
_LONGEST = 2**15


def load_images(
  samples: Samples, size: tuple[int, int] | None = None
) -> np.ndarray:
  """Decodes all frames of a split into one array.

  A frame of another size than `size` is resized as by `resize_image`.

  Args:
    samples: with F frames.
    size: (height, width) in pixels of the result. None keeps the native size,
      which all frames must then share.

  Returns:
    [F, height, width, 3] uint8 RGB. With no samples and no size, height and
    width are 0.

  Raises:
    ValueError: frames that cannot be read (all are tried, one error tells
      their number and the first ten), or of several sizes with `size=None`.
  """
  if not isinstance(samples, Samples):
    raise ValueError(
      f'samples: got {samples!r}, expected Samples; make them by samples_of.'
    )
  if size is not None:
    _check_size(size)
  shapes: dict[int, tuple[int, ...]] = {}
  native = (0, 0)
  if size is None and len(samples):
    unreadable = for_each_frame(
      samples, None, lambda frame, image: shapes.update({frame: image.shape})
    )
    raise_unreadable([*unreadable.values()], samples.num_frames)
    native = _only_size(shapes, samples)
  images = np.zeros((samples.num_frames, *(size or native), 3), np.uint8)
  unreadable = for_each_frame(samples, size, images.__setitem__)
  raise_unreadable([*unreadable.values()], samples.num_frames)
  return images


def _check_size(size: Any) -> None:
  is_pair = isinstance(size, tuple | list) and len(size) == 2
  if not is_pair or not all(is_whole(x) and 1 <= x <= _LONGEST for x in size):
    raise ValueError(
      f'size: got {size!r}, expected (height, width) in pixels, each in '
      f'1..{_LONGEST}.'
    )


def for_each_frame(
  samples: Samples,
  size: tuple[int, int] | None,
  visit: Callable[[int, np.ndarray], None],
  repaired: list[str] | None = None,
  frames: range | None = None,
) -> dict[int, str]:
  """Decodes all frames; shows a progress bar on a terminal if they are many.

  Args:
    samples: with F frames.
    size: (height, width) in pixels that frames are resized to, or None.
    visit: called on several threads, with the number of a frame and its
      pixels uint8 [H, W, 3].
    repaired: gets a line for each damaged JPEG that a decoder only repaired;
      without it, a warning has these.
    frames: those that are decoded, in steps of one; None: all.

  Returns:
    What is wrong with each frame that cannot be read, in order.

  Raises:
    ValueError: a size below 1.
  """
  if size is not None:
    _check_size(size)
  frames = range(samples.num_frames) if frames is None else frames

  def read_chunk(chunk: range) -> dict[int, str]:
    unreadable = {}
    for frame in chunk:
      try:
        image = samples.read(frame)
      except ValueError as error:
        unreadable[frame] = str(error)
        continue
      visit(frame, image if size is None else resize_image(image, size))
    return unreadable

  unreadable = {}
  count = len(frames)
  chunks = [frames[k : k + _CHUNK] for k in range(0, count, _CHUNK)]
  threads = min(_MAX_THREADS, max(2, os.cpu_count() or 1))
  with (
    decoder_messages.collected() as messages,
    futures.ThreadPoolExecutor(threads) as executor,
    tqdm(
      total=count,
      desc='Decoding',
      unit='image',
      disable=count <= _PROGRESS_FROM or not sys.stderr.isatty(),
    ) as progress,
  ):
    for found in executor.map(read_chunk, chunks):
      unreadable |= found
      progress.update(min(_CHUNK, count - progress.n))
  if messages.damage:
    found = _repaired(samples, [x for x in frames if x not in unreadable])
    if repaired is None:
      warnings.warn(
        f'{len(found)} damaged images are used as far as they could be '
        f'repaired:{_lines(found)}',
        stacklevel=2,
      )
    else:
      repaired += found
  return unreadable


def _repaired(samples: Samples, frames: Sequence[int]) -> list[str]:
  """Those of some frames that a decoder repairs, and how; one by one.

  Only so it is known which of them a message is of.
  """
  found = []
  for frame in frames:
    with (
      decoder_messages.collected() as messages,
      contextlib.suppress(ValueError),
    ):
      samples.read(frame)
    if messages.damage:
      found.append(f'{printable(samples.frame_name(frame))}: {messages.damage}')
  return found


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """With OpenCV's INTER_AREA where neither side grows, else INTER_LINEAR.

  The aspect ratio is not kept.
  """
  height, width = size
  if image.shape[:2] == (height, width):
    return image
  grows = height > image.shape[0] or width > image.shape[1]
  return cv2.resize(
    image,
    (width, height),
    interpolation=cv2.INTER_LINEAR if grows else cv2.INTER_AREA,
  )


def unreadable_message(messages: Sequence[str], count: int) -> str:
  """How many of how many images cannot be read, and which, up to ten."""
  return f'{len(messages)} of {count} images cannot be read:{_lines(messages)}'


def raise_unreadable(messages: Sequence[str], count: int) -> None:
  """Raises ValueError if there are messages, of `count` images."""
  if messages:
    raise ValueError(
      f'{unreadable_message(messages, count)}\nCopy them again or remove them.'
    )


def _only_size(
  shapes: dict[int, tuple[int, ...]], samples: Samples
) -> tuple[int, int]:
  first: dict[tuple[int, ...], int] = {}
  for frame in sorted(shapes):
    first.setdefault(shapes[frame][:2], frame)
  if len(first) > 1:
    found = [
      f'{height} x {width}, as {samples.frame_name(frame)}'
      for (height, width), frame in first.items()
    ]
    raise ValueError(
      f'The images have {len(first)} sizes (height x width):{_lines(found)}'
      '\nGive the size that all are to be resized to.'
    )
  height, width = next(iter(first))
  return height, width


def _lines(lines: Sequence[str]) -> str:
  more = ['...'] if len(lines) > _NAMES_SHOWN else []
  return ''.join(f'\n  {line}' for line in [*lines[:_NAMES_SHOWN], *more])

"""Pictures of a run's images, made when they are asked for."""

import collections
import io
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dbc_jax.data import Samples, load_configured
from dbc_jax.run.corrections import digest_of

# Small pictures that are kept in memory, in bytes.
CACHE_BYTES = 64 * 2**20
_SMALL, _QUALITY = (192, 192), 85
_MOST_PIXELS = (4096, 4096)


def samples_of_run(workdir: Path, root: str | None) -> Samples:
  """The training images of a run, listed and not yet decoded.

  Args:
    workdir: of the run.
    root: where they are, if they moved.

  Raises:
    ValueError: there are none, or the workdir is none of a run.
  """
  from dbc_jax.run.workdir import read_config

  data = read_config(workdir).data
  if root is not None:
    data.root = root
  return load_configured(data)[0].train


class Pictures:
  """Pictures by row: no path comes from outside.

  The images are decoded and written anew, so that nothing but their pixels
  goes out.
  """

  def __init__(self, load: Callable[[], Samples], names: Sequence[str]):
    """Reads nothing yet.

    Args:
      load: gives the training images of the run; may raise ValueError.
      names: of rows.
    """
    self._load = load
    self._names = names
    self._places: dict[str, int] = {}
    self._samples: Samples | None = None
    self._fault: str | None = None
    self._opening = threading.Lock()
    self._cache: collections.OrderedDict[int, bytes] = collections.OrderedDict()
    self._held = 0
    self._digests: dict[str, str] = {}
    self._caching = threading.Lock()

  @property
  def fault(self) -> str | None:
    """Why there are no pictures, once that is known."""
    return self._fault

  def open(self) -> None:
    """Lists the images."""
    with self._opening:
      if self._samples is None and self._fault is None:
        try:
          samples = self._load()
        except (ValueError, OSError) as error:
          self._fault = str(error)
          return
        self._places = {name: i for i, name in enumerate(samples.names)}
        self._samples = samples

  def small(self, row: int) -> bytes:
    """A JPEG of at most 192 x 192; as `pixels`."""
    with self._caching:
      if row in self._cache:
        self._cache.move_to_end(row)
        return self._cache[row]
    image = Image.fromarray(self.pixels(row))
    image.thumbnail(_SMALL)
    data = _jpeg(image)
    with self._caching:
      if row not in self._cache:
        self._cache[row] = data
        self._held += len(data)
      while self._held > CACHE_BYTES and len(self._cache) > 1:
        self._held -= len(self._cache.popitem(last=False)[1])
    return data

  def large(self, row: int) -> bytes:
    """A JPEG of the whole picture; as `pixels`."""
    image = Image.fromarray(self.pixels(row))
    image.thumbnail(_MOST_PIXELS)
    return _jpeg(image)

  def digest(self, name: str) -> str:
    """Of an image or a tracklet's first frame; '' where it cannot be read.

    By it a run finds the image under another name.
    """
    if name not in self._digests and self._samples is not None:
      place = self._places.get(name)
      if place is None:
        return ''
      try:
        image = self._samples.read(int(self._samples.bounds[place]))
      except ValueError:
        return ''
      self._digests[name] = digest_of(np.asarray(image))
    return self._digests.get(name, '')

  def pixels(self, row: int) -> np.ndarray:
    """Of an image, or of the frame in the middle of a tracklet.

    Returns:
      uint8 [H, W, 3].

    Raises:
      ValueError: it is not there, or cannot be read.
    """
    self.open()
    if self._samples is None:
      raise ValueError(self._fault)
    place = self._places.get(self._names[row])
    if place is None:
      raise ValueError('the image is not where it was')
    bounds = self._samples.starts
    if bounds is not None:
      place = int(bounds[place] + bounds[place + 1]) // 2
    return np.asarray(self._samples.read(place))


def _jpeg(image: Image.Image) -> bytes:
  data = io.BytesIO()
  image.save(data, 'JPEG', quality=_QUALITY)
  return data.getvalue()

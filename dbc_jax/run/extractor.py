"""FeatureExtractor: images in, features out, by the network of a run."""

import dataclasses
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from dbc_jax import values
from dbc_jax.data import pipeline, samples_of
from dbc_jax.data.split import Split
from dbc_jax.devices.compilation_cache import use_compilation_cache
from dbc_jax.run import hub
from dbc_jax.run import workdir as workdir_lib
from dbc_jax.run.restore import RestoredRun, restore_run
from dbc_jax.training import camera_statistics

log = logging.getLogger('dbc_jax')

# That are decoded and held at a time.
_ITEMS_AT_ONCE = 1024
# Statistics of fewer images of a new camera are worse than those of all: on the
# demo, of single ones, they take rank-1 from 92 to 68 %.
FEWEST_OF_A_CAMERA = 100


@dataclasses.dataclass(frozen=True)
class FeatureExtractor:
  """Images in, features out, by the network of `run`."""

  run: RestoredRun

  @classmethod
  def from_workdir(
    cls, workdir: str | os.PathLike[str], stage: str = 'chosen'
  ) -> 'FeatureExtractor':
    """The network of a stage of a run, which need not be finished.

    Args:
      workdir: of the run; nothing is written there. 'demo' is the one that
        comes with the package.
      stage: 'chosen', 'last', 'oracle' (see `selection`), 'warmup', or a
        number.

    Raises:
      ValueError: as `restore_run`.
    """
    return cls(restore_run(values.path(workdir, 'workdir'), stage))

  @classmethod
  def from_pretrained(
    cls, folder: str | os.PathLike[str]
  ) -> 'FeatureExtractor':
    """The network in a folder of `dbc export --format=hub`.

    It gives the features of `from_workdir`, bit for bit. Such a folder knows
    nothing of the training images: `run.labels` is empty.

    Raises:
      ValueError: no such folder, or its files do not fit together.
    """
    use_compilation_cache()
    parts, stage, variables = hub.read(values.path(folder, 'folder'))
    return cls(
      RestoredRun(parts, stage, variables, np.zeros(0, np.int32), digest='')
    )

  @classmethod
  def demo(cls) -> 'FeatureExtractor':
    """The network that comes with the package, for a first try.

    It was trained on 1,000 crops of synthetic pedestrians, 64 x 32, without
    identities; its card is `README.md` in `dbc_jax/demo/`.
    """
    return cls.from_workdir(workdir_lib.DEMO)

  def __call__(
    self, items: Sequence[Any], cameras: Sequence[int] | None = None
  ) -> np.ndarray:
    """Features of images or of tracklets; shows a bar on a terminal.

    Args:
      items: N images or N tracklets. An image is the path of a file, or an
        array uint8 RGB [H, W, 3] of any size. A tracklet is a sequence of
        images in order of time, or an array uint8 RGB [T, H, W, 3]; its
        feature is that of the mean of its frames (DBC, IV-B).
      cameras: [N] numbers of the items' cameras, where the run normalised by
        cameras (`data.camera_statistics`). A number that the run had is that
        camera; another one is a new camera, whose statistics are those of its
        own items, up to 1,024 of them; of fewer than 100, and for None,
        those of all images of the run.

    Returns:
      [N, D] float32, rows of unit length in the order of the items.

    Raises:
      ValueError: an item is neither, images that cannot be read, by name, as
        many cameras as items are not given, or the run used none.
    """
    samples_of(items)  # So that a bad item ends it before any work.
    parts, features = self.run.parts, []
    variables, camids = self.run.variables, None
    if cameras is not None:
      camids = self._checked(cameras, len(items))
      variables = self._with_new(items, camids)
    with tqdm(
      total=len(items),
      desc='Embedding',
      unit='item',
      disable=not sys.stderr.isatty(),
      leave=False,
    ) as bar:
      for start in range(0, len(items), _ITEMS_AT_ONCE):
        some = slice(start, start + _ITEMS_AT_ONCE)
        split = self._load(items[some])
        own = None if camids is None else camids[some]
        features.append(parts.embed(variables, split, own)[0])
        bar.update(len(split))
    return np.concatenate(features)

  def _load(self, items: Sequence[Any]) -> Split:
    size = tuple(self.run.parts.config.data.stored_size)
    loaded = pipeline.load_split(samples_of(items), size=size)
    for line in loaded.looks.repaired:
      log.warning('damaged, and used as far as it could be repaired: %s', line)
    return loaded.split

  def _checked(self, cameras: Sequence[int], count: int) -> np.ndarray:
    camids = values.integers(cameras, 'cameras', count, 'one camera')
    if camera_statistics.KEY not in self.run.variables:
      raise ValueError(
        'cameras: got some, but this run has no statistics of cameras '
        '(data.camera_statistics, data.use_cameras); leave them out'
      )
    return camids

  def _with_new(
    self, items: Sequence[Any], camids: np.ndarray
  ) -> dict[str, Any]:
    """The variables, with the statistics of cameras that the run had not."""
    variables = self.run.variables
    known = variables[camera_statistics.KEY]['camids']
    for camid in np.setdiff1d(camids, known):
      own = np.flatnonzero(camids == camid)[:_ITEMS_AT_ONCE]
      if len(own) < FEWEST_OF_A_CAMERA:
        continue
      split = self._load([items[i] for i in own])
      found = self.run.parts.with_statistics(variables, split, camids[own])
      variables = camera_statistics.joined(variables, found)
    return variables

"""Features of images by the network of a run, kept for the next time."""

import contextlib
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from dbc_jax import values
from dbc_jax.run import features_file, identities, restore
from dbc_jax.run.extractor import FeatureExtractor
from dbc_jax.training import camera_statistics
from dbc_jax.verbs.sources import Sources

# The least recently used files beyond it are deleted.
MAX_BYTES = 2**30
_SUFFIX = '.npy'
_CACHE = 'features'


class Embedded(NamedTuple):
  """Features with what they are of.

  Attributes:
    features: [N, D] float32, rows of unit length.
    names: N, of the images or tracklets.
    picture: from i to a file that shows it; None where there are no files.
    clusters: [N] int, their numbers, where they are known; -1 for one in
      none.
  """

  features: np.ndarray
  names: Sequence[str]
  picture: Callable[[int], pathlib.Path] | None = None
  clusters: np.ndarray | None = None


def uses_cameras(extractor: FeatureExtractor) -> bool:
  """Whether features depend on which camera took an image."""
  return camera_statistics.KEY in extractor.run.variables


def embed(extractor: FeatureExtractor, sources: Sources) -> Embedded:
  """Features of images or tracklets.

  Their cameras are used where they are known and the run used its own
  (`data.camera_statistics`).

  Args:
    extractor: whose network.
    sources: of `find_sources`.

  Raises:
    ValueError: images that cannot be read; names them.
  """
  cameras = None
  if sources.camids is not None and uses_cameras(extractor):
    cameras = sources.camids.tolist()
  features = extractor(sources.items, cameras)
  return Embedded(features, sources.names, sources.picture)


def embed_cached(extractor: FeatureExtractor, sources: Sources) -> Embedded:
  """As `embed`, from the user's cache folder if it was done before.

  What counts is the content of the files, their order and cameras, and the
  network; names do not.
  """
  try:
    folder = values.cache_folder() / _CACHE
  except OSError:  # A user without a home has no cache.
    return embed(extractor, sources)
  key = hashlib.blake2b(digest_size=16)
  for each in _bytes_of(extractor, sources):
    key.update(hashlib.blake2b(each, digest_size=16).digest())
  path = folder / f'{key.hexdigest()}{_SUFFIX}'
  try:
    with path.open('rb') as file:
      features = np.load(file)
    os.utime(path)
    return Embedded(features, sources.names, sources.picture)
  except (OSError, ValueError, EOFError):
    pass
  embedded = embed(extractor, sources)
  _keep(path, embedded.features)
  return embedded


def _bytes_of(extractor: FeatureExtractor, sources: Sources) -> Iterable[bytes]:
  config = extractor.run.parts.config
  yield repr((config.data.to_dict(), config.model.to_dict())).encode()
  for leaf in jax.tree.leaves(extractor.run.variables):
    yield np.ascontiguousarray(leaf).tobytes()
  if sources.camids is not None:
    yield sources.camids.tobytes()
  for item in sources.items:
    frames = [item] if isinstance(item, pathlib.Path) else item
    yield len(frames).to_bytes(4, 'little')
    for frame in frames:
      try:
        yield frame.read_bytes()
      except OSError:  # `embed` says what is wrong with it.
        yield b''


def clear_cache() -> int:
  """Deletes all kept features, of whatever images; returns how many files."""
  found = [*(values.cache_folder() / _CACHE).glob(f'*{_SUFFIX}')]
  for each in found:
    each.unlink(missing_ok=True)
  return len(found)


def _keep(path: pathlib.Path, features: np.ndarray) -> None:
  """Keeps them if the folder can be written, and drops the oldest."""
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f'.{os.getpid()}.tmp')
    with partial.open('wb') as file:
      np.save(file, features)
    os.replace(partial, path)
    kept = [(each.stat(), each) for each in path.parent.glob(f'*{_SUFFIX}')]
    kept.sort(key=lambda pair: pair[0].st_mtime, reverse=True)
    total = 0
    for status, each in kept:
      total += status.st_size
      if total > MAX_BYTES and each != path:
        each.unlink(missing_ok=True)
  except OSError:
    pass  # Next time it is embedded again.


def of_run(
  extractor: FeatureExtractor, workdir: pathlib.Path, *, root: str | None = None
) -> Embedded:
  """The training images of a run with the numbers of their clusters.

  Args:
    extractor: of that run.
    workdir: of the run; features.npz is read where it is of the same stage,
      and written where there is none of the chosen one.
    root: where its images are now, if they have moved.

  Raises:
    ValueError: the images are needed and are not there, or are others.
  """
  run = extractor.run
  saved = features_file.read(workdir, run.stage, run.digest)
  config = restore.data_config(run, None, {'root': root})
  if saved is None:
    data = restore.load_data(
      config,
      run.digest,
      identities=False,
      cameras=False,
      decoders=run.decoders,
    )
    camids = data.truth.train_camids
    features, _ = run.parts.embed(run.variables, data.train, camids)
    saved = features.astype(np.float16), data.names['train']
    # The file is of the chosen stage.
    if run.stage == run.kept:
      with contextlib.suppress(OSError):  # Next time it is embedded again.
        features_file.write(workdir, *saved, run.stage, run.digest)
  features, names = saved
  clusters = run.labels
  if run.stage == run.kept:
    clusters = identities.numbers(workdir, names, clusters)
  features = features.astype(np.float32)
  features /= np.linalg.norm(features, axis=1, keepdims=True)
  picture = None
  folder = None
  if config.data.root:
    folder = pathlib.Path(config.data.root).expanduser()
  if folder is not None and (folder / names[0]).is_file():
    picture = lambda i: folder / names[i]  # noqa: E731
  return Embedded(features, names, picture, clusters)

"""Data sets by name: samples for training and, apart, the truth about them.

Called by the driver and the commands.
"""

import importlib
import inspect
import os
from pathlib import Path
from typing import Any

from dbc_jax.data.loading import load_images
from dbc_jax.data.samples import Dataset, GroundTruth, Samples

__all__ = [
  'Dataset',
  'GroundTruth',
  'Samples',
  'load_configured',
  'load_dataset',
  'load_images',
]

# Modules of this package. Each has a function `load`, whose first parameter is
# `root` if it reads files, and whose other parameters are its options.
_READERS = {
  'demo': 'synthetic.images',
  'demo_video': 'synthetic.video',
  'folder': 'readers.folder',
  'market1501': 'readers.market1501',
  'dukemtmc_reid': 'readers.dukemtmc_reid',
  'msmt17': 'readers.msmt17',
  'mars': 'readers.mars',
  'dukemtmc_videoreid': 'readers.dukemtmc_videoreid',
}
# Fields of a config that are options of readers; what is False, 0 or empty is
# not passed on.
_OPTIONS = ('num_identities', 'csv', 'tracklets', 'drop_queries')


def load_dataset(
  name: str, root: str | os.PathLike[str] | None = None, **options: Any
) -> tuple[Dataset, GroundTruth]:
  """Reads the list of samples of a data set; images are decoded later.

  Args:
    name: of a module of this package, such as 'market1501', or 'demo'.
    root: where its files are; None or '' for the demos, which have none.
    **options: of the reader, such as `num_identities` of 'market1501'; see
      `load` in the module of that name.

  Returns:
    The samples, which hold no identities, and the ground truth, which is for
    evaluation and reporting alone.

  Raises:
    ValueError: an unknown name or option, a missing root, or files that are
      not laid out as the reader expects.
  """
  if name not in _READERS:
    raise ValueError(
      f'Unknown data set {name!r}; known are: {", ".join(_READERS)}.'
    )
  # Imported only now, so that no reader costs anything unless it is asked for.
  load = importlib.import_module(f'{__name__}.{_READERS[name]}').load
  known = dict(inspect.signature(load).parameters)
  takes_root = known.pop('root', None) is not None
  unknown = sorted(set(options) - set(known))
  if unknown:
    raise ValueError(
      f'Data set {name!r} has no option {", ".join(unknown)}; '
      f'known are: {", ".join(known) or "none"}.'
    )
  if takes_root:
    return load(_checked_root(name, root), **options)
  if root:
    raise ValueError(
      f'Data set {name!r} reads no files, but root is {os.fspath(root)!r}. '
      'Leave the root out, or name the data set that is there.'
    )
  return load(**options)


def load_configured(fields: Any) -> tuple[Dataset, GroundTruth]:
  """`load_dataset` by the `data` fields of a config; raises the same."""
  options = {key: fields[key] for key in _OPTIONS if fields[key]}
  return load_dataset(fields.name, fields.root, **options)


def _checked_root(name: str, root: str | os.PathLike[str] | None) -> Path:
  if not root:
    raise ValueError(
      f'Data set {name!r} needs the folder of its files: pass root, or '
      '--config.data.root=DIR to a training, --root=DIR to a command.'
    )
  path = Path(root).expanduser()
  if not path.exists():
    above = next(p for p in path.absolute().parents if p.exists())
    raise ValueError(
      f'Root of data set {name!r}: {path} does not exist ({above} does).'
    )
  if not path.is_dir():
    raise ValueError(
      f'Root of data set {name!r}: {path} is a file; a folder is expected. '
      'If it is an archive, unpack it first.'
    )
  if next(path.iterdir(), None) is None:
    raise ValueError(f'Root of data set {name!r}: {path} is empty.')
  return path

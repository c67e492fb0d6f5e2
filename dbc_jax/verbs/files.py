"""Files of features: .npz for Python, .parquet for tables and viewers."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from dbc_jax import values
from dbc_jax.cluster.checks import check_no_distances
from dbc_jax.reporting import busy, check_new
from dbc_jax.reporting.npz import read_npz
from dbc_jax.reporting.report import scatter
from dbc_jax.verbs.embedding import Embedded

SUFFIXES = ('.npz', '.parquet')
_SIDE = 256  # Of pictures in a table, at most.
_NEIGHBOURS = 15


def check_out(path: Path, *, overwrite: bool) -> None:
  """Raises ValueError unless features can be written there."""
  if path.suffix not in SUFFIXES:
    raise ValueError(
      f'--out: {path} ends in neither {" nor ".join(SUFFIXES)}; rename it'
    )
  if path.suffix == '.parquet':
    _pyarrow()
  check_new('--out', path, overwrite=overwrite)


def write_features(
  path: Path, embedded: Embedded, *, full: bool = False
) -> None:
  """Writes features and names, whole or not at all.

  Args:
    path: ends in .npz (`features` [N, D] float32, `paths` [N], `clusters` [N]
      where known) or .parquet (columns `path`, `features`, `cluster`).
    embedded: what to write.
    full: to a .parquet also `image` (the picture, JPEG), `x` and `y` (t-SNE)
      and `neighbors` (the nearest 15, `ids` and `distances`), for viewers.

  Raises:
    ValueError: another suffix, or pyarrow is not installed.
  """
  path = values.path(path, 'path')
  if path.suffix not in SUFFIXES:
    raise ValueError(
      f'path: {path} ends in neither {" nor ".join(SUFFIXES)}; rename it'
    )
  partial = path.with_name(f'{path.name}.tmp')
  if path.suffix == '.parquet':
    with busy('pictures, t-SNE and neighbours' if full else 'writing'):
      _write_parquet(partial, embedded, full)
  else:
    arrays: dict[str, Any] = {
      'features': embedded.features,
      'paths': np.array(embedded.names, str),
    }
    if embedded.clusters is not None:
      arrays['clusters'] = embedded.clusters
    with partial.open('wb') as file:
      np.savez(file, **arrays)
  os.replace(partial, path)


def read_features(path: Path) -> Embedded:
  """Reads what `write_features` wrote, or any file with such columns.

  Rows are scaled to unit length.

  Raises:
    ValueError: no such file, or no features in it.
  """
  path = values.path(path, 'path')
  if path.is_dir():
    raise ValueError(f'{path} is a folder; name a file of `dbc embed` in it')
  if not path.exists():
    raise ValueError(f'{path} does not exist')
  if path.suffix == '.parquet':
    columns = _read_parquet(path)
  else:
    columns = _read_npz(path)
  features = np.asarray(columns['features'])
  if features.dtype.kind not in 'fiu':
    raise ValueError(
      f'{path}: features are {features.dtype}, expected real numbers'
    )
  features = features.astype(np.float32)
  if features.ndim != 2 or 0 in features.shape:
    raise ValueError(
      f'{path}: features have the shape {features.shape}, expected [N, D]'
    )
  try:
    check_no_distances(features, 'write features there')
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from error
  lengths = np.linalg.norm(features, axis=1, keepdims=True)
  names = columns.get('paths')
  if names is None:
    names = [f'row {i}' for i in range(len(features))]
  if np.shape(names) != (len(features),):
    raise ValueError(
      f'{path}: {np.size(names)} paths for {len(features)} features'
    )
  bad = np.flatnonzero(~np.isfinite(lengths))
  if len(bad):
    raise ValueError(
      f'{path}: the features of {names[bad[0]]} hold NaN or infinity'
      + (f', and of {len(bad) - 1:,} more' if len(bad) > 1 else '')
      + '; embed the images again, or take these rows out'
    )
  features = features / np.where(lengths > 0, lengths, 1.0)
  clusters = columns.get('clusters')
  if clusters is not None:
    clusters = np.asarray(clusters)
    if clusters.shape != (len(features),) or clusters.dtype.kind not in 'iu':
      raise ValueError(
        f'{path}: expected a whole number for each of the {len(features)} rows '
        'in clusters'
      )
  return Embedded(features, [str(name) for name in names], None, clusters)


def _read_npz(path: Path) -> dict[str, Any]:
  found = read_npz(path, 'features')
  if 'features' not in found:
    raise ValueError(
      f'{path}: lacks features; it has {", ".join(found) or "nothing"}'
    )
  return found


def _pyarrow() -> Any:
  try:
    import pyarrow
    import pyarrow.parquet
  except ImportError:
    raise ValueError(
      ".parquet needs pyarrow: pip install 'dbc_jax[parquet]', or write an .npz"
    ) from None
  return pyarrow


def _write_parquet(path: Path, embedded: Embedded, full: bool) -> None:
  arrow = _pyarrow()
  count = len(embedded.features)
  rows = [row.tolist() for row in embedded.features]
  # A name may not be UTF-8, which is all that the format takes.
  names = [
    name.encode(errors='backslashreplace').decode() for name in embedded.names
  ]
  columns: dict[str, Any] = {
    'path': names,
    'features': arrow.array(rows, arrow.list_(arrow.float32())),
  }
  if embedded.clusters is not None:
    columns['cluster'] = arrow.array(embedded.clusters, arrow.int32())
  if full:
    if embedded.picture is not None:
      columns['image'] = [
        {'bytes': _jpeg(embedded.picture(i)), 'path': names[i]}
        for i in range(count)
      ]
    places = scatter.places(embedded.features)
    columns['x'], columns['y'] = places[:, 0], places[:, 1]
    columns['neighbors'] = _neighbours(embedded.features)
  arrow.parquet.write_table(arrow.table(columns), path)


def _read_parquet(path: Path) -> dict[str, Any]:
  arrow = _pyarrow()
  try:
    table = arrow.parquet.read_table(path)
    columns = table.column_names
  # A name in it may be no text, which is a ValueError.
  except (arrow.ArrowException, OSError, ValueError) as error:
    raise ValueError(f'{path}: expected a Parquet file') from error
  if 'features' not in columns:
    raise ValueError(f'{path}: lacks features; it has {", ".join(columns)}')
  found: dict[str, Any] = {}
  try:
    found['features'] = np.stack(table['features'].to_numpy())
  except (ValueError, TypeError) as error:
    raise ValueError(
      f'{path}: features differ in length, or are no lists of numbers'
    ) from error
  for key, column in (('paths', 'path'), ('clusters', 'cluster')):
    if column in columns:
      try:
        found[key] = table[column].to_numpy()
      except (arrow.ArrowException, ValueError) as error:
        raise ValueError(f'{path}: {column} cannot be read') from error
  return found


def _jpeg(path: Path) -> bytes:
  data = io.BytesIO()
  with Image.open(path) as image:
    small = ImageOps.exif_transpose(image).convert('RGB')
    small.thumbnail((_SIDE, _SIDE))
    small.save(data, 'JPEG', quality=90)
  return data.getvalue()


def _neighbours(features: np.ndarray) -> list[dict[str, Any]]:
  from dbc_jax.verbs.searching import nearest

  count = min(_NEIGHBOURS + 1, len(features))
  found = []
  for i, (ids, distances) in enumerate(nearest(features, features, count)):
    others = [j for j in range(count) if ids[j] != i][:_NEIGHBOURS]
    found.append(
      {
        'ids': [int(ids[j]) for j in others],
        'distances': [float(distances[j]) for j in others],
      }
    )
  return found

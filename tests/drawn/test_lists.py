"""Drawn tables, patterns and fields: a right value, or a line of an error."""

import csv
import io
import re
import warnings

import numpy as np
import pytest
import runs
from hypothesis import given
from hypothesis import strategies as st

from dbc_jax import data as data_lib
from dbc_jax.configs import ecluster
from dbc_jax.data.readers.pattern import compile_pattern, match_of
from dbc_jax.run import config as config_lib
from dbc_jax.run import config_files

NAMES = ['a/0.png', 'a/1.png', 'b/0.png', 'c,d.png', 'e"f.png', ' g.png']
CELLS = st.sampled_from(
  ['', '0', '7', '-1', '3.0', 'nan', 'None', 'x', '1e3', '99999999999', ' 2']
)
ROWS = st.lists(
  st.tuples(st.sampled_from(NAMES), CELLS, CELLS, CELLS), max_size=6
)
SPLIT = st.sampled_from(['train', '', 'query', 'gallery', 'test'])


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  root = tmp_path_factory.mktemp('drawn')
  return runs.write_images(root, NAMES, runs.make_images(len(NAMES), 3))


def _load(folder, **options):
  """The data set, or None where it is told in a line that names a file."""
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore', UserWarning)
      return data_lib.load_dataset('folder', folder, **options)
  except ValueError as error:
    told = str(error)
  assert told.startswith((str(folder), 'pattern:', 'csv:', 'tracklets:')), told
  return None


@given(rows=ROWS, splits=st.lists(SPLIT, min_size=6, max_size=6))
def test_a_table_is_read_as_it_says_or_told(folder, rows, splits):
  text = io.StringIO()
  writer = csv.writer(text)
  writer.writerow(['path', 'camid', 'tracklet', 'pid', 'split'])
  full = [(*row, split) for row, split in zip(rows, splits, strict=False)]
  writer.writerows(full)
  (folder / 'list.csv').write_text(text.getvalue())
  loaded = _load(folder, csv='list.csv')
  paths = [row[0] for row in full]
  if loaded is None:
    return
  dataset, truth = loaded
  # Each image is there once, in its own split.
  assert len(set(paths)) == len(paths)
  for split in ('train', 'query', 'gallery'):
    samples = getattr(dataset, split)
    own = [row for row in full if (row[4] or 'train') == split]
    found = [samples.frame_name(i) for i in range(samples.num_frames)]
    assert sorted(found) == sorted(row[0] for row in own)
    pids, camids = truth.of(split)
    if camids is None:
      assert not any(row[1].strip() for row in own)
    if samples.starts is None and camids is not None:
      assert camids.tolist() == [int(float(row[1])) for row in own]
    if samples.starts is None and pids is not None:
      wanted = [int(float(row[3] or -1)) for row in own]
      assert pids.tolist() == wanted


@given(content=st.binary(max_size=200), wide=st.booleans())
def test_any_bytes_are_no_table(folder, content, wide):
  start = b'\xff\xfe' if wide else b'path'
  (folder / 'bytes.csv').write_bytes(start + content)
  _load(folder, csv='bytes.csv')


@given(
  text=st.lists(
    st.sampled_from(
      ['{camid}', '{tracklet}', '{frame}', '*', '**', '/', '(', '[', 'a', '\\']
    )
    | st.text(max_size=3),
    max_size=6,
  ).map(''.join)
)
def test_a_pattern_reads_what_stands_there_or_is_told(folder, text):
  loaded = _load(folder, pattern=text) if text else None
  if loaded is None:
    return
  compiled = compile_pattern(text)
  for name in NAMES:
    found = match_of(compiled, text, name)
    assert found is not None
    # Put back into the pattern, what was read gives the path again.
    whole = re.sub(
      r'\{(\w+)\}|(\*\*?)',
      lambda x, found=found: re.escape(found[x[1]]) if x[1] else '.*',
      ''.join(
        part if re.fullmatch(r'\{\w*\}|\*\*?', part) else re.escape(part)
        for part in re.split(r'(\{\w*\}|\*\*?)', text)
      ),
    )
    path = name.removesuffix('.png')
    assert re.fullmatch(whole, path if '/' in text else path.split('/')[-1])


FIELDS = config_lib.flat(ecluster.get_config('folder,small').to_dict())
VALUES = st.one_of(
  st.integers(),
  st.floats(),
  st.booleans(),
  st.text(max_size=8),
  st.lists(st.integers(-3, 300) | st.floats(), max_size=3).map(tuple),
)


@given(key=st.sampled_from(sorted(FIELDS)), value=VALUES)
def test_an_override_is_set_as_given_or_told(key, value):
  config, told = ecluster.get_config('folder,small'), ''
  try:
    changed = config_files.with_changes(config, {key: value})
    config_lib.check_config(changed)
    config_lib.check_num_samples(changed, 1000)
  except ValueError as error:
    told = str(error)
  if told:
    assert len(told.splitlines()) == 1
    assert key.rpartition('.')[2] in told
    return
  found = config_lib.flat(changed.to_dict())[key]
  if isinstance(FIELDS[key], str):
    value = str(value)
  assert found == value
  numbers = np.ravel([found]) if not isinstance(found, str) else []
  assert np.isfinite(np.asarray(numbers, float)).all()

"""Any bytes at every reader of files: a right value or a line of an error."""

import io
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbc_jax.models import load_pretrained, network_of
from dbc_jax.run import config_files, features_file, identities
from dbc_jax.run import workdir as workdir_lib
from dbc_jax.verbs import find_sources, read_features

VARIABLES = {'params': {'a': np.ones((2, 3), np.float32)}}


def _npz():
  file = io.BytesIO()
  np.savez(file, features=np.eye(3, 4, dtype=np.float32), paths=['a', 'b', 'c'])
  return file.getvalue()


def _safetensors():
  from safetensors.numpy import save

  return save({'a': np.ones((2, 3), np.float32)})


def _parquet():
  import pyarrow
  from pyarrow import parquet

  file = io.BytesIO()
  table = pyarrow.table({'path': ['a'], 'features': [[1.0, 0.0]]})
  parquet.write_table(table, file)
  return file.getvalue()


def _torch():
  import torch

  file = io.BytesIO()
  torch.save({'a': torch.ones(2, 3)}, file)
  return file.getvalue()


def _npy():
  file = io.BytesIO()
  np.save(file, np.eye(3, 4))
  return file.getvalue()


# Of each reader: the file's name, whole content, and how it is read.
READERS = {
  'features': ('f.npz', _npz, read_features),
  'one array': ('f.npz', _npy, read_features),
  'table': ('f.parquet', _parquet, read_features),
  'npz': ('w.npz', _npz, lambda path: load_pretrained(path, VARIABLES)),
  'safetensors': (
    'w.safetensors',
    _safetensors,
    lambda path: load_pretrained(path, VARIABLES),
  ),
  'torch': ('w.pth', _torch, lambda path: load_pretrained(path, VARIABLES)),
  'network': ('w.safetensors', _safetensors, network_of),
  'list': ('list.csv', lambda: b'path,camid\na.png,1\n', find_sources),
  'config': (
    'config.json',
    lambda: b'{"data": {"name": "demo"}, "seed": 0}',
    lambda path: workdir_lib.read_config(path.parent),
  ),
  'identities': (
    'identities.csv',
    lambda: b'cluster,id,name,merged_into\n0,0,Ann,\n',
    lambda path: identities.read(path.parent),
  ),
  'kept features': (
    'features.npz',
    _npz,
    lambda path: features_file.read(path.parent, 1, 'x'),
  ),
}


def _damaged(content):
  """Content cut, with bytes changed, put in, or replaced altogether."""
  places = st.integers(0, max(0, len(content) - 1))
  changes = st.lists(st.tuples(places, st.binary(min_size=1, max_size=4)))

  def change(changes):
    found = bytearray(content)
    for place, new in changes:
      found[place : place + len(new)] = new
    return bytes(found)

  return st.one_of(
    places.map(lambda place: content[:place]),
    changes.map(change),
    st.binary(max_size=100),
  )


# PyTorch takes long to begin.
SLOW = {'torch': pytest.mark.slow}


@pytest.mark.parametrize(
  'name', [pytest.param(x, marks=SLOW.get(x, ())) for x in READERS]
)
def test_any_bytes_are_read_or_told(name, tmp_path):
  file, whole, read = READERS[name]
  path, content = tmp_path / file, whole()

  @given(content=_damaged(content))
  def check(content):
    path.write_bytes(content)
    told = ''
    try:
      with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)
        read(path)
    except ValueError as error:
      told = str(error)
    assert not told or str(tmp_path) in told, told

  check()


@given(content=st.binary(max_size=80))
def test_any_bytes_are_no_config(tmp_path_factory, content):
  path = tmp_path_factory.mktemp('config') / 'mine.py'
  path.write_bytes(content)
  with pytest.raises(ValueError, match=r'^--config: '):
    config_files.load_config(str(path))

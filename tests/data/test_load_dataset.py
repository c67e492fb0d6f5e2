"""Data sets by name: errors come before any work and say what to do."""

import subprocess
import sys
import types

import layouts
import pytest
import runs

from dbc_jax.configs import common
from dbc_jax.data import (
  find_reader,
  load_configured,
  load_dataset,
  reader_names,
)

KNOWN = ', '.join(reader_names())
VIDEO = {'demo_video', 'dukemtmc_videoreid', 'mars'}
OURS = {'demo', 'dukemtmc_reid', 'folder', 'market1501', 'msmt17'} | VIDEO
READ_FILES = KNOWN.split(', ')[2:]
OWN = """
from dbc_jax.data import Release
from dbc_jax.data.decode import image_files
from dbc_jax.data.samples import EMPTY, Dataset, GroundTruth

RELEASE = Release(title='Own', image_size=(48, 20))


def load(root, *, num_identities=None):
  train = image_files(root, sorted(path.name for path in root.iterdir()))
  return Dataset(train, EMPTY, EMPTY), GroundTruth()
"""


@pytest.mark.parametrize('name', ['', 'Market1501', 'mars_video'])
def test_unknown_names(name):
  with pytest.raises(ValueError, match=f'known are: {KNOWN}'):
    load_dataset(name)


@pytest.mark.parametrize('name', READ_FILES)
@pytest.mark.parametrize('root', [None, ''])
def test_root_is_asked_for(name, root):
  with pytest.raises(ValueError, match=rf"'{name}'.* --config.data.root=DIR"):
    load_dataset(name, root)


@pytest.mark.parametrize('name', READ_FILES)
def test_missing_root_names_what_exists(tmp_path, name):
  lost = tmp_path / 'a' / 'b'
  with pytest.raises(ValueError, match='does not exist') as caught:
    load_dataset(name, lost)
  assert f'{lost} does not exist ({tmp_path} does)' in str(caught.value)
  assert 'by --root=DIR' in str(caught.value)


@pytest.mark.parametrize('name', READ_FILES)
def test_root_must_be_a_folder_with_something_in_it(tmp_path, name):
  with pytest.raises(ValueError, match=r'is empty\.'):
    load_dataset(name, tmp_path)
  archive = tmp_path / 'data.zip'
  archive.write_bytes(b'PK')
  with pytest.raises(ValueError, match=r'is a file; .* unpack'):
    load_dataset(name, archive)


def test_unknown_options_are_named(tmp_path):
  with pytest.raises(ValueError, match='option num_ids, sed; known are: num_'):
    load_dataset('market1501', tmp_path, num_ids=3, sed=1)
  with pytest.raises(ValueError, match='option seed; known are: none'):
    load_dataset('dukemtmc_videoreid', tmp_path, seed=1)


@pytest.fixture
def demo(monkeypatch):
  """Stands in for the module of the embedded data set."""

  def load(*, seed=0):
    return 'dataset', seed

  name = 'dbc_jax.data.synthetic.images'
  module = types.ModuleType(name)
  module.load = load
  monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize('root', [None, ''])
def test_demo_gets_its_options_and_no_root(demo, root):
  assert load_dataset('demo', root, seed=3) == ('dataset', 3)


def test_demo_refuses_files_and_unknown_options(demo, tmp_path):
  with pytest.raises(ValueError, match='reads no files, but root is'):
    load_dataset('demo', tmp_path)
  with pytest.raises(ValueError, match='option sed; known are: seed'):
    load_dataset('demo', sed=3)


def test_readers_are_imported_only_when_asked_for():
  code = (
    'import sys, dbc_jax.data; '
    'assert not any(m in sys.modules for m in '
    '("dbc_jax.data.synthetic", "dbc_jax.data.readers.market1501", "jax"))'
  )
  subprocess.run([sys.executable, '-c', code], check=True)


def test_configs_know_the_same_data_sets():
  assert sorted(common.DATASETS) == sorted(KNOWN.split(', '))
  assert set(common.DATASETS) >= OURS
  assert set(common.VIDEO_DATASETS) & OURS == VIDEO
  assert set(common.IMAGE_DATASETS) == (
    set(common.DATASETS) - set(common.VIDEO_DATASETS)
  )


def test_configs_start_no_device_and_import_no_jax():
  code = 'import sys, dbc_jax.configs.common; assert "jax" not in sys.modules'
  subprocess.run([sys.executable, '-c', code], check=True)


@pytest.mark.parametrize('name', KNOWN.split(', '))
def test_every_reader_says_what_it_reads(name):
  reader = find_reader(name)
  release = reader.RELEASE
  assert callable(reader.load)
  assert release.title
  unit = 'tracklets' if release.is_video else 'images'
  assert all(unit in what or 'identities' in what for what in release.sizes)
  config = common.base(name)
  assert (config.train.stage_epochs == 5) == (
    release.is_video and not name.startswith('demo')
  )


def test_only_market_crops_are_stored_smaller():
  assert common.base('market1501').data.stored_size == (128, 64)
  for name in ('folder', 'mars', 'msmt17', 'dukemtmc_reid'):
    assert common.base(name).data.stored_size == (256, 128)


@pytest.fixture
def own(tmp_path, monkeypatch):
  """A reader outside of this package: module `mine.own`."""
  (tmp_path / 'code/mine').mkdir(parents=True)
  (tmp_path / 'code/mine/own.py').write_text(OWN)
  monkeypatch.syspath_prepend(tmp_path / 'code')
  monkeypatch.delitem(sys.modules, 'mine', raising=False)
  monkeypatch.delitem(sys.modules, 'mine.own', raising=False)
  return tmp_path / 'code/mine'


def test_reader_of_another_package(own, tmp_path):
  names = ['a.png', 'b.png']
  root = runs.write_images(tmp_path / 'data', names, runs.make_images(2, 1))
  dataset, truth = load_dataset('mine.own', root)
  assert dataset.train.names == ('a.png', 'b.png')
  assert not truth.can_evaluate
  config = common.base('mine.own,small')
  assert config.data.name == 'mine.own'
  assert common.base('mine.own').data.stored_size == (48, 20)
  config.data.root = str(root)
  assert len(load_configured(config.data)[0].train) == 2
  with pytest.raises(ValueError, match=r"'mine\.own' has no option csv"):
    load_dataset('mine.own', root, csv='x')


@pytest.mark.parametrize(
  ('name', 'code', 'message'),
  [
    ('mine.none', None, r"'mine\.none': .*\(ModuleNotFoundError"),
    ('mine.', None, r"'mine\.': .*cannot be imported"),
    ('..', None, r"'\.\.': .*cannot be imported"),
    ('mine.bad', 'x =', r'cannot be imported \(SyntaxError'),
    ('mine.bad', '1 / 0', r'cannot be imported \(ZeroDivisionError'),
    ('mine.bad', 'RELEASE = 1', r'bad\.py is no reader; .*RELEASE = Release'),
  ],
)
def test_modules_that_are_no_readers(own, name, code, message):
  if code:
    (own / f'{name[5:]}.py').write_text(code)
  sys.modules.pop(name, None)
  with pytest.raises(ValueError, match=message):
    find_reader(name)
  with pytest.raises(ValueError, match=message):
    common.base(name)


def test_identities_seed_draws_other_persons_on_both_sides(tmp_path):
  root = tmp_path / 'market'
  persons = range(30, 60)
  form = '{:04}_c{}s1_000001_00.jpg'.format
  layouts.write_market1501(
    root,
    {
      'bounding_box_train': [form(i, 1) for i in range(2, 30)],
      'query': [form(i, 1) for i in persons],
      'bounding_box_test': [form(i, 2) for i in persons],
    },
  )
  fields = common.base('market1501').data
  fields.root, fields.num_identities = str(root), 5

  def drawn():
    with pytest.warns(UserWarning, match='differs from the official'):
      truth = load_configured(fields)[1]
    return [
      set(pids.tolist())
      for pids in (truth.train_pids, truth.query_pids, truth.gallery_pids)
    ]

  first = drawn()
  with pytest.warns(UserWarning, match='differs from the official'):
    today = load_dataset('market1501', root, num_identities=5)[1]
  assert first[0] == set(today.train_pids.tolist())
  assert first[1] == first[2] == set(today.query_pids.tolist())
  fields.identities_seed = 3
  other = drawn()
  assert other[0] != first[0]
  assert other[1] != first[1]
  del fields['identities_seed']  # As in the workdirs of older versions.
  assert drawn() == first


@pytest.mark.parametrize(
  ('name', 'number', 'message'),
  [
    ('market1501', 0, r'identities_seed: got 3 with data\.num_identities=0'),
    (
      'demo',
      0,
      r"identities_seed: got 3, expected 0: data set 'demo' draws no",
    ),
    (
      'demo',
      7,
      r"identities_seed: got 3, expected 0: data set 'demo' draws no",
    ),
    ('folder', 0, r"identities_seed: got 3, .* 'folder' draws no"),
    ('mars', 5, r"identities_seed: got 3, .* 'mars' draws no"),
  ],
)
def test_identities_seed_that_draws_nothing(name, number, message):
  fields = common.base(name).data
  fields.identities_seed, fields.num_identities = 3, number
  with pytest.raises(ValueError, match=message):
    load_configured(fields)

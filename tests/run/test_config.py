"""Bad settings end before work starts; every config field is read."""

import importlib
import json
import shutil

import ml_collections
import numpy as np
import pytest
import runs

from dbc_jax.configs import common, ecluster
from dbc_jax.devices import mesh
from dbc_jax.run import config as config_lib
from dbc_jax.run import job

# Each config's criterion.
CONFIGS = {
  **{name: name for name in ('buc', 'dbc', 'ecluster', 'estat')},
  'best': 'average',
  'pretrained': 'average',
}


@pytest.mark.parametrize(
  ('num_samples', 'num_merges', 'num_stages'),
  # Market-1501: 20 stages, at 12,936 ... 662 clusters; 19 where 20 divides N.
  [(12936, 646, 20), (1000, 50, 19), (20, 1, 19), (39, 1, 38)],
)
def test_stages_of_algorithm_1(num_samples, num_merges, num_stages):
  merges, stages = config_lib.num_merges_and_stages(num_samples, 0.05)
  assert (merges, stages) == (num_merges, num_stages)
  # The loop as the papers print it.
  clusters, count = num_samples, 0
  while clusters > merges:
    count, clusters = count + 1, clusters - merges
  assert stages == count


def test_a_run_that_forgot_images_has_as_many_stages_as_it_can():
  config = common.base('demo')
  config.cluster.merge_percent = 0.125
  config.train.num_stages = 9
  assert config_lib.num_stages(config, 30) == 9
  with pytest.raises(ValueError, match='expected at most 7'):
    config_lib.num_stages(config, 8)
  config.data.forgotten = 'forgotten.csv'
  assert config_lib.num_stages(config, 8) == 7
  assert config_lib.num_stages(config, 30) == 9


@pytest.mark.parametrize('percent', [0.0, 1.0, -0.1, float('nan')])
def test_merge_percent_out_of_range(percent):
  with pytest.raises(ValueError, match=r'cluster\.merge_percent: got .*\(0, 1'):
    config_lib.num_merges_and_stages(100, percent)


@pytest.mark.parametrize('num_samples', [0, 19])
def test_too_few_samples_for_one_merge(num_samples):
  with pytest.raises(ValueError, match='less than one merge a stage'):
    config_lib.num_merges_and_stages(num_samples, 0.05)


@pytest.mark.parametrize(
  ('field', 'value', 'message'),
  [
    ('train.batch_size', 32, r'train\.batch_size: got 32, more than the 30'),
    ('train.batch_size', 0, r'train\.batch_size: got 0, expected a positive'),
    ('train.learning_rate', 0.0, r'train\.learning_rate: got 0\.0'),
    ('train.later_learning_rate', float('nan'), r'later_learning_rate: got'),
    ('train.stage_epochs', 0, r'train\.stage_epochs: got 0'),
    ('train.momentum', 1.0, r'train\.momentum: got 1\.0, .*\[0, 1\)'),
    ('train.weight_decay', -1.0, r'train\.weight_decay: got -1\.0'),
    ('memory.temperature', 0.0, r'memory\.temperature: got 0\.0'),
    ('memory.momentum', -0.5, r'memory\.momentum: got -0\.5'),
    ('memory.init', 'random', r"memory\.init: got 'random', .*centroid"),
    ('cluster.features', 'raw', r"cluster\.features: got 'raw'"),
    ('cluster.distance', 'cosine', r"cluster\.distance: got 'cosine', .*jacc"),
    ('cluster.jaccard_k1', 0, r'cluster\.jaccard_k1: got 0, expected more'),
    ('cluster.jaccard_k2', 0, r'cluster\.jaccard_k2: got 0, expected more'),
    ('cluster.jaccard_k2', 32, r'jaccard_k2: got 32, expected .*k1 \+ 1 = 31'),
    ('cluster.criterion', 'ward', r"cluster\.criterion: got 'ward'.*ecluster"),
    ('cluster.intra_update', 'eq8', r"cluster\.intra_update: got 'eq8'.*eq7"),
    ('cluster.merge_percent', 0.01, r'less than one merge'),
    ('data.num_identities', 7, r'num_identities'),
    ('data.num_identities', -1, r'data\.num_identities: got -1'),
    ('data.image_size', (0, 12), r'data\.image_size: got \(0, 12\)'),
    ('data.image_size', (64,), r'data\.image_size: got \(64,\), .*width'),
    ('data.stored_size', (), r'data\.stored_size: got \(\)'),
    (
      'data.stored_size',
      (True, True),
      r'data\.stored_size: got \(True, True\)',
    ),
    ('seed', -1, r'seed: got -1'),
    ('cluster.merge_percent', 1.5, r'cluster\.merge_percent: got 1\.5'),
    ('cluster.ssd', 'printed', r"cluster\.ssd: got 'printed' for 'dbc'"),
    ('data.crop_area', (0.5, 1.2), r'data\.crop_area: got .*upper <= 1'),
    ('data.crop_aspect', (1.5, 1.0), r'data\.crop_aspect: got'),
    ('data.name', 'market', r"'market'.*market1501"),
    ('data.root', '/no/such/folder', r'/no/such/folder.*not exist'),
    ('data.root', '', r'--config\.data\.root=DIR'),
    ('model.name', 'resnet51', r"model\.name: got 'resnet51'"),
    ('model.frozen_stages', 9, r'model\.frozen_stages: got 9'),
    ('extract_batch_size', 0, r'extract_batch_size: got 0'),
  ],
)
def test_bad_values_end_before_any_work(field, value, message, tmp_path):
  root = runs.write_market(tmp_path / 'data')
  config = runs.small_config('market1501', root)
  config.update_from_flattened_dict({field: value})
  with pytest.raises(ValueError, match=message):
    job.run(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_a_test_set_alone_is_not_trained_on(tmp_path):
  root = runs.write_market(tmp_path / 'data')
  shutil.rmtree(root / 'bounding_box_train')
  config = runs.small_config('market1501', root)
  with pytest.raises(
    ValueError, match=r'^data: market1501 has no training images.*dbc evaluate'
  ):
    job.run(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_a_share_that_leaves_one_cluster_is_refused(tmp_path):
  config = runs.small_config('folder', tmp_path)
  config.cluster.cut = 'geometric'
  config.cluster.share = (0.3, 0.04)
  config_lib.check_num_samples(config, 50)
  with pytest.raises(
    ValueError, match=r'cluster\.share: .*fewer than 2 clusters of 30 .*0\.067'
  ):
    config_lib.check_num_samples(config, 30)


def test_squares_of_jaccard_distances_are_refused(tmp_path):
  config = runs.small_config('folder', tmp_path)
  config.cluster.distance = 'jaccard'
  config.cluster.squared = True
  with pytest.raises(
    ValueError, match=r"cluster\.squared: got True.*'jaccard'"
  ):
    job.run(config, tmp_path / 'run')


def test_batch_that_the_devices_cannot_share(tmp_path):
  assert len(mesh.devices()) == 8
  config = runs.small_config('folder', tmp_path)
  config.train.batch_size = 6
  with pytest.raises(ValueError, match=r'got 6, .*multiple of the 8 local'):
    job.run(config, tmp_path / 'run')


def test_unreadable_image_ends_before_any_work(tmp_path):
  names = [f'{i}.png' for i in range(30)]
  root = runs.write_images(tmp_path / 'data', names, runs.make_images(30, 6))
  (root / '7.png').write_bytes(b'no image')
  with pytest.raises(ValueError, match=r'1 of 30 images.*\n.*7\.png'):
    job.run(runs.small_config('folder', root), tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('num_samples', [19, 30, 999])
def test_the_suggested_merge_percent_works(num_samples):
  with pytest.raises(ValueError, match='at least') as caught:
    config_lib.num_merges_and_stages(num_samples, 1e-6)
  suggested = float(str(caught.value).split('at least ')[1].split(',')[0])
  assert config_lib.num_merges_and_stages(num_samples, suggested)[0] == 1


def test_queries_without_a_match_are_told_before_any_work(tmp_path):
  root = runs.write_market(tmp_path / 'data')
  for path in (root / 'bounding_box_test').iterdir():
    # Every gallery image now comes from its query's own camera.
    path.rename(path.with_name(path.name.replace(path.name[4:7], '_c1')))
  with pytest.raises(ValueError, match=r'camera rule.*camera_rule=False'):
    job.run(runs.small_config('market1501', root), tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_workdir_that_is_a_file(tmp_path):
  root = runs.write_market(tmp_path / 'data')
  (tmp_path / 'run').touch()
  with pytest.raises(ValueError, match='run is a file'):
    job.run(runs.small_config('market1501', root), tmp_path / 'run')


class _Recording:
  """A config that notes which of its fields are read."""

  def __init__(self, config, read, prefix=''):
    self._parts = config, read, prefix

  def __getattr__(self, key):
    return self[key]

  def __getitem__(self, key):
    config, read, prefix = self._parts
    if isinstance(config[key], ml_collections.ConfigDict):
      return _Recording(config[key], read, f'{prefix}{key}.')
    read.add(prefix + key)
    return config[key]

  def keys(self):
    return self._parts[0].keys()

  def to_dict(self):
    return self._parts[0].to_dict()


def _fields(tree, prefix=''):
  for key, value in tree.items():
    if isinstance(value, dict):
      yield from _fields(value, f'{prefix}{key}.')
    else:
      yield prefix + key


@pytest.mark.slow
def test_every_config_field_is_read(tmp_path, monkeypatch):
  runs.one_device(monkeypatch)
  root = runs.write_market(tmp_path / 'data')
  config = runs.small_config('market1501', root)
  config.data.num_identities = 4
  config.train.batch_size = 4
  read = set()
  job.run(_Recording(config, read), tmp_path / 'run')
  assert read == set(_fields(config.to_dict()))


@pytest.mark.parametrize('name', CONFIGS)
@pytest.mark.parametrize('dataset', ['', *common.DATASETS, 'folder,small'])
def test_configs_pass_their_own_checks(name, dataset):
  module = importlib.import_module(f'dbc_jax.configs.{name}')
  config = module.get_config(dataset)
  assert config.cluster.criterion == CONFIGS[name]
  assert not config.cluster.camera_centring  # Unless cameras are used.
  cameras = 'auto' if name in ('best', 'pretrained') else 'False'
  assert config.data.use_cameras == cameras
  config_lib.check_config(config)
  assert json.loads(json.dumps(config.to_dict()))
  expected = dataset.partition(',')[0] or 'demo'
  assert config.data.name == expected
  network = 'resnet_tiny' if expected.startswith('demo') else 'resnet50'
  if dataset.endswith(',small'):
    network = 'resnet8'
  if name == 'pretrained' and not expected.startswith('demo'):
    network = ''  # That of the file of weights.
  if name == 'best' and network != 'resnet50':
    network = 'wide_resnet8_2'  # docs/from_scratch.md
  assert config.model.name == network


def test_papers_values_are_the_defaults():
  config = common.base('market1501')
  train = config.train
  assert (train.batch_size, train.stage0_epochs, train.stage_epochs) == (
    16,
    20,
    2,
  )
  rates = (
    train.learning_rate,
    train.drop_epoch,
    train.dropped_learning_rate,
    train.later_learning_rate,
    train.backbone_multiplier,
  )
  assert np.allclose(rates, (0.1, 15, 0.01, 0.01, 0.1))
  assert config.memory.temperature == 0.1
  assert config.memory.momentum == 0.5
  assert config.data.image_size == (256, 128)
  assert config.model.embedding_dim == 2048
  assert config.model.dropout == 0.5


@pytest.mark.parametrize('dataset', ['marx', 'demo,tiny', 'demo,'])
def test_unknown_data_set_after_the_colon(dataset):
  with pytest.raises(ValueError, match=r'after the colon.*market1501'):
    common.base(dataset)


def test_neighbours_that_are_all_images():
  config = ecluster.get_config('folder,small')
  config.train.batch_size = 2
  config.cluster.merge_percent = 0.4
  config.cluster.distance = 'jaccard'
  config_lib.check_num_samples(config, 7)
  with pytest.raises(ValueError, match=r'^cluster\.jaccard_k2: got 6 for 6'):
    config_lib.check_num_samples(config, 6)

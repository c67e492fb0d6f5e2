"""A workdir that an earlier build wrote still resumes and evaluates.

The fixture is a run of 2026-11-26, before rooms became floors: a folder with a
CSV, resnet_tiny without a head, four stages of which two were done. Its
config.json lacks every field that came after it.
"""

import json
import tarfile

import numpy as np
import pytest
import runs

from dbc_jax import FeatureExtractor
from dbc_jax.commands import evaluate
from dbc_jax.run import config as config_lib
from dbc_jax.run import job, workdir

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('one_device')]

FIXTURE = runs.ROOT / 'tests' / 'fixtures' / 'workdir_0_1.tar.xz'


@pytest.fixture
def written(tmp_path):
  """The workdir and the crops of the run, in a folder of their own."""
  with tarfile.open(FIXTURE) as archive:
    archive.extractall(tmp_path, filter='data')
  with np.load(tmp_path / 'images.npz') as saved:
    images = saved['images']
  names = [f'{i:02d}.png' for i in range(len(images))]
  runs.write_images(tmp_path / 'crops', names, images)
  (tmp_path / 'list.csv').rename(tmp_path / 'crops' / 'list.csv')
  return tmp_path


def _config(folder):
  saved = json.loads((folder / 'workdir' / 'config.json').read_text())
  config = config_lib.with_added_fields(saved)
  config.data.root = str(folder / 'crops')
  return config


def _history(folder):
  lines = (folder / 'workdir' / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def test_every_field_that_the_build_lacked_is_in_the_table(written):
  saved = json.loads((written / 'workdir' / 'config.json').read_text())
  now = runs.small_config('folder', '').to_dict()
  lacking = {
    f'{group}.{field}' if isinstance(fields, dict) else group
    for group, fields in now.items()
    for field in (fields if isinstance(fields, dict) else [''])
    if group not in saved
    or (isinstance(fields, dict) and field not in saved[group])
  }
  assert lacking == config_lib.ADDED_FIELDS.keys()
  # And a run of this build would have that value by default.
  for name, value in config_lib.ADDED_FIELDS.items():
    assert config_lib.flat(now)[name] == value


def test_it_resumes(written, caplog):
  before = _history(written)
  with caplog.at_level('INFO', logger='dbc_jax'):
    job.run(_config(written), written / 'workdir')
  assert 'resuming after stage 1 of 3' in caplog.text
  assert caplog.text.count('an earlier build began this run') == 1
  after = _history(written)
  assert after[:2] == before
  assert [record['num_clusters'] for record in after] == [30, 24, 18, 12]
  assert (written / 'workdir' / 'clusters.csv').exists()


def test_another_value_of_a_field_that_it_lacks_is_refused(written):
  config = _config(written)
  config.data.identities_seed = 1
  with pytest.raises(ValueError, match=r'identities_seed: 0 there, 1 given'):
    workdir.check_workdir(written / 'workdir', config)


def test_it_evaluates_and_embeds(written, capsys, monkeypatch):
  monkeypatch.chdir(written)
  arguments = ['--workdir=workdir', '--stage=1', '--save=features.npz']
  evaluate.main([*arguments, '--root=crops'])
  expected = _history(written)[1]
  assert f'mAP       {100 * expected["map"]:6.2f} %' in capsys.readouterr().out
  with np.load('features.npz') as saved:
    arrays = {name: saved[name] for name in saved.files}
  assert arrays['train_labels'].max() + 1 == expected['num_clusters']
  paths = [written / 'crops' / name for name in arrays['train_names']]
  features = FeatureExtractor.from_workdir('workdir', '1')(paths)
  np.testing.assert_allclose(features, arrays['train_features'], atol=2e-6)

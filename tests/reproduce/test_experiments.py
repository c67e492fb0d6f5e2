"""The rows of the experiments: one name, one setting; and what is printed."""

import itertools
import pathlib

import pytest

from dbc_jax.data import GroundTruth
from dbc_jax.reproduce import controls, published
from dbc_jax.reproduce.experiments import EXPERIMENTS, parse_changes, rows_of
from dbc_jax.reproduce.jobs import make_job

WEIGHTS = {'train.init': 'weights.safetensors'}
ALL = [*EXPERIMENTS, 'recipe from weights']


def rows(experiment):
  name, _, weights = experiment.partition(' ')
  return rows_of(name, WEIGHTS if weights else {})


@pytest.mark.parametrize('experiment', ALL)
def test_rows_differ_by_name_by_heading_and_by_setting(experiment):
  found = rows(experiment)
  for field in ('name', 'heading'):
    values = [getattr(row, field) for row in found]
    assert len(set(values)) == len(values), field
  settings = [(r.config, r.kind, sorted(r.changes.items())) for r in found]
  assert all(a != b for a, b in itertools.combinations(settings, 2))
  assert {row.kind for row in found} <= {'run', *controls.KINDS}


def test_one_name_is_one_setting_in_all_experiments():
  settings = {}
  for experiment in ALL:
    for row in rows(experiment):
      setting = row.config, row.kind, row.changes
      assert settings.setdefault(row.name, setting) == setting, row.name
  # The ablation's regularised rows are the stages' and the criteria's.
  names = [{row.name for row in rows(x)} for x in ('ablation', 'stages')]
  assert names[1] < names[0]


@pytest.mark.parametrize('experiment', EXPERIMENTS)
def test_every_row_is_a_config_that_can_run(experiment, tmp_path):
  for row in rows(experiment):
    job = make_job(row, 'demo', 3, tmp_path, {}, GroundTruth())
    assert job.config.seed == 3
    for key, value in row.changes.items():
      group, field = key.split('.')
      if key != 'data.use_cameras':  # Resolved: this data set has none.
        assert job.config[group][field] == value


def test_the_ablation_is_the_papers_table():
  names = [row.name for row in rows('ablation')]
  assert names == [
    *('buc-0', 'buc-0.003', 'dbc-0', 'dbc-0.1', 'ecluster-0', 'ecluster-0.9')
  ]
  assert [published.printed('market1501', name) for name in names] == [
    '62.9 / 33.8',
    '66.2 / 38.3 (corrected 61.9 / 29.6)',
    '66.2 / 38.7',
    '69.2 / 41.3',
    '68.5 / 40.7',
    '70.2 / 43.0',
  ]
  assert published.printed('mars', 'ecluster-0.9') == ''
  assert published.printed('demo', 'buc-0') == ''


def test_fields_are_read_as_python_or_as_text():
  assert parse_changes(
    ['train.batch_size=8', 'data.root=a=b', 'data.image_size=(64, 32)']
  ) == {
    'train.batch_size': 8,
    'data.root': 'a=b',
    'data.image_size': (64, 32),
  }
  (row,) = (x for x in rows('stages') if x.name == 'ecluster-0.9')
  changes = parse_changes(['data.use_cameras=False'])
  job = make_job(row, 'demo', 0, pathlib.Path('w'), changes, GroundTruth())
  assert job.config.data.use_cameras == 'False'
  with pytest.raises(ValueError, match=r'the row ecluster-0\.9 sets it itself'):
    make_job(
      row,
      'demo',
      0,
      pathlib.Path('w'),
      {'cluster.reg_weight': 0.5},
      GroundTruth(),
    )
  with pytest.raises(ValueError, match='seed: expected a value'):
    parse_changes(['seed'])

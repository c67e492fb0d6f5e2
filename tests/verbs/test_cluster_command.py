"""The clusters of a file of features, as a user gets them."""

import csv

import numpy as np
import pytest

from dbc_jax.cluster import BottomUpClustering
from dbc_jax.commands import cluster
from dbc_jax.devices import mesh


@pytest.fixture
def file(tmp_path):
  rng = np.random.default_rng(0)
  centres = 3 * rng.standard_normal((8, 6))
  features = np.repeat(centres, 10, axis=0) + 0.2 * rng.standard_normal((80, 6))
  features = (5 * features).astype(np.float32)  # Of any length.
  path = tmp_path / 'f.npz'
  np.savez(path, features=features, paths=[f'{i:02d}.png' for i in range(80)])
  return path


def rows(path):
  with path.open(newline='') as file:
    return [*csv.DictReader(file)]


def test_clusters_are_the_estimators(file, tmp_path, capsys):
  out = tmp_path / 'c.csv'
  cluster.main([f'--features={file}', f'--out={out}', '--num_clusters=8'])
  assert '8 clusters of 80 rows' in capsys.readouterr().out
  found = {row['path']: int(row['cluster']) for row in rows(out)}
  features = np.load(file)['features']
  features /= np.linalg.norm(features, axis=1, keepdims=True)
  expected = BottomUpClustering(8, reg_weight=0.002, metric='jaccard').fit(
    features
  )
  assert [found[f'{i:02d}.png'] for i in range(80)] == expected.labels_.tolist()
  assert all(-1 <= float(row['silhouette']) <= 1 for row in rows(out))


def test_without_a_number_it_is_chosen(file, tmp_path):
  out = tmp_path / 'c.csv'
  cluster.main([f'--features={file}', f'--out={out}', '--distance=euclidean'])
  labels = {}
  for row in rows(out):
    labels.setdefault(int(row['path'][:2]) // 10, set()).add(row['cluster'])
  # Ten images each lie together, eight times.
  assert sum(len(each) == 1 for each in labels.values()) >= 7


def test_the_default_budget_is_what_is_free(file, tmp_path, monkeypatch):
  monkeypatch.setattr(mesh, 'free_memory', lambda: 2e5)
  with pytest.raises(SystemExit, match=r'_gb: got 0\.0002.* what is free now'):
    cluster.main([f'--features={file}', f'--out={tmp_path}/c.csv'])


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--num_clusters=80'], 'got 80, expected 1 or more and less than the 80'),
    (['--num_clusters=0'], 'got 0'),
    (
      ['--memory_budget_gb=0.0001'],
      r'--memory_budget_gb: .*on 80 samples.*; --distance=euclidean',
    ),
    (
      ['--memory_budget_gb=0.0001', '--distance=euclidean'],
      '--memory_budget_gb: .*on 80 samples',
    ),
    (['--memory_budget_gb=0'], '--memory_budget_gb: got 0, expected more'),
    (['--criterion=avarage'], "--criterion: got 'avarage'"),
    (['--reg_weight=-1'], '--reg_weight: got'),
    (['--out={tmp}', '--overwrite'], '--out: .* is a folder; name a file'),
    (['--features={tmp}'], 'is a folder; name a file'),
    (['--out={tmp}/no/c.csv'], 'there is no folder'),
    (['--out={file}'], '--overwrite replaces it'),
    (['--features={tmp}/no.npz'], 'does not exist'),
  ],
)
def test_bad_input_is_one_line(arguments, message, file, tmp_path):
  arguments = [each.format(tmp=tmp_path, file=file) for each in arguments]
  with pytest.raises(SystemExit, match=message) as error:
    cluster.main(
      [f'--features={file}', f'--out={tmp_path / "c.csv"}', *arguments]
    )
  assert str(error.value).startswith('Error: ')
  assert not (tmp_path / 'c.csv').exists()


@pytest.mark.parametrize('distance', ['jaccard', 'euclidean'])
@pytest.mark.parametrize('number', [['--num_clusters=8'], []])
def test_corrections_hold(distance, number, file, tmp_path, capsys):
  """Two persons are one, and one of another is two."""
  said = tmp_path / 'said.csv'
  said.write_text('00.png,10.png,same\n20.png,21.png,different\n')
  out = tmp_path / 'c.csv'
  given = [f'--features={file}', f'--out={out}', f'--distance={distance}']
  cluster.main([*given, *number, f'--corrections={said}'])
  found = {row['path']: int(row['cluster']) for row in rows(out)}
  assert found['00.png'] == found['10.png']
  assert found['20.png'] != found['21.png']
  if number:
    assert len({*found.values()}) == 8
    assert 'no way' not in capsys.readouterr().out


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('00.png,10.png\n', 'line 1: expected a,b,same'),
    ('00.png,x.png,same\n', r'1 of its names are of no row .* x\.png'),
    ('00.png,x.png,maybe\n', 'expected same or different'),
    ('00.png,10.png,same\n10.png,00.png,different\n', 'contradict'),
    (None, r'Error: --corrections: .* is no file'),
  ],
)
def test_bad_corrections_are_told_in_one_line(text, message, file, tmp_path):
  said, out = tmp_path / 'said.csv', tmp_path / 'c.csv'
  if text is not None:
    said.write_text(text)
  with pytest.raises(SystemExit, match=message) as told:
    cluster.main(
      [f'--features={file}', f'--out={out}', f'--corrections={said}']
    )
  assert '\n' not in str(told.value)
  assert not out.exists()

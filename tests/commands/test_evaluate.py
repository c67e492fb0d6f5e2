"""The command: its table and its rows are those of the library's functions."""

import csv
import json
import re

import numpy as np
import pytest

from dbc_jax import evaluation
from dbc_jax.commands import evaluate

NAMES = [
  f'{side}_{what}'
  for what in ('features', 'pids', 'camids')
  for side in ('query', 'gallery')
]


@pytest.fixture
def arrays():
  rng = np.random.default_rng(0)
  people = rng.standard_normal((6, 5))
  pids = rng.integers(0, 6, 20), rng.integers(-1, 6, 50)
  return dict(
    zip(
      NAMES,
      [
        *(people[p] + rng.standard_normal((len(p), 5)) for p in pids),
        *pids,
        rng.integers(0, 3, 20),
        rng.integers(0, 3, 50),
      ],
      strict=True,
    )
  )


@pytest.fixture
def path(arrays, tmp_path):
  np.savez(tmp_path / 'f.npz', **arrays)
  return tmp_path / 'f.npz'


def printed(capsys):
  """The table of percentages."""
  rows = re.findall(r'^(\S.*?) +([\d.]+) %$', capsys.readouterr().out, re.M)
  return {name: float(value) for name, value in rows}


def table(scores):
  names = {'map': 'mAP', 'map_trapz': 'mAP trapz', 'minp': 'mINP'}
  names |= {f'rank{k}': f'rank-{k}' for k in (1, 2, 5, 10, 20)}
  return {
    names[key]: round(100 * value, 2)
    for key, value in scores.items()
    if key in names
  }


def test_table(path, arrays, capsys):
  evaluate.main([f'--features={path}'])
  given = [arrays[name] for name in NAMES]
  assert printed(capsys) == table(evaluation.rank_features(*given))
  options = ['--camera_rule=False', '--protocol=cuhk03', '--seed=3']
  evaluate.main([f'--features={path}', *options, '--ranks=1,2'])
  expected = evaluation.rank_features(
    *given, camera_rule=False, protocol='cuhk03', seed=3, ranks=(1, 2)
  )
  assert printed(capsys) == table(expected)


def test_averages_come_before_re_ranking(path, arrays, capsys):
  options = ['--multi_query', '--query_expansion=2', '--alpha=1.5', '--rerank']
  evaluate.main([f'--features={path}', *options])
  queries, pids, camids = evaluation.pool_queries(
    *(arrays[f'query_{what}'] for what in ('features', 'pids', 'camids'))
  )
  gallery = arrays['gallery_features']
  queries = evaluation.expand_queries(queries, gallery, k=2, alpha=1.5)
  expected = evaluation.evaluate_ranking(
    evaluation.rerank_distances(queries, gallery),
    pids,
    arrays['gallery_pids'],
    camids,
    arrays['gallery_camids'],
  )
  assert printed(capsys) == table(expected)


def test_rows_of_queries(path, arrays, tmp_path, capsys):
  out = tmp_path / 'queries.csv'
  evaluate.main([f'--features={path}', f'--per_query={out}'])
  with out.open(newline='') as file:
    rows = list(csv.DictReader(file))
  mean = 100 * np.mean([float(row['ap']) for row in rows])
  assert printed(capsys)['mAP'] == round(mean, 2)
  for row in rows:
    assert int(row['pid']) == arrays['query_pids'][int(row['query_index'])]


def test_scores_for_a_program(path, tmp_path, capsys):
  out = tmp_path / 'scores.json'
  evaluate.main([f'--features={path}', f'--json={out}'])
  scores = json.loads(out.read_text())
  assert round(100 * scores['map'], 2) == printed(capsys)['mAP']
  assert scores['num_valid_queries'] > 0
  assert scores['protocol'] == 'market1501'
  assert scores['camera_rule'] is True


def test_names_of_other_queries(path, arrays):
  np.savez(path, **arrays, query_names=np.array(['a', 'b']))
  with pytest.raises(SystemExit, match='2 query_names for'):
    evaluate.main([f'--features={path}'])


def test_cameras_may_be_missing_without_their_rule(path, arrays, capsys):
  np.savez(path, **{name: arrays[name] for name in NAMES[:4]})
  with pytest.raises(
    SystemExit,
    match=r'lacks query_camids, gallery_camids; it has .*camera_rule=False',
  ):
    evaluate.main([f'--features={path}'])
  evaluate.main([f'--features={path}', '--camera_rule=False'])
  assert 'camera rule off' in capsys.readouterr().out


def test_missing_arrays_are_listed(path, arrays):
  np.savez(path, features=np.ones(3), query_pids=arrays['query_pids'])
  message = (
    'f.npz: lacks query_features, query_camids, gallery_features, '
    'gallery_pids, gallery_camids; it has features, query_pids$'
  )
  with pytest.raises(SystemExit, match=message):
    evaluate.main([f'--features={path}'])


@pytest.mark.parametrize(
  ('change', 'options', 'message'),
  [
    (
      {'query_features': np.full((20, 5), np.nan)},
      [],
      'query_features: 20 of 20 rows hold NaN',
    ),
    (
      {'query_pids': np.ones(3, int)},
      [],
      r'query_pids: got .*, expected \(20,\)',
    ),
    ({'query_pids': np.full(20, 9)}, [], 'None of the identities'),
    (
      {'query_camids': np.ones(20, int), 'gallery_camids': np.ones(50, int)},
      [],
      'pass --camera_rule=False',
    ),
    ({}, ['--ranks=1,100'], 'ranks: got 100, but the gallery has 4. entries'),
    (
      {},
      ['--query_expansion=0'],
      r'k: got .*, expected a whole number in 1\.\.50',
    ),
    ({}, ['--alpha=2'], '--alpha is read with --query_expansion=K only'),
    ({}, ['--per_query=none/o.csv'], '--per_query: no folder none'),
    ({'query_pids': np.array([{}])}, [], 'expected an .npz of plain arrays'),
  ],
)
def test_errors_are_one_line(change, options, message, path, arrays):
  np.savez(path, **arrays | change)
  with pytest.raises(SystemExit, match=f'^Error: [^\n]*{message}[^\n]*$'):
    evaluate.main([f'--features={path}', *options])


@pytest.mark.parametrize('content', [b'', b'text', b'PK\3\4 cut off'])
def test_other_files(content, tmp_path):
  path = tmp_path / 'f.npz'
  path.write_bytes(content)
  with pytest.raises(SystemExit, match=r'f\.npz: expected an .npz of plain'):
    evaluate.main([f'--features={path}'])
  np.save(tmp_path / 'f.npy', np.ones(3))
  with pytest.raises(SystemExit, match=r'f\.npy: expected an .npz of plain'):
    evaluate.main([f'--features={tmp_path}/f.npy'])
  with pytest.raises(SystemExit, match=r'none\.npz: there is no such file'):
    evaluate.main([f'--features={tmp_path}/none.npz'])

"""Which runs each experiment has: rows of settings, each named once."""

import ast
from collections.abc import Mapping
from typing import Any, NamedTuple


class Row(NamedTuple):
  """Runs that differ by their seed alone.

  Attributes:
    name: of the row and its folders. One name is one setting in all
      experiments, so that they share runs.
    heading: in tables.
    config: name of a config of the package.
    changes: of its fields, by dotted names.
    kind: 'run', or one of `controls.KINDS`.
    curve: of a figure over `at`: which line the row is a point of.
    at: where there.
  """

  name: str
  heading: str
  config: str
  changes: Mapping[str, Any] = {}
  kind: str = 'run'
  curve: str = ''
  at: float = 0.0


# Each criterion's lambda in its config.
_OWN = {'buc': 0.003, 'dbc': 0.1, 'ecluster': 0.9, 'estat': 0.1}
_TITLES = {
  'buc': 'BUC',
  'dbc': 'DBC',
  'ecluster': 'E-cluster',
  'estat': 'estat',
}
# Around the values that DBC's Fig. 4 and E-cluster's Fig. 6 found best.
_LAMBDAS = {
  'dbc': (0.0, 0.01, 0.05, 0.1, 0.3, 0.5, 1.0),
  'ecluster': (0.0, 0.1, 0.3, 0.6, 0.9, 1.2, 2.0),
}
_MERGE_PERCENTS = (0.02, 0.05, 0.1, 0.2)

EXPERIMENTS = {
  'ablation': 'each criterion without and with its regulariser (DBC, Table II; '
  'E-cluster, Table 1)',
  'lambda': 'the weight of the regulariser (DBC, Fig. 4; E-cluster, Fig. 6)',
  'stages': 'the criteria stage by stage (DBC, Fig. 5; E-cluster, Fig. 5)',
  'merge_percent': 'how many merges a stage has',
  'criteria': 'all criteria, and training with identities beside them',
  'leak': "BUC's first memory, with files by identity and without",
  'recipe': 'each part left out of configs/best.py, or of '
  'configs/pretrained.py where train.init is a file',
}


def rows_of(experiment: str, changes: Mapping[str, Any]) -> list[Row]:
  """The rows of an experiment, in the order of its table.

  Args:
    experiment: a key of EXPERIMENTS.
    changes: of fields, in all runs.
  """
  own = [_row(name) for name in ('buc', 'dbc', 'ecluster')]
  if experiment == 'ablation':
    names = ('buc', 'dbc', 'ecluster')
    return [
      _row(name, weight) for name in names for weight in (0.0, _OWN[name])
    ]
  if experiment == 'lambda':
    return [
      _row(name, weight)._replace(curve=_TITLES[name], at=weight)
      for name, weights in _LAMBDAS.items()
      for weight in weights
    ]
  if experiment == 'stages':
    return own
  if experiment == 'merge_percent':
    return [_merging(percent) for percent in _MERGE_PERCENTS]
  if experiment == 'criteria':
    return [*own, _row('estat'), *_averages(), _SUPERVISED]
  if experiment == 'leak':
    return _leaks()
  return _recipe(str(changes.get('train.init', '')))


def _row(name: str, weight: float | None = None) -> Row:
  weight = _OWN[name] if weight is None else weight
  heading = f'{_TITLES[name]}, lambda {weight:g}'
  if not weight:
    heading = f'{_TITLES[name]} without regulariser'
  return Row(
    f'{name}-{weight:g}', heading, name, {'cluster.reg_weight': weight}
  )


def _merging(percent: float) -> Row:
  row = _row('ecluster')._replace(curve='E-cluster', at=percent)
  if percent == 0.05:
    return row
  return row._replace(
    name=f'{row.name}-merge{percent:g}',
    heading=f'{row.heading}, merge_percent {percent:g}',
    changes={**row.changes, 'cluster.merge_percent': percent},
  )


def _averages() -> list[Row]:
  average = {'cluster.criterion': 'average', 'cluster.reg_weight': 0.0}
  jaccard = average | {
    'cluster.reg_weight': 0.002,
    'cluster.distance': 'jaccard',
    'cluster.jaccard_k1': 20,
    'cluster.jaccard_k2': 3,
  }
  return [
    Row('average-0', 'average linkage', 'ecluster', average),
    Row('average-jaccard', 'average, Jaccard distances', 'ecluster', jaccard),
  ]


_SUPERVISED = Row(
  'supervised', 'trained with identities', 'ecluster', {}, 'supervised'
)


def _leaks() -> list[Row]:
  # The plain loop of the studies in docs/leak.md.
  changes = {'train.later_decay': False}
  headings = {
    'true_hashed': 'memory of the current clusters, hashed order',
    'stale_hashed': 'memory of the clusters before, hashed order',
    'true_sorted': 'memory of the current clusters, order by identity',
    'stale_sorted': 'memory of the clusters before, order by identity',
  }
  return [
    Row(f'leak-{kind}', heading, 'ecluster', changes, kind)
    for kind, heading in headings.items()
  ]


def _recipe(init: str) -> list[Row]:
  if init not in ('', 'random', 'self_supervised'):
    parts = {
      'as it is': {},
      'without cameras': {'data.use_cameras': 'False'},
      'DBSCAN, eps 0.5': {'cluster.cut': 'dbscan'},
      'all images placed': {
        'cluster.cut': 'geometric',
        'cluster.share': _SHARE,
      },
      'no neck': {'model.neck': False},
      'mean pooling': {'model.pooling': 'mean'},
      'last stride 2': {'model.last_stride': 2},
      'no erasing': {'data.erasing': 0.0},
      '4 images a cluster': {'train.images_per_cluster': 4},
      'mean update': {'memory.update_by': 'mean'},
    }
    config = 'pretrained'
  else:
    parts = {
      'as it is': {},
      'without cameras': {'data.use_cameras': 'False'},
      'no camera statistics': {'data.camera_statistics': False},
      'no rows by camera': {'train.objective': 'memory'},
      'all images placed': {
        'cluster.cut': 'geometric',
        'cluster.share': _SHARE,
      },
      'no stripes': {'model.parts': 1},
      'no head': {'model.head_layers': 0, 'model.dropout': 0.0},
      'no warm-up': {'train.init': 'random'},
      'constant rate': {'train.run_decay': False},
    }
    config = 'best'
  rows = [
    Row(_folder(config, heading), heading, config, changes)
    for heading, changes in parts.items()
  ]
  supervised = _SUPERVISED._replace(name=f'{config}-supervised', config=config)
  return [*rows, supervised]


_SHARE = (0.3, 0.1)


def _folder(config: str, heading: str) -> str:
  if heading == 'as it is':
    return config
  return f'{config}-{heading}'.replace(' ', '_').replace(',', '')


def parse_changes(texts: list[str]) -> dict[str, Any]:
  """['train.batch_size=8'] as {'train.batch_size': 8}.

  Raises:
    ValueError: one has no '='.
  """
  changes = {}
  for text in texts:
    key, equals, value = text.partition('=')
    if not equals:
      raise ValueError(
        f'--config.{key}: expected a value, as in --config.{key}=VALUE'
      )
    try:
      changes[key] = ast.literal_eval(value)
    except (ValueError, SyntaxError):
      changes[key] = value
  return changes

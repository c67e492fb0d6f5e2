"""Public functions of the library, each with arguments that are fine."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from dbc_jax import (
  FeatureExtractor,
  cluster,
  evaluation,
  export,
  memory,
  models,
  verbs,
)
from dbc_jax import data as data_lib


class Call(NamedTuple):
  """A public function and arguments that are fine."""

  name: str
  function: Callable[..., Any]
  arguments: dict[str, Any]


def calls(folder: Path) -> Iterator[Call]:
  """The public functions, each with fine arguments; files go to a folder."""
  from dbc_jax import (
    cluster,
  )

  rng = np.random.default_rng(0)
  features = rng.normal(size=(12, 4)).astype(np.float32)
  features /= np.linalg.norm(features, axis=1, keepdims=True)
  labels = (np.arange(12) // 2).astype(np.int32)
  camids = (np.arange(12) % 3).astype(np.int32)
  distances = np.asarray(cluster.pairwise_distances(features))
  linkage = np.asarray(cluster.mean_linkage(distances, labels, 6))
  criterion = cluster.Criterion('average', 0.1)
  merged = cluster.merge_clusters(features, np.arange(12), 11, criterion)
  links = np.array([[0, 3]])
  x = {'features': features, 'labels': labels}
  d = {'distances': distances, 'labels': labels, 'num_clusters': 6}
  for name, function, arguments in (
    (
      'pairwise_distances',
      cluster.pairwise_distances,
      {'features': features, 'squared': False, 'block_size': 4},
    ),
    (
      'jaccard_distances',
      cluster.jaccard_distances,
      {'features': features, 'k1': 5, 'k2': 2},
    ),
    ('mean_linkage', cluster.mean_linkage, d),
    ('min_linkage', cluster.min_linkage, d),
    (
      'dispersion_matrix',
      cluster.dispersion_matrix,
      {
        'mean_linkage': linkage,
        'sizes': np.bincount(labels),
        'reg_weight': 0.1,
        'intra': 'sum',
      },
    ),
    (
      'energy_distance_matrix',
      cluster.energy_distance_matrix,
      {'mean_linkage': linkage},
    ),
    (
      'sum_squared_deviations',
      cluster.sum_squared_deviations,
      x | {'num_clusters': 6},
    ),
    (
      'Criterion',
      cluster.Criterion,
      {
        'name': 'dbc',
        'reg_weight': 0.1,
        'intra': 'sum',
        'update': 'exact',
        'ssd': 'sum',
        'merge': 'sequential',
        'squared': False,
      },
    ),
    (
      'criterion_matrix',
      cluster.criterion_matrix,
      {'criterion': criterion, **x, 'num_clusters': 6, 'distances': distances},
    ),
    (
      'merge_clusters',
      cluster.merge_clusters,
      {
        **x,
        'num_merges': 3,
        'criterion': criterion,
        'distances': distances,
        'must_link': links,
        'cannot_link': links + 1,
        'memory_budget_gb': 1.0,
      },
    ),
    (
      'merge_clusters',
      cluster.merge_clusters,
      {**x, 'num_merges': 3, 'criterion': cluster.Criterion('ecluster', 0.1)},
    ),
    (
      'to_scipy_linkage',
      cluster.to_scipy_linkage,
      {'result': merged, 'heights': 'order'},
    ),
    (
      'validity_indices',
      cluster.validity_indices,
      {**x, 'sample_size': 10, 'seed': 0},
    ),
    (
      'choose_clustering',
      cluster.choose_clustering,
      {'indices': [cluster.validity_indices(features, labels)], 'share': 0.8},
    ),
    (
      'choose_engine',
      cluster.choose_engine,
      {
        'criterion': criterion,
        'shape': (12, 4),
        'num_clusters': 12,
        'given_distances': False,
        'num_forbidden': 0,
        'memory_budget_gb': 1.0,
      },
    ),
    (
      'center_cameras',
      cluster.center_cameras,
      {'features': features, 'camids': camids},
    ),
    ('simplified_silhouettes', cluster.simplified_silhouettes, x),
    (
      'mean_linkage',
      _linkage_of,
      {'features': features, 'squared': False, 'labels': labels},
    ),
    (
      'BottomUpClustering',
      _fit_estimator(features),
      {
        'n_clusters': 3,
        'criterion': 'average',
        'reg_weight': 0.1,
        'metric': 'jaccard',
        'jaccard_k1': 5,
        'jaccard_k2': 2,
        'memory_budget_gb': 1.0,
      },
    ),
  ):
    yield Call(f'cluster.{name}', function, arguments)

  pids = labels
  sides = {
    'query_features': features, 'gallery_features': features[::-1].copy(),
    'query_pids': pids, 'gallery_pids': pids[::-1].copy(),
    'query_camids': camids, 'gallery_camids': camids[::-1].copy(),
  }  # fmt: skip
  options = {
    'ranks': [1, 5],
    'camera_rule': True,
    'protocol': 'market1501',
    'seed': 0,
    'per_query': False,
  }
  both = {k: sides[k] for k in ('query_features', 'gallery_features')}
  ids = {k: sides[k] for k in sides if k not in both}
  many_labels = (np.arange(40) // 4).astype(np.int32)
  many = rng.normal(size=(10, 4))[many_labels] + rng.normal(0, 0.2, (40, 4))
  many = (many / np.linalg.norm(many, axis=1, keepdims=True)).astype(np.float32)
  calibration = evaluation.calibrate_pairs(many, many_labels)
  assigner = evaluation.learn_assignment(many, many_labels)
  for name, function, arguments in (
    (
      'rank_features',
      evaluation.rank_features,
      {**sides, **options, 'chunk_size': 5},
    ),
    (
      'evaluate_ranking',
      evaluation.evaluate_ranking,
      {'distances': distances, **ids, **options},
    ),
    (
      'rerank_distances',
      evaluation.rerank_distances,
      {**both, 'k1': 4, 'k2': 2, 'distance_weight': 0.3},
    ),
    (
      'expand_queries',
      evaluation.expand_queries,
      {**both, 'k': 2, 'alpha': 1.0},
    ),
    (
      'pool_queries',
      evaluation.pool_queries,
      {'features': features, 'pids': pids, 'camids': camids},
    ),
    (
      'clustering_scores',
      evaluation.clustering_scores,
      {'labels': labels, 'pids': pids},
    ),
    ('cluster_sizes', evaluation.cluster_sizes, {'labels': labels}),
    (
      'calibrate_pairs',
      evaluation.calibrate_pairs,
      {
        'features': many,
        'labels': many_labels,
        'leeway': 3.0,
        'num_pairs': 1000,
        'seed': 0,
      },
    ),
    (
      'PairCalibration.probability',
      calibration.probability,
      {'distances': np.array([0.5, 1.0]), 'prior': 0.5},
    ),
    (
      'learn_assignment',
      evaluation.learn_assignment,
      {'features': many, 'labels': many_labels},
    ),
    ('Assigner', assigner, {'features': features, 'false_match_rate': 0.1}),
  ):
    yield Call(f'evaluation.{name}', function, arguments)

  table = features[:6]
  for name, function, arguments in (
    ('memory_loss', memory.memory_loss,
     {'memory': table, 'embeddings': features, 'labels': labels,
      'temperature': 0.1, 'num_clusters': 6}),
    ('memory_accuracy', memory.memory_accuracy,
     {'memory': table, 'embeddings': features, 'labels': labels,
      'num_clusters': 6}),
    ('update_memory', memory.update_memory,
     {'memory': table, 'embeddings': features, 'labels': labels,
      'momentum': 0.5, 'by': 'mean'}),
    ('init_memory', memory.init_memory,
     {'embeddings': features, 'labels': labels, 'num_clusters': 6,
      'capacity': 8}),
  ):  # fmt: skip
    yield Call(f'memory.{name}', function, arguments)

  extractor = FeatureExtractor.demo()
  variables = {'params': {'a': features}}
  weights, saved = folder / 'weights.npz', folder / 'features.npz'
  models.save_npz(weights, variables)
  embedded = verbs.Embedded(features, [str(i) for i in range(12)])
  verbs.write_features(saved, embedded)
  names = [f'{i}.png' for i in range(3)]
  for name in names:
    image = rng.integers(0, 256, (32, 16, 3)).astype(np.uint8)
    Image.fromarray(image).save(folder / name)
  items = [str(folder / name) for name in names]
  for name, function, arguments in (
    (
      'create_encoder',
      models.create_encoder,
      {
        'name': 'resnet_tiny',
        'embedding_dim': 8,
        'head_layers': 1,
        'dropout': 0.5,
        'last_stride': 2,
        'frozen_stages': 0,
        'pooling': 'mean',
        'neck': False,
        'parts': 1,
        'parts_and_global': False,
        'dtype': 'float32',
      },
    ),
    ('find_family', models.find_family, {'name': 'resnet50'}),
    ('frozen_prefixes', models.frozen_prefixes, {'frozen_stages': 1}),
    (
      'load_pretrained',
      models.load_pretrained,
      {'path': weights, 'variables': variables},
    ),
    ('network_of', models.network_of, {'path': weights}),
    (
      'save_npz',
      models.save_npz,
      {'path': folder / 'new.npz', 'variables': variables},
    ),
  ):
    yield Call(f'models.{name}', function, arguments)
  for name, function, arguments in (
    ('find_reader', data_lib.find_reader, {'name': 'market1501'}),
    (
      'load_dataset',
      data_lib.load_dataset,
      {'name': 'folder', 'root': folder, 'tracklets': False, 'pattern': '*'},
    ),
    ('samples_of', data_lib.samples_of, {'items': items}),
    (
      'load_images',
      data_lib.load_images,
      {'samples': data_lib.samples_of(items), 'size': (8, 4)},
    ),
  ):
    yield Call(f'data.{name}', function, arguments)
  sources = verbs.find_sources(folder / '0.png')
  run, network = extractor.run, export.network_of_run(extractor.run)
  for name, function, arguments in (
    ('FeatureExtractor', extractor, {'items': items}),
    ('FeatureExtractor.from_workdir', FeatureExtractor.from_workdir,
     {'workdir': Path('demo'), 'stage': 'chosen'}),
    ('FeatureExtractor.from_pretrained', FeatureExtractor.from_pretrained,
     {'folder': folder}),
    ('verbs.find_sources', verbs.find_sources,
     {'where': folder, 'tracklets': False, 'pattern': '*'}),
    ('verbs.embed', verbs.embed,
     {'extractor': extractor, 'sources': sources}),
    ('verbs.read_features', verbs.read_features, {'path': saved}),
    ('verbs.write_features', verbs.write_features,
     {'path': folder / 'again.npz', 'embedded': embedded}),
    ('verbs.search', verbs.search,
     {'queries': features, 'gallery': many, 'top': 3,
      'calibration': calibration, 'prior': 0.5}),
    ('verbs.assign', verbs.assign,
     {'assigner': assigner, 'names': names, 'features': features[:3],
      'criterion': criterion, 'false_match_rate': 0.1, 'first_new': 10}),
    ('verbs.first_free', verbs.first_free,
     {'workdir': folder, 'numbers': labels}),
    ('export.require', export.require, {'package': 'onnx'}),
    ('export.network_of_run', export.network_of_run, {'run': run}),
    ('export.read_stablehlo', export.read_stablehlo,
     {'path': folder / 'a.stablehlo'}),
    ('export.write_onnx', export.write_onnx,
     {'path': folder / 'a.onnx', 'network': network,
      'use': 'own', 'metadata': {'a': 'b'}}),
    ('export.write_safetensors', export.write_safetensors,
     {'path': folder / 'a.safetensors',
      'network': network, 'metadata': {}}),
  ):  # fmt: skip
    yield Call(name, function, arguments)


def _linkage_of(features: Any, squared: Any, labels: Any) -> Any:
  source = cluster.EuclideanDistances(features, squared)
  return cluster.mean_linkage(source, labels, 6)


def _fit_estimator(features: np.ndarray) -> Callable[..., Any]:
  """Parameters to labels; scikit-learn checks the data."""

  def fit(**options: Any) -> np.ndarray:
    return cluster.BottomUpClustering(**options).fit_predict(features)

  return fit

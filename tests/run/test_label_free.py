"""No identity reaches training: by types, by what is reachable, by tripwires.

test_job.py has whole runs of the plain method on other names and orders.
"""

import dataclasses
import functools
import gc
import pathlib
import sys
import types
import typing

import jax
import numpy as np
import pytest
import runs

from dbc_jax import evaluation
from dbc_jax import memory as memory_lib
from dbc_jax.data import augment as augment_lib
from dbc_jax.data import load_dataset, pipeline
from dbc_jax.data import samples as samples_lib
from dbc_jax.devices import mesh
from dbc_jax.run import build, checkpoint, job, ranked
from dbc_jax.run import merger as merger_lib
from dbc_jax.run import stage as stage_lib
from dbc_jax.training import embed, fit, optim
from dbc_jax.training import step as step_lib
from dbc_jax.training.objectives import camera_proxies, contrastive, memory

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('one_device')]

HOLDERS = {samples_lib.GroundTruth, samples_lib.Dataset, samples_lib.Samples}
HOLDERS |= {pipeline.LoadedDataset}
# Words in the names of parameters that would say who, or where, somebody is.
IDENTITY = {'pid', 'pids', 'names', 'paths', 'truth', 'identities', 'dataset'}
IDENTITY |= {'times', 'moments'}
CAMERA = {'camid', 'camids', 'cameras'}
RUNNER = stage_lib.StageRunner
OBJECTIVES = (memory.MemoryObjective, contrastive.ContrastiveObjective)
PROXIES = camera_proxies.CameraProxies
# All that trains, embeds or merges, where it is called from.
STEPS = [
  *((RUNNER, name) for name in ('warm_up', 'first_state', '_train')),
  *((owner, n) for owner in OBJECTIVES for n in ('start', 'loss', 'after')),
  *((PROXIES, n) for n in ('start_proxies', 'loss', 'after')),
  (fit.Trainer, 'fit'),
  (step_lib.Step, 'start'),
  (step_lib.Step, '__call__'),
  (merger_lib.Merger, '__call__'),
  (build, 'two_views'),
]
# What makes the functions that are called: compiled steps, the extraction.
MAKERS = [(mesh, 'parallel_update'), (embed, 'make_extractor')]
STATES = [(stage_lib, 'RunState'), (step_lib, 'TrainState')]
LOAD = pipeline.load_splits
# Names and, by what they are of, columns of the truth, those of training first;
# and what was called in the watched run. Globals: what a watch holds in
# a closure could itself be reached.
SECRETS: dict[str, list] = {}
CALLED: set[str] = set()


@pytest.fixture(scope='module')
def watched(tmp_path_factory, market):
  """The arrays of a run in which every step was watched."""
  workdir = tmp_path_factory.mktemp('watched')
  with pytest.MonkeyPatch.context() as monkeypatch:
    runs.one_device(monkeypatch)
    monkeypatch.setattr(pipeline, 'load_splits', _load_and_remember)
    for owner, name in STEPS + MAKERS:
      watch = _watched if (owner, name) in STEPS else _makes_watched
      label = f'{owner.__name__}.{name}'
      monkeypatch.setattr(owner, name, watch(getattr(owner, name), label))
    _run(
      market,
      tmp_path_factory.mktemp('proxies'),
      **{
        'train.objective': 'camera_proxies',
        'train.stage0_epochs': 0,
        'train.num_stages': 1,
        'train.images_per_cluster': 2,
        'cluster.cut': 'core',
        'cluster.min_size': 2,
      },
    )
    return _run(market, workdir)


def _run(root, workdir, **fields):
  """Two stages, with all that a config can put before and between them."""
  config = runs.small_config('market1501', root)
  config.train.init = 'self_supervised'
  config.train.warmup_epochs = 1
  config.cluster.update(merge_percent=0.4, camera_centring=True)
  config.cluster.update(distance='jaccard', jaccard_k1=8)
  config.update_from_flattened_dict(fields)
  job.run(config, workdir)
  store = checkpoint.CheckpointStore(workdir / 'checkpoints')
  return store.restore_as_saved(store.latest_stage())


def _assert_same(*trees):
  jax.tree.map(np.testing.assert_array_equal, *trees)


def _load_and_remember(dataset, truth, **options):
  loaded = LOAD(dataset, truth, **options)
  splits = dataset.train, dataset.query, dataset.gallery
  columns = {'pids': [], 'camids': [], 'frames': [], 'times': []}
  for each in (truth, loaded.truth):
    for field in dataclasses.fields(each):
      columns[field.name.split('_')[1]].append(getattr(each, field.name))
  names = [pathlib.Path(name).name for each in splits for name in each.names]
  SECRETS.update(columns, names=names)
  return loaded


def _watched(function, label):
  @functools.wraps(function)
  def call(*args, **kwargs):
    given = [*args, *kwargs.values()]
    assert not _leaks(given, cameras=label == 'Merger.__call__'), label
    CALLED.add(label)
    return function(*args, **kwargs)

  return call


def _makes_watched(make, label):
  return lambda *args, **kwargs: _watched(make(*args, **kwargs), label)


def _reachable(roots, stop):
  """Everything that the garbage collector finds from some objects.

  Attributes, items, closures, defaults, bound objects; but for types, modules
  and what functions see as globals.
  """
  modules = [vars(module) for module in [*sys.modules.values()] if module]
  seen, todo = {*map(id, modules), *map(id, stop)}, [*roots]
  while todo:
    found = todo.pop()
    if id(found) in seen or isinstance(found, type | types.ModuleType):
      continue
    seen.add(id(found))
    yield found
    todo += gc.get_referents(found)
    if isinstance(found, np.ndarray):
      todo += [found.base, *(found.flat if found.dtype == object else ())]


def _leaks(roots, *, cameras=False, stop=()):
  """Secrets in reach of some objects."""
  columns = SECRETS['pids'] + ([] if cameras else SECRETS['camids'])
  count = len(columns[0])
  groups = {_groups(x.tolist()) for x in columns if len(x) == count}
  moments = [x for x in SECRETS['frames'] + SECRETS['times'] if x is not None]
  leaks = set()
  for found in _reachable(roots, stop):
    if type(found) in HOLDERS:
      leaks.add(type(found).__name__)
    elif isinstance(found, str):
      leaks |= {name for name in SECRETS['names'] if name in found}
    elif isinstance(found, np.ndarray) and any(
      np.may_share_memory(found, column) for column in [*columns, *moments]
    ):
      leaks.add('a column of the truth')
    ids = _as_ids(found)
    if len(ids) == count and _groups(ids) in groups:
      leaks.add('groups of the truth')
  return leaks


def _as_ids(found):
  if isinstance(found, jax.core.Tracer):  # It stands for what has no value yet.
    return []
  if isinstance(found, np.ndarray | jax.Array) and found.ndim == 1:
    found = found.tolist()
  if not isinstance(found, list | tuple):
    return []
  return found if all(isinstance(x, int | np.integer) for x in found) else []


def _groups(ids):
  """Equal for ids that tell the same samples apart, whatever their values."""
  first = {}
  return tuple(first.setdefault(value, i) for i, value in enumerate(ids))


@pytest.mark.parametrize(
  ('owner', 'name'),
  [*STEPS, *MAKERS, *STATES],
)
def test_signatures_take_no_identities(owner, name):
  hints = typing.get_type_hints(getattr(owner, name))
  words = {word for parameter in hints for word in parameter.split('_')}
  assert not words & IDENTITY
  assert bool(words & CAMERA) == (owner is merger_lib.Merger)
  assert not [x for x in HOLDERS if x.__name__ in repr(hints)]


@pytest.mark.parametrize(
  'module',
  [
    fit,
    step_lib,
    camera_proxies,
    contrastive,
    memory,
    embed,
    memory_lib,
    optim,
    merger_lib,
    augment_lib,
  ],
)
def test_what_trains_does_not_know_what_holds_identities(module):
  known = [x for x in vars(module).values() if isinstance(x, type)]
  assert not HOLDERS.intersection(known)
  for other in (samples_lib, pipeline, evaluation):
    assert not any(x is other for x in vars(module).values())


def test_nothing_that_a_run_hands_over_leads_to_identities(watched):
  """The fixture asserts it; here, that nothing went by unwatched."""
  labels = {f'{owner.__name__}.{name}' for owner, name in STEPS + MAKERS}
  assert labels == CALLED
  assert watched


@pytest.mark.parametrize('memory_budget_gb', [1.0, 1e-9])
def test_a_split_leads_to_names_only_where_files_are_read(
  market, memory_budget_gb
):
  loaded = _loaded(market, memory_budget_gb=memory_budget_gb)
  read = loaded.train._frames.read
  assert _leaks([loaded.train], stop=[read]) == set()
  # What streams files holds their names, and has to.
  assert ('Samples' in _leaks([read])) == (memory_budget_gb < 1.0)


def _loaded(root, **options):
  dataset, truth = load_dataset('market1501', root)
  frames = np.arange(2 * len(dataset.train)).reshape(-1, 2)
  truth = dataclasses.replace(
    truth, train_frames=frames, train_times=frames / 5
  )
  return _load_and_remember(dataset, truth, size=runs.SHAPE, seed=0, **options)


@pytest.mark.parametrize(
  'hide',
  [
    lambda loaded: loaded.truth,
    lambda loaded: {'deep': [(loaded,)]},
    lambda loaded: loaded.truth.query_pids[1:],
    lambda loaded: lambda: loaded.truth.train_pids,
    lambda loaded: functools.partial(max, [*loaded.truth.train_pids * 7 + 1]),
    lambda loaded: np.unique(loaded.truth.train_pids, return_inverse=True),
    lambda loaded: jax.numpy.array(loaded.truth.train_camids),
    lambda loaded: f'/data/{loaded.names["train"][3]}',
    lambda loaded: loaded.truth.train_frames[:, 0],
    lambda loaded: [loaded.truth.train_times],
  ],
)
def test_the_watch_finds_what_is_hidden(hide, market):
  loaded = _loaded(market)
  loaded.train.hidden = hide(loaded)
  assert _leaks([loaded.train])


def _refuse(*_):
  raise AssertionError('an identity was read')


METHODS = (
  '__getattribute__ __array__ __len__ __iter__ __getitem__ __bool__ __hash__ '
  '__eq__ __ne__ __lt__ __le__ __gt__ __ge__ __int__ __index__ __float__'
)
Sealed = type('Sealed', (), dict.fromkeys(METHODS.split(), _refuse))


def test_a_run_whose_identities_cannot_be_read(
  watched, market, tmp_path, monkeypatch
):
  """Scores are made up, so that they cannot steer anything either."""

  def load_sealed(dataset, truth, **options):
    loaded = LOAD(dataset, truth, **options)
    # A stage may be chosen by where and when; neither is an identity.
    known = ('train_camids', 'train_frames')
    sealed = {x: Sealed() for x in vars(truth) if x not in known}
    truth = dataclasses.replace(loaded.truth, **sealed)
    return dataclasses.replace(loaded, truth=truth)

  toy = np.arange(2)
  ranks = evaluation.rank_features(np.eye(2), np.eye(2), toy, toy, toy, 1 - toy)
  scores = evaluation.clustering_scores(toy, toy)
  with pytest.raises(AssertionError, match='an identity was read'):
    evaluation.clustering_scores(toy, Sealed())
  monkeypatch.setattr(pipeline, 'load_splits', load_sealed)
  monkeypatch.setattr(evaluation, 'rank_features', lambda *_, **__: {**ranks})
  monkeypatch.setattr(evaluation, 'clustering_scores', lambda *_: scores)
  # The report and its ranked lists, when nothing is trained any more.
  nothing = [np.zeros((0, 10), np.int32)] * 3
  monkeypatch.setattr(ranked, 'rank', lambda *_: nothing)
  monkeypatch.setattr(job.workdir_lib.Outputs, 'write_result', lambda *_: None)
  _assert_same(_run(market, tmp_path / 'run'), watched)


def test_scrambled_identities_in_names(watched, tmp_path):
  """With warm-up, cameras and neighbourhoods."""
  pids = np.random.default_rng(3).permutation(np.arange(30) % 6 + 1)
  root = runs.write_market(tmp_path / 'data', train_pids=pids)
  _assert_same(_run(root, tmp_path / 'run'), watched)


def test_tracklets_under_other_names_in_another_order(tmp_path):
  seen = []
  for run, order in enumerate(([0, 1, 2, 3], [2, 0, 3, 1])):
    for place, tracklet in enumerate(order):
      names = [f'{run}/t{place}/{k}.png' for k in range(1 + tracklet)]
      images = runs.make_images(len(names), 1, seed=tracklet)
      runs.write_images(tmp_path, names, images)
    dataset, truth = load_dataset('folder', tmp_path / f'{run}', tracklets=True)
    loaded = pipeline.load_splits(dataset, truth, size=runs.SHAPE, seed=0)
    tracklets = [order[int(name[1:])] for name in loaded.names['train']]
    batches = [*loaded.train.frame_batches(4, 900)]
    seen.append((tracklets, batches, loaded.digest))
  _assert_same(*seen)

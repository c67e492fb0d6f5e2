"""A run that goes on from another, with more images: `train.continue_from`.

It begins with the network of that run and its clusters as they are. New images
join them, form new ones or wait. The stages that follow are as in any run, and
the numbers and names of clusters stay.
"""

import logging
from pathlib import Path

import numpy as np

from dbc_jax.cluster import cuts
from dbc_jax.data.pipeline import LoadedDataset
from dbc_jax.devices import processes
from dbc_jax.evaluation import learn_assignment
from dbc_jax.evaluation.assignment import KNOWN
from dbc_jax.labels import NOT_PLACED
from dbc_jax.reporting import write_clusters
from dbc_jax.run import config as config_lib
from dbc_jax.run import features_file, identities
from dbc_jax.run import workdir as workdir_lib
from dbc_jax.run.config import Config
from dbc_jax.run.merger import make_criterion
from dbc_jax.run.restore import restore_run
from dbc_jax.training.camera_statistics import network_of

log = logging.getLogger('dbc_jax')

# Share of the images of unknown persons that may join a cluster.
_FALSE_MATCHES = 0.01


def starts_from_another(config: Config, workdir: Path) -> bool:
  """Whether a run begins now, and at the end of another one."""
  done = workdir_lib.has_stage(workdir / workdir_lib.CHECKPOINTS)
  return bool(config.train.continue_from) and not done


class Continuation:
  """The run that another one goes on from.

  Attributes:
    variables: 'params' and 'batch_stats' of its network.
  """

  def __init__(self, config: Config):
    """Reads it.

    Raises:
      ValueError: there is no such run, or a run of this config cannot go on
        from it.
    """
    given = config.train.continue_from
    self._folder = Path(given).expanduser()
    self._config = config
    if workdir_lib.find_workdir(self._folder) == workdir_lib.DEMO:
      raise ValueError(
        'train.continue_from: demo comes with the package and has no images; '
        'name the workdir of a run of your own'
      )
    if not config.cluster.anew or config.train.stage0_epochs:
      raise ValueError(
        f'train.continue_from: got {given}, which needs clusters anew at each '
        'stage (cluster.anew=True, train.stage0_epochs=0), as '
        'best:folder,small has; merges alone cannot take new images in'
      )
    if config.cluster.num_clusters and config.train.num_stages == 1:
      raise ValueError(
        f'train.continue_from: got {given} with train.num_stages=1, whose '
        'clusters are the old ones, and cluster.num_clusters='
        f'{config.cluster.num_clusters}; raise train.num_stages'
      )
    try:
      old = restore_run(self._folder)
    except ValueError as error:
      raise ValueError(f'train.continue_from: {error}') from error
    for name in ('model', 'data.image_size', 'data.stored_size'):
      was, now = (_field(each, name) for each in (old.parts.config, config))
      if was != now:
        raise ValueError(
          f'train.continue_from: {name} is {was} in {given}, got {now}; its '
          'network can only go on as it is'
        )
    saved = features_file.read(self._folder, old.stage, old.digest)
    if saved is None:
      raise ValueError(
        f'train.continue_from: {given} has no {features_file.NAME} of its kept '
        f'stage; dbc report --workdir={given} writes it'
      )
    features, names = saved
    features = features.astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    self._features = dict(zip(names, features, strict=True))
    numbers = identities.numbers(self._folder, names, old.labels)
    self._numbers = dict(zip(names, numbers.tolist(), strict=True))
    self.variables = network_of(old.variables)

  def check(self, data: LoadedDataset) -> None:
    """Raises ValueError unless some of its images are in a data set."""
    names = data.names['train']
    if not self._numbers.keys() & set(names):
      raise ValueError(
        f'train.continue_from: none of the images of {self._folder}, such as '
        f'{next(iter(self._numbers))}, is among these, such as {names[0]}; '
        'name the folder from which their paths are the same'
      )

  def place(
    self, features: np.ndarray, data: LoadedDataset, workdir: Path
  ) -> np.ndarray:
    """The clusters that a run begins with; its workdir gets their numbers.

    Args:
      features: [N, D] of the training images, by the network of that run.
      data: whose images these are.
      workdir: of the run that begins.

    Returns:
      [N] int32, contiguous; -1 for an image that waits.

    Raises:
      ValueError: too few of the old images are there as they were.
    """
    labels, refusal = np.empty(len(features), np.int32), ''
    if processes.is_first():
      try:
        labels = self._place(features, data.names['train'], workdir)
      except ValueError as error:
        refusal = f'train.continue_from: {error}'
    refusal = processes.text_of_first(refusal)
    if refusal:
      raise ValueError(refusal)
    return processes.from_first(labels)

  def _place(
    self, features: np.ndarray, names: list[str], workdir: Path
  ) -> np.ndarray:
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    numbers = np.array([self._numbers.get(x, NOT_PLACED) for x in names])
    there = np.array([name in self._numbers for name in names])
    # Another picture of the same name is a new image. What belongs to one
    # picture differs by the statistics of its camera alone.
    mean = unit.mean(axis=0)
    # Halfway between two images and one with itself.
    least = (1 + float(mean @ mean)) / 2
    same = np.zeros(len(names), bool)
    for i in np.flatnonzero(there).tolist():
      same[i] = self._features[names[i]] @ unit[i] > least
    if other := int((there & ~same).sum()):
      log.warning(
        '%d images have the name of one of %s and look otherwise: they count '
        'as new',
        other,
        self._folder,
      )
    numbers[~same] = NOT_PLACED
    known = numbers >= 0
    _, sizes = np.unique(numbers[known], return_counts=True)
    if len(sizes) < 2 or sizes.max() < 2:
      raise ValueError(
        f'too few images of {self._folder} are here and look as they did '
        f'({known.sum()} of {len(self._numbers)}); bring its images back, or '
        'begin anew without it'
      )
    found, labels = np.unique(numbers, return_inverse=True)
    labels = labels - np.count_nonzero(found < 0)
    asked = np.flatnonzero(~known)
    joined, first = 0, labels.max() + 1
    if len(asked):
      assigner = learn_assignment(unit[known], labels[known])
      said, placed = assigner.place(
        unit[asked],
        make_criterion(self._config.cluster),
        false_match_rate=max(_FALSE_MATCHES, 1 / known.sum()),
        first_new=first,
      )
      groups = np.where(placed >= first, placed - first, NOT_PLACED)
      groups = cuts.drop_small(groups, self._config.cluster.min_size)
      placed[placed >= first] = NOT_PLACED
      labels[asked] = np.where(groups >= 0, groups + first, placed)
      joined = np.count_nonzero(said.answers == KNOWN)
    log.info(
      'going on from %s: %d of its %d images are here, and %d are new. Of '
      'those in no cluster %d join one, %d are in new ones, %d wait',
      self._folder,
      same.sum(),
      len(self._numbers),
      len(names) - same.sum(),
      joined,
      (labels >= first).sum(),
      (labels < 0).sum(),
    )
    # By these the first result of the run takes numbers and names over.
    listed = identities.read(self._folder)
    before = listed or identities.first(int(max(self._numbers.values())) + 1)
    identities.write(workdir, before)
    write_clusters(workdir / identities.CLUSTERS, names, numbers)
    return labels.astype(np.int32)


def _field(config: Config, name: str) -> object:
  fields = config_lib.flat(config.to_dict())
  return {
    key: value if not isinstance(value, list) else tuple(value)
    for key, value in fields.items()
    if key == name or key.startswith(f'{name}.')
  }

"""The settings of a run: their values are checked before any work starts."""

import hashlib
import json
import math
from typing import Any

import ml_collections

from dbc_jax.cluster.cuts.cut import floor_share
from dbc_jax.run import numbers

# An `ml_collections.ConfigDict`, the types of whose fields nothing knows.
Config = Any

# Values of train.init; any other is a file of weights.
INITS = ('random', 'self_supervised')
# Fields that came after the first builds, with the value at which a build that
# lacked the field behaves as it did. A config without the field has that.
ADDED_FIELDS = {
  'checkpoint_minutes': 10.0,
  'leave_one_out': False,
  'data.identities_seed': 0,
  'data.pattern': '',
  'data.corrections': '',
  'data.walks': '',
  'data.forgotten': '',
  'train.objective': 'memory',
  'model.pooling': 'mean',
  'model.neck': False,
  'model.parts': 1,
  'model.parts_and_global': False,
  'memory.update_by': 'each',
  'data.use_cameras': 'False',
  'data.camera_statistics': False,
  'data.crop_padding': 0,
  'data.erasing': 0.0,
  'data.views': 'mild',
  'train.optimizer': 'sgd',
  'train.teacher_momentum': 0.0,
  'train.continue_from': '',
  'train.num_stages': 0,
  'train.stage_steps': 0,
  'train.run_decay': False,
  'train.images_per_cluster': 0,
  'cluster.cut': 'papers',
  'cluster.anew': False,
  'cluster.share': (0.3, 0.9),
  'cluster.min_size': 4,
  'cluster.eps': 0.5,
  'cluster.num_clusters': 0,
  'cluster.frame_rule': 'off',
}
# Those that change no result: a run may go on with others.
FREE_FIELDS = (
  'checkpoint_minutes',
  'cluster.memory_budget_gb',
  'data.corrections',
  'data.forgotten',
  'data.memory_budget_gb',
  'data.root',
  'profile',
)


def with_added_fields(fields: Any) -> Config:
  """A config as this build reads it, of what an earlier one wrote.

  Args:
    fields: a config, or the content of a config.json, which is left alone.
  """
  config: Any = ml_collections.ConfigDict(fields).copy_and_resolve_references()
  added = dict(ADDED_FIELDS)
  if 'cluster' in config and 'camera_centring' in config.cluster:
    # It was the only use of cameras.
    added['data.use_cameras'] = str(config.cluster.camera_centring)
  for name, value in added.items():
    group, _, field = name.rpartition('.')
    own: Any = config.get(group) if group else config
    if own is not None and field not in own:
      with own.unlocked():
        own[field] = value
  return config


def flat(tree: dict[str, Any], prefix: str = '') -> dict[str, Any]:
  """The fields of a nested config by their dotted names."""
  fields: dict[str, Any] = {}
  for key, value in tree.items():
    if isinstance(value, dict):
      fields |= flat(value, f'{prefix}{key}.')
    else:
      fields[prefix + key] = value
  return fields


def binding_fields(config: Config) -> dict[str, Any]:
  """The fields that change results, by dotted names, as JSON holds them."""
  fields = flat(json.loads(json.dumps(config.to_dict())))
  return {k: v for k, v in fields.items() if k not in FREE_FIELDS}


def digest(config: Config) -> str:
  """Of the fields that change results.

  A field that came later counts only where it has another value than builds
  without it, so that it leaves the digests of earlier runs as they are.
  """
  added = json.loads(json.dumps(ADDED_FIELDS))
  fields = {
    key: value
    for key, value in binding_fields(config).items()
    if key not in added or value != added[key]
  }
  text = json.dumps(fields, sort_keys=True)
  return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def num_merges_and_stages(
  num_samples: int, merge_percent: float
) -> tuple[int, int]:
  """Merges m after each stage, and how many stages are trained.

  m = int(N * merge_percent), fixed from N; stages are trained while more than
  m clusters are left, and nothing is merged after the last one.

  Raises:
    ValueError: merge_percent outside (0, 1), or too few samples for one merge.

  Source: Algorithm 1 of DBC and of E-cluster.
  """
  if not 0.0 < merge_percent < 1.0:
    raise ValueError(
      f'cluster.merge_percent: got {merge_percent}, expected a share of the '
      'training images in (0, 1), such as 0.05'
    )
  if num_samples < 2:
    raise ValueError(
      f'{num_samples} training images are less than one merge a stage; '
      'expected at least 2'
    )
  num_merges = floor_share(merge_percent, num_samples)
  if num_merges < 1:
    raise ValueError(
      f'cluster.merge_percent: {merge_percent} of {num_samples} training '
      'images is less than one merge a stage; expected at least '
      f'{math.ceil(1000 / num_samples) / 1000}, or '
      'more images'
    )
  return num_merges, math.ceil(num_samples / num_merges) - 1


def num_stages(config: Config, num_samples: int) -> int:
  """How many stages are trained: `train.num_stages`, or as the papers.

  Without a stage of single samples (`train.stage0_epochs=0`) it is one less.
  Where images were forgotten, fewer may be possible than were asked for.

  Raises:
    ValueError: as `num_merges_and_stages`, where its number counts; the papers'
      cut cannot merge so often.
  """
  wanted = config.train.num_stages
  by_papers = config.cluster.cut == 'papers'
  if wanted and not by_papers:
    return wanted
  merges, most = num_merges_and_stages(
    num_samples, config.cluster.merge_percent
  )
  if config.cluster.num_clusters:
    most = 1 + math.ceil((num_samples - config.cluster.num_clusters) / merges)
  if not config.train.stage0_epochs:
    most -= 1
  if most < 1:
    raise ValueError(
      'train.stage0_epochs: got 0, and after the stage of single images '
      f'cluster.merge_percent={config.cluster.merge_percent} leaves none; '
      'lower cluster.merge_percent'
    )
  if by_papers and wanted > most and config.data.forgotten:
    return most
  if by_papers and wanted > most:
    raise ValueError(
      f'train.num_stages: got {wanted}, expected at most {most} with '
      f'cluster.merge_percent={config.cluster.merge_percent} of {num_samples} '
      'images; lower one of the two'
    )
  return wanted or most


def describe_cut(config: Config, num_samples: int) -> str:
  """How far each stage merges, for a line of the log."""
  fields = config.cluster
  text = f'cut {fields.cut}'
  if fields.cut == 'papers':
    merges, _ = num_merges_and_stages(num_samples, fields.merge_percent)
    text = f'{merges} merges after each but the last'
  if fields.num_clusters:
    text += f', {fields.num_clusters} clusters in the last stage'
  return text


def check_num_samples(config: Config, num_samples: int) -> None:
  """Raises ValueError if there are too few samples for what is asked.

  That is a sample, a batch, a merge, two clusters by a share of the samples, or
  the neighbours of a sample.
  """
  if not num_samples:
    raise ValueError(
      f'data: {config.data.name} has no training images, only a test set; name '
      'one to train on, or score a trained network on this one by dbc evaluate'
    )
  known = config.cluster.num_clusters
  if known and not 1 < known < num_samples:
    raise ValueError(
      f'cluster.num_clusters: got {known}, expected at least 2 and fewer than '
      f'the {num_samples} training images, or 0 where it is not known'
    )
  stages = num_stages(config, num_samples)
  if known and config.train.stage0_epochs and stages == 1:
    raise ValueError(
      'train.num_stages: got 1, which is of single images, with '
      f'cluster.num_clusters={known}; raise it'
    )
  if config.train.batch_size > num_samples:
    raise ValueError(
      f'train.batch_size: got {config.train.batch_size}, more than the '
      f'{num_samples} training images; lower it'
    )
  fields = config.cluster
  if fields.distance == 'jaccard' and fields.jaccard_k2 >= num_samples:
    raise ValueError(
      f'cluster.jaccard_k2: got {fields.jaccard_k2} for {num_samples} images, '
      f'expected at most {num_samples - 1}: over all of them, every distance '
      'would be zero'
    )
  share = min(config.cluster.share)
  if config.cluster.cut == 'geometric' and round(share * num_samples) < 2:
    raise ValueError(
      f'cluster.share: got {tuple(config.cluster.share)}, which leaves fewer '
      f'than 2 clusters of {num_samples} images; raise the smaller one to '
      f'{2 / num_samples:.2g} or more'
    )


def check_config(config: Config) -> None:
  """Raises ValueError, naming the field, for a value outside its range.

  Fields of the network, the criterion and the data set are checked where they
  are used to make one, before work starts as well.
  """
  numbers.check_numbers(flat(config.to_dict()))
  train, memory, data = config.train, config.memory, config.data
  cluster = config.cluster
  positive = {
    'train.stage_epochs': train.stage_epochs,
    'train.warmup_epochs': train.warmup_epochs,
    'train.reference_batch_size': train.reference_batch_size,
    'train.learning_rate': train.learning_rate,
    'train.dropped_learning_rate': train.dropped_learning_rate,
    'train.later_learning_rate': train.later_learning_rate,
    'memory.temperature': memory.temperature,
    'cluster.jaccard_k1': cluster.jaccard_k1,
    'cluster.jaccard_k2': cluster.jaccard_k2,
    'extract_batch_size': config.extract_batch_size,
    'data.num_frames': data.num_frames,
    'data.max_frames': data.max_frames,
  }
  at_least_zero = {
    'checkpoint_minutes': config.checkpoint_minutes,
    'cluster.memory_budget_gb': cluster.memory_budget_gb,
    'cluster.num_clusters': cluster.num_clusters,
    'data.num_identities': data.num_identities,
    'data.identities_seed': data.identities_seed,
    'data.memory_budget_gb': data.memory_budget_gb,
    'train.weight_decay': train.weight_decay,
    'train.backbone_multiplier': train.backbone_multiplier,
    'train.drop_epoch': train.drop_epoch,
    'train.stage0_epochs': train.stage0_epochs,
    'train.num_stages': train.num_stages,
    'train.stage_steps': train.stage_steps,
    'train.images_per_cluster': train.images_per_cluster,
    'data.crop_padding': data.crop_padding,
    'train.rate_warmup_epochs': train.rate_warmup_epochs,
  }
  shares = {
    'train.momentum': train.momentum,
    'train.teacher_momentum': train.teacher_momentum,
    'memory.momentum': memory.momentum,
    'data.erasing': data.erasing,
  }
  choices = {
    'memory.init': (memory.init, ('centroid', 'zeros')),
    'memory.update_by': (memory.update_by, ('each', 'hardest', 'mean')),
    'train.optimizer': (train.optimizer, ('sgd', 'adam')),
    'data.use_cameras': (data.use_cameras, ('False', 'True', 'auto')),
    'data.views': (data.views, ('mild', 'strong')),
    'cluster.frame_rule': (cluster.frame_rule, ('off', 'hard')),
    'cluster.features': (cluster.features, ('feature', 'embedding')),
    'cluster.distance': (cluster.distance, ('euclidean', 'jaccard')),
  }
  if not 0 <= config.seed < 2**31:
    raise ValueError(f'seed: got {config.seed}, expected 0 <= seed < 2**31')
  for field in ('stored_size', 'image_size'):
    size = tuple(data[field])
    if len(size) != 2 or any(
      isinstance(x, bool) or int(x) != x or x < 1 for x in size
    ):
      raise ValueError(
        f'data.{field}: got {size}, expected (height, width) in whole pixels'
      )
  ranges = {
    'data.crop_area': (tuple(data.crop_area), 1.0),
    'data.crop_aspect': (tuple(data.crop_aspect), math.inf),
  }
  for field, (value, most) in ranges.items():
    if len(value) != 2 or not 0.0 < value[0] <= value[1] <= most:
      raise ValueError(
        f'{field}: got {value}, expected (lower, upper) with 0 < lower <= '
        f'upper <= {most:g}'
      )
  if len(cluster.share) != 2:
    raise ValueError(
      f'cluster.share: got {tuple(cluster.share)}, expected two, of the first '
      'stage and of the last'
    )
  for field, value in positive.items():
    if not 0 < value < math.inf:
      raise ValueError(f'{field}: got {value}, expected more than 0')
  for field, value in at_least_zero.items():
    if not 0 <= value < math.inf:
      raise ValueError(f'{field}: got {value}, expected 0 or more')
  for field, value in shares.items():
    if not 0.0 <= value < 1.0:
      raise ValueError(f'{field}: got {value}, expected a value in [0, 1)')
  for field, (value, allowed) in choices.items():
    if value not in allowed:
      raise ValueError(
        f'{field}: got {value!r}, expected one of {list(allowed)}'
      )
  if data.views == 'strong' and (data.crop_padding or data.erasing):
    raise ValueError(
      "data.views: got 'strong' with data.crop_padding or data.erasing, which "
      "are of 'mild' views; set both to 0"
    )
  if train.run_decay and train.later_decay:
    raise ValueError(
      'train.run_decay: got True with train.later_decay=True, two ways for '
      'the rate to fall; set one of them to False'
    )
  each = train.images_per_cluster
  if each and train.batch_size % each:
    raise ValueError(
      f'train.images_per_cluster: got {each}, expected a divisor of '
      f'train.batch_size={train.batch_size}'
    )
  init = train.init
  if init not in INITS and '.' not in init and not init.startswith('hf:'):
    raise ValueError(
      f'train.init: got {init!r}, expected one of {list(INITS)}, or a file of '
      'weights (.safetensors, .pth, .npz), or hf:OWNER/NAME'
    )
  if train.init == 'self_supervised':
    _check_warmup(train.batch_size, config.model.frozen_stages)
  if cluster.jaccard_k2 > cluster.jaccard_k1 + 1:
    raise ValueError(
      f'cluster.jaccard_k2: got {cluster.jaccard_k2}, expected at most '
      f'cluster.jaccard_k1 + 1 = {cluster.jaccard_k1 + 1}; lower it, or raise '
      'cluster.jaccard_k1'
    )
  if cluster.squared and cluster.distance == 'jaccard':
    raise ValueError(
      "cluster.squared: got True with cluster.distance='jaccard', expected "
      'False: it squares the Euclidean distance; leave one of the two out'
    )


def _check_warmup(batch_size: int, frozen_stages: int) -> None:
  if batch_size < 2:
    raise ValueError(
      f"train.batch_size: got {batch_size} with train.init='self_supervised', "
      'expected at least 2: an image is told from the others of its batch'
    )
  if frozen_stages:
    raise ValueError(
      f'model.frozen_stages: got {frozen_stages} with train.init='
      "'self_supervised', expected 0: they would stay random; set it to 0"
    )

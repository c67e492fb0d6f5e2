r"""From ImageNet weights: clusters anew in each of many short stages.

An image that is not dense yet waits in no cluster. docs/recipe.md says why. On
the demo a warm-up stands in for the weights.

Expected: unmeasured with this cut; docs/recipe.md has what is, and the command.

Command:
  python -m dbc_jax.main --config=configs/pretrained.py
  python -m dbc_jax.main --config=configs/pretrained.py:market1501 \
    --config.data.root=DIR --config.train.init=FILE
"""

from typing import Any

import ml_collections

from dbc_jax.configs import common


def get_config(dataset: str = 'demo') -> ml_collections.ConfigDict:
  """See configs/common.py for the fields."""
  config = common.base(dataset)
  config.data.use_cameras = 'auto'
  config.cluster.criterion = 'average'
  config.cluster.reg_weight = 0.0
  config.cluster.distance = 'jaccard'
  config.cluster.cut = 'dense'
  config.cluster.anew = True
  config.train.objective = 'camera_proxies'
  config.train.stage0_epochs = 0
  if config.data.name in ('demo', 'demo_video'):
    _after_a_warmup(config)
  else:
    _after_weights(config)
  return config


def _after_a_warmup(config: Any) -> None:
  """In place of weights; with the demo's own network, size and optimiser."""
  config.train.init = 'self_supervised'
  config.train.num_stages = 4
  config.train.stage_epochs = 3
  config.train.later_learning_rate = 0.03
  config.train.later_decay = False
  config.train.run_decay = True
  config.model.parts = 4


def _after_weights(config: Any) -> None:
  config.extract_batch_size = 128
  config.data.image_size = config.data.stored_size = (128, 64)
  config.data.crop_padding = 10
  config.data.erasing = 0.5

  config.model.name = ''  # the network of the file that train.init names
  config.model.head_layers = 0
  config.model.dropout = 0.0
  config.model.last_stride = 1
  config.model.frozen_stages = 0
  config.model.pooling = 'gem'
  config.model.neck = True

  config.memory.temperature = 0.05
  config.memory.momentum = 0.1
  config.memory.update_by = 'hardest'

  config.train.optimizer = 'adam'
  config.train.later_learning_rate = 3.5e-4
  config.train.later_decay = False
  config.train.backbone_multiplier = 1.0
  config.train.batch_size = 256
  config.train.reference_batch_size = 256
  config.train.images_per_cluster = 16
  config.train.num_stages = 8
  config.train.stage_steps = 25

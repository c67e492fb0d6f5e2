r"""BUC: minimum distance between clusters, and a price on their size.

Paper: Lin et al., A Bottom-Up Clustering Approach to Unsupervised Person
  Re-identification, AAAI 2019. reg_weight 0.003 is that of the authors'
  corrected code; 0.005 before, 0 without regulariser.

Expected, rank-1 / mAP (the papers' `map_trapz`), pre-trained ResNet-50:
                   published (corrected)   measured
  Market-1501      61.9 / 29.6             unmeasured
  DukeMTMC-reID    40.4 / 22.1             unmeasured

Command:
  python -m dbc_jax.main --config=configs/buc.py
  python -m dbc_jax.main --config=configs/buc.py:market1501 \
    --config.data.root=DIR
As in the authors' code, on whose squared distances 0.003 was tuned, add:
    --config.cluster.squared=True --config.cluster.merge=ranked \
    --config.memory.init=zeros --config.train.drop_epoch=16
"""

import ml_collections

from dbc_jax.configs import common


def get_config(dataset: str = 'demo') -> ml_collections.ConfigDict:
  """See configs/common.py for the fields."""
  config = common.base(dataset)
  config.cluster.criterion = 'buc'
  config.cluster.reg_weight = 0.003
  return config

r"""E-cluster: energy distance between clusters, and a price on their spread.

Paper: Zeng et al., Energy Clustering for Unsupervised Person
  Re-identification, arXiv:1909.00112. reg_weight 0.9 is the paper's; 0
  without regulariser.

Expected, rank-1 / mAP, pre-trained ResNet-50:
                   published      without reg.   measured
  Market-1501      70.2 / 43.0    68.5 / 40.7    unmeasured
  DukeMTMC-reID    53.2 / 31.1    50.7 / 28.6    unmeasured

Command:
  python -m dbc_jax.main --config=configs/ecluster.py
  python -m dbc_jax.main --config=configs/ecluster.py:market1501 \
    --config.data.root=DIR
"""

import ml_collections

from dbc_jax.configs import common


def get_config(dataset: str = 'demo') -> ml_collections.ConfigDict:
  """See configs/common.py for the fields."""
  config = common.base(dataset)
  config.cluster.criterion = 'ecluster'
  config.cluster.reg_weight = 0.9
  return config

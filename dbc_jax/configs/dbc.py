r"""DBC: mean distance between clusters, and a price on dispersion within.

Paper: Ding et al., Towards better Validity: Dispersion based Clustering for
  Unsupervised Person Re-identification, arXiv:1906.01308. reg_weight 0.1 is
  the best of its Fig. 4; its text says 0.5; 0 without regulariser.

Expected, rank-1 / mAP (the papers' `map_trapz`), pre-trained ResNet-50:
                   published      without reg.   measured
  Market-1501      69.2 / 41.3    66.2 / 38.7    unmeasured
  DukeMTMC-reID    51.5 / 30.0    48.2 / 27.5    unmeasured

Command:
  python -m dbc_jax.main --config=configs/dbc.py
  python -m dbc_jax.main --config=configs/dbc.py:market1501 \
    --config.data.root=DIR
With the head of the paper's text, add:
    --config.model.head_layers=2 --config.model.embedding_dim=1024
"""

import ml_collections

from dbc_jax.configs import common


def get_config(dataset: str = 'demo') -> ml_collections.ConfigDict:
  """See configs/common.py for the fields."""
  config = common.base(dataset)
  config.cluster.criterion = 'dbc'
  config.cluster.reg_weight = 0.1
  return config

r"""The e-statistic: energy distance weighted by sizes, and E-cluster's price.

Paper: Szekely & Rizzo, Hierarchical Clustering via Joint Between-Within
  Distances, Journal of Classification 22 (2005), which E-cluster cites as its
  basis. Weighting by n_a n_b / (n_a + n_b) keeps large clusters from drawing
  in everything. reg_weight 0.1 is this project's choice.

Expected, rank-1 / mAP: never published for re-ID; unmeasured on benchmarks.

Command:
  python -m dbc_jax.main --config=configs/estat.py
  python -m dbc_jax.main --config=configs/estat.py:market1501 \
    --config.data.root=DIR
"""

import ml_collections

from dbc_jax.configs import common


def get_config(dataset: str = 'demo') -> ml_collections.ConfigDict:
  """See configs/common.py for the fields."""
  config = common.base(dataset)
  config.cluster.criterion = 'estat'
  config.cluster.reg_weight = 0.1
  return config

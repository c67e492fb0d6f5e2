"""Histories of made-up runs."""


def make_history(num_stages: int) -> list[dict]:
  return [
    {
      'stage': stage,
      'num_clusters': 100 - 5 * stage,
      'loss': 3.0 - stage / 4,
      'rank1': 0.4 + stage / 100,
      'map': 0.2 + stage / 100,
      'pair_f': 0.3,
      'seconds_train': 5.06,
      'seconds_embed': 1.0,
    }
    for stage in range(num_stages)
  ]


def without_identities(history: list[dict]) -> list[dict]:
  keys = ('stage', 'num_clusters', 'loss')
  return [{key: record[key] for key in keys} for record in history]

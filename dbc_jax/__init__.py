"""Label-free re-identification by bottom-up clustering: BUC, DBC, E-cluster."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from dbc_jax.run.extractor import FeatureExtractor

__all__ = ['FeatureExtractor']
__version__ = '0.1.0'


def __getattr__(name: str) -> Any:
  # Imported only when it is asked for: a part alone, such as the clustering,
  # does not wait for all the others.
  if name == 'FeatureExtractor':
    from dbc_jax.run.extractor import FeatureExtractor

    return FeatureExtractor
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

"""Packages that an export needs beyond those of training."""

import importlib
from typing import Any

from dbc_jax import values

# Of each, which extra of this package brings it, and what for.
_OPTIONAL = {
  'onnx': ('onnx', 'ONNX'),
  'flatbuffers': ('stablehlo', 'StableHLO'),
  'huggingface_hub': ('hub', '--push'),
}


def require(package: str) -> Any:
  """The package.

  Raises:
    ValueError: it is not installed; says how to.
  """
  values.choice(package, 'package', tuple(_OPTIONAL))
  extra, what = _OPTIONAL[package]
  try:
    return importlib.import_module(package)
  except ImportError:
    raise ValueError(
      f"{what} needs {package}: pip install 'dbc_jax[{extra}]'"
    ) from None

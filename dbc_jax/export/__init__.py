"""The network of a run for programs without JAX: ONNX, safetensors."""

from dbc_jax.export.network import Network, network_of_run
from dbc_jax.export.onnx_file import USES, write_onnx
from dbc_jax.export.safetensors_file import write_safetensors

__all__ = [
  'USES',
  'Network',
  'network_of_run',
  'write_onnx',
  'write_safetensors',
]

"""The network of a run for others: ONNX, safetensors, StableHLO, the hub."""

from dbc_jax.export.hub_folder import push, write_hub_folder
from dbc_jax.export.network import Network, network_of_run, variables_of_run
from dbc_jax.export.onnx_file import USES, write_onnx
from dbc_jax.export.packages import require
from dbc_jax.export.safetensors_file import write_safetensors
from dbc_jax.export.stablehlo_file import read_stablehlo, write_stablehlo

__all__ = [
  'USES',
  'Network',
  'network_of_run',
  'push',
  'read_stablehlo',
  'require',
  'variables_of_run',
  'write_hub_folder',
  'write_onnx',
  'write_safetensors',
  'write_stablehlo',
]

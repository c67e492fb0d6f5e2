"""The network of a run for others: ONNX, safetensors, StableHLO, the hub."""

from dbc_jax.export.hub_folder import hub_client, push, write_hub_folder
from dbc_jax.export.network import Network, network_of_run, variables_of_run
from dbc_jax.export.onnx_file import USES, write_onnx
from dbc_jax.export.safetensors_file import write_safetensors

__all__ = [
  'USES',
  'Network',
  'hub_client',
  'network_of_run',
  'push',
  'variables_of_run',
  'write_hub_folder',
  'write_onnx',
  'write_safetensors',
]

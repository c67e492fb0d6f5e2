"""Files of network weights as NumPy arrays, in and out.

The one module of this room that touches files.
"""

import contextlib
import json
import os
import pickle
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy

_TORCH_SUFFIXES = ('.pth', '.pt', '.bin')
_SUFFIXES = ('.safetensors', *_TORCH_SUFFIXES, '.npz')
_HUB_FILES = ('model.safetensors', 'pytorch_model.bin')

# Before it, a manipulated file could run code in spite of weights_only:
# CVE-2025-32434 (mended in 2.6) and CVE-2026-24747 (in 2.10).
_SAFE_TORCH = '2.10'

_CONVERT = """
  import torch, safetensors.torch
  state = torch.load({old!r}, weights_only=True, map_location='cpu')
  safetensors.torch.save_file(
    {{k: v.contiguous() for k, v in state.items()}}, {new!r})"""


def flatten(variables: Any) -> dict[str, Any]:
  """The leaves of a tree by their path, as 'params/head/linear1/kernel'."""
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
  }


def save_npz(path: str | os.PathLike[str], variables: Any) -> None:
  """Writes all variables of an encoder, head included, for load_pretrained.

  Args:
    path: of the file, which ends in .npz.
    variables: 'params' and 'batch_stats'.

  Raises:
    ValueError: another suffix.
  """
  file = Path(path).expanduser()
  if file.suffix != '.npz':
    raise ValueError(f'{file}: expected a path that ends in .npz')
  np.savez(file, **jax.tree.map(np.asarray, flatten(variables)))


def locate(path: str | os.PathLike[str]) -> Path:
  """The file that a path or 'hf:OWNER/NAME' stands for.

  Raises:
    ValueError: there is none, it has an unknown suffix, or it cannot be
      fetched.
  """
  if str(path).startswith('hf:'):
    return _fetch(str(path))
  file = Path(path).expanduser()
  if file.is_dir():
    raise ValueError(f'{file}: is a folder, expected one file of weights')
  if not file.is_file():
    raise ValueError(
      f'{file}: no such file. Give a file of weights, or hf:OWNER/NAME'
    )
  if file.suffix not in _SUFFIXES:
    raise ValueError(
      f'{file}: got the suffix {file.suffix!r}, expected one of '
      f'{", ".join(_SUFFIXES)}'
    )
  return file


def read(file: Path) -> dict[str, np.ndarray]:
  """All arrays of a file, by name, in the dtypes they have there.

  Raises:
    ValueError: damaged, not of its suffix's kind, or a pickle of more than
      plain tensors, of which nothing is executed; or torch is needed.
  """
  if file.suffix in _TORCH_SUFFIXES:
    return _read_torch(file)
  try:
    if file.suffix == '.safetensors':
      return safetensors.numpy.load_file(file)
    # NumPy leaves a damaged file open.
    with file.open('rb') as opened, np.load(opened) as saved:
      return {name: np.asarray(saved[name]) for name in saved.files}
  # Damaged bytes end in whatever error the reader happens to meet.
  except Exception as error:
    raise _damaged(file, error) from error


def architecture(file: Path) -> str | None:
  """What a file says of itself that it is of, or None if nothing.

  That is 'architecture' in the metadata of a .safetensors file, or in a
  config.json beside the file, as on the hub.
  """
  found: Any = None
  if file.suffix == '.safetensors':
    with safetensors.safe_open(file, 'numpy') as opened:
      found = (opened.metadata() or {}).get('architecture')
  beside = file.with_name('config.json')
  if found is None and file.name in _HUB_FILES and beside.is_file():
    try:
      config = json.loads(beside.read_text())
    except (OSError, ValueError):  # Somebody else's file.
      return None
    found = config.get('architecture') if isinstance(config, dict) else None
  return found if isinstance(found, str) else None


def _read_torch(file: Path) -> dict[str, np.ndarray]:
  convert = _CONVERT.format(
    old=file.name, new=file.with_suffix('.safetensors').name
  )
  try:
    import torch
  except ImportError as error:
    raise ValueError(
      f'{file}: reading {file.suffix} needs torch, which is not installed. '
      f'Install it, or convert the file where torch is:{convert}'
    ) from error
  if torch.__version__ < _SAFE_TORCH:
    raise ValueError(
      f'{file}: got torch {torch.__version__}, with which a manipulated file '
      f'could run code; expected {_SAFE_TORCH} or newer. '
      f'Upgrade it, or convert the file elsewhere:{convert}'
    )
  try:
    state = torch.load(file, weights_only=True, map_location='cpu')
  except pickle.UnpicklingError as error:
    raise ValueError(
      f'{file}: holds other objects than plain tensors, or is no file of '
      'torch.save. It was refused, and nothing in it was executed. Expected '
      'the tensors alone: torch.save(model.state_dict(), ...)'
    ) from error
  # As above.
  except Exception as error:
    raise _damaged(file, error) from error
  for wrapper in ('state_dict', 'model'):
    if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
      state = state[wrapper]
      break
  if not isinstance(state, dict):
    raise ValueError(
      f'{file}: got a {type(state).__name__}, expected a dict of tensors: '
      'torch.save(model.state_dict(), ...)'
    )
  return {name: _from_torch(file, name, x) for name, x in state.items()}


def _from_torch(file: Path, name: Any, tensor: Any) -> np.ndarray:
  import torch

  if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
    raise ValueError(
      f'{file}: {name!r} is a {type(tensor).__name__}, expected names and '
      'tensors alone: torch.save(model.state_dict(), ...)'
    )
  tensor = tensor.detach()
  try:
    if tensor.dtype == torch.bfloat16:  # which torch cannot give to NumPy
      return tensor.view(torch.int16).numpy().view(jax.numpy.bfloat16)
    return tensor.numpy()
  except (TypeError, RuntimeError) as error:
    raise ValueError(
      f'{file}: {name} is a tensor of {tensor.dtype} and {tensor.layout} on '
      f'{tensor.device}, expected a dense one of float32, float16 or bfloat16'
    ) from error


def _fetch(path: str) -> Path:
  """Downloads, or finds in the cache, the weights of a model on the hub."""
  try:
    import huggingface_hub
  except ImportError as error:
    raise ValueError(
      f'{path}: needs the package huggingface_hub, which is not installed. '
      "Install it, or give the path of the model's file"
    ) from error
  from huggingface_hub import errors

  unreached = None
  for name in _HUB_FILES:
    try:
      file = Path(
        huggingface_hub.hf_hub_download(path.removeprefix('hf:'), name)
      )
      with contextlib.suppress(errors.EntryNotFoundError):
        # What `architecture` looks at.
        huggingface_hub.hf_hub_download(path.removeprefix('hf:'), 'config.json')
      return file
    except errors.LocalEntryNotFoundError as error:
      unreached = error
    except errors.EntryNotFoundError:
      continue
    # Its own errors and those of an HTTP library that changes.
    except Exception as error:
      raise ValueError(
        f'{path}: {_first_sentence(error)}. Expected hf:OWNER/NAME of a model '
        'that is public, or that you are logged in for'
      ) from error
  if unreached is not None:
    raise ValueError(
      f'{path}: is not in the cache, and the hub cannot be reached. Fetch '
      f"{_HUB_FILES[0]} where there is a network, and give that file's path"
    ) from unreached
  raise ValueError(f'{path}: has neither {" nor ".join(_HUB_FILES)}')


def _damaged(file: Path, error: Exception) -> ValueError:
  if isinstance(error, PermissionError):
    return ValueError(f'{file}: may not be read; check its permissions')
  return ValueError(
    f'{file}: is truncated, damaged or no {file.suffix} file '
    f'({_first_sentence(error)}). Fetch or save it again'
  )


def _first_sentence(error: Exception) -> str:
  """What the error is; libraries follow it with advice of their own."""
  text = ' '.join(str(error).split()).split('. ')[0].rstrip('.')
  return f'{type(error).__name__}: {text}' if text else type(error).__name__

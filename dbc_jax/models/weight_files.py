"""Files of network weights as NumPy arrays, in and out.

The one module of this room that touches files.
"""

import argparse
import contextlib
import json
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy

from dbc_jax import values

# What zipfile raises for a damaged archive; a name may be no text.
_NO_ZIP = (OSError, zipfile.BadZipFile, UnicodeError, NotImplementedError)
_TORCH_SUFFIXES = ('.pth', '.pt', '.bin', '.ckpt')
_SUFFIXES = ('.safetensors', *_TORCH_SUFFIXES, '.npz')
# Entries that hold the tensors of a network, the likeliest first.
_WRAPPERS = (
  *('state_dict', 'model', 'net', 'teacher', 'model_state_dict', 'network'),
  *('model_ema', 'module', 'encoder', 'backbone', 'weights', 'params'),
)
# Of a .safetensors file, those that NumPy knows, and what its header takes.
_DTYPES = {
  *('F64', 'F32', 'F16', 'BF16', 'I64', 'I32', 'I16', 'I8'),
  *('U64', 'U32', 'U16', 'U8', 'BOOL', 'C64'),
}
_LARGEST_HEADER = 10**8
# Weights hardly get smaller by packing.
_UNPACKED_TO, _SMALLEST_BOMB, _LARGEST_UNPACKED = 20, 10**8, 2 * 10**10
_LISTED = 5
_DEEPEST = 4  # Of entries in entries; a pickle may even hold itself.
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
  file = values.path(path, 'path')
  if file.suffix != '.npz':
    raise ValueError(f'{file}: expected a path that ends in .npz')
  leaves = flatten(variables)
  if not isinstance(variables, Mapping) or not leaves:
    raise ValueError(
      f'variables: got {type(variables).__name__} of {len(leaves)} arrays, '
      "expected 'params' and 'batch_stats' of an encoder"
    )
  np.savez(file, **jax.tree.map(np.asarray, leaves))


def locate(path: str | os.PathLike[str]) -> Path:
  """The file that a path or 'hf:OWNER/NAME' stands for.

  Raises:
    ValueError: there is none, it has an unknown suffix, or it cannot be
      fetched.
  """
  if str(path).startswith('hf:'):
    return _fetch(str(path))
  file = values.path(path, 'path')
  if file.is_dir():
    raise ValueError(f'{file}: is a folder, expected one file of weights')
  if not file.is_file():
    raise ValueError(
      f'{file}: no such file. Give a file of weights, or hf:OWNER/NAME'
    )
  kind(file)
  return file


def kind(file: Path) -> str:
  """'.npz', '.safetensors' or '.pth': by its suffix, else by its content.

  Raises:
    ValueError: neither tells.
  """
  suffix = file.suffix.lower()
  if suffix in _SUFFIXES:
    return '.pth' if suffix in _TORCH_SUFFIXES else suffix
  try:
    with file.open('rb') as opened:
      start = opened.read(16)
    if start.startswith(b'PK'):
      with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
      if any(name.endswith('/data.pkl') for name in names):
        return '.pth'
      if names and all(name.endswith('.npy') for name in names):
        return '.npz'
  except _NO_ZIP as error:
    raise _damaged(file, error) from error
  if start[8:9] == b'{':
    return '.safetensors'
  if start.startswith(b'\x80'):  # A pickle, as torch.save wrote once.
    return '.pth'
  raise ValueError(
    f'{file}: got the suffix {file.suffix!r}, and by its content it is no file '
    f'of weights; expected one of {", ".join(_SUFFIXES)}. Unpack it first, if '
    'it is an archive'
  )


def _check_unpacked(file: Path) -> None:
  """Refuses an archive that unpacks to far more than it is, before it does."""
  if not zipfile.is_zipfile(file):
    return
  with zipfile.ZipFile(file) as archive:
    size = sum(info.file_size for info in archive.infolist())
    names = archive.namelist()
  if len(names) != len(set(names)):
    raise ValueError(f'{file}: holds a name twice; take another file')
  if size > _LARGEST_UNPACKED or size > max(
    _UNPACKED_TO * file.stat().st_size, _SMALLEST_BOMB
  ):
    raise ValueError(
      f'{file}: {file.stat().st_size / 1e6:.3g} MB would unpack to '
      f'{size / 1e6:,.0f} MB, which no weights do; take another file'
    )


def read(file: Path) -> dict[str, np.ndarray]:
  """All arrays of a file, by name, in the dtypes they have there.

  Raises:
    ValueError: damaged, not of its suffix's kind, or a pickle of more than
      plain tensors, of which nothing is executed; or torch is needed.
  """
  found = kind(file)
  try:
    _check_unpacked(file)
  except _NO_ZIP as error:
    raise _damaged(file, error) from error
  if found == '.pth':
    return _read_torch(file)
  if found == '.safetensors':
    _check_dtypes(file)
  try:
    if found == '.safetensors':
      return safetensors.numpy.load_file(file)
    # NumPy leaves a damaged file open.
    with file.open('rb') as opened, np.load(opened) as saved:
      return {name: np.asarray(saved[name]) for name in saved.files}
  # Damaged bytes end in whatever error the reader happens to meet.
  except Exception as error:
    raise _damaged(file, error) from error


def _check_dtypes(file: Path) -> None:
  """Refuses arrays that NumPy has no dtype for; judges no damaged file."""
  try:
    with file.open('rb') as opened:
      size = int.from_bytes(opened.read(8), 'little')
      header = json.loads(opened.read(min(size, _LARGEST_HEADER)))
    dtypes = {
      name: entry['dtype']
      for name, entry in header.items()
      if name != '__metadata__'
    }
  except (OSError, ValueError, TypeError, KeyError, AttributeError):
    return
  for name, dtype in dtypes.items():
    if dtype not in _DTYPES:
      raise ValueError(
        f'{file}: {name} is {dtype}, expected F32, F16 or BF16; convert the '
        'file to float32'
      )


def architecture(file: Path) -> str | None:
  """What a file says of itself that it is of, or None if nothing.

  That is 'architecture' in the metadata of a .safetensors file, or in a
  config.json beside the file, as on the hub.
  """
  found: Any = None
  if kind(file) == '.safetensors':
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
    with torch.serialization.safe_globals(_plain_types()):
      state = torch.load(file, weights_only=True, map_location='cpu')
  except pickle.UnpicklingError as error:
    raise ValueError(
      f'{file}: holds other objects than plain tensors{_unsafe(file)}, or is '
      'no file of torch.save. It was refused, and nothing in it was executed. '
      'Expected the tensors alone: torch.save(model.state_dict(), ...)'
    ) from error
  # As above.
  except Exception as error:
    raise _damaged(file, error) from error
  state = _unwrapped(state)
  if not isinstance(state, dict):
    raise ValueError(
      f'{file}: got a {type(state).__name__}, expected a dict of tensors: '
      'torch.save(model.state_dict(), ...)'
    )
  if not any(isinstance(x, torch.Tensor) for x in state.values()):
    entries = [f'{name!r} ({_about(x)})' for name, x in state.items()]
    raise ValueError(
      f'{file}: holds no tensors, but '
      f'{", ".join(entries[:_LISTED]) or "an empty dict"}; expected '
      'torch.save(model.state_dict(), ...), or that in one of the entries '
      f'{", ".join(_WRAPPERS)}'
    )
  return {name: _from_torch(file, name, x) for name, x in state.items()}


def _unwrapped(state: Any) -> Any:
  """The dict of tensors within others, where it has one of the usual names."""
  for _ in range(_DEEPEST):
    if not isinstance(state, dict):
      break
    inner = [w for w in _WRAPPERS if isinstance(state.get(w), dict)]
    if not inner:
      break
    state = state[inner[0]]
  return state


def _about(value: Any) -> str:
  size = f' of {len(value)}' if isinstance(value, dict | list | tuple) else ''
  return f'{type(value).__name__}{size}'


def _plain_types() -> list[Any]:
  """What training scripts save beside tensors: numbers and settings alone."""
  scalar = np.float64(0).__reduce__()[0]
  kinds = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)]
  # Files of older NumPy name the same function otherwise.
  older: Any = (scalar, 'numpy.core.multiarray.scalar')
  return [argparse.Namespace, scalar, older, np.dtype, *kinds]


def _unsafe(file: Path) -> str:
  """The names of what a pickle would run, as far as they can be read."""
  import torch

  try:
    names = torch.serialization.get_unsafe_globals_in_checkpoint(file)
  # Not all of its formats are read for names.
  except (pickle.UnpicklingError, OSError, ValueError, RuntimeError, KeyError):
    return ''
  return f' ({", ".join(sorted(names)[:_LISTED])})' if names else ''


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

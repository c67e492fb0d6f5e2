"""What any number of a config has to be, whatever it means."""

import math
from collections.abc import Mapping
from typing import Any

# Whole numbers that take memory, or a list as long; others are checked by their
# meaning.
_MOST = {
  'data.stored_size': 2**13,
  'data.image_size': 2**13,
  'data.crop_padding': 2**13,
  'data.num_frames': 2**16,
  'extract_batch_size': 2**16,
  'train.batch_size': 2**16,
  'train.warmup_epochs': 10**6,
  'train.stage0_epochs': 10**6,
  'train.stage_epochs': 10**6,
  'train.num_stages': 10**6,
}
_LARGEST = 2**31 - 1


def check_numbers(fields: Mapping[str, Any]) -> None:
  """Raises ValueError for what is no number, or none that fits.

  Args:
    fields: of a config, by dotted names.
  """
  for key, value in fields.items():
    if isinstance(value, str):
      continue
    is_one = isinstance(value, int | float)
    for each in [value] if is_one else value:
      if not isinstance(each, int | float):
        raise ValueError(f'{key}: got {value}, expected numbers')
      if isinstance(each, float) and not math.isfinite(each):
        raise ValueError(f'{key}: got {value}, expected a finite number')
      most = _MOST.get(key, _LARGEST) if isinstance(each, int) else 1e30
      if each > most:
        raise ValueError(f'{key}: got {value}, expected at most {most:g}')

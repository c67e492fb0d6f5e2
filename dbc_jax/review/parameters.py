"""Values out of what a page sent: texts of an address, or JSON."""

from typing import Any

_REQUIRED = object()


def whole(given: dict[str, Any], key: str, default: Any = _REQUIRED) -> Any:
  """A whole number, or the default where there is none.

  Raises:
    ValueError: it is something else, or missing without a default.
  """
  value = given.get(key, '')
  if value in ('', None) and default is not _REQUIRED:
    return default
  try:
    if not isinstance(value, str | int) or isinstance(value, bool):
      raise ValueError(value)
    number = int(value)
  except ValueError:
    raise ValueError(f'{key}: expected a whole number') from None
  if abs(number) > 2**53:
    raise ValueError(f'{key}: expected a smaller number')
  return number


def real(given: dict[str, Any], key: str) -> float | None:
  """A number, or None where there is none; raises as `whole`."""
  value = given.get(key, '')
  if value in ('', None):
    return None
  try:
    return float(value)
  except (TypeError, ValueError):
    raise ValueError(f'{key}: expected a number') from None


def whole_numbers(given: dict[str, Any], key: str) -> list[int]:
  """A list of whole numbers; raises as `whole`."""
  values = given.get(key)
  if not isinstance(values, list):
    raise ValueError(f'{key}: expected a list of whole numbers')
  return [whole({key: value}, key) for value in values]

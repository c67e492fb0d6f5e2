"""The choice of a criterion: its name, its weight and its options."""

import dataclasses
import functools
import importlib
import inspect
import numbers
import pkgutil
from typing import TypeGuard

from dbc_jax.cluster import criteria
from dbc_jax.cluster.criteria import rule as rules

# Prices of a few thousand samples by it are scores that float32 holds.
_LARGEST_WEIGHT = 1e30


@dataclasses.dataclass(frozen=True)
class Criterion:
  """Which pair of clusters merges first: the one with the smallest score.

      buc       min_{i in a, j in b} dist(i, j) + reg_weight (n_a + n_b)
      dbc       M_ab + reg_weight (d_a + d_b)
      ecluster  E_ab + reg_weight (SSD_a + SSD_b)
      estat     n_a n_b / (n_a + n_b) E_ab + reg_weight (SSD_a + SSD_b)
      average   M_ab + reg_weight (n_a + n_b)

  with M the mean linkage, d the intra-cluster dispersion, SSD the sum of
  squared deviations and E_ab = 2 M_ab - M_aa - M_bb.

  Attributes:
    name: a file of `dbc_jax/cluster/criteria`, as 'dbc'; or a rule of another
      package, as 'package.module:Rule'.
    reg_weight: weight of the regulariser, >= 0; the papers' lambda. 0 is each
      paper's row without regulariser.
    intra: dbc only: 'sum' or 'mean'.
    update: dbc only: 'exact' or 'eq7'.
    ssd: ecluster and estat only: 'sum' or 'printed'.
    merge: 'sequential': scores are exact after every merge; 'ranked': pairs
      are ranked once, as the public codes do.
    squared: buc and dbc only: squared Euclidean distances. Each rule's file
      has what its options mean, and its source.

  Raises:
    ValueError: a value is not among those, or an option is not the name's.
  """

  name: str
  reg_weight: float
  _: dataclasses.KW_ONLY
  intra: str = 'sum'
  update: str = 'exact'
  ssd: str = 'sum'
  merge: str = 'sequential'
  squared: bool = False

  def __post_init__(self) -> None:
    taken = {'merge': ('sequential', 'ranked'), **_find(self.name).options()}
    weight = self.reg_weight
    if (
      not isinstance(weight, numbers.Real)
      or isinstance(weight, bool)
      or not 0 <= weight <= _LARGEST_WEIGHT
    ):
      raise ValueError(
        f'reg_weight: got {weight!r}, expected a finite number >= 0, at most '
        f'{_LARGEST_WEIGHT:g}: scores are float32; 0 turns the regulariser off.'
      )
    object.__setattr__(self, 'reg_weight', float(weight))
    for field in filter(lambda field: field.kw_only, dataclasses.fields(self)):
      got, default = getattr(self, field.name), field.default
      values = taken.get(field.name, (default,))
      if got in values and isinstance(got, type(default)):
        continue
      if field.name in taken:
        raise ValueError(
          f'{field.name}: got {got!r}, expected one of {values}; leave it out '
          f'for {default!r}.'
        )
      owners = [n for n, c in built_in().items() if field.name in c.options()]
      raise ValueError(
        f'{field.name}: got {got!r} for {self.name!r}, expected {default!r}: '
        f'it is an option of {" and ".join(owners)} alone; leave it out.'
      )

  @functools.cached_property
  def rule(self) -> rules.Rule:
    """The rule of this name, with these options."""
    rule = _find(self.name)
    fields = {field.name for field in dataclasses.fields(self) if field.kw_only}
    taken = fields & rule.options().keys()
    return rule(**{option: getattr(self, option) for option in taken})

  @property
  def form(self) -> 'Criterion':
    """Itself with a weight of 0 or 1: what compiled code depends on.

    The weight is passed beside it, so that another one compiles nothing.
    """
    return dataclasses.replace(self, reg_weight=float(self.reg_weight > 0))

  @property
  def uses_deviations(self) -> bool:
    """Whether SSD enters the score at all."""
    return self.rule.uses_deviations and self.reg_weight > 0


def check_criterion(criterion: object) -> None:
  """Raises ValueError unless it is a `Criterion`."""
  if not isinstance(criterion, Criterion):
    raise ValueError(
      f'criterion: got {criterion!r}, expected a Criterion; pass '
      "Criterion('average', 0.002) or another."
    )


def _is_rule(found: object) -> TypeGuard[type[rules.Rule]]:
  return (
    inspect.isclass(found)
    and issubclass(found, rules.Rule)
    and not inspect.isabstract(found)
  )


@functools.cache
def built_in() -> dict[str, type[rules.Rule]]:
  """The rules of this folder, by the names of their files."""
  found = {}
  for file in pkgutil.iter_modules(criteria.__path__):
    module = importlib.import_module(f'{criteria.__name__}.{file.name}')
    rule = getattr(module, 'Rule', None)
    if _is_rule(rule):
      found[file.name] = rule
  return found


def _find(name: str) -> type[rules.Rule]:
  """The rule of this name, of this folder or of another package."""
  if str(name) in built_in():
    return built_in()[str(name)]
  module, _, attribute = str(name).partition(':')
  if not attribute:
    raise ValueError(
      f'name: got {name!r}, expected one of {", ".join(built_in())}, or '
      "'package.module:Rule'; pick the criterion to merge by."
    )
  try:
    found = getattr(importlib.import_module(module), attribute)
  except Exception as e:  # Whatever a module may do when it is imported.
    raise ValueError(
      f'name: got {name!r}, which cannot be imported ({e}); name a rule as '
      "'package.module:Rule', of a package that Python finds."
    ) from e
  if not _is_rule(found):
    raise ValueError(
      f'name: got {name!r}, expected a subclass of {rules.__name__}.Rule that '
      'has its abstract methods; docs/extend.md shows one.'
    )
  return found

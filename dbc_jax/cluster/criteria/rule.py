"""What a criterion consists of: the base class of every rule.

A rule is a class named `Rule` in a file of this folder. The file's name is the
criterion's.
"""

import abc
import dataclasses
import typing
from typing import Any, ClassVar, NamedTuple

from jax import Array

from dbc_jax.cluster.linkages import MEAN, Linkage


class Terms(NamedTuple):
  """What a score needs to know of single clusters, each [K] float64."""

  sizes: Array
  within: Array  # Linkage of a cluster with itself.
  ssd: Array  # Sum of squared deviations from the mean.
  own: Any = ()  # What one rule keeps besides: arrays [K], from its `start`.


@dataclasses.dataclass(frozen=True)
class Rule(abc.ABC):
  """How a criterion scores two clusters.

      score = distance(inter, a, b) + reg_weight * price(a, b)

  The pair with the smallest score merges first. All methods work element by
  element, with broadcasting, in float64, and JAX traces them.

  A field of a rule that has the name of one of `Criterion` is its option: a
  `Literal` of the values it takes, the default first.

  Attributes:
    linkage: of two clusters, the `inter` of the methods.
    squared: whether the library's own distances are squared.
    follows: ranked merging may meet a pair that names an absorbed cluster. True
      unites the clusters in which the two now live, False skips the pair.
    uses_within: False if no method reads `within`. This saves a pass.
    uses_deviations: False if `price` does not read `ssd`. This saves memory.
      No other method may read it: `ssd` is zero where reg_weight is.
  """

  linkage: ClassVar[Linkage] = MEAN
  squared = False
  follows: ClassVar[bool] = False
  uses_within: ClassVar[bool] = True
  uses_deviations: ClassVar[bool] = True

  @abc.abstractmethod
  def distance(self, inter: Array, a: Terms, b: Terms) -> Array:
    """How far apart clusters of this linkage are."""

  @abc.abstractmethod
  def price(self, a: Terms, b: Terms) -> Array:
    """What the regulariser weighs; the weight stays outside."""

  def start(self, terms: Terms) -> Terms:
    """Terms of the starting clusters, with what the rule keeps besides."""
    return terms

  def merge(self, a: Terms, b: Terms, inter: Array, gap: Array) -> Terms:
    """Terms of the union of a and b; `gap` is ||mean_a - mean_b||^2."""
    n_a, n_b = a.sizes, b.sizes
    n = n_a + n_b
    within = self.linkage.merge_within(a.within, b.within, inter, n_a, n_b)
    return Terms(n, within, a.ssd + b.ssd + n_a * n_b / n * gap)

  @classmethod
  def options(cls) -> dict[str, tuple]:
    """The values that each option takes, the default first."""
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]
    return {name: typing.get_args(hints[name]) for name in names}

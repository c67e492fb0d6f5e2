"""SGD as the papers use it, Adam, and the schedule of their rates."""

import itertools
import math
from typing import Any

import jax
import optax

OPTIMIZERS = ('sgd', 'adam')


def create_optimizer(
  *,
  momentum: float,
  weight_decay: float,
  backbone_multiplier: float,
  frozen: tuple[str, ...] = (),
  name: str = 'sgd',
) -> optax.GradientTransformation:
  """An optimiser without its learning rate, which the step multiplies in.

  Keeping the rate out of the transformation lets one compiled step serve every
  stage of the schedule.

  Args:
    momentum: of SGD's velocity; 0.9.
    weight_decay: L2 penalty, added to the gradient before anything else.
    backbone_multiplier: factor on the rate of everything under 'backbone';
      0.1 for pre-trained weights.
    frozen: prefixes of the names under 'backbone' that stay as they are;
      weight decay, too, leaves them alone.
    name: 'sgd', of Nesterov, or 'adam', with its usual 0.9, 0.999 and 1e-8.

  Returns:
    Transformation whose updates are to be scaled by -learning_rate.

  Source: SGD of both papers; Nesterov and weight decay 5e-4 are those of BUC's
    public code. Kingma and Ba, Adam (2015).
  """

  def backbone_mask(params: Any) -> Any:
    return {
      name: jax.tree.map(lambda _, inside=(name == 'backbone'): inside, tree)
      for name, tree in params.items()
    }

  def frozen_mask(params: Any) -> Any:
    return jax.tree_util.tree_map_with_path(
      lambda path, _: (
        path[0].key == 'backbone' and path[1].key.startswith(frozen)
      ),
      params,
    )

  directions = {
    'sgd': lambda: optax.trace(momentum, nesterov=True),
    'adam': optax.scale_by_adam,
  }
  return optax.chain(
    optax.add_decayed_weights(weight_decay),
    directions[name](),
    optax.masked(optax.scale(backbone_multiplier), backbone_mask),
    optax.masked(optax.set_to_zero(), frozen_mask),
  )


def learning_rates(
  stage: int,
  epoch: int,
  *,
  initial: float,
  dropped: float,
  drop_epoch: int,
  later: float,
  later_decay_epochs: int = 0,
  scale: float = 1.0,
  warmup_epochs: int = 0,
) -> tuple[float, float]:
  """Rates of one epoch: of its first step, and at its end; linear between.

  Args:
    stage: 0 for the first.
    epoch: within the stage, from 0.
    initial, dropped: in stage 0, before and from `drop_epoch` on.
    drop_epoch: 15 in the papers (16 in BUC's public code).
    later: in every later stage.
    later_decay_epochs: within which it falls to zero in each of them; 0: never.
    scale: of the global batch over the one that these rates are for; they are
      multiplied by it.
    warmup_epochs: of stage 0, in which the rate rises to that if scale > 1.

  Source: E-cluster, sec. 4.2; DBC, sec. IV-B. The linear rule and its warm-up
    are those of Goyal et al., Accurate, Large Minibatch SGD (2017).
  """
  if stage > 0:
    falls = 1.0 / later_decay_epochs if later_decay_epochs else 0.0
    start, end = (1.0 - falls * passed for passed in (epoch, epoch + 1))
    return scale * later * start, scale * later * end
  rate = initial if epoch < drop_epoch else dropped
  if scale <= 1.0 or epoch >= warmup_epochs:
    return scale * rate, scale * rate
  start, end = (
    1.0 + (scale - 1.0) * passed / warmup_epochs
    for passed in (epoch, epoch + 1)
  )
  return start * rate, end * rate


def cosine_rates(rate: float, epochs: int) -> list[tuple[float, float]]:
  """Rates that fall from this one to zero, at both ends of each epoch.

  Source: Loshchilov and Hutter, SGDR (2017), Eq. 5, without restarts.
  """
  rates = [
    rate * (1.0 + math.cos(math.pi * passed / epochs)) / 2.0
    for passed in range(epochs + 1)
  ]
  return [*itertools.pairwise(rates)]

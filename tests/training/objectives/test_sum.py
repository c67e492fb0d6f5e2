"""Objectives by name, and sums of them as a config writes them."""

import jax.numpy as jnp
import numpy as np
import pytest

from dbc_jax.training.objectives import Outputs, create_objective

_OPTIONS = {'temperature': 0.1, 'momentum': 0.5}


def test_a_sum_is_written_with_its_weights():
  rng = np.random.default_rng(0)
  rows = rng.normal(size=(6, 4)).astype(np.float32)
  rows /= np.linalg.norm(rows, axis=1, keepdims=True)
  labels = jnp.array([0, 1, 0, 1, 2, 2])
  outputs = Outputs(jnp.asarray(rows), jnp.asarray(rows))
  alone = create_objective('memory', **_OPTIONS)
  twice = create_objective('0.5 memory + 2 memory', **_OPTIONS)
  state = alone.start(rows, np.asarray(labels))
  loss, accuracy = alone.loss(state, outputs, labels)
  both = twice.start(rows, np.asarray(labels))
  got, same = twice.loss(both, outputs, labels)
  np.testing.assert_allclose(got, 2.5 * loss, rtol=1e-6)
  assert same == accuracy
  assert create_objective('memory + 0.1 contrastive', **_OPTIONS).views == 2


@pytest.mark.parametrize(
  ('name', 'expected'),
  [
    ('nothing', r"^objective: got 'nothing', expected one of \['camera_prox"),
    ('memory + nothing', r"^objective: got 'nothing', expected one of"),
    ('memory + half contrastive', r"expected a weight above 0 before 'contr"),
    ('-1 memory', r"expected a weight above 0 before 'memory'"),
    ('memory + camera_proxies', r'it stands alone$'),
  ],
)
def test_bad_objectives_are_named(name, expected):
  with pytest.raises(ValueError, match=expected):
    create_objective(name, **_OPTIONS)

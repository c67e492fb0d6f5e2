"""The contrastive loss; test_step.py has its steps, run/test_warmup.py runs."""

import numpy as np
import pytest

from dbc_jax.training.objectives import contrastive


def test_loss_equals_a_loop_over_the_rows():
  rng = np.random.default_rng(0)
  rows = rng.normal(size=(12, 5)).astype(np.float32)
  rows /= np.linalg.norm(rows, axis=1, keepdims=True)
  terms, hits = [], []
  for i in range(4, 10):
    others = {
      k: float(rows[i].astype(float) @ rows[k]) for k in range(12) if k != i
    }
    partner = i + 1 if i % 2 == 0 else i - 1
    total = sum(np.exp(value / 0.2) for value in others.values())
    terms.append(np.log(total) - others[partner] / 0.2)
    hits.append(max(others, key=others.get) == partner)
  loss, accuracy = contrastive.contrastive_loss(rows[4:10], rows, 4)
  assert loss == pytest.approx(np.mean(terms), rel=1e-5)
  assert accuracy == pytest.approx(np.mean(hits))


def test_views_that_agree_and_differ_from_the_rest_cost_least():
  apart = np.repeat(np.eye(8, dtype=np.float32), 2, axis=0)
  loss, accuracy = contrastive.contrastive_loss(apart, apart, 0)
  # One other view at similarity 1, fourteen rows at 0.
  expected = np.log(np.exp(5.0) + 14.0) - 5.0
  assert loss == pytest.approx(expected, rel=1e-5)
  assert accuracy == 1.0
  alike = np.ones((16, 8), np.float32) / np.sqrt(8)
  assert contrastive.contrastive_loss(alike, alike, 0)[0] == pytest.approx(
    np.log(15), rel=1e-5
  )

"""Training is interrupted between epochs, and goes on as if it had not been."""

import jax
import numpy as np
import pytest
import runs

from dbc_jax.data.frames import ResidentFrames
from dbc_jax.data.split import Split
from dbc_jax.run import build


def _trainer(monkeypatch):
  runs.one_device(monkeypatch)
  config = runs.small_config('folder', '')
  config.train.objective = 'memory'
  return build.Parts(config)


@pytest.mark.slow
def test_a_state_between_epochs_is_all_that_the_rest_needs(monkeypatch):
  parts = _trainer(monkeypatch)
  step = parts.trainer.step
  images = runs.make_images(20, 5)
  split = Split(ResidentFrames(images), np.arange(20))
  labels = np.arange(20, dtype=np.int32)
  variables = parts.init_variables()
  embeddings = parts.extract(variables, split)[1]
  start = step.start(
    variables,
    step.objective.start(embeddings, labels),
    step=0,
    rng=jax.random.key(0),
  )
  seen = []

  def passes(state, first):
    return parts.trainer.fit(
      state,
      split,
      labels,
      rates=[(0.1, 0.05), (0.05, 0.02), (0.02, 0.02)][first:],
      seeds=[(0, epoch) for epoch in range(3)][first:],
      batch_size=8,
      num_frames=1,
      on_step=lambda epoch, *_: seen.append(epoch + first),
    )

  *_, (last, straight) = passes(start, 0)
  assert last == 2
  assert seen == [0, 0, 1, 1, 2, 2]
  seen.clear()
  _, kept = next(passes(start, 0))
  # As it would be written to disk and read again.
  rng = kept.rng
  kept = jax.device_get(kept._replace(rng=None))._replace(rng=rng)
  *_, (_, resumed) = passes(kept, 1)
  assert seen == [0, 0, 1, 1, 2, 2]
  jax.tree.map(
    np.testing.assert_array_equal,
    jax.device_get(straight._replace(rng=None)),
    jax.device_get(resumed._replace(rng=None)),
  )

"""Weights from a file: read before any work, by a resumed run not at all."""

import json

import jax
import numpy as np
import pytest
import runs

from dbc_jax import models
from dbc_jax.commands import evaluate
from dbc_jax.data.augment import augment_strongly
from dbc_jax.run import build, checkpoint, job

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('one_device')]


def _saved(config, path):
  """Weights of another seed than the run's, in a file."""
  weights = build.Parts(runs.with_seed(config, 7)).init_variables()
  models.save_npz(path, weights)
  return weights


def test_a_run_begins_with_the_weights_of_its_file(tmp_path, monkeypatch):
  root = runs.write_market(tmp_path / 'market')
  config = runs.small_config('market1501', root)
  config.train.init = str(tmp_path / 'weights.npz')
  weights = _saved(config, tmp_path / 'weights.npz')
  begun = []
  first_state = job.StageRunner.first_state

  def watched(self, split, variables=None):
    begun.append(variables)
    return first_state(self, split, variables)

  monkeypatch.setattr(job.StageRunner, 'first_state', watched)
  job.run(config, tmp_path / 'work')
  jax.tree.map(np.testing.assert_array_equal, begun[0], weights)
  store = checkpoint.CheckpointStore(tmp_path / 'work' / 'checkpoints')
  assert store.latest_stage() == 3
  # What was trained is in the checkpoints; the file is needed no more.
  (tmp_path / 'weights.npz').unlink()
  job.run(config, tmp_path / 'work')
  assert len(begun) == 1


@pytest.mark.parametrize(('stage0_epochs', 'first'), [(0, 0), (3, 1)])
def test_one_cosine_over_the_later_stages(stage0_epochs, first):
  config = runs.small_config('folder', '')
  config.train.update(
    stage0_epochs=stage0_epochs,
    stage_epochs=2,
    later_learning_rate=0.03,
    reference_batch_size=config.train.batch_size // 2,
    run_decay=True,
    later_decay=False,
  )
  parts = build.Parts(config)
  rates = [
    ends for stage in range(first, 4) for ends in parts.stage_rates(stage, 4)
  ]
  count = 2 * (4 - first)
  expected = 0.03 * (1 + np.cos(np.pi * np.arange(count + 1) / count))
  np.testing.assert_allclose(
    rates, np.stack([expected[:-1], expected[1:]], axis=1), atol=1e-12
  )
  config.train.stage_steps = 7  # An epoch a stage.
  rates = build.Parts(config).stage_rates(3, 4)
  assert len(rates) == 1
  assert rates[0][1] == 0.0


def test_strong_views_are_those_of_the_warm_up():
  config = runs.small_config('folder', '')
  config.data.views = 'strong'
  parts = build.Parts(config)
  assert parts.trainer.step.augment.func is augment_strongly
  assert (
    parts.trainer.step.augment.keywords == parts.warmup.step.augment.keywords
  )


def test_bad_weights_are_an_error_before_any_image_is_read(
  tmp_path, monkeypatch
):
  root = runs.write_market(tmp_path / 'market')
  config = runs.small_config('market1501', root)
  monkeypatch.setattr(build.data_lib.Samples, 'read', None, raising=False)
  config.train.init = str(tmp_path / 'lost.safetensors')
  with pytest.raises(ValueError, match=r'^train\.init: .*lost\.safetensors'):
    job.run(config, tmp_path / 'work')
  other = runs.small_config('market1501', root)
  other.model.name = 'resnet_tiny'
  _saved(other, tmp_path / 'other.npz')
  config.train.init = str(tmp_path / 'other.npz')
  with pytest.raises(ValueError, match=r'(?s)^train\.init: .*other\.npz'):
    job.run(config, tmp_path / 'work')
  config.train.init = 'imagenet'
  with pytest.raises(ValueError, match=r"^train\.init: got 'imagenet', exp"):
    job.run(config, tmp_path / 'work')
  assert not (tmp_path / 'work').exists()


def test_a_run_with_other_pooling_and_a_neck(tmp_path):
  root = runs.write_market(tmp_path / 'market')
  config = runs.small_config('market1501', root)
  config.cluster.merge_percent = 0.5
  config.model.pooling, config.model.neck = 'gem', True
  job.run(config, tmp_path / 'work')
  store = checkpoint.CheckpointStore(tmp_path / 'work' / 'checkpoints')
  arrays = store.restore_as_saved(store.latest_stage())
  assert arrays['params']['pooling']['p'] != 3.0
  assert np.ptp(arrays['params']['neck']['bn']['scale']) > 0
  assert np.abs(arrays['batch_stats']['neck']['bn']['mean']).max() > 0
  evaluate.main([f'--workdir={tmp_path / "work"}', '--stage=last'])


def test_a_network_by_the_arrays_of_its_file(tmp_path):
  root = runs.write_market(tmp_path / 'market')
  config = runs.small_config('market1501', root)
  config.cluster.merge_percent = 0.5
  config.model.name = 'resnet8'
  config.train.init = str(tmp_path / 'weights.npz')
  _saved(config, tmp_path / 'weights.npz')
  config.model.name = ''
  (tmp_path / 'work').mkdir()
  (tmp_path / 'work' / 'config.json').write_text('{}')  # Of no run.
  job.run(config, tmp_path / 'work')
  saved = json.loads((tmp_path / 'work' / 'config.json').read_text())
  assert saved['model']['name'] == 'resnet8'
  # The run knows by now, and the file is needed no more.
  (tmp_path / 'weights.npz').unlink()
  job.run(config, tmp_path / 'work')
  with pytest.raises(ValueError, match=r'^train\.init: .*no such file'):
    job.run(config, tmp_path / 'other')
  config.train.init = 'random'
  with pytest.raises(ValueError, match=r"^model\.name: got ''.* names none"):
    job.run(config, tmp_path / 'work')

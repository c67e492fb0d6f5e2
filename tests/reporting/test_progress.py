"""Tests of the progress bar and of its two numbers."""

import io
import math
import sys
import time

import pytest

from dbc_jax.reporting import progress


class Terminal(io.StringIO):
  def isatty(self) -> bool:
    return True


def run(**options) -> progress.StageProgress:
  """Two epochs of two steps of stage 3 of 19."""
  with progress.StageProgress(3, 19, 2, 2, 16, **options) as bar:
    for step, loss in enumerate([4.0, 2.0, 1.0, 0.5]):
      bar.update(step // 2, loss, 0.5)
  return bar


def test_without_a_terminal_nothing_is_drawn(monkeypatch):
  stderr = io.StringIO()
  monkeypatch.setattr(sys, 'stderr', stderr)
  bar = run()
  assert stderr.getvalue() == ''
  assert bar.epoch_loss == 0.75


def test_on_a_terminal_one_bar_covers_the_stage(monkeypatch):
  stderr = Terminal()
  monkeypatch.setattr(sys, 'stderr', stderr)
  # Draw at each step, however fast.
  monkeypatch.setattr(progress.tqdm.tqdm, 'monitor_interval', 0)
  monkeypatch.setenv('COLUMNS', '120')
  now = [0.0]
  monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])
  bar = progress.StageProgress(3, 19, 2, 2, 16)
  with bar:
    bar._bar.mininterval = 0
    for step, loss in enumerate([4.0, 2.0, 1.0, 0.5]):
      now[0] += 1.0
      bar.update(step // 2, loss, 0.5)
  text = stderr.getvalue()
  assert 'stage 3/18 epoch 1/2' in text
  assert 'stage 3/18 epoch 2/2' in text
  assert '4/4' in text
  assert 'loss 0.75, 16 images/s' in text
  assert 'loss 1.00, 16 images/s, about 1 s of training to go' in text
  # The bar leaves an empty line behind, and never starts a new one.
  assert '\n' not in text
  assert text.split('\r')[-2].strip() == ''


def test_enabled_overrules_the_terminal(monkeypatch):
  stderr = Terminal()
  monkeypatch.setattr(sys, 'stderr', stderr)
  run(enabled=False)
  assert stderr.getvalue() == ''


def test_the_mean_loss_starts_anew_with_each_epoch():
  bar = progress.StageProgress(0, 2, 2, 3, 8, enabled=False)
  assert math.isnan(bar.epoch_loss)
  bar.update(0, 4.0, 0.5)
  bar.update(0, 2.0, 1.0)
  assert bar.epoch_loss == 3.0
  bar.update(1, 1.0, 0.25)
  assert bar.epoch_loss == 1.0


def test_speed_counts_images_since_the_stage_began(monkeypatch):
  now = [100.0]
  monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])
  with progress.StageProgress(0, 2, 1, 3, 8, enabled=False) as bar:
    assert bar.images_per_second == 0.0
    now[0] += 2.0
    bar.update(0, 1.0, 0.0)
    bar.update(0, 1.0, 0.0)
    # What follows the last step, such as the evaluation, is not counted.
    now[0] += 50.0
  assert bar.images_per_second == pytest.approx(8.0)


def test_an_error_inside_passes_through_and_closes_the_bar(monkeypatch):
  monkeypatch.setattr(sys, 'stderr', Terminal())
  bar = progress.StageProgress(0, 1, 1, 2, 8)
  with pytest.raises(FloatingPointError), bar:
    raise FloatingPointError('loss is NaN')
  assert bar._bar.disable


def test_work_that_takes_long_says_what_it_is(monkeypatch, caplog):
  monkeypatch.setattr(progress, '_PATIENCE', 0.05)
  for stderr in (Terminal(), io.StringIO()):
    monkeypatch.setattr(sys, 'stderr', stderr)
    with (
      caplog.at_level('INFO', logger='dbc_jax'),
      progress.busy('clustering'),
    ):
      time.sleep(0.3)
    if stderr.isatty():
      assert 'clustering [00:00]' in stderr.getvalue()
      assert '\n' not in stderr.getvalue()
      assert not caplog.text
    else:
      assert not stderr.getvalue()
      assert caplog.text.count('clustering ...') == 1


def test_work_that_counts_has_a_bar_and_a_rate(monkeypatch, caplog):
  monkeypatch.setattr(progress, '_PATIENCE', 0.01)
  monkeypatch.setattr(progress, '_TELL_SECONDS', 0.02)
  monkeypatch.setenv('COLUMNS', '100')
  for stderr in (Terminal(), io.StringIO()):
    monkeypatch.setattr(sys, 'stderr', stderr)
    with (
      caplog.at_level('INFO', logger='dbc_jax'),
      progress.busy('clustering') as count,
    ):
      for done, now in ((1000, 7.0), (1020, 11.0)):
        with monkeypatch.context() as patch:
          patch.setattr(progress.time, 'monotonic', lambda now=now: now)
          count(done, 5000)
      time.sleep(1.3)
    text = stderr.getvalue() if stderr.isatty() else caplog.text
    said = {True: '1020/5000', False: '1,020 of 5,000'}[stderr.isatty()]
    assert said in text
    assert '5.0/s' in text
    assert ('clustering  20%|' in text) == stderr.isatty()


def test_short_work_says_nothing_and_errors_pass(monkeypatch):
  monkeypatch.setattr(sys, 'stderr', Terminal())
  with pytest.raises(ValueError, match='no'), progress.busy('clustering'):
    raise ValueError('no')
  assert sys.stderr.getvalue() == ''

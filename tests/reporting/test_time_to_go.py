"""What is left of a run, by a clock that the test turns."""

import pytest

from dbc_jax.reporting import time_to_go
from dbc_jax.reporting.time_to_go import RunClock, duration


@pytest.fixture
def now(monkeypatch):
  now = [1000.0]
  monkeypatch.setattr(time_to_go.time, 'monotonic', lambda: now[0])
  return now


def train(clock, now, part, steps, seconds, epochs=1, first=0.0):
  """A part whose steps come one by one; `first` more is taken by the first."""
  clock.begin(part)
  now[0] += first
  for step in range(steps):
    now[0] += seconds
    clock.count((step + 1) / steps, step * epochs // steps)
  clock.end()


def test_nothing_is_said_before_anything_is_measured(now):
  clock = RunClock({0: 10.0, 1: 10.0})
  assert clock.describe() == ''
  clock.begin(0)
  assert clock.describe() == ''
  # The first step compiles, and tells nothing of the others.
  now[0] += 50.0
  clock.count(0.1, 0)
  assert clock.describe() == ''


def test_the_first_part_goes_by_its_own_steps_and_says_what_is_left_out(now):
  clock = RunClock({'warmup': 10.0, 0: 40.0})
  clock.begin('warmup')
  now[0] += 50.0
  clock.count(0.1, 0)
  now[0] += 8.0
  clock.count(0.5, 0)
  # 2 s a unit: 5 units here, 40 in the stage.
  assert clock.describe() == 'about 2 min of training to go'


def test_a_part_that_is_taken_up_goes_by_the_steps_from_there(now):
  """Of a device that computes whole epochs, from the fourth of ten on."""
  clock = RunClock({0: 10.0})
  clock.begin(0)
  clock.resume(0.3)
  for epoch in range(3, 6):
    now[0] += 15.0
    for step in (0.5, 1.0):
      clock.count((epoch + step) / 10, epoch)
  # 15 s an epoch, four of which are left.
  assert clock.describe() == 'about 60 s to go' or (
    clock.describe() == 'about 60 s of training to go'
  )


def test_what_follows_a_training_counts_once_it_was_measured(now):
  clock = RunClock({0: 10.0, 1: 5.0, 2: 5.0})
  train(clock, now, 0, 10, 1.0)
  now[0] += 20.0
  # Two more trainings of 5 s, and what follows them.
  assert clock.describe() == 'about 50 s to go'
  clock.begin(1)
  # 10 s of training, 20 s after each.
  assert clock.describe() == 'about 50 s to go'
  now[0] += 2.0
  clock.count(0.4, 0)
  assert clock.describe() == 'about 48 s to go'


def test_nothing_is_left_after_the_last_part(now):
  clock = RunClock({0: 10.0})
  train(clock, now, 0, 10, 1.0)
  now[0] += 5.0
  assert clock.describe() == ''


def test_a_later_part_goes_by_its_own_steps_once_there_are_some(now):
  clock = RunClock({0: 10.0, 1: 10.0})
  train(clock, now, 0, 10, 1.0)
  clock.begin(1)
  now[0] += 3.0
  clock.count(0.1, 0)
  now[0] += 12.0
  clock.count(0.5, 0)
  # 3 s a unit now; nothing followed the first.
  assert clock.describe() == 'about 15 s to go'


def test_whole_epochs_at_once_are_measured_from_the_second_on(now):
  clock = RunClock({0: 40.0})
  clock.begin(0)
  now[0] += 100.0  # It compiles.
  for step in range(10):
    now[0] += 0.001
    clock.count((step + 1) / 40, 0)
  assert clock.describe() == ''
  now[0] += 20.0
  for step in range(10, 20):
    now[0] += 0.001
    clock.count((step + 1) / 40, 1)
  # 10 units in 20 s; 20 are left.
  assert clock.describe() == 'about 40 s of training to go'


def test_a_single_epoch_at_once_counts_as_a_whole(now):
  clock = RunClock({0: 10.0, 1: 10.0, 2: 10.0})
  for part in (0, 1):
    clock.begin(part)
    now[0] += 30.0
    clock.count(1.0, 0)
    clock.end()
    now[0] += 10.0
  assert clock.describe() == 'about 40 s to go'


def test_a_run_that_goes_on_knows_what_is_behind_it(now):
  clock = RunClock({'warmup': 100.0, 0: 10.0, 1: 10.0})
  train(clock, now, 1, 10, 2.0)
  assert clock.describe() == ''


@pytest.mark.parametrize(
  ('seconds', 'text'),
  [
    (0.4, '0 s'),
    (89, '89 s'),
    (150, '2 min'),
    (5500, '1 h 32 min'),
    (None, 'unknown'),
  ],
)
def test_durations(seconds, text):
  assert duration(seconds) == text

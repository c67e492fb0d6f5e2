"""Tests of the card of a network: it tells what the run was, and no more."""

import pytest

from dbc_jax.reporting.model_card import format_card

CONFIG = {
  'seed': 7,
  'data': {'name': 'demo', 'image_size': (64, 32), 'use_cameras': 'True'},
  'model': {'name': 'resnet8'},
  'train': {'init': 'self_supervised'},
  'cluster': {'criterion': 'dbc', 'cut': 'dense'},
}
HISTORY = [
  {'stage': 'warmup', 'num_clusters': 90, 'map': 0.5, 'rank1': 0.6},
  {'stage': 0, 'num_clusters': 80, 'map': 0.712, 'rank1': 0.8, 'pair_f': 0.5},
]


def card(
  history=HISTORY, config=CONFIG, kept_stage=0, licence='apache-2.0'
) -> str:
  return format_card(
    'A title',
    config,
    history,
    kept_stage,
    num_images=1234,
    about_data='They are drawn.',
    how='Run it.\nThen look.',
    licence=licence,
  )


def test_it_tells_network_images_start_clusters_and_figures():
  text = card()
  assert text.startswith('---\nlicense: apache-2.0\n')
  for expected in (
    '# A title\n',
    '`resnet8`, 64 x 32 RGB in',
    '1,234 of `demo`. They are drawn.',
    'Began with random weights and a label-free warm-up on the same ones; seed',
    '`dbc`, cut `dense`; cameras used.',
    'Stage 0 of 0 to 0, chosen without labels, with 80 clusters.',
    '| mAP | 71.2 % |',
    '| pair F | 0.50 |',
    'Run it.\nThen look.\n',
  ):
    assert expected in text
  assert '50.0 %' not in text  # of another stage


def test_weights_and_cameras_are_told_as_they_were():
  data = CONFIG['data'] | {'use_cameras': 'False'}
  config = CONFIG | {'train': {'init': '/home/me/w.pth'}, 'data': data}
  text = card(config=config)
  assert 'Began with the weights in w.pth;' in text
  assert '/home' not in text
  assert 'cameras not used' in text


def test_without_identities_it_says_that_nothing_was_scored():
  text = card([{'stage': 0, 'num_clusters': 80}])
  assert 'Not scored' in text
  assert 'mAP' not in text


def test_a_stage_that_is_not_there_is_an_error():
  with pytest.raises(ValueError, match='kept_stage'):
    card(kept_stage=5)


def test_a_licence_is_nobodys_but_the_users():
  assert card(licence=None).startswith('---\nlibrary_name: dbc_jax\n')

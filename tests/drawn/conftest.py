"""Drawn input is the same in every run, few, and without a deadline."""

import hypothesis

hypothesis.settings.register_profile(
  'tests',
  derandomize=True,
  deadline=None,
  max_examples=40,
  database=None,
  suppress_health_check=[
    hypothesis.HealthCheck.function_scoped_fixture,
    hypothesis.HealthCheck.too_slow,
  ],
)
hypothesis.settings.load_profile('tests')

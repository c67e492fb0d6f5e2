"""The step of .ci/run that looks for known vulnerabilities."""

import importlib.util
import json
import pathlib

import pytest

PATH = pathlib.Path(__file__).parents[1] / '.ci' / 'audit.py'


@pytest.fixture(scope='module')
def verdict():
  spec = importlib.util.spec_from_file_location('audit', PATH)
  assert spec is not None
  assert spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.verdict


def _output(*dependencies):
  return json.dumps({'dependencies': dependencies, 'fixes': []})


SAFE = {'name': 'a', 'version': '1', 'vulns': []}
UNSAFE = {'name': 'b', 'version': '2', 'vulns': [{'id': 'PYSEC-1'}]}
ABSENT = {'name': 'c', 'skip_reason': 'Dependency not found on PyPI'}
NO_NETWORK = (
  'Traceback (most recent call last):\n'
  "requests.exceptions.ProxyError: HTTPSConnectionPool(host='pypi.org')\n"
)


def test_an_advisory_fails(verdict):
  assert verdict(1, _output(SAFE, UNSAFE, ABSENT), '') == (1, 'b 2: PYSEC-1')


def test_none_passes_and_names_what_was_not_looked_up(verdict):
  assert verdict(0, _output(SAFE), '') == (0, '1 packages, no advisory')
  status, line = verdict(0, _output(SAFE, ABSENT), '')
  assert status == 0
  assert 'not of c' in line


def test_without_advisories_it_says_that_it_was_skipped(verdict):
  # pip-audit itself then says that it found none.
  status, line = verdict(0, _output(ABSENT), 'No known vulnerabilities found')
  assert (status, line.partition(':')[0]) == (0, 'skipped')
  status, line = verdict(1, '', NO_NETWORK)
  assert (status, line.partition(':')[0]) == (0, 'skipped')


@pytest.mark.parametrize('status', [1, 2])
def test_any_other_failure_fails(verdict, status):
  line = 'No module named pip_audit'
  assert verdict(status, '', line) == (1, f'pip-audit failed: {line}')
  assert verdict(status, _output(SAFE), '')[0] == 1

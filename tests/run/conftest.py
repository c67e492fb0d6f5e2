"""A small data set on disk, for tests of whole runs."""

import pytest
import runs


@pytest.fixture(scope='module')
def market(tmp_path_factory):
  return runs.write_market(tmp_path_factory.mktemp('market'))

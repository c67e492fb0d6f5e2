"""The report of a run: while it goes on, and of its result."""

from dbc_jax.reporting.report.page import write_progress, write_report
from dbc_jax.reporting.report.ranks import Found, RankedList
from dbc_jax.reporting.report.scatter import chosen as rows_of_map
from dbc_jax.reporting.report.scatter import places_of_map

__all__ = [
  'Found',
  'RankedList',
  'places_of_map',
  'rows_of_map',
  'write_progress',
  'write_report',
]

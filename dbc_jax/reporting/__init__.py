"""What people look at: metric files, progress, cluster lists, the report."""

from dbc_jax.reporting.clusters import write_clusters
from dbc_jax.reporting.metrics import (
  EventWriter,
  check_new,
  table_text,
  write_atomically,
  write_metrics,
  write_table,
)
from dbc_jax.reporting.progress import StageProgress, busy
from dbc_jax.reporting.projector import write_projector
from dbc_jax.reporting.record import format_record
from dbc_jax.reporting.report import (
  Found,
  RankedList,
  places_of_map,
  rows_of_map,
  write_progress,
  write_report,
)
from dbc_jax.reporting.summary import format_summary
from dbc_jax.reporting.time_to_go import RunClock

__all__ = [
  'EventWriter',
  'Found',
  'RankedList',
  'RunClock',
  'StageProgress',
  'busy',
  'check_new',
  'format_record',
  'format_summary',
  'places_of_map',
  'rows_of_map',
  'table_text',
  'write_atomically',
  'write_clusters',
  'write_metrics',
  'write_progress',
  'write_projector',
  'write_report',
  'write_table',
]

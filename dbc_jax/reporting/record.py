"""What a record of a stage holds: each key once, and how people read it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Record = Mapping[str, Any]
# What the record of a warm-up, which comes before all stages, has for a number.
WARMUP = 'warmup'
# A stage's number, or WARMUP.
Stage = int | str


class Field(NamedTuple):
  """One key of a record."""

  heading: str  # Of its column.
  # 'retrieval' needs identities of queries and gallery, 'quality' those of the
  # training samples; 'clusters' needs none; 'training', 'seconds'.
  group: str
  unit: str = ''  # '%' for a share, 'count' for a whole number, 's', or none.
  in_table: bool = False  # Whether the table of stages has it as a column.


FIELDS: dict[str, Field] = {
  'stage': Field('stage', 'training', 'count'),
  'num_clusters': Field('clusters', 'clusters', 'count', in_table=True),
  'loss': Field('loss', 'training', in_table=True),
  'accuracy': Field('accuracy', 'training'),
  'images_per_second': Field('images/s', 'training'),
  'rank1': Field('rank-1', 'retrieval', '%', in_table=True),
  'rank5': Field('rank-5', 'retrieval', '%', in_table=True),
  'rank10': Field('rank-10', 'retrieval', '%'),
  'rank20': Field('rank-20', 'retrieval', '%'),
  'map': Field('mAP', 'retrieval', '%', in_table=True),
  'map_trapz': Field('mAP trapz', 'retrieval', '%', in_table=True),
  'minp': Field('mINP', 'retrieval', '%'),
  'num_valid_queries': Field('valid queries', 'retrieval', 'count'),
  'pair_f': Field('pair F', 'quality', in_table=True),
  'pair_precision': Field('pair precision', 'quality'),
  'pair_recall': Field('pair recall', 'quality'),
  'ari': Field('ARI', 'quality', in_table=True),
  'nmi': Field('NMI', 'quality', in_table=True),
  'v_measure': Field('V-measure', 'quality'),
  'homogeneity': Field('homogeneity', 'quality'),
  'completeness': Field('completeness', 'quality'),
  'purity': Field('purity', 'quality'),
  'identities_split': Field('identities split', 'quality', 'count'),
  'clusters_merged': Field('clusters merged', 'quality', 'count'),
  'asked_clusters': Field('clusters asked for', 'clusters', 'count'),
  'pairs_inside': Field('pairs inside', 'clusters', 'count'),
  'pairs_of_one': Field('of one person', 'clusters', 'count'),
  'silhouette': Field('silhouette', 'clusters'),
  'dispersion_validity': Field('dispersion validity', 'clusters'),
  'neighbour_f': Field('neighbour F', 'clusters'),
  'view_agreement': Field('view agreement', 'clusters'),
  'stage_agreement': Field('stage agreement', 'clusters'),
  'last_merge_score': Field('last merge score', 'clusters'),
  'merge_gap': Field('merge gap', 'clusters'),
  'singletons': Field('singletons', 'clusters', 'count'),
  'median_size': Field('median size', 'clusters'),
  'largest_share': Field('largest share', 'clusters'),
  'placed': Field('placed', 'clusters', '%'),
  'corrections': Field('corrections', 'clusters', 'count'),
  'seconds_train': Field('train', 'seconds', 's'),
  'seconds_embed': Field('embed', 'seconds', 's'),
  'seconds_evaluate': Field('evaluate', 'seconds', 's'),
  'seconds_measure': Field('measure', 'seconds', 's'),
  'seconds_cluster': Field('cluster', 'seconds', 's'),
}

# Together they fit into 80 characters.
STAGE_COLUMNS = tuple(key for key, field in FIELDS.items() if field.in_table)
# What a line tells of one stage, and what stages are compared by.
_HEADLINES = ('loss', 'rank1', 'map', 'pair_f')
_COMPARED = ('num_clusters', 'silhouette', 'rank1', 'rank5', 'map', 'pair_f')


def tag(key: str) -> str:
  """Where TensorBoard shows a key: tags are grouped by what precedes '/'."""
  group = FIELDS[key].group
  if key == 'num_clusters':
    return 'clusters/count'
  if group == 'training':
    return key
  where = 'clusters' if group == 'quality' else group
  return f'{where}/{key.removeprefix("seconds_")}'


def format_value(key: str, value: Any) -> str:
  """One value as people read it."""
  unit = FIELDS[key].unit
  if isinstance(value, str):
    return value
  if unit == 'count':
    return str(int(value))
  if unit == '%':
    return f'{100 * float(value):.1f} %'
  return f'{float(value):.2f}'


def describe(record: Record) -> str:
  """The headline numbers that a record has, separated by commas."""
  parts = []
  if 'num_clusters' in record:
    parts.append(f'{int(record["num_clusters"])} clusters')
  if 'placed' in record:
    share = format_value('placed', record['placed'])
    parts[-1] += f' of {share} of the images'
  parts += [
    f'{FIELDS[key].heading} {format_value(key, record[key])}'
    for key in _HEADLINES
    if key in record
  ]
  if 'num_valid_queries' in record:
    count = int(record['num_valid_queries'])
    parts.append(f'{count:,} valid {"query" if count == 1 else "queries"}')
  return ', '.join(parts)


def format_record(record: Record) -> str:
  """One log line of a stage: its headline numbers and where the time went."""
  seconds = [
    f'{field.heading} {float(record[key]):.1f} s'
    for key, field in FIELDS.items()
    if field.group == 'seconds' and key in record
  ]
  timing = f' ({", ".join(seconds)})' if seconds else ''
  return f'stage {record["stage"]}: {describe(record)}{timing}'


def kept_record(history: Sequence[Record], kept_stage: Stage) -> Record:
  """The record of the kept stage.

  Raises:
    ValueError: there is none.
  """
  for record in history:
    if record['stage'] == kept_stage:
      return record
  stages = [record['stage'] for record in history]
  raise ValueError(
    f'kept_stage: got {kept_stage}, but the history has the stages {stages}.'
    ' Pass the stage of one of its records.'
  )


def has_any(history: Sequence[Record], keys: Iterable[str]) -> bool:
  """Whether any record has any of the keys."""
  return any(key in record for key in keys for record in history)


def was_evaluated(history: Sequence[Record]) -> bool:
  """Whether any record has a score that takes identities."""
  groups = ('retrieval', 'quality')
  return has_any(history, [k for k, f in FIELDS.items() if f.group in groups])


def compare_stages(
  history: Sequence[Record], stages: Mapping[str, Stage]
) -> tuple[list[str], list[list[str]]]:
  """Headings and cells of a table; `stages` is from a heading to a stage.

  The first heading is empty. There is a row for the stage's number and for each
  headline number that all of them have, its name first.

  Raises:
    ValueError: the history lacks one of the stages.
  """
  records = [kept_record(history, stage) for stage in stages.values()]
  rows = [
    [FIELDS[key].heading, *(format_value(key, r[key]) for r in records)]
    for key in ('stage', *_COMPARED)
    if all(key in record for record in records)
  ]
  return ['', *stages], rows


def stage_table(
  history: Sequence[Record], kept_stage: Stage
) -> tuple[list[str], list[list[str]]]:
  """Headings, and per stage as many cells; '*' marks the kept one.

  A column that no record has is left out; a value that one record lacks is '-'.
  """
  keys = [key for key in STAGE_COLUMNS if has_any(history, [key])]
  rows = []
  for record in history:
    mark = '*' if record['stage'] == kept_stage else ''
    cells = [
      format_value(key, record[key]) if key in record else '-' for key in keys
    ]
    rows.append([f'{record["stage"]}{mark}', *cells])
  return [FIELDS[key].heading for key in ('stage', *keys)], rows

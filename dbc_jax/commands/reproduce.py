"""Command line: runs a study of the papers; writes its tables and figures."""

import argparse
import os
import shlex
import sys

from dbc_jax.commands import arguments
from dbc_jax.data import load_configured
from dbc_jax.devices import mesh
from dbc_jax.reproduce import cost, grid, jobs, outputs
from dbc_jax.reproduce.controls import KINDS
from dbc_jax.reproduce.experiments import EXPERIMENTS, parse_changes, rows_of
from dbc_jax.run import config as config_lib
from dbc_jax.run import config_files

_EXAMPLE = """example:
  dbc reproduce --experiment=ablation --workdir=papers

experiments:
"""


def main(argv: list[str] | None = None) -> None:
  """Runs what is missing, then writes and prints what there is."""
  argv = sys.argv[1:] if argv is None else argv
  args, given = _parse(argv)
  # The runs need the memory of a GPU; this process only asks about networks.
  os.environ.setdefault(grid.PREALLOCATE, 'false')
  with arguments.one_line('The same command goes on with what is left.'):
    failed = _reproduce(args, given, argv)
  if failed:
    sys.exit(
      f'Error: {len(failed)} runs failed; the same command tries them again. '
      f'Their logs: {", ".join(str(job.workdir / "log.txt") for job in failed)}'
    )


def _parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
  """The arguments, and those of the form --config.KEY=VALUE."""
  names = [f'  {name:14} {what}' for name, what in EXPERIMENTS.items()]
  parser = arguments.parser(
    'reproduce', __doc__, '\n'.join([_EXAMPLE.rstrip('\n'), *names])
  )
  parser.add_argument('--experiment', required=True, choices=EXPERIMENTS)
  parser.add_argument(
    '--dataset',
    nargs='+',
    default=['demo'],
    help='one or more, as after the colon of --config: demo, market1501,small; '
    'default: demo',
  )
  parser.add_argument(
    '--root', type=arguments.path, help='where the files of the data set are'
  )
  parser.add_argument(
    '--seeds', type=int, default=3, help='how many; default 3'
  )
  parser.add_argument(
    '--workers', type=int, default=2, help='runs side by side; default 2'
  )
  parser.add_argument(
    '--workdir',
    type=arguments.folder,
    required=True,
    help='of all runs, tables and figures; experiments share it and its runs',
  )
  parser.add_argument(
    '--rows', help='names of some rows alone, as --dry_run lists them: a,b'
  )
  parser.add_argument(
    '--dry_run', action='store_true', help='lists the runs and their time'
  )
  parser.add_argument(
    '--keep_stages',
    action='store_true',
    help='keeps features and clusters of every stage, which '
    'benchmarks.stage_selection reads',
  )
  parser.add_argument(
    '--config.KEY',
    dest='unused',
    metavar='VALUE',
    help='a field of all runs, such as --config.train.init=FILE',
  )
  fields = [each for each in argv if each.startswith('--config.')]
  args = parser.parse_args([each for each in argv if each not in fields])
  if args.seeds < 1 or args.workers < 1:
    parser.error('--seeds and --workers: expected 1 or more')
  return args, [each.removeprefix('--config.') for each in fields]


def _reproduce(
  args: argparse.Namespace, given: list[str], argv: list[str]
) -> list[jobs.Job]:
  changes = parse_changes(given)
  rows = rows_of(args.experiment, changes)
  names = [row.name for row in rows]
  wanted = args.rows.split(',') if args.rows else names
  if unknown := [name for name in wanted if name not in names]:
    raise ValueError(
      f'--rows: got {", ".join(unknown)}, expected some of {", ".join(names)}'
    )
  workers, fewer = grid.check_workers(args.workers)
  if fewer:
    print(f'{workers} runs side by side: {fewer}', file=sys.stderr)

  found, absent = {}, {}
  for name in args.dataset:
    config = config_files.load_config(f'{rows[0].config}:{name}')
    config = config_files.with_changes(
      config, {k: v for k, v in changes.items() if k.startswith('data.')}
    )
    if args.root and not name.startswith('demo'):
      config.data.root = str(args.root.absolute())
    try:
      found[name] = (*load_configured(config.data), config.data.root)
    except (ValueError, OSError) as error:
      absent[name] = error
  if absent:
    others = ' '.join(found)
    raise ValueError(
      '; '.join(str(error) for error in absent.values())
      + (f'. These can still run: --dataset {others}' if others else '')
    )

  failed = []
  for name, (dataset, truth, root) in found.items():
    own = changes | {'data.root': root}
    if truth.train_pids is None and (
      blind := [
        row.name for row in rows if row.name in wanted and row.kind in KINDS
      ]
    ):
      others = [row.name for row in rows if row.kind not in KINDS]
      raise ValueError(
        f'{name}: the training images have no identities, which {blind[0]} '
        'needs' + (f'; --rows={",".join(others)} leaves it out' * bool(others))
      )
    all_jobs = [
      jobs.make_job(row, name, seed, args.workdir / 'runs', own, truth)
      for seed in range(args.seeds)
      for row in rows
      if row.name in wanted or not jobs.taken_field(row, own)
    ]
    chosen = [job for job in all_jobs if job.row.name in wanted]
    for job in chosen:
      mesh.check_batch_size(job.config.train.batch_size)
      config_lib.check_num_samples(job.config, len(dataset.train))
    jobs.check_same(chosen)
    tests = [len(x) for x in (dataset.query, dataset.gallery) if x is not None]
    estimates = cost.estimates(chosen, len(dataset.train), sum(tests))
    if args.dry_run:
      print(jobs.listing(chosen, estimates))
      print(_in_all(chosen, estimates))
      continue
    if args.keep_stages and (
      without := [
        job
        for job in chosen
        if job.is_done() and job.row.kind != 'supervised' and not job.stages()
      ]
    ):
      print(
        f'{len(without)} runs are done and kept no stages, the first '
        f'{without[0].workdir}; delete their folders to have them',
        file=sys.stderr,
      )
    counts = [cost.num_stages(job, len(dataset.train)) for job in chosen]
    failed += grid.run_all(
      chosen,
      estimates,
      counts,
      workers=workers,
      keep_stages=args.keep_stages,
    )
    command = shlex.join(['python', '-m', 'dbc_jax.commands.reproduce', *argv])
    # Other rows are shown where an earlier command has done them.
    shown = [
      job for job in all_jobs if job.row.name in wanted or not job.differences()
    ]
    outputs.write(args.workdir, args.experiment, name, shown, command, truth)
  return failed


def _in_all(all_jobs: list[jobs.Job], estimates: list[float | None]) -> str:
  left = [
    seconds
    for job, seconds in zip(all_jobs, estimates, strict=True)
    if not job.is_done()
  ]
  if None in left:
    return f'{len(left)} runs; their time is unknown until one is done'
  total = jobs.duration(sum(x for x in left if x is not None))
  return f'{len(left)} runs, about {total} in all'


if __name__ == '__main__':
  main()
